"""Cutting a graph down to what some of its tensors need: `graph.prune`, and each run of a graph built by hand."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from treadle import nest
from treadle.core.dim import Dim
from treadle.core.dtypes import string
from treadle.core.graph import Graph, Node, StateSlot
from treadle.core.mode import current
from treadle.core.tensor import Symbol, Tensor
from treadle.core.variable import Variable
from treadle.errors import GraphError, Location
from treadle.function import keys
from treadle.function.execution import call_in_mode, protect, run_trace
from treadle.function.signature import array_of
from treadle.function.trace import match_shape
from treadle.ops.convert import as_tensor
from treadle.records import dataclass


@dataclass(frozen=True, slots=True)
class Known:
    """What a graph's inputs may stand for besides feeds."""

    captures: Mapping[Symbol, Tensor]
    live: frozenset[Symbol]
    variables: Mapping[Symbol, weakref.ref[Variable]]
    places: Mapping[Symbol, Location | None]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a graph that can run: feeds, then captures, then variables. See `execution.Runnable`."""

    name: str
    graph: Graph
    feeds: tuple[Symbol, ...]
    captures: tuple[Tensor, ...]
    live: tuple[bool, ...]
    capture_shapes: tuple[tuple[Any, ...], ...]
    reads: tuple[weakref.ref[Variable], ...]
    writes: tuple[weakref.ref[Variable], ...]

    def run(self, values: Sequence[Any]) -> list[Tensor]:
        """The results for fed values, in the current mode; what was written is committed."""
        sizes: dict[str, Any] = {}
        tensors = [_fed(symbol, value, sizes) for symbol, value in zip(self.feeds, values, strict=True)]
        if current() is not None:
            return call_in_mode(self, [as_tensor(t) for t in tensors])
        pairs = [array_of(t) for t in tensors]
        unsafe = [array for array, shared in pairs if shared]
        return [Tensor(a) for a in protect(run_trace(self, [array for array, _ in pairs]), unsafe)]


def needed(nodes: Sequence[Node], wanted: Iterable[Symbol], stop: frozenset[Symbol], effects: bool) -> list[Node]:
    """The nodes that the wanted symbols need, in order; `effects` keeps those that must run by themselves too."""
    missing = {s for s in wanted if s not in stop}
    kept: list[Node] = []
    for node in reversed(nodes):
        if any(s in missing for s in node.outputs) or (effects and node.effect):
            kept.append(node)
            missing.update(s for s in node.inputs if s not in stop)
    return kept[::-1]


def cut(
    name: str,
    nodes: Sequence[Node],
    feeds: Sequence[Symbol],
    fetches: Sequence[Symbol],
    writes: Sequence[tuple[Symbol, Symbol]],
    known: Known,
    effects: bool = False,
) -> Part:
    """The part of a graph that gives `fetches` from `feeds`, and writes variables (first value, new value).

    Raises GraphError naming an input that is needed and not fed, and its line.
    """
    ends = [*fetches, *(value for _, value in writes)]
    kept = needed(nodes, ends, frozenset(feeds), effects)
    made = {s for node in kept for s in node.outputs} | set(feeds)
    used = (*(x for node in kept for x in node.inputs), *ends, *(start for start, _ in writes))
    open_ = list(dict.fromkeys(s for s in used if s not in made))
    captured = [s for s in open_ if s in known.captures]
    states = [s for s in open_ if s in known.variables]
    for s in open_:
        if s not in known.captures and s not in known.variables:
            raise GraphError(
                f"graph {name}: the placeholder {s.name!r} ({keys.describe_spec(s.spec)}) is needed and not fed; "
                "give it a value in feeds",
                known.places.get(s),
            )
    first = len(feeds) + len(captured)
    outputs = {start: len(fetches) + k for k, (start, _) in enumerate(writes)}
    slots = tuple(StateSlot(known.variables[s], s.name, first + k, outputs.get(s)) for k, s in enumerate(states))
    graph = Graph(name, (*feeds, *captured, *states), tuple(kept), tuple(ends), slots)
    tensors = tuple(known.captures[s] for s in captured)
    return Part(
        name,
        graph,
        tuple(feeds),
        tensors,
        tuple(s in known.live for s in captured),
        tuple(t.shape for t in tensors),
        tuple(known.variables[s] for s in states),
        tuple(known.variables[start] for start, _ in writes),
    )


def find_symbol(nodes: Sequence[Node], inputs: Sequence[Symbol], what: Any, graph: str) -> Symbol:
    """The tensor of a graph that a feed or fetch means: a symbol, a node with one output, or a name."""
    if isinstance(what, Symbol):
        if any(s is what for s in inputs) or any(s is what for node in nodes for s in node.outputs):
            return what
        raise GraphError(f"graph {graph}: the traced tensor {what.name!r} belongs to another graph")
    if isinstance(what, Node) and len(what.outputs) == 1:
        return what.outputs[0]
    if isinstance(what, str):
        for s in (*inputs, *(s for node in nodes for s in node.outputs)):
            if s.name == what:
                return s
        raise GraphError(f"graph {graph}: no tensor of it is called {what!r}")
    raise GraphError(f"graph {graph}: a feed or fetch is one of its tensors, got {type(what).__name__}")


def _fed(symbol: Symbol, value: Any, sizes: dict[str, Any]) -> Any:
    """A fed value in the symbol's dtype. Raises GraphError when it does not fit."""
    wanted = symbol.dtype
    if isinstance(value, Tensor) or keys.kind_of(value) == keys.ARRAY:
        got = keys.spec_of(value)
        if got.dtype != wanted:
            if wanted.kind == "T" or got.dtype.kind == "T" or not np.can_cast(got.dtype, wanted, "same_kind"):
                raise _misfit(symbol, keys.describe_spec(got))
            value = as_tensor(value, wanted)
    else:
        value = as_tensor(np.asarray(value, wanted))
    if not match_shape(symbol.shape, keys.spec_of(value).shape, sizes):
        raise _misfit(symbol, keys.describe_spec(keys.spec_of(value)))
    return value


def _misfit(symbol: Symbol, got: str) -> GraphError:
    sizes = ", ".join("None" if isinstance(size, Dim) else str(size) for size in symbol.shape)
    dtype = "string" if symbol.dtype == string else symbol.dtype
    return GraphError(f"the tensor {symbol.name!r} is {dtype}[{sizes}], the value fed to it is {got}")


def prune(graph: Graph, feeds: Any, fetches: Any) -> Callable[..., Any]:
    """See `Graph.prune`: the callable takes the feeds' values in order and gives the nest of fetches."""
    given = [find_symbol(graph.nodes, graph.inputs, f, graph.name) for f in nest.flatten(feeds)]
    wanted, structure = nest.flatten_with_structure(fetches)
    ends = [find_symbol(graph.nodes, graph.inputs, f, graph.name) for f in wanted]
    first, captured, are_live = graph.derived.get("captures", (0, (), ()))
    captures = dict(zip(graph.inputs[first:], captured, strict=False))
    live = frozenset(s for s, is_live in zip(captures, are_live, strict=True) if is_live)
    variables = {graph.inputs[slot.input]: slot.variable for slot in graph.state}
    part = cut(graph.name, graph.nodes, given, ends, (), Known(captures, live, variables, {}))

    def pruned(*values: Any) -> Any:
        flat = nest.flatten(list(values))
        if len(flat) != len(given):
            names = ", ".join(s.name for s in given)
            raise GraphError(
                f"graph {graph.name}: the pruned graph takes {len(given)} values ({names}), got {len(flat)}"
            )
        return nest.unflatten(structure, part.run(flat))

    return pruned
