"""The examples run as a user runs them: as scripts, in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import treadle

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name, *arguments, code=0):
    environment = dict(os.environ, PYTHONPATH=str(Path(treadle.__file__).parents[1]))
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_digits(tmp_path, monkeypatch):
    """A second process compiles nothing; after one epoch the network has not learned enough, and the script fails."""
    pytest.importorskip("sklearn")
    pytest.importorskip("rich")
    monkeypatch.setenv("TREADLE_CACHE_DIR", str(tmp_path / "kernels"))
    text = run("digits.py", "--repeats", "5")
    assert "train_step(x, y)" in text and ": 2 traces" in text
    assert "x: float32[64, 64] -> float32[30, 64]" in text
    assert "kernels: 0 compiled" not in text
    accuracy = float(text.partition("test accuracy (359 images): ")[2].split()[0])
    assert accuracy >= 0.97
    again = run("digits.py", "--repeats", "5", "--epochs", "1", code=1)
    assert "kernels: 0 compiled" in again and "Numba was not imported" in again
    assert "below 0.97" in again


def test_retracing():
    text = run("retracing.py")
    assert "n: 2 -> 3" in text and "x: float32[2] -> float32[3]" in text
    assert "add was traced 6 times" in text
    assert "TraceError: add would be traced inside td.no_retrace()" in text


def test_implicit():
    text = run("implicit.py")
    assert "fixed point after 26 steps" in text
    apart = float(text.partition("through the steps differ by ")[2].split()[0])
    assert apart < 1e-11
    assert "stored for each step: 0 elements, and 61 through the steps" in text
    assert float(text.partition("gradient descent: ")[2].partition(";")[0]) < 0.01 and "traces: 1" in text


def test_control_flow():
    text = run("control_flow.py")
    assert "sqrt(2) = 1.414213562373" in text
    assert "d sqrt(a) / da at 2, through the loop: 0.353553390593" in text
    assert "27: 111" in text and "after 35 years" in text
    assert text.count("while_stmt") == 2 and "kernel while_loop" in text
