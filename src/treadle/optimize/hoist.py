"""Loop-invariant code: what a loop's body computes from nothing but constants of the loop is computed before the loop.

Only ops that cannot fail move (a loop may run zero times), and no result that is larger than what it is made from.
Constants and mere views stay: they cost nothing in kernels.
"""

from __future__ import annotations

from collections.abc import Sequence

from treadle.control.loop import Layout
from treadle.core.graph import Graph, Node
from treadle.core.tensor import Symbol
from treadle.optimize.sweep import Step, Sweep

_SAFE = frozenset(("elementwise", "view", "contraction", "reduction", "shaping"))


def _hoist(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    """The loop with its invariant work as further constants."""
    layout: Layout = node.attrs["layout"]
    body: Graph = node.attrs["body"]
    moving, free = _invariant(body, layout)
    if not moving:
        return None
    used = {s for item in body.nodes if item not in moving for s in item.inputs} | set(body.outputs)
    frontier = [s for item in body.nodes if item in moving for s in item.outputs if s in used]
    if not frontier:
        return None
    sweep.counts["hoist"] += len(moving)
    count, carry, consts, xs = layout.parts(node.inputs)
    outer = dict(zip(layout.parts(_counted(body.inputs, layout))[2], consts, strict=True))
    for item in body.nodes:
        if item in moving or item in free:
            sweep.take(item, outer, copy=True)
    made = [outer[s] for s in frontier]
    inputs = [*([] if count is None else [count]), *carry, *consts, *made, *xs]
    attrs = dict(node.attrs)
    attrs["layout"] = Layout(layout.counted, layout.carry, layout.consts + len(made), layout.xs)
    position = layout.carry + layout.consts
    attrs["body"] = with_inputs(sweep, body, frontier, position, [n for n in body.nodes if n not in moving])
    if node.attrs["test"] is not None:
        test: Graph = node.attrs["test"]
        extra = tuple([Symbol(s.spec, sweep.scope, f"{s.name}_unused") for s in frontier])
        attrs["test"] = Graph(test.name, (*test.inputs, *extra), test.nodes, test.outputs, test.state)
    return sweep.emit_all(node.definition, inputs, attrs, node)


def _counted(inputs: Sequence[Symbol], layout: Layout) -> list[object]:
    """A body's inputs, with a place for the count that only the node takes."""
    return [*([None] if layout.counted else []), *inputs]


def _invariant(body: Graph, layout: Layout) -> tuple[set[Node], set[Node]]:
    """The nodes that may move out; and those that cost nothing and stay, of which copies go along."""
    fixed = set(body.inputs[layout.carry : layout.carry + layout.consts])
    neutral: set[Symbol] = set()  # constants made in the body
    worked: set[Symbol] = set()
    moving: set[Node] = set()
    free: set[Node] = set()
    for node in body.nodes:
        if not node.inputs and node.op in ("constant", "full") and node.outputs[0].spec.static:
            neutral.update(node.outputs)
            free.add(node)
            continue
        if not all(s in fixed or s in neutral for s in node.inputs) or all(s in neutral for s in node.inputs):
            continue
        if not _may_move(node):
            continue
        fixed.update(node.outputs)
        if node.definition.family == "view" and not any(s in worked for s in node.inputs):
            free.add(node)
        else:
            worked.update(node.outputs)
            moving.add(node)
    return moving, free


def _may_move(node: Node) -> bool:
    if node.definition.effect or node.definition.family not in _SAFE:
        return False
    # Sizes that are not known hide checks, which may fail; strings are no work for kernels.
    if any(s.dtype.kind == "T" or not s.spec.static for s in (*node.inputs, *node.outputs)):
        return False
    if node.definition.family in ("contraction", "reduction"):
        return True
    (y,) = node.outputs
    return y.spec.size <= sum(s.spec.size for s in node.inputs)


def with_inputs(sweep: Sweep, body: Graph, moved: Sequence[Symbol], position: int, nodes: Sequence[Node]) -> Graph:
    """The body without the nodes that moved: their results come in at `position`."""
    new = [Symbol(s.spec, sweep.scope, s.name) for s in moved]
    inputs = (*body.inputs[:position], *new, *body.inputs[position:])
    inner = Sweep(Graph(body.name, inputs, tuple(nodes), body.outputs, body.state), sweep.rules)
    inner.symbols.update(zip(moved, new, strict=True))
    return inner.run()


hoist = Step(_hoist, frozenset(("while",)))
