"""Stores on Python objects inside staged code: noted while a block is traced, undone after it, merged, written back.

A branch or loop body is traced, perhaps more than once, and stands for runs that have not happened. So what it stores
in attributes, dictionaries and lists is noted as a `Place`, taken back when the trace of the block ends, threaded
through the cond or loop like a name, and then stored for good, which the block around notes in its turn.
"""

from __future__ import annotations

import collections
import contextlib
import inspect
import types
from collections.abc import Callable, Container, Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np

from treadle.control.undefined import Undefined
from treadle.core.tracer import active_tracer
from treadle.errors import ControlFlowError, Location, user_location
from treadle.records import dataclass

Key = tuple[int, str, Any]


class Place:
    """Where a store goes: an attribute of an object, a key of a dictionary, or all that a container holds.

    kind: "attribute", "item", "list", or "whole" for containers that cannot be threaded (arrays, sets, deques).
    old: what stood there when the block began; an `Undefined` where nothing did.
    where: the line that stores, for kind "whole" and for deletions.
    """

    __slots__ = ("key", "kind", "label", "obj", "old", "where")

    def __init__(self, obj: Any, kind: str, key: Any, label: str) -> None:
        self.obj, self.kind, self.key, self.label = obj, kind, key, label
        self.where: Location | None = user_location(4) if kind == "whole" else None
        self.old = self.get()

    def get(self) -> Any:
        """What stands there now."""
        if self.kind == "list":
            return LISTS[0](self.obj)
        if self.kind == "whole":
            return self.obj.copy()
        if self.kind == "item":
            return self.obj[self.key] if self.key in self.obj else Undefined(self.label)
        try:
            return getattr(self.obj, self.key)
        except AttributeError:
            return Undefined(self.label)

    def set(self, value: Any) -> None:
        """Put a value there, unseen by journals; an `Undefined` that has nothing to tell takes away what is there."""
        empty = isinstance(value, Undefined) and not value.why
        if self.kind == "list":
            LISTS[1](self.obj, value)
        elif self.kind == "whole":
            _refill(self.obj, value)
        elif self.kind == "item":
            if empty:
                self.obj.pop(self.key, None)
            else:
                self.obj[self.key] = value
        elif not empty:
            setattr(self.obj, self.key, value)
        elif not isinstance(self.get(), Undefined):
            delattr(self.obj, self.key)

    def store(self, value: Any) -> None:
        """Put a value there, as a store of the block around."""
        note(self.obj, self.kind, self.key, self.label)
        self.set(value)

    def changed(self, after: Any) -> bool:
        """Whether a block that leaves `after` here has changed what stands here."""
        if self.kind != "whole":
            return after is not self.old
        if isinstance(self.obj, np.ndarray):
            return bool(after.tobytes() != self.old.tobytes())
        return len(after) != len(self.old) or any(x is not y for x, y in zip(after, self.old, strict=True))

    def check(self, *sides: Any) -> None:
        """Raise ControlFlowError where a block on tensors has done here what cannot be threaded through it."""
        if self.kind == "whole" and any(map(self.changed, sides)):
            kind = "a NumPy array" if isinstance(self.obj, np.ndarray) else f"a {type(self.obj).__name__}"
            advice = (
                f"make it a tensor before (td.asarray), and store with `{_root(self.label)} = {_root(self.label)}"
                ".at[...].set(...)`"
                if isinstance(self.obj, np.ndarray)
                else "use a list or a dict, or decide with td.where"
            )
            raise ControlFlowError(
                f"{self.label} changes {kind} in a branch or loop on tensors, where only running tells whether and how "
                f"often it happens; {advice}",
                self.where,
            )
        if self.where is None or self.kind == "whole" or isinstance(self.old, Undefined):
            return
        gone = [isinstance(side, Undefined) and not side.why for side in sides]
        if any(gone) and not (len(gone) > 1 and all(gone)):
            raise ControlFlowError(
                f"`del {self.label}` in a branch or loop on tensors: only running tells whether it is there then; "
                "set it to None instead, and ask with `is None`",
                self.where,
            )


def _refill(obj: Any, value: Any) -> None:
    """Make an array, a set or a deque hold what a copy of it holds."""
    if isinstance(obj, np.ndarray):
        obj[...] = value
    else:
        obj.clear()
        (obj.extend if isinstance(obj, collections.deque) else obj.update)(value)


