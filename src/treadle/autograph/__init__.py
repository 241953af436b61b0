"""Rewrites Python control flow that depends on tensors, source to source; on Python values Python's meaning stays."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

from treadle.autograph import operators
from treadle.autograph.callees import call, call_method, convert, converted, do_not_convert, is_user, observed, own
from treadle.autograph.converter import CELL, Conversion, build, conversion, is_converted
from treadle.autograph.reads import Read, reads
from treadle.autograph.special import learn
from treadle.core.mode import CALLER
from treadle.records import dataclass, field

__all__ = [
    "Converted",
    "Read",
    "convert",
    "convert_function",
    "converted",
    "do_not_convert",
    "is_converted",
    "is_user",
    "learn",
    "missing_source",
    "observed",
    "reads",
]

CELL.cell_contents = operators
CALLER.append(lambda f, *args: call(f)(*args))  # functions that treadle holds for the user: layers, losses


@dataclass(frozen=True, slots=True)
class Converted:
    """A converted callable; `missing_source` says why `function` is the original one, if it is."""

    function: Callable[..., Any]
    missing_source: str | None
    _conversion: Conversion | None = field(default=None, repr=False)

    @property
    def source(self) -> str:
        """The rewritten source with the user's line numbers as comments; empty where nothing was rewritten."""
        return "" if self._conversion is None else self._conversion.source


def convert_function(fn: Callable[..., Any]) -> Converted:
    """Converts a function, lambda, method, partial or callable object, wherever it is installed.

    What has no source, and what is left alone by design (generators, coroutines, builtins, classes, functions under
    `do_not_convert`), comes back as it is, with the reason.
    """
    plain = _plain(fn)
    if plain is None:
        return Converted(fn, f"{type(fn).__name__} objects have no Python source to rewrite")
    if plain.__dict__.get("__treadle_autograph__") is False:
        return Converted(fn, "it is marked do_not_convert")
    own(plain)
    made = conversion(plain.__code__)
    if is_converted(plain):
        return Converted(fn, None, made)  # a function nested in converted code; its text is its own
    new = build(plain)
    if new is None:
        return Converted(fn, made.reason)
    return Converted(_rebind(fn, plain, new), None, made)


def missing_source(fn: Callable[..., Any]) -> str | None:
    """Why `fn` runs unconverted, or None when it can be converted."""
    return convert_function(fn).missing_source


def _plain(fn: Any) -> types.FunctionType | None:
    """The plain function under a callable."""
    if isinstance(fn, types.FunctionType):
        return fn
    if isinstance(fn, (types.MethodType, classmethod, staticmethod)):
        return _plain(fn.__func__)
    if isinstance(fn, functools.partial):
        return _plain(fn.func)
    if isinstance(fn, (type, types.BuiltinFunctionType)):
        return None
    return call_method(type(fn))


def _rebind(fn: Any, plain: types.FunctionType, new: types.FunctionType) -> Callable[..., Any]:
    """Puts the converted function where the plain one was."""
    if fn is plain:
        return new
    if isinstance(fn, types.MethodType):
        return types.MethodType(_rebind(fn.__func__, plain, new), fn.__self__)
    if isinstance(fn, classmethod):
        return classmethod(_rebind(fn.__func__, plain, new))  # type: ignore[return-value]
    if isinstance(fn, staticmethod):
        return staticmethod(_rebind(fn.__func__, plain, new))
    if isinstance(fn, functools.partial):
        return functools.partial(_rebind(fn.func, plain, new), *fn.args, **fn.keywords)
    return types.MethodType(new, fn)
