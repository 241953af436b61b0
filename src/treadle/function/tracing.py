"""Making a trace: run the function once on symbols, and look at what else it did: reads, writes, leaks, variables."""

from __future__ import annotations

import gc
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any

from treadle import autograph
from treadle.autograph.converter import is_converted
from treadle.control import journal
from treadle.control.raising import bordered
from treadle.core.mode import activate
from treadle.core.spec import Spec, shared
from treadle.core.tensor import Symbol
from treadle.core.tracer import Tracer, active_tracer
from treadle.core.variable import _CREATED, Variable
from treadle.errors import Location, TraceError, VariableCreation, user_location
from treadle.function import changed, frozen, keys
from treadle.function.explain import explain, own_error
from treadle.function.guards import Guard, Guards, guard, key_of, text_of
from treadle.function.places import MISSING, Place, Places
from treadle.function.signature import Binder, Signature
from treadle.function.trace import Result, Trace
from treadle.records import dataclass, field


@dataclass(frozen=True, slots=True)
class Target:
    """What is traced: a callable, the plain function under it, and the object it is bound to."""

    name: str
    callable: Callable[..., Any]
    plain: types.FunctionType | None
    bound: Any
    binder: Binder
    autograph: bool


@dataclass(slots=True)
class Record:
    """What happens besides nodes while one trace is made."""

    created: list[tuple[weakref.ref[Variable], Location | None]] = field(default_factory=list)
    inner: list[Trace] = field(default_factory=list)
    warnings: list[Callable[[], None]] = field(default_factory=list)
    volatile: set[str] = field(default_factory=set)


_record: ContextVar[Record | None] = ContextVar("treadle_record", default=None)


def _note_created(variable: Variable) -> None:
    record = _record.get()
    if record is not None and active_tracer() is not None:
        record.created.append((weakref.ref(variable), user_location(3)))


_CREATED.append(_note_created)


def note_inner(trace: Trace) -> None:
    """Tell the trace being made, if there is one, that it holds a call of this trace."""
    record = _record.get()
    if record is not None:
        record.inner.append(trace)


def make_trace(
    target: Target, values: tuple[Any, ...], signature: Signature, key: tuple[Any, ...], earlier: Iterable[Trace]
) -> tuple[Trace, Record]:
    """Trace a function for bound values (tensors, arrays and specs among them become symbols).

    Gives the trace, and the record whose warnings are to be given once the trace is kept.
    """
    while True:
        try:
            return _make_trace(target, values, signature, key, earlier)
        except TraceError as error:  # a special method or property that is to be called by converted code from now on
            if not (target.autograph and autograph.learn(error)):
                raise


def _make_trace(
    target: Target, values: tuple[Any, ...], signature: Signature, key: tuple[Any, ...], earlier: Iterable[Trace]
) -> tuple[Trace, Record]:
    """See `make_trace`."""
    record = Record()
    before = _snapshot(target, values, earlier)
    around = active_tracer()
    tracer = Tracer(target.name, around.scope if around is not None else None)
    seen: list[types.FunctionType] = []
    converted = autograph.convert_function(target.callable) if target.autograph else None
    function = target.callable if converted is None else converted.function
    stores: list[journal.Written] = []
    token, seen_token, stores_token = _record.set(record), autograph.observed.set(seen), journal.written.set(stores)
    try:
        with activate(tracer):
            symbols = _symbols(target.binder, values, signature, tracer)
            arguments = changed.held(target.binder.names, symbols)
            returned, _ = bordered(partial(target.binder.call, function, symbols), lambda: None, staged=False)
            result = Result(returned, target.name, tracer.scope)
            traced = tracer.finish(result.take_outputs())
    except Exception as error:
        told = own_error(error)
        explain(told, target.name, target.autograph, None if converted is None else converted.missing_source)
        if told is not error:
            raise told from None
        raise
    finally:
        _record.reset(token)
        autograph.observed.reset(seen_token)
        journal.written.reset(stores_token)
    home = around.scope if around is not None and any(isinstance(x, Symbol) for x in traced.captures) else None
    trace = Trace(target.name, signature, key, traced, tracer, result, home)
    scope = tracer.scope
    changed.check(arguments, target.name, target.plain)
    # From here on nothing of the trace may keep alive what the function made.
    del traced, tracer, result, returned, symbols, arguments
    follow = converted is None or converted.missing_source is not None
    places = _places(target, values, follow, _outer(target, seen))
    leak = frozen.find_leak(places, scope)
    if leak is not None:
        raise frozen.leak_error(*leak, target.name)
    trace.guards = _guards(places, before, record, trace)
    record.warnings += frozen.warn_stored(stores, places, record.volatile)
    functions = places.functions
    record.warnings.append(lambda: frozen.warn_frozen(functions))
    del places, seen, stores
    _check_created(record)
    return trace, record


