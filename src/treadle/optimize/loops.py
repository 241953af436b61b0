"""What passes through loops and conds unchanged: a carried value that no iteration changes is a constant of the loop,
and so is an x that is the same at every step; what both branches of a cond hand through needs no cond.
"""

from __future__ import annotations

from collections.abc import Sequence

from treadle.control.loop import Layout
from treadle.core.graph import Graph, Node
from treadle.core.op import REGISTRY
from treadle.core.tensor import Symbol
from treadle.optimize.sweep import Step, Sweep


def _loops(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    """The outputs of a cond or loop that takes what does not change around itself."""
    if node.op == "cond":
        return _around_cond(sweep, node)
    return _fixed_carry(sweep, node) or _fixed_xs(sweep, node) or _constants_inside(sweep, node)


def _around_cond(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    places = [{s: k for k, s in enumerate(node.attrs[side].inputs)} for side in ("true", "false")]
    ends = zip(node.attrs["true"].outputs, node.attrs["false"].outputs, strict=True)
    through = [(places[0].get(a, -1), places[1].get(b, -2)) for a, b in ends]
    if all(a != b for a, b in through):
        return None
    made = sweep.append(node)
    sweep.counts["around cond"] += 1
    return [node.inputs[a + 1] if a == b else y for (a, b), y in zip(through, made, strict=True)]


def _fixed_carry(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    """Carried values that every iteration hands on as they are become constants; their results are what went in."""
    layout: Layout = node.attrs["layout"]
    body: Graph = node.attrs["body"]
    fixed = [k for k in range(layout.carry) if body.outputs[k] is body.inputs[k]]
    if not fixed:
        return None
    sweep.counts["fixed carry"] += len(fixed)
    going = [k for k in range(layout.carry) if k not in set(fixed)]
    rest = range(layout.carry, layout.carry + layout.consts)
    xs = range(layout.carry + layout.consts, len(body.inputs))
    order = [*going, *rest, *fixed, *xs]
    outputs = [*going, *range(layout.carry, len(body.outputs))]
    shape = Layout(layout.counted, len(going), layout.consts + len(fixed), layout.xs)
    made = iter(_rearranged(sweep, node, shape, order, outputs))
    first = int(layout.counted)
    return [node.inputs[first + k] if k in set(fixed) else next(made) for k in range(len(body.outputs))]


def _rearranged(
    sweep: Sweep, node: Node, layout: Layout, order: Sequence[int], outputs: Sequence[int]
) -> Sequence[Symbol]:
    """The loop with the body's inputs in another order, which includes all of the test's, and some of its outputs."""
    body: Graph = node.attrs["body"]
    test: Graph | None = node.attrs["test"]
    first = int(layout.counted)
    attrs = {**node.attrs, "layout": layout}
    ends = tuple([body.outputs[k] for k in outputs])
    attrs["body"] = Graph(body.name, tuple([body.inputs[k] for k in order]), body.nodes, ends, body.state)
    if test is not None:
        known = len(test.inputs)
        extra = {k: Symbol(body.inputs[k].spec, sweep.scope, f"{body.inputs[k].name}_unused") for k in order}
        inputs = [test.inputs[k] if k < known else extra[k] for k in order[: layout.carry + layout.consts]]
        attrs["test"] = Graph(test.name, tuple(inputs), test.nodes, test.outputs, test.state)
    inputs = [*node.inputs[:first], *(node.inputs[first + k] for k in order)]
    return sweep.emit_all(node.definition, inputs, attrs, node)


def _fixed_xs(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    """Stepped values that are the same at every step become constants, where something else tells the trip count."""
    layout: Layout = node.attrs["layout"]
    count, carry, consts, xs = layout.parts(node.inputs)
    found = {k: row for k, x in enumerate(xs) if (row := _row(sweep, x, node)) is not None}
    known = layout.counted or isinstance(node.attrs["steps"], int)
    if not found or (len(found) == len(xs) and not known):
        return None
    sweep.counts["fixed x"] += len(found)
    start = layout.carry + layout.consts
    rest = [k for k in range(layout.xs) if k not in found]
    order = [*range(start), *(start + k for k in found), *(start + k for k in rest)]
    inputs = [*carry, *consts, *[found.get(k, x) for k, x in enumerate(xs)]]
    if count is not None:
        inputs = [count, *inputs]
    shape = Layout(layout.counted, layout.carry, layout.consts + len(found), len(rest))
    fed = Node(node.definition, tuple(inputs), node.attrs, node.name, node.location)
    return _rearranged(sweep, fed, shape, order, range(len(node.attrs["body"].outputs)))


def _row(sweep: Sweep, x: Symbol, like: Node) -> Symbol | None:
    """The one row that all rows of x equal, where that is known."""
    node = sweep.made.get(x)
    if node is None:
        return None
    if node.op == "full" and not node.inputs:
        return sweep.emit(node.definition, (), {**node.attrs, "shape": x.shape[1:]}, like)
    if node.op == "broadcast_to":
        inner = node.inputs[0]
        if len(inner.shape) == len(x.shape):
            if not (type(inner.shape[0]) is int and inner.shape[0] == 1):
                return None
            inner = sweep.emit(REGISTRY["reshape"], (inner,), {"shape": inner.shape[1:]}, like)
        return sweep.emit(node.definition, (inner,), {"shape": x.shape[1:]}, like)
    if node.op == "while":  # an earlier loop stacked its constant: the residual of a gradient
        layout: Layout = node.attrs["layout"]
        body: Graph = node.attrs["body"]
        place = next(k for k, y in enumerate(node.outputs) if y is x)
        for k in range(layout.carry, layout.carry + layout.consts):
            if place >= layout.carry and body.inputs[k] is body.outputs[place]:
                return node.inputs[int(layout.counted) + k]
    return None


def _constants_inside(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    """Constants that a loop is given are made in its body and test: there they fold and cost nothing."""
    layout: Layout = node.attrs["layout"]
    _, _, consts, _ = layout.parts(node.inputs)
    known = {layout.carry + k: made for k, s in enumerate(consts) if (made := _constant_node(sweep, s)) is not None}
    if not known:
        return None
    sweep.counts["constant inside"] += len(known)
    attrs = dict(node.attrs)
    for key in ("body", "test"):
        if attrs[key] is not None:
            attrs[key] = _with_constants(sweep, attrs[key], known)
    attrs["layout"] = Layout(layout.counted, layout.carry, layout.consts - len(known), layout.xs)
    first = int(layout.counted)
    inputs = [s for k, s in enumerate(node.inputs) if k - first not in known]
    return sweep.emit_all(node.definition, inputs, attrs, node)


def _constant_node(sweep: Sweep, symbol: Symbol) -> Node | None:
    node = sweep.made.get(symbol)
    return node if node is not None and node.op in ("constant", "full") and not node.inputs else None


def _with_constants(sweep: Sweep, graph: Graph, known: dict[int, Node]) -> Graph:
    inputs = tuple([s for k, s in enumerate(graph.inputs) if k not in known])
    inner = Sweep(Graph(graph.name, inputs, graph.nodes, graph.outputs, graph.state), sweep.rules)
    for k, node in known.items():
        inner.symbols[graph.inputs[k]] = inner.emit(node.definition, (), node.attrs, node)
    return inner.run()


loops = Step(_loops, frozenset(("cond", "while")))
