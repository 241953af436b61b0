"""Tensors cut into parts: work on the whole moves behind the cut, and a sum of parts beside each other is a join.

A gate of a recurrent cell is a slice of `x @ w + b`: the sum belongs to the work on the gates, which is one kernel, so
that only the product stands before the cut. The gradient of a cut is a sum of parts that lie in zeros.

Exact: what stands in a join is part + 0.0, as in the sum, where the zero of the other parts turns -0.0 to 0.0.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from treadle.core.graph import Node
from treadle.core.op import REGISTRY, Op
from treadle.core.tensor import Symbol
from treadle.optimize.sweep import Kinds, Step, Sweep
from treadle.records import dataclass


@dataclass(frozen=True, slots=True)
class Parts:
    """What lies along an axis of zeros: bounds and values, in order; joined: whether they are parts of a concat."""

    axis: int
    places: tuple[tuple[int, int, Symbol], ...]
    joined: bool


def _joins(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    shape, dtype = node.outputs[0].shape, node.outputs[0].dtype
    if not node.outputs[0].spec.static or dtype.kind not in "iuf":
        return None
    if any(s.shape != shape or s.dtype != dtype for s in node.inputs):
        return None
    found = [_parts(sweep, s) for s in node.inputs]
    if found[0] is None or found[1] is None or found[0].axis != found[1].axis:
        return None
    axis = found[0].axis
    places = [(a, b, _settled(sweep, s, node, p.joined)) for p in found if p is not None for a, b, s in p.places]
    places.sort(key=lambda place: place[:2])
    if any(before[1] > after[0] for before, after in itertools.pairwise(places)):
        return None
    sweep.counts["parts side by side"] += 1
    pieces: list[Symbol] = []
    end = 0
    for first, last, part in places:
        if first > end:
            pieces.append(_zeros(sweep, node, axis, first - end))
        pieces.append(part)
        end = last
    total = shape[axis]
    assert isinstance(total, int)
    if end < total:
        pieces.append(_zeros(sweep, node, axis, total - end))
    return (sweep.emit(REGISTRY["concat"], pieces, {"axis": axis}, node),)


def _parts(sweep: Sweep, symbol: Symbol) -> Parts | None:
    """The parts of a value, where it is one part in zeros, or joined of some with zeros between them."""
    made = sweep.made.get(symbol)
    if made is None:
        return None
    if made.op == "pad_slice":
        return _padded(made)
    if made.op != "concat":
        return None
    axis, places, at, gaps = made.attrs["axis"], [], 0, False
    for s in made.inputs:
        size: Any = s.shape[axis]
        if _zero(sweep, s):
            gaps = True
        else:
            places.append((at, at + size, s))
        at += size
    return Parts(axis, tuple(places), True) if gaps else None


def _padded(made: Node) -> Parts | None:
    """A slice along one axis, without gaps, that something was written to."""
    shape, starts, stops, steps = (made.attrs[name] for name in ("shape", "starts", "stops", "steps"))
    if any(step != 1 for step in steps) or not made.inputs[0].spec.static:
        return None
    axes = [k for k, size in enumerate(shape) if made.inputs[0].shape[k] != size]
    if len(axes) != 1 or 0 in made.inputs[0].shape:
        return None
    return Parts(axes[0], ((starts[axes[0]], stops[axes[0]], made.inputs[0]),), False)


def _zero(sweep: Sweep, symbol: Symbol) -> bool:
    value = sweep.uniform(symbol)
    return value is not None and not value.tobytes().strip(b"\0")


def _zeros(sweep: Sweep, node: Node, axis: int, size: int) -> Symbol:
    shape = list(node.outputs[0].shape)
    shape[axis] = size
    return sweep.emit(REGISTRY["full"], (), {"value": 0, "shape": tuple(shape), "dtype": node.outputs[0].dtype}, node)


def _settled(sweep: Sweep, part: Symbol, node: Node, done: bool) -> Symbol:
    """A part as the sum leaves it."""
    if done or part.dtype.kind != "f":
        return part
    return sweep.emit(REGISTRY["add"], (part, sweep.constant(np.zeros((), part.dtype), node)), {}, node)


CUT = frozenset(("add", "subtract", "multiply", "divide"))


def _cuts(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    """A slice of work whose result is only read in slices: the same work on slices of what it reads."""
    work = sweep.made.get(node.inputs[0])
    if work is None or work.op not in CUT or not _only_sliced(sweep, work.outputs[0]):
        return None
    whole = work.outputs[0].shape
    bounds = node.attrs
    if any(step != 1 for step in bounds["steps"]) or not node.outputs[0].spec.static or 0 in node.outputs[0].shape:
        return None
    if not all(s.spec.static for s in work.inputs):
        return None
    sweep.counts["work behind a cut"] += 1
    operands = [_cut(sweep, s, whole, bounds, node) for s in work.inputs]
    return (sweep.emit(work.definition, operands, work.attrs, work),)


def _cut(sweep: Sweep, symbol: Symbol, whole: Sequence[Any], bounds: Mapping[str, Any], node: Node) -> Symbol:
    """The slice of an operand that a slice of the result needs; axes along which it is spread out stay whole."""
    skip = len(whole) - len(symbol.shape)
    starts, stops = [], []
    for k, size in enumerate(symbol.shape):
        full = size == whole[skip + k]
        starts.append(bounds["starts"][skip + k] if full else 0)
        stops.append(bounds["stops"][skip + k] if full else size)
    if not any(starts) and tuple(stops) == symbol.shape:
        return symbol
    attrs = {"starts": tuple(starts), "stops": tuple(stops), "steps": (1,) * len(starts)}
    return sweep.emit(node.definition, (symbol,), attrs, node)


def _only_sliced(sweep: Sweep, symbol: Symbol) -> bool:
    """Whether nothing but slices of the old graph reads a symbol, more than one of them."""
    count = sum(
        node.op == "slice" and sweep.symbols.get(s, s) is symbol for node in sweep.graph.nodes for s in node.inputs
    )
    return count > 1 and count == sweep.uses(symbol)


def _may(op: Op, before: Kinds, same: bool) -> bool:
    """Whether both terms may be parts."""
    return all(kind in ("pad_slice", "concat") for kind in before)


joins = Step(_joins, frozenset(("add",)), may=_may, again=True)
cuts = Step(_cuts, frozenset(("slice",)), may=lambda op, before, same: before[0] in CUT, again=True)
