"""Picking and ordering: take, take_along_axis, one_hot, sort, searchsorted; and, on values only, nonzero and unique."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from treadle.core.arguments import one_of, whole
from treadle.core.dim import Size
from treadle.core.dtypes import as_dtype, bool_, default_float, dtype_name, int64
from treadle.core.op import Array, Attrs, Op
from treadle.core.spec import Shape, Spec, broadcast_shapes, normalize_axis
from treadle.core.tensor import Tensor
from treadle.errors import DTypeError, ShapeError, TraceError
from treadle.ops.comparison import equal
from treadle.ops.convert import as_tensor, cast, operands
from treadle.ops.families import declare
from treadle.ops.indexing import as_index, gather, known_values, out_of_range
from treadle.ops.shaping import broadcast_to, expand_dims, flatten, reshape

# -- take --------------------------------------------------------------------------------------------------------------


def _indices(value: Any, op: str) -> Tensor:
    found = as_index(value)
    tensor = found if isinstance(found, Tensor) else as_tensor(found)
    if tensor.dtype.kind not in "iu":
        raise DTypeError(f"{op}: indices must be integers, got {dtype_name(tensor.dtype)}")
    return tensor


def take(x: Any, indices: Any, /, *, axis: int | None = None) -> Tensor:
    """Elements of `x` at integer indices along `axis`, which the indices' axes replace (None: of the flattened tensor).

    Negative indices count from the end. Raises IndexOutOfRange naming axis, index and size.

    >>> import treadle as td
    >>> td.take(td.asarray([10, 20, 30]), td.asarray([2, 0])).tolist()
    [30, 10]
    """
    x = as_tensor(x)
    if axis is None:
        x, axis = flatten(x), 0
    return gather(x, [_indices(indices, "take")], [normalize_axis(axis, x.ndim, "take")])


def _along(op: str, shape: tuple[int, ...], indices: Array, axis: int) -> tuple[Any, ...]:
    size = shape[axis]
    if ((indices < -size) | (indices >= size)).any():
        error = out_of_range(op, np.empty(shape, np.bool_), [indices], [axis])
        assert error is not None
        raise error
    grid: list[Any] = list(np.ix_(*[np.arange(n) for n in indices.shape]))
    grid[axis] = indices
    return tuple(grid)


take_along_op: Op = declare(
    "take_along_axis",
    lambda x, indices, *, axis: x[_along("take_along_axis", x.shape, indices, axis)],
    lambda specs, attrs: (specs[0].with_shape(specs[1].shape),),
    family="indexing",
    vjp=lambda g, y, x, indices, *, axis: (
        add_along_op.bind((g, indices), {"axis": axis, "size": x.shape[axis]})[0],
        None,
    ),
)


def _add_along_body(g: Array, indices: Array, *, axis: int, size: int) -> Array:
    shape = (*g.shape[:axis], size, *g.shape[axis + 1 :])
    out = np.zeros(shape, g.dtype)
    np.add.at(out, _along("add_along_axis", shape, indices, axis), g)
    return out


def _add_along_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    shape: list[Size] = list(specs[0].shape)
    shape[attrs["axis"]] = attrs["size"]
    return (specs[0].with_shape(tuple(shape)),)


# The gradient of take_along_axis: zeros, with each element of g added where it was taken.
add_along_op: Op = declare(
    "add_along_axis",
    _add_along_body,
    _add_along_infer,
    family="indexing",
    vjp=lambda g, y, x, indices, *, axis, size: (take_along_op.bind((g, indices), {"axis": axis})[0], None),
)


def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Tensor:
    """Elements of `x` at indices along one axis, every line along it with its own; other axes broadcast.

    Undoes `argsort`. Raises IndexOutOfRange, and ShapeError when the other axes do not fit.
    """
    x, picks = as_tensor(x), _indices(indices, "take_along_axis")
    if picks.ndim != x.ndim:
        raise ShapeError(
            f"take_along_axis: shapes {tuple(x.shape)} and {tuple(picks.shape)} must have as many axes as each other"
        )
    axis = normalize_axis(axis, x.ndim, "take_along_axis")

    def without(shape: Shape) -> Shape:
        return (*shape[:axis], 1, *shape[axis + 1 :])

    common = broadcast_shapes(without(x.shape), without(picks.shape), op="take_along_axis")
    x = broadcast_to(x, (*common[:axis], x.shape[axis], *common[axis + 1 :]))
    picks = broadcast_to(picks, (*common[:axis], picks.shape[axis], *common[axis + 1 :]))
    return take_along_op.bind((x, picks), {"axis": axis})[0]


def one_hot(x: Any, /, num_classes: int, *, axis: int = -1, dtype: Any = None) -> Tensor:
    """1 at the class that each integer names and 0 elsewhere, along a new axis; a class out of range has no 1.

    dtype: by default the default float.

    >>> import treadle as td
    >>> td.one_hot(td.asarray([1, 0]), 3, dtype=td.int32).tolist()
    [[0, 1, 0], [1, 0, 0]]
    """
    classes = _indices(x, "one_hot")
    axis = normalize_axis(axis, classes.ndim + 1, "one_hot")
    from treadle.ops.creation import arange  # creation stands on modules that stand on this one

    numbers = arange(whole("one_hot: num_classes", num_classes, 0), dtype=int64)
    row = reshape(cast(numbers, classes.dtype), (-1, *[1] * (classes.ndim - axis)))
    return cast(equal(expand_dims(classes, axis=axis), row), default_float() if dtype is None else as_dtype(dtype))


# -- order -------------------------------------------------------------------------------------------------------------


def _order(x: Array, *, axis: int, descending: bool, stable: bool) -> Array:
    kind: Any = "stable" if stable else None
    if descending and x.dtype.kind in "fc":
        return np.argsort(-x, axis=axis, kind=kind)
    if descending and x.dtype.kind in "biu":
        return np.argsort(~x, axis=axis, kind=kind)
    order = np.argsort(np.flip(x, axis) if descending else x, axis=axis, kind=kind)
    return x.shape[axis] - 1 - np.flip(order, axis) if descending else order


def _sort_body(x: Array, *, axis: int, descending: bool, stable: bool) -> Array:
    if descending and x.dtype.kind in "fc":
        return -np.sort(-x, axis=axis)
    ordered = np.sort(x, axis=axis)
    return np.flip(ordered, axis) if descending else ordered


def _sort_vjp(g: Tensor, y: Tensor, x: Tensor, **attrs: Any) -> Tensor:
    order = argsort_op.bind((x,), attrs)[0]
    axis = attrs["axis"]
    return add_along_op.bind((g, order), {"axis": axis, "size": x.shape[axis]})[0]


sort_op: Op = declare("sort", _sort_body, lambda s, a: (s[0].with_shape(s[0].shape),), family="host", vjp=_sort_vjp)
argsort_op: Op = declare("argsort", _order, lambda s, a: (Spec(s[0].shape, int64),), family="host")


def sort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The elements in ascending (or descending) order along an axis; NaN comes last either way."""
    x = as_tensor(x)
    axis = normalize_axis(axis, x.ndim, "sort")
    return sort_op.bind((x,), {"axis": axis, "descending": bool(descending), "stable": bool(stable)})[0]


