"""`x[index]`: NumPy's indexing, split into static slices (views) and one `gather` by integer arrays.

Every index becomes a `Plan`: slice all axes, gather along some of them, reshape. The functional updates of
`ops.updates` follow the same plan backwards. Indices out of range raise IndexOutOfRange, eagerly and in graphs.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle.core.dim import Dim, Size, is_static
from treadle.core.dtypes import dtype_name, int32, int64
from treadle.core.mode import current
from treadle.core.op import Array, Attrs, Op
from treadle.core.spec import Shape, Spec, broadcast_shapes
from treadle.core.tensor import Symbol, Tensor
from treadle.core.variable import Variable
from treadle.errors import DTypeError, IndexOutOfRange, ShapeError, TraceError
from treadle.ops.convert import as_tensor, cast
from treadle.ops.families import declare
from treadle.ops.shaping import reshape
from treadle.ops.slicing import slice_count, slice_tensor, zeros
from treadle.records import dataclass

# -- gather ------------------------------------------------------------------------------------------------------------


def out_of_range(op: str, x: Array, indices: Sequence[Array], axes: Sequence[int]) -> Exception | None:
    """The error for the first index that points outside its axis; None when all are inside."""
    for axis, index in zip(axes, indices, strict=True):
        size = x.shape[axis]
        bad = (index < -size) | (index >= size)
        if bad.any():
            at = np.argwhere(bad)[0].tolist()
            where = f" (at {at} of the indices)" if at else ""
            return IndexOutOfRange(
                f"{op}: index {index[tuple(at)]}{where} is out of range for axis {axis} of size {size}"
            )
    return None


def axes_first(x: Array, axes: Sequence[int]) -> Array:
    """A view with these axes in front, the others in order behind."""
    return x.transpose([*axes, *(k for k in range(x.ndim) if k not in axes)])


def _gather_body(x: Array, *indices: Array, axes: tuple[int, ...], position: int) -> Array:
    try:
        if len(axes) == 1 and position == axes[0]:
            return np.take(x, indices[0], axis=axes[0])
        found = np.array(axes_first(x, axes)[indices])
    except IndexError:
        error = out_of_range("index", x, indices, axes)
        raise (error or IndexOutOfRange("index: out of range")) from None
    rank = max(index.ndim for index in indices)
    return np.moveaxis(found, range(rank), range(position, position + rank))


def gathered_shape(x: Shape, indices: Sequence[Shape], axes: Sequence[int], position: int) -> Shape:
    """The shape of a gather: the indexed axes out, the indices' common shape in at `position`."""
    rest = [size for k, size in enumerate(x) if k not in axes]
    return (*rest[:position], *broadcast_shapes(*indices, op="index"), *rest[position:])


def _gather_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    shape = gathered_shape(specs[0].shape, [s.shape for s in specs[1:]], attrs["axes"], attrs["position"])
    return (specs[0].with_shape(shape),)


def _gather_vjp(
    g: Tensor, y: Tensor, x: Tensor, *indices: Tensor, axes: tuple[int, ...], position: int
) -> tuple[Tensor | None, ...]:
    from treadle.ops.updates import scatter  # the update ops follow the plans made here

    return scatter("add", zeros(x.shape, g.dtype), g, indices, axes, position), *(None for _ in indices)


gather_op: Op = declare("gather", _gather_body, _gather_infer, family="indexing", vjp=_gather_vjp)


def gather(x: Tensor, indices: Sequence[Tensor], axes: Sequence[int], position: int | None = None) -> Tensor:
    """Elements of `x` at integer indices along `axes`; the indices broadcast together.

    Their common axes stand at `position` of the result (by default where the first of `axes` was). Negative indices
    count from the end. Raises IndexOutOfRange.
    """
    attrs = {"axes": tuple(axes), "position": axes[0] if position is None else position}
    return gather_op.bind((x, *indices), attrs)[0]


