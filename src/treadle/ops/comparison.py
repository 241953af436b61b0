"""Elementwise questions and choices: comparisons, logic, bits, tests for NaN and infinities, `where`."""

from __future__ import annotations

from typing import Any

import numpy as np

from treadle.core.mode import current
from treadle.core.spec import broadcast_shapes
from treadle.core.tensor import Symbol, Tensor
from treadle.ops.convert import AS_THEY_ARE, as_tensor, operands, traced_pair
from treadle.ops.families import NO_ATTRS, SCALARS, elementwise
from treadle.ops.select import choose


@elementwise(body=np.equal, scalar="{0} == {1}", want="any", out="bool")
def equal(x1: Any, x2: Any, /) -> Tensor:
    """Whether two elements are equal; strings too. NaN equals nothing."""
    raise NotImplementedError


@elementwise(body=np.not_equal, scalar="{0} != {1}", want="any", out="bool")
def not_equal(x1: Any, x2: Any, /) -> Tensor:
    """Whether two elements differ; strings too."""
    raise NotImplementedError


@elementwise(body=np.less, scalar="{0} < {1}", want="ordered", out="bool")
def less(x1: Any, x2: Any, /) -> Tensor:
    """Whether the first element is below the second."""
    raise NotImplementedError


@elementwise(body=np.less_equal, scalar="{0} <= {1}", want="ordered", out="bool")
def less_equal(x1: Any, x2: Any, /) -> Tensor:
    """Whether the first element is at most the second."""
    raise NotImplementedError


@elementwise(body=np.greater, scalar="{0} > {1}", want="ordered", out="bool")
def greater(x1: Any, x2: Any, /) -> Tensor:
    """Whether the first element is above the second."""
    raise NotImplementedError


@elementwise(body=np.greater_equal, scalar="{0} >= {1}", want="ordered", out="bool")
def greater_equal(x1: Any, x2: Any, /) -> Tensor:
    """Whether the first element is at least the second."""
    raise NotImplementedError


@elementwise(body=np.logical_and, scalar="{0} & {1}", want="truth", out="bool")
def logical_and(x1: Any, x2: Any, /) -> Tensor:
    """Whether both elements are true; numbers count as `x != 0`."""
    raise NotImplementedError


@elementwise(body=np.logical_or, scalar="{0} | {1}", want="truth", out="bool")
def logical_or(x1: Any, x2: Any, /) -> Tensor:
    """Whether an element of the two is true; numbers count as `x != 0`."""
    raise NotImplementedError


@elementwise(body=np.logical_xor, scalar="{0} ^ {1}", want="truth", out="bool")
def logical_xor(x1: Any, x2: Any, /) -> Tensor:
    """Whether exactly one of two elements is true; numbers count as `x != 0`."""
    raise NotImplementedError


@elementwise(body=np.logical_not, scalar="not {0}", want="truth", out="bool")
def logical_not(x: Any, /) -> Tensor:
    """Whether the element is false; numbers count as `x != 0`."""
    raise NotImplementedError


@elementwise(body=np.bitwise_and, scalar="{0} & {1}", want="integer")
def bitwise_and(x1: Any, x2: Any, /) -> Tensor:
    """The bits that two integers share; of bools, whether both are true."""
    raise NotImplementedError


@elementwise(body=np.bitwise_or, scalar="{0} | {1}", want="integer")
def bitwise_or(x1: Any, x2: Any, /) -> Tensor:
    """The bits of either of two integers; of bools, whether one is true."""
    raise NotImplementedError


@elementwise(body=np.bitwise_xor, scalar="{0} ^ {1}", want="integer")
def bitwise_xor(x1: Any, x2: Any, /) -> Tensor:
    """The bits in which two integers differ; of bools, whether they differ."""
    raise NotImplementedError


@elementwise(body=np.invert, scalar="~{0}", want="integer", name="bitwise_invert")
def _invert(x: Any, /) -> Tensor:
    raise NotImplementedError


def bitwise_invert(x: Any, /) -> Tensor:
    """All bits of an integer turned over; of a bool, its opposite."""
    x = as_tensor(x)
    return logical_not(x) if x.dtype.kind == "b" else _invert(x)


