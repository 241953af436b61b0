"""`split`: a graph becomes a forward graph that also gives residuals, and a backward graph that takes them."""

from __future__ import annotations

from dataclasses import dataclass

from treadle.autodiff.open_lengths import keep_lengths
from treadle.autodiff.tape import Tape
from treadle.core.dim import Dim
from treadle.core.dtypes import is_float
from treadle.core.graph import Graph, Node, quiet_node
from treadle.core.interpret import interpret, replay
from treadle.core.mode import activate
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol, Tensor
from treadle.core.tracer import Traced, Tracer


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


def split(graph: Graph, needed: tuple[bool, ...], bounded: bool = False) -> Split:
    """Forward and backward of a graph, for gradients of the inputs that `needed` marks; made once a graph and mask.

    bounded: no residual has a length that only running tells, as a loop's stack has: the loop runs again in the
    backward graph instead. Loops and branches ask for it, whose residuals must be alike each time.
    """
    key = ("split", needed, bounded)
    found = graph.derived.get(key)
    if found is None:
        found = graph.derived[key] = _split(graph, needed, bounded)
    return found


def _split(graph: Graph, needed: tuple[bool, ...], bounded: bool) -> Split:
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
    if bounded and any(_made_open(x) for x in back.captures):
        back = _again(forward, back, len(seeds))
    with activate(forward):
        front = forward.finish([*outputs, *back.captures])
    return Split(front.graph, back.graph, reached, made)


def _made_open(x: Tensor) -> bool:
    """Whether a node makes this value, and its shape holds a length that only running tells."""
    return isinstance(x, Symbol) and x.node is not None and _is_open(x)


def _is_open(x: Tensor) -> bool:
    return any(isinstance(size, Dim) and size.open for size in x.shape)


def _again(forward: Tracer, back: Traced, count: int) -> Traced:
    """The backward graph with what makes its open residuals before it, so that it takes only closed ones."""
    wanted = {x for x in back.captures if _made_open(x)}
    nodes: list[Node] = []
    for node in reversed(forward.nodes):
        if any(s in wanted for s in node.outputs):
            nodes.append(node)
            wanted.update(s for s in node.inputs if _made_open(s))
    tracer = Tracer(back.graph.name, forward.scope)
    seeds = [tracer.input(s.spec, s.name) for s in back.graph.inputs[:count]]
    with activate(tracer):
        values: dict[Symbol, Tensor] = {s: s for node in nodes for s in node.inputs}
        replay([quiet_node(node) for node in reversed(nodes)], values, {})
        residuals = [values.get(x, x) if isinstance(x, Symbol) else x for x in back.captures]
        return tracer.finish(interpret(back.graph, [*seeds, *residuals], {}))
