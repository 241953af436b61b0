"""Takes assignment expressions out of places that become functions, where they would bind a name of their own.

`if a and (b := f(a)) > 1:` becomes nested `if`s where the `else` is small enough to stand in both. Elsewhere what holds
them becomes statements: `y = a or (b := f(a))` is `t = a`, `if not t: t = (b := f(a))`, `y = t`, and a list
comprehension that is all of a value is a loop that appends.
"""

from __future__ import annotations

import ast
import copy

from treadle.autograph import nodes as n
from treadle.autograph.scopes import Comprehension, children, has_walrus, stores, walk
from treadle.autograph.trees import Transformer

_SMALL = 4  # statements
_EAGER = frozenset({"sum", "min", "max", "list", "tuple", "sorted"})  # builtins that take all items of a generator


def lower(body: list[ast.stmt]) -> list[ast.stmt]:
    """The body with such expressions taken apart; nested functions are left for their own turn."""
    if not any(has_walrus(stmt) for stmt in body):
        return body
    lowered = _Walruses()
    return lowered.block(body)


class _Walruses(n.OwnStatements):
    def __init__(self) -> None:
        self.count = 0

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return node

    # Statements ------------------------------------------------------------------------------------------------------
    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        test = node.test
        anded = isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And)
        if anded and any(map(has_walrus, test.values[1:])) and _size(node.orelse) <= _SMALL:  # type: ignore[attr-defined]
            node.test, *rest = test.values  # type: ignore[attr-defined]
            for value in reversed(rest):
                inner = n.place(ast.If(value, node.body, copy.deepcopy(node.orelse)), value)
                node.body = self._tested(inner)
        return self._tested(node)

    def _tested(self, node: ast.If) -> list[ast.stmt]:
        start = _reached(node.test)
        before, node.test = self.taken(node.test, True)
        return [*start, *before, node]

    def visit_While(self, node: ast.While) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        if node.orelse or not _is_lazy(node.test):
            return node
        start = _reached(node.test)
        before, test = self.taken(node.test, True)
        leave = n.place(ast.If(ast.UnaryOp(ast.Not(), test), [ast.Break()], []), node.test)
        node.test, node.body = n.place(ast.Constant(True), node.test), [*before, leave, *node.body]
        return [*start, node]

    def _value(self, node: ast.Assign | ast.Return | ast.Expr) -> ast.AST | list[ast.stmt]:
        if node.value is None:
            return node
        start = _reached(node.value)
        before, node.value = self.taken(node.value, False)
        return [*start, *before, node]

    visit_Assign = _value
    visit_Return = _value
    visit_Expr = _value

    # Expressions -----------------------------------------------------------------------------------------------------
    def taken(self, node: ast.expr, tested: bool) -> tuple[list[ast.stmt], ast.expr]:
        """Statements that come before, and the expression that is left; `tested`: only its truth counts."""
        if not has_walrus(node):
            return [], node
        if isinstance(node, ast.UnaryOp):
            before, node.operand = self.taken(node.operand, tested and isinstance(node.op, ast.Not))
            return before, node
        if isinstance(node, ast.NamedExpr) and _is_lazy(node.value):
            before, value = self.taken(node.value, False)
            return [*before, n.place(n.assign(node.target.id, value), node)], n.place(n.load(node.target.id), node)
        if isinstance(node, ast.BoolOp) and _is_lazy(node):
            return self._choice(node, tested)
        if isinstance(node, ast.IfExp) and _is_lazy(node):
            name = self.name()
            before, test = self.taken(node.test, True)
            sides = [self._assigned(name, side, tested) for side in (node.body, node.orelse)]
            return [*before, n.place(ast.If(test, *sides), node)], n.place(n.load(name), node)
        if isinstance(node, ast.Compare) and _is_lazy(node):
            return self._chain(node)
        return self._comprehension(node)

    def _assigned(self, name: str, value: ast.expr, tested: bool) -> list[ast.stmt]:
        """`name = value`."""
        before, left = self.taken(value, tested)
        return [*before, n.place(n.assign(name, n.operator("truth", left) if tested else left), value)]

    def _choice(self, node: ast.BoolOp, tested: bool) -> tuple[list[ast.stmt], ast.expr]:
        name = self.name()
        first, *rest = node.values
        out = self._assigned(name, first, tested)
        for value in rest:
            test: ast.expr = n.load(name)
            if isinstance(node.op, ast.Or):
                test = ast.UnaryOp(ast.Not(), test)
            out.append(n.place(ast.If(test, self._assigned(name, value, tested), []), value))
        return out, n.place(n.load(name), node)

    def _chain(self, node: ast.Compare) -> tuple[list[ast.stmt], ast.expr]:
        """`a < b < (c := d)`: each operand in its turn."""
        result, held = self.name(), self.name()
        out = self._assigned(held, node.left, False)
        block = out
        for k, (op, operand) in enumerate(zip(node.ops, node.comparators, strict=True)):
            following = self.name()
            if k:
                inner = n.place(ast.If(n.load(result), [ast.Pass()], []), operand)
                block.append(inner)
                block = inner.body
            block += self._assigned(following, operand, False)
            compared = ast.Compare(n.load(held), [op], [n.load(following)])
            block.append(n.place(n.assign(result, compared), operand))
            held = following
        return out, n.place(n.load(result), node)

    def _comprehension(self, node: ast.expr) -> tuple[list[ast.stmt], ast.expr]:
        """A list comprehension that holds `:=`, alone or as the one argument of a call, as a loop."""
        if isinstance(node, ast.ListComp) and _is_simple(node):
            return self._loop(node)
        if isinstance(node, ast.Call) and len(node.args) == 1 and isinstance(node.func, (ast.Name, ast.Attribute)):
            (inner,) = node.args
            eager = isinstance(node.func, ast.Name) and node.func.id in _EAGER
            fits = isinstance(inner, ast.ListComp) or (isinstance(inner, ast.GeneratorExp) and eager)
            if fits and _is_simple(inner) and not any(map(has_walrus, node.keywords)):  # type: ignore[arg-type]
                before, node.args[0] = self._loop(inner)  # type: ignore[arg-type]
                return before, node
        return [], node

    def _loop(self, node: ast.ListComp | ast.GeneratorExp) -> tuple[list[ast.stmt], ast.expr]:
        name = self.name()
        own = {x: f"{n.AG}item_{x}" for part in node.generators for x in stores(part.target)}
        append = ast.Attribute(n.load(name), "append", ast.Load())
        body: list[ast.stmt] = [n.place(ast.Expr(ast.Call(append, [_renamed(node.elt, own)], [])), node.elt)]
        for k in range(len(node.generators) - 1, -1, -1):
            part = node.generators[k]
            for test in reversed(part.ifs):
                body = self._tested(n.place(ast.If(_renamed(test, own), body, []), test))
            iterable = part.iter if k == 0 else _renamed(part.iter, own)
            body = [n.place(ast.For(_renamed(part.target, own), iterable, body, []), part.iter)]
        return [n.place(n.assign(name, ast.List([], ast.Load())), node), *body], n.place(n.load(name), node)

    def name(self) -> str:
        self.count += 1
        return f"{n.AG}part_{self.count}"


