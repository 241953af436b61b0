"""What tracing freezes or loses without saying so: random numbers and clocks read, writes to outer values, leaks."""

from __future__ import annotations

import dis
import functools
import linecache
import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import numpy as np

from treadle.autograph.reads import reads
from treadle.control.journal import Written
from treadle.core.tensor import SHOWN, Scope, Symbol
from treadle.core.tracer import is_tracing
from treadle.errors import LeakedTensor, TracingWarning, user_frame
from treadle.function import keys
from treadle.function.places import _CONTAINERS, _MOST_ITEMS, Places, stored

_RANDOM = "use td.random, which draws anew at each call, or pass the value as an argument"
_CLOCK = "read the clock outside the function and pass it as an argument"
_KEEP = "return the value, or keep it in a td.Variable"
_CLOCKS = {"time", "time_ns", "perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns", "process_time"}
_NOWS = {"now", "utcnow", "today"}
_warned: set[tuple[str, int, str]] = set()


def warn_frozen(functions: Iterable[FunctionType]) -> None:
    """Warn, once for each place, of random numbers and clocks that traced functions read."""
    for function in functions:
        for read in reads(function):
            if read.root == "global":
                value = function.__globals__.get(read.name)
            elif read.root == "closure":
                value = _cell(function, read.name)
            else:
                continue
            names = [read.name]
            fix = _fix(value, None, read.name)
            for attr in read.attrs:
                if fix or not isinstance(value, (ModuleType, type)):
                    break
                names.append(attr)
                fix = _fix(getattr(value, attr, None), value, attr)
                value = getattr(value, attr, None)
            if fix:
                names += read.attrs[len(names) - 1 :]
                _warn(function, read.name, ".".join(names), fix)


def _cell(function: FunctionType, name: str) -> Any:
    try:
        return (function.__closure__ or ())[function.__code__.co_freevars.index(name)].cell_contents
    except ValueError:
        return None


def _fix(value: Any, owner: Any, name: str) -> str | None:
    """What to do instead of reading this value, if it changes from call to call."""
    if isinstance(value, (np.random.Generator, np.random.RandomState)):
        return _RANDOM
    if isinstance(value, ModuleType):
        return None
    home = getattr(value, "__self__", None)
    if isinstance(home, (np.random.Generator, np.random.RandomState)):
        return _RANDOM
    module = getattr(type(home), "__module__", "")
    if module == "random" or (isinstance(owner, ModuleType) and owner.__name__ == "random" and callable(value)):
        return _RANDOM if not isinstance(value, type) else None
    if isinstance(owner, ModuleType) and owner.__name__ == "numpy.random" and name == "default_rng":
        return _RANDOM
    if getattr(value, "__module__", None) == "time" and name in _CLOCKS:
        return _CLOCK
    if isinstance(owner, type) and owner.__module__ == "datetime" and name in _NOWS:
        return _CLOCK
    return None


def _warn(function: FunctionType, root: str, name: str, fix: str) -> None:
    code = function.__code__
    line = _line(code, root) or code.co_firstlineno
    place = (code.co_filename, line, name)
    if place in _warned:
        return
    _warned.add(place)
    warnings.warn_explicit(
        f"{name} was read during tracing: its value is frozen into the trace, the same at each call; {fix}",
        TracingWarning,
        code.co_filename,
        line,
    )


def _line(code: CodeType, name: str) -> int | None:
    """The first line of the code that loads a global or closure name."""
    for instruction in dis.get_instructions(code):
        if instruction.opname.startswith("LOAD_") and instruction.argval == name and instruction.positions:
            return instruction.positions.lineno
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found = _line(constant, name)
            if found:
                return found
    return None


def warn_written(label: str, old: str, new: str, function: FunctionType) -> None:
    """Warn, once for each place, that a traced function changes an outer Python value: no call will repeat it."""
    code = function.__code__
    place = (code.co_filename, code.co_firstlineno, label)
    if place in _warned:
        return
    _warned.add(place)
    root = label.split(" ")[-1].split(".")[0]
    warnings.warn_explicit(
        f"{label} was changed during tracing, from {old} to {new}: this happens once for each trace, not at each call; "
        "return the value, or keep it in a td.Variable",
        TracingWarning,
        code.co_filename,
        _line(code, root) or code.co_firstlineno,
    )


def warn_stored(seen: Iterable[Written], places: Places, known: set[str]) -> list[Callable[[], None]]:
    """Warnings of what a traced function has changed in outer arrays and in attributes of outer objects.

    known: labels of places of which it is known that they have changed.
    """
    arrays: dict[int, str] = {}
    objects = {id(one.target): one.label for one in places.known}
    for place in places.found.values():
        value = place.value()
        if isinstance(value, np.ndarray):
            arrays[id(_memory(value))] = place.label
        elif value is not None:
            objects.setdefault(id(value), place.label)
    found: list[Callable[[], None]] = []
    for one in seen:
        if isinstance(one.obj, np.ndarray):
            label = arrays.get(id(_memory(one.obj)))
        else:
            owner = objects.get(id(one.obj))
            label = None if owner is None or not _is_lost(one) else f"{owner}.{one.name}"
        if label is not None and label not in known and one.where is not None:
            found.append(functools.partial(_warn_stored, label, one))
    return found


