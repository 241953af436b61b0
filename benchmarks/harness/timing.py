"""Timing of one function and comparison of results: the part that runs inside each worker."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

SAMPLE = 1e-3  # seconds: short calls are repeated until a sample lasts this long
FEWEST, MOST = 3, 2000  # samples in one round


class WrongResult(Exception):
    """A result that does not agree with the reference."""


def repeats(thunk: Callable[[], Any]) -> int:
    """How many calls make one sample."""
    count = 1
    while True:
        elapsed = _sample(thunk, count)
        if elapsed >= SAMPLE or count >= 1 << 16:
            return count
        count = max(count * 2, int(count * SAMPLE / max(elapsed, 1e-9)))


def _sample(thunk: Callable[[], Any], count: int) -> float:
    calls = range(count)
    start = time.perf_counter()
    for _ in calls:
        thunk()
    return time.perf_counter() - start


def measure(thunk: Callable[[], Any], count: int, seconds: float) -> list[float]:
    """Seconds a call in each sample of `count` calls, for about `seconds` in all (but a few samples at least).

    A call that takes far longer than `seconds` is sampled once.
    """
    samples: list[float] = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        end = time.perf_counter() + seconds
        thunk()  # the caches are another process's now
        while len(samples) < MOST:
            samples.append(_sample(thunk, count) / count)
            late = time.perf_counter() - end
            if late > 0 and (len(samples) >= FEWEST or late > 10 * seconds):
                return samples
        return samples
    finally:
        if collecting:
            gc.enable()


def check(results: Sequence[Array], expected: Sequence[Array], rtol: float, atol: float, few: float = 0.0) -> None:
    """Raise WrongResult unless the arrays agree in number, shape, kind and value (all but a share `few` of them)."""
    if len(results) != len(expected):
        raise WrongResult(f"{len(results)} results, not {len(expected)}")
    for got, want in zip(results, expected, strict=True):
        if got.shape != want.shape or got.dtype.kind != want.dtype.kind:
            raise WrongResult(f"{got.dtype}{got.shape}, not {want.dtype}{want.shape}")
        bad = ~np.isclose(got, want, rtol, atol)
        if np.any(bad) and np.mean(bad) > few:
            where = tuple(int(i) for i in np.argwhere(bad)[0])
            raise WrongResult(f"at {where}: {got[where]}, not {want[where]} ({np.sum(bad)} of {bad.size})")
