"""Loops of scalar work as one kernel: the loop, its branches and the loops inside it, with the values in registers.

Small tensors count as so many scalars (see `lanes`): every value is an array of names, a scalar's has no axes. Arrays
of which only elements are read and replaced stay in memory (see `tables`).

The kernel stops every few million iterations and can be entered again, so that Ctrl-C works in a loop of any length:
between entries its carry stands in the buffers of its results. A loop inside runs to its end, since an array may have
been written before it; where its number of steps is large or unknown, the kernel asks there for signals (see
`run.interrupts`). A failed `assert` ends the kernel with a status.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from treadle.compile.fusion.emit import BAKED_IN_LOOPS, Body, Text, expression
from treadle.compile.fusion.items import DRAWS
from treadle.compile.run.interrupts import INTERRUPTED
from treadle.compile.stepping import few_draws, lanes, small_matrices, tables
from treadle.compile.stepping.factors import Products
from treadle.compile.stepping.fitting import inner_steps, steps_inside
from treadle.compile.stepping.lanes import Lanes
from treadle.compile.stepping.ranges import Bounds
from treadle.compile.stepping.tables import Table
from treadle.compile.ways import UPDATES
from treadle.core.graph import Graph, Node
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol
from treadle.records import dataclass, field

BUDGET = 1 << 22  # iterations between two looks at Python: a few milliseconds of scalar work
CHUNK = 1 << 16  # steps of a counted loop inside that are taken at one go
SCALAR = Spec((), np.dtype(np.float64))
UNKNOWN = 1 << 64  # no number of any kind
CHECK = 2  # the status of the first check; further checks count up


@dataclass(slots=True)
class ScalarWriter:
    """Writes scalar nodes, branches and loops, line by line."""

    text: Text = field(default_factory=Text)
    body: Body = field(default_factory=lambda: Body(BAKED_IN_LOOPS))
    values: dict[Symbol, Any] = field(default_factory=dict)  # Lanes, or tables.Table
    checks: list[Node] = field(default_factory=list)
    inside: list[tuple[Node, ...]] = field(default_factory=list)  # the loops in which each check stands
    loops: list[tuple[Node, str]] = field(default_factory=list)  # those around the present line, with their counters
    count: int = 0
    bounds: Mapping[Node, list[Bounds]] = field(default_factory=dict)  # of the indices of accesses
    asks: bool = False  # whether a loop inside asks for signals
    products: Products = field(default_factory=Products)

    def fresh(self, prefix: str) -> str:
        """A name that no other line uses."""
        self.count += 1
        return f"{prefix}{self.count}"

    def literal(self, array: np.ndarray[Any, Any]) -> str:
        """A number as text."""
        return self.body.constant(array)

    def value(self, symbol: Symbol) -> Any:
        """The names of a value's elements, or the table that it is."""
        known = self.values.get(symbol)
        if known is None:
            assert symbol.node is not None
            known = self.values[symbol] = lanes.constant(symbol.node.attrs["value"].array, self.literal)
        return known

    def name(self, symbol: Symbol) -> str:
        """The name of a scalar, or of the element of an array that a line is about."""
        return str(self.value(symbol)[()])

    def call(self, symbol: Symbol, name: str) -> None:
        """Let a scalar, or an element of an array, have a name."""
        self.values[symbol] = lanes.named(SCALAR, name)

    def made(self, symbols: Sequence[Symbol], prefix: str) -> list[Lanes]:
        """Fresh names for some values."""
        return [lanes.named(s.spec, self.fresh(prefix)) for s in symbols]

    def graph(self, graph: Graph, values: Sequence[Any], indent: int) -> list[Any]:
        """A graph's nodes, line by line; its outputs."""
        self.values.update(zip(graph.inputs, values, strict=True))
        for node in graph.nodes:
            self.node(node, indent)
        return [self.value(s) for s in graph.outputs]

    def node(self, node: Node, indent: int) -> None:
        """One node's lines."""
        if node.op == "constant" or node in self.products.inside:
            return
        if node.op == "cond":
            self.cond(node, indent)
        elif node.op == "while":
            self.loop(node, indent)
        elif node.op == "assert":
            self.check(node, indent)
        else:

            def name(expression: str) -> str:
                made = self.fresh("v")
                self.text.add(indent, f"{made} = {expression}", node)
                return made

            def refuse(condition: str) -> None:
                self.text.add(indent, f"if {condition}:", node)
                self.fail(node, indent + 1)

            if node in self.products.roots:
                return self.call(node.outputs[0], self.products.roots[node].write(self.name, name, self.literal))
            values = [self.value(s) for s in node.inputs]
            if values and (isinstance(values[0], Table) or node.op in ("gather", "scatter")):
                self.access(node, values, indent, name)
            elif node.op in DRAWS:
                self.values.update(zip(node.outputs, few_draws.write(node, values, name), strict=True))
            elif node.op in small_matrices.OPS:
                self.values[node.outputs[0]] = small_matrices.write(node, values, name, refuse)
            else:
                self.values[node.outputs[0]] = lanes.write(node, values, name, self.literal)

    def access(self, node: Node, values: list[Any], indent: int, name: lanes.Write) -> None:
        """Elements of a table, or of a small tensor, read or replaced."""
        table, *others = values
        writes = node.op in UPDATES
        if node.op in ("gather", "scatter"):
            picked = self.picked(node, table, others[int(writes) :], indent, name)
        else:
            first = self.within(node, lanes.flat(others[int(writes) :]), indent, name)
            picked = tables.places(node, table, first, self.literal)
        if isinstance(table, Table):
            if not writes:
                self.values[node.outputs[0]] = tables.read(node, table, picked, name)
                return
            for line in tables.stores(node, table, picked, others[0]):
                self.text.add(indent, line, node)
            self.values[node.outputs[0]] = table
        elif writes:
            self.values[node.outputs[0]] = lanes.replaced(node, table, picked, others[0], name)
        else:
            self.values[node.outputs[0]] = lanes.chosen(node, table, picked, name)

    def picked(self, node: Node, table: Any, indices: list[Lanes], indent: int, name: lanes.Write) -> Lanes:
        """Where the elements are that a gather or a scatter means: in memory, or else by their indices."""
        common = np.broadcast_shapes(*[v.shape for v in indices])
        spread = [np.broadcast_to(v, common) for v in indices]
        axes = node.attrs["axes"]
        shape = [int(size) for size in node.inputs[0].shape]
        found = np.empty((*common, *(size for axis, size in enumerate(shape) if axis not in axes)), object)
        for place in np.ndindex(*common):
            first = self.within(node, [str(v[place]) for v in spread], indent, name)
            offsets = tables.offsets if isinstance(table, Table) else lanes.indices
            sizes = table.sizes if isinstance(table, Table) else ()
            elements = offsets(shape, dict(zip(axes, first, strict=True)), sizes)
            found[place] = elements if elements.shape else elements[()]
        position = node.attrs["position"]
        return np.moveaxis(found, range(len(common)), range(position, position + len(common)))

    def within(self, node: Node, given: list[str], indent: int, name: lanes.Write) -> list[str]:
        """Indices from the front; one that points outside ends the kernel as a failed check does."""
        first = [name(f"i8({index})") for index in given]
        window = tables.sizes_of(node) if node.op in tables.WINDOWS else [1] * len(first)
        bounds = self.bounds.get(node) or [None] * len(first)
        table = self.values.get(node.inputs[0])
        ends: list[str] = []
        for k, (index, axis) in enumerate(zip(first, tables.axes_of(node), strict=False)):
            least, most = bounds[k] or (-UNKNOWN, UNKNOWN)
            whole = int(node.inputs[0].shape[axis])
            size = table.sizes[axis] if isinstance(table, Table) else f"i8({whole})"
            if node.op not in tables.WINDOWS and least < 0:
                first[k] = index = name(f"{index} + {size} if {index} < 0 else {index}")
                least, most = (0, most) if -whole <= least and most < whole else (-UNKNOWN, UNKNOWN)
            if least < 0 or most > whole - window[k]:
                last = size if window[k] == 1 else f"({size} - {window[k] - 1})"
                ends.append(f"u8({index}) >= u8({last})")
        if ends:
            self.text.add(indent, f"if {' or '.join(ends)}:", node)
            kept = [f"failed[{1 + k}] = i8({index})" for k, index in enumerate(given)]
            self.fail(node, indent + 1, kept)
        return first

    def element(self, node: Node, indent: int) -> None:
        """A line for one element of an elementwise node."""
        made = self.fresh("v")
        self.text.add(indent, f"{made} = {expression(node, [self.name(s) for s in node.inputs])}", node)
        self.call(node.outputs[0], made)

    def check(self, node: Node, indent: int) -> None:
        """A failed check ends the kernel with a status of its own."""
        self.text.add(indent, f"if not {self.name(node.inputs[0])}:", node)
        self.fail(node, indent + 1)

    def fail(self, node: Node, indent: int, before: Sequence[str] = ()) -> None:
        """The lines that note the iterations and end the kernel with the next status."""
        counts = [f"failed[{1 + tables.INDICES + k}] = {counter}" for k, (_, counter) in enumerate(self.loops)]
        for line in [*before, "failed[0] = done", *counts, f"return {CHECK + len(self.checks)}"]:
            self.text.add(indent, line)
        self.checks.append(node)
        self.inside.append(tuple([loop for loop, _ in self.loops]))

    def cond(self, node: Node, indent: int) -> None:
        """A branch."""
        results: list[Any] = []
        operands = [self.value(s) for s in node.inputs[1:]]
        for word, key in (("if " + self.name(node.inputs[0]), "true"), ("else", "false")):
            self.text.add(indent, f"{word}:", node)
            ends = self.graph(node.attrs[key], operands, indent + 1)
            if not results:  # a table is the same one on both sides
                fresh = self.made(node.outputs, "w")
                results = [end if isinstance(end, Table) else new for end, new in zip(ends, fresh, strict=True)]
            lines = self.casts(results, ends, node.outputs)
            for line in lines or ["pass"]:
                self.text.add(indent + 1, line)
        self.values.update(zip(node.outputs, results, strict=True))

    @staticmethod
    def casts(targets: Sequence[Any], values: Sequence[Any], symbols: Sequence[Symbol]) -> list[str]:
        """Lines that give the elements of targets those of some values, of these symbols' kinds."""
        kinds = lanes.kinds(targets, symbols)
        triples = zip(lanes.flat(targets), kinds, lanes.flat(values), strict=True)
        return [f"{name} = {kind}({value})" for name, kind, value in triples]

    def loop(self, node: Node, indent: int) -> None:
        """A loop inside, to its end."""
        layout = node.attrs["layout"]
        count, carry, consts, xs = layout.parts(node.inputs)
        begin = [self.value(s) for s in carry]
        fresh = self.made(carry, "k")
        values = [x if isinstance(x, Table) else new for x, new in zip(begin, fresh, strict=True)]
        for line in self.casts(values, begin, carry):
            self.text.add(indent, line)
        held = [self.value(s) for s in consts]
        counter = self.fresh("n")
        steps = node.attrs["steps"]
        limit = self.name(count) if count is not None else (str(steps) if isinstance(steps, int) else None)
        if limit is None and xs:
            limit = str(xs[0].shape[0])
        self.loops.append((node, counter))
        if node.attrs["test"] is None:
            assert limit is not None
            self.counted(node, counter, limit, [*values, *held], indent)
        else:
            self.text.add(indent, f"{counter} = i8(0)")
            self.text.add(indent, f"while {'True' if limit is None else f'{counter} < {limit}'}:", node)
            self.turn(node, [*values, *held, *self.items(node, counter, limit, indent + 1)], indent + 1)
            self.text.add(indent + 1, f"{counter} += i8(1)")
            self.ask(node, "", indent + 1)
        self.loops.pop()
        self.values.update(zip(node.outputs, values, strict=True))

    def counted(self, node: Node, counter: str, limit: str, values: Sequence[Any], indent: int) -> None:
        """The steps of a loop inside without a test: `for`, so that LLVM knows their number; if many, in chunks."""
        if steps_inside(node):
            self.text.add(indent, f"for {counter} in range({limit}):", node)
            self.turn(node, [*values, *self.items(node, counter, limit, indent + 1)], indent + 1)
            return
        first, last = self.fresh("n"), self.fresh("n")
        self.text.add(indent, f"{first} = i8(0)")
        self.text.add(indent, f"while {first} < {limit}:")
        self.text.add(indent + 1, f"{last} = min({first} + {CHUNK}, {limit})")
        self.text.add(indent + 1, f"for {counter} in range({first}, {last}):", node)
        self.turn(node, [*values, *self.items(node, counter, limit, indent + 2)], indent + 2)
        self.ask(node, f"({last} - {first}) * ", indent + 1)
        self.text.add(indent + 1, f"{first} = {last}")

    def items(self, node: Node, counter: str, limit: str | None, indent: int) -> list[Lanes]:
        """This step's rows of what a loop inside steps through."""

        def name(text: str) -> str:
            made = self.fresh("e")
            self.text.add(indent, f"{made} = {text}", node)
            return made

        def row(symbol: Symbol) -> Lanes:
            shape = [int(size) for size in symbol.shape]
            given = {0: f"({limit} - 1 - {counter})" if node.attrs["reverse"] else counter}
            table = self.value(symbol)
            if not isinstance(table, Table):
                return lanes.picked(table, lanes.indices(shape, given, ()), name)
            return lanes.each(tables.offsets(shape, given, table.sizes), lambda x: name(f"{table.pointer}[{x}]"))

        return [row(symbol) for symbol in node.attrs["layout"].parts(node.inputs)[3]]

    def ask(self, node: Node, times: str, indent: int) -> None:
        """Steps of a loop inside were taken: when the budget is spent, ask for signals."""
        self.asks = True
        self.text.add(indent, f"budget -= {times}{1 + inner_steps(node.attrs['body'])}")
        self.text.add(indent, "if budget <= 0:")
        self.text.add(indent + 1, f"budget = {BUDGET}")
        self.text.add(indent + 1, "if ask(look, signals) != 0:")
        self.text.add(indent + 2, f"return {INTERRUPTED}")

    def turn(self, node: Node, values: Sequence[Any], indent: int) -> list[Lanes]:
        """One iteration: the test, the body, and the new carry; the further outputs."""
        test: Graph | None = node.attrs["test"]
        body: Graph = node.attrs["body"]
        layout = node.attrs["layout"]
        if test is not None:
            ends = self.graph(test, values[: layout.carry + layout.consts], indent)
            self.text.add(indent, f"if not {ends[0][()]}:")
            self.text.add(indent + 1, "break")
        carry = lanes.flat(values[: layout.carry])
        self.products.find(body, body.inputs[layout.carry : layout.carry + layout.consts])
        ends = self.graph(body, values, indent)
        rows = ends[layout.carry :]
        for row in rows:
            for index in np.ndindex(*row.shape):
                if row[index] in carry:  # the row is the value before this iteration changes it
                    kept = self.fresh("r")
                    self.text.add(indent, f"{kept} = {row[index]}")
                    row[index] = kept
        kinds = lanes.kinds(values[: layout.carry], body.outputs[: layout.carry])
        moves = [m for m in zip(carry, kinds, lanes.flat(ends[: layout.carry]), strict=True) if m[0] != m[2]]
        crossing = any(end in carry for _, _, end in moves)
        new = {name: self.fresh("t") if crossing else name for name, _, _ in moves}
        for name, kind, end in moves:
            self.text.add(indent, f"{new[name]} = {kind}({end})")
        if crossing:
            for name, fresh in new.items():
                self.text.add(indent, f"{name} = {fresh}")
        return rows
