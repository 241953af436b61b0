"""Special functions and cube roots: cbrt, erfinv, lgamma, digamma, polygamma."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from treadle.core.arguments import whole
from treadle.core.tensor import Tensor
from treadle.errors import ArgumentError
from treadle.ops.arithmetic import abs as abs_
from treadle.ops.arithmetic import round as round_
from treadle.ops.comparison import where
from treadle.ops.convert import operands
from treadle.ops.exponential import exp
from treadle.ops.families import elementwise
from treadle.ops.trigonometric import tan

Array = np.ndarray[Any, Any]
MOST = 170  # order of a polygamma function: its factorial is a float64


@elementwise(body=np.cbrt, scalar="cbrt_{t}({0})", vjp=lambda g, y, x: g / (3 * y * y), want="real float")
def cbrt(x: Any, /) -> Tensor:
    """The real cube root of each element; the gradient at 0 is infinite."""
    raise NotImplementedError


def _erfinv_body(x: Array) -> Array:
    from scipy.special import erfinv as body  # SciPy is heavy to import, and only eager code needs it

    return body(x)  # type: ignore[no-any-return]


@elementwise(
    body=_erfinv_body,
    scalar="erfinv_{t}({0})",
    vjp=lambda g, y, x: g * (math.sqrt(math.pi) / 2) * exp(y * y),
    want="real float",
)
def erfinv(x: Any, /) -> Tensor:
    """The inverse of the error function: infinite at -1 and 1, NaN beyond.

    >>> import treadle as td
    >>> td.erfinv(td.erf(td.asarray([0.25, -0.5], dtype=td.float64)))
    Tensor([ 0.25, -0.5 ], shape=(2,), dtype=float64)
    """
    raise NotImplementedError


def _digamma_body(x: Array) -> Array:
    from scipy.special import digamma as body

    return body(x)  # type: ignore[no-any-return]


@elementwise(body=_digamma_body, scalar="digamma_{t}({0})", vjp=lambda g, y, x: g * polygamma(1, x), want="real float")
def digamma(x: Any, /) -> Tensor:
    """The derivative of `lgamma`: infinite at 0, NaN at -1, -2, ...

    >>> import treadle as td
    >>> td.digamma(td.asarray(1.0))  # Euler's constant, negative
    Tensor(-0.5772157, shape=(), dtype=float32)
    """
    raise NotImplementedError


def _lgamma_body(x: Array) -> Array:
    from scipy.special import gammaln as body

    return np.where(np.isneginf(x), -x, body(x))  # SciPy says -inf there, C's lgamma and its limits inf


@elementwise(
    body=_lgamma_body, scalar="lgamma_{t}({0})", vjp=lambda g, y, x: g * digamma(x), want="real float", name="lgamma"
)
def lgamma(x: Any, /) -> Tensor:
    """The logarithm of |gamma(x)|; infinite at 0, -1, -2, ... and at both ends.

    >>> import treadle as td
    >>> td.lgamma(td.asarray([1., 2., 4.]))  # log of 0!, 1!, 3!
    Tensor([0.       , 0.       , 1.7917595], shape=(3,), dtype=float32)
    """
    raise NotImplementedError


@functools.cache
def _zeta() -> Any:
    from scipy.special import zeta

    return zeta


def _polygamma_body(x: Array, *, order: int) -> Array:
    """Hurwitz's zeta function for x > 0; below 0 by reflection, whose term is a polynomial in cot(pi x)."""
    zeta = _zeta()
    sign = -1.0 if order % 2 == 0 else 1.0
    with np.errstate(all="ignore"):
        wide = np.asarray(x, np.float64)
        if not wide.size or np.minimum.reduce(wide, axis=None) > 0:  # and none is NaN
            result: Array = zeta(order + 1, wide)
            result *= sign * math.factorial(order)
            return np.asarray(result, x.dtype)
        found = sign * math.factorial(order) * zeta(order + 1, np.where(wide < 0, 1 - wide, wide))
        if np.any(wide < 0):
            term = np.polynomial.Polynomial([0.0, 1.0])  # the derivatives of cot, in cot
            for _ in range(order):
                term = term.deriv() * np.polynomial.Polynomial([-1.0, 0.0, -1.0])
            turn = wide - np.rint(wide)
            far = np.copysign(np.tan(math.pi * (0.5 - np.abs(turn))), turn)  # exactly 0 at halves
            near = np.clip(1 / np.tan(math.pi * turn), -1e160, 1e160)  # finite, so that a polynomial can take it
            cot = np.where(np.abs(turn) > 0.25, far, near)
            below = (-1) ** order * found - math.pi ** (order + 1) * term(cot)
            found = np.where(wide < 0, np.where(turn == 0, np.inf, below), found)
        return np.asarray(found, x.dtype)


