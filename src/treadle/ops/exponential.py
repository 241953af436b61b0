"""Elementwise exponentials and logarithms, the error function, the logistic function."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from treadle.core.tensor import Tensor
from treadle.ops.comparison import isinf, where
from treadle.ops.families import elementwise

Array = np.ndarray[Any, Any]
_LN2, _LN10 = math.log(2), math.log(10)


@elementwise(body=np.exp, scalar="exp_{t}({0})", vjp=lambda g, y, x: g * y, want="float")
def exp(x: Any, /) -> Tensor:
    """e to the power of each element."""
    raise NotImplementedError


@elementwise(body=np.expm1, scalar="expm1_{t}({0})", vjp=lambda g, y, x: g * (y + 1), want="float")
def expm1(x: Any, /) -> Tensor:
    """exp(x) - 1, exact near 0."""
    raise NotImplementedError


@elementwise(body=np.exp2, scalar="exp2_{t}({0})", vjp=lambda g, y, x: g * (y * _LN2), want="real float")
def exp2(x: Any, /) -> Tensor:
    """2 to the power of each element."""
    raise NotImplementedError


@elementwise(body=np.log, scalar="log_{t}({0})", vjp=lambda g, y, x: g / x, want="float")
def log(x: Any, /) -> Tensor:
    """Natural logarithm of each element: -inf at 0, NaN below."""
    raise NotImplementedError


@elementwise(body=np.log1p, scalar="log1p_{t}({0})", vjp=lambda g, y, x: g / (x + 1), want="float")
def log1p(x: Any, /) -> Tensor:
    """log(1 + x), exact near 0."""
    raise NotImplementedError


@elementwise(body=np.log2, scalar="log2_{t}({0})", vjp=lambda g, y, x: g / (x * _LN2), want="float")
def log2(x: Any, /) -> Tensor:
    """Logarithm to base 2 of each element."""
    raise NotImplementedError


@elementwise(body=np.log10, scalar="log10_{t}({0})", vjp=lambda g, y, x: g / (x * _LN10), want="float")
def log10(x: Any, /) -> Tensor:
    """Logarithm to base 10 of each element."""
    raise NotImplementedError


def _share(g: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """g * exp(a - logaddexp(a, b)), which is 1/2 where both are the same infinity."""
    both = isinf(a) & (a == b)
    return g * sigmoid(where(both, 0, a) - where(both, 0, b))


@elementwise(
    body=np.logaddexp,
    scalar="logaddexp_{t}({0}, {1})",
    vjp=(lambda g, y, a, b: _share(g, a, b), lambda g, y, a, b: _share(g, b, a)),
    want="real float",
)
def logaddexp(x1: Any, x2: Any, /) -> Tensor:
    """log(exp(x1) + exp(x2)), without overflow on the way."""
    raise NotImplementedError


def _erf_body(x: Array) -> Array:
    from scipy.special import erf as body  # SciPy is heavy to import, and only eager code needs it

    return body(x)  # type: ignore[no-any-return]


def _erfc_body(x: Array) -> Array:
    from scipy.special import erfc as body

    return body(x)  # type: ignore[no-any-return]


@elementwise(
    body=_erf_body,
    scalar="erf_{t}({0})",
    vjp=lambda g, y, x: g * (2 / math.sqrt(math.pi)) * exp(-x * x),
    want="real float",
)
def erf(x: Any, /) -> Tensor:
    """The error function: 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    raise NotImplementedError


@elementwise(
    body=_erfc_body,
    scalar="erfc_{t}({0})",
    vjp=lambda g, y, x: g * (-2 / math.sqrt(math.pi)) * exp(-x * x),
    want="real float",
)
def erfc(x: Any, /) -> Tensor:
    """1 - erf(x), exact where that is small."""
    raise NotImplementedError


def _sigmoid_body(x: Array) -> Array:
    tail = np.exp(-np.abs(x))  # at most 1: nothing overflows, on either side
    result: Array = np.where(x >= 0, x.dtype.type(1), tail) / (1 + tail)
    return result


@elementwise(body=_sigmoid_body, scalar="sigmoid_{t}({0})", vjp=lambda g, y, x: g * (y * (1 - y)), want="real float")
def sigmoid(x: Any, /) -> Tensor:
    """The logistic function 1 / (1 + exp(-x))."""
    raise NotImplementedError
