"""Initialisers: factories that give `f(shape, dtype) -> Tensor`, drawn from `td.random`.

Fans follow Keras: of a kernel `(..., in, out)` the axes in front are the receptive field and count in both fans.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from treadle import random
from treadle.core.dtypes import default_float
from treadle.core.tensor import Tensor
from treadle.errors import ArgumentError
from treadle.ops import creation

Initializer = Callable[..., Tensor]


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """How many inputs and outputs each unit of a kernel of this shape has.

    >>> fans((3, 3, 8, 16))
    (72, 144)
    """
    if len(shape) < 2:
        size = shape[0] if shape else 1
        return size, size
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


def _scaled(variance: Callable[[int, int], float], spread: str) -> Initializer:
    def initialize(shape: Sequence[int], dtype: Any = None) -> Tensor:
        std = math.sqrt(variance(*fans(shape)))
        if spread == "uniform":
            limit = math.sqrt(3.0) * std
            return random.uniform(shape, -limit, limit, dtype=dtype)
        return random.normal(shape, 0.0, std, dtype=dtype)

    return initialize


def _glorot(n_in: int, n_out: int) -> float:
    return 2.0 / max(1, n_in + n_out)


def _he(n_in: int, n_out: int) -> float:
    return 2.0 / max(1, n_in)


def _lecun(n_in: int, n_out: int) -> float:
    return 1.0 / max(1, n_in)


def glorot_uniform() -> Initializer:
    """Uniform with variance 2 / (in + out) (Glorot and Bengio, 2010)."""
    return _scaled(_glorot, "uniform")


def glorot_normal() -> Initializer:
    """Normal with variance 2 / (in + out) (Glorot and Bengio, 2010)."""
    return _scaled(_glorot, "normal")


def he_uniform() -> Initializer:
    """Uniform with variance 2 / in, for relu (He et al., 2015)."""
    return _scaled(_he, "uniform")


def he_normal() -> Initializer:
    """Normal with variance 2 / in, for relu (He et al., 2015)."""
    return _scaled(_he, "normal")


def lecun_uniform() -> Initializer:
    """Uniform with variance 1 / in (LeCun et al., 1998)."""
    return _scaled(_lecun, "uniform")


def lecun_normal() -> Initializer:
    """Normal with variance 1 / in (LeCun et al., 1998)."""
    return _scaled(_lecun, "normal")


def constant(value: float) -> Initializer:
    """The same number everywhere."""

    def initialize(shape: Sequence[int], dtype: Any = None) -> Tensor:
        return creation.full(shape, value, dtype=default_float() if dtype is None else dtype)

    return initialize


def zeros() -> Initializer:
    """Zeros."""
    return constant(0.0)


def ones() -> Initializer:
    """Ones."""
    return constant(1.0)


def normal(std: float = 0.05, mean: float = 0.0) -> Initializer:
    """Normal with this mean and standard deviation."""
    return lambda shape, dtype=None: random.normal(shape, mean, std, dtype=dtype)


def uniform(low: float = -0.05, high: float = 0.05) -> Initializer:
    """Uniform over [low, high)."""
    return lambda shape, dtype=None: random.uniform(shape, low, high, dtype=dtype)


_FACTORIES: dict[str, Callable[[], Initializer]] = {
    f.__name__: f
    for f in (
        glorot_uniform,
        glorot_normal,
        he_uniform,
        he_normal,
        lecun_uniform,
        lecun_normal,
        zeros,
        ones,
        normal,
        uniform,
    )
}


def get(initializer: str | Initializer) -> Initializer:
    """An initialiser by its name, or itself. Raises ValueError listing the names."""
    if callable(initializer):
        return initializer
    factory = _FACTORIES.get(initializer)
    if factory is None:
        raise ArgumentError(f"there is no initialiser {initializer!r}; the names are {', '.join(_FACTORIES)}")
    return factory()
