"""Which callees are converted, and how: `call` stands around every callee of converted code.

Converted are plain functions of user code and of packages that hold a decorated function; treadle, NumPy, the standard
library and other installed packages run as they are, unless marked.
"""

from __future__ import annotations

import functools
import os
import site
import sys
import types
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from treadle.autograph.converter import build, is_converted
from treadle.autograph.python_builtins import CALLING, PLAIN, searching
from treadle.control.journal import NOTED, noting, noting_writes, watched, writes_arrays
from treadle.core.tracer import active_tracer

F = TypeVar("F", bound=Callable[..., Any])

observed: ContextVar[list[types.FunctionType] | None] = ContextVar("treadle_observed", default=None)
"""While set, every user function that is called from converted code is appended to the list, once."""

_MARK = "__treadle_autograph__"
_TREADLE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_NEVER = frozenset({"treadle", "numpy", "numba", "llvmlite", "builtins"}) | sys.stdlib_module_names - {"__main__"}
# Functions of treadle that trace functions handed to them.
_TAKE_FUNCTIONS = frozenset(
    {"cond", "while_loop", "scan", "map", "grad", "value_and_grad", "vjp", "jvp", "jacobian", "hessian"}
    | {"vmap", "checkpoint", "custom_gradient", "gradient_hook"}
)
_own_packages: set[str] = set()
_as_is: weakref.WeakSet[types.FunctionType] = weakref.WeakSet()  # known to run unconverted
_twins: weakref.WeakKeyDictionary[types.FunctionType, types.FunctionType] = weakref.WeakKeyDictionary()
_users: weakref.WeakKeyDictionary[types.FunctionType, bool] = weakref.WeakKeyDictionary()


def convert(function: F) -> F:
    """Marks a function of an installed package as one to convert when traced code calls it."""
    return _mark(function, True)


def do_not_convert(function: F) -> F:
    """Marks a function as one that runs as it is, also when traced code calls it."""
    return _mark(function, False)


def _mark(function: F, wanted: bool) -> F:
    target: Any = function.__func__ if isinstance(function, (types.MethodType, classmethod, staticmethod)) else function
    setattr(target, _MARK, wanted)
    if isinstance(target, types.FunctionType):
        _users.pop(target, None)
        _as_is.discard(target)
    return function


def own(function: types.FunctionType) -> None:
    """Counts the function's top-level package as user code, wherever it is installed."""
    package = _package(function)
    if package and package not in _NEVER and package not in _own_packages:
        _own_packages.add(package)
        _users.clear()
        _as_is.clear()


def _package(function: types.FunctionType) -> str:
    return str(function.__globals__.get("__name__") or "").partition(".")[0]


def _installed() -> tuple[str, ...]:
    # sysconfig knows these too, but loads its build-time variables (a tenth of NumPy's import) to tell.
    found = {os.path.dirname(os.__file__), *site.getsitepackages(), site.getusersitepackages()}
    return tuple(os.path.join(p, "") for p in found)


_INSTALLED = _installed()


def is_user(function: types.FunctionType) -> bool:
    """Whether a function is to be converted when traced code calls it."""
    known = _users.get(function)
    if known is None:
        known = _users[function] = _decide(function)
    return known


def _decide(function: types.FunctionType) -> bool:
    mark = function.__dict__.get(_MARK)
    if mark is not None:
        return bool(mark)
    filename = function.__code__.co_filename
    package = _package(function)
    if package in _NEVER or filename.startswith((_TREADLE, "<frozen")):
        return False
    return package in _own_packages or not filename.startswith(_INSTALLED)


def call(callee: Any) -> Any:
    """The callable that stands for `callee` in converted code: a converted twin while tracing, else itself."""
    if active_tracer() is None:
        return callee
    if type(callee) is type or type(callee) is types.BuiltinFunctionType:
        made = PLAIN.get(callee)
        if made is not None:
            return made
        made = CALLING.get(callee)
        if made is not None:
            return functools.partial(made, call=call)
    if watched() and writes_arrays(callee):
        return noting_writes(callee)
    return converted(callee)


