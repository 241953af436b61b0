"""Run a graph node by node in the current mode: eagerly as the compiler's oracle, under a tracer to copy a graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from treadle.core.dim import Dim, Size, evaluate, is_static
from treadle.core.graph import Graph, Node
from treadle.core.mode import activate
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol, Tensor
from treadle.core.tracer import Tracer, active_tracer
from treadle.core.variable import _EVALUATE, read_variable
from treadle.errors import GraphError, ShapeError, at


def interpret(graph: Graph, inputs: Sequence[Tensor], sizes: Mapping[str, Size] | None = None) -> list[Tensor]:
    """The graph's outputs for these inputs, each node done by its op in the current mode.

    `sizes` gives symbolic sizes; by default they are read off the inputs' shapes.
    """
    if len(inputs) != len(graph.inputs):
        raise GraphError(f"graph {graph.name} takes {len(graph.inputs)} inputs, got {len(inputs)}")
    bound: dict[str, Size] = dict(bind_sizes(graph, [x.shape for x in inputs]) if sizes is None else sizes)
    values: dict[Symbol, Tensor] = dict(zip(graph.inputs, inputs, strict=True))
    replay(graph.nodes, values, bound)
    return [values[s] for s in graph.outputs]


def replay(nodes: Iterable[Node], values: dict[Symbol, Tensor], sizes: dict[str, Size]) -> None:
    """Do nodes in the current mode; `values` gives what they use, and gets what they make.

    Lengths of stacks get new names where nodes are traced again, so that two runs of a loop never share one.
    """
    tracer = active_tracer()
    kept = tracer.origin if tracer is not None else None
    try:
        for node in nodes:
            if tracer is not None:
                tracer.origin = node.location
            if "steps" in node.attrs:
                _renew(node.attrs["steps"], sizes, tracer is not None)
            with nullcontext() if tracer is not None else at(node.location):
                outputs = apply(node, tuple([values[s] for s in node.inputs]), sizes)
            for symbol, value in zip(node.outputs, outputs, strict=True):
                values[symbol] = value
                if node.definition.family == "graph" or "steps" in node.attrs:
                    _learn(symbol.shape, value.shape, sizes)
    finally:
        if tracer is not None:
            tracer.origin = kept


def _renew(steps: Any, sizes: dict[str, Size], traced: bool) -> None:
    name = steps.open if isinstance(steps, Dim) else None
    if name is None:
        return
    if traced:
        sizes.setdefault(name, Dim.fresh(name.partition("#")[0]))  # what it counts shows in its name
    else:
        sizes.pop(name, None)  # found anew by running


def _learn(shape: tuple[Any, ...], got: tuple[Any, ...], sizes: dict[str, Size]) -> None:
    """The length that a stack has this time."""
    for size, value in zip(shape, got, strict=True):
        if isinstance(size, Dim) and size is not value and (name := size.open) is not None:
            sizes[name] = value


def apply(node: Node, inputs: tuple[Tensor, ...], sizes: Mapping[str, Size]) -> tuple[Tensor, ...]:
    """One node's op on these inputs, with symbolic sizes in its attributes filled in."""
    return node.definition.bind(inputs, bind_attrs(node, sizes))


def bind_attrs(node: Node, sizes: Mapping[str, Size]) -> dict[str, Any]:
    """The node's attributes with symbolic sizes filled in, those inside held graphs too."""
    if not sizes:
        return dict(node.attrs)
    return {
        key: concretize(value, sizes) if isinstance(value, Graph) else _bind_value(value, sizes)
        for key, value in node.attrs.items()
    }


def _bind_value(value: Any, sizes: Mapping[str, Size]) -> Any:
    if isinstance(value, Spec):
        return Spec(evaluate(value.shape, sizes), value.dtype, value.weak)
    return evaluate(value, sizes)


