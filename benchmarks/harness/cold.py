"""What a user waits for: imports, the first call with no cache, a new shape, a new process with a warm cache."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers import PEERS

from harness.cases import cold_cases
from harness.processes import Child, environment, outcome, summary

Row = dict[str, Any]
# Row -> the part of a worker's answer that it shows: with an empty cache, and with a full one.
COLD = {"first": "first", "retrace": "retrace", "total": "total", "peak": "peak"}
WARM = {"warm": "first", "total_warm": "total"}
IMPORT = "import time; start = time.perf_counter(); import {0}; print(time.perf_counter() - start)"

# The variant under which a figure of the whole library stands.
LABELS = {
    "treadle": "treadle",
    "numpy": "NumPy",
    "numba": "Numba",
    "jax": "JAX jit",
    "torch": "PyTorch",
    "tensorflow": "tf.function",
    "pytensor": "PyTensor",
}
# The variants that compile something; the others have nothing to wait for.
LIVES = {
    "treadle": ("treadle",),
    "numpy": (),
    "numba": ("Numba",),
    "jax": ("JAX jit",),
    "torch": ("torch.compile",),
    "tensorflow": ("tf.function", "tf XLA"),
    "pytensor": ("PyTensor",),
}


def run_imports(
    pythons: Mapping[str, str], wanted: Callable[[str], bool], runs: int, show: Callable[[str], None]
) -> list[Row]:
    """Time of `import library` in fresh processes that take turns; the first turn fills the system's file cache."""
    name = "import"
    if not wanted(name):
        return []
    show(name)
    samples: dict[str, list[float]] = {peer: [] for peer in pythons}
    for turn in range(runs + 1):
        for peer, python in pythons.items():
            seconds = _import_time(peer, python)
            if turn:
                samples[peer].append(seconds)
    return [{"name": name, "cells": {LABELS[peer]: summary(found) for peer, found in samples.items()}}]


def _import_time(peer: str, python: str) -> float:
    env = environment(peer, Path(tempfile.gettempdir()) / "treadle-no-cache")
    program = IMPORT.format(PEERS[peer])
    done = subprocess.run([python, "-c", program], env=env, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def run_cold(
    pythons: Mapping[str, str],
    wanted: Callable[[str], bool],
    *,
    runs: int,
    patience: float,
    show: Callable[[str], None],
) -> list[Row]:
    """Rows for the first call, a new shape and the warm process of each program, and treadle's own counters."""
    table: list[Row] = []
    for index, cold in enumerate(cold_cases()):
        names = {
            "first": f"first call, no cache: {cold.name}",
            "retrace": f"new shape: {cold.name}",
            "warm": f"first call, new process, warm cache: {cold.name}",
            "total": f"import and first call, no cache: {cold.name}",
            "total_warm": f"import and first call, new process, warm cache: {cold.name}",
            "peak": f"memory after the first call: {cold.name}",
        }
        if not any(map(wanted, names.values())):
            continue
        show(f"fresh processes: {cold.name}")
        rows: dict[str, Row] = {key: {"name": name, "cells": {}, "counters": {}} for key, name in names.items()}
        found: dict[str, dict[str, list[float]]] = {key: {} for key in names}
        for _ in range(runs):
            for peer, python in pythons.items():
                for variant in LIVES[peer]:
                    _one_life(Life(peer, python, index, variant, patience), rows, found)
        rows["peak"]["unit"] = "MB"
        for key, row in rows.items():
            row["cells"] |= {v: summary(times) for v, times in found[key].items() if v not in row["cells"]}
        table += [row for row in rows.values() if wanted(row["name"])]
    return table


@dataclass(frozen=True, slots=True)
class Life:
    """What to run in a fresh process."""

    peer: str
    python: str
    case: int
    variant: str
    patience: float


def _one_life(life: Life, rows: Mapping[str, Row], found: Mapping[str, dict[str, list[float]]]) -> None:
    """One process with an empty cache, and one more with what the first has left there."""
    with tempfile.TemporaryDirectory(prefix="treadle-bench-", ignore_cleanup_errors=True) as folder:
        for warm in (False, True):
            child = Child(life.peer, life.python, Path(folder), life.patience)
            answer = child.ask(do="once", case=life.case, variant=life.variant)
            child.close()
            keys = COLD if not warm else WARM
            if "first" in answer:
                answer["total"] = answer["first"] + child.hello["import"]
            for key, part in keys.items():
                if part in answer:
                    found[key].setdefault(life.variant, []).append(answer[part])
                    if answer["counters"].get(part):
                        rows[key]["counters"][life.variant] = _counts(answer, part)
                else:
                    rows[key]["cells"][life.variant] = outcome(answer)


def _counts(answer: Mapping[str, Any], part: str) -> dict[str, int]:
    """Traces and kernels that this call made; whether numba was imported by the first."""
    counters = answer["counters"]
    before = counters["first"] if part == "retrace" else {}
    made = {key: value - before.get(key, 0) for key, value in counters[part].items()}
    return made | ({"numba_imported": int(answer["numba"])} if part == "first" else {})
