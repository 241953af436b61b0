"""Products of a loop's stepped values: all steps at once, as one product before the loop, or behind it.

`x_t @ W` in a recurrent network's cell is a small product at each step, though it waits for nothing that the loop
makes: `X @ W` for all times together is one large one. Only where each row is used for certain, so not where a test
may end the loop early. In the gradient, a sum of products over all steps, `dW += x_t.T @ g_t`, is one product of what
the steps have made, behind the loop. The sums are those of the single products, taken in another order by BLAS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from treadle.control.loop import Layout
from treadle.core.graph import Graph, Node
from treadle.core.op import REGISTRY
from treadle.core.tensor import Symbol
from treadle.optimize.hoist import with_inputs
from treadle.optimize.sweep import Step, Sweep

LARGEST = 1 << 25  # bytes of the factors of all steps up to which they are kept for one product


def _stepped(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    """The loop with its products of stepped values as further stepped values."""
    layout: Layout = node.attrs["layout"]
    body: Graph = node.attrs["body"]
    steps = node.attrs["steps"]
    if not layout.xs or node.attrs["test"] is not None or layout.counted or not isinstance(steps, int) or steps < 2:
        return None
    start = layout.carry + layout.consts
    rows = {s: k for k, s in enumerate(body.inputs[start:], start)}
    fixed = {s: k for k, s in enumerate(body.inputs[layout.carry : start], layout.carry)}
    moving = [item for item in body.nodes if _moves(item, rows, fixed)]
    if not moving:
        return None
    sweep.counts["products of all steps"] += len(moving)
    made: list[Symbol] = []
    for item in moving:
        x, w = node.inputs[rows[item.inputs[0]]], _outside(sweep, node, item.inputs[1], fixed)
        made.append(_all_at_once(sweep, item, x, w))
    gone = set(moving)
    attrs = dict(node.attrs)
    attrs["layout"] = Layout(False, layout.carry, layout.consts, layout.xs + len(made))
    kept = [item for item in body.nodes if item not in gone]
    attrs["body"] = with_inputs(sweep, body, [item.outputs[0] for item in moving], len(body.inputs), kept)
    return sweep.emit_all(node.definition, [*node.inputs, *made], attrs, node)


def _moves(item: Node, rows: dict[Symbol, int], fixed: dict[Symbol, int]) -> bool:
    """Whether a node is a product of a stepped matrix with one that no step changes."""
    if item.op != "matmul" or item.attrs["transpose_a"] or item.inputs[0] not in rows:
        return False
    x, w = item.inputs
    if len(x.shape) != 2 or len(w.shape) != 2 or not (x.spec.static and w.spec.static):
        return False
    return w in fixed or (w.node is not None and w.node.op == "constant")


def _outside(sweep: Sweep, node: Node, w: Symbol, fixed: dict[Symbol, int]) -> Symbol:
    """The unchanging factor, as the loop's surroundings know it."""
    if w in fixed:
        return node.inputs[fixed[w]]
    assert w.node is not None
    return sweep.emit(w.node.definition, (), w.node.attrs, w.node)


def _all_at_once(sweep: Sweep, item: Node, x: Symbol, w: Symbol) -> Symbol:
    """One product for all steps, cut into steps again."""
    steps, count, inner = x.shape
    reshape = REGISTRY["reshape"]
    tall = sweep.emit(reshape, (x,), {"shape": (math.prod((steps, count)), inner)}, item)
    product = sweep.emit(item.definition, (tall, w), item.attrs, item)
    return sweep.emit(reshape, (product,), {"shape": (steps, count, product.shape[1])}, item)


