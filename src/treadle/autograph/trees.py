"""Walking and changing syntax trees: `ast`'s own tools at a fraction of their cost, for conversion walks a tree often.

Operators, contexts and plain names below a node are passed over: nothing of the converter asks for them.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

# Fields that hold no node with anything inside.
_LEAVES = frozenset(
    {"ctx", "op", "ops", "id", "attr", "arg", "name", "asname", "rest", "kwd_attrs", "module", "level"}
) | {
    *("type_comment", "type_ignores", "kind", "conversion", "is_async", "simple", "lineno"),
}
_BARE = (ast.Constant, ast.MatchSingleton, ast.Global, ast.Nonlocal)  # what they hold are Python values
_HOLED = (ast.Dict, ast.arguments)  # whose lists may hold None
_fields: dict[type[ast.AST], tuple[str, ...]] = {}
_getters: dict[type[ast.AST], Callable[[ast.AST], Any]] = {}


def _fields_of(kind: type[ast.AST]) -> tuple[str, ...]:
    """The fields of a kind of node that may hold nodes."""
    fields = _fields.get(kind)
    if fields is None:
        fields = _fields[kind] = () if kind in _BARE else tuple(f for f in kind._fields if f not in _LEAVES)
        if len(fields) > 1:
            _getters[kind] = operator.attrgetter(*fields)
    return fields


def children(node: ast.AST) -> list[ast.AST]:
    """The nodes right below `node`, in the order of the text."""
    kind = type(node)
    fields = _fields.get(kind)
    if fields is None:
        fields = _fields_of(kind)
    found: list[ast.AST] = []
    if len(fields) > 1:
        try:
            values = _getters[kind](node)
        except AttributeError:  # a node of ours that leaves out what it does not need
            values = [getattr(node, name, None) for name in fields]
        for value in values:
            if type(value) is list:
                found += value
            elif value is not None:
                found.append(value)
        if kind in _HOLED:
            return [value for value in found if value is not None]
        if kind is ast.For and (go := getattr(node, "ag_go", None)) is not None:
            found.append(go)  # the test that ends it, which lowering its exits has added
    elif fields:
        value = getattr(node, fields[0], None)
        if type(value) is list:
            found += value
        elif value is not None:
            found.append(value)
    return found


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """`node` and all nodes below it, in no particular order."""
    stack = [node]
    while stack:
        part = stack.pop()
        yield part
        stack += children(part)


def holds(nodes: Iterable[ast.AST], kinds: type[ast.AST] | tuple[type[ast.AST], ...]) -> bool:
    """Whether one of the nodes, or of those below them, is of these kinds."""
    stack = list(nodes)
    while stack:
        part = stack.pop()
        if isinstance(part, kinds):
            return True
        stack += children(part)
    return False


class Transformer(ast.NodeTransformer):
    """`ast.NodeTransformer`, its methods looked up once a kind of node."""

    _methods: ClassVar[dict[type[ast.AST], Callable[[Any, Any], Any]]] = {}

    def __init_subclass__(cls) -> None:
        cls._methods = {}

    def visit(self, node: ast.AST) -> Any:
        """What is to stand for a node."""
        kind = type(node)
        method: Any = self._methods.get(kind)
        if method is None:
            method = getattr(type(self), f"visit_{kind.__name__}", type(self).generic_visit)
            self._methods[kind] = method
        return method(self, node)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """The node, with what stands for the nodes below it."""
        kind = type(node)
        fields = _fields.get(kind)
        for name in _fields_of(kind) if fields is None else fields:
            old = getattr(node, name, None)
            if type(old) is list:
                new: list[Any] = []
                for item in old:
                    value = self.visit(item) if isinstance(item, ast.AST) else item
                    if type(value) is list:
                        new += value
                    elif value is not None or item is None:
                        new.append(value)
                old[:] = new
            elif isinstance(old, ast.AST):
                value = self.visit(old)
                if value is None:
                    delattr(node, name)
                elif value is not old:
                    setattr(node, name, value)
        return node


__all__ = ["Transformer", "children", "holds", "walk"]
