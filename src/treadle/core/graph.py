"""`Graph`: a traced program: inputs, nodes in program order, outputs. Immutable; prints as Python and as DOT."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle.core.dtypes import dtype_name
from treadle.core.spec import Spec
from treadle.core.tensor import Scope, Symbol
from treadle.errors import GraphError, Location
from treadle.records import dataclass, field

if TYPE_CHECKING:
    from treadle.core.op import Op
    from treadle.core.variable import Variable


class Const:
    """A small constant held by a node: an array that hashes and compares by dtype, shape and bytes."""

    __slots__ = ("_key", "array")

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array
        data: object = tuple(array.ravel().tolist()) if array.dtype.kind == "T" else array.tobytes()
        self._key = (array.dtype, array.shape, data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Const) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        if self.array.size > 8:
            return f"<{dtype_name(self.array.dtype)}{list(self.array.shape)}>"
        return repr(self.array.tolist())


_PARTS = frozenset(("inputs", "nodes", "outputs"))

# The families of ops that may hold graphs among their attributes.
HOLDING = frozenset(("graph", "effect"))


class Node:
    """One op applied to symbols.

    op:         the op's name: "add", "cond", "while", ...; `definition` is its declaration.
    attrs:      what else the op was given: axes, dtypes, graphs.
    location:   the user's line; `name` is unique in its graph.
    """

    # Plain attributes, not properties: every pass asks each node for them several times.
    __slots__ = ("attrs", "definition", "inputs", "location", "name", "op", "outputs")

    def __init__(
        self, op: Op, inputs: tuple[Symbol, ...], attrs: Mapping[str, Any], name: str, location: Location | None
    ) -> None:
        self.op = op.name
        self.definition = op
        self.inputs = inputs
        self.attrs = attrs
        self.name = name
        self.location = location
        self.outputs: tuple[Symbol, ...] = ()

    def graphs(self) -> Iterator[tuple[str, Graph]]:
        """The graphs that this node holds, with the attribute each stands under."""
        for key, value in self.attrs.items():
            if isinstance(value, Graph):
                yield key, value

    @property
    def effect(self) -> bool:
        """Whether it must run, in program order: its op has an effect, or a node of a graph that it holds."""
        op = self.definition
        if op.effect:
            return True
        return op.family in HOLDING and any(graph.effect for _, graph in self.graphs())

    def __repr__(self) -> str:
        return f"<node {self.name}: {self.op}>"


@dataclass(frozen=True, slots=True)
class StateSlot:
    """A variable that a graph touches: which input holds its value before, which output its value after (or None)."""

    variable: weakref.ref[Variable]
    name: str
    input: int
    output: int | None


@dataclass(frozen=True, eq=False)
class Graph:
    """A pure function of its inputs: the state it touches goes in as inputs and comes out as outputs.

    inputs:  symbols: arguments, then captured tensors, then variables' values.
    outputs: symbols: results, then the new values of variables that were written.
    derived: what later stages keep with the graph (its optimised form, its gradient, its program); never its meaning.
    """

    name: str
    inputs: tuple[Symbol, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Symbol, ...]
    state: tuple[StateSlot, ...] = ()
    derived: dict[Any, Any] = field(default_factory=dict, repr=False)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Inputs, nodes and outputs of a graph that rests (see core.resting)."""
            if name in _PARTS:
                from treadle.core.resting import woken  # graphs know nothing of what is done with them

                return woken(self, name)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __str__(self) -> str:
        from treadle.core.printing import graph_text  # printing is not needed to trace

        return graph_text(self)

    def __repr__(self) -> str:
        return f"<graph {self.name}: {len(self.inputs)} inputs, {len(self.nodes)} nodes, {len(self.outputs)} outputs>"

    def to_dot(self) -> str:
        """The graph in Graphviz's language: data as solid edges, the order of effects as dashed ones."""
        from treadle.core.printing import graph_dot

        return graph_dot(self)

    def _repr_html_(self) -> str:
        from treadle.core.printing import graph_html

        return graph_html(self)

    @property
    def effect(self) -> bool:
        """Whether any node has an effect."""
        found = self.derived.get("effect")
        if found is None:
            found = self.derived["effect"] = any(node.effect for node in self.nodes)
        return bool(found)

    def prune(self, feeds: Any, fetches: Any) -> Callable[..., Any]:
        """A callable from values of `feeds` to `fetches`, any tensors of the graph; what they do not need does not run.

        Raises GraphError when an input is needed that is neither fed nor known (a captured tensor, a variable).
        """
        return PRUNE[0](self, feeds, fetches)

    def walk(self) -> Iterator[Node]:
        """All nodes, those of inner graphs included."""
        for node in self.nodes:
            yield node
            for _, inner in node.graphs():
                yield from inner.walk()

    def verify(self) -> None:
        """Check the rules that every graph keeps. Raises GraphError naming the node."""
        known = set(self.inputs)
        if len(known) != len(self.inputs):
            raise GraphError(f"graph {self.name}: one symbol is two inputs")
        for node in self.nodes:
            for symbol in node.inputs:
                if symbol not in known:
                    raise GraphError(f"graph {self.name}: node {node.name} uses {symbol.name} before it is made")
            inferred = node.definition.infer([s.spec for s in node.inputs], node.attrs)
            if [(s.shape, s.dtype) for s in inferred] != [(s.spec.shape, s.spec.dtype) for s in node.outputs]:
                made = [s.spec for s in node.outputs]
                raise GraphError(f"graph {self.name}: node {node.name} says {made}, its op infers {list(inferred)}")
            known.update(node.outputs)
            for _, inner in node.graphs():
                inner.verify()
        for symbol in self.outputs:
            if symbol not in known:
                raise GraphError(f"graph {self.name}: output {symbol.name} is never made")


