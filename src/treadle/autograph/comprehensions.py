"""Turns list comprehensions and generator expressions into calls: over tensors and ranges they are one loop node.

`[f(v) for v in x if g(v)]` becomes `ag__.list_comp(x, lambda v: f(v), lambda v: g(v))`. Dict and set comprehensions
stay as they are, and so do those with assignment expressions, which would bind names of the lambda. Those that hold
lambdas become calls that choose: over Python values the comprehension itself, whose lambdas share its variable.
"""

from __future__ import annotations

import ast
import copy

from treadle.autograph import nodes as n
from treadle.autograph.scopes import has_walrus, walk

_Convertible = ast.ListComp | ast.GeneratorExp


def is_convertible(node: ast.AST) -> bool:
    """Whether a comprehension (not visited yet) can become a call."""
    if not isinstance(node, _Convertible) or any(g.is_async for g in node.generators) or has_walrus(node):
        return False
    if any(isinstance(part, (ast.Await, ast.Yield)) for part in walk(node.elt)):
        return False
    (first, *rest) = node.generators
    if _holds_lambda(node.elt) and (rest or isinstance(node, ast.GeneratorExp)):
        return False
    literal = isinstance(first.iter, (ast.List, ast.Tuple)) and not first.ifs and not rest
    return not (literal and isinstance(node, ast.ListComp))


def rewrite(node: ast.AST) -> ast.expr:
    """The call that stands for a comprehension whose parts are converted."""
    assert isinstance(node, _Convertible)
    *outer, last = node.generators
    if isinstance(node, ast.ListComp) and getattr(node, "ag_lambda", False):
        return _late(node, last)
    made = _call("generator" if outer or isinstance(node, ast.GeneratorExp) else "list_comp", last, node.elt)
    for position in range(len(outer) - 1, -1, -1):
        whole = position == 0 and isinstance(node, ast.ListComp)
        made = _call("flat_comp" if whole else "flat_generator", outer[position], made)
    return n.place(made, node)


def mark(node: ast.AST) -> None:
    """Note, before the parts are converted, that a comprehension holds a lambda of the user."""
    if isinstance(node, ast.ListComp) and _holds_lambda(node.elt):
        node.ag_lambda = True  # type: ignore[attr-defined]


def _holds_lambda(element: ast.expr) -> bool:
    return any(isinstance(part, ast.Lambda) for part in walk(element))


def _late(node: ast.ListComp, part: ast.comprehension) -> ast.expr:
    """Both forms; a lambda that is made in the second sees its own item, not the last one as in Python."""
    items = f"{n.AG}items"
    own = ast.ListComp(copy.deepcopy(node.elt), [ast.comprehension(part.target, n.load(items), part.ifs, 0)])
    own = copy.deepcopy(own)
    whole = ast.Lambda(ast.arguments([], [ast.arg(items)], None, [], [], None, []), own)
    keep = [] if not part.ifs else [_over(part.target, _all(part.ifs))]
    made = n.operator("late_list_comp", part.iter, n.place(whole, node), _over(part.target, node.elt), *keep)
    return n.place(made, node)


def _call(name: str, part: ast.comprehension, element: ast.expr) -> ast.expr:
    keep = [] if not part.ifs else [_over(part.target, _all(part.ifs))]
    return n.operator(name, part.iter, _over(part.target, element), *keep)


def _all(tests: list[ast.expr]) -> ast.expr:
    if len(tests) == 1:
        return tests[0]
    first, *rest = tests
    return n.operator("and_", first, *(n.thunk(t) for t in rest))


def _over(target: ast.expr, body: ast.expr) -> ast.expr:
    """`lambda target: body`; a target of several names is taken apart by a comprehension over one item."""
    name = target.id if isinstance(target, ast.Name) else f"{n.AG}item"
    if not isinstance(target, ast.Name):
        part = ast.comprehension(target, ast.Tuple([n.load(name)], ast.Load()), [], 0)
        body = ast.Subscript(ast.ListComp(body, [part]), ast.Constant(0), ast.Load())
    arguments = ast.arguments([], [ast.arg(name)], None, [], [], None, [])
    return n.place(ast.Lambda(arguments, body), target)
