"""What a loop's body stores in Python objects, threaded through the loop: places, and lists that grow.

A place is carried as a name is. A list that only grows is no carried value: what an iteration appends leaves the loop
as a stack. A list whose length is asked carries a counter too; one that is read is carried as a buffer.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

from treadle.control import rows
from treadle.control.elastic import with_room
from treadle.control.journal import Journal, Key, Place, note
from treadle.control.list_forms import to_buffer
from treadle.control.list_stacks import Rows, appended_count, certain, present_of, stacked
from treadle.control.list_states import (
    Base,
    Block,
    Buffered,
    Grown,
    Item,
    NeedsBuffer,
    NeedsLength,
    NeedsRecent,
    as_rows,
    element_specs,
    held_item,
    recent,
    segments_of,
    together,
)
from treadle.control.lists import TensorList, grown
from treadle.core.dtypes import int64
from treadle.core.tensor import Tensor
from treadle.errors import ControlFlowError
from treadle.ops.convert import as_tensor, cast, settled
from treadle.records import replace

VALUE, LOG, BUFFER = "value", "log", "buffer"


class Thread:
    """One place that the loop carries.

    mode:  VALUE: what stands there is a carried nest. LOG: a list that only grows. BUFFER: a list as a buffer.
    after: what stood there at the end of the traced body.
    """

    def __init__(self, place: Place, steps: int | None) -> None:
        self.place = place
        self.steps = steps
        self.before = place.old
        self.mode = VALUE
        self.counted = False
        self.recent = 0  # how many of the last elements are carried along
        self.unsure = False  # whether there may be fewer
        self.like = Grown()
        self.capacity = 0
        self.elastic = False  # the buffer is memory of an open size
        self.growth = 1  # how many elements a step adds at most, where it is
        self.after: Any = None
        self.start: Buffered | None = None
        self.base = Base()
        self.entries: list[tuple[type, int, bool]] = []
        if isinstance(self.before, Buffered):
            self.mode, self.start, self.capacity = BUFFER, self.before, self.before.capacity
            self.elastic = self.before.room is not None
        elif isinstance(self.before, Grown):
            self.mode = LOG

    @property
    def logs(self) -> bool:
        """Whether the loop's stacks hold what an iteration appends."""
        return self.mode == LOG

    @property
    def how(self) -> tuple[Any, ...]:
        """What the carried values depend on."""
        return self.mode, self.capacity, self.elastic, self.counted, self.recent

    # -- what goes into an iteration -----------------------------------------------------------------------------------

    def initial(self) -> Any:
        """The nest that the loop carries for this place."""
        if self.mode == LOG:
            last = tuple([self.recent_before(k) for k in range(1, self.recent + 1)])
            return ((self.count_before(),) if self.counted else ()), last
        if self.mode == BUFFER:
            if self.start is None:  # made here, as now the code around the loop is traced, not its body
                self.start = to_buffer(self.place.obj, None if self.elastic else self.capacity, self.like)
            return (*self.start.buffers, self.start.length)
        return self.before

    def count_before(self) -> Any:
        """How many elements the list has before the loop."""
        state = grown(self.place.obj)
        if state.length is not None:
            return as_tensor(state.length, int64)
        return cast(as_tensor(self.place.obj.length()), int64)

    def carry_recent(self, number: int) -> None:
        """From now on carry the last elements along."""
        own = self.before if isinstance(self.before, Grown) else grown(self.place.obj)
        known = own.length
        if known is None or known < number:
            self.unsure = self.counted = True
        self.recent = max(self.recent, number)

    def recent_before(self, k: int) -> tuple[Any, ...]:
        """The leaves of the element k from the end before the loop; zeros where there may be fewer."""
        from treadle.ops.creation import zeros
        from treadle.ops.shaping import concat

        own = self.before if isinstance(self.before, Grown) else grown(self.place.obj)
        held = held_item(self.place.obj, own, -k) if own.segments else None
        if held is not None:
            return held
        specs = element_specs(own if element_specs(own) else self.like)
        if own.length == 0:
            return tuple([zeros(s.shape, dtype=s.dtype) for s in specs])
        found = together(self.place.obj, own)
        if own.length is None or own.length < k:
            found = [
                rows.join(concat([zeros((k, *s.shape), dtype=s.dtype), x], axis=0), 1)
                for s, x in zip(specs, found, strict=True)
            ]
        return tuple([rows.row_op.bind((x, as_tensor(-k, int64)), {})[0] for x in found])

    def begin(self, carried: Any) -> None:
        """Put what the body's trace gets at the place."""
        note(self.place.obj, self.place.kind, self.place.key, self.place.label)
        value = carried
        if self.mode == LOG:
            own = self.before if isinstance(self.before, Grown) else grown(self.place.obj)
            count, last = carried
            self.base = Base(count[0] if count else None, last, own, self.unsure)
            like = own if own.element is not None else self.like
            value = Grown(like.element, (self.base,), like.shapes)
        elif self.mode == BUFFER:
            assert self.start is not None
            room = self.growth if self.elastic else None
            value = Buffered(self.start.element, tuple(carried[:-1]), carried[-1], self.start.most, room=room)
        self.place.set(value)

    def discover(self, after: Any) -> None:
        """The body stores here: how is this place to be carried?"""
        self.after = after
        if self.mode == VALUE:
            self.settle()
        elif isinstance(after, Grown):
            self.like = after

    # -- what comes out of one -----------------------------------------------------------------------------------------

    def result(self) -> Any:
        """The nest after the body, like `initial`."""
        if self.mode == VALUE:
            return self.after
        if self.mode == BUFFER:
            return (*self.after.buffers, self.after.length)
        length = self.base.length
        count = () if length is None else (length + appended_count(self.after, self.base),)
        last = recent(self.after) if self.recent else []
        assert last is not None
        return count, tuple(last[: self.recent])

    def settle(self) -> bool:
        """Whether the mode fits what the body did; else it is changed, and the body is to be traced again."""
        before, after = self.before, self.after
        if self.place.kind != "list":
            return True
        if self.mode == VALUE:
            if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
                return True
            owner = self.place.obj
            if not isinstance(owner, TensorList):
                raise ControlFlowError(
                    f"the list {self.place.label} grows in a loop on tensors; only lists made in converted code can: "
                    f"copy it before (`{self.place.label} = [*{self.place.label}]`), or make it a td.TensorList"
                )
            self.like = after if isinstance(after, Grown) else segments_of(owner, after)
            self.mode = LOG
            if not (isinstance(after, Grown) or _extends(before, after)):
                self.buffer()
            return False
        if self.mode == LOG:
            if not (isinstance(after, Grown) and after.segments and after.segments[0] is self.base):
                self.buffer()
                return False
            return True
        assert self.start is not None
        if not isinstance(after, Buffered):
            name = self.place.label
            raise ControlFlowError(f"{name} is replaced in a loop that reads it; append to it, pop or clear it")
        return self._roomy(after)

    def _roomy(self, after: Buffered) -> bool:
        assert self.start is not None
        grows = after.most - self.start.most
        owner: TensorList = self.place.obj
        if self.elastic:
            enough, self.growth = grows <= self.growth, max(grows, self.growth)
            return enough
        if owner.capacity is not None or isinstance(self.before, Buffered) or not (grows or after.loose):
            return True
        if self.steps is None or after.loose:
            self.open()
            return False
        needed = self.start.most + grows * self.steps
        if needed <= self.capacity:
            return True
        self.capacity, self.start = needed, None
        return False

    def buffer(self) -> None:
        """From now on carry the list as a buffer."""
        owner: TensorList = self.place.obj
        own = self.before if isinstance(self.before, Grown) else grown(owner)
        if own.based:
            raise NeedsBuffer(owner)  # a loop around is to carry it so first
        if owner.capacity is None and (self.steps is None or own.length is None):
            self.open()
            return
        fresh = sum(1 for s in self.like.segments if isinstance(s, Item))
        known = own.length or 0
        self.capacity = owner.capacity or max(known + (self.steps or 1) * max(fresh - known, 1), 1)
        self.mode, self.start = BUFFER, None

    def open(self) -> None:
        """From now on carry the list as memory of an open size."""
        self.mode, self.elastic, self.capacity, self.start = BUFFER, True, 0, None

    # -- stacks --------------------------------------------------------------------------------------------------------

    def ys(self) -> list[Tensor]:
        """What an iteration of a list that only grows gives to the loop's stacks."""
        if self.mode != LOG:
            return []
        added = self.after.segments[1:]
        masked = any(present_of(s) is not None for s in added)
        out: list[Tensor] = []
        self.entries = []
        if any(isinstance(s, Block) and type(s.count) is not int for s in added):  # steps differ in how many they add
            found, mask = as_rows(added)
            self.entries.append((Rows, len(found), masked))
            return [rows.joined(x) for x in (*found, *([] if mask is None else [mask]))]
        for segment in added:
            leaves = segment.rows if isinstance(segment, Block) else segment.leaves
            out += [settled(x) for x in leaves]
            if masked:
                out.append(certain(segment))
            self.entries.append((type(segment), len(leaves), masked))
        return out

    def finish(self, carried: Any, stacks: Sequence[Tensor], exact: bool) -> Any:
        """What stands at the place after the loop; `exact`: the loop makes all its steps."""
        if self.mode == VALUE:
            return carried
        if self.mode == BUFFER:
            return self._finished_buffer(carried, exact)
        state = self.before if isinstance(self.before, Grown) else grown(self.place.obj)
        if not self.entries:
            return self.before
        return Grown(
            self.after.element, (*state.segments, stacked(self.entries, stacks)), state.shapes or self.after.shapes
        )

    def _finished_buffer(self, carried: Any, exact: bool) -> Any:
        assert self.start is not None
        after: Buffered = self.after
        change = None
        if exact and self.steps is not None and after.change is not None and self.start.change is not None:
            change = self.start.change + self.steps * after.change
        each = after.most - self.start.most
        most = self.start.most + each * (self.steps if self.steps is not None else 0)
        loose = self.start.loose or after.loose or (self.steps is None and each > 0)
        made = Buffered(self.start.element, tuple(carried[:-1]), carried[-1], most, change, loose=loose)
        if isinstance(self.before, Buffered):
            if self.before.room is None:
                return made
            again = [with_room(x, made.length, self.before.room) for x in made.buffers]  # what the loop around is owed
            return replace(made, buffers=tuple(again), most=self.start.most, room=self.before.room, loose=False)
        own = grown(self.place.obj)
        if change is not None and own.length is not None:
            exact_rows = tuple([x[: own.length + change] for x in made.buffers])
            return Grown(made.element, (Block(exact_rows),), tuple(x.shape[1:] for x in made.buffers))
        heads = tuple([rows.head(x, made.length) for x in made.buffers])
        return Grown(made.element, (Block(heads),), tuple(x.shape[1:] for x in made.buffers))


