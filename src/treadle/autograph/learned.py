"""Names of special methods and properties that converted code calls by our operators; see `special`."""

from __future__ import annotations

import ast
from types import CodeType

_learned: dict[tuple[str, str], set[str]] = {}  # by file and qualified name of the function that reads or calls


def learn(caller: CodeType, name: str) -> bool:
    """Learn that a function is to call our operators for an attribute (`scale`) or special method (`__add__`)."""
    known = _learned.setdefault((caller.co_filename, caller.co_qualname), set())
    if name in known:
        return False
    known.add(name)
    return True


def names(code: CodeType) -> frozenset[str]:
    """What was learned for a function and those inside it."""
    if not _learned:
        return frozenset()
    found = [held for (file, name), held in _learned.items() if file == code.co_filename and within(name, code)]
    return frozenset().union(*found)


def within(name: str, code: CodeType) -> bool:
    """Whether a qualified name is that of a function, or of one inside it."""
    return name == code.co_qualname or name.startswith(f"{code.co_qualname}.<locals>.")


BINARY: dict[type[ast.operator], str] = {
    ast.Add: "__add__",
    ast.Sub: "__sub__",
    ast.Mult: "__mul__",
    ast.Div: "__truediv__",
    ast.FloorDiv: "__floordiv__",
    ast.Mod: "__mod__",
    ast.Pow: "__pow__",
    ast.MatMult: "__matmul__",
    ast.LShift: "__lshift__",
    ast.RShift: "__rshift__",
    ast.BitAnd: "__and__",
    ast.BitOr: "__or__",
    ast.BitXor: "__xor__",
}
UNARY: dict[type[ast.unaryop], str] = {ast.USub: "__neg__", ast.UAdd: "__pos__", ast.Invert: "__invert__"}
COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "__lt__",
    ast.LtE: "__le__",
    ast.Gt: "__gt__",
    ast.GtE: "__ge__",
    ast.Eq: "__eq__",
    ast.NotEq: "__ne__",
}
