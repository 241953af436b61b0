"""`td.TensorList`: a Python list that may grow in staged loops and branches, and is then stacked, indexed or returned.

Outside of staged code it is a list. In it, what a list holds is an immutable state, so that blocks can be traced, taken
back and merged: `Grown` is a row of segments (items, and rows that a loop has stacked), `Buffered` is memory of a known
capacity with a length. A loop body first sees its list as `BASE` (whatever it held before) with what the body appends;
the appended values leave the loop as its stacks. A body that also reads its list gets it as a buffer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from treadle import nest
from treadle.control import journal, rows
from treadle.core.dtypes import int64
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol, Tensor
from treadle.errors import ControlFlowError, Location, TraceError, user_location
from treadle.ops.convert import as_tensor, cast


class NeedsBuffer(BaseException):
    """A body reads a list of which only what the body appends is known: trace it again with a buffer."""

    def __init__(self, owner: TensorList) -> None:
        self.owner = owner


class NeedsLength(BaseException):
    """A body asks for the length of such a list: trace it again with a counter."""

    def __init__(self, owner: TensorList) -> None:
        self.owner = owner


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
    """What a list held when the body of a loop began; `length` tells how many, where somebody has asked."""

    length: Tensor | None = None


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
    """

    element: nest.Structure
    buffers: tuple[Tensor, ...]
    length: Tensor
    most: int
    change: int | None = 0

    @property
    def capacity(self) -> int:
        """Room for so many elements."""
        return int(self.buffers[0].shape[0])


State = Grown | Buffered


