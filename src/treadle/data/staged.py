"""Datasets in graphs: a loop over one is a `while` node whose items Python makes while the program runs.

`dataset_start` makes an iterator and gives its number; `dataset_more` tells whether it has another item of the shapes
that the loop was traced for, `dataset_next` gives it. They are effects, so that they run once and in program order.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from treadle import nest, random
from treadle.core.dtypes import bool_, int64
from treadle.core.op import Array, Op
from treadle.core.spec import Spec
from treadle.core.tensor import Tensor
from treadle.errors import ControlFlowError, ShapeError
from treadle.ops.convert import as_tensor
from treadle.ops.families import declare
from treadle.records import dataclass, field

_END = object()
_ANY = -1  # instead of a group's number
_KEPT = 256  # iterators that a `break` or an error has left; the oldest go first


@dataclass(slots=True)
class _Running:
    """An iterator of a program that runs, and the item that was looked at but not taken."""

    items: Iterator[Any]
    waiting: Any = None


_running: OrderedDict[int, _Running] = OrderedDict()
_numbers = itertools.count(1)
_lock = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What a loop runs over, and for each shape of its items, in the order in which they come, the specs.

    again: items of each shape come again and again, in any order.
    """

    items: Iterable[Any]
    structure: nest.Structure
    groups: tuple[tuple[Spec, ...], ...]
    again: bool = False

    def __repr__(self) -> str:
        return repr(self.items)


@dataclass(frozen=True, slots=True)
class Items:
    """Items of one shape; see `treadle.autograph.iterables.HostItems`."""

    source: Source
    number: Tensor
    group: int = field(default=0)

    def more(self) -> Tensor:
        """Whether there is another item of this shape."""
        (found,) = more_op.bind((self.number,), {"source": self.source, "group": self.group})
        return found

    @property
    def any_more(self) -> Callable[[], Tensor] | None:
        """Whether there is another item of any shape, where their shapes change again and again."""
        if not self.source.again:
            return None
        return lambda: more_op.bind((self.number,), {"source": self.source, "group": _ANY})[0]

    def take(self) -> Any:
        """The next item."""
        leaves = next_op.bind((self.number,), {"source": self.source, "group": self.group})
        return nest.unflatten(self.source.structure, leaves)


def start(items: Iterable[Any], samples: Sequence[Any]) -> list[Items]:
    """The parts of a loop over `items`, one for each sample: all items like it, before those like the next sample."""
    found = [nest.flatten_with_structure(sample) for sample in samples]
    groups = tuple([tuple([Spec(x.shape, x.dtype) for x in map(as_tensor, leaves)]) for leaves, _ in found])
    distinct = tuple(dict.fromkeys(groups))
    again = len(groups) > 2
    source = Source(items, found[0][1], distinct if again else groups, again)
    (number,) = start_op.bind((), {"source": source})
    return [Items(source, number, k) for k in range(len(source.groups))]


def _start(*, source: Source) -> tuple[Array]:
    number = next(_numbers)
    with _lock:
        _running[number] = _Running(iter(source.items), _END)
        while len(_running) > _KEPT:
            _running.popitem(last=False)
    return (np.asarray(number, np.int64),)


def _more(number: Array, *, source: Source, group: int) -> tuple[Array]:
    running = _running.get(int(number))
    if running is not None and running.waiting is _END:
        running.waiting = _made(running.items)
        if running.waiting is _END:
            _running.pop(int(number), None)
            running = None
    fits = running is not None and _fits(running.waiting, source, group)
    return (np.asarray(fits),)


def _made(items: Iterator[Any]) -> Any:
    """The next item. Raises ControlFlowError where making it draws random numbers that the program draws, too."""
    state = random.default.state
    held: bool = state._lock._is_owned()  # type: ignore[attr-defined]  # a program holds what it writes
    before = state.numpy().tobytes() if held else b""
    item = next(items, _END)
    if held and state.numpy().tobytes() != before:
        raise ControlFlowError(
            "the dataset of this loop draws from td.random while it makes its items, and so does the traced function: "
            "one would take the other's numbers; let the dataset draw from a td.random.Generator of its own"
        )
    return item


def _fits(item: Any, source: Source, group: int) -> bool:
    """Whether an item is of the group's shapes. Raises ShapeError when it is of none that may come."""
    leaves, structure = nest.flatten_with_structure(item)
    specs = [(tuple(x.shape), x.dtype) for x in map(as_tensor, leaves)]
    if structure == source.structure:
        for k in range(0 if source.again else group, len(source.groups)):
            if specs == [(spec.shape, spec.dtype) for spec in source.groups[k]]:
                return group in (k, _ANY)
    shapes = " or ".join(str([tuple(spec.shape) for spec in specs]) for specs in source.groups)
    raise ShapeError(
        f"an item of {source.items!r} has the shapes {[shape for shape, _ in specs]}; the loop was traced for {shapes}."
        " A loop over a dataset takes items of one shape: batch with drop_remainder=True"
    )


def _next(number: Array, *, source: Source, group: int) -> list[Array]:
    running = _running[int(number)]
    item, running.waiting = running.waiting, _END
    return [as_tensor(leaf).array for leaf in nest.flatten(item)]


start_op: Op = declare(
    "dataset_start", _start, lambda s, a: (Spec((), int64),), family="effect", effect=True, multiple=True
)
more_op: Op = declare(
    "dataset_more", _more, lambda s, a: (Spec((), bool_),), family="effect", effect=True, multiple=True
)
next_op: Op = declare(
    "dataset_next", _next, lambda s, a: a["source"].groups[a["group"]], family="effect", effect=True, multiple=True
)
