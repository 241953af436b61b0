"""Elementwise arithmetic: sums and products, powers and roots, extremes, rounding, signs, parts of complex numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from treadle.core.arguments import whole
from treadle.core.mode import current
from treadle.core.tensor import Tensor
from treadle.errors import ArgumentError, DTypeError
from treadle.ops.comparison import where
from treadle.ops.convert import as_tensor, cast
from treadle.ops.families import elementwise

Array = np.ndarray[Any, Any]


@elementwise(body=np.add, scalar="{0} + {1}", vjp=(lambda g, y, a, b: g, lambda g, y, a, b: g), want="sum")
def add(x1: Any, x2: Any, /) -> Tensor:
    """Sum of two tensors, element by element; of strings, their concatenation.

    >>> import treadle as td
    >>> td.add(td.asarray([1, 2]), 0.5)
    Tensor([1.5, 2.5], shape=(2,), dtype=float32)
    """
    raise NotImplementedError


@elementwise(body=np.subtract, scalar="{0} - {1}", vjp=(lambda g, y, a, b: g, lambda g, y, a, b: -g))
def subtract(x1: Any, x2: Any, /) -> Tensor:
    """Difference of two tensors, element by element."""
    raise NotImplementedError


@elementwise(body=np.multiply, scalar="{0} * {1}", vjp=(lambda g, y, a, b: g * b, lambda g, y, a, b: g * a))
def multiply(x1: Any, x2: Any, /) -> Tensor:
    """Product of two tensors, element by element."""
    raise NotImplementedError


@elementwise(
    body=np.divide, scalar="{0} / {1}", vjp=(lambda g, y, a, b: g / b, lambda g, y, a, b: -g * y / b), want="float"
)
def divide(x1: Any, x2: Any, /) -> Tensor:
    """True quotient of two tensors, element by element; integers become the default float."""
    raise NotImplementedError


@elementwise(body=np.floor_divide, scalar="floordiv_{t}({0}, {1})", want="whole")
def floor_divide(x1: Any, x2: Any, /) -> Tensor:
    """Quotient rounded down. An integer divided by zero gives 0, the least integer divided by -1 wraps."""
    raise NotImplementedError


@elementwise(
    body=np.remainder,
    scalar="mod_{t}({0}, {1})",
    vjp=(lambda g, y, a, b: g, lambda g, y, a, b: -g * floor_divide(a, b)),
    want="whole",
)
def remainder(x1: Any, x2: Any, /) -> Tensor:
    """What `floor_divide` leaves, with the sign of the divisor; for integers and a divisor of zero, 0."""
    raise NotImplementedError


def _pow_body(x: Array, y: Array) -> Array:
    if x.dtype.kind != "i" or not (y < 0).any():
        return np.power(x, y)
    # 1 and -1 keep their powers; other integers to a negative power are 0, as an integer quotient would be.
    powers = np.power(x, np.where(y < 0, y & 1, y))
    return np.asarray(np.where((y < 0) & (np.abs(x) != 1), 0, powers), x.dtype)


def _pow_base(g: Tensor, y: Tensor, x: Tensor, n: Tensor) -> Tensor:
    # The exponent 0 is kept away from 0 ** -1: the gradient of x ** 0 is 0 everywhere.
    return g * n * _pow(x, where(n == 0, 1, n - 1))


def _pow_exponent(g: Tensor, y: Tensor, x: Tensor, n: Tensor) -> Tensor:
    # At x = 0 the power is 0 (n > 0) or 1 (n = 0) on either side of n, so the gradient is taken as 0.
    zero = (x == 0) & (n >= 0) if x.dtype.kind != "c" else x == 0
    return where(zero, 0, g * y * _log(where(zero, 1, x)))


def _log(x: Tensor) -> Tensor:
    from treadle.ops.exponential import log  # exponential is built on this module

    return log(x)


@elementwise(body=_pow_body, scalar="pow_{t}({0}, {1})", vjp=(_pow_base, _pow_exponent), name="pow")
def _pow(x1: Any, x2: Any, /) -> Tensor:
    raise NotImplementedError


def pow(x1: Any, x2: Any, /) -> Tensor:
    """The first tensor to the power of the second, element by element; the gradient of `x ** 0` is 0.

    A Python number from -4 to 8, whole and not 0 or 1, means multiplications (of the reciprocal): at most 4 ULP.
    Integers to a negative power give 0 (1 and -1 excepted). Raises DTypeError for an integer tensor to a Python number
    below 0, which is meant as a float power.

    >>> import treadle as td
    >>> td.pow(td.asarray([1., 2., 3.]), 2)
    Tensor([1., 4., 9.], shape=(3,), dtype=float32)
    """
    if type(x2) in (int, float) and isinstance(x1, Tensor):
        kind = x1.dtype.kind
        if x2 < 0 and kind in "iub" and type(x2) is int:
            raise DTypeError(f"pow: an integer tensor to the power {x2}; write {float(x2)} for a float result")
        whole = _WHOLE.get(x2)
        if whole is not None and (kind in "fc" or (type(x2) is int and kind in "iu")):
            return whole(x1)
    if type(x1) is Tensor and type(x2) in (int, float) and x1.array.dtype.kind == "f" and current() is None:
        return Tensor(np.asarray(np.power(x1.array, x2)))
    return _pow(x1, x2)


pow.op = _pow.op  # type: ignore[attr-defined]


@elementwise(body=np.negative, scalar="-{0}", vjp=lambda g, y, x: -g)
def negative(x: Any, /) -> Tensor:
    """The elements with their signs changed; unsigned integers wrap."""
    raise NotImplementedError


@elementwise(body=np.positive, scalar="{0}", vjp=lambda g, y, x: g)
def positive(x: Any, /) -> Tensor:
    """The elements as they are."""
    raise NotImplementedError


def _abs_vjp(g: Tensor, y: Tensor, x: Tensor) -> Tensor:
    return g * conj(sign(x)) if x.dtype.kind == "c" else g * sign(x)


@elementwise(body=np.abs, scalar="abs_{t}({0})", vjp=_abs_vjp, out="real")
def abs(x: Any, /) -> Tensor:
    """Magnitude of each element; of complex tensors a float tensor. The gradient at 0 is 0."""
    raise NotImplementedError


def _sign_vjp(g: Tensor, y: Tensor, x: Tensor) -> Tensor | None:
    if x.dtype.kind != "c":
        return None
    size = abs(x)
    size = where(size == 0, 1, size)
    # x / |x| moves only across the ray: minus the share of the change that points along it.
    return g / size - real(g * y) * conj(y) / size


@elementwise(body=np.sign, scalar="sign_{t}({0})", vjp=_sign_vjp)
def sign(x: Any, /) -> Tensor:
    """-1, 0 or 1 by the sign of each element (NaN for NaN); of complex tensors x / |x|."""
    raise NotImplementedError


@elementwise(body=np.square, scalar="{0} * {0}", vjp=lambda g, y, x: g * (2 * x))
def square(x: Any, /) -> Tensor:
    """The square of each element."""
    raise NotImplementedError


@elementwise(body=np.sqrt, scalar="sqrt_{t}({0})", vjp=lambda g, y, x: g / (2 * y), want="float")
def sqrt(x: Any, /) -> Tensor:
    """Square root of each element; NaN below 0. The gradient at 0 is infinite."""
    raise NotImplementedError


def _rsqrt_body(x: Array) -> Array:
    return np.reciprocal(np.sqrt(x))


@elementwise(body=_rsqrt_body, scalar="rsqrt_{t}({0})", vjp=lambda g, y, x: g * (-0.5 * y * y * y), want="float")
def rsqrt(x: Any, /) -> Tensor:
    """One over the square root of each element."""
    raise NotImplementedError


@elementwise(body=np.reciprocal, scalar="{t}(1) / {0}", vjp=lambda g, y, x: -g * (y * y), want="float")
def reciprocal(x: Any, /) -> Tensor:
    """One over each element; integers become the default float."""
    raise NotImplementedError


def _fifth(x: Tensor) -> Tensor:
    return square(square(x)) * x


def _seventh(x: Tensor) -> Tensor:
    second = square(x)
    return square(second) * (second * x)


# Exponents that mean multiplications: each rounds once more, so the eighth power may be 3.5 ULP wrong. A negative power
# is one of the reciprocal, which neither overflows nor vanishes before the result does.
_WHOLE: dict[float, Callable[[Tensor], Tensor]] = {
    2: square,
    3: lambda x: square(x) * x,
    4: lambda x: square(square(x)),
    5: _fifth,
    6: lambda x: square(square(x) * x),
    7: _seventh,
    8: lambda x: square(square(square(x))),
    -1: reciprocal,
    -2: lambda x: square(reciprocal(x)),
    -3: lambda x: _WHOLE[3](reciprocal(x)),
    -4: lambda x: square(square(reciprocal(x))),
}


def _larger(g: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The gradient of `a` where it is the larger one, half of it where both are equal."""
    return where(a > b, g, where(a == b, 0.5 * g, 0))


