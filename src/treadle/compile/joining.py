"""Parts of a join are made in their places: kernels write them where they stand in the whole, and nothing is copied.

A part counts as a view of the whole, whose memory is taken when the first of its parts is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from treadle.compile.fusion.fuse import Group, Item
from treadle.compile.moves.copies import copied, part
from treadle.compile.views import View
from treadle.core.graph import Graph, Node
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]
Parts = dict[Symbol, tuple[Node, int]]


def parts(lowerer: Lowerer, graph: Graph, items: Sequence[Item], targets: Env) -> Parts:
    """Which values are made as a part of which join, and from where on along its axis."""
    found: Parts = {}
    makers = {s: item for item in items if isinstance(item, Group) for s in item.made}
    taken = set(graph.outputs).union(targets)
    for item in items:
        if isinstance(item, Group) or item.node.op != "concat" or not copied(item.node):
            continue
        node, at = item.node, 0
        if not _may_begin_early(lowerer, node.outputs[0], targets):
            continue
        for symbol in node.inputs:
            group = makers.get(symbol)
            if group is not None and symbol not in found and symbol not in taken and _anywhere(group, symbol):
                found[symbol] = node, at
            size = symbol.shape[node.attrs["axis"]]
            assert isinstance(size, int)
            at += size
    return found


def _anywhere(group: Group, symbol: Symbol) -> bool:
    """Whether a group can write a value to rows that lie apart: elementwise work."""
    node = symbol.node
    plain = node is not None and node.definition.family == "elementwise" and symbol.shape == group.shape
    return plain and group.row_axes is None and 0 not in group.shape


def _may_begin_early(lowerer: Lowerer, whole: Symbol, targets: Env) -> bool:
    """Whether nobody reads the memory of the whole before it is finished, as one does of what it is to replace."""
    end = targets.get(whole)
    return end is None or end.buffer.kind == "cell" or (end.buffer.kind == "output" and not lowerer.loops)


def aim(lowerer: Lowerer, group: Group, found: Parts, env: Env, targets: Env) -> None:
    """Let a group write its parts to their places."""
    for symbol in found.keys() & group.made:
        node, at = found[symbol]
        whole = node.outputs[0]
        if whole not in lowerer.joined:
            lowerer.joined[whole] = lowerer.fresh(whole, targets)
        targets[symbol] = piece(lowerer.joined[whole], node.attrs["axis"], at, symbol)


def piece(whole: View, axis: int, at: int, symbol: Symbol) -> View:
    """A part's place."""
    rank = len(whole.shape)
    starts, stops = [0] * rank, list(whole.shape)
    size = symbol.shape[axis]
    assert isinstance(size, int)
    starts[axis], stops[axis] = at, at + size
    return part(whole, tuple(starts), tuple(stops), (1,) * rank)
