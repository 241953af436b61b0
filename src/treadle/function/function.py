"""`td.function`: a Python function that is traced once for each signature it meets, and then runs as a graph."""

from __future__ import annotations

import copy
import functools
import operator
import os
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import numpy as np

from treadle import autograph
from treadle.compile import prepare
from treadle.core import changes
from treadle.core.dtypes import _Defaults
from treadle.core.mode import current
from treadle.core.tensor import Tensor
from treadle.errors import SignatureMismatch
from treadle.function import keys
from treadle.function.donate import run_donating
from treadle.function.gates import trimmed
from treadle.function.naming import def_line, display_name, listed, named, plain_and_bound
from treadle.function.options import Options
from treadle.function.report import RetraceReport, count
from treadle.function.settings import switches
from treadle.function.signature import Binder, InputSignature
from treadle.function.store import Store, plain_sizes
from treadle.function.trace import Trace
from treadle.function.tracing import Target, note_inner

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
Q = ParamSpec("Q")

_ndarray = np.ndarray
_new = object.__new__
_array_of, _dtype_of, _shape_of = map(operator.attrgetter, ("array", "dtype", "shape"))
# Values of these types go into the fast path's key as they are, with their type (1, True and 1.0 differ).
_PLAIN = frozenset({int, str, bool, type(None)})
# Values of these kinds go in by identity, which is checked: an id may be used again.
_OBJECTS = frozenset({keys.OBJECT, keys.VERSIONED, keys.VARIABLE})


class _Callee:
    """What the native way of calls reads of a function: its traces and gates, in a slot."""

    __slots__ = ("_store",)
    _store: Store