@elementwise(
    body=np.maximum,
    scalar="max_{t}({0}, {1})",
    vjp=(lambda g, y, a, b: _larger(g, a, b), lambda g, y, a, b: _larger(g, b, a)),
    want="real",
)
def maximum(x1: Any, x2: Any, /) -> Tensor:
    """The larger of two elements; NaN if either is. Equal ones share the gradient."""
    raise NotImplementedError


@elementwise(
    body=np.minimum,
    scalar="min_{t}({0}, {1})",
    vjp=(lambda g, y, a, b: _larger(g, b, a), lambda g, y, a, b: _larger(g, a, b)),
    want="real",
)
def minimum(x1: Any, x2: Any, /) -> Tensor:
    """The smaller of two elements; NaN if either is. Equal ones share the gradient."""
    raise NotImplementedError


def clip(x: Any, /, min: Any = None, max: Any = None) -> Tensor:
    """The elements, those below `min` or above `max` replaced by it; either may be None or a tensor.

    >>> import treadle as td
    >>> td.clip(td.asarray([-1., 0.5, 2.]), min=0)
    Tensor([0. , 0.5, 2. ], shape=(3,), dtype=float32)
    """
    result = as_tensor(x)
    if min is not None:
        result = maximum(result, min)
    if max is not None:
        result = minimum(result, max)
    return result


