"""The passes in order, and `optimize`, which runs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from treadle.core.graph import Graph
from treadle.errors import GraphError
from treadle.optimize.algebra import algebra
from treadle.optimize.branches import branches
from treadle.optimize.broadcasts import broadcasts
from treadle.optimize.fold import fold
from treadle.optimize.forward import forward
from treadle.optimize.hoist import hoist
from treadle.optimize.inline import inline
from treadle.optimize.loops import loops
from treadle.optimize.merge import merge
from treadle.optimize.products import products
from treadle.optimize.prune import prune
from treadle.optimize.stepped import gathered, stepped
from treadle.optimize.sums import sums
from treadle.optimize.sweep import Counts, Run, Step, holds_graphs

Pass = Callable[[Graph, Counts], Graph]


def sweep(*steps: Step) -> Pass:
    """A pass made of steps: each node, in order, is offered to them one by one."""
    return lambda graph, counts: Run(steps, counts).graph(graph)


def controlled(run: Pass) -> Pass:
    """A pass that only graphs with calls, conds or loops need: straight code has nothing left after one."""
    return lambda graph, counts: run(graph, counts) if any(map(holds_graphs, graph.nodes)) else graph


SIMPLIFY = (fold, forward, products, branches, loops, broadcasts, sums, algebra, merge)

PASSES: tuple[tuple[str, Pass], ...] = (
    ("inline", controlled(sweep(inline))),
    ("prune", prune),
    ("simplify", sweep(*SIMPLIFY)),
    ("prune again", prune),
    ("hoist", controlled(sweep(hoist, stepped, gathered, merge))),
    ("simplify again", controlled(sweep(*SIMPLIFY))),
    ("prune last", controlled(prune)),
)


def optimize(graph: Graph, verify: bool = False) -> Graph:
    """An equal graph that does less: same inputs, outputs and state in the same order. Made once a graph.

    verify: check the rules of graphs, and the specs of the outputs, after each pass. Raises GraphError naming the pass.
    """
    found: Graph | None = graph.derived.get("optimized")
    if found is not None and not verify:
        return found
    counts: Counts = Counter()
    result = graph
    for name, run in PASSES:
        result = run(result, counts)
        if verify:
            _check(graph, result, name)
    for node in result.walk():
        for _, inner in node.graphs():
            inner.derived["optimized"] = inner
    graph.derived["optimized"] = result.derived["optimized"] = result
    result.derived["rewrites"] = dict(counts)
    return result


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