# -- from an index to a plan -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """What an index asks for, in three steps that keep the numbers of the axes.

    starts, stops, steps: the slice of every axis; an int index is a slice of size 1.
    axes, indices:        the axes that are then gathered, and the integer tensors to gather with.
    position:             where the indices' axes stand among the axes that are left.
    gathered:             the shape after gathering; `shape`: that of the result (ints dropped, None put in).
    """

    starts: tuple[Size, ...]
    stops: tuple[Size, ...]
    steps: tuple[int, ...]
    axes: tuple[int, ...]
    indices: tuple[Tensor, ...]
    position: int
    gathered: Shape
    shape: Shape


def as_index(value: Any) -> Any:
    """One entry of an index: None, Ellipsis, a slice, an int, a Dim, or a tensor of integers or bools."""
    if value is None or value is Ellipsis or isinstance(value, (slice, Dim)):
        return value
    if isinstance(value, Variable):
        return as_tensor(value)
    if isinstance(value, (list, tuple, np.ndarray, Tensor)):
        tensor = as_tensor(value, int64) if isinstance(value, (list, tuple)) and not len(value) else as_tensor(value)
        if tensor.dtype.kind not in "biu":
            raise DTypeError(f"index: a {dtype_name(tensor.dtype)} tensor cannot be an index; use integers or bools")
        return tensor if tensor.dtype in (int32, int64) or tensor.dtype.kind == "b" else cast(tensor, int64)
    if isinstance(value, (bool, np.bool_)):
        raise DTypeError("index: a single bool is no index; use td.where")
    try:
        return operator.index(value)
    except TypeError:
        raise DTypeError(
            f"index: a {type(value).__name__} cannot be an index; use ints, slices, None, ..., integer or bool tensors"
        ) from None


def entries(index: Any) -> list[Any]:
    """The entries of an index, each as `as_index` gives it."""
    return [as_index(item) for item in (index if isinstance(index, tuple) else (index,))]


def known_values(x: Tensor) -> Array | None:
    """The values of a tensor that has them now: one that is not traced, or a constant of a graph; else None."""
    if not isinstance(x, Symbol):
        return x.array
    return x.node.attrs["value"].array if x.node is not None and x.node.op == "constant" else None


def mask_error() -> TraceError:
    """How many elements a traced mask picks is not known while tracing."""
    return TraceError(
        "index: a traced boolean mask picks a number of elements that is not known while tracing; "
        "use td.where(mask, x, other), x.at[mask].set(value), or multiply by the mask"
    )


def _expand_masks(items: list[Any], shape: Shape) -> list[Any]:
    """Boolean tensors replaced by the integer indices of their true elements; each axis is named by now."""
    found: list[Any] = []
    axis = 0
    for item in items:
        if isinstance(item, Tensor) and item.dtype.kind == "b":
            mask = known_values(item)
            if mask is None:
                raise mask_error()
            check_mask(item.shape, shape, axis)
            found.extend(Tensor(index) for index in np.nonzero(mask))
            axis += item.ndim
        else:
            found.append(item)
            axis += item is not None
    return found


def check_mask(mask: Shape, shape: Shape, axis: int) -> None:
    """Raise ShapeError unless the mask has the sizes of the axes that it stands for."""
    if not mask:
        raise DTypeError("index: a single bool is no index; use td.where")
    part = tuple(shape[axis : axis + len(mask)])
    if len(part) == len(mask) and all(a == b or isinstance(b, Dim) for a, b in zip(mask, part, strict=True)):
        return
    raise ShapeError(f"index: a mask of shape {tuple(mask)} does not fit axis {axis} on of shape {tuple(shape)}")


def _axes_named(item: Any) -> int:
    """How many axes of x an entry stands for."""
    if isinstance(item, Tensor) and item.dtype.kind == "b":
        return item.ndim
    return int(item is not None and item is not Ellipsis)


def expand_ellipsis(items: list[Any], ndim: int) -> list[Any]:
    """Every axis of x named once; None entries stay."""
    dots = [k for k, item in enumerate(items) if item is Ellipsis]
    if len(dots) > 1:
        raise ShapeError("index: at most one ... may stand in an index")
    named = sum(_axes_named(item) for item in items)
    if named > ndim:
        raise IndexOutOfRange(f"index: {named} indices for a tensor of {ndim} axes")
    fill = [slice(None)] * (ndim - named)
    at = dots[0] if dots else len(items)
    return items[:at] + fill + items[at + len(dots) :]


def moving(index: Any) -> bool:
    """Whether an index holds a slice with a traced bound."""
    for x in index if type(index) is tuple else (index,):
        if type(x) is slice and (isinstance(x.start, Symbol) or isinstance(x.stop, Symbol)):
            return True
    return False


def _bound(value: Any, what: str) -> Any:
    if value is None or isinstance(value, Dim):
        return value
    if isinstance(value, Symbol):
        raise TraceError(f"index: the {what} of a slice is a traced tensor")
    number: Any = value.value if isinstance(value, Variable) else value
    return operator.index(number)


def _from_front(value: Size, size: Size) -> Size:
    """A bound counted from 0; a symbolic one counts from the end when it can only be negative."""
    negative = value.bounds()[1] <= 0 if isinstance(value, Dim) else value < 0
    return value + size if negative else value


def slice_bounds(item: slice, size: Size) -> tuple[Size, Size, int]:
    """Start, stop and step counted from 0 (a stop of -1: past the front). Symbolic bounds are taken as they are."""
    step = _bound(item.step, "step")
    if isinstance(step, Dim):
        raise TraceError("index: the step of a slice must be a known number")
    if step == 0:
        raise ShapeError("index: the step of a slice cannot be 0")
    step = 1 if step is None else step
    start, stop = _bound(item.start, "start"), _bound(item.stop, "stop")
    if isinstance(size, int) and not isinstance(start, Dim) and not isinstance(stop, Dim):
        first, last, step = slice(start, stop, step).indices(size)
        return (first, last, step) if slice_count(first, last, step) else (0, 0, 1)
    if step > 0:
        front: Size = 0 if start is None else _from_front(start, size)
        return front, size if stop is None else _from_front(stop, size), step
    back = size - 1 if start is None else _from_front(start, size)
    return back, -1 if stop is None else _from_front(stop, size), step


def _int_bounds(item: Size, size: Size, axis: int) -> tuple[Size, Size, int]:
    if isinstance(item, int) and isinstance(size, int) and not -size <= item < size:
        raise IndexOutOfRange(f"index: index {item} is out of range for axis {axis} of size {size}")
    at = _from_front(item, size)
    return at, at + 1, 1


def _as_pick(item: Any, shape: Shape, axis: int) -> Any:
    """A known number as an index like those that are only known while running."""
    size = shape[axis]
    if not isinstance(item, int) or not isinstance(size, int):
        return item
    return as_tensor(_int_bounds(item, size, axis)[0], int64)


def make_plan(items: list[Any], shape: Shape) -> Plan:
    """The plan for the entries of an index into a tensor of this shape.

    Raises IndexOutOfRange, ShapeError and TraceError.
    """
    items = _expand_masks(expand_ellipsis(items, len(shape)), shape)
    tensors = [item for item in items if isinstance(item, Tensor)]
    if tensors and not any(t.shape for t in tensors):  # one element: known numbers are picked along with the others
        items = [_as_pick(item, shape, k) for k, item in enumerate(items)] if None not in items else items
    bounds: list[tuple[Size, Size, int]] = []
    axes: list[int] = []
    indices: list[Tensor] = []
    for item in items:
        if item is None:
            continue
        axis = len(bounds)
        if isinstance(item, slice):
            bounds.append(slice_bounds(item, shape[axis]))
        elif isinstance(item, Tensor):
            bounds.append((0, shape[axis], 1))
            axes.append(axis)
            indices.append(item)
        else:
            bounds.append(_int_bounds(item, shape[axis], axis))
    sizes = tuple([slice_count(*b) for b in bounds])
    common = broadcast_shapes(*[i.shape for i in indices], op="index") if indices else ()
    position, result = _placement(items, sizes, common, bool(indices))
    gathered = gathered_shape(sizes, [i.shape for i in indices], axes, position) if indices else sizes
    starts, stops, steps = zip(*bounds, strict=True) if bounds else ((), (), ())
    return Plan(starts, stops, steps, tuple(axes), tuple(indices), position, gathered, result)


def _placement(items: list[Any], sizes: Shape, common: Shape, advanced: bool) -> tuple[int, Shape]:
    """Where the indices' axes go, by NumPy's rule: at the first of them when they are neighbours, else in front.

    Ints count among them as soon as there is an integer tensor. Also the shape of the result.
    """
    places = [k for k, item in enumerate(items) if not (item is None or isinstance(item, slice))] if advanced else []
    together = bool(places) and places[-1] - places[0] + 1 == len(places)
    first = places[0] if together else 0
    position = sum(isinstance(item, slice) for item in items[:first])
    result: list[Size] = []
    axis = 0
    for k, item in enumerate(items):
        if places and k == first:
            result.extend(common)
        if item is None:
            result.append(1)
            continue
        if isinstance(item, slice):
            result.append(sizes[axis])
        axis += 1
    return position, tuple(result)


# -- x[index] ----------------------------------------------------------------------------------------------------------


def _eager_index(index: Any) -> Any:
    """The index for NumPy itself; None where an entry needs the plan's care."""
    items: list[Any] = []
    for item in index if isinstance(index, tuple) else (index,):
        entry: Any = item.array if isinstance(item, Tensor) else item
        if isinstance(entry, np.ndarray):
            if entry.dtype.kind not in "biu" or (entry.dtype.kind == "b" and not entry.ndim):
                return None
            items.append(entry if entry.ndim else int(entry))
        elif entry is None or entry is Ellipsis or type(entry) is int or isinstance(entry, (slice, np.integer)):
            items.append(entry)
        else:
            return None
    return tuple(items)