def argsort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The int64 indices that sort along an axis; NaN comes last either way."""
    x = as_tensor(x)
    axis = normalize_axis(axis, x.ndim, "argsort")
    return argsort_op.bind((x,), {"axis": axis, "descending": bool(descending), "stable": bool(stable)})[0]


def _searchsorted_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    return (Spec(specs[1].shape, int64),)


searchsorted_op: Op = declare(
    "searchsorted",
    lambda x1, x2, *, side: np.searchsorted(x1, x2, side=side).astype(np.int64),
    _searchsorted_infer,
    family="host",
)


def searchsorted(x1: Any, x2: Any, /, *, side: str = "left", sorter: Any = None) -> Tensor:
    """Where the elements of `x2` would have to be put into the sorted, 1-d `x1` to keep it sorted; int64.

    side: "left" (before equal elements) or "right". sorter: indices that sort `x1`, when it is not sorted itself.
    """
    one_of("searchsorted: side", side, "left", "right")
    first, second = operands((x1, x2), "any", "searchsorted")
    if first.ndim != 1:
        raise ShapeError(f"searchsorted: the sorted tensor must have one axis, got shape {tuple(first.shape)}")
    if sorter is not None:
        first = take(first, sorter)
    return searchsorted_op.bind((first, second), {"side": side})[0]


# -- results whose size depends on values ------------------------------------------------------------------------------


def values(x: Any, op: str, instead: str) -> Array:
    """The array of a tensor for a function whose result's size depends on values; TraceError for a traced one."""
    array = known_values(as_tensor(x))
    if array is None:
        raise TraceError(
            f"{op}: the size of its result depends on values, which are not known while tracing; {instead}"
        )
    return array


