"""Parts of a join are made in their places: kernels write them where they stand in the whole, and nothing is copied.

So is what replaces a slice, or lies in zeros: only what is around it is copied.

A part counts as a view of the whole, whose memory is taken when the first of its parts is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from treadle.compile.fusion.items import Group, Item
from treadle.compile.moves.copies import copied, part
from treadle.compile.views import View
from treadle.core.graph import Graph, Node
from treadle.core.spec import Shape
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]
Parts = dict[Symbol, tuple[Node, tuple[int, ...], tuple[int, ...]]]


def parts(lowerer: Lowerer, graph: Graph, items: Sequence[Item], env: Env, targets: Env) -> Parts:
    """Which values are made as a part of which join, and from where to where in it."""
    found: Parts = {}
    makers = {s: item for item in items if isinstance(item, Group) for s in item.made}
    taken = set(graph.outputs).union(targets)
    for item in items:
        if isinstance(item, Group) or item.node.op not in ("concat", "set_slice", "pad_slice"):
            continue
        node = item.node
        if not copied(node) or not _may_begin_early(lowerer, node, env, targets):
            continue
        for symbol, starts, stops in _places(node):
            group = makers.get(symbol)
            if group is not None and symbol not in found and symbol not in taken and _anywhere(group, symbol):
                found[symbol] = node, starts, stops
    return found


def _places(node: Node) -> Iterator[tuple[Symbol, tuple[int, ...], tuple[int, ...]]]:
    """The parts of a join, and where they stand in it."""
    if node.op != "concat":
        if all(step == 1 for step in node.attrs["steps"]):
            yield node.inputs[-1], node.attrs["starts"], node.attrs["stops"]
        return
    axis, at = node.attrs["axis"], 0
    for symbol in node.inputs:
        starts, stops = span(node.outputs[0].shape, axis, at, symbol)
        yield symbol, starts, stops
        at = stops[axis]


def _anywhere(group: Group, symbol: Symbol) -> bool:
    """Whether a group can write a value to rows that lie apart: elementwise work."""
    node = symbol.node
    plain = node is not None and node.definition.family == "elementwise" and symbol.shape == group.shape
    return plain and group.row_axes is None and 0 not in group.shape


def _may_begin_early(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Whether nobody reads the memory of the whole before it is finished, as one does of what it is to replace."""
    end = targets.get(node.outputs[0])
    old = targets.get(node.inputs[0]) or env.get(node.inputs[0])
    if end is not None and old is not None and old.buffer is end.buffer:
        return False  # a slice is replaced where the whole lies: what replaces it may still be made of the old one
    if end is None or (end.buffer.kind == "output" and not lowerer.loops):
        return True
    return end.buffer.kind == "cell" and node.op == "concat"


def aim(lowerer: Lowerer, group: Group, found: Parts, env: Env, targets: Env) -> None:
    """Let a group write its parts to their places."""
    for symbol in [s for s in found if s in group.made]:
        node, starts, stops = found[symbol]
        whole = node.outputs[0]
        if whole not in lowerer.joined:
            lowerer.joined[whole] = targets[whole] = lowerer.fresh(whole, targets)
        targets[symbol] = part(lowerer.joined[whole], starts, stops, (1,) * len(starts))


def span(shape: Shape, axis: int, at: int, symbol: Symbol) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """From where to where a part stands that begins at a place along an axis."""
    starts, stops = [0] * len(shape), list(shape)
    size = symbol.shape[axis]
    assert isinstance(size, int)
    starts[axis], stops[axis] = at, at + size
    return tuple(starts), tuple(stops)  # type: ignore[arg-type]
