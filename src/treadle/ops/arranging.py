"""What rearranges tensors, made of the primitives: split, tile, repeat, pad, roll, meshgrid, triangles, diagonals."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle.core.arguments import one_of, whole, wholes
from treadle.core.dim import Dim, Size
from treadle.core.dtypes import int64
from treadle.core.spec import normalize_axis
from treadle.core.tensor import Tensor
from treadle.errors import ArgumentError, ShapeError
from treadle.ops.arithmetic import subtract
from treadle.ops.comparison import equal, greater_equal, less_equal, where
from treadle.ops.convert import as_tensor, scalar
from treadle.ops.indexing import gather
from treadle.ops.shaping import as_sizes, broadcast_to, concat, expand_dims, flatten, moveaxis, reshape, squeeze
from treadle.ops.slicing import pad_slice, slice_axis

# -- apart -------------------------------------------------------------------------------------------------------------


def shape(x: Any, /) -> tuple[Size, ...]:
    """The sizes of the axes, as a tuple: ints, or `td.Dim` where a spec left one open."""
    return tuple(as_tensor(x).shape)


def split(x: Any, /, indices_or_sections: Any, *, axis: int = 0) -> list[Tensor]:
    """The tensor cut along an axis: into so many equal parts (an int), or before the given indices (a sequence).

    Raises ShapeError when the axis does not divide evenly.

    >>> import treadle as td
    >>> [part.tolist() for part in td.split(td.asarray([1, 2, 3, 4]), 2)]
    [[1, 2], [3, 4]]
    """
    x = as_tensor(x)
    axis = normalize_axis(axis, x.ndim, "split")
    size = x.shape[axis]
    if isinstance(indices_or_sections, (int, np.integer)):
        count = int(indices_or_sections)
        if count < 1 or (isinstance(size, int) and size % count):
            raise ShapeError(f"split: axis {axis} of size {size} cannot be cut into {count} equal parts")
        part = size // count
        cuts: list[Size] = [part * k for k in range(count)]
    else:
        cuts = [0, *(_clamped(k, size) for k in as_sizes(indices_or_sections))]
    ends = [*cuts[1:], size]
    return [slice_axis(x, axis, a, _at_least(b, a)) for a, b in zip(cuts, ends, strict=True)]


def _clamped(index: Size, size: Size) -> Size:
    if isinstance(index, int) and index < 0:
        index = index + size
    return max(0, min(index, size)) if isinstance(index, int) and isinstance(size, int) else index


def _at_least(stop: Size, start: Size) -> Size:
    return max(stop, start) if isinstance(stop, int) and isinstance(start, int) else stop


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices along an axis, each without it. Raises ShapeError when the axis's size is symbolic."""
    x = as_tensor(x)
    axis = normalize_axis(axis, x.ndim, "unstack")
    size = x.shape[axis]
    if isinstance(size, Dim):
        raise ShapeError(f"unstack: the size {size} of axis {axis} is not known while tracing")
    return tuple(squeeze(slice_axis(x, axis, k, k + 1), axis) for k in range(size))


# -- more of the same --------------------------------------------------------------------------------------------------


def tile(x: Any, repetitions: Any, /) -> Tensor:
    """The whole tensor repeated along each axis; fewer repetitions than axes belong to the last ones.

    >>> import treadle as td
    >>> td.tile(td.asarray([1, 2]), (2, 2)).tolist()
    [[1, 2, 1, 2], [1, 2, 1, 2]]
    """
    x = as_tensor(x)
    counts = as_sizes(repetitions)
    rank = max(len(counts), x.ndim)
    counts = (1,) * (rank - len(counts)) + counts
    sizes = (1,) * (rank - x.ndim) + tuple(x.shape)
    # Each axis becomes (count, size): the first of the two is broadcast, then both are merged.
    pairs = [part for count, size in zip(counts, sizes, strict=True) for part in (count, size)]
    ones = [part for size in sizes for part in (1, size)]
    return reshape(broadcast_to(reshape(x, tuple(ones)), tuple(pairs)), _products(counts, sizes))


def _products(a: Sequence[Size], b: Sequence[Size]) -> tuple[Size, ...]:
    return tuple([first * second for first, second in zip(a, b, strict=True)])


