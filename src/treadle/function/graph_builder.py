"""`td.Graph`: define a graph by hand with placeholders and ops, then run any of its tensors."""

from __future__ import annotations

import weakref
from typing import Any

import treadle.compile  # noqa: F401  (installs the compiler as what runs graphs)
from treadle import nest
from treadle.core import graph as core
from treadle.core.dtypes import float32
from treadle.core.mode import _current, current
from treadle.core.spec import TensorSpec
from treadle.core.tensor import Symbol, Tensor
from treadle.core.tracer import Tracer
from treadle.core.variable import Variable
from treadle.errors import GraphError, Location, user_location
from treadle.function import keys
from treadle.function.prune import Known, Part, cut, find_symbol


class _GraphType(type):
    """A traced graph is a `td.Graph` too."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, core.Graph) or super().__instancecheck__(instance)


class Graph(metaclass=_GraphType):
    """A graph built by hand: inside `with td.Graph() as g:` each op becomes a node instead of running.

    >>> import treadle as td
    >>> with td.Graph() as g:
    ...     x = g.placeholder((None,), td.float32, "x")
    ...     y = td.sum(x * x)
    >>> g.run(y, {x: [1., 2.]})
    Tensor(5., shape=(), dtype=float32)
    """

    def __init__(self, name: str = "graph") -> None:
        self.name = name
        self._tracer = Tracer(name)
        self._places: dict[Symbol, Location | None] = {}
        self._tokens: list[Any] = []
        self._parts: dict[Any, Part] = {}

    def __enter__(self) -> Graph:
        self._tracer.outer = current()
        self._tokens.append(_current.set(self._tracer))
        return self

    def __exit__(self, *exc_info: object) -> None:
        _current.reset(self._tokens.pop())
        self._tracer.outer = None

    def placeholder(self, shape: Any, dtype: Any = float32, name: str | None = None) -> Tensor:
        """An input whose value is fed to `run`; sizes of None are open, equal names are equal sizes."""
        base = name or "placeholder"
        spec = TensorSpec(shape, dtype).to_spec(keys.identifier(base))
        symbol = self._tracer.input(spec, base)
        self._places[symbol] = user_location(2)
        return symbol

    def run(self, fetches: Any = None, feeds: dict[Any, Any] | None = None) -> Any:
        """The values of `fetches`, a nest of the graph's tensors and variables; each is computed once.

        fetches: only what they need runs. Fetching a variable makes its assignments happen and gives the new value.
                 None runs everything: all assignments, prints and checks.
        feeds:   placeholders, or any other tensors of the graph, to values.

        0-d strings come back as `str`. Raises GraphError naming a placeholder that is needed and not fed.
        """
        given = feeds or {}
        fed = [find_symbol(self._tracer.nodes, self._tracer.inputs, f, self.name) for f in given]
        wanted, structure = nest.flatten_with_structure(fetches) if fetches is not None else ([], nest.LEAF)
        key = (tuple(map(id, wanted)), tuple(map(id, fed)), len(self._tracer.nodes), fetches is None)
        part = self._parts.get(key) or self._part(key, fed, wanted, fetches is None)
        values = part.run(list(given.values()))
        if fetches is None:
            return None
        return nest.unflatten(structure, [_shown(x) for x in values])

    def _part(self, key: Any, fed: list[Symbol], wanted: list[Any], everything: bool) -> Part:
        state = self._tracer.state
        ends: list[Symbol] = []
        writes: dict[int, tuple[Symbol, Symbol]] = {}
        for fetch in wanted:
            if isinstance(fetch, Variable):
                entry = state.get(id(fetch))
                if entry is None:
                    raise GraphError(f"graph {self.name}: the variable {fetch.name!r} is not used in it")
                ends.append(entry.initial if entry.value is None else entry.value)
                if entry.value is not None:
                    writes[id(fetch)] = (entry.initial, entry.value)
            else:
                initials = [e.initial for e in state.values()]
                inputs = [*self._tracer.inputs, *initials]
                ends.append(find_symbol(self._tracer.nodes, inputs, fetch, self.name))
        if everything:
            writes = {k: (e.initial, e.value) for k, e in state.items() if e.value is not None}
        nodes = tuple(self._tracer.nodes)
        part = cut(self.name, nodes, fed, ends, list(writes.values()), self._known(), everything)
        self._parts[key] = part
        return part

    def _known(self) -> Known:
        tracer = self._tracer
        live = {id(tensor) for _, tensor in tracer.arrays.values()}
        captures = {symbol: outer for outer, symbol in tracer.captures.values()}
        return Known(
            captures,
            frozenset(s for s, outer in captures.items() if id(outer) in live),
            {e.initial: weakref.ref(e.variable) for e in tracer.state.values()},
            self._places,
        )

    @property
    def graph(self) -> core.Graph:
        """All of it as one graph: outputs are the tensors that no node uses."""
        tracer = self._tracer
        used = {s for node in tracer.nodes for s in node.inputs}
        used |= {e.value for e in tracer.state.values() if e.value is not None}
        ends = [s for node in tracer.nodes for s in node.outputs if s not in used]
        return tracer.finish(ends).graph

    @property
    def nodes(self) -> tuple[core.Node, ...]:
        """The nodes, in program order."""
        return tuple(self._tracer.nodes)

    @property
    def inputs(self) -> tuple[Symbol, ...]:
        """The placeholders."""
        return tuple(self._tracer.inputs)

    @property
    def outputs(self) -> tuple[Symbol, ...]:
        """The tensors that no node uses."""
        return self.graph.outputs

    def prune(self, feeds: Any, fetches: Any) -> Any:
        """A callable from values of `feeds` to `fetches`; what they do not need does not run."""
        given = nest.flatten(feeds)
        return lambda *values: self.run(fetches, dict(zip(given, nest.flatten(list(values)), strict=True)))

    def to_dot(self) -> str:
        """The graph in Graphviz's language."""
        return self.graph.to_dot()

    def __str__(self) -> str:
        return str(self.graph)

    def __repr__(self) -> str:
        return f"<graph {self.name}: {len(self.inputs)} placeholders, {len(self.nodes)} nodes>"

    def _repr_html_(self) -> str:
        return self.graph._repr_html_()


def _shown(x: Tensor) -> Any:
    if x.dtype.kind == "T" and not x.shape and not isinstance(x, Symbol):
        return str(x.array[()])
    return x
