"""Gates of a function: which calls the native loop of `compile.run.gate` may take over, and what it does for them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle import nest
from treadle.compile.run.gate import Argument, Gate, Outside, Results, fit, to_function, to_program
from treadle.compile.run.gate_entry import install
from treadle.compile.run.gate_layout import Kind, Made, When
from treadle.compile.run.transaction import program_and_variables
from treadle.config import config
from treadle.core.mode import _current
from treadle.core.tensor import Tensor
from treadle.errors import trim
from treadle.function import keys
from treadle.function.guards import NEVER, Guard
from treadle.function.places import Chain

if TYPE_CHECKING:
    from treadle.function.store import Fast
    from treadle.function.trace import Result, Trace

MOST = 16  # gates that a function has; they are tried one after the other


@functools.cache
def there_are(function: type, store: type) -> bool:
    """Whether calls of functions go through gates; installed when first asked."""

    def slow(callee: Any, values: tuple[Any, ...], names: tuple[str, ...] | None) -> Any:
        try:
            if names is None:
                return callee._call(values, {})
            plain = len(values) - len(names)
            return callee._call(values[:plain], dict(zip(names, values[plain:], strict=True)))
        except Exception as error:
            trimmed(error)
            raise

    return install(function, store, slow, _current)


def without_waiting(function: type, store: type, trace: Trace) -> bool:
    """Whether a gate can be had now; of a trace that is compiled in the background, only once everything is there."""
    derived = trace.graph.derived
    if not derived.get("background"):
        return True
    if derived.get("making"):
        return False
    if not _starting:  # the native loop of all gates is compiled once in a process
        _starting.append(Thread(target=there_are, args=(function, store), name="treadle compiles"))
        _starting[0].start()
    return not _starting[0].is_alive()


_starting: list[Thread] = []


def gate_for(args: tuple[Any, ...], found: Fast, trace: Trace) -> Gate | None:
    """The gate for calls like this one, which this trace serves; None where each must be looked at by Python."""
    if any(version is not None for _, version in found.objects):
        return None
    refs = {id(ref()): ref for ref, _ in found.objects}
    arguments = [_argument(a, refs) for a in args]
    conditions = [_condition(g) for g in trace.guards.all] if trace.guards is not None else []
    known = [c for c in conditions if c is not None]
    if len(known) == len(conditions) and not any(trace.live):
        inputs: list[Any] = [a.array if type(a) is Tensor else a for a in args if isinstance(a, Tensor | np.ndarray)]
        captures = [x.array for x in trace.captures]
        program, variables = program_and_variables(trace.graph, [*inputs, *captures])
        if fit(program, variables):
            return to_program(arguments, known, program, captures, variables, _results(trace.result), trimmed)
    if any(a.kind == Kind.EITHER and type(x) is not Tensor for a, x in zip(arguments, args, strict=True)):
        return None  # arrays of the caller's: results must be kept apart from them
    only = [Argument(Kind.TENSOR, a.what, a.shape) if a.kind == Kind.EITHER else a for a in arguments]
    return to_function(only, known, _runner(trace, len(known) == len(conditions)))


def _condition(guard: Guard) -> Outside | None:
    """A guard as a condition of a gate; None where more is to be looked at than which object it is."""
    get: Any = guard.place.get
    attrs: tuple[str, ...] = ()
    if isinstance(get, Chain):
        get, attrs = get.root, get.attrs
    wanted, weakly = (guard.expected, False) if guard.weak is None else (guard.weak, True)
    if guard.version is not None or guard.items is not None or wanted is NEVER:
        return None
    if isinstance(get, keys.Ref):
        return Outside(When.WEAK, get, "", attrs, wanted, weakly)
    if isinstance(get, functools.partial):
        if get.func is getattr:
            return Outside(When.CELL, get.args[0], "", attrs, wanted, weakly)
        space = getattr(get.func, "__self__", None)
        if type(space) is dict:
            return Outside(When.DICT, space, get.args[0], attrs, wanted, weakly)
    return None


def _argument(a: Any, refs: dict[int, keys.Ref]) -> Argument:
    if isinstance(a, Tensor | np.ndarray):
        array = a.array if isinstance(a, Tensor) else a
        return Argument(Kind.EITHER, array.dtype, array.shape)
    if type(a) is float:
        return Argument(Kind.REAL, a)
    ref = refs.get(id(a))
    return Argument(Kind.SAME, a) if ref is None else Argument(Kind.WEAK, ref)


def _results(result: Result) -> Results:
    """What becomes of a program's results."""
    if result.single:
        return Results(Made.SINGLE)
    if not result.plain:
        only = result.structure is nest.LEAF and result.kinds == ["value"]
        return Results(Made.CONSTANT, result.leaves[0]) if only else Results(Made.OTHER, result.rebuild)
    marks = [object() for _ in result.kinds]
    sample = nest.unflatten(result.structure, marks)
    if type(sample) in (tuple, list) and len(sample) == len(marks) and all(map(_is, sample, marks)):
        return Results(Made.TUPLE if type(sample) is tuple else Made.LIST)
    return Results(Made.OTHER, result.rebuild)


def _is(a: object, b: object) -> bool:
    return a is b


def _runner(trace: Trace, checked: bool) -> Callable[[list[Any]], Any]:
    """What runs a trace on arrays; NotImplemented where its guards do not hold, unless that is checked already."""

    def run(arrays: list[Any]) -> Any:
        try:
            guards = trace.guards
            if checked or guards is None or guards.hold():
                return trace.run(arrays)
        except Exception as error:
            trimmed(error)
            raise
        return NotImplemented

    return run


def trimmed(error: BaseException) -> None:
    """Take treadle's own frames out of an error's traceback, unless they are wanted."""
    if not config.full_tracebacks:
        error.__traceback__ = trim(error)