class Function(_Callee, Generic[P, R]):
    """What `td.function` gives: call it as the function it was made from.

    Each new signature (dtypes and shapes of tensors, values of Python arguments, identity of objects) is traced once.
    """

    __name__: str
    __qualname__: str

    def __init__(self, python_function: Callable[P, R], options: Options) -> None:
        self._options = options
        self.python_function = python_function
        plain, bound = plain_and_bound(python_function)
        functools.update_wrapper(self, named(python_function, plain))
        self._name = options.name or display_name(python_function, plain)
        skip = bound is not None and not isinstance(python_function, types.MethodType)
        signed = plain if skip and plain is not None else python_function
        self._binder = Binder(signed if plain is not None else None, self._name, skip, options.static_argnames)
        for name in options.donate_argnames:
            if name not in self._binder.names:
                raise SignatureMismatch(f"donate_argnames: {self._name} has no argument {name!r}")
        wanted = options.input_signature
        self._specs = None if wanted is None else InputSignature(wanted, self._binder)
        self._store = Store()
        self._target = Target(self._name, python_function, plain, bound, self._binder, options.autograph)
        self._instances: dict[int, tuple[Any, Store]] = {}
        self._method_binder: Binder | None = None

    # -- calling -------------------------------------------------------------------------------------------------------

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run: by a trace that fits, or by a new one. Most calls never come here: see `gates`."""
        try:
            return self._call(args, kwargs)  # type: ignore[no-any-return]
        except Exception as error:
            trimmed(error)
            raise

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The full way: bind, key, find or make the trace, run it in the current mode."""
        if switches.eager:
            return self.python_function(*args, **kwargs)
        if len(kwargs) > 1:
            kwargs = self._binder.in_parameters_order(kwargs)
        if self._store.fast and not switches.special and current() is None:
            found = self._quick(args, kwargs)
            if found is not None:
                return found[0].run(found[1], found[2])
        values, traced_values, walk = self._bind(args, kwargs)
        parts = tuple(walk.parts)
        mode = current()
        if mode is not None and not plain_sizes(parts):
            return self._inline(traced_values)
        trace = self._store.get(self._target, traced_values, parts, self._options.reduce_retracing)
        if self._options.background:
            trace.graph.derived.setdefault("background", True)
        if mode is not None:
            note_inner(trace)
        elif not self._options.donate_argnames:
            self._remember(args, kwargs, parts)
        leaves = walk.tensors if self._specs is None else self._binder.walk(values).tensors
        if self._options.donate_argnames:
            names = self._binder.names
            return run_donating(trace, leaves, [values[names.index(name)] for name in self._options.donate_argnames])
        return trace.run_tensors(leaves)

    def _quick(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Trace, list[Any], list[Any]] | None:
        """The trace, arrays, and the caller's own arrays for a call whose raw key is known."""
        key: list[Any] = []
        arrays: list[Any] = []
        unsafe: list[Any] = []
        objects: list[Any] = []
        for a in (*args, *kwargs.values()) if kwargs else args:
            kind = type(a)
            if kind is Tensor or kind is _ndarray:
                array = a.array if kind is Tensor else a
                if kind is _ndarray:
                    unsafe.append(a)
                arrays.append(array)
                key.append(array.dtype)
                key.append(array.shape)
            elif kind in _PLAIN:
                key.append(kind)
                key.append(a)
            elif kind is float:
                key.append(kind)
                key.append(a or str(a))  # 0.0 and -0.0 are equal, and differ; a NaN is found as the same object only
            else:
                key.append(kind)
                key.append(id(a))
                objects.append(a)
        found = self._store.fast.get((*key, *kwargs) if kwargs else tuple(key))
        if found is None or found.floating is not _Defaults.floating:
            return None
        if objects and not found.know(objects):
            return None
        for trace in found.traces:
            if trace.guards is None or trace.guards.hold():
                if found.tried.get(trace) != changes.count[0]:
                    given = (*args, *kwargs.values())
                    self._store.open_gate(Function, given, tuple(kwargs), found, trace)
                return trace, arrays, unsafe
        return None

    def _bind(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], tuple[Any, ...], keys.Walk]:
        """Bound values, the values to trace with (specs where an input_signature gives them), and their key."""
        values = self._binder.bind(args, kwargs)
        if self._specs is None:
            return values, values, self._binder.walk(values)
        values = self._specs.fit(values)
        traced = self._specs.specs_for(values)
        return values, traced, self._binder.walk(traced, paths=True)

    def _remember(self, args: tuple[Any, ...], kwargs: dict[str, Any], parts: tuple[keys.Part, ...]) -> None:
        """Open the fast path for calls like this one, where its raw key says everything."""
        binder = self._binder
        given = len(args) + len(kwargs)
        if given < len(binder.names) and not binder.fixed_defaults:
            return
        if kwargs and not binder.in_order(len(args), kwargs):
            return
        raw: list[Any] = []
        objects: list[Any] = []
        for a in (*args, *kwargs.values()):
            kind = type(a)
            if kind is Tensor or kind is _ndarray:
                if keys.as_dtype(a.dtype) != a.dtype:
                    return
                raw += (a.dtype, a.shape)
            elif self._specs is not None:
                return
            elif kind in _PLAIN:
                raw += (kind, a)
            elif kind is float:
                raw += (kind, a or str(a))
            elif not binder.static and keys.kind_of(a) in _OBJECTS:
                raw += (kind, id(a))
                objects.append(a)
            else:
                return
        self._store.remember((*raw, *kwargs), parts, objects)

    def _inline(self, values: tuple[Any, ...]) -> Any:
        """Run the converted function in the outer trace: sizes like n + 1 have no name that a call could read."""
        function = autograph.convert_function(self._target.callable).function if self._target.autograph else None
        return self._binder.call(function or self._target.callable, values)

    # -- methods -------------------------------------------------------------------------------------------------------

    @overload
    def __get__(self, instance: None, owner: Any = None) -> Function[P, R]: ...

    @overload
    def __get__(self: Function[Concatenate[S, Q], R], instance: S, owner: Any = None) -> Function[Q, R]: ...

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """The method of an instance, with traces of its own."""
        if instance is None or self._target.bound is not None:
            return self
        entry = self._instances.get(id(instance))
        if entry is None or entry[0]() is not instance:
            entry = self._new_instance(instance)
        method: BoundFunction[..., Any] = object.__new__(BoundFunction)
        method._function = self
        method._instance = instance
        method._store = entry[1]
        return method

    def _new_instance(self, instance: Any) -> tuple[Any, Store]:
        key = id(instance)
        instances = self._instances
        try:
            ref: Any = weakref.ref(instance, lambda _: instances.pop(key, None))
        except TypeError:  # cannot be held weakly

            def ref() -> Any:
                return instance

        entry = instances[key] = (ref, Store())
        return entry

    # -- looking at it -------------------------------------------------------------------------------------------------

    def trace(self, *args: Any, **kwargs: Any) -> Trace:
        """Trace without running: for values, or for `td.TensorSpec`s in their places."""
        if self._specs is not None and not args and not kwargs:
            values = self._specs.complete()
            if values is None:
                raise SignatureMismatch(
                    f"{self._name}: its input_signature does not cover every argument; give the rest"
                )
            parts = tuple(self._binder.walk(values, paths=True).parts)
            return self._store.get(self._target, values, parts, False)
        if self._specs is not None:
            _, values, walk = self._bind(args, kwargs)
        else:
            values = self._binder.bind(args, kwargs)
            walk = self._binder.walk(values, paths=True)
        return self._store.get(self._target, values, tuple(walk.parts), False)

    def compile(self, *args: Any, **kwargs: Any) -> Trace:
        """Trace, and make the native kernels now."""
        trace = self.trace(*args, **kwargs)
        prepare(trace.graph)
        return trace

    @property
    def traces(self) -> tuple[Trace, ...]:
        """The traces there are, oldest first."""
        return tuple(self._store.traces)

    @property
    def trace_count(self) -> int:
        """How often it has been traced."""
        return self._store.made

    def explain(self) -> RetraceReport:
        """Why each trace was made, and what to change where they are too many."""
        return RetraceReport(self._title(), self._store.traces)

    @property
    def converted_source(self) -> str:
        """The source that autograph made of the function; empty where it runs as it is."""
        if not self._target.autograph:
            return ""
        return autograph.convert_function(self._target.callable).source

    def _title(self) -> str:
        code = getattr(self._target.plain, "__code__", None)
        where = "" if code is None else f" [{os.path.basename(code.co_filename)}:{def_line(code)}]"
        return f"{self._name}({', '.join(listed(self._binder))}){where}"

    def __repr__(self) -> str:
        return f"<function {self._title()}: {count(self._store.made)}>"

    # -- copies --------------------------------------------------------------------------------------------------------

    def __reduce__(self) -> Any:
        found: Any = sys.modules.get(self.__module__)
        for step in self.__qualname__.split("."):
            found = getattr(found, step, None)
        if found is self:
            return self.__qualname__
        return Function, (self.python_function, self._options)

    def __copy__(self) -> Function[P, R]:
        return Function(self.python_function, self._options)

    def __deepcopy__(self, memo: dict[int, Any]) -> Function[P, R]:
        return Function(copy.deepcopy(self.python_function, memo), self._options)


