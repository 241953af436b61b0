"""Memory of the gradient of a 1,000-step loop over a state of 10^4 elements, kept whole and in chunks of k steps.

python benchmarks/loop_memory.py [--steps 1000] [--size 10000]

The peak is that of tracemalloc, which sees NumPy's memory and so the arenas of programs, during one call of the
compiled gradient; idle arenas are freed first. "stacks" is what must be stored: one state a step, or with a checkpoint
every k steps one state a chunk and one a step of the chunk at hand.
"""

from __future__ import annotations

import argparse
import math
import time
import tracemalloc
from dataclasses import dataclass

import numpy as np

import treadle as td
from treadle.compile.run.arenas import arenas


@dataclass(frozen=True, slots=True)
class Measured:
    """One line of the table: bytes that the stacks need, bytes at the peak, seconds of the quickest call."""

    stacks: int
    peak: int
    seconds: float


def make_gradient(steps: int, every: int | None):
    """The gradient of a loop y = y + a * sin(y) with respect to its start, as a compiled function."""

    def loop(x, a):
        return td.sum(td.fori_loop(0, steps, lambda i, y: y + td.sin(y) * a, x, checkpoint_every=every))

    return td.function(td.grad(loop))


def measure(steps: int, size: int, dtype: np.dtype, every: int | None, repeats: int = 5) -> Measured:
    """Memory and time of one call."""
    gradient = make_gradient(steps, every)
    x = td.asarray(np.linspace(0, 1, size).astype(dtype))
    a = td.asarray(np.asarray(0.01, dtype))
    result = gradient(x, a)  # traces and compiles
    del result
    arenas.clear()
    tracemalloc.start()
    gradient(x, a)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    seconds = math.inf
    for _ in range(repeats):
        start = time.perf_counter()
        gradient(x, a)
        seconds = min(seconds, time.perf_counter() - start)
    rows = steps if every is None else math.ceil(steps / every) + min(every, steps)
    return Measured(rows * size * np.dtype(dtype).itemsize, peak, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--size", type=int, default=10_000)
    options = parser.parse_args()
    print(f"gradient of {options.steps} steps over {options.size} elements")
    print(f"{'dtype':<8}  {'checkpoint':<14}  {'stacks MB':>9}  {'peak MB':>9}  {'peak/stacks':>11}  {'time ms':>8}")
    for dtype in (np.float32, np.float64):
        for every in (None, 1, 10, 32, 100):
            found = measure(options.steps, options.size, np.dtype(dtype), every)
            name = "none" if every is None else f"every {every}"
            print(
                f"{np.dtype(dtype).name:<8}  {name:<14}  {found.stacks / 1e6:>9.2f}  {found.peak / 1e6:>9.2f}  "
                f"{found.peak / found.stacks:>11.2f}  {found.seconds * 1e3:>8.1f}"
            )


if __name__ == "__main__":
    main()
