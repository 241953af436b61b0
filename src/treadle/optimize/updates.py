"""Sums of a carried value with tensors that are zero but for a few elements: these elements are added in its place.

The gradient of `v[i]` in a loop is such a tensor at each step. Added whole, every step would cost as much as all of v;
as an update of the sum that is carried, which a program makes in its place, it costs as much as the elements. The sums
are the same but for their order where one element gets several terms, and -0.0 may stay where it would become 0.0.
"""

from __future__ import annotations

from collections.abc import Sequence

from treadle.core.graph import Node
from treadle.core.op import REGISTRY, Op
from treadle.core.tensor import Symbol
from treadle.optimize.sweep import Kinds, Step, Sweep

_UPDATES = ("scatter", "dynamic_update_slice", "set_slice")


def _onto(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    """The updates of one operand made on the other, where that comes from outside the graph."""
    for x, y in (node.inputs, reversed(node.inputs)):
        if x.shape != y.shape or x.dtype != y.dtype or not x.spec.static or not _from_outside(sweep, x):
            continue
        terms = _terms(sweep, y)
        if terms:
            sweep.counts["sum as updates"] += 1
            for term in terms:
                x = _add(sweep, x, term)
            return (x,)
    return None


def _from_outside(sweep: Sweep, x: Symbol) -> bool:
    """Whether a value is an input of the graph, or one with updates."""
    while (made := sweep.made.get(x)) is not None:
        if made.op not in _UPDATES:
            return False
        x = made.inputs[0]
    return True


def _terms(sweep: Sweep, y: Symbol) -> list[Node] | None:
    """The updates of zeros whose sum this is, if it is such a sum and nothing else reads it."""
    made = sweep.made.get(y)
    if made is None or sweep.uses(y) > 1:
        return None
    if made.op == "add":
        parts = [_terms(sweep, s) if s.shape == y.shape else None for s in made.inputs]
        return None if None in parts else [term for part in parts for term in part or ()]
    if made.op == "pad_slice":
        return [made]
    if made.op == "dynamic_update_slice" or (made.op == "scatter" and made.attrs["mode"] == "add"):
        zero = sweep.uniform(made.inputs[0])
        if zero is not None and zero == 0:
            return [made]
        before = _terms(sweep, made.inputs[0]) if made.op == "scatter" else None
        return None if before is None else [*before, made]
    return None


def _add(sweep: Sweep, x: Symbol, term: Node) -> Symbol:
    if term.op == "scatter":
        return sweep.emit(term.definition, (x, *term.inputs[1:]), term.attrs, term)
    if term.op == "pad_slice":
        where = {key: term.attrs[key] for key in ("starts", "stops", "steps")}
        old = sweep.emit(REGISTRY["slice"], (x,), where, term)
        new = sweep.emit(REGISTRY["add"], (old, *term.inputs), {}, term)
        return sweep.emit(REGISTRY["set_slice"], (x, new), where, term)
    _, update, starts = term.inputs
    old = sweep.emit(REGISTRY["dynamic_slice"], (x, starts), {"sizes": update.shape}, term)
    new = sweep.emit(REGISTRY["add"], (old, update), {}, term)
    return sweep.emit(term.definition, (x, new, starts), term.attrs, term)


def _may(op: Op, before: Kinds, same: bool) -> bool:
    """Whether operands can be an update and what comes from outside."""
    made = (*_UPDATES, "pad_slice", "add")
    return any(kind is None or kind in _UPDATES for kind in before) and any(kind in made for kind in before)


updates = Step(_onto, frozenset(("add",)), may=_may)