def _gathered(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    """The loop without the sums of products that it carries: their factors are stacked, and multiplied behind it."""
    layout: Layout = node.attrs["layout"]
    body: Graph = node.attrs["body"]
    steps = node.attrs["steps"]
    if node.attrs["test"] is not None or layout.counted or not isinstance(steps, int) or steps < 2:
        return None
    terms = _terms(body, layout, steps)
    if not terms:
        return None
    sweep.counts["sums of products behind the loop"] += len(terms)
    ends = [*body.outputs[layout.carry :]]
    places = {s: k for k, s in reversed(list(enumerate(ends)))}
    start = layout.carry + layout.consts
    rows = {s: node.inputs[k] for k, s in enumerate(body.inputs) if k >= start}
    for term in terms.values():
        for s in term.inputs:
            if s not in rows and s not in places:
                places[s] = len(ends)
                ends.append(s)
    going = [k for k in range(layout.carry) if k not in terms]
    gone = set(terms.values()) | {n for k in terms if (n := body.outputs[k].node) is not None}
    inputs = [k for k in range(len(body.inputs)) if k not in terms]
    rest = [n for n in body.nodes if n not in gone]
    outputs = (*(body.outputs[k] for k in going), *ends)
    lighter = Graph(body.name, tuple([body.inputs[k] for k in inputs]), tuple(rest), outputs, body.state)
    attrs = {**node.attrs, "layout": Layout(False, len(going), layout.consts, layout.xs)}
    attrs["body"] = Sweep(lighter, sweep.rules).run()
    made = sweep.emit_all(node.definition, [node.inputs[k] for k in inputs], attrs, node)
    stacks = {s: rows[s] if s in rows else made[len(going) + k] for s, k in [*places.items(), *((s, -1) for s in rows)]}
    carried = dict(zip(going, made, strict=False))
    for k, term in terms.items():
        factors = [_tall(sweep, stacks[s], term) for s in term.inputs]
        total = sweep.emit(term.definition, factors, term.attrs, term)
        carried[k] = sweep.emit(REGISTRY["add"], (node.inputs[k], total), {}, term)
    return [
        *(carried[k] for k in range(layout.carry)),
        *made[len(going) : len(going) + len(body.outputs) - layout.carry],
    ]


def _terms(body: Graph, layout: Layout, steps: int) -> dict[int, Node]:
    """Which carried values do nothing but add up `a.T @ b`, or the rows of such a b; and the node of what is added."""
    uses: dict[Symbol, int] = {}
    for s in [*(s for item in body.nodes for s in item.inputs), *body.outputs]:
        uses[s] = uses.get(s, 0) + 1
    fixed = set(body.inputs[layout.carry : layout.carry + layout.consts])
    products: dict[int, Node] = {}
    sums: dict[int, Node] = {}
    for k, (old, new) in enumerate(zip(body.inputs[: layout.carry], body.outputs, strict=False)):
        end = new.node
        if end is None or end.op != "add" or new.dtype.kind != "f" or uses[new] != 1 or uses.get(old, 0) != 1:
            continue
        others = [s for s in end.inputs if s is not old]
        if len(others) != 1 or others[0].node is None or uses[others[0]] != 1 or others[0].spec != new.spec:
            continue
        term = others[0].node
        if any(len(s.shape) != 2 or not s.spec.static or s in fixed or _constant(s) for s in term.inputs):
            continue
        if term.op == "matmul" and term.attrs["transpose_a"] and not term.attrs["transpose_b"]:
            products[k] = term
        elif term.op == "sum" and tuple(term.attrs["axes"]) == (0,) and not term.attrs["keepdims"]:
            sums[k] = term
    factors = {s for term in products.values() for s in term.inputs}
    if steps * sum(s.spec.nbytes for s in factors) > LARGEST:
        return {}
    return {**products, **{k: term for k, term in sums.items() if term.inputs[0] in factors}}


def _constant(s: Symbol) -> bool:
    return s.node is not None and not s.node.inputs


def _tall(sweep: Sweep, stack: Symbol, like: Node) -> Symbol:
    """The rows of all steps below each other."""
    steps, count, width = stack.shape
    return sweep.emit(REGISTRY["reshape"], (stack,), {"shape": (math.prod((steps, count)), width)}, like)


stepped = Step(_stepped, frozenset(("while",)))
gathered = Step(_gathered, frozenset(("while",)))
