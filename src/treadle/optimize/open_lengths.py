"""Lengths that only running tells: a node that asks for one by name needs a value that has it."""

from __future__ import annotations

from treadle.core.dim import Dim
from treadle.core.graph import Graph, Node
from treadle.core.interpret import _collect, names_in
from treadle.core.tensor import Symbol


class Lengths:
    """The open lengths that the nodes met so far, from the last to the first, ask for."""

    def __init__(self, graph: Graph) -> None:
        self.any = any(n.attrs and ("open" in n.attrs or isinstance(n.attrs.get("steps"), Dim)) for n in graph.nodes)
        self.asked: set[str] = set()
        self.from_inputs: set[str] = set()  # what nodes ask for that the graph's inputs tell
        self.known = {name for s in graph.inputs for name in _names(s)} if self.any else set()

    def given(self, node: Node) -> list[int]:
        """The outputs of a node that nothing reads, whose length is asked for."""
        if not self.asked:
            return []
        return [k for k, s in enumerate(node.outputs) if _names(s) & self.asked][:1]

    def ask(self, node: Node, used: list[int]) -> None:
        """A node stays: note what it asks for, and what its values tell."""
        if not self.any or not used:
            return
        for k in used:
            self.asked -= _names(node.outputs[k])
        wanted: set[str] = set()
        for key, value in node.attrs.items():
            if isinstance(value, Graph):
                wanted |= names_in(value)
            elif key not in ("steps", "open"):
                _collect(value, wanted)
        told = {name for s in node.inputs for name in _names(s)}
        open_names = {name for name in wanted if "#" in name} - told
        self.asked |= open_names - self.known
        self.from_inputs |= open_names & self.known

    def inputs(self, graph: Graph, live: set[Symbol]) -> set[int]:
        """The graph's inputs that are live, with one for each length that only inputs tell."""
        found = {k for k, s in enumerate(graph.inputs) if s in live}
        told = {name for k in found for name in _names(graph.inputs[k])} if self.from_inputs else set()
        for k, s in enumerate(graph.inputs) if self.from_inputs - told else ():
            if _names(s) & (self.from_inputs - told):
                found.add(k)
                told |= _names(s)
        return found


def _names(symbol: Symbol) -> set[str]:
    """The names of a value's open sizes."""
    return {name for size in symbol.shape if isinstance(size, Dim) and (name := size.open) is not None}
