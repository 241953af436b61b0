"""Lengths that only running tells, in a backward graph: some residual must have an axis of each that it asks for."""

from __future__ import annotations

from treadle.core.dim import Dim
from treadle.core.graph import Graph
from treadle.core.interpret import _collect, names_in
from treadle.core.tensor import Symbol
from treadle.core.tracer import Tracer


def keep_lengths(forward: Tracer, backward: Tracer) -> None:
    """Capture a value with each open length that nodes of the backward trace name and no value of theirs has."""
    asked: set[str] = set()
    known: set[str] = set()
    for node in backward.nodes:
        for key, value in node.attrs.items():
            if isinstance(value, Graph):
                asked |= names_in(value)
            elif key != "steps":
                _collect(value, asked)
        _collect(tuple(s.shape for s in node.outputs), asked)
        if "steps" in node.attrs:
            _collect(node.attrs["steps"], known)
    for symbol in (*backward.inputs, *(s for _, s in backward.captures.values())):
        known |= _lengths(symbol)
    missing = {name for name in asked - known if "#" in name}
    if not missing:
        return
    made = (s for node in forward.nodes for s in node.outputs)
    for symbol in (*forward.inputs, *made):
        if found := _lengths(symbol) & missing:
            backward.lift(symbol)
            missing -= found


def _lengths(symbol: Symbol) -> set[str]:
    """The names of a value's open sizes."""
    return {name for size in symbol.shape if isinstance(size, Dim) and (name := size.open) is not None}