def plan_of(index: Any, shape: Shape) -> Plan:
    """The plan for an index; of numbers and slices into a known shape it is made once."""
    if is_static(shape):
        parts = []
        for item in index if type(index) is tuple else (index,):
            kind = type(item)
            if kind is int or item is None or item is Ellipsis:
                parts.append(item)
            elif kind is slice and _PLAIN.issuperset((type(item.start), type(item.stop), type(item.step))):
                parts.append((item.start, item.stop, item.step))
            else:
                break
        else:
            return _plain_plan(tuple(parts), shape)
    return make_plan(entries(index), shape)


_PLAIN = frozenset((int, type(None)))


@functools.lru_cache(1024)
def _plain_plan(parts: tuple[Any, ...], shape: Shape) -> Plan:
    return make_plan([slice(*part) if type(part) is tuple else part for part in parts], shape)


def getitem(x: Any, index: Any) -> Tensor:
    """`x[index]` as NumPy has it: ints, slices, `...`, None, integer and bool tensors, arrays and lists.

    A slice may have traced bounds where its size is known all the same (`x[i : i + 3]`); there, reaching out of the
    tensor is an error. Raises IndexOutOfRange for an index outside its axis, TraceError for a traced mask or slice
    whose result would have a size that is not known while tracing.
    """
    tensor = as_tensor(x)
    if current() is None:
        plain = index if type(index) is int or type(index) is slice else _eager_index(index)
        if plain is not None:
            try:
                return Tensor(np.asarray(tensor.array[plain]))
            except (IndexError, ValueError, TypeError):
                pass  # say it in our words below
    elif moving(index):
        from treadle.ops.moving import window  # it takes its windows apart by what is made here

        items = entries(index)
        shown = window(items, tensor.shape)
        return getitem(shown.of(tensor), shown.rest)
    plan = plan_of(index, tensor.shape)
    tensor = slice_tensor(tensor, plan.starts, plan.stops, plan.steps)
    if plan.axes:
        tensor = gather(tensor, plan.indices, plan.axes, plan.position)
    return reshape(tensor, plan.shape)


__all__ = ["Plan", "gather", "getitem", "make_plan"]
