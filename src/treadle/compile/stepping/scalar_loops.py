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

from treadle.compile.fusion.emit import BAKED_IN_LOOPS, Body, Text, code, expression
from treadle.compile.fusion.fuse import DRAWS
from treadle.compile.run.interrupts import INTERRUPTED
from treadle.compile.stepping import few_draws, lanes, small_matrices, tables
from treadle.compile.stepping.factors import Products
from treadle.compile.stepping.fitting import inner_steps, steps_inside
from treadle.compile.stepping.lanes import Lanes
from treadle.compile.stepping.ranges import Bounds, indices_of
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
class LoopKernel:
    """A loop's kernel text; `args` are, in order: fresh state, count, carry results, carry starts, consts, xs, ys, ...

    checks: the asserts and the uses of indices whose failure is status CHECK, CHECK + 1, ...
    inside: the loops inside this one in which each of them stands, from the outermost.
    tables: which of the carried values are updated where they lie.
    """

    text: Text
    constants: list[np.ndarray[Any, Any]]
    checks: list[Node]
    inside: list[tuple[Node, ...]]
    words: list[str]
    tables: tuple[int, ...] = ()


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
            if values and isinstance(values[0], Table):
                self.access(node, values, indent, name)
            elif node.op in DRAWS:
                self.values.update(zip(node.outputs, few_draws.write(node, values, name), strict=True))
            elif node.op in small_matrices.OPS:
                self.values[node.outputs[0]] = small_matrices.write(node, values, name, refuse)
            else:
                self.values[node.outputs[0]] = lanes.write(node, values, name, self.literal)

    def access(self, node: Node, values: list[Any], indent: int, name: lanes.Write) -> None:
        """Elements of a table read or replaced; an index that points outside ends the kernel as a failed check does."""
        table, *others = values
        writes = node.op in UPDATES
        given = lanes.flat(others[int(writes) :])
        first = [name(f"i8({index})") for index in given]
        window = tables.sizes_of(node) if node.op in tables.WINDOWS else [1] * len(first)
        bounds = self.bounds.get(node) or [None] * len(first)
        ends: list[str] = []
        for k, (index, axis) in enumerate(zip(first, tables.axes_of(node), strict=False)):
            least, most = bounds[k] or (-UNKNOWN, UNKNOWN)
            whole, size = int(node.inputs[0].shape[axis]), table.sizes[axis]
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
        found = tables.places(node, table, first, self.literal)
        if not writes:
            self.values[node.outputs[0]] = tables.read(node, table, found, name)
            return
        for line in tables.stores(node, table, found, others[0]):
            self.text.add(indent, line, node)
        self.values[node.outputs[0]] = table

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
        count, carry, consts, _ = layout.parts(node.inputs)
        begin = [self.value(s) for s in carry]
        fresh = self.made(carry, "k")
        values = [x if isinstance(x, Table) else new for x, new in zip(begin, fresh, strict=True)]
        for line in self.casts(values, begin, carry):
            self.text.add(indent, line)
        held = [self.value(s) for s in consts]
        counter = self.fresh("n")
        steps = node.attrs["steps"]
        limit = self.name(count) if count is not None else (str(steps) if isinstance(steps, int) else None)
        self.loops.append((node, counter))
        if node.attrs["test"] is None:
            assert limit is not None
            self.counted(node, counter, limit, [*values, *held], indent)
        else:
            self.text.add(indent, f"{counter} = i8(0)")
            self.text.add(indent, f"while {'True' if limit is None else f'{counter} < {limit}'}:", node)
            self.turn(node, [*values, *held], indent + 1)
            self.text.add(indent + 1, f"{counter} += i8(1)")
            self.ask(node, "", indent + 1)
        self.loops.pop()
        self.values.update(zip(node.outputs, values, strict=True))

    def counted(self, node: Node, counter: str, limit: str, values: Sequence[Any], indent: int) -> None:
        """The steps of a loop inside without a test: `for`, so that LLVM knows their number; if many, in chunks."""
        if steps_inside(node):
            self.text.add(indent, f"for {counter} in range({limit}):", node)
            self.turn(node, values, indent + 1)
            return
        first, last = self.fresh("n"), self.fresh("n")
        self.text.add(indent, f"{first} = i8(0)")
        self.text.add(indent, f"while {first} < {limit}:")
        self.text.add(indent + 1, f"{last} = min({first} + {CHUNK}, {limit})")
        self.text.add(indent + 1, f"for {counter} in range({first}, {last}):", node)
        self.turn(node, values, indent + 2)
        self.ask(node, f"({last} - {first}) * ", indent + 1)
        self.text.add(indent + 1, f"{first} = {last}")

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


