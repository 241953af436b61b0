"""`call`: run a graph. A function inside a tape or inside another function is one such op."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from treadle.core.dim import Dim, evaluate
from treadle.core.graph import Graph
from treadle.core.interpret import bind_sizes, interpret
from treadle.core.mode import activate
from treadle.core.op import Attrs, Grad, Op, Pullback, register
from treadle.core.spec import Spec
from treadle.core.tensor import Tensor

Array = np.ndarray[Any, Any]

# The compiler puts its runner here; without one, graphs are interpreted node by node.
RUNNER: list[Callable[[Graph, Sequence[Array]], Sequence[Array]]] = []
# Set while a graph is interpreted: graphs that its nodes hold are then interpreted too.
_plain: ContextVar[bool] = ContextVar("treadle_interpreting", default=False)


@contextlib.contextmanager
def _interpreting() -> Iterator[None]:
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def runs_programs() -> bool:
    """Whether graphs are run by their compiled programs."""
    return bool(RUNNER) and not _plain.get()


def run_graph(graph: Graph, arrays: Sequence[Array]) -> list[Array]:
    """The outputs of a graph for these arrays: by its compiled program where there is a compiler, else interpreted."""
    if runs_programs():
        return list(RUNNER[0](graph, arrays))
    return interpret_arrays(graph, arrays)


def interpret_arrays(graph: Graph, arrays: Sequence[Array]) -> list[Array]:
    """The outputs of a graph, node by node with NumPy: the compiler's oracle."""
    with activate(None), np.errstate(all="ignore"), _interpreting():
        return [x.array for x in interpret(graph, [Tensor(a) for a in arrays])]


def zeros_like_spec(spec: Spec) -> Tensor:
    """Zeros of a spec, as an op."""
    from treadle.ops.creation import zeros  # the catalogue is built on core alone; control only needs zeros of it

    return zeros(spec.shape, dtype=spec.dtype)


def zeros_like(x: Tensor) -> Tensor:
    """Zeros of a tensor's shape, which may be that of a stack whose length only running tells."""
    if any(isinstance(size, Dim) and any("#" in name for name in size.names()) for size in x.shape):
        return zeros_op.bind((x,), {})[0]
    return zeros_like_spec(x.spec)


zeros_op = register(
    Op(
        "zeros_of",
        lambda x: np.zeros_like(x),
        lambda specs, attrs: (Spec(specs[0].shape, specs[0].dtype),),
        family="host",
    )
)


def _infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    graph: Graph = attrs["graph"]
    sizes = {**bind_sizes(graph, [s.shape for s in specs]), **dict(attrs.get("open", ()))}
    return tuple(Spec(evaluate(s.shape, sizes), s.dtype) for s in graph.outputs)


def _open_names(graph: Graph) -> tuple[str, ...]:
    """The lengths of stacks among a graph's outputs."""
    found = graph.derived.get("open")
    if found is None:
        sizes = [size for s in graph.outputs for size in s.shape if isinstance(size, Dim)]
        known = {name for s in graph.inputs for size in s.shape if isinstance(size, Dim) for name in size.names()}
        found = {name: None for size in sizes if (name := size.open) is not None and name not in known}
        found = graph.derived["open"] = tuple(found)
    return found


class CallOp(Op):
    """inputs -> outputs of attrs["graph"]; attrs["open"] names the lengths of stacks that this call gives."""

    __slots__ = ()

    @property
    def differentiable(self) -> bool:
        return True

    def bind(self, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> tuple[Tensor, ...]:
        """Run the graph in the current mode; each call has its own stacks, of its own lengths."""
        names = _open_names(attrs["graph"])
        if names or "open" in attrs:
            attrs = {key: value for key, value in attrs.items() if key != "open"}
            if names:
                attrs["open"] = tuple([(name, Dim.fresh(name.partition("#")[0])) for name in names])
        return super().bind(inputs, attrs)

    def record(
        self, inputs: tuple[Tensor, ...], attrs: dict[str, Any], needed: Sequence[bool]
    ) -> tuple[tuple[Tensor, ...], Pullback]:
        from treadle.autodiff.split import split  # autodiff runs ops, and this op, so it is imported late

        graph: Graph = attrs["graph"]
        parts = split(graph, tuple(needed))
        if not parts.gradients:
            return self.bind(inputs, attrs), lambda grads: [None] * len(inputs)
        both = self.bind(inputs, {**attrs, "graph": parts.forward})
        count = len(graph.outputs)
        outputs, residuals = both[:count], both[count:]

        def pullback(grads: Sequence[Grad]) -> Sequence[Grad]:
            seeds = [g if (g := grads[k]) is not None else zeros_like(outputs[k]) for k in parts.cotangents]
            made = self.bind((*seeds, *residuals), {**attrs, "graph": parts.backward})
            found: list[Grad] = [None] * len(inputs)
            for k, g in zip(parts.gradients, made, strict=True):
                found[k] = g
            return found

        return outputs, pullback

    def push(
        self, inputs: tuple[Tensor, ...], attrs: dict[str, Any], tangents: Sequence[Grad]
    ) -> tuple[tuple[Tensor, ...], Sequence[Grad]]:
        """Forward mode: one call gives outputs and tangents."""
        from treadle.autodiff.forward import jvp_graph

        graph: Graph = attrs["graph"]
        both, active = jvp_graph(graph, tuple(t is not None for t in tangents))
        made = self.bind((*inputs, *(t for t in tangents if t is not None)), {**attrs, "graph": both})
        count = len(graph.outputs)
        found: list[Grad] = [None] * count
        for k, t in zip(active, made[count:], strict=True):
            found[k] = t
        return made[:count], found


def _body(*arrays: Array, graph: Graph, label: str | None = None, open: Any = ()) -> list[Array]:
    return run_graph(graph, arrays)


call_op = register(CallOp("call", _body, _infer, family="graph", multiple=True))


def call(graph: Graph, inputs: Sequence[Tensor], label: str | None = None) -> tuple[Tensor, ...]:
    """Run a graph in the current mode, as one op; `label` names the node."""
    attrs: dict[str, Any] = {"graph": graph}
    if label:
        attrs["label"] = label
    return call_op.bind(tuple(inputs), attrs)