class TensorList(list[Any]):
    """A list of tensors (or nests of them, all alike) that staged loops and branches may grow.

    items: what it holds at first. capacity: how many elements it can hold, for lists that are read in loops whose
    number of steps is not known; more raise IndexOutOfRange. Empty lists in converted functions are such lists, too.

    >>> import treadle as td
    >>> xs = td.TensorList()
    >>> for i in td.range(3):
    ...     xs.append(i * i)
    >>> xs.stack().tolist()
    [0, 1, 4]
    """

    __slots__ = ("_born", "_lines", "_state", "capacity", "explicit", "name")

    def __init__(self, items: Iterable[Any] = (), *, capacity: int | None = None) -> None:
        super().__init__(items)
        self.capacity = capacity
        self.explicit = True
        self.name = "the list"
        self._born = journal.current_journal()
        self._state: State | None = None
        self._lines: dict[int, Location | None] = {}  # where staged code has appended an element

    # -- growing -------------------------------------------------------------------------------------------------------

    def append(self, value: Any) -> None:
        """Add one element."""
        self._change()
        if self._state is None:
            super().append(value)
            if journal.current_journal() is not None:
                self._lines[len(self) - 1] = user_location(2)
        else:
            self._state = appended(self, self._state, value)

    push = append

    def extend(self, values: Iterable[Any]) -> None:
        """Add many elements: those of a list, or the rows of a tensor."""
        self._change()
        if isinstance(values, TensorList) and isinstance(values._state, Grown):
            own = grown(self)
            if isinstance(self._state, Buffered) or values._state.based:
                raise NeedsBuffer(values)
            other = values._state
            self._state = Grown(own.element or other.element, (*own.segments, *other.segments), own.shapes or other.shapes)
            return
        if isinstance(values, Symbol) and not isinstance(self._state, Buffered):
            own = grown(self)
            self._state = Grown(own.element or nest.LEAF, (*own.segments, Block((values,))), own.shapes)
            return
        for value in values:
            self.append(value)

    def __iadd__(self, values: Iterable[Any]) -> TensorList:  # type: ignore[override, misc]
        self.extend(values)
        return self

    def pop(self, index: Any = -1) -> Any:
        """Take off the last element and give it; another one only where the list is not staged."""
        self._change()
        state = self._state
        if state is None:
            return super().pop(index)
        if not (isinstance(index, int) and index == -1):
            raise self._cannot(f"pop({index})")
        if isinstance(state, Buffered):
            change = None if state.change is None else state.change - 1
            self._state = replace(state, length=cast(state.length - 1, int64), change=change)
            return self._buffered_row(state, state.length - 1)
        last = state.segments[-1] if state.segments else None
        if isinstance(last, Item) and last.present is None:
            self._state = replace(state, segments=state.segments[:-1])
            return nest.unflatten(state.element, last.leaves)
        if state.based:
            raise NeedsBuffer(self)
        if last is None:
            raise IndexError("pop from empty list")
        value = self[-1]
        tensors = self._rows()
        self._state = replace(state, segments=(Block(tuple([_all_but_last(x) for x in tensors])),))
        return value

    def clear(self) -> None:
        """Take off all elements."""
        self._change()
        if self._state is None:
            super().clear()
        elif isinstance(self._state, Buffered):
            self._state = replace(self._state, length=as_tensor(0, int64), change=None)
        else:
            self._state = replace(self._state, segments=())

    # -- reading -------------------------------------------------------------------------------------------------------

    def stack(self, axis: int = 0) -> Tensor:
        """All elements along a new axis. Raises ShapeError when there is none or when their shapes differ."""
        from treadle.ops.shaping import moveaxis, stack

        if self._state is None:
            return stack(list(self), axis=axis)
        if self._state.element is not nest.LEAF:
            raise TraceError(f"{self.name} holds nests; stack needs a list of tensors: keep one list for each")
        (tensor,) = self._rows()
        return moveaxis(tensor, 0, axis) if axis else tensor

    def length(self) -> int | Tensor:
        """How many elements: an int, or a tensor where only running tells."""
        state = self._state
        if state is None:
            return len(self)
        if isinstance(state, Buffered):
            return state.length
        first = state.segments[0] if state.segments else None
        if isinstance(first, Base):
            if first.length is None:
                raise NeedsLength(self)
            from treadle.control.threads import appended_count  # loops build on lists

            return cast(first.length + appended_count(state, first), int64)
        if state.length is not None:
            return state.length
        return rows.count_op.bind((self._rows()[0],), {})[0]

    def __len__(self) -> int:
        if self._state is None:
            return super().__len__()
        length = self.length()
        if isinstance(length, int):
            return length
        raise TraceError(
            f"the length of {self.name} is not known while tracing; use {self.name}.length(), a tensor, or len() in a "
            "function that autograph converts"
        )

    def __bool__(self) -> bool:
        return len(self) > 0

    def __iter__(self) -> Iterator[Any]:
        if self._state is None:
            return super().__iter__()
        return iter([self[k] for k in range(len(self))])

    def __getitem__(self, index: Any) -> Any:
        state = self._state
        if state is None and not isinstance(index, Symbol):
            return super().__getitem__(index)
        if isinstance(state, Buffered):
            if isinstance(index, slice):
                return self.stack()[index]
            where = as_tensor(index, int64)
            if not isinstance(index, int):
                from treadle.ops.elementwise import where as choose

                where = choose(where < 0, where + state.length, where)
            elif index < 0:
                where = state.length + index
            return self._buffered_row(state, where)
        if isinstance(index, int) and isinstance(state, Grown) and (held := _held(state, index)) is not None:
            return nest.unflatten(state.element, held)
        tensors = self._rows()
        element = self._element()
        if isinstance(index, slice):
            if element is nest.LEAF:
                return tensors[0][index]
            raise self._cannot("a slice")
        if isinstance(index, int) and type(tensors[0].shape[0]) is int:
            return nest.unflatten(element, [x[index, ...] for x in tensors])
        where = as_tensor(index, int64)
        return nest.unflatten(element, [rows.row_op.bind((x, where), {})[0] for x in tensors])

    def __setitem__(self, index: Any, value: Any) -> None:
        self._change()
        state = self._state
        if state is None and not isinstance(index, Symbol):
            super().__setitem__(index, value)
            return
        if isinstance(index, slice):
            raise self._cannot("a store into a slice")
        if isinstance(state, Grown) and state.based:
            raise NeedsBuffer(self)
        leaves, element = nest.flatten_with_structure(value)
        if isinstance(state, Buffered):
            where = state.length + index if isinstance(index, int) and index < 0 else as_tensor(index, int64)
            made = [_write(x, as_tensor(y), where) for x, y in zip(state.buffers, leaves, strict=True)]
            self._state = replace(state, buffers=tuple(made))
            return
        tensors = self._rows()
        made = [x.at[index].set(as_tensor(y)) for x, y in zip(tensors, leaves, strict=True)]
        self._state = Grown(element, (Block(tuple(made)),), tuple(x.shape[1:] for x in made))

    def __add__(self, other: Any) -> TensorList:  # type: ignore[override]
        made = twin(self)
        made.extend(other)
        return made

    def __radd__(self, other: list[Any]) -> TensorList:
        made = new_list(other)
        made.extend(self)
        return made

    def _refuse(self, what: str) -> Any:
        if self._state is not None:
            raise self._cannot(what)
        return getattr(super(), what)

    def insert(self, index: Any, value: Any) -> None:
        """As a list's; not where the list is staged."""
        self._change()
        self._refuse("insert")(index, value)

    def remove(self, value: Any) -> None:
        """As a list's; not where the list is staged."""
        self._change()
        self._refuse("remove")(value)

    def reverse(self) -> None:
        """As a list's; not where the list is staged."""
        self._change()
        self._refuse("reverse")()

    def sort(self, **options: Any) -> None:
        """As a list's; not where the list is staged."""
        self._change()
        self._refuse("sort")(**options)

    def __contains__(self, value: object) -> bool:
        return bool(self._refuse("__contains__")(value))

    def __eq__(self, other: object) -> Any:
        return self is other or self._refuse("__eq__")(other)

    __hash__ = None  # type: ignore[assignment]

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        import numpy as np

        if self._state is not None:
            raise self._cannot("np.asarray")
        return np.asarray(list(self), dtype)

    def __repr__(self) -> str:
        if self._state is None:
            return super().__repr__()
        return f"<staged list {self.name}>"

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _cannot(self, what: str) -> ControlFlowError:
        return ControlFlowError(
            f"{what} is not possible on {self.name}, which has grown in a branch or loop on tensors; "
            f"append, extend, pop(), stack, indexing and iteration are"
        )

    def _change(self) -> None:
        journal.note(self, "list", None, self.name)

    def _element(self) -> nest.Structure:
        found = self._state.element if self._state is not None else grown(self).element
        return nest.LEAF if found is None else found

    def _rows(self) -> list[Tensor]:
        """For each leaf of the elements, all of them as one tensor."""
        state = self._state
        if isinstance(state, Buffered):
            return [rows.head(x, state.length) for x in state.buffers]
        state = state or grown(self)
        if state.based:
            raise NeedsBuffer(self)
        return together(self, state)

    def _buffered_row(self, state: Buffered, index: Tensor) -> Any:
        from treadle.ops.effects import assert_

        assert_((index >= 0) & (index < state.length), f"an index is out of range for {self.name}")
        return nest.unflatten(state.element, [_read(x, index) for x in state.buffers])


