"""Which variables a program, and which carried values a loop, may update in place: the new value over the old one.

Allowed when the old value is read by nothing later, and nothing later can fail: then a call that fails has changed
nothing, and nobody sees a half-written value. A graph that calls Python functions updates nothing in place, since they
may keep what they read of a variable. A loop's carried values are its own, so there only reads matter. A branch hands
a value on in its own memory when both its ways leave it alone or update it in place; a loop inside does so by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from treadle.compile.fusion.fuse import Fuser
from treadle.compile.fusion.items import Group, Item, makes, reads
from treadle.compile.ways import never_fails, updates_in_place
from treadle.core.graph import Graph, Node
from treadle.core.tensor import Symbol
from treadle.records import dataclass, replace


@dataclass(frozen=True, slots=True)
class Plan:
    """What is updated in place.

    pairs: output -> input whose memory it takes over; between: value -> output in whose memory it lies, too.
    work: what to do, in the order that this holds for.
    """

    pairs: dict[int, int]
    between: dict[Symbol, int]
    work: list[Item]


def plan(graph: Graph, stateful: bool = True, donated: Sequence[int] = ()) -> Plan:
    """Which variables a program updates in place, and which results it makes over inputs that its caller gives up.

    stateful: whether the program is run with its variables; otherwise it updates none.
    donated: positions of such inputs; each is offered to the first result of its shape and dtype.
    """
    pairs: dict[int, int] = {}
    for position in donated:
        old = graph.inputs[position]
        for k, new in enumerate(graph.outputs):
            if k not in pairs and (new.shape, new.dtype) == (old.shape, old.dtype):
                pairs[k] = position
                break
    if stateful and graph.state and not any(node.op == "py_function" for node in graph.walk()):
        pairs |= {slot.output: slot.input for slot in graph.state if slot.output is not None}
    return _settled(graph, pairs, careful=True)


def carried(body: Graph, count: int) -> Plan:
    """The same for the body of a loop whose first `count` inputs are carried to its first outputs."""
    return _settled(body, {k: k for k in range(count)}, careful=False)


def branch(graph: Graph, pairs: dict[int, int], careful: bool) -> Plan:
    """Those of the pairs (output -> input) that one way of a branch leaves alone or updates in place."""
    roots = _roots(graph)
    shown = [roots.get(s, s) for s in graph.outputs]
    same = {k: p for k, p in pairs.items() if graph.outputs[k] is graph.inputs[p]}
    alone = {k: p for k, p in same.items() if sum(s is graph.inputs[p] for s in shown) == 1}
    settled = _settled(graph, {k: p for k, p in pairs.items() if k not in same}, careful)
    return replace(settled, pairs={**alone, **settled.pairs})


Chain = tuple[Symbol, ...]  # an old value, what is made of it one by one in its memory, and the new one


def _settled(graph: Graph, pairs: dict[int, int], careful: bool) -> Plan:
    """Those of the pairs that may be updated in place, and the work in the order that this holds for.

    careful: nothing may fail once an input has been overwritten.
    """
    fuser = Fuser(graph)
    roots = _roots(graph)
    pairs = _candidates(graph, pairs, roots)
    makers = {s: item for item in fuser.items if isinstance(item, Group) for s in item.made}
    chains = {k: _chain(graph.outputs[k], graph.inputs[p], makers) for k, p in pairs.items()}
    # The order of the work depends on which groups come late, so what fits must fit in the order that it leads to.
    while True:
        late = frozenset(s for chain in chains.values() for s in chain[1:])
        items = fuser.ordered(late)
        fitting = _fitting(graph, chains, items, roots, careful) if chains else chains
        if {k: len(chain) for k, chain in fitting.items()} == {k: len(chain) for k, chain in chains.items()}:
            between = {s: k for k, chain in chains.items() for s in chain[1:-1]}
            return Plan({k: pairs[k] for k in chains}, between, items)
        chains = fitting


def _chain(new: Symbol, old: Symbol, makers: dict[Symbol, Group]) -> Chain:
    """The old value, what updates make of it on the way to the new one, and that; the two where other work does."""
    found = [new]
    while (before := _before(found[-1])) is not None:
        if before is old:
            return (old, *reversed(found))
        found.append(before)
    first = makers.get(found[-1])  # a kernel may come first
    return (old, *reversed(found)) if first is not None and any(s is old for s in first.read) else (old, new)


def _before(new: Symbol) -> Symbol | None:
    """The value whose memory `new` can take over by an update, a branch that leaves it alone, or a loop."""
    node = new.node
    if node is None or updates_in_place(node):
        return None if node is None else node.inputs[0]
    if node.op == "cond":
        k = _position(new, node.outputs)
        for _, graph in node.graphs():
            inner: Symbol | None = graph.outputs[k]
            while inner is not None and inner.node is not None:
                inner = _before(inner)
            if inner is not None:
                return node.inputs[1 + _position(inner, graph.inputs)]
    if node.op == "while":
        layout, k = node.attrs["layout"], _position(new, node.outputs)
        return node.inputs[int(layout.counted) + k] if k < layout.carry else None
    return None


def _position(symbol: Symbol, among: Sequence[Symbol]) -> int:
    return next(k for k, other in enumerate(among) if other is symbol)


def _handed_on(node: Node, wanted: dict[int, int], careful: bool) -> dict[int, int]:
    """Those of the pairs (output -> input of the node) that a branch or loop may make over the input."""
    if node.op == "while":
        layout = node.attrs["layout"]
        return {k: p for k, p in wanted.items() if k < layout.carry and p == int(layout.counted) + k}
    pairs = {k: p - 1 for k, p in wanted.items() if p > 0}
    while True:
        before = len(pairs)
        for _, graph in node.graphs():
            pairs = branch(graph, pairs, careful).pairs
        if len(pairs) == before:
            return {k: p + 1 for k, p in pairs.items()}


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
    graph: Graph, chains: dict[int, Chain], items: list[Item], roots: dict[Symbol, Symbol], careful: bool
) -> dict[int, Chain]:
    """Those of the chains that may be made in place when the work is done in this order; long ones perhaps as short."""
    place = {s: k for k, item in enumerate(items) for s in makes(item)}
    last: dict[Symbol, int] = {}  # where a value, or a view of it, is read for the last time
    for k, item in enumerate(items):
        for symbol in reads(item):
            last[roots.get(symbol, symbol)] = k
    failing = max((k for k, item in enumerate(items) if _can_fail(item)), default=-1) if careful else -1
    handed = _all_handed_on([link for chain in chains.values() for link in itertools.pairwise(chain)], careful)
    shown = {roots.get(s, s) for s in graph.outputs}

    def fits(a: Symbol, b: Symbol) -> bool:
        at, read = place.get(b), last.get(a, -1)
        if at is None or at < read or (careful and at <= failing):
            return False
        item = items[at]
        if overwrites(item, b, a, roots) or _updates(item, a, b, roots, handed):
            return True
        return read < at and (_is_full(item) if careful else not _is_view(item))

    fitting: dict[int, Chain] = {}
    for k, chain in chains.items():
        if not any(s in shown for s in chain[1:-1]) and all(itertools.starmap(fits, itertools.pairwise(chain))):
            fitting[k] = chain
        elif len(chain) > 2:
            fitting[k] = (chain[0], chain[-1])  # looked at anew: its neighbours may have to give way
    return fitting


def _is_view(item: Item) -> bool:
    return not isinstance(item, Group) and item.node.definition.family == "view"


def _is_full(item: Item) -> bool:
    return not isinstance(item, Group) and item.node.op == "full" and not _can_fail(item)


def overwrites(item: Item, new: Symbol, old: Symbol, roots: Mapping[Symbol, Symbol]) -> bool:
    """Whether an item is a kernel that reads each element of the old value before it writes that of the new one."""
    if not isinstance(item, Group) or item.shape != new.shape or new in item.ends or item.scatter or item.scan:
        return False
    if any(roots.get(s, s) is old for v in item.virtual.values() for s in v.read):
        return False
    return not any(roots.get(s) is old for s in item.read)  # a view may be read out of step with the writes


def _all_handed_on(links: list[tuple[Symbol, Symbol]], careful: bool) -> set[Symbol]:
    """The new values of these (old, new) that a branch or a loop makes over the old ones."""
    wanted: dict[int, tuple[Node, dict[int, int]]] = {}
    for old, new in links:
        node = new.node
        if node is not None and node.op in ("cond", "while") and sum(s is old for s in node.inputs) == 1:
            pairs = wanted.setdefault(id(node), (node, {}))[1]
            pairs[_position(new, node.outputs)] = _position(old, node.inputs)
    return {node.outputs[k] for node, pairs in wanted.values() for k in _handed_on(node, pairs, careful)}


def _updates(item: Item, old: Symbol, new: Symbol, roots: dict[Symbol, Symbol], handed: set[Symbol]) -> bool:
    """Whether an item writes a few elements over the old value, or hands it on, and reads nothing else of it."""
    if isinstance(item, Group):
        return item.scatter is not None and _scatters_into(item, item.scatter, old, roots)
    if not (new in handed or updates_in_place(item.node)):
        return False
    if new not in handed and item.node.inputs[0] is not old:
        return False
    return sum(roots.get(s, s) is old for s in item.node.inputs) == 1


def _scatters_into(item: Group, scatter: Node, old: Symbol, roots: dict[Symbol, Symbol]) -> bool:
    """Whether a scatter that computes its updates changes the old value, and they are made of nothing else of it."""
    worked = [s for node in item.nodes for s in node.inputs]
    looked_up = [s for v in item.virtual.values() for s in v.read]
    read = (*(item.read - {old}), *scatter.inputs[1:], *worked, *looked_up)
    return updates_in_place(scatter) and scatter.inputs[0] is old and not any(roots.get(s, s) is old for s in read)


def _can_fail(item: Item) -> bool:
    """Whether a step may raise or be interrupted: everything but kernels without checks, BLAS, views and constants."""
    if isinstance(item, Group):
        return item.checks
    node = item.node
    if node.op == "cond":
        return any(_any_can_fail(graph) for _, graph in node.graphs())
    if node.definition.family == "view" or node.op in ("constant", "full"):
        return not all(s.spec.static and s.dtype.kind != "T" for s in (*node.inputs, *node.outputs))
    return not never_fails(node)


def _any_can_fail(graph: Graph) -> bool:
    """Whether any step of a way of a branch may."""
    known: bool | None = graph.derived.get("can fail")
    if known is None:
        plain = all(s.spec.static and s.dtype.kind != "T" for s in (*graph.inputs, *graph.outputs))
        known = graph.derived["can fail"] = not plain or any(map(_can_fail, Fuser(graph).ordered(frozenset())))
    return known
