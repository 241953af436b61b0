"""Turns `if` into a call of `ag__.if_stmt` on two local functions."""

from __future__ import annotations

import ast

from treadle.autograph import nodes as n
from treadle.autograph.carry import Carry, Scope
from treadle.autograph.scopes import has_walrus, stores


def convert(stmt: ast.If, body: list[ast.stmt], orelse: list[ast.stmt], scope: Scope) -> list[ast.stmt]:
    """The statements that stand for `stmt`, whose blocks are converted already.

    Both functions take and give the names that either block writes and that are live afterwards; a name that is
    written and read inside only comes in as a default and is not given back.
    """
    facts = scope.flow.facts[stmt]
    written = scope.flow.written([*stmt.body, *stmt.orelse])
    carry = Carry(scope, tuple(sorted(written & (facts.live_out | scope.outer))))
    then_name, else_name = f"{n.AG}then_{stmt.lineno}", f"{n.AG}else_{stmt.lineno}"
    out: list[ast.stmt] = []
    test = stmt.test
    if has_walrus(test):
        # The defaults of the local functions must see the names that the test sets.
        name = f"{n.AG}asked_{stmt.lineno}"
        out.append(n.place(n.assign(name, test), test))
        test = n.load(name)
    out += [carry.function(then_name, body, keep=_read_first(stmt.body, carry))]
    else_: ast.expr = ast.Attribute(n.load(n.AG), "same", ast.Load())
    if orelse:
        out.append(carry.function(else_name, orelse, keep=_read_first(stmt.orelse, carry)))
        else_ = n.load(else_name)
    values = carry.entry(facts.live_in | stores(stmt.test))
    call = n.operator("if_stmt", test, n.load(then_name), else_, values, n.names_tuple(carry.names))
    result = [n.place(s, stmt.test) for s in carry.receive(n.place(call, stmt.test))]
    return [*(n.place(s, stmt) for s in out), *result]


def _read_first(block: list[ast.stmt], carry: Carry) -> set[str]:
    """Names that a block reads before it writes them, and that it does not carry."""
    if not block:
        return set()
    live = carry.scope.flow.facts[block[0]].live_in
    return (stores(block) & live) - set(carry.names)