# Machines leave shifts by the width and beyond open, NumPy does not, nor do the kernels' shifts.
@elementwise(body=np.left_shift, scalar="left_shift_{t}({0}, {1})", want="shift")
def bitwise_left_shift(x1: Any, x2: Any, /) -> Tensor:
    """The bits moved up by the second integer, zeros moving in."""
    raise NotImplementedError


@elementwise(body=np.right_shift, scalar="right_shift_{t}({0}, {1})", want="shift")
def bitwise_right_shift(x1: Any, x2: Any, /) -> Tensor:
    """The bits moved down by the second integer; copies of the sign move in."""
    raise NotImplementedError


@elementwise(body=np.isnan, scalar="{0} != {0}", want="numeric", out="bool")
def isnan(x: Any, /) -> Tensor:
    """Whether the element is NaN."""
    raise NotImplementedError


# x - x is 0 for what is finite, NaN for what is not; in integers it is always 0.
@elementwise(body=np.isfinite, scalar="{0} - {0} == {0} - {0}", want="numeric", out="bool")
def isfinite(x: Any, /) -> Tensor:
    """Whether the element is neither NaN nor infinite."""
    raise NotImplementedError


@elementwise(body=np.isinf, scalar="isinf_{t}({0})", want="numeric", out="bool")
def isinf(x: Any, /) -> Tensor:
    """Whether the element is infinite."""
    raise NotImplementedError


@elementwise(body=np.signbit, scalar="copysign_{t}({t}(1), {0}) < {t}(0)", want="real float", out="bool")
def signbit(x: Any, /) -> Tensor:
    """Whether the sign bit is set: true for -0.0 too."""
    raise NotImplementedError


@elementwise(
    body=choose,
    scalar="select({0}, {1}, {2})",
    vjp=(None, lambda g, y, c, a, b: where(c, g, 0), lambda g, y, c, a, b: where(c, 0, g)),
    name="where",
)
def _where(condition: Any, x1: Any, x2: Any, /) -> Tensor:
    raise NotImplementedError


_where_op = _where.op  # type: ignore[attr-defined]


def _where_at_once(condition: np.ndarray[Any, Any], x1: Any, x2: Any) -> Tensor | None:
    """`where` without promotion: tensors of one dtype, or one and a Python number that takes its dtype."""
    if type(x2) is Tensor:
        b = x2.array
        if type(x1) is Tensor:
            a = x1.array
            fits = a.dtype is b.dtype
        else:
            a = x1
            fits = type(x1) in SCALARS and b.dtype.kind in SCALARS[type(x1)]
    elif type(x1) is Tensor and type(x2) in SCALARS:
        a, b = x1.array, x2
        fits = a.dtype.kind in SCALARS[type(x2)]
    else:
        return None
    if not fits or condition.dtype.kind != "b":
        return None
    try:
        return Tensor(choose(condition, a, b))
    except (ValueError, OverflowError):
        return None  # a misfit: the longer way reports it


_ANY = AS_THEY_ARE["any"]


def where(condition: Any, x1: Any, x2: Any, /) -> Tensor:
    """Elements of `x1` where the condition holds, else of `x2`; all three are broadcast, `x1` and `x2` promoted.

    The gradient goes only to the element taken. Guard the input of the other one to keep its 0 * inf out.

    >>> import treadle as td
    >>> td.where(td.asarray([True, False]), td.asarray([1, 2]), -1)
    Tensor([ 1, -1], shape=(2,), dtype=int64)
    """
    if type(condition) is Tensor:
        mode = current()
        if mode is None or mode.plain:
            found = _where_at_once(condition.array, x1, x2)
            if found is not None:
                if mode is not None:
                    a = x1 if type(x1) is Tensor else Tensor(np.asarray(x1, found.array.dtype))
                    b = x2 if type(x2) is Tensor else Tensor(np.asarray(x2, found.array.dtype))
                    mode.note(_where_op, (condition, a, b), NO_ATTRS, found)
                return found
    (chosen,) = operands((condition,), "truth", "where")
    pair = traced_pair(x1, x2, _ANY) if type(x1) is Symbol or type(x2) is Symbol else None
    first, second = pair or operands((x1, x2), "any", "where")
    if current() is None:
        broadcast_shapes(chosen.shape, first.shape, second.shape, op="where")
    result: Tensor = _where_op.bind((chosen, first, second), NO_ATTRS)[0]
    return result
