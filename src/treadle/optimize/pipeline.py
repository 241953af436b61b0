"""The passes in order, and `optimize`, which runs them."""

from __future__ import annotations

from collections.abc import Callable

from treadle.core.graph import Graph
from treadle.errors import GraphError
from treadle.optimize.accumulate import accumulate, worth
from treadle.optimize.algebra import algebra
from treadle.optimize.branches import branches
from treadle.optimize.broadcasts import broadcasts
from treadle.optimize.convolutions import convolutions
from treadle.optimize.fold import fold
from treadle.optimize.forward import forward
from treadle.optimize.hoist import hoist
from treadle.optimize.inline import inline
from treadle.optimize.joins import cuts, joins
from treadle.optimize.lookups import lookups
from treadle.optimize.loops import loops
from treadle.optimize.merge import merge
from treadle.optimize.products import dots, products
from treadle.optimize.prune import prune
from treadle.optimize.stacks import stacks
from treadle.optimize.stepped import gathered, stepped
from treadle.optimize.sums import sums
from treadle.optimize.sweep import Counts, Run, Step, Steps, holds_graphs
from treadle.optimize.updates import updates
from treadle.optimize.upright import upright

Pass = Callable[[Graph, Counts], Graph]


def sweep(*steps: Step, settles: bool = False) -> Pass:
    """A pass made of steps: each node, in order, is offered to them one by one.

    settles: graphs that this pass has seen before hold nodes that it need not look at again.
    """
    made = Steps(steps, settles)
    return lambda graph, counts: Run(made, counts).graph(graph)


def where(ops: frozenset[str], *runs: Pass) -> Pass:
    """Passes for graphs with a node of these ops, at whatever depth; straight code has nothing for most."""

    def run(graph: Graph, counts: Counts) -> Graph:
        if _has(graph, ops):
            for one in runs:
                graph = one(graph, counts)
        return graph

    return run


def _has(graph: Graph, ops: frozenset[str]) -> bool:
    """Whether a node here, or in a graph inside, is of one of these ops."""
    for node in graph.nodes:
        if holds_graphs(node) and (node.op in ops or any(_has(inner, ops) for _, inner in node.graphs())):
            return True
    return False


CALLS, CONTROL, LOOPS = frozenset(("call", "custom_gradient")), frozenset(("cond", "while")), frozenset(("while",))
_simplify = sweep(
    fold,
    forward,
    products,
    dots,
    branches,
    loops,
    broadcasts,
    sums,
    stacks,
    joins,
    cuts,
    lookups,
    algebra,
    merge,
    settles=True,
)


def _upright(graph: Graph, counts: Counts) -> Graph:
    made = upright(graph, counts)
    return made if made is graph else prune(_simplify(made, counts), counts)


_accumulated = sweep(accumulate)


def _added(graph: Graph, counts: Counts) -> Graph:
    """Sums of products made in place, where there are any."""
    made = convolutions(graph, counts)
    if worth(made):
        made = _accumulated(made, counts)
    return made if made is graph else prune(made, counts)


PASSES: tuple[tuple[str, Pass], ...] = (
    ("inline", where(CALLS, sweep(inline))),
    ("prune", prune),
    ("simplify", _simplify),
    ("prune again", prune),
    ("upright", _upright),
    ("hoist", where(LOOPS, sweep(hoist, stepped, gathered, updates))),
    ("simplify again", where(CONTROL, _simplify)),
    ("prune last", where(CONTROL, prune)),
    ("products", _added),
)


def optimize(graph: Graph, verify: bool = False) -> Graph:
    """An equal graph that does less: same inputs, outputs and state in the same order. Made once a graph.

    verify: check the rules of graphs, and the specs of the outputs, after each pass. Raises GraphError naming the pass.
    """
    found: Graph | None = graph.derived.get("optimized")
    if found is not None and not verify:
        return found
    counts = Counts()
    result = graph
    for name, run in PASSES:
        result = run(result, counts)
        if verify:
            _check(graph, result, name)
    _note_inner(result)
    graph.derived["optimized"] = result
    result.derived["rewrites"] = dict(counts)
    return result


def _note_inner(graph: Graph) -> None:
    """A graph, and the graphs inside it, are what they are optimized to."""
    graph.derived["optimized"] = graph
    for node in graph.nodes:
        if holds_graphs(node):
            for _, inner in node.graphs():
                _note_inner(inner)


def rewrites(graph: Graph) -> dict[str, int]:
    """How often each rule was applied when the graph was optimized."""
    return dict(optimize(graph).derived.get("rewrites", {}))


def _check(before: Graph, after: Graph, name: str) -> None:
    try:
        after.verify()
    except GraphError as error:
        raise GraphError(f"after the pass {name!r}: {error}") from error
    specs = [[(s.shape, s.dtype) for s in g.outputs] for g in (before, after)]
    if specs[0] != specs[1]:
        raise GraphError(f"after the pass {name!r}, graph {before.name} gives {specs[1]} instead of {specs[0]}")
    if before.inputs != after.inputs or before.state != after.state:
        raise GraphError(f"the pass {name!r} changed the inputs or the state of graph {before.name}")