def _hypot_share(g: Tensor, y: Tensor, x: Tensor) -> Tensor:
    return g * x / where(y == 0, 1, y)


@elementwise(
    body=np.hypot,
    scalar="hypot_{t}({0}, {1})",
    vjp=(lambda g, y, a, b: _hypot_share(g, y, a), lambda g, y, a, b: _hypot_share(g, y, b)),
    want="real float",
)
def hypot(x1: Any, x2: Any, /) -> Tensor:
    """The square root of the sum of two squares, without overflow on the way; its gradient at 0 is 0."""
    raise NotImplementedError


@elementwise(
    body=np.copysign,
    scalar="copysign_{t}({0}, {1})",
    vjp=(lambda g, y, a, b: _copysign_vjp(g, a, b), None),
    want="real float",
)
def copysign(x1: Any, x2: Any, /) -> Tensor:
    """The magnitude of the first tensor with the sign of the second."""
    raise NotImplementedError


def _copysign_vjp(g: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return g * sign(a) * copysign(1, b)


@elementwise(body=np.nextafter, scalar="nextafter_{t}({0}, {1})", want="real float")
def nextafter(x1: Any, x2: Any, /) -> Tensor:
    """The next number after the first tensor's in the direction of the second's; passes no gradient."""
    raise NotImplementedError


@elementwise(body=np.floor, scalar="floor_{t}({0})", want="real float", name="floor")
def _floor(x: Any, /) -> Tensor:
    raise NotImplementedError


@elementwise(body=np.ceil, scalar="ceil_{t}({0})", want="real float", name="ceil")
def _ceil(x: Any, /) -> Tensor:
    raise NotImplementedError


@elementwise(body=np.trunc, scalar="trunc_{t}({0})", want="real float", name="trunc")
def _trunc(x: Any, /) -> Tensor:
    raise NotImplementedError


@elementwise(body=np.rint, scalar="rint_{t}({0})", want="float", name="round")
def _round(x: Any, /) -> Tensor:
    raise NotImplementedError


def _rounded(op: Any, x: Any) -> Tensor:
    """Integers are rounded already and keep their dtype."""
    x = as_tensor(x)
    return positive(x) if x.dtype.kind in "biu" else op(x)


def floor(x: Any, /) -> Tensor:
    """Each element rounded down; integers as they are. The gradient is None, as of all rounding."""
    return _rounded(_floor, x)


def ceil(x: Any, /) -> Tensor:
    """Each element rounded up; integers as they are."""
    return _rounded(_ceil, x)


def trunc(x: Any, /) -> Tensor:
    """Each element rounded towards zero; integers as they are."""
    return _rounded(_trunc, x)


def round(x: Any, /, decimals: int = 0) -> Tensor:
    """Each element rounded to the nearest whole number (or to `decimals` places), halves to even.

    >>> import treadle as td
    >>> td.round(td.asarray([0.5, 1.5, -2.7]))
    Tensor([ 0.,  2., -3.], shape=(3,), dtype=float32)
    """
    if type(decimals) is not int or decimals:
        if not -300 <= whole("round: decimals", decimals) <= 300:
            raise ArgumentError(f"round: decimals must lie from -300 to 300, got {decimals}")
        scale = 10.0**decimals
        return _rounded(_round, as_tensor(x) * scale) / scale
    return _rounded(_round, x)


@elementwise(body=np.real, vjp=lambda g, y, x: cast(g, x.dtype), out="real", want="float", name="real")
def _real(x: Any, /) -> Tensor:
    raise NotImplementedError


@elementwise(body=np.imag, vjp=lambda g, y, x: -1j * g, out="real", want="float", name="imag")
def _imag(x: Any, /) -> Tensor:
    raise NotImplementedError


@elementwise(body=np.conj, vjp=lambda g, y, x: conj(g), want="float", name="conj")
def _conj(x: Any, /) -> Tensor:
    raise NotImplementedError


def real(x: Any, /) -> Tensor:
    """The real part; a real tensor as it is."""
    x = as_tensor(x)
    return _real(x) if x.dtype.kind == "c" else x


def imag(x: Any, /) -> Tensor:
    """The imaginary part; zeros for a real tensor."""
    x = as_tensor(x)
    return _imag(x) if x.dtype.kind == "c" else x * 0


def conj(x: Any, /) -> Tensor:
    """The complex conjugate; a real tensor as it is."""
    x = as_tensor(x)
    return _conj(x) if x.dtype.kind == "c" else x
