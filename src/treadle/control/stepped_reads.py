"""Reads at a loop's counter become stepped values: `x[t]`, `x[:, t]`, `x[n - 1 - t]` in a `for t in td.range(n)`.

What a loop steps through needs no index, no check and no place in the gradient's carry: the gradients of the steps'
rows are stacked, not added into zeros one by one. Products of stepped values are one product for all steps.
"""

from __future__ import annotations

from collections.abc import Sequence

from treadle.core.graph import HOLDING, Graph, Node, build
from treadle.core.tensor import Symbol, Tensor
from treadle.ops.indexing import known_values
from treadle.ops.moving import linear
from treadle.ops.shaping import moveaxis
from treadle.records import dataclass

SMALL = 36  # elements of a row up to which a loop's kernel finds it by index, in registers


@dataclass(frozen=True, slots=True)
class _Read:
    """A gather of a loop's constant at one place each step: along which axis, from where, how far a step goes."""

    const: int
    views: tuple[Node, ...]  # of the constant, before the gather
    index: tuple[int | None, ...]  # by axis, where that is the same at every step
    axis: int
    start: int
    step: int


def stepped_reads(
    body: Graph, carry: Sequence[Tensor], consts: Sequence[Tensor], xs: Sequence[Tensor], length: int
) -> tuple[Graph, list[Tensor]]:
    """The body and the xs of a loop of so many steps, forwards, after its reads at a counter have become xs."""
    counters = {id(s): way for k, s in enumerate(body.inputs[: len(carry)]) if (way := _counts(body, k, carry[k]))}
    if not counters:
        return body, list(xs)
    places = {s: k for k, s in enumerate(body.inputs[len(carry) : len(carry) + len(consts)])}
    found: dict[Symbol, _Read] = {}
    for node in body.nodes:
        read = _read(node, places, counters, length) if node.op == "gather" else None
        if read is not None:
            found[node.outputs[0]] = read
        elif node.definition.family in HOLDING:  # what an inner loop reads elements of
            for s in node.inputs:
                found.pop(s, None)
    if not found:
        return body, list(xs)
    rows: dict[_Read, Symbol] = {}
    for symbol, read in found.items():
        rows.setdefault(read, Symbol(symbol.spec, symbol.scope, symbol.name))
    made = [_rows(read, consts[read.const], length) for read in rows]
    return _replaced(body, {s: rows[read] for s, read in found.items()}, tuple(rows.values())), [*xs, *made]


def _counts(body: Graph, k: int, begin: Tensor) -> tuple[int, int] | None:
    """Where a carried whole number begins, and by how much each step moves it; None where that is not known."""
    old, new = body.inputs[k], body.outputs[k]
    if old.shape or old.dtype.kind not in "iu":
        return None
    first, sum_of = known_values(begin), linear(new)
    if first is None or sum_of is None or sum_of[0] != {id(old): 1}:
        return None
    return int(first), sum_of[1]


def _read(node: Node, places: dict[Symbol, int], counters: dict[int, tuple[int, int]], length: int) -> _Read | None:
    """What a gather reads, if it is one row of a constant each step, and certainly there."""
    source, *indices = node.inputs
    views: list[Node] = []
    while source not in places and source.node is not None and source.node.definition.family == "view":
        views.append(source.node)
        (source, *_) = source.node.inputs
    row, shape = node.outputs[0].spec, node.inputs[0].shape
    if source not in places or any(s.shape for s in indices) or not row.static or row.size <= SMALL:
        return None
    index: list[int | None] = [None] * len(shape)
    moving: list[tuple[int, int, int]] = []
    for axis, symbol in zip(node.attrs["axes"], indices, strict=True):
        way = _way(symbol, counters)
        size = shape[axis]
        if way is None or type(size) is not int:
            return None
        start, step = way
        last = start + step * (length - 1)
        if step:
            moving.append((axis, start, step))
        else:
            index[axis] = start
        if min(start, last) < (0 if step else -size) or max(start, last) >= size:
            return None
    return _Read(places[source], tuple(reversed(views)), tuple(index), *moving[0]) if len(moving) == 1 else None


def _way(symbol: Symbol, counters: dict[int, tuple[int, int]]) -> tuple[int, int] | None:
    """Where a number begins, and by how much each step moves it; None where that is not known."""
    sum_of = linear(symbol)
    if sum_of is None or not sum_of[0].keys() <= counters.keys():
        return None
    start, step = sum_of[1], 0
    for counter, factor in sum_of[0].items():
        start += factor * counters[counter][0]
        step += factor * counters[counter][1]
    return start, step


def _rows(read: _Read, const: Tensor, length: int) -> Tensor:
    """The rows that the steps read, one after another along the first axis."""
    for view in read.views:
        (const,) = view.definition.bind((const,), dict(view.attrs))
    before = sum(item is not None for item in read.index[: read.axis])
    index = tuple([slice(None) if item is None else item for item in read.index])
    rows = moveaxis(const[index], read.axis - before, 0)
    stop = read.start + read.step * length
    return rows[read.start : None if stop < 0 else stop : read.step]


def _replaced(body: Graph, rows: dict[Symbol, Symbol], new: tuple[Symbol, ...]) -> Graph:
    """The body with further inputs in place of these values."""
    now = dict(rows)
    nodes: list[Node] = []
    for node in body.nodes:
        if node.outputs and node.outputs[0] in rows:
            continue
        if any(s in now for s in node.inputs):
            inputs = tuple([now.get(s, s) for s in node.inputs])
            specs = [s.spec for s in node.outputs]
            scope = node.outputs[0].scope if node.outputs else new[0].scope
            again = build(node.definition, inputs, node.attrs, specs, node.name, node.location, scope)
            now.update(zip(node.outputs, again.outputs, strict=True))
            node = again
        nodes.append(node)
    outputs = tuple([now.get(s, s) for s in body.outputs])
    return Graph(body.name, (*body.inputs, *new), tuple(nodes), outputs, body.state)
