"""Turns stores on attributes and items into calls, so that staged blocks can thread them; lists that grow are marked.

`a.b = v` becomes `ag__.set_attribute(v, a, "b", "a.b")`, `a[k] = v` becomes `ag__.set_item(v, a, k, "a[k]")`, and so
with augmented assignment and tuple targets; an empty list, or a list bound to a name that grows, is made by
`ag__.new_list`. Python's order of evaluation stays.
"""

from __future__ import annotations

import ast

from treadle.autograph import nodes as n
from treadle.autograph.trees import children

_GROWING = frozenset(["append", "extend", "insert", "pop", "clear", "remove", "index", "count"])
REWRITTEN = frozenset((ast.Attribute, ast.Subscript, ast.List, ast.ListComp, ast.Compare))
_MAKES_GROW = frozenset((ast.Attribute, ast.AugAssign, ast.Assign, ast.Subscript))


def rewrite(body: list[ast.stmt]) -> list[ast.stmt]:
    """The body with its stores as calls; nested functions are left for their own turn."""
    growing: set[str] = set()
    found = False
    stack: list[ast.AST] = list(body)
    while stack:
        part = stack.pop()
        kind = type(part)
        found = found or kind in REWRITTEN
        if kind in _MAKES_GROW and (name := _grows(part)) is not None:
            growing.add(name)
        stack += children(part)
    if not found:
        return body
    rewriter = _Stores(growing)
    return rewriter.block(body)


def _grows(node: ast.AST) -> str | None:
    """The name that a node makes grow, or of which an element is asked that a tensor may choose.

    `name.append`, `name += ...`, `name = name + ...`, `name[k]`.
    """
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        return None if isinstance(node.slice, (ast.Constant, ast.Slice, ast.UnaryOp)) else node.value.id
    if isinstance(node, ast.Attribute) and node.attr in _GROWING and isinstance(node.value, ast.Name):
        return node.value.id
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp) and isinstance(node.value.left, ast.Name):
        return node.value.left.id
    return None


