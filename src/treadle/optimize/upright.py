"""Work on transposed tensors that leads to a reduction, or follows from one, is done on the tensors as they lie.

`sum(exp(x.T), axis=0)` is `sum(exp(x), axis=1)`, and `softmax(x.T)` is `softmax(x, axis=0).T`: kernels then walk along
memory, and what is turned at last is small, or is turned once. Elements are the same; sums are taken in another order,
equal within their error.
"""

from __future__ import annotations

from collections.abc import Sequence

from treadle.core.graph import Graph, Node
from treadle.core.op import REGISTRY
from treadle.core.tensor import Symbol
from treadle.optimize.sweep import Counts, Run, Steps, Sweep
from treadle.records import dataclass

Axes = tuple[int, ...]
_REDUCING = frozenset(("sum", "prod", "max", "min", "any", "all"))
_POSITIONS = frozenset(("argmax", "argmin"))  # along one axis; among all, they depend on the order


def upright(graph: Graph, counts: Counts) -> Graph:
    """The graph with such work on tensors as they lie; itself where there is none."""
    if not any(node.op == "transpose" for node in graph.nodes):
        return graph
    plan = _Plan(graph)
    if not plan.chosen:
        return graph
    counts["reduced upright"] += 1
    return _Upright(graph, plan, counts).run()


@dataclass(frozen=True, slots=True)
class _Turned:
    """How a symbol stands: it is the transpose of what is computed instead, with these axes."""

    axes: Axes
    node: Node


class _Plan:
    """Which nodes are done upright, and how the symbols that they read and make are turned."""

    def __init__(self, graph: Graph) -> None:
        self.turned: dict[Symbol, _Turned] = {}
        reductions: dict[Node, Axes] = {}
        for node in graph.nodes:
            axes = self._axes(node)
            if axes is None:
                continue
            if node.definition.family == "reduction":
                reductions[node] = axes
                if not node.attrs["keepdims"]:
                    continue
            self.turned[node.outputs[0]] = _Turned(axes, node)
        self.axes = {node: turned.axes for turned in self.turned.values() for node in (turned.node,)} | reductions
        self.chosen = self._around(graph, set(reductions))

    def _axes(self, node: Node) -> Axes | None:
        """The axes by which a node's operands are turned, if its work can be done without."""
        if node.op == "transpose":
            axes: Axes = node.attrs["axes"]
            moved = [k for k in axes if not _one(node.inputs[0].shape[k])]
            return axes if moved != sorted(moved) else None
        if node.op in _REDUCING or (node.op in _POSITIONS and len(node.attrs["axes"]) == 1):
            found = self.turned.get(node.inputs[0])
            return None if found is None else found.axes
        if node.definition.family != "elementwise" or len(node.outputs) != 1 or node.effect:
            return None
        ways = {self.turned[s].axes for s in node.inputs if s in self.turned}
        if len(ways) != 1:
            return None
        (way,) = ways
        rank = len(way)
        if len(node.outputs[0].shape) != rank:
            return None
        return way if all(s in self.turned or _line(s) for s in node.inputs) else None

    def _around(self, graph: Graph, chosen: set[Node]) -> set[Node]:
        """The reductions, what follows from kept ones, and all that leads to either; transposes apart."""
        for node in graph.nodes:
            if node in self.axes and node.op != "transpose" and any(self._made_in(chosen, s) for s in node.inputs):
                chosen.add(node)
        for node in reversed(graph.nodes):
            if node in chosen:
                chosen |= {self.turned[s].node for s in node.inputs if s in self.turned}
        return {node for node in chosen if node.op != "transpose"}

    def _made_in(self, chosen: set[Node], symbol: Symbol) -> bool:
        turned = self.turned.get(symbol)
        return turned is not None and turned.node in chosen


class _Upright:
    """Builds the graph by a plan."""

    def __init__(self, graph: Graph, plan: _Plan, counts: Counts) -> None:
        self.graph, self.plan = graph, plan
        self.sweep = Sweep(graph, Run(Steps(()), counts))
        self.made: dict[Symbol, Symbol] = {}  # what is computed instead of turned symbols
        kept = [s for node in graph.nodes if node not in plan.chosen for s in node.inputs]
        self.asked = {*kept, *graph.outputs}  # symbols that are needed as they were

    def run(self) -> Graph:
        """The new graph."""
        graph, sweep = self.graph, self.sweep
        for node in graph.nodes:
            if node in self.plan.chosen:
                self._place(node)
            else:
                sweep.take(node, sweep.symbols)
        outputs = tuple([sweep.symbols.get(s, s) for s in graph.outputs])
        return Graph(graph.name, graph.inputs, tuple(sweep.nodes), outputs, graph.state)

    def _place(self, node: Node) -> None:
        axes, (result,) = self.plan.axes[node], node.outputs
        inputs = [self._upright(s, axes, node) for s in node.inputs]
        if node.definition.family != "reduction":
            made, back = self.sweep.emit(node.definition, inputs, node.attrs, node), axes
        else:
            gone = tuple(sorted([axes[k] for k in node.attrs["axes"]]))
            made = self.sweep.emit(node.definition, inputs, {**node.attrs, "axes": gone}, node)
            left = [k for k in axes if k not in gone]
            back = axes if node.attrs["keepdims"] else tuple([sorted(left).index(k) for k in left])
        self.made[result] = made
        if result in self.asked:
            self.sweep.symbols[result] = self._transposed(made, back, node)

    def _upright(self, symbol: Symbol, axes: Axes, like: Node) -> Symbol:
        """What stands for an operand: the tensor that is turned, or a line laid along its axis."""
        found = self.made.get(symbol)
        if found is not None:
            return found
        turned = self.plan.turned.get(symbol)
        now = self.sweep.symbols.get(symbol, symbol)
        if turned is not None:
            before = turned.node.inputs[0]
            return self.sweep.symbols.get(before, before)
        if not now.shape:
            return now
        padded = (1,) * (len(axes) - len(now.shape)) + now.shape
        shape = tuple([padded[axes.index(k)] for k in range(len(axes))])
        return now if shape == now.shape else self.sweep.emit(REGISTRY["reshape"], (now,), {"shape": shape}, like)

    def _transposed(self, made: Symbol, axes: Sequence[int], like: Node) -> Symbol:
        if list(axes) == sorted(axes):
            return made
        return self.sweep.emit(REGISTRY["transpose"], (made,), {"axes": tuple(axes)}, like)


def _one(size: object) -> bool:
    return type(size) is int and size == 1


def _line(symbol: Symbol) -> bool:
    """Whether a tensor has several elements along one axis at most, so that turning it moves nothing."""
    return sum(not _one(size) for size in symbol.shape) <= 1
