"""Turns `while` and `for` into calls of `ag__.while_stmt` and `ag__.for_stmt` on local functions."""

from __future__ import annotations

import ast

from treadle.autograph import nodes as n
from treadle.autograph.carry import Carry, Scope
from treadle.autograph.scopes import stores


def convert_while(stmt: ast.While, body: list[ast.stmt], scope: Scope) -> list[ast.stmt]:
    """A test function and a body function over the names that an iteration hands to the next or to what follows."""
    facts = scope.flow.facts[stmt]
    carry = Carry(scope, tuple(sorted(scope.flow.written(stmt.body) & (facts.head | scope.outer))))
    test_name, body_name = f"{n.AG}test_{stmt.lineno}", f"{n.AG}body_{stmt.lineno}"
    test = n.place(carry.test(test_name, stmt.test), stmt.test)
    call = n.operator(
        "while_stmt", n.load(test_name), n.load(body_name), carry.entry(facts.head), n.names_tuple(carry.names)
    )
    return _assemble(stmt, stmt.test, [test, carry.function(body_name, body)], carry, call)


def convert_for(stmt: ast.For, body: list[ast.stmt], scope: Scope) -> list[ast.stmt]:
    """A body function that takes the item first, and, where `break` or `return` may end the loop, a test function."""
    facts = scope.flow.facts[stmt]
    written = scope.flow.written(stmt.body) | stores(stmt.target)
    carry = Carry(scope, tuple(sorted(written & (facts.head | scope.outer))))
    body_name, go_name = f"{n.AG}body_{stmt.lineno}", f"{n.AG}go_{stmt.lineno}"
    item = n.AG + "item"
    if isinstance(stmt.target, ast.Name) and carry.own(stmt.target.id) and stmt.target.id not in carry.names:
        item = stmt.target.id
    else:
        body = [n.place(ast.Assign([stmt.target], n.load(item)), stmt.target), *body]
    functions = [carry.function(body_name, body, (item,))]
    extra: list[ast.expr] = []
    if (go := getattr(stmt, "ag_go", None)) is not None:
        functions.append(n.place(carry.test(go_name, go), stmt.iter))
        extra = [n.load(go_name)]
    call = n.operator(
        "for_stmt", stmt.iter, n.load(body_name), carry.entry(facts.head), n.names_tuple(carry.names), *extra
    )
    return _assemble(stmt, stmt.iter, functions, carry, call)


def _assemble(
    stmt: ast.stmt, head: ast.expr, functions: list[ast.FunctionDef], carry: Carry, call: ast.expr
) -> list[ast.stmt]:
    result = [n.place(s, head) for s in carry.receive(n.place(call, head))]
    return [*(n.place(f, stmt) for f in functions), *result]