def repeat(x: Any, repeats: Any, /, *, axis: int | None = None) -> Tensor:
    """Each element repeated along an axis (None: of the flattened tensor); `repeats` is an int, or one int an element.

    Repeats for each element must be values, not traced: the result's size depends on them.
    """
    x = as_tensor(x)
    if axis is None:
        x, axis = flatten(x), 0
    axis = normalize_axis(axis, x.ndim, "repeat")
    size = x.shape[axis]
    if isinstance(repeats, (int, np.integer, Dim)):
        count = repeats if isinstance(repeats, Dim) else int(repeats)
        if isinstance(count, int) and count < 0:
            raise ShapeError(f"repeat: repeats must not be negative, got {count}")
        apart = expand_dims(x, axis=axis + 1)
        wide = broadcast_to(apart, (*x.shape[: axis + 1], count, *x.shape[axis + 1 :]))
        return reshape(wide, (*x.shape[:axis], size * count, *x.shape[axis + 1 :]))
    from treadle.ops.searching import values  # searching stands on indexing, as this module does

    counts = values(repeats, "repeat", "give a Python int, or repeats that are not traced")
    if counts.dtype.kind not in "iu":
        raise ArgumentError(f"repeat: repeats must be whole numbers, got {repeats!r}")
    counts = np.broadcast_to(counts, (operator.index(size),)) if counts.size == 1 else counts
    if counts.shape != (size,) or (counts < 0).any():
        raise ShapeError(f"repeat: needs {size} repeats from 0 on for axis {axis}, got {counts.tolist()}")
    return gather(x, [as_tensor(np.repeat(np.arange(size), counts))], [axis])


def meshgrid(*arrays: Any, indexing: str = "xy") -> list[Tensor]:
    """Coordinate tensors of the grid that 1-d tensors span.

    indexing: "xy" (the first two axes swapped, as for images) or "ij".
    """
    one_of("meshgrid: indexing", indexing, "xy", "ij")
    lines = [flatten(x) for x in arrays]
    order = list(range(len(lines)))
    if indexing == "xy" and len(lines) > 1:
        order[:2] = [1, 0]
    sizes = [lines[k].shape[0] for k in order]
    grids = []
    for k, line in enumerate(lines):
        place = order.index(k)
        spread = reshape(line, tuple([line.shape[0] if j == place else 1 for j in range(len(lines))]))
        grids.append(broadcast_to(spread, tuple(sizes)))
    return grids


