"""Special functions and cube roots: cbrt, erfinv, lgamma, digamma, polygamma."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle.core.op import Attrs, Op, register
from treadle.core.spec import Spec
from treadle.core.tensor import Tensor
from treadle.ops.convert import operands
from treadle.ops.exponential import exp
from treadle.ops.families import elementwise

Array = np.ndarray[Any, Any]


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


def _polygamma_body(x: Array, *, order: int) -> Array:
    """Hurwitz's zeta function for x > 0; below 0 by reflection, whose term is a polynomial in cot(pi x)."""
    from scipy.special import zeta

    sign = -1.0 if order % 2 == 0 else 1.0
    with np.errstate(all="ignore"):
        wide = np.asarray(x, np.float64)
        if not wide.size or wide.min() > 0:  # and none is NaN
            return np.asarray(sign * math.factorial(order) * zeta(order + 1, wide), x.dtype)
        found = sign * math.factorial(order) * zeta(order + 1, np.where(wide < 0, 1 - wide, wide))
        if np.any(wide < 0):
            term = np.polynomial.Polynomial([0.0, 1.0])  # the derivatives of cot, in cot
            for _ in range(order):
                term = term.deriv() * np.polynomial.Polynomial([-1.0, 0.0, -1.0])
            turn = math.pi * (wide - np.rint(wide))
            below = (-1) ** order * found - math.pi ** (order + 1) * term(1 / np.tan(turn))
            found = np.where(wide < 0, np.where(turn == 0, np.inf, below), found)
        return np.asarray(found, x.dtype)


def _polygamma_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    return (Spec(specs[0].shape, specs[0].dtype),)


polygamma_op = register(
    Op(
        "polygamma",
        _polygamma_body,
        _polygamma_infer,
        family="host",
        vjp=lambda g, y, x, *, order: g * polygamma(order + 1, x),
    )
)


def polygamma(n: int, x: Any, /) -> Tensor:
    """The n-th derivative of `digamma`, n a Python integer of at least 0; infinite at 0, -1, -2, ... for n > 0.

    Formulas: DLMF 5.15.

    >>> import treadle as td
    >>> td.polygamma(1, td.asarray([1.0]))  # pi^2 / 6
    Tensor([1.644934], shape=(1,), dtype=float32)
    """
    if not isinstance(n, int) or n < 0:
        raise ValueError(f"polygamma: the order must be an integer of at least 0, got {n!r}")
    (x,) = operands((x,), "real float", "polygamma")
    return digamma(x) if n == 0 else polygamma_op.bind((x,), {"order": n})[0]
