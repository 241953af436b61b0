"""Sizes that only running tells, where a step of Python asks for them: read off a value that has such an axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from treadle.compile.views import View
from treadle.core.dim import Dim
from treadle.core.graph import Graph, Node
from treadle.core.interpret import _collect, bind_attrs, names_in
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.run.executor import Run

Attrs = Mapping[str, Any]
Sized = dict[str, tuple[View, int]]  # name of a size -> a value and its axis of that size


def register(known: Sized, symbol: Symbol, view: View) -> None:
    """Remember where the open sizes of a value can be read."""
    for axis, size in enumerate(symbol.shape):
        if isinstance(size, Dim) and (name := size.open) is not None:
            known[name] = (view, axis)


def wanted(node: Node) -> set[str]:
    """The names of sizes in a node's attributes and in the graphs that it holds."""
    names: set[str] = set()
    for key, value in node.attrs.items():
        if isinstance(value, Graph):
            names |= names_in(value)
        elif key != "steps":  # its own length, which it finds
            _collect(value, names)
    return names


def attrs_of(node: Node, env: Mapping[Symbol, View], known: Sized) -> Callable[[Run], Attrs] | None:
    """How to get a node's attributes while the program runs, with open sizes filled in; None where none is open."""
    from treadle.compile.hosts import fetch

    names = wanted(node)
    if not names:
        return None
    for symbol, view in env.items():
        if symbol.node is not node:
            register(known, symbol, view)
    found = [(name, fetch(known[name][0]), known[name][1]) for name in sorted(names) if name in known]
    if not found:
        return None

    def attrs(run: Run) -> Attrs:
        return bind_attrs(node, {name: get(run).shape[axis] for name, get, axis in found})

    return attrs
