"""`split`: a graph becomes a forward graph that also gives residuals, and a backward graph that takes them."""

from __future__ import annotations

from dataclasses import dataclass

from treadle.autodiff.tape import Tape
from treadle.core.dtypes import is_float
from treadle.core.graph import Graph
from treadle.core.interpret import interpret
from treadle.core.mode import activate
from treadle.core.spec import Spec
from treadle.core.tracer import Tracer


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


def split(graph: Graph, needed: tuple[bool, ...]) -> Split:
    """Forward and backward of a graph, for gradients of the inputs that `needed` marks; made once a graph and mask."""
    key = ("split", needed)
    found = graph.derived.get(key)
    if found is None:
        found = graph.derived[key] = _split(graph, needed)
    return found  # type: ignore[no-any-return]


def _split(graph: Graph, needed: tuple[bool, ...]) -> Split:
    forward = Tracer(f"{graph.name}_forward")
    inputs = [forward.input(Spec(s.shape, s.dtype), s.name) for s in graph.inputs]
    tape = Tape(watch_variables=False)
    tape.outer = forward
    for x, wanted in zip(inputs, needed, strict=True):
        if wanted and is_float(x.dtype):
            tape.watch(x)
    with activate(tape):
        outputs = interpret(graph, inputs, {})
    outputs = [forward.lift(y) for y in outputs]
    reached = tuple(k for k, y in enumerate(outputs) if id(y) in tape.watched)
    backward = Tracer(f"{graph.name}_backward", forward.scope)
    with activate(backward):
        seeds = [backward.input(Spec(outputs[k].shape, outputs[k].dtype), f"d_{outputs[k].name}") for k in reached]
        grads = tape.backward([outputs[k] for k in reached], seeds, [[x] for x in inputs])
    grads = [g if wanted else None for g, wanted in zip(grads, needed, strict=True)]
    made = tuple(k for k, g in enumerate(grads) if g is not None)
    with activate(backward):
        back = backward.finish([g for g in grads if g is not None])
    with activate(forward):
        front = forward.finish([*outputs, *back.captures])
    return Split(front.graph, back.graph, reached, made)
