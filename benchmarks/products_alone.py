"""Training steps against the least they could take: the same products by BLAS alone, and the bytes of the rest moved.

For each step: its time, that of its matrix products alone as calls of SciPy's BLAS on one thread and on all, and the
time in which memory moves what the optimizer reads and writes. The floor is the quicker BLAS plus that.

    python benchmarks/products_alone.py [rounds]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from ctypes import CFUNCTYPE, c_int
from itertools import pairwise
from typing import Any

import numpy as np
from harness.cases import Case, steady_cases
from peers.treadle_ import PEER
from scipy.linalg.blas import sgemm

from treadle.compile.matrix import blas

Call = Callable[[], Any]
STEPS = {"mlp": 7, "sgd": 3}  # program -> how often its optimizer reads or writes an array as large as a weight


def products(widths: list[int], batch: int) -> list[Call]:
    """Forward, then the gradients of weights and of what comes in, except of the data."""
    rng = np.random.default_rng(1)
    calls: list[Call] = []

    def add(m: int, k: int, n: int, ta: bool, tb: bool) -> None:
        a = rng.standard_normal((k, m) if ta else (m, k)).astype(np.float32)
        b = rng.standard_normal((n, k) if tb else (k, n)).astype(np.float32)
        c = np.zeros((m, n), np.float32)
        # In BLAS's order of columns our C = A B is C' = B' A'; views of arrays in row order are not copied.
        calls.append(lambda: sgemm(1.0, b.T, a.T, 0.0, c.T, trans_a=int(tb), trans_b=int(ta), overwrite_c=1))

    for k, (before, after) in enumerate(pairwise(widths)):
        add(batch, before, after, False, False)
        add(before, batch, after, True, False)
        if k:
            add(batch, after, before, False, True)
    return calls


def least(call: Call, rounds: int) -> float:
    """The shortest of many runs, in seconds."""
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


def bandwidth() -> float:
    """Bytes a second that a copy of 64 MB reads and writes."""
    source, target = np.ones(16 << 20, np.float32), np.zeros(16 << 20, np.float32)
    return 2 * source.nbytes / least(lambda: np.copyto(target, source), 20)


def measure(case: Case, rounds: int, speed: float) -> tuple[float, float, float, float]:
    """Seconds of the step, of BLAS on one thread and on all, and of moving the optimizer's bytes."""
    data = case.data()
    step, args = PEER.build("treadle", case.program, data.state), PEER.place(data.args)
    for _ in range(3):
        step(*args)
    weights = data.state[::2]
    calls = products([weights[0].shape[0], *[w.shape[1] for w in weights]], data.args[0].shape[0])

    def alone() -> None:
        for call in calls:
            call()

    moved = STEPS[case.program] * sum(w.nbytes for w in data.state) / speed
    whole = least(lambda: step(*args), rounds)
    every = least(alone, rounds)
    library = blas.library()
    if library is None or not library.set_threads:
        return whole, every, every, moved
    limit, before = CFUNCTYPE(None, c_int)(library.set_threads), CFUNCTYPE(c_int)(library.get_threads)()
    limit(1)
    one = least(alone, rounds)
    limit(before)
    return whole, one, every, moved


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", nargs="?", type=int, default=100)
    rounds = parser.parse_args().rounds
    speed = bandwidth()
    print(f"{'step':<38}{'treadle':>9}{'BLAS, 1':>9}{'BLAS, all':>10}{'bytes':>7}  us; ratio to the floor")
    for case in steady_cases(quick=False):
        if case.program in STEPS:
            whole, one, all_, moved = measure(case, max(5, rounds // 10 if "wide" in case.name else rounds), speed)
            floor = min(one, all_) + moved
            row = "".join(f"{1e6 * x:9.0f}" for x in (whole, one, all_, moved))
            print(f"{case.name:<38}{row}  {whole / floor:.2f}")


if __name__ == "__main__":
    main()
