"""What lists can do besides growing, also where staged code has made them grow: search, sort, compare, take out.

Only running tells how many elements such a list has; its elements are rows of one tensor for each leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle import nest
from treadle.control import row_changes
from treadle.control.list_states import Block, Buffered, Grown, put_first, rows_into, segments_of, together
from treadle.control.rows import row
from treadle.core.dtypes import int64
from treadle.core.tensor import Symbol, Tensor
from treadle.core.text import writing
from treadle.errors import ControlFlowError, user_location
from treadle.ops.convert import as_tensor, cast
from treadle.records import replace

if TYPE_CHECKING:
    from treadle.control.list_states import State


def _as_a_list(name: str) -> Any:
    """A list's own method, which would not see what a staged list holds: there it is refused."""

    def method(self: ListMethods, *args: Any) -> Any:
        if self._state is not None or any(isinstance(x, ListMethods) and x._state is not None for x in args):
            raise self._cannot(name)
        return getattr(list, name)(self, *args)

    method.__name__, method.__doc__ = name, "As a list's; not where the list is staged."
    return method


class ListMethods(list[Any]):
    """The methods of `TensorList` that look at all elements; see there."""

    __slots__ = ()
    _state: State | None
    name: str

    if TYPE_CHECKING:  # what TensorList gives them

        def _change(self) -> None: ...
        def _cannot(self, what: str) -> ControlFlowError: ...
        def _rows(self) -> list[Tensor]: ...
        def _element(self) -> nest.Structure: ...
        def length(self) -> int | Tensor: ...

    # -- searching -----------------------------------------------------------------------------------------------------

    def holds(self, value: Any) -> bool | Tensor:
        """`value in self`: a tensor where only running tells."""
        found = self._equal_to(value)
        from treadle.ops.reductions import any as any_

        return False if found is None else any_(found)

    def count(self, value: Any) -> Any:
        """How many elements equal a value; a tensor where only running tells."""
        if self._state is None and not self._traced(value):
            return super().count(value)
        from treadle.ops.reductions import sum as total

        found = self._equal_to(value)
        return 0 if found is None else total(cast(found, int64))

    def index(self, value: Any, *span: Any) -> Any:
        """The first place of a value; a tensor where only running tells. Raises ValueError where it is not there."""
        if self._state is None and not self._traced(value):
            return super().index(value, *span)
        if span:
            raise self._cannot("index() of a part")
        from treadle.ops.reductions import any as any_
        from treadle.ops.reductions import argmax

        found = self._equal_to(value)
        if found is None or (isinstance(length := self.length(), int) and length == 0):
            raise ValueError(f"{value!r} is not in {self.name}")
        _raise_unless(any_(found), lambda: ValueError(f"the value is not in {self.name}"))
        return argmax(cast(found, int64), axis=0)

    def _traced(self, *values: Any) -> bool:
        return any(isinstance(x, Symbol) for value in (*list.__iter__(self), *values) for x in nest.flatten(value))

    def _equal_to(self, value: Any) -> Tensor | None:
        """Which of the rows equal a value; None where none can."""
        from treadle.ops.comparison import logical_and

        leaves, structure = nest.flatten_with_structure(value)
        state = self._as_rows()
        if structure != self._element() or not leaves:
            return None
        tensors = list(state.buffers) if isinstance(state, Buffered) else self._rows_of(state)
        if any(x.ndim != 1 or as_tensor(y).ndim for x, y in zip(tensors, leaves, strict=True)):
            raise self._cannot("comparing elements that are no single numbers")
        found = row_changes.positions(tensors[0]) < state.length if isinstance(state, Buffered) else None
        for x, y in zip(tensors, leaves, strict=True):
            found = x == y if found is None else logical_and(found, x == y)
        return found

    def _as_rows(self) -> State:
        return self._state if self._state is not None else segments_of(self, list.__iter__(self))

    def _rows_of(self, state: State) -> list[Tensor]:
        if self._state is not None:
            return self._rows()
        assert isinstance(state, Grown)
        if not state.segments:
            return [as_tensor(np.zeros(0))]
        return together(self, state)  # type: ignore[arg-type]

    # -- comparing -----------------------------------------------------------------------------------------------------

    def equals(self, other: Any) -> bool | Tensor:
        """`self == other`: a tensor where only running tells."""
        if self is other:
            return True
        if not isinstance(other, list):
            return False
        mine, theirs = self._parts(self), self._parts(other)
        if mine is None or theirs is None:  # one has no elements
            sizes = [x.length() if isinstance(x, ListMethods) else len(x) for x in (self, other)]
            return sizes[0] == sizes[1]
        if mine[1] != theirs[1]:
            return False
        found: Any = None
        for x, y in zip(mine[0], theirs[0], strict=True):
            same = row_changes.same_rows(x, y)
            found = same if found is None else found & same
        return found  # type: ignore[no-any-return]

    @staticmethod
    def _parts(items: list[Any]) -> tuple[list[Tensor], nest.Structure] | None:
        state = items._state if isinstance(items, ListMethods) else None
        if isinstance(items, ListMethods) and state is not None:
            if isinstance(state, Grown) and not state.segments:
                return None
            return items._rows(), items._element()
        made = segments_of(items, list.__iter__(items))
        if not made.segments or made.element is None:
            return None
        return together(items, made), made.element  # type: ignore[arg-type]

    # -- changing ------------------------------------------------------------------------------------------------------

    def remove(self, value: Any) -> None:
        """Take off the first element that equals a value. Raises ValueError where there is none."""
        if self._state is None and not self._traced(value):
            self._change()
            super().remove(value)
            return
        self._take_out(self.index(value))

    def _take_out(self, index: Any) -> Any:
        """The element at an index, which is taken off."""
        value = self[index]
        self._change()
        state = self._as_rows()
        length = cast(as_tensor(self.length()), int64)
        where = cast(as_tensor(index, int64), int64)
        where = _from_zero(where, length) if not (isinstance(index, int) and index >= 0) else where
        if isinstance(state, Buffered):
            made = [row_changes.moved_up(x, where) for x in state.buffers]
            change = None if state.change is None else state.change - 1
            self._state = replace(state, buffers=tuple(made), length=cast(state.length - 1, int64), change=change)
        else:
            self._become([row_changes.without_row(x, where) for x in self._rows_of(state)])
        return value

    def _put_in(self, index: Any, value: Any) -> None:
        """A new element before an index; as in Python, indices outside mean the ends."""
        from treadle.ops.arithmetic import maximum, minimum

        self._change()
        state = self._as_rows()
        if isinstance(state, Grown) and type(index) is int and index == 0 and not state.based:
            self._state = put_first(self, state, value)  # type: ignore[arg-type]
            return
        length = cast(as_tensor(self.length()), int64)
        where = minimum(maximum(_from_zero(as_tensor(index, int64), length), 0), length)
        self.append(value)
        grown = self._as_rows()
        if isinstance(grown, Buffered):
            made = [row_changes.last_moved(x, where, length) for x in grown.buffers]
            self._state = replace(grown, buffers=tuple(made))
        else:
            self._become([row_changes.last_moved(x, where, length) for x in self._rows_of(grown)])

    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: Any = False) -> None:
        """As a list's; where it is staged, by one sort of its numbers or of their keys."""
        if self._state is None and not self._traced():
            self._change()
            super().sort(key=key, reverse=reverse)
            return
        from treadle.control.functional import map as map_rows
        from treadle.ops.searching import argsort, take

        if isinstance(reverse, Tensor):
            raise self._cannot("sort(reverse=...) with a tensor")
        if not self._known_empty():
            tensors, element = self._rows_of(self._as_rows()), self._element()
            keys = nest.unflatten(element, tensors)
            if key is not None:

                def measure(k: Tensor) -> Any:
                    return key(nest.unflatten(element, [row(x, k) for x in tensors]))

                keys = map_rows(measure, row_changes.positions(tensors[0]))
            if not isinstance(keys, Tensor) or keys.ndim != 1:
                raise self._cannot("sort() by what is no single number")
            order = argsort(keys, descending=bool(reverse), stable=True)
            self._refill([take(x, order, axis=0) for x in tensors])

    def reverse(self) -> None:
        """As a list's."""
        if self._state is None:
            self._change()
            super().reverse()
            return
        from treadle.ops.slicing import flip

        if not self._known_empty():
            self._refill([flip(x, axis=0) for x in self._rows()])

    def insert(self, index: Any, value: Any) -> None:
        """As a list's."""
        if self._state is None and not isinstance(index, Symbol):
            self._change()
            super().insert(index, value)
            return
        self._put_in(index, value)

    def _known_empty(self) -> bool:
        return isinstance(self._state, Grown) and not self._state.segments

    def _become(self, tensors: list[Tensor]) -> None:
        """From now on hold these rows."""
        self._state = Grown(self._element(), (Block(tuple(tensors)),), tuple([x.shape[1:] for x in tensors]))

    def _refill(self, tensors: list[Tensor]) -> None:
        """Hold the same number of other rows."""
        self._change()
        if isinstance(self._state, Buffered):
            pairs = zip(tensors, self._state.buffers, strict=True)
            self._state = replace(self._state, buffers=tuple([rows_into(x, memory) for x, memory in pairs]))
        else:
            self._become(tensors)

    # -- copies --------------------------------------------------------------------------------------------------------

    def copy(self) -> Any:
        """Another list of the same elements."""
        from treadle.control.lists import twin

        return twin(self)  # type: ignore[arg-type]

    __copy__ = copy

    def __mul__(self, times: Any) -> Any:
        if not isinstance(times, int):
            raise self._cannot("repeating it by a tensor")
        made = self.copy()
        if times < 1:
            made.clear()
        for _ in range(times - 1):
            made.extend(self.copy())
        return made

    __rmul__ = __mul__

    def __imul__(self, times: Any) -> Any:
        from treadle.control.lists import content, replace_content

        made = content(self * times)
        self._change()
        replace_content(self, made)
        return self

    def __delitem__(self, index: Any) -> None:
        if self._state is None and not isinstance(index, Symbol):
            self._change()
            super().__delitem__(index)
            return
        if isinstance(index, slice):
            raise self._cannot("deleting a slice")
        self._take_out(index)

    # -- Python's protocols --------------------------------------------------------------------------------------------

    def __contains__(self, value: object) -> bool:
        if self._state is not None:
            raise self._cannot("`in` outside of converted code")
        return super().__contains__(value)

    def __eq__(self, other: object) -> Any:
        staged = self._state is not None or (isinstance(other, ListMethods) and other._state is not None)
        if staged or (isinstance(other, list) and self._traced(*list.__iter__(other))):
            return self.equals(other)
        return super().__eq__(other)

    def __ne__(self, other: object) -> Any:
        from treadle.ops.comparison import logical_not

        equal = self == other
        return logical_not(equal) if isinstance(equal, Tensor) else not equal

    def __reversed__(self) -> Iterator[Any]:
        return super().__reversed__() if self._state is None else iter([*self][::-1])

    __lt__, __le__, __gt__, __ge__ = map(_as_a_list, ("__lt__", "__le__", "__gt__", "__ge__"))


def _from_zero(index: Tensor, length: Tensor) -> Tensor:
    from treadle.ops.comparison import where

    return where(index < 0, index + length, index)


def _raise_unless(holds: Tensor, make: Callable[[], Exception]) -> None:
    """Raise at run time where a condition does not hold."""
    from treadle.control.staging import staged_if
    from treadle.ops.raising import raise_op, recipe

    made, _ = recipe(make(), writing(), user_location(3))

    def stop() -> tuple[()]:
        raise_op.bind((), {"recipe": made})
        return ()

    staged_if(holds, lambda: (), stop, (), ())


__all__ = ["ListMethods"]
