"""What a callable is under its wrappings, and what reports call it."""

from __future__ import annotations

import functools
import linecache
import types
from typing import Any

from treadle.autograph.callees import call_method
from treadle.function.signature import Binder


def plain_and_bound(f: Any) -> tuple[types.FunctionType | None, Any]:
    """The plain function under a callable, and the object it is bound to."""
    if isinstance(f, types.FunctionType):
        return f, None
    if isinstance(f, types.MethodType):
        return plain_and_bound(f.__func__)[0], f.__self__
    if isinstance(f, functools.partial):
        return plain_and_bound(f.func)[0], None
    if isinstance(f, (type, types.BuiltinFunctionType)):
        return None, None
    found = call_method(type(f))
    return found, f if found is not None else None


def named(f: Any, plain: types.FunctionType | None) -> Any:
    return f if hasattr(f, "__name__") or plain is None else plain


def display_name(f: Any, plain: types.FunctionType | None) -> str:
    name = getattr(f, "__name__", None)
    if name is None and plain is not None and not isinstance(f, functools.partial):
        return type(f).__name__
    name = name or getattr(plain, "__name__", type(f).__name__)
    return "lambda" if name == "<lambda>" else str(name)


def listed(binder: Binder) -> list[str]:
    stars = {binder.kinds[0].VAR_POSITIONAL: "*", binder.kinds[0].VAR_KEYWORD: "**"} if binder.kinds else {}
    return [stars.get(kind, "") + name for name, kind in zip(binder.names, binder.kinds, strict=True)]


def def_line(code: types.CodeType) -> int:
    """The line of `def`, below any decorators."""
    lines = [line for _, _, line in code.co_lines() if line is not None]
    first = code.co_firstlineno
    for line in range(first, max([first, *lines]) + 1):
        if linecache.getline(code.co_filename, line).lstrip().startswith(("def ", "async def ")):
            return line
    return first
