"""`split`: a graph becomes a forward graph that also gives residuals, and a backward graph that takes them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from treadle.autodiff.open_lengths import keep_lengths
from treadle.autodiff.tape import Tape
from treadle.core.dim import Dim, Size
from treadle.core.dtypes import is_float
from treadle.core.graph import Graph, Node, quiet_node
from treadle.core.interpret import interpret, replay
from treadle.core.mode import activate
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol, Tensor
from treadle.core.tracer import Traced, Tracer
from treadle.records import dataclass


@dataclass(frozen=True, slots=True)
class Split:
    """The gradient of a graph as two graphs.

    forward:    the graph's inputs -> its outputs, then residuals.
    backward:   cotangents of the outputs at `cotangents`, then residuals -> gradients of the inputs at `gradients`.
    """

    forward: Graph
    backward: Graph
    cotangents: tuple[int, ...]
    gradients: tuple[int, ...]

    @property
    def residuals(self) -> int:
        """How many residuals there are."""
        return len(self.backward.inputs) - len(self.cotangents)


def split(graph: Graph, needed: tuple[bool, ...], bounded: bool = False, free: int = 0) -> Split:
    """Forward and backward of a graph, for gradients of the inputs that `needed` marks; made once a graph and mask.

    bounded: no residual has a length that only running tells, as a loop's stack has: the loop runs again in the
    backward graph instead. Loops and branches ask for it, whose residuals must be alike each time; as theirs are
    stacked, those that elementwise work can make from others are made again too. The inputs from `free` on cost
    nothing to keep: the backward graph has them anyway.
    """
    key = ("split", needed, bounded, free)
    found = graph.derived.get(key)
    if found is None:
        found = graph.derived[key] = _split(graph, needed, bounded, free)
    return found


def _split(graph: Graph, needed: tuple[bool, ...], bounded: bool, free: int) -> Split:
    forward = Tracer(f"{graph.name}_forward")
    inputs = [forward.input(Spec(s.shape, s.dtype), s.name) for s in graph.inputs]
    tape = Tape(watch_variables=False)
    tape.outer = forward
    for x, wanted in zip(inputs, needed, strict=True):
        if wanted and is_float(x.dtype):
            tape.watch(x)
    with activate(tape):
        results = interpret(graph, inputs, {})
    outputs = [forward.lift(y) for y in results]
    reached = tuple(k for k, y in enumerate(outputs) if id(y) in tape.watched)
    backward = Tracer(f"{graph.name}_backward", forward.scope)
    with activate(backward):
        seeds = [backward.input(Spec(outputs[k].shape, outputs[k].dtype), f"d_{outputs[k].name}") for k in reached]
        grads = tape.backward([outputs[k] for k in reached], seeds, [[x] for x in inputs])
    grads = [g if wanted else None for g, wanted in zip(grads, needed, strict=True)]
    made = tuple(k for k, g in enumerate(grads) if g is not None)
    with activate(backward):
        keep_lengths(forward, backward)
        back = backward.finish([g for g in grads if g is not None])
    if bounded:
        unstable = _open_residuals(forward, back.captures)
        if unstable:
            back = _again(forward, back, len(seeds), unstable)
        kept, views = _behind_views([x for x in back.captures if isinstance(x, Symbol)])
        # What a step of a loop leaves is what the next one finds: where that is kept, so is this.
        at_hand = {y for x, y in zip(inputs[:free], outputs, strict=False) if x in kept}
        cheap = _cheap_residuals(kept, at_hand | set(inputs[free:]), _exact(forward.nodes)) | views
        if cheap:
            back = _again(forward, back, len(seeds), cheap)
    with activate(forward):
        front = forward.finish([*outputs, *back.captures])
    return Split(front.graph, back.graph, reached, made)


def _made_open(x: Tensor) -> bool:
    """Whether a node makes this value, and its shape holds a length that only running tells."""
    return isinstance(x, Symbol) and x.node is not None and _is_open(x)


def _is_open(x: Tensor) -> bool:
    return any(isinstance(size, Dim) and any("#" in name for name in size.names()) for size in x.shape)


def _open_residuals(forward: Tracer, residuals: Sequence[Tensor]) -> set[Symbol]:
    """Residuals whose length only running tells, and what of that kind they are made from."""
    found = {x for x in residuals if isinstance(x, Symbol) and _made_open(x)}
    for node in reversed(forward.nodes):
        if any(s in found for s in node.outputs):
            found.update(s for s in node.inputs if _made_open(s))
    return found


def _behind_views(residuals: Sequence[Symbol]) -> tuple[set[Symbol], set[Symbol]]:
    """The residuals, with what a view is made from in its place where that is no larger; and the views."""
    kept: set[Symbol] = set()
    views: set[Symbol] = set()
    for x in residuals:
        chain = [x]
        while (node := chain[-1].node) is not None and node.definition.family == "view":
            chain.append(node.inputs[0])
        if _nbytes(chain[-1]) <= _nbytes(x):
            views.update(chain[:-1])
        kept.add(chain[-1] if _nbytes(chain[-1]) <= _nbytes(x) else x)
    return kept, views


def _exact(nodes: Sequence[Node]) -> set[Symbol]:
    """What must not be made again, as another kernel may round otherwise: which branch ran is decided by comparisons,
    and the gradient of a maximum looks for the elements that equal it."""
    found: set[Symbol] = set()
    for node in nodes:
        if node.op in ("max", "min"):
            found.update(node.inputs)
        elif node.definition.family == "graph":
            found.update(s for s in node.inputs if s.dtype.kind == "b")
    return found


def _cheap_residuals(kept: set[Symbol], free: set[Symbol], exact: set[Symbol]) -> set[Symbol]:
    """Residuals that elementwise work makes from others, with all that stands between; they need not be kept.

    Either those that can be made from the residuals that stay and what is free, or all that can be made at all where
    what they are made from is smaller.
    """
    made = {x for x in kept - free - exact if _is_cheap(x)}
    if not made:
        return set()
    stay = kept - made
    roots, everything = _trace_back(made, stay | free | exact)
    if sum(map(_nbytes, (roots | stay) - free)) < sum(map(_nbytes, kept - free)):
        return everything
    found: set[Symbol] = set()
    for x in made:
        roots, between = _trace_back({x}, (kept - {x}) | free | exact)
        if roots <= kept | free:
            found |= between
    return found


def _trace_back(made: set[Symbol], stops: set[Symbol]) -> tuple[set[Symbol], set[Symbol]]:
    """What elementwise work makes some symbols from, and the symbols between, themselves included."""
    roots: set[Symbol] = set()
    between: set[Symbol] = set()
    left = list(made)
    while left:
        x = left.pop()
        if x in between or x in roots:
            continue
        if x in stops or not _is_cheap(x) or x.node is None:
            roots.add(x)
            continue
        between.add(x)
        left += x.node.inputs
    return roots, between


# What costs less to compute again than to store and to load: no functions such as exp, which cost more.
_CHEAP = frozenset(
    {
        *("abs", "add", "astype", "bitwise_and", "bitwise_invert", "bitwise_or", "bitwise_xor", "divide"),
        *("equal", "greater", "greater_equal", "isfinite", "isinf", "isnan", "less", "less_equal"),
        *("logical_and", "logical_not", "logical_or", "logical_xor", "maximum", "minimum", "multiply"),
        *("negative", "not_equal", "positive", "sign", "square", "subtract", "where"),
    }
)


def _is_cheap(x: Symbol) -> bool:
    """Whether a fused kernel can make it as it goes, at next to no cost."""
    return x.node is not None and (x.node.definition.family in ("view", "creation") or x.node.op in _CHEAP)


def _nbytes(x: Symbol) -> int:
    """The size of a value; symbolic sizes count as 64."""
    return math.prod(size if isinstance(size, int) else 64 for size in x.shape) * int(x.dtype.itemsize)


def _again(forward: Tracer, back: Traced, count: int, made: set[Symbol]) -> Traced:
    """The backward graph with the nodes that make some residuals before it, so that it takes only the others."""
    nodes: list[Node] = [node for node in forward.nodes if any(s in made for s in node.outputs)]
    tracer = Tracer(back.graph.name, forward.scope)
    seeds = [tracer.input(s.spec, s.name) for s in back.graph.inputs[:count]]
    with activate(tracer):
        values: dict[Symbol, Tensor] = {s: s for node in nodes for s in node.inputs}
        sizes: dict[str, Size] = {}  # lengths that the nodes made again have under new names
        replay([quiet_node(node) for node in nodes], values, sizes)
        residuals = [values.get(x, x) if isinstance(x, Symbol) else x for x in back.captures]
        return tracer.finish(interpret(back.graph, [*seeds, *residuals], sizes))