def _all_but_last(x: Tensor) -> Tensor:
    if type(x.shape[0]) is int:
        return x[:-1]
    return rows.head(x, rows.count_op.bind((x,), {})[0] - 1)


def _read(buffer: Tensor, index: Tensor) -> Tensor:
    from treadle.ops.dynamic import dynamic_slice
    from treadle.ops.shaping import reshape

    shape = buffer.shape[1:]
    return reshape(dynamic_slice(buffer, [index, *[0] * len(shape)], (1, *shape)), shape)


def _write(buffer: Tensor, value: Tensor, index: Tensor) -> Tensor:
    from treadle.ops.dynamic import dynamic_update_slice
    from treadle.ops.shaping import reshape

    row = reshape(cast(value, buffer.dtype), (1, *value.shape))
    return dynamic_update_slice(buffer, row, [index, *[0] * len(value.shape)])


def _held(state: Grown, index: int) -> tuple[Any, ...] | None:
    """The element at an index, where it is one of the items at the list's end or beginning."""
    segments = state.segments[::-1] if index < 0 else state.segments
    position = -index - 1 if index < 0 else index
    for segment in segments[: position + 1]:
        if not isinstance(segment, Item) or segment.present is not None:
            return None
    found = segments[position] if position < len(segments) else None
    return found.leaves if isinstance(found, Item) else None


# -- states -----------------------------------------------------------------------------------------------------------


def is_list(value: Any) -> bool:
    """Whether a value is a list that staged code may grow."""
    return isinstance(value, TensorList)


def new_list(items: Iterable[Any], name: str = "the list") -> TensorList:
    """The list that a converted function makes."""
    made = TensorList(items)
    made.explicit = False
    made.name = name
    return made


def twin(owner: TensorList) -> TensorList:
    """Another list that holds the same."""
    made = TensorList(capacity=owner.capacity)
    made.explicit, made.name = owner.explicit, owner.name
    replace_content(made, content(owner))
    return made


def content(owner: list[Any]) -> Any:
    """What a list holds: its items as a list, or its state."""
    state = owner._state if isinstance(owner, TensorList) else None
    return list(owner) if state is None else state


def replace_content(owner: list[Any], value: Any) -> None:
    """Make a list hold what `content` gave."""
    if not isinstance(owner, TensorList):
        owner[:] = value
        return
    items = value if isinstance(value, list) else []
    owner._state = None
    list.__setitem__(owner, slice(None), items)
    owner._state = None if isinstance(value, list) else value


journal.LISTS[:] = [content, replace_content]
nest.LISTS.add(TensorList)


