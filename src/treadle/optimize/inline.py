"""Inlining: a `call` or `custom_gradient` node gives way to the nodes of its graph (gradients are taken by now)."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.core.graph import Node
from treadle.core.interpret import bind_sizes, concretize
from treadle.core.tensor import Symbol
from treadle.optimize.sweep import Step, Sweep


def _inline(sweep: Sweep, node: Node) -> Sequence[Symbol]:
    """The outputs of the graph that the node calls, its nodes put in place of the node."""
    graph = node.attrs["graph"]
    sizes = {**bind_sizes(graph, [s.shape for s in node.inputs]), **dict(node.attrs.get("open", ()))}
    sweep.counts["inline"] += 1
    return sweep.splice(concretize(graph, sizes) if sizes else graph, node.inputs)


inline = Step(_inline, frozenset(("call", "custom_gradient")))