def _is_lazy(node: ast.expr) -> bool:
    """Whether an expression has parts with `:=` that are evaluated only when they are reached."""
    if isinstance(node, ast.BoolOp):
        return any(map(has_walrus, node.values[1:])) or _is_lazy(node.values[0])
    if isinstance(node, ast.IfExp):
        return has_walrus(node.body) or has_walrus(node.orelse) or _is_lazy(node.test)
    if isinstance(node, ast.Compare):
        return any(map(has_walrus, node.comparators[1:]))
    if isinstance(node, ast.UnaryOp):
        return _is_lazy(node.operand)
    return isinstance(node, ast.NamedExpr) and _is_lazy(node.value)


def _reached(node: ast.expr) -> list[ast.stmt]:
    """Values, while they have none, for names that such parts bind: what reads them is reached when they are bound."""
    if not _is_lazy(node):
        return []
    found = sorted({part.target.id for part in walk(node) if isinstance(part, ast.NamedExpr)})
    out: list[ast.stmt] = []
    for name in found:
        read = n.load(name)
        read.ag_raw = True  # type: ignore[attr-defined]
        out.append(n.place(n.assign(name, n.operator("reached", n.thunk(read), ast.Constant(name))), node))
    return out


def _is_simple(node: ast.ListComp | ast.GeneratorExp) -> bool:
    """Whether a comprehension with `:=` can be a loop: no scope in it could see the names that it binds."""
    inner = [part for child in children(node) for part in walk(child)]
    scopes = any(isinstance(part, (ast.Lambda, ast.Await, *Comprehension)) for part in inner)
    return has_walrus(node) and not scopes and not any(part.is_async for part in node.generators)


class _Rename(Transformer):
    def __init__(self, own: dict[str, str]) -> None:
        self.own = own

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self.own.get(node.id, node.id)
        return node


def _renamed(node: ast.expr, own: dict[str, str]) -> ast.expr:
    """An expression with the names of a comprehension as names of the function."""
    new: ast.expr = _Rename(own).visit(node)
    return new


def _size(stmts: list[ast.stmt]) -> int:
    return sum(isinstance(part, ast.stmt) for stmt in stmts for part in walk(stmt))
