"""Reductions over axes.

Axes are an int, several, or None for all; `keepdims` keeps them as axes of size 1.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from treadle.core.arguments import real
from treadle.core.dim import Size
from treadle.core.dtypes import DType, as_dtype, bool_, int64, uint64
from treadle.core.mode import current
from treadle.core.op import Attrs, Op, as_array, register
from treadle.core.spec import Shape, Spec, normalize_axes, normalize_axis, shared
from treadle.core.tensor import Symbol, Tensor
from treadle.errors import DTypeError, ShapeError
from treadle.ops.arithmetic import abs, divide, sqrt, square, subtract
from treadle.ops.comparison import equal, isfinite, isnan, where
from treadle.ops.convert import as_tensor, cast, operands
from treadle.ops.elementwise import stop_gradient
from treadle.ops.exponential import exp, log

Array = np.ndarray[Any, Any]
Axis = int | Sequence[int] | None


def reduced_shape(shape: Shape, axes: tuple[int, ...], keepdims: bool) -> Shape:
    """The shape that is left when these axes are reduced."""
    if len(axes) == len(shape):
        return (1,) * len(shape) if keepdims else ()
    if keepdims:
        return tuple([1 if k in axes else size for k, size in enumerate(shape)])
    return tuple([size for k, size in enumerate(shape) if k not in axes])


def _is_empty(shape: Shape, axes: tuple[int, ...]) -> bool:
    """Whether a reduction would have to find the value of nothing."""

    def zero(size: Size) -> bool:
        return type(size) is int and size == 0

    return builtins.any(zero(shape[k]) for k in axes) and not builtins.any(
        zero(size) for k, size in enumerate(shape) if k not in axes
    )


def _check_empty(name: str, shape: Shape, axes: tuple[int, ...]) -> None:
    if _is_empty(shape, axes):
        raise ShapeError(f"{name}: no elements along axes {axes} of shape {shape}, and {name} of nothing has no value")


def _infer(name: str, dtype: DType | None, identity: bool) -> Callable[[Sequence[Spec], Attrs], tuple[Spec, ...]]:
    def infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
        (x,) = specs
        if not identity:
            _check_empty(name, x.shape, attrs["axes"])
        return (shared(reduced_shape(x.shape, attrs["axes"], attrs["keepdims"]), dtype or x.dtype),)

    return infer


def _reduction(name: str, ufunc: np.ufunc, *, vjp: Any = None, dtype: DType | None = None, identity: bool = True) -> Op:
    """Declare an op with attributes `axes` (ascending, from 0) and `keepdims`; the result keeps the dtype of x."""

    def body(x: Array, *, axes: tuple[int, ...], keepdims: bool) -> Array:
        if not identity and x.size == 0:
            _check_empty(name, x.shape, axes)
            return np.zeros(reduced_shape(x.shape, axes, keepdims), x.dtype)
        return ufunc.reduce(x, axis=axes, keepdims=keepdims, dtype=dtype or x.dtype)  # type: ignore[no-any-return]

    rules = None if vjp is None else (vjp,)
    return register(Op(name, body, _infer(name, dtype, identity), family="reduction", vjp=rules))


def _restore(g: Tensor, like: Tensor, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    """A reduced tensor with its axes put back as size 1."""
    from treadle.ops.shaping import reshape  # shaping uses sum_to, which uses this module

    return g if keepdims else reshape(g, reduced_shape(like.shape, axes, True))


def _sum_vjp(g: Tensor, y: Tensor, x: Tensor, *, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    from treadle.ops.shaping import broadcast_to

    if type(g) is Tensor and not g.array.ndim:  # one value needs no axes to be repeated
        return broadcast_to(g, x.shape)
    return broadcast_to(_restore(g, x, axes, keepdims), x.shape)


def _extreme_vjp(g: Tensor, y: Tensor, x: Tensor, *, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    """Ties share the gradient equally; where the result is NaN, the NaNs do."""
    hit = cast(equal(x, _restore(y, x, axes, keepdims)) | isnan(x), g.dtype)
    return _restore(g, x, axes, keepdims) * (hit / sum(hit, axis=axes, keepdims=True))


def _prod_vjp(g: Tensor, y: Tensor, x: Tensor, *, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    """The product of the other elements, by running products from both sides: right at zeros, to any order."""
    from treadle.ops.shaping import permute_dims, reshape

    rest = tuple(k for k in range(x.ndim) if k not in axes)
    order = (*rest, *axes)
    moved = permute_dims(x, order)
    count: Size = 1
    for k in axes:
        count = count * x.shape[k]
    rows = reshape(moved, (*[x.shape[k] for k in rest], count))
    others = reshape(_products_of_others(rows), moved.shape)
    back = tuple(order.index(k) for k in range(x.ndim))
    return _restore(g, x, axes, keepdims) * permute_dims(others, back)


def _products_of_others(rows: Tensor) -> Tensor:
    """For each element of the last axis, the product of all others there."""
    from treadle.ops.creation import eye
    from treadle.ops.shaping import expand_dims

    count = rows.shape[-1]
    if isinstance(count, int):
        return products_before(rows) * products_before(rows, reverse=True)
    # A size that is not known: each row of a square holds the elements, its own replaced by 1.
    return prod(where(eye(count, dtype=bool_), 1, expand_dims(rows, axis=-2)), axis=-1)


def products_before(rows: Tensor, reverse: bool = False) -> Tensor:
    """For each element of the last axis, the product of those before it (after it): log2(n) shifted products."""
    from treadle.ops.creation import ones
    from treadle.ops.shaping import concat
    from treadle.ops.slicing import slice_axis

    count, axis = rows.shape[-1], rows.ndim - 1

    def shifted(x: Tensor, by: int) -> Tensor:
        fill = ones((*x.shape[:-1], by), dtype=x.dtype)
        if reverse:
            return concat([slice_axis(x, axis, by, count), fill], axis=axis)
        return concat([fill, slice_axis(x, axis, 0, count - by)], axis=axis)

    if count == 0:
        return rows
    result, by = shifted(rows, 1), 1
    while by < count:
        result, by = result * shifted(result, by), by * 2
    return result


sum_op = _reduction("sum", np.add, vjp=_sum_vjp)
prod_op = _reduction("prod", np.multiply, vjp=_prod_vjp)
max_op = _reduction("max", np.maximum, vjp=_extreme_vjp, identity=False)
min_op = _reduction("min", np.minimum, vjp=_extreme_vjp, identity=False)
any_op = _reduction("any", np.logical_or, dtype=bool_)
all_op = _reduction("all", np.logical_and, dtype=bool_)


def _bind(op: Op, x: Tensor, axis: Axis, keepdims: bool) -> Tensor:
    axes = tuple(range(len(x.shape))) if axis is None else normalize_axes(axis, len(x.shape), op.name)
    attrs = {"axes": axes, "keepdims": bool(keepdims)}
    mode = current()
    if mode is None or (mode.plain and type(x) is Tensor):
        result = Tensor(as_array(op.body(x.array, **attrs)))
        if mode is not None:
            mode.note(op, (x,), attrs, result)
        return result
    return op.bind((x,), attrs)[0]


def accumulator(name: str, x: Any, dtype: Any) -> Tensor:
    """The tensor in the dtype in which it is summed: small integers and bools in 64 bits."""
    if dtype is None:
        if type(x) is Tensor and x.array.dtype.kind in "fc":
            return x
        if type(x) is Symbol and x.dtype.kind in "fc" and not x._spec.weak:
            return x
    x = as_tensor(x)
    if x.dtype.kind == "T":
        raise DTypeError(f"{name}: does not take string tensors")
    if dtype is not None:
        return cast(x, as_dtype(dtype))
    if x.dtype.kind in "bi":
        return cast(x, int64)
    return cast(x, uint64 if x.dtype.kind == "u" else x.dtype)


def sum(x: Any, /, axis: Axis = None, *, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """Sum over axes. Integers and bools are summed in 64 bits, floats in their own dtype unless `dtype` says another.

    >>> import treadle as td
    >>> td.sum(td.asarray([[1., 2.], [3., 4.]]), axis=0)
    Tensor([4., 6.], shape=(2,), dtype=float32)
    """
    return _bind(sum_op, accumulator("sum", x, dtype), axis, keepdims)


def prod(x: Any, /, axis: Axis = None, *, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """Product over axes; dtypes as in `sum`. The gradient is right where elements are zero."""
    return _bind(prod_op, accumulator("prod", x, dtype), axis, keepdims)


def max(x: Any, /, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Largest element over axes; NaN if there is one. Ties share the gradient.

    Raises ShapeError where there are no elements.
    """
    return _bind(max_op, operands((x,), "real", "max")[0], axis, keepdims)


