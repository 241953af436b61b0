"""Arrays that a loop's kernel reads and writes by element: `x[i]`, `x[i : i + 3]`, `x.at[i].set(v)`, in memory.

A carried array is updated where it lies. That is the same as making a new one at each step only while nobody looks at
the old one afterwards: `Walk` follows each array through the loop, its branches and the loops inside, and says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from treadle.compile.fusion.emit import code
from treadle.compile.fusion.items import in_kernel
from treadle.compile.fusion.reduce import update_line
from treadle.compile.stepping import lanes
from treadle.compile.stepping.lanes import Lanes, Write
from treadle.compile.ways import UPDATES
from treadle.core.graph import Graph, Node
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol
from treadle.records import dataclass, field

INDICES = lanes.INDICES
PICKED = frozenset({"gather", "scatter", "dynamic_slice", "dynamic_update_slice"})  # by what is known while running
WINDOWS = frozenset({"dynamic_slice", "dynamic_update_slice"})
READ = -1  # the root of an array that is only read


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """An array in memory: the name of its pointer, and the names of its sizes."""

    pointer: str
    sizes: tuple[str, ...]


def is_array(spec: Spec) -> bool:
    """Whether a value could be a table."""
    return in_kernel(spec) and bool(spec.shape) and 0 not in spec.shape


def indexed(graph: Graph, symbol: Symbol) -> bool:
    """Whether a graph picks or replaces elements of one of its inputs by indices that are known while running."""
    for node in graph.nodes:
        if node.op in PICKED and node.inputs[0] is symbol:
            return True
        for inner, given in insides(node):
            if any(x is symbol and indexed(inner, own) for own, x in zip(inner.inputs, given, strict=False)):
                return True
    return False


def insides(node: Node) -> list[tuple[Graph, list[Symbol]]]:
    """The graphs of a branch or a loop, each with what its inputs begin as."""
    if node.op == "cond":
        return [(graph, list(node.inputs[1:])) for _, graph in node.graphs()]
    if node.op == "while":
        _, carry, consts, _ = node.attrs["layout"].parts(node.inputs)
        return [(graph, [*carry, *consts]) for _, graph in node.graphs()]
    return []


def as_table(node: Node, k: int) -> bool:
    """Whether a loop's input number k, counting carried values and constants, is a table."""
    symbol = node.attrs["body"].inputs[k]
    if not is_array(symbol.spec):
        return False
    return not lanes.is_small(symbol.spec) or any(indexed(graph, graph.inputs[k]) for _, graph in node.graphs())


@dataclass(slots=True)
class Walk:
    """Goes through graphs as the kernel will: which symbols show which table, and which have been overwritten."""

    lines: int = 0
    roots: dict[Symbol, int] = field(default_factory=dict)
    dead: set[Symbol] = field(default_factory=set)

    def graph(self, graph: Graph, roots: Sequence[int | None]) -> list[int | None] | None:
        """The roots of a graph's outputs, for inputs of these; None where a kernel cannot hold it."""
        for symbol, root in zip(graph.inputs, roots, strict=True):
            if root is not None:
                self.roots[symbol] = root
            elif not lanes.is_small(symbol.spec):
                return None
        latest = {root: symbol for symbol, root in zip(graph.inputs, roots, strict=True) if root is not None}
        begun = dict(latest)
        for node in graph.nodes:
            if any(s in self.dead for s in node.inputs) or not self.node(node):
                return None
            latest.update({self.roots[s]: s for s in node.outputs if s in self.roots})
        given_back = set(graph.outputs)  # a set goes by identity; `in` a tuple would compare tensors
        for root, symbol in latest.items():
            if root != READ and symbol is not begun[root] and symbol not in given_back:
                return None  # overwritten, and then thrown away
        if any(s in self.dead for s in graph.outputs):
            return None
        ends = [self.roots.get(s) for s in graph.outputs]
        owned = [root for root in ends if root is not None and root != READ]
        return ends if len(set(owned)) == len(owned) and READ not in ends else None

    def node(self, node: Node) -> bool:
        """Whether a kernel can hold a node."""
        tables = [s for s in node.inputs if s in self.roots]
        if node.op == "while":
            return self.loop(node)
        if node.op == "cond":
            return self.cond(node)
        if not tables:
            lines = 1 if node.op == "assert" and len(node.inputs) == 1 else lanes.lines_of(node)
            self.lines += lines or 0
            return lines is not None
        if len(tables) > 1 or tables[0] is not node.inputs[0]:
            return False
        lines = _access(node)
        if lines is None:
            return False
        self.lines += lines
        if node.op in UPDATES:
            root = self.roots[tables[0]]
            if root == READ:
                return False
            self.dead.add(tables[0])
            self.roots[node.outputs[0]] = root
        return True

    def cond(self, node: Node) -> bool:
        """A branch: each side overwrites tables only where both give them back."""
        if node.inputs[0] in self.roots:
            return False
        found = []
        given = [self.roots.get(s) for s in node.inputs[1:]]
        for _, graph in node.graphs():
            before = set(self.dead)
            found.append(self.graph(graph, given))
            self.dead = before
        if found[0] is None or found[0] != found[1]:
            return False
        return self.ends(node, node.inputs[1:], given, found[0])

    def loop(self, node: Node) -> bool:
        """A loop inside: what it carries is its own while it runs."""
        layout = node.attrs["layout"]
        count, carry, consts, xs = layout.parts(node.inputs)
        if len(node.attrs["body"].outputs) > layout.carry or count in self.roots:
            return False
        if not all(s in self.roots or lanes.is_small(s.spec) for s in xs):
            return False
        stepped = {self.roots.get(s) for s in xs}
        self.lines += sum(int(s.spec.size) for s in xs if s not in self.roots)
        given = [self.roots.get(s) for s in (*carry, *consts)]
        held = [READ if root is not None else None for root in given[layout.carry :]]
        taken = {root for root in given[: layout.carry] if root is not None}
        if READ in taken or taken & (stepped | set(given[layout.carry :])):
            return False
        test = node.attrs["test"]
        if test is not None and self.graph(test, [READ if r is not None else None for r in given]) is None:
            return False
        ends = self.graph(node.attrs["body"], [*given[: layout.carry], *held, *[None] * layout.xs])
        if ends is None or ends != given[: layout.carry]:
            return False
        return self.ends(node, carry, given[: layout.carry], ends)

    def ends(
        self, node: Node, inputs: Sequence[Symbol], given: Sequence[int | None], ends: Sequence[int | None]
    ) -> bool:
        """Note which outputs of a branch or a loop show which table; what went in there is overwritten."""
        for symbol, root in zip(inputs, given, strict=True):
            if root is not None and root in ends:
                self.dead.add(symbol)
        for symbol, root in zip(node.outputs, ends, strict=True):
            if root is not None:
                self.roots[symbol] = root
            elif not lanes.is_small(symbol.spec):
                return False
        self.lines += 2 * lanes.size_of([s for s, root in zip(node.outputs, ends, strict=True) if root is None])
        return True