def _extends(before: list[Any], after: Any) -> bool:
    return (
        isinstance(after, list)
        and len(after) > len(before)
        and all(x is y for x, y in zip(before, after, strict=False))
    )


class Threads:
    """The places that one loop carries, found by tracing its body until nothing new appears."""

    def __init__(self, steps: int | None) -> None:
        self.steps = steps
        self.all: dict[Key, Thread] = {}
        self._suspects: dict[Key, Place] = {}
        self.settled = True

    def begin(self, carried: Sequence[Any]) -> None:
        """Put carried values at their places; the journal of the body takes them back."""
        for thread, value in zip(self.all.values(), carried, strict=True):
            thread.begin(value)

    def end(self, noted: Journal) -> Container[Key]:
        """At the end of a traced body: look at what it stored; the places of objects that are its own."""
        for key, thread in self.all.items():
            thread.after = noted.after[key]
        new = {key: place for key, place in noted.places.items() if key not in self.all}
        changed = {k: p for k, p in new.items() if p.kind == "list" or p.changed(noted.after[k])}
        certain = {k: p for k, p in changed.items() if isinstance(p.obj, TensorList) or k in self._suspects}
        for key, place in certain.items():
            place.check(noted.after[key])
            thread = self.all[key] = Thread(place, self.steps)
            thread.discover(noted.after[key])
        rest = {key: place for key, place in changed.items() if key not in certain}
        self.settled = not certain and (not rest or len(rest) == len(self._suspects))
        if not self.settled:
            self._suspects = rest
            return ()
        return set(new)

    def settle(self) -> bool:
        """Whether every list is carried in a way that fits."""
        found = [thread.settle() for thread in self.all.values()]  # each is to have its turn
        return all(found)

    def needs(self, need: NeedsBuffer | NeedsLength) -> bool:
        """Change how a list is carried that the body reads; False where it is not this loop's."""
        for thread in self.all.values():
            if thread.mode == LOG and (thread.place.obj is need.owner or _begins_with(need.owner, thread.base)):
                if isinstance(need, NeedsLength) and not thread.counted:
                    thread.counted = True
                elif isinstance(need, NeedsRecent):
                    thread.carry_recent(need.number)
                else:
                    thread.buffer()
                return True
        return False


def _begins_with(owner: Any, base: Base) -> bool:
    """Whether a list is a copy of what a loop carries, perhaps with more behind it."""
    state = owner._state
    return isinstance(state, Grown) and state.based and state.segments[0] is base


__all__ = ["Thread", "Threads"]
