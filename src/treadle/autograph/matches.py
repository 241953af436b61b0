"""Turns `match` whose patterns only compare (`case 1`, `case "a" | "b"`, `case None`, `case x if ...`) into `if`s.

So it works on tensors too. Patterns that take a value apart (sequences, mappings, classes) stay Python's own.
"""

from __future__ import annotations

import ast

from treadle.autograph import nodes as n
from treadle.autograph.scopes import has_walrus, walk


def lower(body: list[ast.stmt]) -> list[ast.stmt]:
    """The body with such statements as `if`s; nested functions are left for their own turn."""
    if not any(isinstance(part, ast.Match) for stmt in body for part in walk(stmt)):
        return body
    lowered = _Matches()
    return [new for stmt in body for new in lowered.statements(stmt)]


class _Matches(ast.NodeTransformer):
    def statements(self, stmt: ast.stmt) -> list[ast.stmt]:
        """What stands for one statement."""
        new = self.visit(stmt)
        return new if isinstance(new, list) else [new]

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return node

    def visit_Match(self, node: ast.Match) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        if not all(_compares(case.pattern) and not (case.guard and has_walrus(case.guard)) for case in node.cases):
            return node
        name = f"{n.AG}subject_{node.lineno}"
        start = n.place(n.assign(name, node.subject), node.subject)
        return [start, *_chain(node.cases, name)]


def _compares(pattern: ast.pattern) -> bool:
    if isinstance(pattern, ast.MatchOr):
        return all(isinstance(p, (ast.MatchValue, ast.MatchSingleton)) for p in pattern.patterns)
    if isinstance(pattern, ast.MatchAs):
        return pattern.pattern is None
    return isinstance(pattern, (ast.MatchValue, ast.MatchSingleton))


def _chain(cases: list[ast.match_case], subject: str) -> list[ast.stmt]:
    if not cases:
        return []
    case, *rest = cases
    origin = case.pattern
    bound: list[ast.stmt] = []
    if isinstance(case.pattern, ast.MatchAs):
        if case.pattern.name is not None:
            bound = [n.place(n.assign(case.pattern.name, n.load(subject)), origin)]
        test = case.guard
    else:
        test = n.place(_test(case.pattern, subject), origin)
        if case.guard is not None:
            test = n.place(ast.BoolOp(ast.And(), [test, case.guard]), origin)
    if test is None:
        return [*bound, *case.body]
    return [*bound, n.place(ast.If(test, case.body, _chain(rest, subject)), origin)]


def _test(pattern: ast.pattern, subject: str) -> ast.expr:
    if isinstance(pattern, ast.MatchOr):
        return ast.BoolOp(ast.Or(), [_test(p, subject) for p in pattern.patterns])
    if isinstance(pattern, ast.MatchSingleton):
        return ast.Compare(n.load(subject), [ast.Is()], [ast.Constant(pattern.value)])
    assert isinstance(pattern, ast.MatchValue)
    return ast.Compare(n.load(subject), [ast.Eq()], [pattern.value])