def converted(callee: Any) -> Any:
    """The converted twin of a callable, or the callable itself where it runs as it is."""
    kind = type(callee)
    if kind is types.FunctionType:
        return _function(callee)
    if kind is types.BuiltinFunctionType:
        if type(callee.__self__) is list and callee.__name__ in ("index", "count"):
            return searching(callee)
        return noting(callee) if isinstance(callee.__self__, NOTED) and watched() else callee
    if isinstance(callee, type):
        return _constructor(callee)
    if kind is types.MethodType:
        inner = converted(callee.__func__)
        return callee if inner is callee.__func__ else types.MethodType(inner, callee.__self__)
    if kind is functools.partial:
        inner = converted(callee.func)
        return callee if inner is callee.func else functools.partial(inner, *callee.args, **callee.keywords)
    if not kind.__module__.startswith("treadle."):
        method = call_method(kind)
        if method is not None and is_user(method):
            return types.MethodType(_function(method), callee)
    return callee


def _constructor(cls: type) -> Any:
    """A class of the user whose `__init__` (that Python would call itself) is to be converted; others as they are."""
    init = cls.__init__  # type: ignore[misc]
    if type(init) is not types.FunctionType or type(cls).__call__ is not type.__call__ or not is_user(init):
        return cls
    made = _function(init)
    if made is init:
        return cls

    @functools.wraps(cls, updated=())
    def construct(*args: Any, **kwargs: Any) -> Any:
        new: Any = cls.__new__
        instance = new(cls) if new is object.__new__ else new(cls, *args, **kwargs)
        if isinstance(instance, cls):
            made(instance, *args, **kwargs)
        return instance

    return construct


def call_method(kind: type) -> types.FunctionType | None:
    """The plain function that runs when an instance of `kind` is called."""
    for base in kind.__mro__:
        if "__call__" in base.__dict__:
            found = base.__dict__["__call__"]
            return found if isinstance(found, types.FunctionType) else None
    return None


def _function(function: types.FunctionType) -> Callable[..., Any]:
    if function in _as_is:
        return function
    if function.__code__.co_filename.startswith(_TREADLE):
        return _library(function)
    if not is_user(function):
        _as_is.add(function)
        return function
    seen = observed.get()
    if seen is not None and not any(f is function for f in seen):
        seen.append(function)
    return function if is_converted(function) else _twin(function)


def _twin(function: types.FunctionType) -> types.FunctionType:
    """The converted twin, kept where it cannot keep the function itself alive."""
    held = _twins.get(function)
    if held is not None and held.__defaults__ is function.__defaults__:
        return held
    made = build(function) or function
    if made is not function and function.__closure__ is None and not function.__dict__:
        _twins[function] = made
    return made


def forget() -> None:
    """Build all twins anew when they are next met."""
    _twins.clear()


def _library(function: types.FunctionType) -> Callable[..., Any]:
    """A function of treadle: as it is, but for the functions that it is handed, or holds, to trace."""
    if function.__name__ in _TAKE_FUNCTIONS:
        return _with_converted_arguments(function)
    made = _with_converted_cells(function) if function.__closure__ else function
    if made is function:
        _as_is.add(function)
    return made


def _with_converted_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of treadle that traces its function arguments gets them converted."""

    @functools.wraps(function)
    def with_converted(*args: Any, **kwargs: Any) -> Any:
        return function(*map(_argument, args), **{k: _argument(v) for k, v in kwargs.items()})

    return with_converted


def _with_converted_cells(function: types.FunctionType) -> types.FunctionType:
    """What `td.grad(f)` and its kin gave outside holds the user's function in a cell: it gets the converted one."""
    old = function.__closure__ or ()
    new = tuple(_cell(c, function) for c in old)
    if all(a is b for a, b in zip(old, new, strict=True)):
        return function
    made = types.FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, new)
    made.__kwdefaults__ = function.__kwdefaults__
    made.__dict__.update(function.__dict__)
    return made


def _cell(cell: types.CellType, holder: types.FunctionType) -> types.CellType:
    try:
        held = cell.cell_contents
    except ValueError:  # not set yet
        return cell
    if held is holder:  # it calls itself
        return cell
    new = _argument(held)
    return cell if new is held else types.CellType(new)


def _argument(value: Any) -> Any:
    plain = isinstance(value, (types.FunctionType, types.MethodType, functools.partial))
    return converted(value) if plain else value
