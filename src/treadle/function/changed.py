"""Arguments that a traced function changes in place: noticed when the trace ends, because no call would do it again."""

from __future__ import annotations

import dis
from collections.abc import Sequence
from types import CodeType, FunctionType
from typing import Any

from treadle.errors import Location, TraceError
from treadle.function import keys
from treadle.records import dataclass

_OPEN = frozenset({keys.LIST, keys.DICT, keys.DATACLASS, keys.MAPPING, keys.SEQUENCE, keys.SET})
_FIXED = frozenset({keys.TUPLE, keys.NAMED})
_WRITES = frozenset({"STORE_SUBSCR", "DELETE_SUBSCR", "STORE_ATTR", "DELETE_ATTR"})
_MUTATORS = frozenset(
    {"append", "extend", "insert", "pop", "remove", "clear", "sort", "reverse", "update", "setdefault", "popitem"}
    | {"add", "discard", "__setitem__"}
)


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A container of the arguments, with what it held when the trace began."""

    path: str
    container: Any
    items: tuple[tuple[str, Any], ...]

    def difference(self) -> str | None:
        """The first step at which it differs now, in words."""
        found = tuple(keys.children(self.container, keys.kind_of(self.container)))
        if len(found) == len(self.items):
            for (step, value), (old_step, old_value) in zip(found, self.items, strict=True):
                if value is not old_value or step != old_step:
                    break
            else:
                return None
        now, before = dict(found), dict(self.items)
        for step, value in now.items():
            if step not in before:
                return f"{self.path}{step} is new"
            if value is not before[step]:
                return f"{self.path}{step} is another value"
        return next((f"{self.path}{step} is gone" for step in before if step not in now), None)


def held(names: Sequence[str], values: Sequence[Any]) -> list[Held]:
    """The containers in arguments, as they are now."""
    found: list[Held] = []
    for name, value in zip(names, values, strict=True):
        _hold(name, value, keys.kind_of(value), found)
    return found


def _hold(path: str, value: Any, kind: str, found: list[Held]) -> None:
    """Add the containers in one value."""
    if kind not in _OPEN and kind not in _FIXED:
        return
    items = tuple(keys.children(value, kind))
    if kind in _OPEN:
        found.append(Held(path, value, items))
    for step, item in items:
        kind = keys.kind_of(item)
        if kind in _OPEN or kind in _FIXED:
            _hold(path + step, item, kind, found)


def check(found: Sequence[Held], name: str, function: FunctionType | None) -> None:
    """Raise TraceError if an argument is not as it was."""
    for one in found:
        text = one.difference()
        if text is None:
            continue
        root = one.path.partition("[")[0].partition(".")[0]
        raise TraceError(
            f"{name} changes its argument {root} in place ({text} when the trace ends): this would happen once for "
            f"each trace, not at each call. Work on a copy (copy.copy({root}), or a new list or dict) and return it",
            None if function is None else _place(function.__code__, root),
        )


def _place(code: CodeType, root: str) -> Location:
    """The line that writes to an argument: the first that names it and stores, or calls what changes a container."""
    named: set[int] = set()
    writing: set[int] = set()
    for instruction in dis.get_instructions(code):
        line = instruction.positions.lineno if instruction.positions else None
        if line is None:
            continue
        if instruction.opname.startswith("LOAD_") and instruction.argval == root:
            named.add(line)
        attribute = instruction.opname in ("LOAD_ATTR", "LOAD_METHOD")
        if instruction.opname in _WRITES or (attribute and instruction.argval in _MUTATORS):
            writing.add(line)
    lines = sorted(named & writing)
    return Location(code.co_filename, lines[0] if lines else code.co_firstlineno, code.co_name)
