"""Pruning: nodes that no output and no effect needs go; so do outputs, operands and carried values of conds and loops.

An unused pure node is dropped even where it would have raised. Effects stay, in order.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from treadle.control.loop import Layout
from treadle.core.graph import HOLDING, Graph, Node, build
from treadle.core.tensor import Scope, Symbol
from treadle.optimize.open_lengths import Lengths
from treadle.optimize.sweep import Counts, has_effect, holds_graphs
from treadle.records import dataclass


@dataclass(frozen=True, slots=True)
class _Kept:
    """A node that stays: what is left of its inputs (old symbols), attributes and outputs (positions; None: all)."""

    node: Node
    inputs: tuple[Symbol, ...]
    attrs: Mapping[str, Any]
    outputs: tuple[int, ...] | None


def prune(graph: Graph, counts: Counts) -> Graph:
    """The graph without what nothing needs; its inputs and outputs stay as they are."""
    if not any(map(holds_graphs, graph.nodes)):
        return _prune_straight(graph, counts)
    live = set(graph.outputs)
    kept: list[Node | _Kept] = []
    lengths = Lengths(graph)
    for node in reversed(graph.nodes):
        outputs = node.outputs
        if len(outputs) == 1 and not lengths.any:
            if node.definition.family not in HOLDING:  # most nodes, by far
                if outputs[0] in live or node.definition.effect:
                    kept.append(node)
                    live.update(node.inputs)
                else:
                    counts["prune"] += 1
                continue
            used = [0] if outputs[0] in live else []
        else:
            used = [k for k, s in enumerate(outputs) if s in live] or lengths.given(node)
            lengths.ask(node, used)
        if not used and not has_effect(node):
            counts["prune"] += 1
        elif holds_graphs(node):
            item = _reduce(node, used, counts)
            kept.append(item)
            live.update(item.inputs)
        else:
            kept.append(node)
            live.update(node.inputs)
    kept.reverse()
    return _rebuild(graph, kept)


def _prune_straight(graph: Graph, counts: Counts) -> Graph:
    """The same where no node holds graphs or has an effect: what stays, stays as it is."""
    lengths = Lengths(graph)
    live = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        outputs = node.outputs
        if len(outputs) == 1 and not lengths.any:
            stays = outputs[0] in live
        else:
            used = [k for k, s in enumerate(outputs) if s in live] or lengths.given(node)
            lengths.ask(node, used)
            stays = bool(used)
        if stays or node.definition.effect:
            kept.append(node)
            live.update(node.inputs)
        else:
            counts["prune"] += 1
    if len(kept) == len(graph.nodes):
        return graph
    kept.reverse()
    return Graph(graph.name, graph.inputs, tuple(kept), graph.outputs, graph.state)


def _reduce(node: Node, used: list[int], counts: Counts) -> _Kept:
    if node.op == "cond":
        return _cond(node, used, counts)
    if node.op == "while":
        return _loop(node, used, counts)
    changed = {key: new for key, inner in node.graphs() if (new := prune(inner, counts)) is not inner}
    return _Kept(node, node.inputs, {**node.attrs, **changed} if changed else node.attrs, None)


def _rebuild(graph: Graph, kept: Sequence[Node | _Kept]) -> Graph:
    reduced = [item for item in kept if item.__class__ is _Kept]
    whole = all(item.attrs is item.node.attrs for item in reduced)
    if len(kept) == len(graph.nodes) and whole:
        return graph
    scope = Scope(graph.name, None)
    symbols: dict[Symbol, Symbol] = {}
    nodes = []
    for item in kept:
        if isinstance(item, Node):
            if not symbols or symbols.keys().isdisjoint(item.inputs):
                nodes.append(item)
                continue
            item = _Kept(item, item.inputs, item.attrs, None)
        node = item.node
        inputs = tuple([symbols.get(s, s) for s in item.inputs])
        if item.attrs is not node.attrs or not all(map(operator.is_, inputs, node.inputs)):
            old = node.outputs if item.outputs is None else [node.outputs[k] for k in item.outputs]
            made = build(node.definition, inputs, item.attrs, [s.spec for s in old], node.name, node.location, scope)
            symbols.update(zip(old, made.outputs, strict=True))
            node = made
        nodes.append(node)
    return Graph(graph.name, graph.inputs, tuple(nodes), tuple([symbols.get(s, s) for s in graph.outputs]), graph.state)


def needed_inputs(graph: Graph, outputs: Sequence[int]) -> set[int]:
    """Which inputs these outputs, and the effects, depend on; by the same rules as `prune`."""
    live = {graph.outputs[k] for k in outputs}
    lengths = Lengths(graph)
    for node in reversed(graph.nodes):
        used = [k for k, s in enumerate(node.outputs) if s in live] or (lengths.given(node) if lengths.any else [])
        if used or has_effect(node):
            lengths.ask(node, used)
            live.update(node.inputs)
    return lengths.inputs(graph, live)


def select(graph: Graph, inputs: Sequence[int], outputs: Sequence[int], counts: Counts) -> Graph:
    """The graph with some of its inputs and outputs, pruned."""
    ins, outs = tuple([graph.inputs[k] for k in inputs]), tuple([graph.outputs[k] for k in outputs])
    return prune(Graph(graph.name, ins, graph.nodes, outs, graph.state), counts)


def _cond(node: Node, used: list[int], counts: Counts) -> _Kept:
    graphs: list[Graph] = [node.attrs["true"], node.attrs["false"]]
    everything = range(len(graphs[0].inputs))
    pruned = [
        prune(g, counts) if len(used) == len(node.outputs) else select(g, everything, used, counts) for g in graphs
    ]
    operands = sorted(set().union(*(needed_inputs(g, range(len(used))) for g in pruned)))
    if len(used) == len(node.outputs) and len(operands) == len(everything):
        if all(a is b for a, b in zip(pruned, graphs, strict=True)):
            return _Kept(node, node.inputs, node.attrs, None)
    else:
        counts["prune cond"] += 1
    pruned = [select(g, operands, range(len(used)), counts) for g in pruned]
    inputs = (node.inputs[0], *(node.inputs[k + 1] for k in operands))
    return _Kept(node, inputs, {**node.attrs, "true": pruned[0], "false": pruned[1]}, tuple(used))


def _loop(node: Node, used: list[int], counts: Counts) -> _Kept:
    """Carried values that reach nothing but themselves go, with the consts, xs and ys that only they needed."""
    layout: Layout = node.attrs["layout"]
    body, test = prune(node.attrs["body"], counts), node.attrs["test"]
    a, b = layout.carry, layout.carry + layout.consts
    ys = [k for k in used if k >= a]
    tested = needed_inputs(test, list(range(len(test.outputs)))) if test is not None else set()
    carry = {k for k in used if k < a} | {k for k in tested if k < a}
    while True:  # a carried value is needed as soon as the next one of a needed value depends on it
        reached = needed_inputs(body, [*sorted(carry), *ys])
        more = {k for k in reached if k < a} | carry
        if more == carry:
            break
        carry = more
    wanted = reached | tested | carry
    if not layout.counted and not isinstance(node.attrs["steps"], int) and layout.xs:
        wanted.add(b)  # the trip count is read off the first x
    inputs = sorted(wanted)
    outputs = [*sorted(carry), *ys]
    if len(inputs) == len(body.inputs) and len(outputs) == len(body.outputs):
        if body is node.attrs["body"] and (test is None or prune(test, counts) is test):
            return _Kept(node, node.inputs, node.attrs, None)
    else:
        counts["prune loop"] += 1
    new_layout = Layout(layout.counted, len(carry), sum(a <= k < b for k in inputs), sum(k >= b for k in inputs))
    attrs = dict(node.attrs)
    attrs["body"] = select(body, inputs, outputs, counts)
    if test is not None:
        attrs["test"] = select(test, [k for k in inputs if k < b], list(range(len(test.outputs))), counts)
    attrs["layout"] = new_layout
    first = int(layout.counted)
    return _Kept(node, (*node.inputs[:first], *(node.inputs[first + k] for k in inputs)), attrs, tuple(outputs))
