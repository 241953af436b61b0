"""Which names a piece of syntax reads, writes and captures, with Python's scoping rules."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from typing import Any

from treadle.autograph.source import FunctionNode
from treadle.autograph.trees import children, holds, walk
from treadle.records import dataclass, field

Function = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
Comprehension = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

_Scoped = (ast.Lambda, *Comprehension)
_PLAIN = (ast.expr, ast.keyword, ast.Expr, ast.Assign, ast.Return)


@dataclass(slots=True)
class Names:
    """Names of one scope: read, written, read by scopes that may run later, and declared as outer."""

    loads: set[str] = field(default_factory=set)
    stores: set[str] = field(default_factory=set)
    captured: set[str] = field(default_factory=set)
    outer: set[str] = field(default_factory=set)


def names(nodes: ast.AST | Iterable[ast.AST]) -> Names:
    """The names that `nodes` read and write in their own scope; nested scopes add what they take from it."""
    collector = _Collector()
    for node in [nodes] if isinstance(nodes, ast.AST) else nodes:
        collector.visit(node)
    return collector.found


def loads(node: ast.AST | None) -> set[str]:
    """The names that an expression or a simple statement reads."""
    if node is None:
        return set()
    found: set[str] = set()
    stack = [node]
    while stack:
        part = stack.pop()
        if type(part) is ast.Name:
            if type(part.ctx) is ast.Load:
                found.add(part.id)
        elif isinstance(part, _PLAIN) and not isinstance(part, _Scoped):
            stack += children(part)
        else:
            return names(node).loads  # the careful way, for scopes inside and rarer statements
    return found


def stores(nodes: ast.AST | Iterable[ast.AST]) -> set[str]:
    """The names that `nodes` may bind or delete."""
    if type(nodes) is ast.Name:
        return {nodes.id} if type(nodes.ctx) is not ast.Load else set()
    return names(nodes).stores


def parameters(node: FunctionNode) -> list[str]:
    """All parameter names of a function or lambda."""
    args = node.args
    found = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
    return [a.arg for a in found if a is not None]


def has_walrus(node: ast.AST) -> bool:
    """Whether `node` holds an assignment expression, whose name a lambda would make its own."""
    return holds([node], ast.NamedExpr)


class _Collector:
    def __init__(self) -> None:
        self.found = Names()

    def visit(self, node: ast.AST) -> None:
        """Take in a node and all below it."""
        self._take([node])

    def generic_visit(self, node: ast.AST) -> None:
        """Take in all below a node."""
        self._take(children(node))

    def _take(self, stack: list[ast.AST]) -> None:
        found = self.found
        while stack:
            part = stack.pop()
            kind = type(part)
            if kind is ast.Name:
                if type(part.ctx) is ast.Load:  # type: ignore[attr-defined]
                    found.loads.add(part.id)  # type: ignore[attr-defined]
                else:
                    found.stores.add(part.id)  # type: ignore[attr-defined]
                continue
            method = _METHODS.get(kind)
            if method is not None:
                method(self, part)
            elif kind is not ast.Constant:
                stack += children(part)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.generic_visit(node)
        if isinstance(node.target, ast.Name):
            self.found.loads.add(node.target.id)

    def visit_Global(self, node: ast.Global | ast.Nonlocal) -> None:
        self.found.outer.update(node.names)

    visit_Nonlocal = visit_Global

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        self.found.stores.update((a.asname or a.name).split(".")[0] for a in node.names)

    visit_ImportFrom = visit_Import

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.found.stores.add(node.name)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        if node.name:
            self.found.stores.add(node.name)
        self.generic_visit(node)

    visit_MatchStar = visit_MatchAs

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest:
            self.found.stores.add(node.rest)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        # A bare `x: int` makes x local but binds nothing; its annotation is not evaluated.
        self.visit(node.target)
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.found.stores.add(node.name)
        for part in (*node.decorator_list, *node.args.defaults, *node.args.kw_defaults):
            if part is not None:
                self.visit(part)
        self._nested(node.args, node.body)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for part in (*node.args.defaults, *node.args.kw_defaults):
            if part is not None:
                self.visit(part)
        self._nested(node.args, [node.body])

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.found.stores.add(node.name)
        inner = names([*node.decorator_list, *node.bases, *node.keywords, *node.body])
        self.found.loads |= inner.loads
        self.found.captured |= inner.captured | inner.loads

    def _nested(self, args: ast.arguments, body: Iterable[ast.AST]) -> None:
        inner = names(body)
        own = {a.arg for a in (*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg) if a}
        free = (inner.loads | inner.stores | inner.captured) - own - (inner.stores - inner.outer)
        self.found.loads |= free
        self.found.captured |= free
        # A nested function that declares a name nonlocal may bind it for us at any time.
        self.found.captured |= inner.outer

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        inner = _Collector()
        targets: set[str] = set()
        for generator in node.generators:
            targets |= stores(generator.target)
            inner.visit(generator.iter)
            for test in generator.ifs:
                inner.visit(test)
        for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            inner.visit(part)
        self.found.loads |= inner.found.loads - targets
        self.found.stores |= inner.found.stores  # only := writes here, and it writes to the function's own scope
        self.found.captured |= inner.found.captured - targets
        if isinstance(node, ast.GeneratorExp):
            self.found.captured |= inner.found.loads - targets

    visit_ListComp = _comprehension
    visit_SetComp = _comprehension
    visit_DictComp = _comprehension
    visit_GeneratorExp = _comprehension


# How the kinds of nodes are taken in that bind names, or have a scope of their own.
_METHODS: dict[type[ast.AST], Callable[[_Collector, Any], None]] = {
    getattr(ast, name.removeprefix("visit_")): method
    for name, method in vars(_Collector).items()
    if name.startswith("visit_")
}
__all__ = [
    "Comprehension",
    "Function",
    "Names",
    "children",
    "has_walrus",
    "loads",
    "names",
    "parameters",
    "stores",
    "walk",
]