def bind_sizes(graph: Graph, shapes: Sequence[tuple[Any, ...]]) -> dict[str, int]:
    """The symbolic sizes of a graph, read off the shapes of its inputs. Raises ShapeError when two disagree."""
    sizes: dict[str, int] = {}
    for symbol, shape in zip(graph.inputs, shapes, strict=True):
        if is_static(symbol.shape):
            continue
        for want, got in zip(symbol.shape, shape, strict=True):
            if isinstance(want, int):
                continue
            names = want.names()
            if len(names) == 1 and want.terms == {(next(iter(names)),): 1}:
                name = next(iter(names))
                if sizes.setdefault(name, got) != got:
                    raise ShapeError(
                        f"the size {want} of {symbol.name} is {got} here and {sizes[name]} in another argument; "
                        "one name stands for one size"
                    )
    return sizes


def concretize(graph: Graph, sizes: Mapping[str, Size]) -> Graph:
    """The same graph with symbolic sizes filled in; the graph itself when it has none of these names."""
    if not sizes:
        return graph
    wanted = {name: size for name in names_in(graph) if (size := sizes.get(name)) is not None}
    if not wanted:
        return graph
    if any(isinstance(size, Dim) and size.open for size in wanted.values()):
        return copy_graph(graph, wanted)  # nobody will ask for these again
    key = ("concrete", tuple(sorted(wanted.items(), key=lambda item: item[0])))
    found = graph.derived.get(key)
    if found is None:
        found = graph.derived[key] = copy_graph(graph, wanted)
    return found


_NO_NAMES: frozenset[str] = frozenset()


def names_in(graph: Graph) -> frozenset[str]:
    """The names of symbolic sizes anywhere in a graph."""
    found = graph.derived.get("names")
    if found is None:
        names: set[str] = set()
        _collect(tuple(s.shape for s in graph.inputs), names)
        for node in graph.walk():
            _collect(tuple(node.attrs.values()), names)
            _collect(tuple(s.shape for s in node.outputs), names)
        found = graph.derived["names"] = frozenset(names) if names else _NO_NAMES
    return found


def _collect(value: Any, names: set[str]) -> None:
    if isinstance(value, Spec):
        value = value.shape
    if isinstance(value, Dim):
        names |= value.names()
    elif type(value) is tuple:
        for item in value:
            _collect(item, names)


def copy_graph(graph: Graph, sizes: Mapping[str, Size]) -> Graph:
    """Trace the graph anew with sizes filled in."""
    tracer = Tracer(graph.name)
    inputs = [tracer.input(Spec(evaluate(s.shape, sizes), s.dtype, s.spec.weak), s.name) for s in graph.inputs]
    with activate(tracer):
        outputs = interpret(graph, inputs, sizes)
        made = tracer.finish(outputs).graph
    return Graph(made.name, made.inputs, made.nodes, made.outputs, graph.state)


def _evaluate_symbol(symbol: Symbol) -> Tensor | None:
    """The value of a symbol that no argument of its trace reaches; variables are read as they are now."""
    tracer = active_tracer()
    if tracer is None:
        return None
    variables = {entry.initial: entry.variable for entry in tracer.state.values()}
    captured = {inner: outer for outer, inner in tracer.captures.values()}
    values: dict[Symbol, Tensor] = {}

    def value(s: Symbol) -> Tensor | None:
        if s in values:
            return values[s]
        if s.node is None:
            if s in variables:
                with activate(None):
                    values[s] = read_variable(variables[s])
                return values[s]
            outer = captured.get(s)
            return outer if outer is not None and not isinstance(outer, Symbol) else None
        inputs = [value(x) for x in s.node.inputs]
        if any(x is None for x in inputs):
            return None
        with activate(None):
            outputs = s.node.definition.run([x for x in inputs if x is not None], s.node.attrs)
        values.update(zip(s.node.outputs, outputs, strict=True))
        return values[s]

    return value(symbol)


_EVALUATE.append(_evaluate_symbol)
