"""Which variables a program may update in place: the new value is written over the old one, element by element.

Allowed when the old value is read by nothing later, and nothing later can fail: then a call that fails has changed
nothing, and nobody sees a half-written value. A graph that calls Python functions updates nothing in place, since they
may keep what they read of a variable.
"""

from __future__ import annotations

from treadle.compile import blas
from treadle.compile.fuse import Group, Item, fuse, makes
from treadle.core.graph import Graph, Node
from treadle.core.tensor import Symbol


def plan(graph: Graph) -> dict[int, int]:
    """Output position -> input position, for variables that are updated in place."""
    pairs: dict[int, int] = {}
    if not graph.state or any(node.op == "py_function" for node in graph.walk()):
        return pairs
    roots = _roots(graph)
    # Symbols compare element by element, as tensors do: only sets and dicts may be asked for them.
    counts: dict[Symbol, int] = {}
    shown: set[Symbol] = set()  # values that an output is, or is a view of
    for symbol in graph.outputs:
        counts[symbol] = counts.get(symbol, 0) + 1
        shown.add(roots.get(symbol, symbol))
    for slot in graph.state:
        if slot.output is None:
            continue
        new, old = graph.outputs[slot.output], graph.inputs[slot.input]
        if counts[new] == 1 and old not in shown:
            pairs[slot.output] = slot.input
    # The order of the work depends on which groups come late, so what fits must fit in the order that it leads to.
    while pairs:
        items = fuse(graph, frozenset(graph.outputs[k] for k in pairs))
        fitting = {
            output: source
            for output, source in pairs.items()
            if _fits(items, graph.outputs[output], graph.inputs[source], roots)
        }
        if len(fitting) == len(pairs):
            break
        pairs = fitting
    return pairs


def _roots(graph: Graph) -> dict[Symbol, Symbol]:
    """View -> the value that it shows."""
    root: dict[Symbol, Symbol] = {}
    for node in graph.nodes:
        if node.definition.family == "view":
            root[node.outputs[0]] = root.get(node.inputs[0], node.inputs[0])
    return root


def _fits(items: list[Item], new: Symbol, old: Symbol, roots: dict[Symbol, Symbol]) -> bool:
    if new.spec != old.spec or not new.spec.static:
        return False
    place = next((k for k, item in enumerate(items) if new in makes(item)), None)
    if place is None:
        return False
    group = items[place]
    if not isinstance(group, Group) or group.shape != new.shape:
        return False
    if new.node is None or new.node.definition.family == "reduction":
        return False
    if any(roots.get(s) is old for node in group.nodes for s in node.inputs):
        return False  # a view of the old value may be read out of step with the writes
    if any(s is old or roots.get(s) is old for item in items[place + 1 :] for s in _reads(item)):
        return False
    return not any(_can_fail(item) for item in items[place + 1 :])


def _reads(item: Item) -> list[Symbol]:
    nodes: list[Node] = item.nodes if isinstance(item, Group) else [item.node]
    return [s for node in nodes for s in node.inputs]


def _can_fail(item: Item) -> bool:
    """Whether a step may raise or be interrupted: everything but kernels, BLAS, views and constants."""
    if isinstance(item, Group):
        return False
    node = item.node
    if node.definition.family == "view" or node.op in ("constant", "full"):
        return not all(s.spec.static and s.dtype.kind != "T" for s in (*node.inputs, *node.outputs))
    if node.op == "matmul" and node.outputs[0].dtype.kind == "f":
        return not (blas.available() and all(len(s.shape) == 2 for s in node.inputs))
    return True
