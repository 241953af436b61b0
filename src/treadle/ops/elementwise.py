"""The whole elementwise catalogue in one namespace, with casts and `stop_gradient`."""
# ruff: noqa: F401  (imported to be found here)

from __future__ import annotations

from typing import Any

from treadle.core.dtypes import as_dtype
from treadle.core.op import Op, register
from treadle.core.spec import Spec
from treadle.core.tensor import Tensor
from treadle.ops.arithmetic import (
    abs,
    add,
    ceil,
    clip,
    conj,
    copysign,
    divide,
    floor,
    floor_divide,
    hypot,
    imag,
    maximum,
    minimum,
    multiply,
    negative,
    nextafter,
    positive,
    pow,
    real,
    reciprocal,
    remainder,
    round,
    rsqrt,
    sign,
    sqrt,
    square,
    subtract,
    trunc,
)
from treadle.ops.comparison import (
    bitwise_and,
    bitwise_invert,
    bitwise_left_shift,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    equal,
    greater,
    greater_equal,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    not_equal,
    signbit,
    where,
)
from treadle.ops.convert import as_tensor, check_device
from treadle.ops.convert import cast as _cast
from treadle.ops.exponential import erf, erfc, exp, exp2, expm1, log, log1p, log2, log10, logaddexp, sigmoid
from treadle.ops.trigonometric import (
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    cos,
    cosh,
    sin,
    sinh,
    tan,
    tanh,
)

stop_gradient_op = register(
    Op(
        "stop_gradient",
        lambda x: x,
        lambda specs, attrs: (Spec(specs[0].shape, specs[0].dtype),),
        family="view",
        vjp=lambda g, y, x: None,
    )
)


def stop_gradient(x: Any, /) -> Tensor:
    """The tensor itself, through which no gradient flows."""
    return stop_gradient_op.bind((as_tensor(x),), {})[0]


def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Tensor:
    """The elements in another dtype: floats are cut towards zero for integers, complex ones lose their imaginary part.

    Tensors are immutable, so `copy` changes nothing. Gradients pass between floating dtypes.

    >>> import treadle as td
    >>> td.astype(td.asarray([1.7, -1.7]), td.int32)
    Tensor([ 1, -1], shape=(2,), dtype=int32)
    """
    check_device(device)
    return _cast(as_tensor(x), as_dtype(dtype))


cast = astype