def _memory(array: Any) -> Any:
    """The array to which the memory of a view belongs."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _is_lost(one: Written) -> bool:
    """Whether an attribute's value is replaced by a number or a text; what is built once and kept is not meant."""
    new, kinds = getattr(one.obj, one.name or "", None), (keys.VALUE, keys.FLOAT, keys.COMPLEX)
    if isinstance(new, bool) or new is None or keys.kind_of(one.old) not in kinds or keys.kind_of(new) not in kinds:
        return False
    return one.old is not None and bool(new != one.old)


def _warn_stored(label: str, one: Written) -> None:
    assert one.where is not None
    place = (one.where.file, one.where.line, label)
    if place in _warned:
        return
    _warned.add(place)
    fix = "pass the array, return the new one, or keep it in a td.Variable" if one.name is None else _KEEP
    warnings.warn_explicit(
        f"{label} was changed during tracing (by `{one.where.source}`): this happens once for each trace, not at each "
        f"call; {fix}",
        TracingWarning,
        one.where.file,
        one.where.line,
    )


def _warn_printed(symbol: Symbol) -> None:
    """Warn, once for each line, of a `print` that shows a traced tensor: it has no value yet."""
    frame = user_frame(2)
    if frame is None:
        return
    code = frame.f_code
    if (code.co_filename, frame.f_lineno, "print") in _warned:
        return
    if not is_tracing(symbol) or not _text_at(frame).startswith("print("):
        return
    _warned.add((code.co_filename, frame.f_lineno, "print"))
    warnings.warn_explicit(
        f"print shows the traced tensor {symbol.name!r}, which has no value yet, and runs once for each trace; "
        "td.print shows the value at each call",
        TracingWarning,
        code.co_filename,
        frame.f_lineno,
    )


def _text_at(frame: FrameType) -> str:
    """The source of the call that a frame is in."""
    positions = next(islice(frame.f_code.co_positions(), frame.f_lasti // 2, None), None)
    if positions is None or positions[0] is None or positions[2] is None:
        return ""
    # Columns count bytes.
    line = linecache.getline(frame.f_code.co_filename, positions[0]).encode()
    return line[positions[2] :].decode(errors="replace")


SHOWN.append(_warn_printed)


def find_leak(places: Places, scope: Scope) -> tuple[str, Symbol] | None:
    """A symbol of a finished trace that an outer variable, attribute or container still holds, and where."""
    for label, value in _holders(places):
        found = _symbol_in(value, scope)
        if found is not None:
            return label + found[0], found[1]
    return None


def _holders(places: Places) -> Iterator[tuple[str, Any]]:
    for place in places.found.values():
        yield place.label, place.value()
    for function in places.functions:
        yield from stored(function)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                yield f"closure {name}", cell.cell_contents
            except ValueError:
                continue
    for known in places.known:
        for name, value in list(getattr(known.target, "__dict__", {}).items()):
            yield f"{known.label}.{name}", value


def _symbol_in(value: Any, scope: Scope, depth: int = 6) -> tuple[str, Symbol] | None:
    """A symbol of this scope in a value, itself or inside containers and objects, and the path to it."""
    if isinstance(value, Symbol):
        return ("", value) if scope.encloses(value.scope) else None
    kind = keys.kind_of(value)
    if not depth:
        return None
    if kind in _CONTAINERS and len(value) <= _MOST_ITEMS:
        items: Iterable[tuple[str, Any]] = keys.children(value, kind)
    elif kind in (keys.OBJECT, keys.DATACLASS) and not isinstance(value, (ModuleType, type, FunctionType)):
        items = [(f".{name}", held) for name, held in list(getattr(value, "__dict__", {}).items())[:_MOST_ITEMS]]
    else:
        return None
    for step, item in items:
        found = _symbol_in(item, scope, depth - 1)
        if found is not None:
            return step + found[0], found[1]
    return None


def leak_error(label: str, symbol: Symbol, name: str) -> LeakedTensor:
    """The error for a traced tensor that an outer value holds when the trace ends."""
    made = f"made at\n  {symbol.location}\n " if symbol.location else "an argument of the function"
    return LeakedTensor(
        f"{name} puts the traced tensor {symbol.name!r}, {made} into {label}; it has no value outside the trace. "
        "Return it from the function, or keep it in a td.Variable",
        symbol.location,
    )