def polygamma(n: int, x: Any, /) -> Tensor:
    """The n-th derivative of `digamma`, n a Python integer of at least 0; infinite at 0, -1, -2, ... for n > 0.

    Of float64, 4 ULP up to n = 3, then some 1e-15 n of the result. Formulas: DLMF 5.15.

    >>> import treadle as td
    >>> td.polygamma(1, td.asarray([1.0]))  # pi^2 / 6
    Tensor([1.644934], shape=(1,), dtype=float32)
    """
    if whole("polygamma: the order", n, 0) > MOST:
        raise ArgumentError(f"polygamma: the order must be at most {MOST}, got {n}")
    if n < len(_DERIVATIVES):
        return _DERIVATIVES[n](x)
    (x,) = operands((x,), "real float", "polygamma")
    with np.errstate(all="ignore"):  # the poles
        return _of_order(n, x.astype(np.float64)).astype(x.dtype)


def _derivative(order: int) -> Callable[[Any], Tensor]:
    """The derivative of digamma of this order as an op with kernels."""

    @elementwise(
        body=functools.partial(_polygamma_body, order=order),
        scalar=f"polygamma{order}_{{t}}({{0}})",
        vjp=lambda g, y, x: g * polygamma(order + 1, x),
        want="real float",
        name=f"polygamma{order}",
    )
    def derivative(x: Any, /) -> Tensor:
        """A derivative of digamma: see `polygamma`."""
        raise NotImplementedError

    return derivative


_DERIVATIVES = (digamma, *map(_derivative, (1, 2, 3)))


_NUMERATORS = (1, -1, 1, -1, 5, -691, 7, -3617, 43867, -174611, 854513)
_DENOMINATORS = (6, 30, 42, 30, 66, 2730, 6, 510, 798, 330, 138)
_BERNOULLI = tuple(map(Fraction, _NUMERATORS, _DENOMINATORS))  # B2, B4, ...


def _of_order(n: int, x: Tensor) -> Tensor:
    """The n-th derivative of digamma by other ops: what kernels do for the first three, for any n and float64."""
    below = x < 0
    near = _of_positive(n, where(below, 1 - x, abs_(x)))
    turn = x - round_(x)
    steep = abs_(turn) > 0.25
    tangent = tan(math.pi * where(steep, 0.5 - abs_(turn), abs_(turn)))  # exactly 0 at halves
    cot = where(turn < 0, -1.0, 1.0) * where(steep, tangent, 1 / where(steep | (tangent == 0), 1.0, tangent))
    term = np.polynomial.Polynomial([0.0, 1.0])  # the derivatives of cot, in cot
    for _ in range(n):
        term = term.deriv() * np.polynomial.Polynomial([-1.0, 0.0, -1.0])
    *rest, first = term.coef.tolist()
    for coefficient in reversed(rest):
        first = first * cot + coefficient
    sign = 1.0 if n % 2 else -1.0
    reflected = -near - math.pi ** (n + 1) * first
    return where(below, where(turn == 0, math.inf, reflected), sign * near)


def _of_positive(n: int, z: Tensor) -> Tensor:
    """|polygamma(n, z)| for z >= 0: the recurrence brings z to n + 8 and above, where the series serves."""
    shift = n + 8
    i = 1 / (z + shift)
    w = i * i
    series = _of_bernoulli(n, 10) * w
    for k in reversed(range(10)):
        series = (series + _of_bernoulli(n, k)) * w
    total = (1 / n + i * 0.5 + series) * i**n
    for k in reversed(range(shift)):
        total = total + (1 / (z + k)) ** (n + 1)
    return float(math.factorial(n)) * total


def _of_bernoulli(n: int, k: int) -> float:
    """The factor of z**-(n + 2 k + 2) in polygamma(n, z) / n!."""
    even = 2 * k + 2
    return float(_BERNOULLI[k] * Fraction(math.factorial(even + n - 1), math.factorial(even) * math.factorial(n)))
