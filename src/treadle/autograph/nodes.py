"""Small builders of syntax nodes, and the questions that several passes ask of syntax."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from treadle.autograph.trees import Transformer, children

AG = "ag__"  # the one reserved name: generated code reaches the operators through it
RETURN_VALUE, DID_RETURN = AG + "return_value", AG + "did_return"
_FINISHED = AG + "finished"
_Node = TypeVar("_Node", bound=ast.AST)
_STATIC_CALLS = {"isinstance", "issubclass", "callable", "hasattr"}


def load(name: str) -> ast.Name:
    """A read of `name`."""
    return ast.Name(name, ast.Load())


def store(name: str) -> ast.Name:
    """A target `name`."""
    return ast.Name(name, ast.Store())


def assign(name: str, value: ast.expr) -> ast.Assign:
    """The statement `name = value`."""
    return ast.Assign([store(name)], value)


def operator(name: str, *args: ast.expr) -> ast.Call:
    """A call `ag__.name(*args)`."""
    return ast.Call(ast.Attribute(load(AG), name, ast.Load()), list(args), [])


def is_operator(node: ast.AST) -> bool:
    """Whether `node` is a call of one of our operators (a user's program cannot hold one)."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == AG
    )


def thunk(body: ast.expr) -> ast.Lambda:
    """`lambda: body`, evaluated when and if it is reached."""
    return ast.Lambda(ast.arguments([], [], None, [], [], None, []), body)


def names_tuple(names: Iterable[str]) -> ast.Tuple:
    """`("a", "b")`: the names as messages show them."""
    return ast.Tuple([ast.Constant(_shown(n)) for n in names], ast.Load())


def _shown(name: str) -> str:
    if name == RETURN_VALUE:
        return "the returned value"
    for kind in ("return", "break", "continue"):
        if name.startswith((f"{AG}did_{kind}", f"{AG}{kind}_")):
            return f"whether `{kind}` was reached"
    return name


def function(name: str, params: Sequence[str], body: list[ast.stmt], defaults: Sequence[str] = ()) -> ast.FunctionDef:
    """`def name(*params, d=d ...): body`; each default hands a name's present value to a local of the same name."""
    args = [ast.arg(p) for p in (*params, *defaults)]
    arguments = ast.arguments([], args, None, [], [], None, [load(d) for d in defaults])
    return ast.FunctionDef(name, arguments, body, [])


def place(node: _Node, origin: ast.AST) -> _Node:
    """Gives `node`, and all parts of it that have none, the position of `origin`; returns it."""
    line, column = origin.lineno, origin.col_offset  # type: ignore[attr-defined]
    end_line = getattr(origin, "end_lineno", None) or line
    end_column = getattr(origin, "end_col_offset", None) or column
    _fill(node, line, column, end_line, end_column)
    return node


def _fill(node: ast.AST, line: int, column: int, end_line: int, end_column: int) -> None:
    stack = [node]
    while stack:
        part: Any = stack.pop()
        if part._attributes:
            if hasattr(part, "lineno"):
                continue  # the user's own node, and so all below it
            part.lineno, part.col_offset = line, column
            part.end_lineno, part.end_col_offset = end_line, end_column
        stack += children(part)


class OwnStatements(Transformer):
    """Changes what a function itself does, and not what the functions and classes defined in it do."""

    def block(self, stmts: Iterable[ast.stmt]) -> list[ast.stmt]:
        """What stands for statements; one may become several."""
        out: list[ast.stmt] = []
        for stmt in stmts:
            new = self.visit(stmt)
            out += new if isinstance(new, list) else [new]
        return out

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return node


def finished(line: int) -> str:
    """Name of the flag that tells that a `with` or `try` ran to its end; always a plain Python bool."""
    return f"{_FINISHED}_{line}"


def is_static(test: ast.expr) -> bool:
    """Whether `test` surely gives a Python bool, so that a statement on it may stay as it is."""
    if isinstance(test, ast.Compare):
        return all(isinstance(op, (ast.Is, ast.IsNot)) for op in test.ops)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return is_static(test.operand)
    if isinstance(test, ast.BoolOp):
        return all(is_static(v) for v in test.values)
    if isinstance(test, ast.Call):
        return isinstance(test.func, ast.Name) and test.func.id in _STATIC_CALLS
    if isinstance(test, ast.Name):
        return test.id.startswith(_FINISHED)
    return isinstance(test, ast.Constant)


def is_true(test: ast.expr) -> bool:
    """Whether `test` is a constant that is true."""
    return isinstance(test, ast.Constant) and bool(test.value)


def is_converted(node: ast.AST) -> bool:
    """Whether a statement becomes an operator with local functions."""
    return isinstance(node, (ast.For, ast.While)) or (isinstance(node, ast.If) and not is_static(node.test))


def blocks(node: ast.AST) -> list[list[ast.stmt]]:
    """The statement lists directly inside a compound statement."""
    found = [b for f in ("body", "orelse", "finalbody") if (b := getattr(node, f, None)) and isinstance(b, list)]
    found += [part.body for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ()))]
    return found