def diff(x: Any, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Tensor:
    """Each element minus the one before it along an axis, `n` times; `prepend` and `append` are joined on first."""
    parts = [part for part in (prepend, x, append) if part is not None]
    tensor = concat(parts, axis=axis) if len(parts) > 1 else as_tensor(x)
    place = normalize_axis(axis, tensor.ndim, "diff")
    for _ in range(whole("diff: n", n, 0)):
        size = tensor.shape[place]
        if not isinstance(size, Dim) and size == 0:
            break
        last = slice_axis(tensor, place, 0, size - 1 if isinstance(size, Dim) else max(size - 1, 0))
        tensor = subtract(slice_axis(tensor, place, min(1, size) if isinstance(size, int) else 1, size), last)
    return tensor


# -- around the edges --------------------------------------------------------------------------------------------------


def roll(x: Any, /, shift: int | Sequence[int], *, axis: int | Sequence[int] | None = None) -> Tensor:
    """The elements moved along axes by `shift`, those that leave coming back in at the other end.

    axis: None rolls the flattened tensor.
    """
    tensor = as_tensor(x)
    if axis is None:
        return reshape(roll(flatten(tensor), shift, axis=0), tensor.shape)
    axes = wholes("roll: the axis", axis)
    given: list[Any] = [shift] if isinstance(shift, Dim) else [*wholes("roll: the shift", shift)]
    shifts = given * len(axes) if len(given) == 1 else given
    if len(shifts) != len(axes):
        raise ShapeError(f"roll: {len(shifts)} shifts for {len(axes)} axes")
    for by, k in zip(shifts, axes, strict=True):
        place = normalize_axis(k, tensor.ndim, "roll")
        size = tensor.shape[place]
        if isinstance(size, int):
            by = by % size if size else 0
        if isinstance(by, int) and by == 0:
            continue
        cut = -by % size if isinstance(by, int) else size - by  # a size that is open may be less than `by`
        parts = [slice_axis(tensor, place, cut, size), slice_axis(tensor, place, 0, cut)]
        tensor = concat(parts, axis=place)
    return tensor


def _pad_widths(widths: Any, ndim: int) -> list[tuple[int, int]]:
    if not ndim:
        return []
    try:
        table = np.broadcast_to(np.asarray(widths), (ndim, 2)).tolist()
        found = [(operator.index(a), operator.index(b)) for a, b in table]
    except (TypeError, ValueError):
        raise ShapeError(f"pad: pad_width {widths!r} is no int, pair, or list of {ndim} pairs") from None
    if any(a < 0 or b < 0 for a, b in found):
        raise ShapeError(f"pad: widths must not be negative, got {widths!r}")
    return found


def pad(x: Any, /, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Tensor:
    """The tensor with elements put before and behind each axis.

    pad_width: an int, a pair (before, behind), or a pair for each axis.
    mode:      "constant" (with `constant_values`, one number), or NumPy's "edge", "reflect", "symmetric", "wrap".

    >>> import treadle as td
    >>> td.pad(td.asarray([1, 2]), (1, 0)).tolist()
    [0, 1, 2]
    """
    one_of("pad: mode", mode, "constant", "edge", "reflect", "symmetric", "wrap")
    tensor = as_tensor(x)
    widths = _pad_widths(pad_width, tensor.ndim)
    if mode == "constant":
        return _pad_constant(tensor, widths, constant_values)
    for axis, (before, behind) in enumerate(widths):
        if before or behind:
            size = tensor.shape[axis]
            if isinstance(size, Dim):
                raise ShapeError(f"pad: mode {mode!r} needs a known size, axis {axis} has size {size}")
            if not size:
                raise ShapeError(f"pad: mode {mode!r} cannot extend axis {axis}, which is empty")
            order = np.pad(np.arange(size), (before, behind), mode=mode)  # type: ignore[call-overload]
            tensor = gather(tensor, [as_tensor(order)], [axis])
    return tensor


def _pad_constant(x: Tensor, widths: list[tuple[int, int]], value: Any) -> Tensor:
    if not any(a or b for a, b in widths):
        return x
    bigger = tuple([size + a + b for size, (a, b) in zip(x.shape, widths, strict=True)])
    starts = tuple([a for a, _ in widths])
    stops = tuple([a + size for size, (a, _) in zip(x.shape, widths, strict=True)])
    steps = (1,) * x.ndim
    padded = pad_slice(x, bigger, starts, stops, steps)
    if isinstance(value, (bool, int, float, complex)) and value == 0:
        return padded
    inside = pad_slice(broadcast_to(scalar(True), x.shape), bigger, starts, stops, steps)
    return where(inside, padded, as_tensor(value, x.dtype))


# -- triangles and diagonals -------------------------------------------------------------------------------------------


def _distance(x: Tensor, op: str) -> Tensor:
    """Column minus row for the matrices of `x`."""
    from treadle.ops.creation import arange  # creation stands on other modules of this level

    if x.ndim < 2:
        raise ShapeError(f"{op}: needs two axes or more, got shape {tuple(x.shape)}")
    rows, columns = x.shape[-2:]
    return arange(columns, dtype=int64) - expand_dims(arange(rows, dtype=int64), axis=1)


def tril(x: Any, /, *, k: int = 0) -> Tensor:
    """The lower triangles of matrices, zeros above the k-th diagonal."""
    x = as_tensor(x)
    return where(less_equal(_distance(x, "tril"), k), x, scalar(0, x.dtype))


def triu(x: Any, /, *, k: int = 0) -> Tensor:
    """The upper triangles of matrices, zeros below the k-th diagonal."""
    x = as_tensor(x)
    return where(greater_equal(_distance(x, "triu"), k), x, scalar(0, x.dtype))


def diagonal(x: Any, /, *, offset: int = 0, axis1: int = -2, axis2: int = -1) -> Tensor:
    """The diagonals of matrices, as the last axis of the result. Raises ShapeError for fewer than two axes."""
    x = as_tensor(x)
    if x.ndim < 2:
        raise ShapeError(f"diagonal: needs two axes or more, got shape {tuple(x.shape)}")
    first, second = (normalize_axis(a, x.ndim, "diagonal") for a in (axis1, axis2))
    offset = whole("diagonal: the offset", offset)
    x = moveaxis(x, (first, second), (-2, -1))
    rows, columns = x.shape[-2:]
    down, right = max(0, -offset), max(0, offset)
    if rows == columns:
        length: Size = rows - abs(offset)
    elif isinstance(rows, Dim) or isinstance(columns, Dim):
        raise ShapeError(f"diagonal: the length for sizes {rows} and {columns} is not known while tracing")
    else:
        length = min(rows - down, columns - right)
    if isinstance(length, int):
        length = max(0, length)
    if isinstance(length, int) and isinstance(columns, int):  # every so many elements of the rows one after another
        start = down * columns + right if length else 0
        flat = reshape(x, (*x.shape[:-2], rows * columns))
        return slice_axis(
            flat, x.ndim - 2, start, start + (length - 1) * (columns + 1) + 1 if length else 0, columns + 1
        )
    if isinstance(length, int):
        steps = as_tensor(np.arange(length))
    else:
        from treadle.ops.creation import arange

        steps = arange(length, dtype=int64)
    return gather(x, [steps + down, steps + right], [x.ndim - 2, x.ndim - 1])


def diag(x: Any, /, *, k: int = 0) -> Tensor:
    """A vector as the k-th diagonal of a matrix, or the k-th diagonal of a matrix as a vector."""
    x, k = as_tensor(x), whole("diag: k", k)
    if x.ndim == 2:
        return diagonal(x, offset=k)
    if x.ndim != 1:
        raise ShapeError(f"diag: takes one or two axes, got shape {tuple(x.shape)}")
    size, right = x.shape[0], max(0, k)
    side = size + abs(k)
    columns = pad_slice(x, (side,), (right,), (right + size,), (1,))
    square = broadcast_to(columns, (side, side))
    return where(equal(_distance(square, "diag"), k), square, scalar(0, x.dtype))


__all__ = [
    "diag",
    "diagonal",
    "diff",
    "meshgrid",
    "pad",
    "repeat",
    "roll",
    "shape",
    "split",
    "tile",
    "tril",
    "triu",
    "unstack",
]
