"""Elementwise arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np

from treadle.core.tensor import Tensor
from treadle.ops.families import elementwise


@elementwise(body=np.add, scalar="{0} + {1}", vjp=(lambda g, y, a, b: g, lambda g, y, a, b: g), want="any")
def add(x1: Any, x2: Any, /) -> Tensor:
    """Sum of two tensors, element by element; of strings, their concatenation."""
    raise NotImplementedError


@elementwise(body=np.multiply, scalar="{0} * {1}", vjp=(lambda g, y, a, b: g * b, lambda g, y, a, b: g * a))
def multiply(x1: Any, x2: Any, /) -> Tensor:
    """Product of two tensors, element by element."""
    raise NotImplementedError


@elementwise(body=np.tanh, scalar="tanh_{t}({0})", vjp=lambda g, y, x: g * (1 - y * y), want="float")
def tanh(x: Any, /) -> Tensor:
    """Hyperbolic tangent of each element.

    >>> import treadle as td
    >>> td.tanh(0.0)
    Tensor(0., shape=(), dtype=float32)
    """
    raise NotImplementedError
