"""Running sums, products, extremes and logarithms of sums of exponentials along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle.core.op import Attrs, Op, register
from treadle.core.spec import Spec, normalize_axis
from treadle.core.tensor import Tensor
from treadle.errors import ShapeError
from treadle.ops.comparison import isinf, where
from treadle.ops.convert import as_tensor, operands
from treadle.ops.creation import arange, full, zeros
from treadle.ops.exponential import exp
from treadle.ops.reductions import accumulator, products_before
from treadle.ops.searching import add_along_op
from treadle.ops.shaping import concat, flatten, moveaxis, reshape
from treadle.ops.slicing import flip, slice_axis

Array = np.ndarray[Any, Any]


def _cumsum_body(x: Array, *, axis: int, reverse: bool) -> Array:
    if reverse:
        return np.flip(np.cumsum(np.flip(x, axis), axis, dtype=x.dtype), axis)
    return np.cumsum(x, axis, dtype=x.dtype)


def _cumsum_vjp(g: Tensor, y: Tensor, x: Tensor, *, axis: int, reverse: bool) -> Tensor:
    return cumsum_op.bind((g,), {"axis": axis, "reverse": not reverse})[0]


def _same(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    return (Spec(specs[0].shape, specs[0].dtype),)


cumsum_op = register(Op("cumsum", _cumsum_body, _same, family="host", vjp=_cumsum_vjp))


def _along(name: str, x: Any, axis: int | None, dtype: Any) -> tuple[Tensor, int]:
    """The tensor to accumulate and its axis; without an axis, all elements in row-major order."""
    x = accumulator(name, x, dtype)
    if axis is None:
        return (x, 0) if len(x.shape) == 1 else (flatten(x), 0)
    return x, normalize_axis(axis, len(x.shape), name)


def cumsum(x: Any, /, axis: int | None = None, *, dtype: Any = None, reverse: bool = False) -> Tensor:
    """Running sums along an axis (None: of all elements in row-major order), from the end with `reverse`.

    >>> import treadle as td
    >>> td.cumsum(td.asarray([1, 2, 3]))
    Tensor([1, 3, 6], shape=(3,), dtype=int64)
    """
    x, axis = _along("cumsum", x, axis, dtype)
    return cumsum_op.bind((x,), {"axis": axis, "reverse": bool(reverse)})[0]


def _standard_axis(name: str, x: Any, axis: int | None) -> int:
    x = as_tensor(x)
    if axis is None:
        if len(x.shape) != 1:
            raise ShapeError(f"{name}: needs an axis for {len(x.shape)} axes")
        return 0
    return normalize_axis(axis, len(x.shape), name)


def _initial(x: Tensor, axis: int, value: int) -> Tensor:
    """The tensor with one entry of `value` before the others along an axis."""
    return concat([full((*x.shape[:axis], 1, *x.shape[axis + 1 :]), value, dtype=x.dtype), x], axis=axis)


def cumulative_sum(x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Tensor:
    """Running sums along an axis, which may be left out for one axis; `include_initial` puts a 0 before them."""
    axis = _standard_axis("cumulative_sum", x, axis)
    result = cumsum(x, axis, dtype=dtype)
    return _initial(result, axis, 0) if include_initial else result


def _cumprod_body(x: Array, *, axis: int) -> Array:
    return np.cumprod(x, axis, dtype=x.dtype)


def _cumprod_vjp(g: Tensor, y: Tensor, x: Tensor, *, axis: int) -> Tensor:
    """Right at zeros: (product before i) * r_i, where r_i = g_i + x_{i+1} r_{i+1}, by doubling steps."""
    rows, slope = moveaxis(x, axis, -1), moveaxis(g, axis, -1)
    return moveaxis(products_before(rows) * _carried("cumulative_prod", slope, _shift_back(rows, 1)), -1, axis)


def _carried(name: str, slope: Tensor, factor: Tensor) -> Tensor:
    """r with r_i = slope_i + factor_i r_{i+1} along the last axis, by doubling steps."""
    count, by = slope.shape[-1], 1
    if not isinstance(count, int):
        raise ShapeError(f"{name}: its gradient needs an axis of known size, got {count}")
    while by < count:
        slope = slope + factor * _shift_back(slope, by)
        factor, by = factor * _shift_back(factor, by), by * 2
    return slope


def _shift_back(x: Tensor, by: int) -> Tensor:
    """The last axis moved towards its front, zeros moving in."""
    axis, count = x.ndim - 1, x.shape[-1]
    by = min(by, count)
    return concat([slice_axis(x, axis, by, count), zeros((*x.shape[:-1], by), dtype=x.dtype)], axis=axis)


cumprod_op = register(Op("cumprod", _cumprod_body, _same, family="host", vjp=_cumprod_vjp))


def cumprod(x: Any, /, axis: int | None = None, *, dtype: Any = None) -> Tensor:
    """Running products along an axis (None: of all elements in row-major order)."""
    x, axis = _along("cumprod", x, axis, dtype)
    return cumprod_op.bind((x,), {"axis": axis})[0]


def _extreme_vjp(g: Tensor, y: Tensor, x: Tensor, *, axis: int) -> Tensor:
    """Each element's gradient goes to where its extreme stands: the last of equal ones so far."""
    count = x.shape[axis]
    places = reshape(arange(count), tuple([count if k == axis else 1 for k in range(x.ndim)]))
    at = cummax_op.bind((where(x == y, places, 0),), {"axis": axis})[0]
    return add_along_op.bind((g, at), {"axis": axis, "size": count})[0]


