"""What a list holds in staged code: immutable states, which blocks can take back and merge."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from treadle import nest
from treadle.control import rows
from treadle.core.dtypes import int64
from treadle.core.spec import Spec
from treadle.core.tensor import Tensor
from treadle.errors import ControlFlowError, Location, ShapeError, user_location
from treadle.ops.convert import as_tensor, cast, settled
from treadle.records import dataclass, replace

if TYPE_CHECKING:
    from treadle.control.lists import TensorList


class NeedsBuffer(BaseException):
    """A body reads a list of which only what the body appends is known: trace it again with a buffer."""

    def __init__(self, owner: TensorList) -> None:
        self.owner = owner


class NeedsLength(BaseException):
    """A body asks for the length of such a list: trace it again with a counter."""

    def __init__(self, owner: TensorList) -> None:
        self.owner = owner


class NeedsRecent(NeedsBuffer):
    """A body reads one of the last elements of such a list: trace it again with the last `number` carried along."""

    def __init__(self, owner: TensorList, number: int) -> None:
        self.owner = owner
        self.number = number


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One element, its leaves; `present`, a bool scalar, tells whether it is there at all."""

    leaves: tuple[Any, ...]
    present: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Many elements: for each leaf their rows; `mask`, a bool vector, tells which are there."""

    rows: tuple[Tensor, ...]
    mask: Tensor | None = None

    @property
    def count(self) -> Any:
        """How many rows, those included that are not there: an int, or a size that only running tells."""
        return self.rows[0].shape[0]


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """What a list held when the body of a loop began.

    length: how many elements, where somebody has asked. recent: the leaves of the last ones, the very last first, as
    many as somebody has read. before: what the list held before the loop, which is still its beginning.
    """

    length: Tensor | None = None
    recent: tuple[tuple[Any, ...], ...] = ()
    before: Grown | None = None
    unsure: bool = False  # there may be fewer than `recent` tells


Segment = Item | Block | Base


@dataclass(frozen=True, slots=True, eq=False)
class Grown:
    """A list as segments; `element` is the structure of its elements, `shapes` the shapes of their leaves."""

    element: nest.Structure | None = None
    segments: tuple[Segment, ...] = ()
    shapes: tuple[Any, ...] | None = None

    @property
    def based(self) -> bool:
        """Whether it begins with what is not known in this body."""
        return bool(self.segments) and isinstance(self.segments[0], Base)

    @property
    def length(self) -> int | None:
        """How many elements, where that is known."""
        total = 0
        for segment in self.segments:
            if isinstance(segment, Item) and segment.present is None:
                total += 1
            elif isinstance(segment, Block) and segment.mask is None and type(segment.count) is int:
                total += segment.count
            else:
                return None
        return total


@dataclass(frozen=True, slots=True, eq=False)
class Buffered:
    """A list as memory for `capacity` elements, of which `length` are there.

    most: how many it may hold at most; change: by how much the body has changed its length, where that is certain.
    room: for memory of an open size, how many rows the loop around makes sure of before each step; else None.
    loose: an inner loop has appended nobody knows how many, to memory of a fixed size.
    """

    element: nest.Structure
    buffers: tuple[Tensor, ...]
    length: Tensor
    most: int
    change: int | None = 0
    room: int | None = None
    loose: bool = False

    @property
    def capacity(self) -> int:
        """Room for so many elements; 0 where only running tells."""
        size = self.buffers[0].shape[0]
        return size if isinstance(size, int) else 0


State = Grown | Buffered


def segments_of(owner: Any, items: Iterable[Any]) -> Grown:
    """Items as segments."""
    made, lines = Grown(), getattr(owner, "_lines", {})
    for k, value in enumerate(items):
        made = _appended(getattr(owner, "name", "the list"), made, value, lines.get(k))
    return made


def appended(owner: TensorList, state: State, value: Any) -> State:
    """The state with one more element."""
    if isinstance(state, Grown):
        return _appended(owner.name, state, value)
    leaves, element = nest.flatten_with_structure(value)
    _fits(owner.name, state.element, element, [x.shape[1:] for x in state.buffers], leaves)
    made = [write_row(x, as_tensor(y), state.length) for x, y in zip(state.buffers, leaves, strict=True)]
    change = None if state.change is None else state.change + 1
    return replace(state, buffers=tuple(made), length=cast(state.length + 1, int64), most=state.most + 1, change=change)


def _appended(name: str, state: Grown, value: Any, where: Location | None = None) -> Grown:
    leaves, element = nest.flatten_with_structure(value)
    shapes = tuple(as_shape(x) for x in leaves)
    if state.element is not None:
        _fits(name, state.element, element, state.shapes or shapes, leaves, where)
    return Grown(element, (*state.segments, Item(tuple(leaves))), state.shapes or shapes)


def as_shape(leaf: Any) -> tuple[Any, ...]:
    """The shape of a tensor, variable, array or number."""
    return tuple(getattr(leaf, "shape", ()))


def _fits(
    name: str,
    element: nest.Structure,
    found: nest.Structure,
    shapes: Any,
    leaves: Iterable[Any],
    where: Location | None = None,
) -> None:
    where = where or user_location(3)
    if element != found:
        raise ControlFlowError(
            f"the elements of {name} must be alike: {element!r} first, {found!r} appended in a branch or loop on "
            "tensors",
            where,
        )
    for shape, leaf in zip(shapes, leaves, strict=True):
        if tuple(shape) != as_shape(leaf):
            raise ControlFlowError(
                f"the elements of {name} must have one shape: {tuple(shape)} first, {as_shape(leaf)} appended in a "
                "branch or loop on tensors; pad or reshape them, or keep two lists",
                where,
            )


def together(owner: TensorList, state: Grown) -> list[Tensor]:
    """For each leaf all elements of a list as one tensor, what is not there left out."""
    if not state.segments:
        raise ShapeError("stack: needs one tensor or more")
    found, mask = as_rows(state.segments)
    return found if mask is None else [rows.keep(x, mask) for x in found]


def as_rows(segments: Sequence[Segment]) -> tuple[list[Tensor], Tensor | None]:
    """For each leaf all rows of some segments as one tensor; and which of them are there, None where all are."""
    from treadle.ops.shaping import concat, expand_dims, reshape

    found = []
    for k in range(len(leaves_of(segments[0]))):
        parts = [
            segment.rows[k] if isinstance(segment, Block) else expand_dims(settled(leaves_of(segment)[k]), axis=0)
            for segment in segments
        ]
        found.append(parts[0] if len(parts) == 1 else rows.join(concat(parts, axis=0), 1))
    if all(mask_of(segment) is None for segment in segments):
        return found, None
    masks = []
    for segment in segments:
        mask = mask_of(segment)
        if mask is None:
            mask = rows.certain_op.bind((segment.rows[0],), {})[0] if isinstance(segment, Block) else as_tensor(True)
        masks.append(mask if isinstance(segment, Block) else reshape(mask, (1,)))
    return found, masks[0] if len(masks) == 1 else concat(masks, axis=0)


def mask_of(segment: Segment) -> Tensor | None:
    if isinstance(segment, Block):
        return segment.mask
    return segment.present if isinstance(segment, Item) else None


def leaves_of(segment: Segment) -> tuple[Any, ...]:
    return segment.rows if isinstance(segment, Block) else segment.leaves  # type: ignore[union-attr]


def rows_into(x: Tensor, memory: Tensor) -> Tensor:
    """Rows of an open number, with zeros up to the rows of `memory`."""
    from treadle.control.loop import fill_op

    return fill_op.bind((x, memory), {})[0]


def element_specs(state: Grown) -> list[Spec]:
    """What the leaves of the elements are like."""
    for segment in reversed(state.segments):
        if isinstance(segment, Block):
            return [Spec(x.shape[1:], x.dtype) for x in segment.rows]
        if isinstance(segment, Item):
            return [Spec(as_shape(x), settled(x).dtype) for x in segment.leaves]
    return []


def all_but_last(x: Tensor) -> Tensor:
    if type(x.shape[0]) is int:
        return x[:-1]
    return rows.head(x, rows.count_op.bind((x,), {})[0] - 1)


def read_row(buffer: Tensor, index: Tensor) -> Tensor:
    from treadle.ops.dynamic import dynamic_slice
    from treadle.ops.shaping import reshape

    shape = buffer.shape[1:]
    return reshape(dynamic_slice(buffer, [index, *[0] * len(shape)], (1, *shape)), shape)


def write_row(buffer: Tensor, value: Tensor, index: Tensor) -> Tensor:
    from treadle.ops.dynamic import dynamic_update_slice
    from treadle.ops.shaping import reshape

    row = reshape(cast(value, buffer.dtype), (1, *value.shape))
    return dynamic_update_slice(buffer, row, [index, *[0] * len(value.shape)])


def held_item(owner: Any, state: Grown, index: int) -> tuple[Any, ...] | None:
    """The element at an index, where it stands by itself at the list's end or beginning; None where it does not.

    Raises NeedsRecent where a loop is to carry it along.
    """
    if index >= 0:
        return _from_the_beginning(owner, state, index)
    for position, segment in enumerate(reversed(state.segments), 1):
        if not isinstance(segment, Item) or segment.present is not None:
            break
        if position == -index:
            return segment.leaves
    if not state.based or owner.capacity is not None:
        return None
    last = recent(state)
    if last is None:
        return None
    if len(last) < -index:
        base = state.segments[0]
        assert isinstance(base, Base)
        raise NeedsRecent(owner, len(base.recent) - index - len(last))
    return last[-index - 1]


def _from_the_beginning(owner: Any, state: Grown, index: int) -> tuple[Any, ...] | None:
    for position, segment in enumerate(state.segments):
        if isinstance(segment, Base):
            return None if segment.before is None else _from_the_beginning(owner, segment.before, index)
        if not isinstance(segment, Item) or segment.present is not None:
            return None
        if position == index:
            return segment.leaves
    return None


_MOST = 16  # rows of a block that are looked at one by one


def recent(state: Grown) -> list[tuple[Any, ...]] | None:
    """The last elements of a list in a loop's body, the very last first; None where they are not to be had."""
    from treadle.ops.comparison import where

    base = state.segments[0]
    assert isinstance(base, Base)
    last = list(base.recent)
    for segment in state.segments[1:]:
        if isinstance(segment, Item):
            longer = [segment.leaves, *last]
            if segment.present is not None:
                there = segment.present
                chosen = [
                    tuple([where(there, settled(x), settled(y)) for x, y in zip(a, b, strict=True)])
                    for a, b in zip(longer, last, strict=False)
                ]
                longer = chosen
            last = longer
        elif isinstance(segment, Block):
            if segment.mask is None and type(segment.count) is int and segment.count <= _MOST:
                rows_of = [tuple([x[k, ...] for x in segment.rows]) for k in range(segment.count)]
                last = [*reversed(rows_of), *last]
            elif last:
                last = _behind(last, segment)
        else:
            return None
    return last