def _outer(target: Target, seen: list[types.FunctionType]) -> list[types.FunctionType]:
    """The called functions that are not defined inside the traced ones: only their outer values outlive the trace."""
    inside = {place for f in (target.plain, *seen) if f is not None for place in _defined_in(f.__code__)}
    return [f for f in seen if not is_converted(f) and _definition(f.__code__) not in inside]


def _definition(code: types.CodeType) -> tuple[str, int, str]:
    return code.co_filename, code.co_firstlineno, code.co_name


def _defined_in(code: types.CodeType) -> Iterator[tuple[str, int, str]]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield _definition(constant)
            yield from _defined_in(constant)


def _symbols(binder: Binder, values: tuple[Any, ...], signature: Signature, tracer: Tracer) -> list[Any]:
    leaves = iter([leaf for leaf in signature.leaves if leaf.part[0] == keys.TENSOR])

    def symbol(x: Any) -> Symbol:
        leaf = next(leaves)
        _, dtype, shape, weak = leaf.part
        return tracer.input(Spec(shape, dtype, True) if weak else shared(shape, dtype), keys.identifier(leaf.path))

    return [
        value if name in binder.static else keys.replace_tensors(value, symbol)
        for name, value in zip(binder.names, values, strict=True)
    ]


def _places(
    target: Target, values: tuple[Any, ...], follow: bool, functions: Iterable[types.FunctionType] = ()
) -> Places:
    places = Places(follow)
    plain = target.plain
    if plain is None:
        return places
    if target.bound is not None:
        label = plain.__code__.co_varnames[0] if plain.__code__.co_argcount else "self"
        places.add_argument(plain, label, target.bound)
        places.add_object(label, target.bound)
    for name, value in zip(target.binder.names, values, strict=True):
        if keys.kind_of(value) in (keys.OBJECT, keys.VERSIONED) and not isinstance(value, (type, types.FunctionType)):
            places.add_argument(plain, name, value)
            places.add_object(name, value)
    places.add_function(plain)
    for function in functions:
        places.add_function(function)
    return places


def _snapshot(target: Target, values: tuple[Any, ...], earlier: Iterable[Trace]) -> dict[Any, tuple[Any, Any, str]]:
    """Outer values before the function runs: key, kind of value and text by place and by label."""
    found: dict[Any, tuple[Any, Any, str]] = {}
    for place in _places(target, values, True).found.values():
        found[place.label] = _state(place)
    for trace in earlier:
        for g in trace.guards.all if trace.guards else ():
            if g.label not in found:
                found[g.label] = _state(g.place)
    return found


def _state(place: Place) -> tuple[Any, Any, str]:
    value = place.value()
    return key_of(value), MISSING if value is MISSING else keys.kind_of(value), text_of(value)


def _guards(places: Places, before: dict[Any, tuple[Any, Any, str]], record: Record, trace: Trace) -> Guards | None:
    guards: list[Guard] = []
    for place in places.found.values():
        g = guard(place)
        old = before.get(place.label)
        if old is not None and old[0] != g.key and _lost(place.value(), old):
            record.volatile.add(place.label)
            record.warnings.append(
                lambda p=place, o=old, n=g.text: frozen.warn_written(p.label, o[2], n, p.function)  # type: ignore[misc]
            )
            continue
        guards.append(g)
    looked_at = {id(g.weak()) for g in guards if g.weak is not None and g.version is not None}
    for known in places.known:
        if keys.kind_of(known.target) == keys.VERSIONED and id(known.target) not in looked_at:
            guards.append(guard(Place(known.label, known.get, places.functions[0])))
    for inner in record.inner:
        guards += inner.guards.all if inner.guards else ()
    if trace.home is not None or not guards:
        return None
    return Guards({(g.label, id(g.place)): g for g in guards}.values())


def _lost(value: Any, old: tuple[Any, Any, str]) -> bool:
    """Whether a change made while tracing is a write that calls will not repeat; building once and keeping is none."""
    if value is MISSING or old[1] is MISSING or old[2] == "None" or isinstance(value, bool):
        return False
    kind = keys.kind_of(value)
    if kind in (keys.VALUE, keys.FLOAT, keys.COMPLEX):
        return True
    if kind in (keys.LIST, keys.DICT, keys.SET, keys.MAPPING, keys.SEQUENCE, keys.TUPLE):
        items = value.values() if isinstance(value, dict) else value
        return not any(keys.kind_of(x) in (keys.VARIABLE, keys.VERSIONED, keys.OBJECT, keys.TENSOR) for x in items)
    return False


def _check_created(record: Record) -> None:
    """A Variable made in the trace that nobody keeps now could never be the one that the next call means."""
    if not record.created:
        return
    gc.collect()  # a local object that holds the variable may be part of a cycle
    for ref, location in record.created:
        if ref() is None:
            raise VariableCreation(
                "a Variable is made while tracing and nobody keeps it, so that each call would mean a new one. "
                "Make it once, outside the function, or keep it:\n"
                "    if self.v is None:\n"
                "        self.v = td.Variable(...)",
                location,
            )