class _Stores(n.OwnStatements):
    def __init__(self, growing: set[str]) -> None:
        self.growing = growing
        self.count = 0

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return node

    def visit_List(self, node: ast.List) -> ast.AST:
        self.generic_visit(node)
        if node.elts or not isinstance(node.ctx, ast.Load):
            return node
        return n.place(n.operator("new_list", node), node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        asked = len(node.ops) == 1 and isinstance(node.ops[0], (ast.Is, ast.IsNot))
        if not asked or not (isinstance(node.comparators[0], ast.Constant) and node.comparators[0].value is None):
            return node
        name = "is_none" if isinstance(node.ops[0], ast.Is) else "is_some"
        return n.place(n.operator(name, node.left), node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | list[ast.stmt]:
        if node.value is None or isinstance(node.target, ast.Name):
            if node.value is not None:
                node.value = self.value(node.value, [node.target])
            return node
        return self.visit_Assign(n.place(ast.Assign([node.target], node.value), node))

    def visit_Assign(self, node: ast.Assign) -> ast.AST | list[ast.stmt]:
        node.value = self.value(node.value, node.targets)
        if not any(map(_stores, node.targets)):
            return node
        if len(node.targets) == 1 and isinstance(node.targets[0], (ast.Attribute, ast.Subscript)):
            return [self.store(node.targets[0], node.value, node)]
        out: list[ast.stmt] = []
        value = node.value
        if len(node.targets) > 1:
            name = self.name()
            out.append(n.place(n.assign(name, value), node))
            value = n.load(name)
        for target in node.targets:
            later: list[ast.stmt] = []
            changed = self.target(target, later)
            out += [n.place(ast.Assign([changed], value), node), *later]
        return out

    def target(self, target: ast.expr, later: list[ast.stmt]) -> ast.expr:
        """A target with names in place of stores, which come `later`."""
        if isinstance(target, (ast.Tuple, ast.List)):
            kind = type(target)
            return n.place(kind([self.target(t, later) for t in target.elts], ast.Store()), target)
        if isinstance(target, ast.Starred):
            return n.place(ast.Starred(self.target(target.value, later), ast.Store()), target)
        if not _stores(target):
            return target
        name = self.name()
        later.append(self.store(target, n.load(name), target))
        return n.place(n.store(name), target)

    def visit_Delete(self, node: ast.Delete) -> ast.AST | list[ast.stmt]:
        if not any(map(_stores, node.targets)):
            return node
        out: list[ast.stmt] = []
        for target in node.targets:
            if not _stores(target) or isinstance(target, (ast.Tuple, ast.List)):
                out.append(n.place(ast.Delete([target]), node))
                continue
            label = ast.Constant(ast.unparse(target))
            if isinstance(target, ast.Attribute):
                call = n.operator("delete_attribute", self.visit(target.value), ast.Constant(target.attr), label)
            else:
                assert isinstance(target, ast.Subscript)
                call = n.operator("delete_item", self.visit(target.value), key(self.visit(target.slice)), label)
            out.append(n.place(ast.Expr(n.place(call, target)), node))
        return out

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        target = node.target
        if isinstance(target, ast.Name) or not _stores(target):
            return node
        # The object and the key are evaluated once, before the old value is read.
        held = [self.name(), self.name()]
        out: list[ast.stmt] = [n.assign(held[0], target.value)]
        place: ast.expr
        if isinstance(target, ast.Attribute):
            place = ast.Attribute(n.load(held[0]), target.attr, ast.Load())
        else:
            out.append(n.assign(held[1], key(target.slice)))
            place = ast.Subscript(n.load(held[0]), n.load(held[1]), ast.Load())
        name = self.name()
        out += [n.assign(name, place), ast.AugAssign(n.store(name), node.op, node.value)]
        label = ast.Constant(ast.unparse(target))
        what: list[ast.expr] = [n.load(name), n.load(held[0])]
        if isinstance(target, ast.Attribute):
            call = n.operator("set_attribute", *what, ast.Constant(target.attr), label)
        else:
            call = n.operator("set_item", *what, n.load(held[1]), label)
        return [n.place(s, node) for s in (*out, ast.Expr(call))]

    def store(self, target: ast.expr, value: ast.expr, origin: ast.AST) -> ast.stmt:
        """The call that stands for `target = value`."""
        label = ast.Constant(ast.unparse(target))
        if isinstance(target, ast.Attribute):
            call = n.operator("set_attribute", value, self.visit(target.value), ast.Constant(target.attr), label)
        else:
            assert isinstance(target, ast.Subscript)
            call = n.operator("set_item", value, self.visit(target.value), key(self.visit(target.slice)), label)
        return n.place(ast.Expr(n.place(call, target)), origin)

    def value(self, value: ast.expr, targets: list[ast.expr]) -> ast.expr:
        """A list that is bound to a name that grows is made by us, also as one of several: `a, b = [x], [y]`."""
        if isinstance(value, ast.Tuple):
            pairs = [t.elts for t in targets if isinstance(t, (ast.Tuple, ast.List)) and len(t.elts) == len(value.elts)]
            if pairs and not any(isinstance(part, ast.Starred) for elts in (value.elts, *pairs) for part in elts):
                value.elts = [self.value(v, [elts[k] for elts in pairs]) for k, v in enumerate(value.elts)]
                return value
        names = {t.id for t in targets if isinstance(t, ast.Name)}
        fresh = isinstance(value, (ast.List, ast.ListComp)) or (
            isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "list"
        )
        empty = isinstance(value, ast.List) and not value.elts
        made: ast.expr = self.visit(value) if not empty else value
        if empty or (fresh and names & self.growing):
            label = ast.Constant(ast.unparse(targets[0]))
            return n.place(n.operator("new_list", made, label), value)
        return made

    def name(self) -> str:
        self.count += 1
        return f"{n.AG}held_{self.count}"


def _stores(target: ast.expr) -> bool:
    if isinstance(target, (ast.Tuple, ast.List)):
        return any(map(_stores, target.elts))
    if isinstance(target, ast.Starred):
        return _stores(target.value)
    if isinstance(target, ast.Attribute):
        return not target.attr.startswith("__") or target.attr.endswith("__")  # the compiler mangles private names
    return isinstance(target, ast.Subscript)


def key(node: ast.expr) -> ast.expr:
    """A subscript's key as an expression of its own."""
    if isinstance(node, ast.Slice):
        parts = [part if part is not None else ast.Constant(None) for part in (node.lower, node.upper, node.step)]
        return n.place(n.operator("slice", *parts), node)
    if isinstance(node, ast.Tuple) and any(isinstance(part, (ast.Slice, ast.Starred)) for part in node.elts):
        return n.place(ast.Tuple([key(part) for part in node.elts], ast.Load()), node)
    return node


__all__ = ["key", "rewrite"]
