"""What is measured: each case is a program's name, its data, and how closely its result must agree with NumPy's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from peers.numpy_ import PROGRAMS, MlpStep

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Data:
    """Arguments of each call, and the first values of what the program trains (empty for most)."""

    args: tuple[Array, ...]
    state: tuple[Array, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the table: `make(size)` gives its data, the same in every process; `calls` results are checked."""

    name: str
    program: str
    make: Callable[[int], Data]
    size: int
    rtol: float = 1e-5
    atol: float = 1e-6
    calls: int = 1

    def data(self) -> Data:
        """The data of this case."""
        return self.make(self.size)

    def reference(self, data: Data) -> list[list[Array]]:
        """The results of the first calls, by NumPy in float64."""
        args = [_widened(x) for x in data.args]
        call = MlpStep([_widened(w) for w in data.state]) if self.program == "mlp" else PROGRAMS[self.program]
        results = [call(*args) for _ in range(self.calls)]
        return [[np.asarray(x) for x in (r if isinstance(r, (tuple, list)) else [r])] for r in results]


def _widened(x: Array) -> Array:
    return x.astype(np.float64) if x.dtype.kind == "f" else x


def _rng() -> np.random.Generator:
    return np.random.default_rng(20)


def _normal(*shape: int) -> Array:
    return _rng().standard_normal(shape).astype(np.float32)


def few(size: int) -> Data:
    """One array."""
    return Data((_normal(size),))


def many(count: int) -> Data:
    """Many small arrays."""
    return Data(tuple(_normal(count, 4)))


def triple(size: int) -> Data:
    """x, a and b of one length."""
    return Data(tuple(_normal(3, size)))


def square(side: int) -> Data:
    """One matrix."""
    return Data((_normal(side, side),))


def pair(side: int) -> Data:
    """Two matrices."""
    return Data(tuple(_normal(2, side, side)))


def scores(batch: int) -> Data:
    """Logits of 1000 classes, and labels."""
    return Data((_normal(batch, 1000), _rng().integers(0, 1000, batch)))


def mlp(batch: int) -> Data:
    """A batch of 784 features in 10 classes, and weights and biases of 784-100-100-10."""
    widths = (784, 100, 100, 10)
    state: list[Array] = []
    for before, after in pairwise(widths):
        state += [_normal(before, after) / np.float32(before**0.5), np.zeros(after, np.float32)]
    return Data((_normal(batch, 784), _rng().integers(0, 10, batch)), tuple(state))


def logistic(steps: int) -> Data:
    """Start, rate and number of steps; at this rate the orbit has period 4, so that rounding does not grow."""
    return Data((np.array(0.3), np.array(3.5), np.array(steps)))


def positive(number: int) -> Data:
    """A float64 scalar."""
    return Data((np.array(float(number)),))


def integer(number: int) -> Data:
    """An int64 scalar."""
    return Data((np.array(number),))


def steady_cases(quick: bool) -> list[Case]:
    """The cases that are timed call after call; `quick` ones are small."""
    side, steps = (200, 1000) if quick else (2000, 100_000)
    sizes = (1000, 100_000) if quick else (1000, 10_000, 100_000, 1_000_000, 10_000_000)
    loose = 2e-4  # long float32 sums
    return [
        Case("call: x + 1, 4 elements", "add_one", few, 4),
        Case("call: 32 arrays in, 32 out", "many", many, 32),
        *(Case(f"elementwise chain, 10^{len(str(n)) - 1}", "chain", triple, n) for n in sizes),
        Case(f"sum exp(x-y)^2 over rows, {side}^2", "rows", pair, side, rtol=loose),
        Case(f"sum exp(x-y)^2 over columns, {side}^2", "columns", pair, side, rtol=loose),
        Case(f"sum exp(x-y)^2 of all, {side}^2", "everything", pair, side, rtol=loose),
        Case(f"logsumexp over rows, {side}^2", "logsumexp", square, side),
        Case(f"variance of all, {side}^2", "variance", square, side, rtol=loose),
        Case("cross-entropy and gradient, 128x1000", "cross_entropy", scores, 128, rtol=1e-4),
        Case("MLP step with Adam, batch 100", "mlp", mlp, 100, rtol=2e-3, calls=3),
        Case(f"loop: logistic map, {steps} steps", "logistic", logistic, steps, rtol=1e-9),
        Case("loop: Newton, scalar", "newton", positive, 1234, rtol=1e-9),
        Case("loop: Collatz, 837799", "collatz", integer, 837_799, rtol=0.0, atol=0.0),
    ]


@dataclass(frozen=True, slots=True)
class ColdCase:
    """A program that is run once in a fresh process, then with a new shape."""

    name: str
    case: Case
    other_size: int


def cold_cases() -> Sequence[ColdCase]:
    """The programs whose first call, retrace and warm start are timed."""
    chain = Case("chain", "chain", triple, 100_000)
    step = Case("MLP step", "mlp", mlp, 100, rtol=2e-3)
    return (ColdCase("elementwise chain", chain, 70_000), ColdCase("MLP step", step, 60))
