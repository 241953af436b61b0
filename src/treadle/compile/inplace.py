"""Which variables a program, and which carried values a loop, may update in place: the new value over the old one.

Allowed when the old value is read by nothing later, and nothing later can fail: then a call that fails has changed
nothing, and nobody sees a half-written value. A graph that calls Python functions updates nothing in place, since they
may keep what they read of a variable. A loop's carried values are its own, so there only reads matter.
"""

from __future__ import annotations

import itertools

from treadle.compile.fusion.fuse import Fuser, Group, Item, makes, reads
from treadle.compile.ways import never_fails, updates_in_place
from treadle.core.graph import Graph
from treadle.core.tensor import Symbol


def plan(graph: Graph, stateful: bool = True) -> tuple[dict[int, int], list[Item]]:
    """Output position -> input position, for variables that are updated in place; and the work in the order for that.

    stateful: whether the program is run with its variables; otherwise it updates nothing.
    """
    pairs: dict[int, int] = {}
    if stateful and graph.state and not any(node.op == "py_function" for node in graph.walk()):
        pairs = {slot.output: slot.input for slot in graph.state if slot.output is not None}
    return _settled(graph, pairs, careful=True)


def carried(body: Graph, count: int) -> tuple[dict[int, int], list[Item]]:
    """The same for the body of a loop whose first `count` inputs are carried to its first outputs."""
    return _settled(body, {k: k for k in range(count)}, careful=False)


def _settled(graph: Graph, pairs: dict[int, int], careful: bool) -> tuple[dict[int, int], list[Item]]:
    """Those of the pairs that may be updated in place, and the work in the order that this holds for.

    careful: nothing may fail once an input has been overwritten.
    """
    fuser = Fuser(graph)
    roots = _roots(graph)
    pairs = _candidates(graph, pairs, roots)
    between = {} if careful else {k: _between(graph.outputs[k], graph.inputs[pairs[k]]) for k in pairs}
    # The order of the work depends on which groups come late, so what fits must fit in the order that it leads to.
    while True:
        late = frozenset(s for k in pairs for s in (graph.outputs[k], *between.get(k, ())))
        items = fuser.ordered(late)
        fitting = _fitting(graph, pairs, items, roots, careful, between) if pairs else pairs
        if len(fitting) == len(pairs):
            return pairs, items
        pairs = fitting


def updated(body: Graph, pairs: dict[int, int]) -> dict[Symbol, int]:
    """Values between the old and the new one of these outputs, which lie where these do: value -> output."""
    return {s: k for k in pairs for s in _between(body.outputs[k], body.inputs[pairs[k]])}


def _between(new: Symbol, old: Symbol) -> tuple[Symbol, ...]:
    """What updates make of the old value on the way to the new one, the last first; nothing where other work does."""
    found: list[Symbol] = []
    while (node := new.node) is not None and updates_in_place(node):
        new = node.inputs[0]
        if new is old:
            return tuple(found)
        found.append(new)
    return ()


def _candidates(graph: Graph, pairs: dict[int, int], roots: dict[Symbol, Symbol]) -> dict[int, int]:
    """The pairs whose new value is only one output, and whose old value does not come out."""
    # Symbols compare element by element, as tensors do: only sets and dicts may be asked for them.
    counts: dict[Symbol, int] = {}
    shown: set[Symbol] = set()  # values that an output is, or is a view of
    for symbol in graph.outputs:
        counts[symbol] = counts.get(symbol, 0) + 1
        shown.add(roots.get(symbol, symbol))
    found: dict[int, int] = {}
    for output, source in pairs.items():
        new, old = graph.outputs[output], graph.inputs[source]
        fits = new.spec.static and (new.shape, new.dtype) == (old.shape, old.dtype)
        if fits and counts[new] == 1 and old not in shown:
            found[output] = source
    return found


def _roots(graph: Graph) -> dict[Symbol, Symbol]:
    """View -> the value that it shows."""
    root: dict[Symbol, Symbol] = {}
    for node in graph.nodes:
        if node.definition.family == "view":
            root[node.outputs[0]] = root.get(node.inputs[0], node.inputs[0])
    return root


def _fitting(
    graph: Graph,
    pairs: dict[int, int],
    items: list[Item],
    roots: dict[Symbol, Symbol],
    careful: bool,
    between: dict[int, tuple[Symbol, ...]],
) -> dict[int, int]:
    """Those of the pairs that may be updated in place when the work is done in this order."""
    place = {s: k for k, item in enumerate(items) for s in makes(item)}
    last: dict[Symbol, int] = {}  # where a value, or a view of it, is read for the last time
    for k, item in enumerate(items):
        for symbol in reads(item):
            last[roots.get(symbol, symbol)] = k
    failing = max((k for k, item in enumerate(items) if _can_fail(item)), default=-1) if careful else -1
    fitting = {}
    for output, source in pairs.items():
        new, old = graph.outputs[output], graph.inputs[source]
        at, read = place.get(new), last.get(old, -1)
        if at is None or at < failing or at < read:
            continue
        if between.get(output):
            chain = [old, *reversed(between[output]), new]
            steps = [(a, items[place[b]], place[b]) for a, b in itertools.pairwise(chain)]
            alone = not any(roots.get(s, s) is a for s in graph.outputs for a in chain[:-1])
            if alone and all(last.get(a) == k and _updates(item, a, roots) for a, item, k in steps):
                fitting[output] = source
            continue
        item = items[at]
        if careful and _can_fail(item):
            continue
        fits = _overwrites(item, new, old, roots) or (not careful and read < at and not _is_view(item))
        if fits or _updates(item, old, roots):
            fitting[output] = source
    return fitting


def _is_view(item: Item) -> bool:
    return not isinstance(item, Group) and item.node.definition.family == "view"


def _overwrites(item: Item, new: Symbol, old: Symbol, roots: dict[Symbol, Symbol]) -> bool:
    """Whether an item is a kernel that reads each element of the old value before it writes that of the new one."""
    if not isinstance(item, Group) or item.shape != new.shape or new in item.ends:
        return False
    if any(roots.get(s, s) is old for v in item.virtual.values() for s in (*v.node.inputs, *v.sources)):
        return False
    return not any(roots.get(s) is old for s in item.read)  # a view may be read out of step with the writes


def _updates(item: Item, old: Symbol, roots: dict[Symbol, Symbol]) -> bool:
    """Whether an item writes a few elements over the old value, and reads nothing else of it."""
    if isinstance(item, Group) or not updates_in_place(item.node):
        return False
    first, *others = item.node.inputs
    return first is old and not any(roots.get(s, s) is old for s in others)


def _can_fail(item: Item) -> bool:
    """Whether a step may raise or be interrupted: everything but kernels without checks, BLAS, views and constants."""
    if isinstance(item, Group):
        return item.checks
    node = item.node
    if node.definition.family == "view" or node.op in ("constant", "full"):
        return not all(s.spec.static and s.dtype.kind != "T" for s in (*node.inputs, *node.outputs))
    return not never_fails(node)
