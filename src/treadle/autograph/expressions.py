"""Rewrites expressions: calls, `and or not`, chained comparisons, conditional expressions, assert, and reads of names
that may be unbound. Right sides become lambdas, so that they are evaluated only when Python would evaluate them."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable

from treadle.autograph import comprehensions
from treadle.autograph import nodes as n
from treadle.autograph.flow import Flow
from treadle.autograph.learned import BINARY, COMPARISONS, UNARY
from treadle.autograph.scopes import Comprehension, has_walrus, parameters, stores
from treadle.autograph.stores import key
from treadle.autograph.trees import Transformer

_SIGNS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.In: "in",
    ast.NotIn: "not in",
    ast.Is: "is",
    ast.IsNot: "is not",
}
# Builtins that never need a tensor's value, or whose meaning depends on the frame that calls them.
_PLAIN = {
    *("print", "super", "locals", "globals", "vars", "dir", "isinstance", "issubclass", "type", "id", "repr", "str"),
    *("getattr", "setattr", "hasattr", "callable", "object", "tuple", "dict", "set", "frozenset", "input"),
}
Nested = Callable[[ast.FunctionDef, frozenset[str]], ast.FunctionDef]


class Expressions(Transformer):
    """One pass over a converted body; nested functions are handed to `nested` together with the fragile names."""

    def __init__(
        self,
        flow: Flow,
        local: set[str],
        first: str | None,
        fragile: frozenset[str],
        nested: Nested,
        learned: frozenset[str],
    ) -> None:
        self.flow = flow
        self.local = local
        self.first = first  # the first parameter of a method: what zero-argument super() needs
        self.fragile = fragile | flow.fragile
        self.outside = fragile  # names of enclosing functions that may be unbound
        self.nested = nested
        self.learned = learned  # names of special methods and properties that are called by our operators
        self.hidden: frozenset[str] = frozenset()  # names bound by the lambdas and comprehensions around
        self.later = False  # inside a lambda, which runs at a time that the flow analysis does not know

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return node

    # Names -----------------------------------------------------------------------------------------------------------
    def visit_Name(self, node: ast.Name) -> ast.expr:
        if not isinstance(node.ctx, ast.Load) or node.id in self.hidden or node.id.startswith(n.AG):
            return node
        if getattr(node, "ag_raw", False):  # an operator looks whether it is bound
            return node
        outside = node.id in self.outside and node.id not in self.local
        if outside or (self.later and node.id in self.fragile):
            return n.place(n.operator("free", node, ast.Constant(node.id)), node)
        if _unbound(node):
            return n.place(n.operator("value", node, ast.Constant(node.id)), node)
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> list[ast.stmt]:
        checks: list[ast.stmt] = self._checks(node, [node.target]) if _unbound(node) else []
        self.generic_visit(node)
        name = BINARY[type(node.op)]
        if isinstance(node.target, ast.Name) and name in self.learned:
            value = n.operator("inplace", ast.Constant(name), n.load(node.target.id), node.value)
            return [*checks, n.place(n.assign(node.target.id, value), node)]
        return [*checks, node]

    def visit_Delete(self, node: ast.Delete) -> list[ast.stmt]:
        """A local name is deleted by a placeholder, so that it can still be carried; the rest stays as it is."""
        out = self._checks(node, node.targets) if _unbound(node) else []
        for target in node.targets:
            if isinstance(target, ast.Name) and target.id in self.local:
                out.append(n.place(n.assign(target.id, n.operator("undefined", ast.Constant(target.id))), node))
            else:
                out.append(n.place(ast.Delete([self.visit(target)]), node))
        return out

    def _checks(self, stmt: ast.stmt, targets: list[ast.expr]) -> list[ast.stmt]:
        names = [t.id for t in targets if isinstance(t, ast.Name)]
        checks = [ast.Expr(n.operator("value", n.load(x), ast.Constant(x))) for x in names if x in self.local]
        return [n.place(c, stmt) for c in checks]

    # Scopes ----------------------------------------------------------------------------------------------------------
    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        if node.name.startswith(n.AG):
            node.body = self._block(node.body)
            return node
        node.args.defaults = [self.visit(d) for d in node.args.defaults]
        node.args.kw_defaults = [d and self.visit(d) for d in node.args.kw_defaults]
        shadowed = self.local | self.flow.fragile
        return self.nested(node, frozenset(self.flow.fragile | (self.outside - shadowed)))

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.Lambda:
        hidden, later = self.hidden, self.later
        node.args.defaults = [self.visit(d) for d in node.args.defaults]
        node.args.kw_defaults = [d and self.visit(d) for d in node.args.kw_defaults]
        self.hidden, self.later = hidden | set(parameters(node)), True
        node.body = self.visit(node.body)
        self.hidden, self.later = hidden, later
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if not isinstance(node, Comprehension):
            return super().generic_visit(node)
        hidden = self.hidden
        convertible = comprehensions.is_convertible(node)
        comprehensions.mark(node)
        self.hidden = hidden | stores([g.target for g in node.generators])
        super().generic_visit(node)
        self.hidden = hidden
        if isinstance(node, ast.DictComp):
            node.key = self._key(node.key)
        elif isinstance(node, ast.SetComp):
            node.elt = self._key(node.elt)
        return comprehensions.rewrite(node) if convertible else node

    def _key(self, node: ast.expr) -> ast.expr:
        """What a dictionary or a set looks up: never a traced tensor."""
        plain = isinstance(node, (ast.Constant, ast.JoinedStr))
        return node if plain else n.place(n.operator("hashed", node), node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.target = self.visit(node.target)
        node.value = node.value and self.visit(node.value)
        return node

    def visit_match_case(self, node: ast.match_case) -> ast.AST:
        node.guard = node.guard and self.visit(node.guard)
        node.body = self._block(node.body)
        return node

    def _block(self, stmts: list[ast.stmt]) -> list[ast.stmt]:
        out: list[ast.stmt] = []
        for stmt in stmts:
            new = self.visit(stmt)
            out += new if isinstance(new, list) else [new]
        return out

    # Operators -------------------------------------------------------------------------------------------------------
    def visit_Call(self, node: ast.Call) -> ast.expr:
        if n.is_operator(node):
            return self.generic_visit(node)  # type: ignore[return-value]
        if isinstance(node.func, ast.Name) and node.func.id in _PLAIN and node.func.id not in self.local:
            if node.func.id == "super" and not node.args and not node.keywords and self.first is not None:
                node.args = [n.place(n.load("__class__"), node), n.place(n.load(self.first), node)]
            self._arguments(node)
            return node
        written = {a for a in node.args if isinstance(a, ast.JoinedStr) and not has_walrus(a)}
        self._arguments(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "print":
            # td.print(f"..."): the text is made anew, with the values, at each run
            node.args = [n.place(n.operator("text", n.thunk(a)), a) if a in written else a for a in node.args]
        node.func = n.place(n.operator("call", self.visit(node.func)), node.func)
        return node

    def _arguments(self, node: ast.Call) -> None:
        node.args = [self.visit(a) for a in node.args]
        for keyword in node.keywords:
            keyword.value = self.visit(keyword.value)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        keep = n.is_static(node) or any(has_walrus(v) for v in node.values[1:])
        self.generic_visit(node)
        if keep:
            return node
        first, *rest = node.values
        name = "and_" if isinstance(node.op, ast.And) else "or_"
        return n.place(n.operator(name, first, *(n.place(n.thunk(v), v) for v in rest)), node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """`"%d of %s" % (x, y)` writes traced numbers as its letters say."""
        self.generic_visit(node)
        if isinstance(node.op, ast.Mod) and isinstance(node.left, ast.Constant) and isinstance(node.left.value, str):
            return n.place(n.operator("percent", node.left, node.right), node)
        name = BINARY[type(node.op)]
        if name in self.learned:
            return n.place(n.operator("binary", ast.Constant(name), node.left, node.right), node)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """A read of what is somewhere a property with a tensor to decide on."""
        ours = isinstance(node.value, ast.Name) and node.value.id == n.AG
        self.generic_visit(node)
        if ours or node.attr not in self.learned or not isinstance(node.ctx, ast.Load):
            return node
        return n.place(n.operator("attribute", node.value, ast.Constant(node.attr)), node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        if "__getitem__" not in self.learned or not isinstance(node.ctx, ast.Load):
            return node
        return n.place(n.operator("get_item", node.value, key(node.slice)), node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        name = UNARY.get(type(node.op))
        if name in self.learned:
            self.generic_visit(node)
            return n.place(n.operator("unary", ast.Constant(name), node.operand), node)
        keep = not isinstance(node.op, ast.Not) or n.is_static(node.operand)
        self.generic_visit(node)
        return node if keep else n.place(n.operator("not_", node.operand), node)

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        keep = n.is_static(node.test) or has_walrus(node.body) or has_walrus(node.orelse)
        self.generic_visit(node)
        if keep:
            return node
        then, other = (n.place(n.thunk(v), v) for v in (node.body, node.orelse))
        return n.place(n.operator("if_exp", node.test, then, other), node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        if len(node.ops) == 1 and isinstance(node.ops[0], (ast.In, ast.NotIn)):
            self.generic_visit(node)
            found = n.operator("contains", node.left, node.comparators[0])
            return n.place(found if isinstance(node.ops[0], ast.In) else n.operator("not_", found), node)
        learned = any(COMPARISONS.get(type(op)) in self.learned for op in node.ops)
        keep = (len(node.ops) == 1 and not learned) or n.is_static(node) or any(has_walrus(c) for c in node.comparators)
        self.generic_visit(node)
        if keep:
            return node
        parts: list[ast.expr] = [node.left]
        for op, right in zip(node.ops, node.comparators, strict=True):
            parts += [ast.Constant(_SIGNS[type(op)]), n.place(n.thunk(right), right)]
        return n.place(n.operator("compare", *parts), node)

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        keep = has_walrus(node.test) or (node.msg is not None and has_walrus(node.msg))
        self.generic_visit(node)
        if keep:
            return node
        # Python's own assert still raises, on the user's line; a staged test is recorded and counts as true.
        message = [] if node.msg is None else [n.place(n.thunk(node.msg), node.msg)]
        node.test = n.place(n.operator("assert_", node.test, *message), node.test)
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        keep = node.exc is None or has_walrus(node.exc)
        self.generic_visit(node)
        if not keep and node.exc is not None:
            node.exc = n.place(n.operator("to_raise", n.place(n.thunk(node.exc), node.exc)), node.exc)
        return node

    # Statements that catch -------------------------------------------------------------------------------------------
    def visit_Try(self, node: ast.Try | ast.TryStar) -> ast.AST:
        """The body knows what the handlers would catch; what only running raises passes them by."""
        self.generic_visit(node)
        if not node.handlers:
            return node
        caught = [h.type if h.type is not None else n.load("BaseException") for h in node.handlers]
        # `except (A, B)` and `except A, except B` are one tuple here
        parts: list[ast.expr] = [ast.Starred(n.operator("types", copy.deepcopy(c)), ast.Load()) for c in caught]
        guard = ast.withitem(n.operator("catching", n.thunk(ast.Tuple(parts, ast.Load()))))
        node.body = [n.place(ast.With([guard], node.body), node)]
        if isinstance(node, ast.Try):
            passing = ast.ExceptHandler(ast.Attribute(n.load(n.AG), "Unreached", ast.Load()), None, [ast.Raise()])
            node.handlers.insert(0, n.place(passing, node))
        return node

    visit_TryStar = visit_Try

    def visit_With(self, node: ast.With) -> ast.AST:
        """`with suppress(...)` catches as `try` does."""
        self.generic_visit(node)
        calls = [c for item in node.items if (c := _suppressed(item.context_expr)) is not None]
        if calls:
            parts: list[ast.expr] = [copy.deepcopy(a) for call in calls for a in call.args]
            guard = ast.withitem(n.operator("catching", n.thunk(ast.Tuple(parts, ast.Load()))))
            node.body = [n.place(ast.With([guard], node.body), node)]
        return node


def _suppressed(node: ast.expr) -> ast.Call | None:
    """A call of contextlib.suppress, converted or not."""
    if not isinstance(node, ast.Call):
        return None
    function = node.func.args[0] if n.is_operator(node.func) else node.func  # type: ignore[attr-defined]
    name = getattr(function, "attr", getattr(function, "id", None))
    return node if name == "suppress" else None


def _unbound(node: ast.AST) -> bool:
    return getattr(node, "ag_unbound", False)
