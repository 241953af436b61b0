"""The benchmark harness: a small run from end to end, and that it notices results that are wrong."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
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
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


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


@pytest.fixture
def main(on_path: None) -> Callable[[list[str]], int]:
    """The harness in this process."""
    return importlib.import_module("run").main


def test_a_peer_that_is_not_there_is_listed(main: Callable[[list[str]], int], tmp_path: Path, capsys) -> None:
    absent = f"jax={tmp_path / 'no-such-python'}"
    out = str(tmp_path / "f.json")
    assert main(["--quick", "--peers", "jax", "--python", absent, "--only", "no such case", "--json", out]) == 0
    assert "jax: not installed" in capsys.readouterr().out


def test_unknown_peer_is_refused(main: Callable[[list[str]], int]) -> None:
    with pytest.raises(SystemExit, match="abacus"):
        main(["--quick", "--python", "abacus=/usr/bin/abacus"])


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


def row(name: str, **seconds: float) -> dict[str, object]:
    cells = {variant.replace("_", " "): {"median": s, "best": s / 2} for variant, s in seconds.items()}
    return {"name": name, "steady": True, "cells": cells}


@pytest.mark.usefixtures("on_path")
def test_ratios_are_to_the_best_peer_of_each_row() -> None:
    from harness import ratios

    rows = [
        row("one", treadle=1.0, JAX_jit=4.0, PyTorch=8.0, NumPy=0.5),
        row("two", treadle=2.0, PyTensor=1.0, Numba=1.0),
        row("three", treadle=1.0, NumPy=3.0),
    ]
    assert ratios.best_peer(rows[0]) == ("JAX jit", 4.0)
    assert [ratios.ratio(r) for r in rows] == [4.0, 0.5, None]
    text = ratios.lines([*rows, {**row("import", treadle=1.0, JAX_jit=9.0), "steady": False}])
    assert text[0] == f"best peer / treadle, geometric mean of 2 rows: {2**0.5:.2f}"
    assert "Numba / treadle, geometric mean of 1 rows: 0.50" in text
    assert text[-1] == "behind: two: PyTensor takes 0.50 of treadle's time"


@pytest.mark.usefixtures("on_path")
def test_the_picture_is_xml_with_a_mark_for_each_figure() -> None:
    import xml.etree.ElementTree as ElementTree

    from harness.plot import COLOURS, picture

    root = ElementTree.fromstring(picture([row("a < b", treadle=1.0, JAX_jit=4.0, NumPy=1e9), row("none", NumPy=1.0)]))
    marks = [e for e in root.iter() if e.tag.endswith("circle")]
    assert len(marks) == len(COLOURS) + 2
    assert "a < b" in [e.text for e in root.iter() if e.tag.endswith("text")]


@pytest.mark.usefixtures("on_path")
def test_gradients_by_hand_agree_with_differences() -> None:
    from harness.cases import Data, images, sequence, tokens
    from peers.numpy_ import PROGRAMS
    from peers.numpy_models import cnn_gradient

    def wide(data: Data) -> list[np.ndarray]:
        return [np.asarray(a, np.float64) if a.dtype.kind == "f" else a for a in (*data.args, *data.state)]

    def network(x: np.ndarray, labels: np.ndarray, *weights: np.ndarray) -> list[np.ndarray]:
        loss, gradients = cnn_gradient(weights, x, labels)
        return [loss, *gradients]

    for f, args, first in (
        (PROGRAMS["gru"], wide(sequence(3)), 1),
        (PROGRAMS["attention"], wide(tokens(3)), 0),
        (network, wide(images(2)), 2),
    ):
        gradients = f(*args)[1:]
        for k, gradient in enumerate(gradients, first):
            direction = np.random.default_rng(k).normal(size=args[k].shape)
            sides = [f(*args[:k], args[k] + s * 1e-6 * direction, *args[k + 1 :])[0] for s in (1, -1)]
            np.testing.assert_allclose(np.sum(gradient * direction), (sides[0] - sides[1]) / 2e-6, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("on_path")
def test_a_few_elements_may_disagree_where_a_case_says_so() -> None:
    from harness.timing import WrongResult, check

    got, want = np.zeros(100, np.int32), np.zeros(100, np.int32)
    got[3] = 1
    check([got], [want], 0, 0, few=0.01)
    with pytest.raises(WrongResult):
        check([got], [want], 0, 0, few=0.005)


@pytest.mark.usefixtures("on_path")
def test_dearer_cases_are_told(tmp_path: Path) -> None:
    instructions = importlib.import_module("instructions")
    path = tmp_path / "counts.json"
    path.write_text(json.dumps({"processor": instructions.processor(), "counts": {"a": 100.0, "b": 100.0}}))
    assert instructions.compare({"a": 109.0, "b": 120.0, "c": 1.0}, path, 0.1) == ["b: 100 -> 120"]
    path.write_text(json.dumps({"processor": "abacus", "counts": {"a": 1.0}}))
    assert instructions.compare({"a": 109.0}, path, 0.1) == []


def test_instructions_of_a_call_are_counted(tmp_path: Path) -> None:
    out = tmp_path / "counts.json"
    command = [sys.executable, str(BENCHMARKS / "instructions.py"), "--only", "Collatz", "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (count,) = json.loads(out.read_text())["counts"].values()
    assert 1_000 < count < 1_000_000  # 524 turns of a few instructions, and the call
