"""`Sweep`: walks a graph once, in program order, and builds a new one; what changes on the way is said by small steps.

A step looks at one node whose inputs are already those of the new graph, and gives other symbols for its outputs, or
None. Nodes that nothing touches are taken over as they are; a sweep that changes nothing gives the graph itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from treadle.core.graph import HOLDING, Const, Graph, Node, build
from treadle.core.op import Op
from treadle.core.spec import Spec
from treadle.core.tensor import Scope, Symbol
from treadle.core.tracer import constant_op, numbered
from treadle.records import dataclass

Array = np.ndarray[Any, Any]
Rewrite = Callable[["Sweep", Node], Sequence[Symbol] | None]
# What makes an operand: the op's name, for one of the numbers that rules ask for the number, None for a graph's input.
Kind = str | tuple[str, int] | None
Kinds = tuple[Kind, ...]
Choice = tuple[Op, Kinds, bool, bool]  # a node's op, what makes its operands, whether both are one, whether it settled

NUMBERS: dict[complex, Kind] = {number: ("number", number) for number in (-1, 0, 1, 2)}


class Counts(Counter[str]):
    """How often each rule was applied, and the nodes that, as they stand, no rule of the simplification takes."""

    def __init__(self) -> None:
        super().__init__()
        self.settled: set[Node] = set()


@dataclass(frozen=True, slots=True)
class Step:
    """A local rewrite, for nodes of some ops, or of some families, or of all.

    may:   tells from a node's op, from what makes its operands, and from whether both are one, if it is worth a try.
    again: whether a node that it left may be taken later, with the same operands: it looks at who reads them.
    """

    run: Rewrite
    ops: frozenset[str] | None = None
    family: str | None = None
    may: Callable[[Op, Kinds, bool], bool] | None = None
    again: bool = False

    def takes(self, op: Op, before: Kinds, same: bool) -> bool:
        """Whether nodes of this op, with operands made so, are offered."""
        if (self.ops is not None and op.name not in self.ops) or self.family not in (None, op.family):
            return False
        return self.may is None or self.may(op, before, same)


class Steps:
    """The steps of a pass, in order, and which of them are worth a try for which nodes.

    settles: whether nodes that all steps leave are noted, and offered only what may take them still.
    """

    __slots__ = ("all", "chosen", "settles")

    def __init__(self, steps: Sequence[Step], settles: bool = False) -> None:
        self.all = tuple(steps)
        self.settles = settles
        self.chosen: dict[Choice, tuple[Rewrite, ...]] = {}

    def choose(self, choice: Choice) -> tuple[Rewrite, ...]:
        """The steps that a node is offered to; kept in `chosen`."""
        if len(self.chosen) > MAX_CHOICES:
            self.chosen.clear()
        op, before, same, settled = choice
        steps = [step for step in self.all if (step.again or not settled) and step.takes(op, before, same)]
        found = self.chosen[choice] = tuple([step.run for step in steps])
        return found


MAX_CHOICES = 10_000  # a concat of many operands has an entry of its own


class Run:
    """One pass over a graph and the graphs inside it: the steps, the tally of rules, what was done already."""

    __slots__ = ("counts", "done", "steps")

    def __init__(self, steps: Steps, counts: Counts) -> None:
        self.steps = steps
        self.counts = counts
        self.done: dict[int, tuple[Graph, Graph]] = {}  # by id; the pair keeps the id's owner alive

    def graph(self, graph: Graph) -> Graph:
        """The graph, swept; one that several nodes hold stays one."""
        found = self.done.get(id(graph))
        if found is None:
            found = self.done[id(graph)] = (graph, Sweep(graph, self).run())
        return found[1]


class Sweep:
    """The new graph while it is being built."""

    def __init__(self, graph: Graph, run: Run) -> None:
        self.graph = graph
        self.rules = run
        self.steps = run.steps
        self.counts = run.counts
        self.settled = run.counts.settled
        self.scope = Scope(graph.name, None)
        self.nodes: list[Node] = []
        self.symbols: dict[Symbol, Symbol] = {}  # of the old graph -> of the new one, where they differ
        self.made: dict[Symbol, Node] = {}  # producers in the new graph
        self.kinds: dict[Symbol, Kind] = {}  # the same in the words by which steps are chosen
        self.table: dict[Any, Sequence[Symbol]] = {}  # of the merge step
        self.names: set[str] = {s.name for s in graph.inputs}
        self._next: dict[str, int] = {}
        self._olds: list[tuple[Symbol, Symbol]] = []  # symbols of the new graph, and what they stand for
        self._stands: dict[Symbol, list[Symbol]] = {}  # the same, as far as it was asked for
        self._uses: Counter[Symbol] | None = None

    def run(self) -> Graph:
        """Sweep all nodes."""
        graph, moved = self.graph, self.symbols
        for node in graph.nodes:
            if node.definition.family in HOLDING or (moved and not moved.keys().isdisjoint(node.inputs)):
                self.take(node, moved)
            else:
                placed = self.place(node)
                if placed is not node.outputs:
                    self._rename(node.outputs, placed, moved)
        outputs = tuple([moved.get(s, s) for s in graph.outputs])
        same = len(self.nodes) == len(graph.nodes) and all(map(_is, self.nodes, graph.nodes))
        if same and all(map(_is, outputs, graph.outputs)):
            return graph
        return Graph(graph.name, graph.inputs, tuple(self.nodes), outputs, graph.state)

    def take(self, node: Node, symbols: dict[Symbol, Symbol], copy: bool = False) -> None:
        """Place a node of an old graph, its inputs renamed by `symbols`, to which its outputs are added."""
        inputs, outputs = node.inputs, node.outputs
        if symbols and not symbols.keys().isdisjoint(inputs):
            if len(inputs) == 1:
                inputs = (symbols[inputs[0]],)
            elif len(inputs) == 2:
                a, b = inputs
                inputs = (symbols.get(a, a), symbols.get(b, b))
            else:
                inputs = tuple([symbols.get(s, s) for s in inputs])
        attrs = node.attrs
        if node.definition.family in HOLDING:
            attrs = self.inner(attrs)
        if copy or attrs is not node.attrs or inputs is not node.inputs:
            name = _base(node) if copy else node.name
            specs = [outputs[0]._spec] if len(outputs) == 1 else [s._spec for s in outputs]
            new = build(node.definition, inputs, attrs, specs, name, node.location, self.scope)
        else:
            new = node
        placed = self.place(new)
        if placed is not outputs:
            self._rename(outputs, placed, symbols)

    def _rename(self, outputs: Sequence[Symbol], placed: Sequence[Symbol], symbols: dict[Symbol, Symbol]) -> None:
        """Note what stands for the outputs of an old graph's node."""
        for old, made in zip(outputs, placed, strict=True):
            if old is not made:
                symbols[old] = made
                self._olds.append((made, old))

    def inner(self, attrs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The attributes with the graphs among them swept."""
        changed = None
        for key, value in attrs.items():
            if isinstance(value, Graph):
                new = self.rules.graph(value)
                if new is not value:
                    changed = changed or dict(attrs)
                    changed[key] = new
        return attrs if changed is None else changed

    def place(self, node: Node) -> Sequence[Symbol]:
        """Put a node in, or what a step makes of it; gives the symbols for its outputs."""
        inputs, steps, kinds = node.inputs, self.steps, self.kinds
        same = False
        if len(inputs) == 1:
            before: Kinds = (kinds.get(inputs[0]),)
        elif len(inputs) == 2:
            a, b = inputs
            same = a is b
            before = (kinds.get(a), kinds.get(b))
        else:
            before = tuple(map(kinds.get, inputs))
        key = node.definition, before, same, steps.settles and node in self.settled
        runs = steps.chosen.get(key)
        if runs is None:
            runs = steps.choose(key)
        for run in runs:
            found = run(self, node)
            if found is not None:
                if found is node.outputs and steps.settles:
                    self.settled.add(node)
                return found
        return self.append(node)

    def append(self, node: Node) -> Sequence[Symbol]:
        """Put a node in as it is, under a free name."""
        if node.name in self.names:
            name = self.unique(_base(node))
            if len(node.outputs) == 1 and node.outputs[0].scope is self.scope:  # made a moment ago, for this place
                node.name = node.outputs[0].name = name
            else:
                specs = [s.spec for s in node.outputs]
                node = build(node.definition, node.inputs, node.attrs, specs, name, node.location, self.scope)
        self.names.add(node.name)
        self.nodes.append(node)
        kind = _number(node) if node.op in _NUMBERED else node.op
        made, kinds, outputs = self.made, self.kinds, node.outputs
        for symbol in outputs:
            made[symbol] = node
            kinds[symbol] = kind
        return outputs

    def emit(self, op: Op, inputs: Sequence[Symbol], attrs: Mapping[str, Any], like: Node) -> Symbol:
        """A new node of one output, simplified as any other; it stands at the user's line of `like`."""
        return self.emit_all(op, inputs, attrs, like)[0]

    def emit_all(self, op: Op, inputs: Sequence[Symbol], attrs: Mapping[str, Any], like: Node) -> Sequence[Symbol]:
        """A new node, simplified as any other; it stands at the user's line of `like`."""
        specs = op.infer([s.spec for s in inputs], attrs)
        name = like.name if op is like.definition else attrs.get("label") or op.name
        return self.place(build(op, tuple(inputs), attrs, specs, name, like.location, self.scope))

    def splice(self, graph: Graph, inputs: Sequence[Symbol]) -> tuple[Symbol, ...]:
        """The nodes of another graph, fed with these symbols; gives its outputs."""
        symbols = dict(zip(graph.inputs, inputs, strict=True))
        for node in graph.nodes:
            self.take(node, symbols, copy=True)
        return tuple([symbols[s] for s in graph.outputs])

    def constant(self, array: Array, like: Node, weak: bool = False) -> Symbol:
        """A constant."""
        return self.emit(constant_op, (), {"value": Const(array), "spec": Spec(array.shape, array.dtype, weak)}, like)

    def value(self, symbol: Symbol) -> Array | None:
        """The value of a symbol that is a constant node."""
        node = self.made.get(symbol)
        if node is None or node.definition is not constant_op:
            return None
        return node.attrs["value"].array  # type: ignore[no-any-return]

    def uniform(self, symbol: Symbol) -> Array | None:
        """The one value that all elements of a symbol have, as a 0-d array, where that is known."""
        node = self.made.get(symbol)
        if node is None or symbol.dtype.kind not in "biufc":
            return None
        if node.op == "full":
            return np.asarray(node.attrs["value"], symbol.dtype) if not node.inputs else None
        if node.op == "broadcast_to":
            return self.uniform(node.inputs[0])
        array = self.value(symbol)
        return array.reshape(()) if array is not None and array.size == 1 else None

    def producer(self, symbol: Symbol, op: str) -> Node | None:
        """The node that makes a symbol, if it is of this op."""
        node = self.made.get(symbol)
        return node if node is not None and node.op == op else None

    def uses(self, symbol: Symbol) -> int:
        """How often the old graph uses what a symbol of the new one stands for."""
        if self._uses is None:
            taken = [s for node in self.graph.nodes for s in node.inputs]
            self._uses = Counter([*taken, *self.graph.outputs])
        while self._olds:
            made, old = self._olds.pop()
            self._stands.setdefault(made, []).append(old)
        return self._uses[symbol] + sum(self._uses[old] for old in self._stands.get(symbol, ()))

    def unique(self, base: str) -> str:
        """A name that is free in the new graph."""
        count = self._next.get(base, 0)
        name = numbered(base, count) if count else base
        while name in self.names:
            count += 1
            name = numbered(base, count)
        self._next[base] = count + 1
        return name


_NUMBERED = frozenset(("constant", "full"))


def _number(node: Node) -> Kind:
    """The kind of a constant: the number that all its elements are where rules ask for it, else its op."""
    if node.inputs or node.outputs[0].dtype.kind not in "biufc":
        return node.op
    value = node.attrs["value"]
    array = value.array if node.op == "constant" else np.asarray(value, node.outputs[0].dtype)
    return NUMBERS.get(array.item(), node.op) if array.size == 1 else node.op


def holds_graphs(node: Node) -> bool:
    """Whether graphs may be among the node's attributes: cheaper than to look."""
    return node.definition.family in HOLDING


def has_effect(node: Node) -> bool:
    """`node.effect`, at the price of a look at the op for most nodes."""
    return node.definition.effect or (holds_graphs(node) and node.effect)


def _is(a: object, b: object) -> bool:
    return a is b


def _base(node: Node) -> str:
    return node.attrs.get("label") or node.op