def min(x: Any, /, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Smallest element over axes; NaN if there is one. Ties share the gradient.

    Raises ShapeError where there are no elements.
    """
    return _bind(min_op, operands((x,), "real", "min")[0], axis, keepdims)


def any(x: Any, /, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Whether an element over the axes is true; numbers count as `x != 0`."""
    return _bind(any_op, operands((x,), "truth", "any")[0], axis, keepdims)


def all(x: Any, /, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Whether all elements over the axes are true; numbers count as `x != 0`."""
    return _bind(all_op, operands((x,), "truth", "all")[0], axis, keepdims)


def _position_op(name: str, find: Callable[..., Any]) -> Op:
    """argmax and argmin: `axes` holds one axis, or all of them for the position in row-major order."""

    def body(x: Array, *, axes: tuple[int, ...], keepdims: bool) -> Array:
        _check_empty(name, x.shape, axes)
        shape = reduced_shape(x.shape, axes, keepdims)
        if x.size == 0:
            return np.zeros(shape, np.int64)
        axis = axes[0] if len(axes) == 1 else None
        return np.asarray(find(x, axis=axis), np.int64).reshape(shape)

    return register(Op(name, body, _infer(name, int64, False), family="reduction"))


argmax_op = _position_op("argmax", np.argmax)
argmin_op = _position_op("argmin", np.argmin)


def _position(op: Op, x: Any, axis: int | None, keepdims: bool) -> Tensor:
    (x,) = operands((x,), "real", op.name)
    if axis is not None:
        axis = normalize_axis(axis, len(x.shape), op.name)
    return _bind(op, x, axis, keepdims)


def argmax(x: Any, /, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """Position (int64) of the first largest element along an axis, or among all; a NaN counts as the largest."""
    return _position(argmax_op, x, axis, keepdims)


def argmin(x: Any, /, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """Position (int64) of the first smallest element along an axis, or among all; a NaN counts as the smallest."""
    return _position(argmin_op, x, axis, keepdims)


def _count(x: Tensor, axes: tuple[int, ...]) -> Size:
    """How many elements go into each result."""
    count: Size = 1
    for k in axes:
        count = count * x.shape[k]
    return count


def mean(x: Any, /, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Mean over axes; integers give the default float, nothing gives NaN."""
    (x,) = operands((x,), "float", "mean")
    axes = normalize_axes(axis, len(x.shape), "mean")
    return divide(_bind(sum_op, x, axes, keepdims), _count(x, axes))


def _less(count: Size, correction: float) -> Any:
    """count - correction, where a symbolic count takes part as a whole number if it can."""
    if real("the correction of a variance", correction).is_integer():
        return count - int(correction)
    return subtract(as_tensor(count), correction)


def var(x: Any, /, axis: Axis = None, *, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Variance over axes: the squared distances from the mean, summed, by (count - correction).

    Of complex tensors it is real.
    """
    (x,) = operands((x,), "float", "var")
    axes = normalize_axes(axis, len(x.shape), "var")
    distance = subtract(x, mean(x, axes, keepdims=True))
    if x.dtype.kind == "c":
        distance = abs(distance)
    count = _count(x, axes)
    return divide(_bind(sum_op, square(distance), axes, keepdims), _less(count, correction))


def std(x: Any, /, axis: Axis = None, *, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Standard deviation over axes: the square root of `var`."""
    return sqrt(var(x, axis, correction=correction, keepdims=keepdims))


def logsumexp(x: Any, /, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over axes, with the largest element taken out so that nothing overflows.

    -inf where all elements are -inf, inf where one is inf.

    >>> import treadle as td
    >>> td.logsumexp(td.asarray([1000., 1000.]))
    Tensor(1000.6932, shape=(), dtype=float32)
    """
    (x,) = operands((x,), "real float", "logsumexp")
    axes = normalize_axes(axis, len(x.shape), "logsumexp")
    top = stop_gradient(_bind(max_op, x, axes, True))
    top = where(isfinite(top), top, 0)
    total = _bind(sum_op, exp(x - top), axes, True)
    nothing = total == 0  # every element is -inf; log(0) is kept out, and 0 / 0 from the gradient
    result = where(nothing, -float("inf"), log(where(nothing, 1, total)) + top)
    from treadle.ops.shaping import reshape

    return result if keepdims else reshape(result, reduced_shape(x.shape, axes, False))


def count_nonzero(x: Any, /, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """How many elements over the axes are not zero, as int64."""
    return _bind(sum_op, cast(operands((x,), "truth", "count_nonzero")[0], int64), axis, keepdims)