def build(
    op: Op,
    inputs: tuple[Symbol, ...],
    attrs: Mapping[str, Any],
    specs: Sequence[Spec],
    name: str,
    location: Location | None,
    scope: Scope,
) -> Node:
    """A node with its output symbols."""
    # Every traced and every rewritten node comes through here: it is filled without going through __init__.
    node = _new(Node)
    node.op = op.name
    node.definition = op
    node.inputs = inputs
    node.attrs = attrs
    node.name = name
    node.location = location
    if len(specs) == 1:
        (spec,) = specs
        symbol = _new(Symbol)
        symbol._spec = spec
        symbol.shape = spec.shape
        symbol.dtype = spec.dtype
        symbol.scope = scope
        symbol.name = name
        symbol.node = node
        symbol.index = 0
        node.outputs = (symbol,)
    else:
        node.outputs = tuple([Symbol(spec, scope, f"{name}.{k}", node, k) for k, spec in enumerate(specs)])
    made: Node = node
    return made


_new: Any = object.__new__


def apart(node: Node) -> Node:
    """The node by itself, between symbols that nothing else makes or uses: who keeps it keeps no graph alive."""
    inputs = tuple([Symbol(s._spec, s.scope, s.name) for s in node.inputs])
    twin = Node(node.definition, inputs, node.attrs, node.name, node.location)
    twin.outputs = tuple([Symbol(s._spec, s.scope, s.name, twin, k) for k, s in enumerate(node.outputs)])
    return twin


def quiet_node(node: Node) -> Node:
    """The node without the effects inside its graphs: they have happened when it ran first."""
    if not node.effect or node.definition.effect:
        return node
    attrs = {key: quiet(value) if isinstance(value, Graph) else value for key, value in node.attrs.items()}
    twin = Node(node.definition, node.inputs, attrs, node.name, node.location)
    twin.outputs = node.outputs
    return twin


def quiet(graph: Graph) -> Graph:
    """The graph without effects, but for those whose results it needs."""
    if not graph.effect:
        return graph
    live = set(graph.outputs)
    nodes: list[Node] = []
    for node in reversed(graph.nodes):
        if node.definition.effect and not any(s in live for s in node.outputs):
            continue
        nodes.append(quiet_node(node))
        live.update(node.inputs)
    return Graph(graph.name, graph.inputs, tuple(reversed(nodes)), graph.outputs, graph.state)


# Filled by function.trace: running a graph is above this module.
PRUNE: list[Callable[[Graph, Any, Any], Callable[..., Any]]] = []
