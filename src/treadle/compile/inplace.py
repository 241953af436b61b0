"""Which variables a program may update in place: the new value is written over the old one, element by element.

Allowed when the old value is read by nothing later, and nothing later can fail: then a call that fails has changed
nothing, and nobody sees a half-written value. A graph that calls Python functions updates nothing in place, since they
may keep what they read of a variable.
"""

from __future__ import annotations

from treadle.compile import blas
from treadle.compile.fuse import Fuser, Group, Item, makes, reads
from treadle.core.graph import Graph
from treadle.core.tensor import Symbol


def plan(graph: Graph, stateful: bool = True) -> tuple[dict[int, int], list[Item]]:
    """Output position -> input position, for variables that are updated in place; and the work in the order for that.

    stateful: whether the program is run with its variables; otherwise it updates nothing.
    """
    fuser = Fuser(graph)
    pairs = _candidates(graph) if stateful else {}
    roots = _roots(graph)
    # The order of the work depends on which groups come late, so what fits must fit in the order that it leads to.
    while True:
        items = fuser.ordered(frozenset(graph.outputs[k] for k in pairs))
        if not pairs:
            return pairs, items
        fitting = _fitting(graph, pairs, items, roots)
        if len(fitting) == len(pairs):
            return pairs, items
        pairs = fitting


def _candidates(graph: Graph) -> dict[int, int]:
    """Variables whose new value is shown by nothing else, and whose old value does not come out."""
    if not graph.state or any(node.op == "py_function" for node in graph.walk()):
        return {}
    roots = _roots(graph)
    # Symbols compare element by element, as tensors do: only sets and dicts may be asked for them.
    counts: dict[Symbol, int] = {}
    shown: set[Symbol] = set()  # values that an output is, or is a view of
    for symbol in graph.outputs:
        counts[symbol] = counts.get(symbol, 0) + 1
        shown.add(roots.get(symbol, symbol))
    pairs: dict[int, int] = {}
    for slot in graph.state:
        if slot.output is not None:
            new, old = graph.outputs[slot.output], graph.inputs[slot.input]
            if counts[new] == 1 and old not in shown:
                pairs[slot.output] = slot.input
    return pairs


def _roots(graph: Graph) -> dict[Symbol, Symbol]:
    """View -> the value that it shows."""
    root: dict[Symbol, Symbol] = {}
    for node in graph.nodes:
        if node.definition.family == "view":
            root[node.outputs[0]] = root.get(node.inputs[0], node.inputs[0])
    return root


def _fitting(graph: Graph, pairs: dict[int, int], items: list[Item], roots: dict[Symbol, Symbol]) -> dict[int, int]:
    """Those of the pairs that may be updated in place when the work is done in this order."""
    place = {s: k for k, item in enumerate(items) for s in makes(item)}
    last: dict[Symbol, int] = {}  # where a value, or a view of it, is read for the last time
    for k, item in enumerate(items):
        for symbol in reads(item):
            last[roots.get(symbol, symbol)] = k
    failing = max((k for k, item in enumerate(items) if _can_fail(item)), default=-1)
    fitting = {}
    for output, source in pairs.items():
        new, old = graph.outputs[output], graph.inputs[source]
        at = place.get(new)
        if at is None or at < failing or at < last.get(old, -1):
            continue
        if (
            new.spec.static
            and (new.shape, new.dtype) == (old.shape, old.dtype)
            and _overwrites(items[at], new, old, roots)
        ):
            fitting[output] = source
    return fitting


def _overwrites(item: Item, new: Symbol, old: Symbol, roots: dict[Symbol, Symbol]) -> bool:
    """Whether an item is a kernel that reads each element of the old value before it writes that of the new one."""
    if not isinstance(item, Group) or item.shape != new.shape or new in item.ends:
        return False
    return not any(roots.get(s) is old for s in item.read)  # a view may be read out of step with the writes


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
