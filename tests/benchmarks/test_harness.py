"""The benchmark harness: a small run from end to end, and that it notices results that are wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--quick", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_small_run(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    pattern = r"4 elements|Collatz|: elementwise chain"
    done = run("--peers", "treadle,np", "--only", pattern, "--rounds", "1", "--json", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    for text in ("treadle eager", "NumPy", "loop: Collatz"):
        assert text in done.stdout
    rows = {row["name"]: row for row in json.loads(out.read_text())["rows"]}
    for name in ("call: x + 1, 4 elements", "loop: Collatz, 837799"):
        cells = rows[name]["cells"]
        assert set(cells) == {"treadle", "treadle eager", "NumPy"}
        assert all(0 < cell["low"] <= cell["median"] <= cell["high"] for cell in cells.values()), cells
    counters = {name: row["counters"]["treadle"] for name, row in rows.items() if row.get("counters")}
    cold = counters["first call, no cache: elementwise chain"]
    shape = counters["new shape: elementwise chain"]
    warm = counters["first call, new process, warm cache: elementwise chain"]
    assert cold["kernels_compiled"] > 0
    assert (shape["traces"], shape["kernels_compiled"]) == (1, 0)
    assert (warm["kernels_compiled"], warm["numba_imported"]) == (0, 0)


def test_a_peer_that_is_not_there_is_listed(tmp_path: Path) -> None:
    absent = f"jax={tmp_path / 'no-such-python'}"
    done = run("--peers", "jax", "--python", absent, "--only", "no such case", "--json", str(tmp_path / "f.json"))
    assert done.returncode == 0, done.stderr
    assert "jax: not installed" in done.stdout


def test_unknown_peer_is_refused() -> None:
    done = run("--python", "abacus=/usr/bin/abacus")
    assert done.returncode == 1
    assert "abacus" in done.stderr


@pytest.mark.usefixtures("on_path")
@pytest.mark.parametrize(
    "got",
    [
        [np.float32([1, 2, 3.1])],
        [np.float32([1, 2, np.nan])],
        [np.float32([[1, 2, 3]])],
        [np.int64([1, 2, 3])],
        [np.float32([1, 2, 3]), np.float32(0)],
    ],
)
def test_wrong_results_are_noticed(got: list[np.ndarray]) -> None:
    from harness.timing import WrongResult, check

    want = [np.float64([1, 2, 3])]
    check([np.float32([1, 2, 3.000001])], want, 1e-5, 1e-6)
    with pytest.raises(WrongResult):
        check(got, want, 1e-5, 1e-6)


@pytest.fixture
def worker(on_path: None, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    import importlib

    return importlib.import_module("worker")


def test_a_wrong_peer_gets_no_time(worker: ModuleType) -> None:
    from harness.report import grid, has_wrong
    from peers.numpy_ import NumpyPeer

    class Careless(NumpyPeer):
        def build(self, variant, program, state):
            return lambda x: x + 1.001

    answer = worker.Worker(Careless()).answer({"do": "prepare", "case": 0, "variant": "NumPy", "quick": True})
    assert "at (0,)" in answer["wrong"]
    rows = [{"name": "x + 1", "cells": {"treadle": {"median": 1e-6}, "NumPy": answer}}]
    assert has_wrong(rows)
    assert grid(rows) == (["case", "treadle", "NumPy"], [["x + 1", "1.00 us", "wrong"]])


@pytest.mark.usefixtures("on_path")
def test_report_texts() -> None:
    from harness.report import cell, duration, plain

    texts = [duration(s) for s in (2e-9, 1.234e-6, 45.67e-6, 0.9999e-3, 0.123, 12.3, 345.6)]
    assert texts == ["2.00 ns", "1.23 us", "45.7 us", "1.00 ms", "123 ms", "12.3 s", "346 s"]
    assert cell({"median": 3e-3}, 2e-3) == "3.00 ms  1.50x"
    assert cell({"failed": "KeyError"}, 2e-3) == "failed"
    assert cell({}, 2e-3) == "-"
    assert plain(["case", "a"], [["sum", "1 us"]]).splitlines() == ["case     a", "-" * 10, "sum   1 us"]