def _root(label: str) -> str:
    """The container in the text of a store; `x` where that does not name it."""
    root = label.rpartition("[")[0] or label
    return "x" if root.endswith(")") else root


class Journal:
    """What one block stores. `after` holds, once it has ended, what stood at each place then."""

    def __init__(self, around: Journal | None) -> None:
        self.around = around
        self.places: dict[Key, Place] = {}
        self.after: dict[Key, Any] = {}

    def encloses(self, other: Journal | None) -> bool:
        """Whether `other` is this journal or one inside it."""
        while other is not None:
            if other is self:
                return True
            other = other.around
        return False

    def end(self, keep: Callable[[Journal], Container[Key]]) -> None:
        """Take back the stores, but for those that `keep` names: they are on objects of the block."""
        self.after = {key: place.get() for key, place in self.places.items()}
        kept = keep(self)
        for key, place in reversed(self.places.items()):
            if key not in kept:
                place.set(place.old)


# How the items of a list are read and replaced; control.lists fills it.
LISTS: list[Callable[..., Any]] = [
    lambda items: list(items),
    lambda items, value: items.__setitem__(slice(None), value),
]
_current: ContextVar[Journal | None] = ContextVar("treadle_journal", default=None)


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """A store outside of staged blocks: what it changes, an attribute's old value, the user's text and line."""

    obj: Any
    name: str | None
    old: Any
    label: str
    where: Location | None


# While a function is traced: what it changes in arrays, and in attributes of objects; no call will repeat it.
written: ContextVar[list[Written] | None] = ContextVar("treadle_written", default=None)


def watched() -> bool:
    """Whether somebody wants to know of stores."""
    return _current.get() is not None or written.get() is not None


def current_journal() -> Journal | None:
    """The journal of the innermost staged block that is being traced."""
    return _current.get()


def place_of(items: list[Any]) -> Place | None:
    """What the innermost block has noted of a list, if it has changed it."""
    found = _current.get()
    return None if found is None else found.places.get((id(items), "list", None))


def nothing(noted: Journal) -> Container[Key]:
    """Keep no store."""
    return ()


@contextlib.contextmanager
def journal(keep: Callable[[Journal], Container[Key]] = nothing) -> Iterator[Journal]:
    """Note the stores of a block, and take them back at its end, also where it fails."""
    made = Journal(_current.get())
    token = _current.set(made)
    try:
        yield made
    except BaseException:
        _current.reset(token)
        made.end(nothing)
        raise
    _current.reset(token)
    made.end(keep)


def note(obj: Any, kind: str, key: Any, label: str) -> None:
    """A store is about to happen; nothing is to be done outside staged blocks."""
    found = _current.get()
    if found is None:
        seen = written.get()
        if seen is not None and kind in ("whole", "attribute"):
            old = getattr(obj, key, Undefined(label)) if kind == "attribute" else None
            seen.append(Written(obj, key, old, label, user_location(3)))
        return
    born = getattr(obj, "_born", None) if kind == "list" else None
    if isinstance(born, Journal) and found.encloses(born):
        return  # made in this block: nobody outside sees it
    place = (id(obj), kind, key)
    if place not in found.places:
        found.places[place] = Place(obj, kind, key, label)


def set_attribute(obj: Any, name: str, value: Any, label: str, call: Callable[[Any], Any]) -> None:
    """`obj.name = value`; the setter of a property is called as any function is."""
    if active_tracer() is not None:
        descriptor = inspect.getattr_static(type(obj), name, None)
        if isinstance(descriptor, property):
            if descriptor.fset is not None:
                call(descriptor.fset)(obj, value)
                return
        elif watched() and getattr(obj, name, obj) is not value:
            note(obj, "attribute", name, label)
    setattr(obj, name, value)


def set_item(obj: Any, key: Any, value: Any, label: str) -> None:
    """`obj[key] = value`."""
    if watched():
        note_item(obj, key, label)
    obj[key] = value


def note_item(obj: Any, key: Any, label: str) -> None:
    """A store or deletion of an item is about to happen."""
    if isinstance(obj, np.flatiter):
        obj = obj.base
    if isinstance(obj, dict):
        note(obj, "item", key, label)
    elif isinstance(obj, list):
        note(obj, "list", None, label.partition("[")[0])
    elif isinstance(obj, _WHOLE):
        note(obj, "whole", None, label)


