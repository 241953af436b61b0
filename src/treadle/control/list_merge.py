"""What a list holds after a branch: the segments both sides share, then pairs, each there if its side appended it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from treadle.control import rows
from treadle.control.call import zeros_like_spec
from treadle.control.list_states import Base, Block, Buffered, Grown, Item, segments_of
from treadle.control.lists import TensorList, new_list, replace_content
from treadle.control.merge import Merged, common, leaf_spec, to_spec, unify
from treadle.core.mode import activate
from treadle.core.spec import Spec
from treadle.core.tensor import Tensor
from treadle.core.tracer import Tracer
from treadle.errors import ControlFlowError
from treadle.ops.convert import as_tensor
from treadle.records import replace


class MergedList:
    """As `Merged`, for the content of a list: the tensors of both sides, and how the merged ones become a content."""

    def __init__(self) -> None:
        self.sides: tuple[list[Tensor], list[Tensor]] = ([], [])
        self.made: list[Any] = []

    def pair(self, a: Tensor, b: Tensor) -> int:
        """The position of a pair of tensors."""
        self.sides[0].append(a)
        self.sides[1].append(b)
        return len(self.sides[0]) - 1

    def rebuild(self, flat: Iterator[Tensor]) -> Any:
        """The content, with the next tensors of `flat`."""
        taken = [next(flat) for _ in self.sides[0]]
        return self.finish(taken)

    def finish(self, taken: list[Tensor]) -> Any:
        raise NotImplementedError


class _Segments(MergedList):
    def __init__(self, state: Grown) -> None:
        super().__init__()
        self.state = state
        self.plan: list[tuple[type, tuple[int, ...], int | None]] = []

    def finish(self, taken: list[Tensor]) -> Any:
        made: list[Any] = []
        for kind, leaves, present in self.plan:
            made.append(kind(tuple([taken[k] for k in leaves]), None if present is None else taken[present]))
        return replace(self.state, segments=(*self.state.segments, *made))


class _Buffer(MergedList):
    def __init__(self, state: Buffered) -> None:
        super().__init__()
        self.state = state

    def finish(self, taken: list[Tensor]) -> Any:
        return replace(self.state, buffers=tuple(taken[:-1]), length=taken[-1])


def merge_lists(label: str, owner: list[Any], a: Any, b: Any, tracers: Sequence[Tracer]) -> Merged | MergedList:
    """Merge the contents that a list has after the two sides of a branch."""
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return unify(label, a, b, tracers)
    if not isinstance(owner, TensorList):
        what = label if " " in label else f"the list {label}"
        raise ControlFlowError(
            f"a branch on a tensor gives {what} {len(a)} items when true, {len(b)} when false; only lists "
            "made in converted code can: copy it before (`xs = [*xs]`), or make it a td.TensorList"
        )
    if isinstance(a, Buffered) and isinstance(b, Buffered):
        merged = _Buffer(_joint(a, b))
        same = all(x.shape == y.shape for x, y in zip(a.buffers, b.buffers, strict=True))
        for x, y in zip(a.buffers, b.buffers, strict=True):
            two = [x, y]
            for k, tracer in enumerate(() if same else tracers):  # one side has made room
                with activate(tracer):
                    two[k] = rows.opened(two[k], 0)
            merged.pair(*two)
        merged.pair(a.length, b.length)
        return merged
    return _merge_segments(label, _as_grown(owner, a), _as_grown(owner, b), tracers)


class _Rebound(MergedList):
    """A list that is new after the branch."""

    def __init__(self, name: str, held: Any) -> None:
        super().__init__()
        self.name, self.held, self.sides = name, held, held.sides

    def rebuild(self, flat: Iterator[Tensor]) -> Any:
        made = new_list([], self.name)
        replace_content(made, self.held.rebuild(flat))
        return made


def merge_bound(name: str, a: Any, b: Any, tracers: Sequence[Tracer]) -> _Rebound:
    """Merge two lists that the sides of a branch bind a name to."""
    owner = a.object if isinstance(a.object, TensorList) else b.object
    return _Rebound(name, merge_lists(name, owner, a.now, b.now, tracers))


def _joint(a: Buffered, b: Buffered) -> Buffered:
    change = a.change if a.change == b.change else None
    return replace(a, most=max(a.most, b.most), change=change, loose=a.loose or b.loose)


def _as_grown(owner: TensorList, value: Any) -> Grown:
    return value if isinstance(value, Grown) else segments_of(owner, value)


def _merge_segments(label: str, a: Grown, b: Grown, tracers: Sequence[Tracer]) -> _Segments:
    shared = 0
    for p, q in zip(a.segments, b.segments, strict=False):
        if not _one(p, q):
            break
        shared += 1
    if a.element is not None and b.element is not None and (a.element != b.element or a.shapes != b.shapes):
        raise ControlFlowError(
            f"the elements of {label} must be alike: a branch on a tensor appends {_text(a)} when true, {_text(b)} "
            "when false; pad or reshape them, or keep two lists"
        )
    merged = _Segments(Grown(a.element or b.element, a.segments[:shared], a.shapes or b.shapes))
    left, right = list(a.segments[shared:]), list(b.segments[shared:])
    if any(isinstance(s, Base) for s in (*left, *right)):
        raise ControlFlowError(f"{label} is emptied in one branch only; make a new list instead")
    while left or right:
        x: Any = left[0] if left else None
        y: Any = right[0] if right else None
        if x is not None and y is not None and not _alike(x, y):
            y = None  # what does not pair stands alone, first the true side's
        if x is not None:
            left.pop(0)
        if y is not None:
            right.pop(0)
        _pair(merged, x, y, tracers)
    return merged


def _one(x: Any, y: Any) -> bool:
    """Whether two segments are the same one."""
    if x is y:
        return True
    if type(x) is not type(y) or not isinstance(x, Item) or x.present is not None or y.present is not None:
        return False
    return len(x.leaves) == len(y.leaves) and all(p is q for p, q in zip(x.leaves, y.leaves, strict=True))


def _alike(x: Any, y: Any) -> bool:
    if type(x) is not type(y):
        return False
    return isinstance(x, Item) or (x.count == y.count and type(x.count) is int)


def _pair(merged: _Segments, x: Any, y: Any, tracers: Sequence[Tracer]) -> None:
    """A segment of the true side with one of the false side, or with nothing (`None`)."""
    given = x if x is not None else y
    if isinstance(given, Item):
        _pair_items(merged, x, y, tracers)
        return
    count = given.count
    places = []
    for k, like in enumerate(given.rows):
        two = []
        for side, tracer in zip((x, y), tracers, strict=True):
            with activate(tracer):
                spec = Spec(like.shape[1:], like.dtype)
                nothing = zeros_like_spec(like.spec) if type(count) is int else None
                two.append(side.rows[k] if side is not None else rows.no_rows(spec) if nothing is None else nothing)
        places.append(merged.pair(*two))
    masks = []
    sure = all(side is not None and side.mask is None for side in (x, y)) or (
        type(count) is not int and given.mask is None
    )
    for side, tracer in zip((x, y), tracers, strict=True):
        with activate(tracer):
            if side is not None:
                mask = side.mask if side.mask is not None else rows.certain_op.bind((side.rows[0],), {})[0]
            elif type(count) is int:
                mask = as_tensor(np.zeros(count, np.bool_))
            else:
                mask = rows.no_rows(Spec((), np.dtype(np.bool_)))
            masks.append(mask)
    merged.plan.append((Block, tuple(places), None if sure else merged.pair(*masks)))


def _pair_items(merged: _Segments, x: Item | None, y: Item | None, tracers: Sequence[Tracer]) -> None:
    given = x if x is not None else y
    assert given is not None
    places = []
    for k in range(len(given.leaves)):
        values = [side.leaves[k] if side is not None else None for side in (x, y)]
        specs = [leaf_spec(v) for v in values if v is not None]
        dtype, weak = common(specs[0], specs[-1])
        if dtype is None or specs[0].shape != specs[-1].shape:
            raise ControlFlowError(
                f"the branches of an `if` on a tensor append {specs[0]} when true, {specs[-1]} when false"
            )
        two = []
        for value, tracer in zip(values, tracers, strict=True):
            with activate(tracer):
                two.append(zeros_like_spec(specs[0]) if value is None else to_spec(value, dtype, weak))
        places.append(merged.pair(*two))
    if x is not None and y is not None and x.present is None and y.present is None:
        merged.plan.append((Item, tuple(places), None))
        return
    flags = []
    for side, tracer in zip((x, y), tracers, strict=True):
        with activate(tracer):
            there = False if side is None else side.present if side.present is not None else True
            flags.append(to_spec(there, np.dtype(np.bool_), False))
    merged.plan.append((Item, tuple(places), merged.pair(*flags)))


def _text(state: Grown) -> str:
    return f"elements of shape {', '.join(map(str, state.shapes or ()))}"