class BoundFunction(Function[P, R]):
    """A method of one instance: the class's function with the instance's own traces. Made anew at each access."""

    _function: Any
    _instance: Any

    def __init__(self) -> None:
        raise TypeError("a bound function comes from an attribute of an instance")

    def __getattr__(self, name: str) -> Any:
        """What a call by the fast path does not need is made when it is asked for."""
        if name == "_target":
            f = self._function._target
            bound = types.MethodType(f.callable, self._instance)
            self._target = Target(f.name, bound, f.plain, self._instance, self._binder, f.autograph)
            return self._target
        if name == "_binder":
            whole = self._function
            if whole._method_binder is None:
                static = tuple(n for n in whole._options.static_argnames if n != whole._binder.names[0])
                whole._method_binder = Binder(whole.python_function, whole._name, True, static)
            self._binder = whole._method_binder
            return self._binder
        if name == "_specs":
            wanted = self._options.input_signature
            self._specs = None if wanted is None else InputSignature(wanted, self._binder)
            return self._specs
        if name == "python_function":
            return types.MethodType(self._function.python_function, self._instance)
        if name == "__self__":
            return self._instance
        if name == "__func__":
            return self._function
        return getattr(self._function, name)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, BoundFunction) and other._function is self._function and other._instance is self._instance
        )

    def __hash__(self) -> int:
        return hash((id(self._function), id(self._instance)))

    def __reduce__(self) -> Any:
        return getattr, (self._instance, self._function.__name__)

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self._function.__get__(copy.deepcopy(self._instance, memo))