def _access(node: Node) -> int | None:
    """How many lines it takes to read or write elements of a table; None where it is more than elements."""
    table, *others = node.inputs
    if not all(lanes.is_small(s.spec) for s in others):
        return None
    if node.op not in PICKED and node.op not in ("slice", "set_slice"):
        return None
    part = others[0] if node.op in UPDATES else node.outputs[0]
    if not lanes.is_small(part.spec):
        return None
    if node.op in WINDOWS:
        return 4 * len(table.shape) + lanes.size_of([part]) if len(table.shape) <= INDICES else None
    if node.op in ("gather", "scatter"):
        return lanes.accesses(node)
    return lanes.size_of([part])


def axes_of(node: Node) -> Sequence[int]:
    """The axes of a table that a node's indices are for."""
    return range(len(node.inputs[0].shape)) if node.op in WINDOWS else node.attrs.get("axes", ())


def offsets(shape: Sequence[int], given: Mapping[int, str], sizes: Sequence[str]) -> Lanes:
    """Where the elements lie whose axes with an index have these: texts, in the shape of the other axes."""
    last = max(given)
    made = np.empty([size for axis, size in enumerate(shape) if axis not in given], object)
    for index in np.ndindex(*made.shape):
        rest = iter(index)
        text, behind = "", 0  # what lies behind the last axis with an index is known now
        for axis, size in enumerate(shape):
            at = given[axis] if axis in given else str(next(rest))
            if axis > last:
                behind = behind * size + int(at)
            elif text:
                text = f"({text}) * {sizes[axis]} + {at}"
            else:
                text = at
        count = math.prod(shape[last + 1 :])
        made[index] = f"({text}) * {count} + {behind}" if last + 1 < len(shape) else text
    return made


def places(node: Node, table: Table, first: Sequence[str], literal: Callable[[np.ndarray[Any, Any]], str]) -> Lanes:
    """Where the elements lie that a node reads or writes."""
    if node.op in PICKED:
        return _window(table, sizes_of(node), first)
    starts, stops, steps = (node.attrs[key] for key in ("starts", "stops", "steps"))
    picked = [range(a, b, c) for a, b, c in zip(starts, stops, steps, strict=True)]
    made = np.empty([len(r) for r in picked], object)
    for index in np.ndindex(*made.shape):
        text = ""
        for axis, (r, k) in enumerate(zip(picked, index, strict=True)):
            number = literal(np.asarray(r[k], np.int64))
            text = number if not axis else f"({text}) * {table.sizes[axis]} + {number}"
        made[index] = text
    return made


def sizes_of(node: Node) -> list[int]:
    """The shape of the window that a node reads or replaces."""
    part = node.inputs[1] if node.op in UPDATES else node.outputs[0]
    return [int(size) for size in part.shape]


def _window(table: Table, sizes: Sequence[int], first: Sequence[str]) -> Lanes:
    """Where the elements of a window lie that begins at these indices."""
    made = np.empty(sizes, object)
    for index in np.ndindex(*sizes):
        text = ""
        for start, step, size in zip(first, index, table.sizes, strict=True):
            at = f"{start} + {step}" if step else start
            text = f"({text}) * {size} + {at}" if text else at
        made[index] = text
    return made


def read(node: Node, table: Table, found: Lanes, name: Write) -> Lanes:
    """The elements that a node picks at these places."""
    made = np.empty(found.shape, object)
    for index in np.ndindex(*found.shape):
        made[index] = name(f"{table.pointer}[{found[index]}]")
    return made.reshape([int(size) for size in node.outputs[0].shape])


def stores(node: Node, table: Table, found: Lanes, value: Lanes) -> list[str]:
    """The lines by which a node replaces the elements at these places."""
    new = np.broadcast_to(value, found.shape)
    line = update_line(node.attrs.get("mode", "set"), code(node.outputs[0].dtype))
    return [line((f"{table.pointer}[{found[index]}]", str(new[index]))) for index in np.ndindex(*found.shape)]