def write_loop(node: Node) -> LoopKernel:
    """The kernel of a scalar loop."""
    layout = node.attrs["layout"]
    count, carry, consts, xs = layout.parts(node.inputs)
    body: Graph = node.attrs["body"]
    steps = node.attrs["steps"]
    writer = ScalarWriter(bounds=indices_of(node))
    words: list[str] = ["state", "done"]
    head: list[str] = []

    def argument(word: str) -> str:
        words.append(word)
        return f"args[{len(words) - 1}]"

    flags = [tables.as_table(node, k) for k in range(layout.carry + layout.consts)]

    def table(word: str, pointer: str, symbol: Symbol) -> Table:
        sizes = tuple([f"{pointer}z{axis}" for axis in range(len(symbol.shape))])
        head.extend(f"{size} = {argument(f'size {word} {axis}')}" for axis, size in enumerate(sizes))
        return Table(pointer, sizes)

    values: list[Any] = []
    for k, symbol in enumerate(carry):
        head.append(f"out{k} = p_{code(symbol.dtype)}({argument(f'result {k}')})")
        values.append(table(f"start {k}", f"out{k}", symbol) if flags[k] else lanes.named(symbol.spec, f"k{k}_"))
    names = lanes.flat(values)
    limit = None
    if count is not None:
        limit = "limit"
        head.append(f"limit = p_i8({argument('count')})[0]")
    elif isinstance(steps, int):
        limit = "limit"
        head.append(f"limit = {argument('steps')}")
    own = [(k, s) for k, s in enumerate(carry) if not flags[k]]
    starts = lanes.flat([_elements(s.spec, f"p_{code(s.dtype)}({argument(f'start {k}')})") for k, s in own])
    inputs = [*values]
    for k, symbol in enumerate(consts):
        if flags[layout.carry + k]:
            head.append(f"h{k}_ = p_{code(symbol.dtype)}({argument(f'const {k}')})")
            inputs.append(table(f"const {k}", f"h{k}_", symbol))
            continue
        inputs.append(lanes.named(symbol.spec, f"h{k}_"))
        given = _elements(symbol.spec, f"p_{code(symbol.dtype)}({argument(f'const {k}')})")
        head += [f"{name} = {element}" for name, element in zip(lanes.flat(inputs[-1:]), given.flat, strict=True)]
    for k, symbol in enumerate(xs):
        head.append(f"x{k}_ = p_{code(symbol.dtype)}({argument(f'x {k}')})")
        head.append(f"sx{k}_ = {argument(f'x stride {k}')}")
    stacked = body.outputs[layout.carry :]
    for k, symbol in enumerate(stacked):
        head.append(f"y{k}_ = p_{code(symbol.dtype)}({argument(f'y {k}')})")

    ends = lanes.flat([_elements(symbol.spec, f"out{k}") for k, symbol in own])
    save = [f"{end} = {name}" for end, name in zip(ends, names, strict=True)] + ["args[0] = 1", "args[1] = done"]
    text = writer.text
    position = "limit - 1 - done" if node.attrs["reverse"] else "done"
    text.add(1, f"while {'done < limit' if limit else 'True'}:", node)
    for k, symbol in enumerate(body.inputs[layout.carry + layout.consts :]):
        inputs.append(lanes.named(symbol.spec, f"e{k}_"))
        for lane, name in enumerate(lanes.flat(inputs[-1:])):
            text.add(2, f"{name} = x{k}_[({position}) * sx{k}_ + {lane}]")
    for k, row in enumerate(writer.turn(node, inputs, 2)):
        for lane, name in enumerate(row.flat):
            text.add(2, f"y{k}_[({position}) * {row.size} + {lane}] = {name}")
    text.add(2, "done += 1")
    text.add(2, f"budget -= {1 + inner_steps(body)}")
    text.add(2, "if budget <= 0:")
    for line in (*save, "return 1"):
        text.add(3, line)
    for line in (*save, "return 0"):
        text.add(1, line)

    full = Text()
    full.add(0, "def kernel(args, lo, hi):")
    for line in head:
        full.add(1, line)
    for k in range(len(writer.body.constants)):
        array = writer.body.constants[k]
        full.add(1, f"c{k} = p_{code(array.dtype)}({argument(f'constant {k}')})[0]")
    if writer.checks:
        full.add(1, f"failed = p_i8({argument('iteration')})")
    if writer.asks:
        full.add(1, f"look = {argument('look')}")
        full.add(1, f"signals = {argument('signals')}")
    full.add(1, "done = args[1]")
    full.add(1, f"budget = {BUDGET}")
    if names:
        full.add(1, "if args[0] == 0:")
        for name, start in zip(names, starts, strict=True):
            full.add(2, f"{name} = {start}")
        full.add(1, "else:")
        for name, end in zip(names, ends, strict=True):
            full.add(2, f"{name} = {end}")
    full.lines += text.lines
    own_memory = tuple([k for k in range(layout.carry) if flags[k]])
    return LoopKernel(full, writer.body.constants, writer.checks, writer.inside, words, own_memory)


def _elements(spec: Spec, pointer: str) -> Lanes:
    """The elements that lie at a pointer, in row order."""
    made = lanes.named(spec, "")
    for lane, index in enumerate(np.ndindex(*made.shape)):
        made[index] = f"{pointer}[{lane}]"
    return made
