"""What a program needs and moves, in bytes: arguments, results, variables, constants, work memory, and its traffic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from treadle.compile import inplace
from treadle.compile.fusion.fuse import fuse
from treadle.compile.fusion.items import Group, Item, makes, reads
from treadle.compile.ways import UPDATES, updates_in_place
from treadle.core.graph import Graph, Node
from treadle.core.tensor import Symbol
from treadle.records import dataclass

if TYPE_CHECKING:
    from treadle.compile.program import Program


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of one call, in bytes; prints as a short table.

    arguments, results: those of the call; variables: the state that it reads and writes; new values that go to their
    variable's own memory are counted there alone.
    constants: kept with the program. work: intermediate values, at their peak, in memory that calls share.
    traffic: what kernels, products and other steps read and write, each array once a step; of an array of which a few
    elements are replaced, those; steps of one loop as often as the loop runs. Caches serve part of it.
    open: whether a loop or a list of unknown length is in it: one step of it is counted, and stacks may be added.
    """

    arguments: int
    results: int
    variables: int
    constants: int
    work: int
    traffic: int
    open: bool

    @property
    def peak(self) -> int:
        """All that must be there at once."""
        return self.arguments + self.results + self.variables + self.constants + self.work

    def __str__(self) -> str:
        rows = [(name, getattr(self, name)) for name in ("arguments", "results", "variables", "constants", "work")]
        rows += [("peak", self.peak), ("traffic", self.traffic)]
        text = "\n".join(f"{name:<10}{value:>16,} B" for name, value in rows)
        return f"{text}\n(steps and stacks of unknown number counted once)" if self.open else text


def memory_of(program: Program) -> Memory:
    """The memory of a program."""
    graph = program.graph
    state = {slot.input for slot in graph.state}
    written = {slot.output for slot in graph.state}
    inputs = [_nbytes(s) for s in graph.inputs]
    results = sum(_nbytes(s) for k, s in enumerate(graph.outputs) if k not in written and k not in program.inplace)
    fresh = sum(_nbytes(s) for k, s in enumerate(graph.outputs) if k in written and k not in program.inplace)
    traffic, unknown = _traffic(graph)
    return Memory(
        arguments=sum(n for k, n in enumerate(inputs) if k not in state),
        results=results,
        variables=sum(n for k, n in enumerate(inputs) if k in state) + fresh,
        constants=sum(array.nbytes for array in program.code.layout.constants),
        work=program.code.layout.arena_bytes,
        traffic=traffic,
        open=unknown,
    )


def _nbytes(symbol: Symbol) -> int:
    """Bytes of a value; strings and sizes that only running tells count as none."""
    return symbol.spec.nbytes if symbol.spec.static and symbol.spec.dtype.kind != "O" else 0


def _traffic(graph: Graph, carried: int = 0) -> tuple[int, bool]:
    """Bytes read and written by the steps of a graph, and whether the number of some steps is unknown.

    carried: how many values a loop carries whose body it is.
    """
    plan = inplace.carried(graph, carried) if carried else None
    items: Sequence[Item] = fuse(graph) if plan is None else plan.work
    over = _overwriting(graph, items)
    if plan is not None:
        over |= {*plan.between, *(graph.outputs[k] for k in plan.pairs)}
    needed = set(graph.outputs).union(*(reads(item) for item in items)) if items else set()
    total, unknown = 0, False
    for item in items:
        if isinstance(item, Group):
            made = [s for node in item.nodes for s in node.outputs if s in needed]
            total += sum(map(_nbytes, reads(item))) + sum(map(_nbytes, made))
            continue
        node = item.node
        inner = [g for _, g in node.graphs()]
        if inner:
            times = _times(node)
            body = node.attrs.get("body")
            parts = [_traffic(g, node.attrs["layout"].carry if g is body else 0) for g in inner]
            total += sum(part for part, _ in parts) * (times or 1)
            unknown = unknown or times is None or any(more for _, more in parts)
        elif node.op in UPDATES and updates_in_place(node) and node.outputs[0] in over:
            total += _nbytes(node.inputs[1]) + sum(map(_nbytes, node.inputs[1:]))
        elif node.definition.family != "view" and node.op != "constant":
            total += sum(map(_nbytes, reads(item))) + sum(map(_nbytes, makes(item)))
    return total, unknown


def _overwriting(graph: Graph, items: Sequence[Item]) -> set[Symbol]:
    """What updates make over a value that nothing reads afterwards."""
    last = {s: k for k, item in enumerate(items) for s in reads(item)}
    shown = set(graph.outputs)
    found: set[Symbol] = set()
    for k, item in enumerate(items):
        if not isinstance(item, Group) and updates_in_place(item.node):
            old = item.node.inputs[0]
            if old.node is not None and last[old] == k and old not in shown:
                found.add(item.node.outputs[0])
    return found


def _times(node: Node) -> int | None:
    """How often the graphs of a node run; None where that is not known. Of a branch, both ways count once."""
    if node.op != "while":
        return 1
    steps = node.attrs["steps"]
    if node.attrs["test"] is None and isinstance(steps, int) and not node.attrs["layout"].counted:
        return steps
    return None