def delete_item(obj: Any, key: Any, label: str) -> None:
    """`del obj[key]`."""
    if _current.get() is not None:
        note_item(obj, key, label)
        _note_line(obj, "item", key)
    del obj[key]


def delete_attribute(obj: Any, name: str, label: str) -> None:
    """`del obj.name`."""
    if _current.get() is not None and not isinstance(inspect.getattr_static(type(obj), name, None), property):
        note(obj, "attribute", name, label)
        _note_line(obj, "attribute", name)
    delattr(obj, name)


def _note_line(obj: Any, kind: str, key: Any) -> None:
    found = _current.get()
    place = None if found is None else found.places.get((id(obj), kind, key))
    if place is not None:
        place.where = user_location(3)


# Methods of Python's containers that change them.
_LIST = frozenset(["append", "extend", "insert", "pop", "remove", "clear", "sort", "reverse"])
_DICT = frozenset(["update", "setdefault", "pop", "popitem", "clear"])
_WHOLE = (np.ndarray, set, collections.deque)  # kinds whose changes cannot be threaded
_CHANGES = frozenset(
    {*_LIST, *_DICT, "add", "discard", "difference_update", "intersection_update", "symmetric_difference_update"}
    | {"appendleft", "extendleft", "popleft", "rotate", "fill", "put", "partition", "itemset", "resize"}
)
# Owners of methods that `noting` looks at.
NOTED = (list, dict, *_WHOLE)


def noting(method: Any, label: str = "") -> Any:
    """A method of a list or dictionary, with what it changes noted first."""
    owner, name = method.__self__, method.__name__
    if isinstance(owner, list) and name in _LIST:
        note(owner, "list", None, label or "the list")
    elif isinstance(owner, dict) and name in _DICT:
        return lambda *args, **kwargs: _dict_method(owner, name, label or "the dictionary", args, kwargs)
    elif isinstance(owner, _WHOLE) and name in _CHANGES:
        note(owner, "whole", None, label or f".{name}()")
    return method


# Functions of NumPy that write into their first argument, beside ufuncs' `at` and all that take `out`.
_WRITERS = frozenset(["copyto", "put", "place", "putmask", "fill_diagonal", "put_along_axis", "shuffle", "at"])
_FIRST = ("dst", "a", "arr", "x")  # how the first argument of these is called


def noting_writes(function: Any) -> Any:
    """A function of NumPy, with the arrays that it writes into noted first."""

    def call(*args: Any, **kwargs: Any) -> Any:
        written = kwargs.get("out")
        found = list(written) if isinstance(written, tuple) else [written]
        name = function.__name__
        if isinstance(function, np.ufunc):
            found += args[function.nin :]
        elif name in _WRITERS:
            found += [*args[:1], *(kwargs[key] for key in _FIRST if key in kwargs)]
        for array in found:
            if isinstance(array, list) and name == "shuffle":
                note(array, "list", None, "the list")
            if isinstance(array, np.ndarray):
                owner = getattr(function, "__self__", None)
                of = f"np.{owner.__name__}." if isinstance(owner, np.ufunc) else "np." if name != "shuffle" else ""
                note(array, "whole", None, f"{of}{name}()")
        return function(*args, **kwargs)

    return call


def writes_arrays(function: Any) -> bool:
    """Whether `noting_writes` is to look at the calls of a function."""
    kind = type(function)
    if kind is types.MethodType:
        return function.__name__ in ("shuffle", "permuted") and type(function.__self__).__module__.startswith(
            ("numpy.random", "random")
        )
    if kind.__module__ == "numpy":
        return isinstance(function, np.ufunc) or hasattr(function, "_implementation")
    if kind is not types.BuiltinFunctionType or isinstance(function.__self__, np.ndarray):
        return False  # `noting` looks at the methods of arrays
    return function.__name__ in _WRITERS and _of_numpy(function.__self__)


def _of_numpy(owner: Any) -> bool:
    return type(owner).__module__.partition(".")[0] == "numpy"


def _dict_method(owner: dict[Any, Any], name: str, label: str, args: Any, kwargs: Any) -> Any:
    if name == "update":
        keys = list(dict(*args, **kwargs))
    elif name in ("setdefault", "pop"):
        keys = list(args[:1])
    else:
        keys = list(owner)
    for key in keys:
        note(owner, "item", key, f"{label}[{key!r}]")
    return getattr(owner, name)(*args, **kwargs)
