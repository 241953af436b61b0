"""What the cases of `op_cases` are made of: the record of a case, and how arguments are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Make = Callable[[np.random.Generator, int], list[Array]]


def _unset(*_: Any) -> Any:
    raise TypeError("this case's two sides depend on the number of elements")


@dataclass(frozen=True)
class Case:
    """One op: how to draw its arguments for n elements, the call in treadle and that in NumPy.

    sides: of a number of elements, the two calls, where they hold what depends on it.
    program: whether it is five operations or more; tolerance: how far such results may differ.
    """

    name: str
    arrays: Make
    treadle: Callable[..., Any] = _unset
    numpy: Callable[..., Any] = _unset
    random: bool = False
    op: str = ""
    sides: Callable[[int], tuple[Callable[..., Any], Callable[..., Any]]] | None = None
    program: bool = False
    tolerance: float = 1e-8

    @property
    def covers(self) -> str:
        """The op of the registry that this case is for."""
        return self.op or self.name.split(" ")[0]

    def both(self, size: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """The call in treadle and that in NumPy, for so many elements."""
        return (self.treadle, self.numpy) if self.sides is None else self.sides(size)


def names(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


def side(n: int) -> int:
    """The side of a square of n elements."""
    return math.isqrt(n)


def normal(count: int = 1, shape: Callable[[int], tuple[int, ...]] = lambda n: (n,)) -> Make:
    """`count` float32 arrays of normal numbers."""
    return lambda rng, n: [rng.normal(size=shape(n)).astype(np.float32) for _ in range(count)]


def between(low: float, high: float, count: int = 1) -> Make:
    """`count` float32 vectors of numbers between two bounds."""
    return lambda rng, n: [rng.uniform(low, high, n).astype(np.float32) for _ in range(count)]


def whole(low: int, high: int, count: int = 1, dtype: str = "int64") -> Make:
    """`count` vectors of integers."""
    return lambda rng, n: [rng.integers(low, high, n).astype(dtype) for _ in range(count)]


def truths(count: int) -> Make:
    """`count` vectors of bools."""
    return lambda rng, n: [rng.random(n) < 0.5 for _ in range(count)]


def square(n: int) -> tuple[int, int]:
    """The shape of a square of n elements."""
    return side(n), side(n)


def matrices(n: int) -> tuple[int, int, int]:
    """A batch of 10 x 10 matrices."""
    return n // 100, 10, 10


def definite(rng: np.random.Generator, n: int) -> list[Array]:
    """A batch of positive definite 10 x 10 matrices."""
    a = rng.normal(size=matrices(n))
    return [a @ a.transpose(0, 2, 1) + 10 * np.eye(10)]


def rows(rng: np.random.Generator, n: int) -> list[Array]:
    """A table of rows of 64 (or 10) numbers, and as many indices of rows."""
    width = 64 if n >= 6400 else 10
    count = n // width
    return [rng.normal(size=(count, width)).astype(np.float32), rng.integers(0, count, count)]


def lines(rng: np.random.Generator, n: int) -> list[Array]:
    """A square, and an index for each of its elements along the last axis."""
    return [rng.normal(size=square(n)).astype(np.float32), rng.integers(0, side(n), square(n))]
