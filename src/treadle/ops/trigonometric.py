"""Elementwise trigonometric and hyperbolic functions, and their inverses. Angles are in radians."""

from __future__ import annotations

from typing import Any

import numpy as np

from treadle.core.tensor import Tensor
from treadle.ops.arithmetic import sqrt, square
from treadle.ops.families import elementwise


def _cos_of(x: Tensor, g: Tensor) -> Tensor:
    return g * cos(x)


def _cosh_of(x: Tensor, g: Tensor) -> Tensor:
    return g * cosh(x)


@elementwise(body=np.sin, scalar="sin_{t}({0})", vjp=lambda g, y, x: _cos_of(x, g), want="float")
def sin(x: Any, /) -> Tensor:
    """Sine of each element."""
    raise NotImplementedError


@elementwise(body=np.cos, scalar="cos_{t}({0})", vjp=lambda g, y, x: -g * sin(x), want="float")
def cos(x: Any, /) -> Tensor:
    """Cosine of each element."""
    raise NotImplementedError


@elementwise(body=np.tan, scalar="tan_{t}({0})", vjp=lambda g, y, x: g * (1 + y * y), want="float")
def tan(x: Any, /) -> Tensor:
    """Tangent of each element."""
    raise NotImplementedError


@elementwise(body=np.arcsin, scalar="asin_{t}({0})", vjp=lambda g, y, x: g / sqrt(1 - x * x), want="float")
def asin(x: Any, /) -> Tensor:
    """Inverse sine of each element; NaN outside [-1, 1]."""
    raise NotImplementedError


@elementwise(body=np.arccos, scalar="acos_{t}({0})", vjp=lambda g, y, x: -g / sqrt(1 - x * x), want="float")
def acos(x: Any, /) -> Tensor:
    """Inverse cosine of each element; NaN outside [-1, 1]."""
    raise NotImplementedError


@elementwise(body=np.arctan, scalar="atan_{t}({0})", vjp=lambda g, y, x: g / (1 + x * x), want="float")
def atan(x: Any, /) -> Tensor:
    """Inverse tangent of each element."""
    raise NotImplementedError


@elementwise(
    body=np.arctan2,
    scalar="atan2_{t}({0}, {1})",
    vjp=(
        lambda g, y, a, b: g * b / (square(a) + square(b)),
        lambda g, y, a, b: -g * a / (square(a) + square(b)),
    ),
    want="real float",
)
def atan2(x1: Any, x2: Any, /) -> Tensor:
    """The angle of the point (x2, x1), from -pi to pi."""
    raise NotImplementedError


@elementwise(body=np.sinh, scalar="sinh_{t}({0})", vjp=lambda g, y, x: _cosh_of(x, g), want="float")
def sinh(x: Any, /) -> Tensor:
    """Hyperbolic sine of each element."""
    raise NotImplementedError


@elementwise(body=np.cosh, scalar="cosh_{t}({0})", vjp=lambda g, y, x: g * sinh(x), want="float")
def cosh(x: Any, /) -> Tensor:
    """Hyperbolic cosine of each element."""
    raise NotImplementedError


@elementwise(body=np.tanh, scalar="tanh_{t}({0})", vjp=lambda g, y, x: g * (1 - y * y), want="float")
def tanh(x: Any, /) -> Tensor:
    """Hyperbolic tangent of each element.

    >>> import treadle as td
    >>> td.tanh(0.0)
    Tensor(0., shape=(), dtype=float32)
    """
    raise NotImplementedError


@elementwise(body=np.arcsinh, scalar="asinh_{t}({0})", vjp=lambda g, y, x: g / sqrt(x * x + 1), want="float")
def asinh(x: Any, /) -> Tensor:
    """Inverse hyperbolic sine of each element."""
    raise NotImplementedError


@elementwise(
    body=np.arccosh, scalar="acosh_{t}({0})", vjp=lambda g, y, x: g / (sqrt(x - 1) * sqrt(x + 1)), want="float"
)
def acosh(x: Any, /) -> Tensor:
    """Inverse hyperbolic cosine of each element; NaN below 1."""
    raise NotImplementedError


@elementwise(body=np.arctanh, scalar="atanh_{t}({0})", vjp=lambda g, y, x: g / (1 - x * x), want="float")
def atanh(x: Any, /) -> Tensor:
    """Inverse hyperbolic tangent of each element; NaN outside [-1, 1]."""
    raise NotImplementedError
