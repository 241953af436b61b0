"""`td.TensorList`: a Python list that may grow in staged loops and branches, and is then stacked, indexed or returned.

Outside of staged code it is a list. In it, what a list holds is an immutable state, so that blocks can be traced, taken
back and merged: `Grown` is a row of segments (items, and rows that a loop has stacked), `Buffered` is memory of a known
capacity with a length. A loop body first sees its list as `BASE` (whatever it held before) with what the body appends;
the appended values leave the loop as its stacks. A body that also reads its list gets it as a buffer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from treadle import nest
from treadle.control import journal, rows
from treadle.control.list_methods import ListMethods
from treadle.control.list_states import (
    Base,
    Block,
    Buffered,
    Grown,
    Item,
    NeedsBuffer,
    NeedsLength,
    State,
    all_but_last,
    appended,
    buffered_row,
    check_recent,
    held_item,
    rows_into,
    segments_of,
    together,
    write_row,
)
from treadle.control.row_changes import cut
from treadle.core.dtypes import int64
from treadle.core.tensor import Symbol, Tensor
from treadle.errors import ControlFlowError, Location, TraceError, user_location
from treadle.ops.convert import as_tensor, cast
from treadle.records import replace


class TensorList(ListMethods):
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
            self._state = Grown(
                own.element or other.element, (*own.segments, *other.segments), own.shapes or other.shapes
            )
            return
        if isinstance(values, Symbol) and not isinstance(self._state, Buffered):
            own = grown(self)
            self._state = Grown(own.element or nest.LEAF, (*own.segments, Block((values,))), own.shapes)
            return
        for value in values:
            self.append(value)

    def __iadd__(self, values: Iterable[Any]) -> TensorList:  # type: ignore[misc]
        self.extend(values)
        return self

    def pop(self, index: Any = -1) -> Any:
        """Take off an element, the last by default, and give it."""
        self._change()
        state = self._state
        if state is None and not isinstance(index, Symbol):
            return super().pop(index)
        if state is None or not (isinstance(index, int) and index == -1):
            return self._take_out(index)
        if isinstance(state, Buffered):
            change = None if state.change is None else state.change - 1
            self._state = replace(state, length=cast(state.length - 1, int64), change=change)
            return buffered_row(self.name, state, state.length - 1)
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
        self._state = replace(state, segments=(Block(tuple([all_but_last(x) for x in tensors])),))
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

    def concat(self, axis: int | None = 0) -> Tensor:
        """All elements joined along their first axis. Raises ShapeError for elements without axes."""
        from treadle.ops.shaping import concat

        if self._state is None:
            return concat(list(self), axis=axis)
        whole = self.stack()
        if whole.ndim < 2 or axis not in (0, None):
            raise self._cannot(f"concat along axis {axis}")
        return rows.join(whole, 2 if axis == 0 else whole.ndim)

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
            from treadle.control.list_stacks import appended_count

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
        length = self.length()
        if isinstance(length, int):
            return iter([self[k] for k in range(length)])
        raise TraceError(
            f"only running tells how many elements {self.name} has: it cannot be taken apart, made a tuple or a set, "
            "or handed on as arguments (*) while tracing; keep it a list, loop over it, or td.stack it"
        )

    def __getitem__(self, index: Any) -> Any:
        state = self._state
        if state is None and not isinstance(index, Symbol):
            found = super().__getitem__(index)
            return new_list(found, f"a part of {self.name}") if isinstance(index, slice) else found
        if isinstance(state, Buffered) and not isinstance(index, slice):
            where = as_tensor(index, int64)
            if not isinstance(index, int):
                from treadle.ops.comparison import where as choose

                where = choose(where < 0, where + state.length, where)
            elif index < 0:
                where = state.length + index
            return buffered_row(self.name, state, where)
        if isinstance(index, int) and isinstance(state, Grown) and (held := held_item(self, state, index)) is not None:
            check_recent(self, state, index)
            return nest.unflatten(state.element, held)
        tensors = self._rows()
        element = self._element()
        if isinstance(index, slice):
            made = new_list([], f"a part of {self.name}")
            if any(isinstance(bound, Tensor) for bound in (index.start, index.stop, index.step)):
                raise self._cannot("a slice whose bounds are tensors")
            parts = tuple([cut(x, index) for x in tensors])
            made._state = Grown(element, (Block(parts),), tuple([x.shape[1:] for x in parts]))
            if isinstance(state, Buffered):  # as much memory, so that the name may be bound to it
                filled = tuple([rows_into(x, memory) for x, memory in zip(parts, state.buffers, strict=True)])
                made._state = replace(state, buffers=filled, length=rows.count_of(parts[0]), change=None)
            return made
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
        leaves, element = nest.flatten_with_structure(value)
        if isinstance(state, Grown) and state.based:
            last = state.segments[-1]
            if not (type(index) is int and index == -1 and isinstance(last, Item) and last.present is None):
                raise NeedsBuffer(self)
            self._state = appended(self, replace(state, segments=state.segments[:-1]), value)
            return
        if isinstance(state, Buffered):
            where = state.length + index if isinstance(index, int) and index < 0 else as_tensor(index, int64)
            made = [write_row(x, as_tensor(y), where) for x, y in zip(state.buffers, leaves, strict=True)]
            self._state = replace(state, buffers=tuple(made))
            return
        tensors = self._rows()
        made = [x.at[index].set(as_tensor(y)) for x, y in zip(tensors, leaves, strict=True)]
        self._state = Grown(element, (Block(tuple(made)),), tuple(x.shape[1:] for x in made))

    def __add__(self, other: Any) -> TensorList:
        made = twin(self)
        made.extend(other)
        return made

    def __radd__(self, other: list[Any]) -> TensorList:
        made = new_list(other)
        made.extend(self)
        return made

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
            f"{what} is not possible on {self.name}, which has grown in a branch or loop on tensors; append, extend, "
            "pop, stack, indexing, iteration, searching and sorting of numbers are"
        )

    def _change(self) -> None:
        journal.note(self, "list", None, self.name)

    def _element(self) -> nest.Structure:
        found = self._state.element if self._state is not None else grown(self).element
        return nest.LEAF if found is None else found

    def rows(self) -> tuple[list[Tensor], nest.Structure]:
        """For each leaf of the elements all of them as one tensor; and the structure of one element."""
        return self._rows(), self._element()

    def _rows(self) -> list[Tensor]:
        """For each leaf of the elements, all of them as one tensor."""
        state = self._state
        if isinstance(state, Buffered):
            return [rows.head(x, state.length) for x in state.buffers]
        state = state or grown(self)
        if state.based:
            raise NeedsBuffer(self)
        return together(self, state)


def is_list(value: Any) -> bool:
    """Whether a value is a list that staged code may grow."""
    return isinstance(value, TensorList)


def new_list(items: Iterable[Any], name: str = "the list") -> TensorList:
    """The list that a converted function makes."""
    made = TensorList(items)
    made.explicit = False
    made.name = name
    return made


def is_outer(value: Any) -> bool:
    """Whether a value is a list that was made outside of the blocks whose traces have ended: it stays itself."""
    if not isinstance(value, TensorList):
        return False
    born = value._born
    return not isinstance(born, journal.Journal) or born.encloses(journal.current_journal())


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


__all__ = ["TensorList", "content", "grown", "is_list", "new_list", "replace_content", "twin"]