def nonzero(x: Any, /) -> tuple[Tensor, ...]:
    """The indices of the elements that are not 0, one int64 tensor an axis; eager only.

    Raises TraceError on a traced tensor: the result's size is not known then.
    """
    array = values(x, "nonzero", "use td.where(condition, a, b), or td.py_function with a padded result")
    if not array.ndim:
        raise ShapeError("nonzero: needs one axis or more")
    return tuple(Tensor(index) for index in np.nonzero(array))


def argwhere(x: Any, /) -> Tensor:
    """The indices of the elements that are not 0, one row an element; eager only."""
    return Tensor(np.argwhere(values(x, "argwhere", "use td.where(condition, a, b)")))


class UniqueAll(NamedTuple):
    """What `unique_all` gives."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """What `unique_counts` gives."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """What `unique_inverse` gives."""

    values: Tensor
    inverse_indices: Tensor


_PADDED = "use td.sort, or td.py_function with a padded result"


def unique_all(x: Any, /) -> UniqueAll:
    """Distinct elements, ascending (each NaN is its own), where each first stands, how to rebuild `x`, and counts."""
    array = values(x, "unique_all", _PADDED)
    found = np.unique(array, return_index=True, return_inverse=True, return_counts=True, equal_nan=False)
    distinct, first, inverse, counts = found
    return UniqueAll(Tensor(distinct), Tensor(first), Tensor(inverse.reshape(array.shape)), Tensor(counts))


def unique_counts(x: Any, /) -> UniqueCounts:
    """Distinct elements, ascending, and how often each occurs; eager only."""
    found = np.unique(values(x, "unique_counts", _PADDED), return_counts=True, equal_nan=False)
    return UniqueCounts(Tensor(found[0]), Tensor(found[1]))


def unique_inverse(x: Any, /) -> UniqueInverse:
    """Distinct elements, ascending, and the indices that rebuild `x` from them; eager only."""
    array = values(x, "unique_inverse", _PADDED)
    found = np.unique(array, return_inverse=True, equal_nan=False)
    return UniqueInverse(Tensor(found[0]), Tensor(found[1].reshape(array.shape)))


def unique_values(x: Any, /) -> Tensor:
    """Distinct elements, ascending; eager only. Raises TraceError on a traced tensor."""
    return Tensor(np.unique(values(x, "unique_values", _PADDED), equal_nan=False))


unique = unique_values


def isin(x1: Any, x2: Any, /, *, invert: bool = False) -> Tensor:
    """Whether each element of `x1` is among those of `x2`."""
    first, second = operands((x1, x2), "any", "isin")
    return isin_op.bind((first, second), {"invert": bool(invert)})[0]


isin_op: Op = declare(
    "isin",
    lambda x1, x2, *, invert: np.isin(x1, x2, invert=invert),
    lambda specs, attrs: (Spec(specs[0].shape, bool_),),
    family="host",
)

__all__ = [
    "argsort",
    "argwhere",
    "isin",
    "nonzero",
    "one_hot",
    "searchsorted",
    "sort",
    "take",
    "take_along_axis",
    "unique",
    "unique_all",
    "unique_counts",
    "unique_inverse",
    "unique_values",
]
