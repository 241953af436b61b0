"""Which outer values a function reads: globals, closure cells, and attribute chains on them and on its first argument.

Works on bytecode, so it needs no source, and takes in nested functions, lambdas and comprehensions.
"""

from __future__ import annotations

import dis
import weakref
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Literal

from treadle.autograph.nodes import AG
from treadle.records import dataclass

Root = Literal["global", "closure", "argument"]


@dataclass(frozen=True, slots=True)
class Read:
    """One value that is read: `CONFIG.lr` is Read("global", "CONFIG", ("lr",))."""

    root: Root
    name: str
    attrs: tuple[str, ...] = ()


_known: dict[int, tuple[weakref.ref[CodeType], tuple[Read, ...]]] = {}


def reads(function: FunctionType) -> tuple[Read, ...]:
    """What `function` reads from outside, each once, in the order of the code; chains are as long as the code's."""
    code = function.__code__
    key = id(code)
    held = _known.get(key)
    if held is None or held[0]() is not code:
        first = code.co_varnames[0] if code.co_argcount else None
        found = tuple(dict.fromkeys(_walk(code, set(code.co_freevars), first)))
        pop = _known.pop  # held here: when the interpreter ends, the module's names go first
        held = _known[key] = (weakref.ref(code, lambda _: pop(key, None)), found)
    return held[1]


def _walk(code: CodeType, free: set[str], first: str | None) -> Iterator[Read]:
    """The reads of `code` and of the code inside it; `free` and `first` are the names that mean outer values."""
    root: Root | None = None
    name = ""
    attrs: tuple[str, ...] = ()
    for instruction in dis.get_instructions(code):
        if root is not None and instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            attrs = (*attrs, instruction.argval)
            continue
        if root is not None and instruction.opname == "COPY" and instruction.arg == 1:
            continue  # `a.b += 1` keeps the object for the store
        if root is not None and (attrs or root != "argument"):
            yield Read(root, name, attrs)
        argument = instruction.argval
        # 3.13 loads two names in one step; an empty tuple is a constant.
        name = str(argument[-1] if isinstance(argument, tuple) and argument else argument)
        root, attrs = _root(instruction.opname, name, free, first), ()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            own = set(constant.co_varnames[: _argument_count(constant)]) | set(constant.co_cellvars)
            inner_first = first if first in constant.co_freevars and first not in own else None
            yield from _walk(constant, free & set(constant.co_freevars), inner_first)


def _root(op: str, name: str, free: set[str], first: str | None) -> Root | None:
    if op in ("LOAD_GLOBAL", "LOAD_NAME"):
        return "global"
    if op in ("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF") and name in free:
        return None if name == AG else "closure"
    if name == first and ("LOAD_FAST" in op or op in ("LOAD_DEREF", "LOAD_CLASSDEREF")):
        return "argument"
    return None


def _argument_count(code: CodeType) -> int:
    flags = bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)
    return code.co_argcount + code.co_kwonlyargcount + flags