def _behind(last: list[tuple[Any, ...]], block: Block) -> list[tuple[Any, ...]]:
    """The last elements after a block of any number of rows, as many as there were before it."""
    from treadle.ops.shaping import concat, stack

    found = []
    for k, x in enumerate(block.rows):
        own = x if block.mask is None else rows.keep(x, block.mask)
        earlier = stack([cast(settled(leaves[k]), x.dtype) for leaves in reversed(last)])
        whole = rows.join(concat([earlier, own], axis=0), 1)
        found.append([rows.row_op.bind((whole, as_tensor(-j - 1, int64)), {})[0] for j in range(len(last))])
    return [tuple(leaves) for leaves in zip(*found, strict=True)]


def check_recent(owner: TensorList, state: Grown, index: int) -> None:
    """One of the last elements, where it is not certain that there are so many: checked when it runs."""
    from treadle.ops.effects import assert_

    base = state.segments[0]
    if index < 0 and isinstance(base, Base) and base.unsure and len(state.segments) - 1 < -index:
        assert_(as_tensor(owner.length()) >= -index, f"an index is out of range for {owner.name}")


def buffered_row(name: str, state: Buffered, index: Tensor) -> Any:
    """The element at an index from 0 on; that it is there is checked when it runs."""
    from treadle.ops.effects import assert_

    assert_((index >= 0) & (index < state.length), f"an index is out of range for {name}")
    return nest.unflatten(state.element, [read_row(x, index) for x in state.buffers])


def put_first(owner: TensorList, state: Grown, value: Any) -> Grown:
    """The state with one more element at the beginning."""
    alone = _appended(owner.name, replace(state, segments=()), value)
    return replace(alone, segments=(*alone.segments, *state.segments))
