"""What conversion leaves as Python's own inside a converted function, by place: errors there say so, and what to do."""

from __future__ import annotations

import ast

from treadle.autograph.scopes import Comprehension, has_walrus, walk
from treadle.autograph.source import FunctionNode

_WALRUS = "`:=` stands here where conversion would change which name it binds, so this {} is Python's own: "
_WALRUS += "assign the name in a statement of its own before"
_found: dict[str, list[tuple[int, int, str]]] = {}


# The kinds of nodes of which any may stay Python's own.
KINDS = frozenset((*Comprehension, ast.Match, ast.NamedExpr))


def note(node: FunctionNode, filename: str) -> None:
    """Look through a function, its conversion done, for what stayed Python's own."""
    for part in walk(node):
        why = _why(part)
        if why is not None:
            line: int = part.lineno  # type: ignore[attr-defined]
            place = (line, getattr(part, "end_lineno", None) or line, why)
            known = _found.setdefault(filename, [])
            if place not in known:
                known.append(place)


def at(filename: str, line: int) -> str | None:
    """Why what stands on a line of a file is not converted; the innermost where several hold it."""
    fitting = [(end - start, why) for start, end, why in _found.get(filename, ()) if start <= line <= end]
    return min(fitting)[1] if fitting else None


def _why(part: ast.AST) -> str | None:
    if isinstance(part, (ast.DictComp, ast.SetComp)):
        kind = "dict" if isinstance(part, ast.DictComp) else "set"
        return (
            f"a {kind} comprehension is Python's own, for its {'keys' if kind == 'dict' else 'items'} are Python "
            "values: write a `for` loop, or a list comprehension"
        )
    if isinstance(part, Comprehension) and any(map(has_walrus, ast.iter_child_nodes(part))):
        return _WALRUS.format("comprehension") + ", or write a `for` loop"
    if isinstance(part, ast.ListComp) and any(isinstance(x, ast.Lambda) and not _ours(x) for x in walk(part)):
        return "a comprehension of several `for`s that makes lambdas is Python's own: write `for` loops"
    if isinstance(part, ast.Match) and any(case.guard is not None for case in part.cases):
        return "a `match` with `:=` in a guard is Python's own: write `if` and `elif`"
    if isinstance(part, (ast.BoolOp, ast.IfExp, ast.Compare)) and has_walrus(part):
        return _WALRUS.format("expression")
    return None


def _ours(node: ast.Lambda) -> bool:
    return not node.args.args or node.args.args[0].arg.startswith("ag__")


__all__ = ["KINDS", "at", "note"]
