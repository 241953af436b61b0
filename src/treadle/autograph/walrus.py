"""Turns `if a and (b := f(a)) > 1:` into nested `if`s: an assignment expression right of `and` stays in its function.

Only where the `else` is small enough to stand in both; elsewhere the test stays Python's own.
"""

from __future__ import annotations

import ast
import copy

from treadle.autograph import nodes as n
from treadle.autograph.scopes import has_walrus, walk

_SMALL = 4  # statements


def lower(body: list[ast.stmt]) -> list[ast.stmt]:
    """The body with such tests taken apart; nested functions are left for their own turn."""
    if any(has_walrus(stmt) for stmt in body):
        for stmt in body:
            _Tests().visit(stmt)
    return body


class _Tests(ast.NodeVisitor):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        pass

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        pass

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        pass

    def visit_If(self, node: ast.If) -> None:
        self.generic_visit(node)
        test = node.test
        if not (isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And)):
            return
        if not any(map(has_walrus, test.values[1:])) or _size(node.orelse) > _SMALL:
            return
        node.test, *rest = test.values
        for value in reversed(rest):
            inner = ast.If(value, node.body, copy.deepcopy(node.orelse))
            node.body = [n.place(inner, value)]


def _size(stmts: list[ast.stmt]) -> int:
    return sum(isinstance(part, ast.stmt) for stmt in stmts for part in walk(stmt))
