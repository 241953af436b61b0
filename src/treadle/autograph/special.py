"""Special methods and properties of the user's classes: Python calls them itself, so converted code calls them instead.

Only where it is needed: the first time that a tensor is to decide inside such a method, its name is learned for the
function that made Python call it, which is converted anew and calls our operators for that name from then on (`a + b`
for `__add__`, `a.scale` for a property `scale`). All other operators and attribute reads stay as they are.
"""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any

from treadle.autograph import converter, learned
from treadle.autograph.callees import call, forget, is_user
from treadle.autograph.learned import BINARY, COMPARISONS, UNARY
from treadle.autograph.nodes import AG
from treadle.errors import is_own_code

_PLAIN: dict[str, Callable[..., Any]] = {
    **{name: getattr(operator, name) for name in (*UNARY.values(), *COMPARISONS.values(), *BINARY.values())},
    "__divmod__": divmod,
}
_REFLECTED = {name: f"__r{name[2:]}" for name in BINARY.values()} | {
    **{"__lt__": "__gt__", "__le__": "__ge__", "__gt__": "__lt__", "__ge__": "__le__"},
    **{"__eq__": "__eq__", "__ne__": "__ne__"},
}
_ITEMS = frozenset({"__getitem__", "__setitem__", "__delitem__", "__contains__"})
_NAMES = frozenset({*_PLAIN, *_REFLECTED.values(), *_ITEMS, *(f"__i{name[2:]}" for name in BINARY.values())})
_WORDS = {f"__r{name[2:]}": name for name in BINARY.values()} | {f"__i{name[2:]}": name for name in BINARY.values()}


# What converted code calls ------------------------------------------------------------------------------------------


def method(kind: type, name: str) -> FunctionType | None:
    """The user's plain function that Python calls as the special method `name` of instances of `kind`."""
    found = getattr(kind, name, None)
    return found if type(found) is FunctionType and is_user(found) else None


def binary(name: str, a: Any, b: Any) -> Any:
    """`a + b` and its kin, and comparisons, in Python's order: the right side first where its class derives."""
    left, right = type(a), type(b)
    steps = [(left, name, a, b), (right, _REFLECTED[name], b, a)]
    if not any(method(kind, found) for kind, found, _, _ in steps):
        return _PLAIN[name](a, b)
    if left is right and name not in COMPARISONS.values():
        steps = steps[:1]
    elif right is not left and issubclass(right, left):
        steps.reverse()
    for kind, found, x, y in steps:
        function = getattr(kind, found, None)
        if function is None:
            continue
        result = call(function)(x, y)
        if result is not NotImplemented:
            return result
    return _PLAIN[name](a, b)  # Python's own error


def inplace(name: str, a: Any, b: Any) -> Any:
    """`a += b` and its kin."""
    own = f"__i{name[2:]}"
    function = method(type(a), own)
    if function is None:
        return getattr(operator, own)(a, b) if hasattr(type(a), own) else binary(name, a, b)
    result = call(function)(a, b)
    return binary(name, a, b) if result is NotImplemented else result


def unary(name: str, a: Any) -> Any:
    """`-a` and its kin."""
    function = method(type(a), name)
    return _PLAIN[name](a) if function is None else call(function)(a)


def get_item(obj: Any, key: Any) -> Any:
    """`obj[key]`."""
    function = method(type(obj), "__getitem__")
    return obj[key] if function is None else call(function)(obj, key)


def attribute(obj: Any, name: str) -> Any:
    """`obj.name`."""
    found = inspect.getattr_static(type(obj), name, None)
    getter = getattr(found, "fget", None) or getattr(found, "func", None)
    if not isinstance(found, (property, functools.cached_property)) or type(getter) is not FunctionType:
        return getattr(obj, name)
    if not is_user(getter):
        return getattr(obj, name)
    if isinstance(found, property):
        return call(getter)(obj)
    if found.attrname not in obj.__dict__:
        obj.__dict__[found.attrname] = call(getter)(obj)
    return obj.__dict__[found.attrname]


# Learning ------------------------------------------------------------------------------------------------------------


def learn(error: BaseException) -> bool:
    """Learn from an error at a traced value: which special method or property was in the way. False where none was."""
    if "has no value yet" not in str(error):
        return False
    caller = None
    for frame in frames(error.__traceback__):
        if is_own_code(frame.f_code) or frame.f_code.co_filename == functools.__file__:  # cached_property's own
            continue
        name = special_name(frame)
        unconverted = name is not None and AG not in frame.f_code.co_freevars
        if caller is not None and name is not None and unconverted and (name in _NAMES or not name.startswith("__")):
            told = [_WORDS.get(name, name)]
            if name in COMPARISONS.values():
                told.append(_REFLECTED[name])  # `a < b` may call either
            if sum(learned.learn(caller, word) for word in told):  # each is to be learned
                converter.forget(caller)
                forget()
                return True
        caller = frame.f_code
    return False


def frames(walk: TracebackType | None) -> list[FrameType]:
    """The frames of a traceback, outermost first."""
    found = []
    while walk is not None:
        found.append(walk.tb_frame)
        walk = walk.tb_next
    return found


def special_name(frame: FrameType) -> str | None:
    """The name under which Python itself calls the user's function that runs in a frame; None for all others."""
    code = frame.f_code
    if not code.co_argcount:
        return None
    owner = type(frame.f_locals.get(code.co_varnames[0]))
    for base in owner.__mro__:
        found = base.__dict__.get(code.co_name)
        if _code(found) is code:
            dunder = code.co_name.startswith("__") and code.co_name.endswith("__")
            return code.co_name if dunder or not isinstance(found, FunctionType) else None
    return None


def _code(found: Any) -> CodeType | None:
    function = getattr(found, "fget", None) or getattr(found, "func", None) or found
    return getattr(function, "__code__", None)


__all__ = ["attribute", "binary", "frames", "get_item", "inplace", "learn", "method", "special_name", "unary"]
