"""Functional updates: `x.at[index].set(v)` and its kin, which give a new tensor, and the `scatter` op under them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from treadle.core.dtypes import dtype_name, promote
from treadle.core.op import Array, Attrs, Op
from treadle.core.spec import Shape, Spec, broadcast_shapes
from treadle.core.tensor import Tensor
from treadle.errors import DTypeError, IndexOutOfRange, ShapeError
from treadle.ops.arithmetic import add, maximum, minimum, multiply
from treadle.ops.comparison import equal, where
from treadle.ops.convert import as_tensor, cast, common_dtype, is_weak, scalar
from treadle.ops.families import declare
from treadle.ops.indexing import (
    Plan,
    axes_first,
    check_mask,
    entries,
    gather,
    known_values,
    make_plan,
    mask_error,
    moving,
    out_of_range,
)
from treadle.ops.shaping import broadcast_to, reshape
from treadle.ops.slicing import set_slice_op, slice_tensor, zeros

# -- scatter -----------------------------------------------------------------------------------------------------------

_UFUNCS: dict[str, np.ufunc] = {"add": np.add, "multiply": np.multiply, "min": np.minimum, "max": np.maximum}
_SORTED_FROM = 256  # elements; below, ufunc.at wins over sorting the indices


def _scatter_body(x: Array, updates: Array, *indices: Array, mode: str, axes: tuple[int, ...], position: int) -> Array:
    out = np.array(x, order="C")
    target = axes_first(out, axes)
    rank = max(index.ndim for index in indices)
    source = np.moveaxis(updates, range(position, position + rank), range(rank))
    try:
        if mode == "set":
            target[indices] = source
        elif mode == "add" and len(axes) == rank == 1 and target.ndim > 1 and source.size >= _SORTED_FROM:
            _add_rows(target, indices[0], source)
        else:
            _UFUNCS[mode].at(target, indices, source)
    except IndexError:
        error = out_of_range("index", x, indices, axes)
        raise (error or IndexOutOfRange("index: out of range")) from None
    return out


def _add_rows(target: Array, index: Array, rows: Array) -> None:
    """`np.add.at` along the first axis, in the same order: the first row of every index, then the second, ..."""
    size = target.shape[0]
    if ((index < -size) | (index >= size)).any():
        raise IndexError
    wrapped = np.where(index < 0, index + size, index)
    order = np.argsort(wrapped, kind="stable")
    ordered = wrapped[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    counts = np.diff(np.r_[first, len(ordered)])
    most = int(counts.max())
    if most * 8 > len(ordered):  # few places with many rows each
        np.add.at(target, index, rows)
        return
    turn = np.arange(len(ordered)) - np.repeat(first, counts)
    by_turn = order[np.argsort(turn, kind="stable")]
    ends = np.cumsum(np.bincount(turn))
    for start, end in zip([0, *ends.tolist()], ends.tolist(), strict=False):
        chosen = by_turn[start:end]
        target[wrapped[chosen]] += rows[chosen]


def _scatter_vjp(
    g: Tensor, y: Tensor, x: Tensor, u: Tensor, *indices: Tensor, mode: str, axes: tuple[int, ...], position: int
) -> tuple[Tensor | None, ...]:
    def back(t: Tensor) -> Tensor:
        return gather(t, indices, axes, position)

    def forth(how: str, into: Tensor, t: Tensor) -> Tensor:
        return scatter(how, into, t, indices, axes, position)

    if mode == "set" and not any(index.shape for index in indices):  # one place: no index can occur twice
        dx, du = forth("set", g, zeros(u.shape, g.dtype)), back(g)
    else:
        dx, du = _RULES[mode](g, y, x, u, back, forth)
    return dx, du, *(None for _ in indices)


Back = Callable[[Tensor], Tensor]
Forth = Callable[[str, Tensor, Tensor], Tensor]


def _add_rule(g: Tensor, y: Tensor, x: Tensor, u: Tensor, back: Back, forth: Forth) -> tuple[Tensor, Tensor]:
    return g, back(g)


def _set_rule(g: Tensor, y: Tensor, x: Tensor, u: Tensor, back: Back, forth: Forth) -> tuple[Tensor, Tensor]:
    from treadle.ops.creation import arange

    # Where an index occurs twice the last update wins, and it alone gets the gradient: each update leaves its number.
    numbers = reshape(arange(0, _count(u.shape)), u.shape)
    last = equal(back(forth("set", zeros(x.shape, numbers.dtype), numbers)), numbers)
    return forth("set", g, zeros(u.shape, g.dtype)), where(last, back(g), scalar(0, g.dtype))


def _multiply_rule(g: Tensor, y: Tensor, x: Tensor, u: Tensor, back: Back, forth: Forth) -> tuple[Tensor, Tensor]:
    ones = broadcast_to(scalar(1, g.dtype), x.shape)
    counts = back(forth("add", zeros(x.shape, g.dtype), broadcast_to(scalar(1, g.dtype), u.shape)))
    alone = equal(counts, 1)
    # An index that occurs twice: the product of the others, found by division (a zero among them is not told apart).
    divisor = where(alone, scalar(1, g.dtype), u)
    return g * forth("multiply", ones, u), where(alone, back(g * x), back(g * y) / divisor)


def _extreme_rule(g: Tensor, y: Tensor, x: Tensor, u: Tensor, back: Back, forth: Forth) -> tuple[Tensor, Tensor]:
    # Ties share equally.
    kept = cast(equal(x, y), g.dtype)
    won = cast(equal(u, back(y)), g.dtype)
    share = g / forth("add", kept, won)
    return share * kept, back(share) * won


_RULES = {"add": _add_rule, "set": _set_rule, "multiply": _multiply_rule, "min": _extreme_rule, "max": _extreme_rule}


def _count(shape: Shape) -> Any:
    total: Any = 1
    for size in shape:
        total = total * size
    return total


def _scatter_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    return (specs[0].with_shape(specs[0].shape),)


scatter_op: Op = declare("scatter", _scatter_body, _scatter_infer, family="indexing", vjp=_scatter_vjp)


def scatter(
    mode: str, x: Tensor, updates: Tensor, indices: Sequence[Tensor], axes: Sequence[int], position: int
) -> Tensor:
    """`x` with `updates`, laid out as `gather` lays out its result, set, added, ... at the indices.

    mode: "set" (of updates to one place the last wins), "add", "multiply", "min" or "max" (they accumulate).
    """
    attrs = {"mode": mode, "axes": tuple(axes), "position": position}
    return scatter_op.bind((x, updates, *indices), attrs)[0]


# -- x.at[index].set(v) ------------------------------------------------------------------------------------------------


class At:
    """What `x.at` gives: index it, then call `set`, `add`, `multiply`, `min` or `max`; `x` itself never changes."""

    __slots__ = ("_x",)

    def __init__(self, x: Tensor) -> None:
        self._x = x

    def __getitem__(self, index: Any) -> Place:
        return Place(self._x, index)

    def __repr__(self) -> str:
        return f"<at of {self._x!r}: index it, then set, add, multiply, min or max>"


def at(x: Any) -> At:
    """The helper behind `x.at[index].set(value)`."""
    return At(as_tensor(x))


class Place:
    """Some elements of a tensor, by an index; each method gives the tensor with these elements changed."""

    __slots__ = ("_index", "_x")

    def __init__(self, x: Tensor, index: Any) -> None:
        self._x = x
        self._index = index

    def set(self, value: Any) -> Tensor:
        """The tensor with these elements replaced; where an index occurs twice the last value stands."""
        return update("set", self._x, self._index, value)

    def add(self, value: Any) -> Tensor:
        """The tensor with a value added to these elements; an index that occurs twice adds twice."""
        return update("add", self._x, self._index, value)

    def multiply(self, value: Any) -> Tensor:
        """The tensor with these elements multiplied; an index that occurs twice multiplies twice."""
        return update("multiply", self._x, self._index, value)

    def min(self, value: Any) -> Tensor:
        """The tensor with these elements replaced by the lesser of themselves and the value."""
        return update("min", self._x, self._index, value)

    def max(self, value: Any) -> Tensor:
        """The tensor with these elements replaced by the greater of themselves and the value."""
        return update("max", self._x, self._index, value)


def update(mode: str, x: Tensor, index: Any, value: Any) -> Tensor:
    """The tensor with `value`, which broadcasts to `x[index]`, set, added, ... there.

    Raises DTypeError when the value's dtype is not one that `x` takes, ShapeError when it does not broadcast.
    """
    v = _fit_value(mode, x, value)
    items = entries(index)
    masked = _masked(mode, x, items, v)
    if masked is not None:
        return masked
    if moving(index):
        return _update_window(mode, x, items, v)
    plan = make_plan(items, x.shape)
    _check_value(mode, v, plan)
    part = slice_tensor(x, plan.starts, plan.stops, plan.steps)
    updates = reshape(broadcast_to(v, plan.shape), plan.gathered)
    if plan.axes:
        changed = scatter(mode, part, updates, plan.indices, plan.axes, plan.position)
    else:
        changed = _combine(mode, part, updates)
    if part is x:
        return changed
    return set_slice_op.bind((x, changed), {"starts": plan.starts, "stops": plan.stops, "steps": plan.steps})[0]


def _update_window(mode: str, x: Tensor, items: list[Any], value: Tensor) -> Tensor:
    """An update of a window of known size whose place is traced: of the window alone, which is then put back."""
    from treadle.ops.moving import window

    shown = window(items, x.shape)
    plan = make_plan(list(shown.rest), tuple(shown.sizes))
    _check_value(mode, value, plan)
    if mode == "set" and shown.is_all:
        return shown.put(x, reshape(broadcast_to(value, plan.shape), tuple(shown.sizes)))
    return shown.put(x, update(mode, shown.of(x), shown.rest, value))


def _fit_value(mode: str, x: Tensor, value: Any) -> Tensor:
    if not is_weak(value):
        value = as_tensor(value)
    dtype, weak = common_dtype([value])
    found, _ = promote(x.dtype, dtype, False, weak)
    if found != x.dtype:
        raise DTypeError(
            f"at[...].{mode}: a {dtype_name(x.dtype)} tensor cannot hold {dtype_name(dtype)} values; "
            "convert one with td.astype"
        )
    return as_tensor(value, x.dtype)


def _check_value(mode: str, v: Tensor, plan: Plan) -> None:
    try:
        fits = broadcast_shapes(v.shape, plan.shape) == plan.shape
    except ShapeError:
        fits = False
    if not fits and all(isinstance(size, int) for size in (*v.shape, *plan.shape)):
        raise ShapeError(
            f"at[...].{mode}: the value has shape {tuple(v.shape)}, the place {tuple(plan.shape)}; "
            "the value must broadcast to it"
        )


def _combine(mode: str, x: Tensor, v: Tensor) -> Tensor:
    if mode == "set":
        return v
    if mode == "add":
        return add(x, v)
    if mode == "multiply":
        return multiply(x, v)
    return minimum(x, v) if mode == "min" else maximum(x, v)


def _masked(mode: str, x: Tensor, items: list[Any], v: Tensor) -> Tensor | None:
    """The update by one boolean mask as a choice between old and new, where the value's shape allows it."""
    masks = [item for item in items if isinstance(item, Tensor) and item.dtype.kind == "b"]
    if not masks:
        return None
    mask = masks[0]
    # `x.at[mask]` or `x.at[mask, ...]`, and a value that is the same for every true element.
    alone = items[0] is mask and all(item is Ellipsis for item in items[1:]) and len(items) <= 2
    if alone and v.ndim <= x.ndim - mask.ndim:
        check_mask(mask.shape, x.shape, 0)
        chosen = reshape(mask, (*mask.shape, *[1] * (x.ndim - mask.ndim)))
        return where(chosen, broadcast_to(_combine(mode, x, v), x.shape), x)
    if any(known_values(m) is None for m in masks):
        raise mask_error()
    return None


__all__ = ["At", "Place", "at", "scatter", "update"]