def grown(owner: TensorList | list[Any]) -> Grown:
    """A list as segments."""
    state = content(owner)
    if isinstance(state, Grown):
        return state
    if isinstance(state, Buffered):
        raise ControlFlowError("a list that is a buffer has no segments")
    return segments_of(owner, state)


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
    made = [_write(x, as_tensor(y), state.length) for x, y in zip(state.buffers, leaves, strict=True)]
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
            f"the elements of {name} must be alike: {element!r} first, {found!r} appended in a branch or loop on tensors",
            where,
        )
    for shape, leaf in zip(shapes, leaves, strict=True):
        if tuple(shape) != as_shape(leaf):
            raise ControlFlowError(
                f"the elements of {name} must have one shape: {tuple(shape)} first, {as_shape(leaf)} appended in a branch "
                "or loop on tensors; pad or reshape them, or keep two lists",
                where,
            )


def together(owner: TensorList, state: Grown) -> list[Tensor]:
    """For each leaf all elements of a list as one tensor, what is not there left out."""
    from treadle.ops.shaping import concat, expand_dims, reshape

    if not state.segments:
        from treadle.errors import ShapeError

        raise ShapeError("stack: needs one tensor or more")
    masked = any(_mask(segment) is not None for segment in state.segments)
    found = []
    for k in range(len(_leaves(state.segments[0]))):
        parts = [
            segment.rows[k] if isinstance(segment, Block) else expand_dims(as_tensor(_leaves(segment)[k]), axis=0)
            for segment in state.segments
        ]
        found.append(parts[0] if len(parts) == 1 else rows.join(concat(parts, axis=0), 1))
    if not masked:
        return found
    masks = []
    for segment in state.segments:
        mask = _mask(segment)
        if mask is None:
            mask = rows.certain_op.bind((segment.rows[0],), {})[0] if isinstance(segment, Block) else as_tensor(True)
        masks.append(mask if isinstance(segment, Block) else reshape(mask, (1,)))
    mask = masks[0] if len(masks) == 1 else concat(masks, axis=0)
    return [rows.keep(x, mask) for x in found]


def _mask(segment: Segment) -> Tensor | None:
    if isinstance(segment, Block):
        return segment.mask
    return segment.present if isinstance(segment, Item) else None


def _leaves(segment: Segment) -> tuple[Any, ...]:
    return segment.rows if isinstance(segment, Block) else segment.leaves  # type: ignore[union-attr]


def to_buffer(owner: TensorList, capacity: int, like: Grown) -> Buffered:
    """A list as a buffer; `like` tells what its elements are."""
    from treadle.ops.creation import zeros
    from treadle.ops.shaping import concat

    state = content(owner)
    if isinstance(state, Buffered):
        return state
    own = grown(owner)
    element = own.element or like.element
    if element is None:
        raise ControlFlowError(f"{owner.name} is read in a loop on tensors, but nothing is appended to it")
    specs = element_specs(own if own.segments else like)
    if not own.segments:
        buffers = [zeros((capacity, *s.shape), dtype=s.dtype) for s in specs]
        return Buffered(element, tuple(buffers), as_tensor(0, int64), 0)
    known = own.length
    tensors = together(owner, own)
    if known is None:
        length = rows.count_op.bind((tensors[0],), {})[0]
        filled = [rows_into(x, zeros((capacity, *x.shape[1:]), dtype=x.dtype)) for x in tensors]
        return Buffered(element, tuple(filled), length, capacity)
    room = max(capacity - known, 0)
    buffers = [concat([x, zeros((room, *x.shape[1:]), dtype=x.dtype)], axis=0) if room else x for x in tensors]
    return Buffered(element, tuple(buffers), as_tensor(known, int64), known)


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
            return [Spec(as_shape(x), as_tensor(x).dtype) for x in segment.leaves]
    return []


@dataclass(frozen=True)
class Rows:
    """A list that has grown in staged code, as a nest: what a traced function returns; made again, it is a list."""

    rows: tuple[Tensor, ...]
    element: nest.Structure
    explicit: bool

    def __new__(cls, rows: tuple[Tensor, ...], element: nest.Structure, explicit: bool) -> Any:
        if any(isinstance(x, Symbol) for x in rows):
            made = TensorList()
            made.explicit = explicit
            made._state = Grown(element, (Block(tuple(rows)),), tuple(x.shape[1:] for x in rows))
            return made
        items = [nest.unflatten(element, [Tensor(x.array[k, ...]) for x in rows]) for k in range(rows[0].array.shape[0])]
        return TensorList(items) if explicit else items


def as_nest(owner: TensorList) -> Rows:
    """A staged list as a nest of its rows."""
    made = object.__new__(Rows)
    element = owner._element()
    for name, value in (("rows", tuple(owner._rows())), ("element", element), ("explicit", owner.explicit)):
        object.__setattr__(made, name, value)
    return made


__all__ = ["Base", "Block", "Buffered", "Grown", "Item", "NeedsBuffer", "NeedsLength", "TensorList", "new_list"]