def _running(name: str, step: np.ufunc, vjp: Any) -> Op:
    body: Any = lambda x, *, axis: step.accumulate(x, axis)  # noqa: E731
    return register(Op(name, body, _same, family="host", vjp=vjp))


cummax_op = _running("cummax", np.maximum, _extreme_vjp)
cummin_op = _running("cummin", np.minimum, _extreme_vjp)


def _run(op: Op, want: str, x: Any, axis: int | None, reverse: bool) -> Tensor:
    """A running result, from the end with `reverse`; without an axis, of all elements in row-major order."""
    (x,) = operands((x,), want, op.name)
    if axis is None:
        x, axis = flatten(x), 0
    axis = normalize_axis(axis, x.ndim, op.name)
    if reverse:
        return flip(op.bind((flip(x, axis=axis),), {"axis": axis})[0], axis=axis)
    return op.bind((x,), {"axis": axis})[0]


def cummax(x: Any, /, axis: int | None = None, *, reverse: bool = False) -> Tensor:
    """The largest element so far along an axis (None: of all elements in row-major order); from a NaN on, NaN.

    With `reverse` from the end. The gradient goes to the last of equal elements.

    >>> import treadle as td
    >>> td.cummax(td.asarray([1, 3, 2, 5]))
    Tensor([1, 3, 3, 5], shape=(4,), dtype=int64)
    """
    return _run(cummax_op, "real", x, axis, reverse)


def cummin(x: Any, /, axis: int | None = None, *, reverse: bool = False) -> Tensor:
    """The smallest element so far along an axis (None: of all elements in row-major order); from a NaN on, NaN.

    With `reverse` from the end. The gradient goes to the last of equal elements.
    """
    return _run(cummin_op, "real", x, axis, reverse)


def _logcumsumexp_vjp(g: Tensor, y: Tensor, x: Tensor, *, axis: int) -> Tensor:
    """exp(x_i - y_i) r_i, where r_i = g_i + exp(y_i - y_{i+1}) r_{i+1}: no factor is above 1."""
    rows, slope, ends = (moveaxis(t, axis, -1) for t in (x, g, y))
    count = slope.shape[-1]
    inside = arange(count) < count - 1
    factor = where(inside, _share(ends, where(inside, _shift_back(ends, 1), ends)), 0)
    return moveaxis(_share(rows, ends) * _carried("logcumsumexp", slope, factor), -1, axis)


def _share(a: Tensor, b: Tensor) -> Tensor:
    """exp(a - b), 0 where both are -inf."""
    none = (a == b) & isinf(a)
    return where(none, 0, exp(where(none, 0, a) - where(none, 0, b)))


logcumsumexp_op = _running("logcumsumexp", np.logaddexp, _logcumsumexp_vjp)


def logcumsumexp(x: Any, /, axis: int | None = None, *, reverse: bool = False) -> Tensor:
    """The logarithms of running sums of exp(x) along an axis (None: of all elements in row-major order), no overflow.

    With `reverse` from the end. The gradient needs an axis of known size.

    >>> import treadle as td
    >>> td.logcumsumexp(td.asarray([0., -1000., 1000.]))
    Tensor([   0.,    0., 1000.], shape=(3,), dtype=float32)
    """
    return _run(logcumsumexp_op, "real float", x, axis, reverse)


def cumulative_prod(x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Tensor:
    """Running products along an axis, which may be left out for one axis; `include_initial` puts a 1 before them."""
    axis = _standard_axis("cumulative_prod", x, axis)
    result = cumprod(x, axis, dtype=dtype)
    return _initial(result, axis, 1) if include_initial else result
