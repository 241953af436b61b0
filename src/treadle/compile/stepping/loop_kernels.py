"""The kernel of a loop of scalar work: its arguments, what it keeps between entries, its rows and its stacks.

Between entries the kernel's carry stands in the buffers of its results. Where only a test tells how long the stacks
become, the kernel also ends when they are full, and goes on when they have grown: `progress` then holds whether it has
begun, how many steps are done, and whether it waits for room.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from treadle.compile.fusion.emit import Text, code
from treadle.compile.stepping import lanes, scalar_loops
from treadle.compile.stepping.fitting import inner_steps, table_flags
from treadle.compile.stepping.lanes import Lanes
from treadle.compile.stepping.ranges import indices_of
from treadle.compile.stepping.scalar_loops import ScalarWriter
from treadle.compile.stepping.tables import Table
from treadle.core.graph import Graph, Node
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol
from treadle.records import dataclass


@dataclass(slots=True)
class LoopKernel:
    """A loop's kernel text; `words` say what its arguments are.

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


def grows(node: Node) -> bool:
    """Whether a loop has stacks whose length only its test tells."""
    stacks = len(node.attrs["body"].outputs) > node.attrs["layout"].carry
    return stacks and node.attrs["test"] is not None and not isinstance(node.attrs["steps"], int)


def write_loop(node: Node) -> LoopKernel:
    """The kernel of a scalar loop."""
    return _Writer(node).write()


class _Writer:
    """Writes one loop's kernel."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.layout = node.attrs["layout"]
        self.body: Graph = node.attrs["body"]
        self.scalar = ScalarWriter(bounds=indices_of(node))
        self.words: list[str] = []
        self.head: list[str] = []
        self.flags = table_flags(node) or [False] * len(self.body.inputs)
        self.state = "args"
        if grows(node):
            self.state = "progress"
            self.head += [f"progress = p_i8({self.argument('progress')})", f"room = {self.argument('room')}"]
        else:
            self.words += ["state", "done"]

    def argument(self, word: str) -> str:
        """One more argument; the text that reads it."""
        self.words.append(word)
        return f"args[{len(self.words) - 1}]"

    def pointer(self, word: str, symbol: Symbol) -> str:
        """A pointer to an argument's elements."""
        return f"p_{code(symbol.dtype)}({self.argument(word)})"

    def table(self, word: str, name: str, symbol: Symbol) -> Table:
        """An array in memory, with its sizes as arguments."""
        sizes = tuple([f"{name}z{axis}" for axis in range(len(symbol.shape))])
        self.head.extend(f"{size} = {self.argument(f'size {word} {axis}')}" for axis, size in enumerate(sizes))
        return Table(name, sizes)

    def write(self) -> LoopKernel:
        """The kernel."""
        inputs = self._carried()
        names = lanes.flat(inputs)
        limit = self._limit()
        own = [(k, s) for k, s in enumerate(self.body.inputs[: self.layout.carry]) if not self.flags[k]]
        starts = lanes.flat([_elements(s.spec, self.pointer(f"start {k}", s)) for k, s in own])
        ends = lanes.flat([_elements(s.spec, f"out{k}") for k, s in own])
        inputs += self._constants()
        save = [f"{end} = {name}" for end, name in zip(ends, names, strict=True)]
        save += [f"{self.state}[0] = 1", f"{self.state}[1] = done"]
        self._steps(inputs, limit, save)
        full = self._head()
        if names:
            full.add(1, f"if {self.state}[0] == 0:")
            for name, start in zip(names, starts, strict=True):
                full.add(2, f"{name} = {start}")
            full.add(1, "else:")
            for name, end in zip(names, ends, strict=True):
                full.add(2, f"{name} = {end}")
        full.lines += self.scalar.text.lines
        scalar, carry = self.scalar, range(self.layout.carry)
        own_memory = tuple([k for k in carry if self.flags[k]])
        return LoopKernel(full, scalar.body.constants, scalar.checks, scalar.inside, self.words, own_memory)

    def _carried(self) -> list[Any]:
        found: list[Any] = []
        for k, symbol in enumerate(self.body.inputs[: self.layout.carry]):
            self.head.append(f"out{k} = {self.pointer(f'result {k}', symbol)}")
            table = self.flags[k]
            found.append(self.table(f"start {k}", f"out{k}", symbol) if table else lanes.named(symbol.spec, f"k{k}_"))
        return found

    def _limit(self) -> str | None:
        """The name of the number of steps."""
        if self.layout.counted:
            self.head.append(f"limit = p_i8({self.argument('count')})[0]")
        elif isinstance(self.node.attrs["steps"], int) or self.layout.xs:
            self.head.append(f"limit = {self.argument('steps')}")
        else:
            return None
        return "limit"

    def _constants(self) -> list[Any]:
        found: list[Any] = []
        first = self.layout.carry
        for k, symbol in enumerate(self.body.inputs[first : first + self.layout.consts]):
            pointer = self.pointer(f"const {k}", symbol)
            if self.flags[first + k]:
                self.head.append(f"h{k}_ = {pointer}")
                found.append(self.table(f"const {k}", f"h{k}_", symbol))
                continue
            found.append(lanes.named(symbol.spec, f"h{k}_"))
            given = lanes.flat([_elements(symbol.spec, pointer)])
            self.head += [f"{name} = {given}" for name, given in zip(lanes.flat(found[-1:]), given, strict=True)]
        return found

    def _steps(self, inputs: list[Any], limit: str | None, save: list[str]) -> None:
        """The loop over steps."""
        add, first = self.scalar.text.add, self.layout.carry + self.layout.consts
        add(1, f"while {'done < limit' if limit else 'True'}:", self.node)
        if self.state == "progress":
            add(2, "if done >= room:")
            for line in (*save, "progress[2] = 1", "return 0"):
                add(3, line)
        add(2, f"at = {'limit - 1 - done' if self.node.attrs['reverse'] else 'done'}")
        inputs = [*inputs, *[self._item(k, s) for k, s in enumerate(self.body.inputs[first:])]]
        for k, symbol in enumerate(self.body.outputs[self.layout.carry :]):
            self.head.append(f"y{k}_ = {self.pointer(f'y {k}', symbol)}")
        for k, row in enumerate(self.scalar.turn(self.node, inputs, 2)):
            for lane, name in enumerate(row.flat):
                add(2, f"y{k}_[at * {row.size} + {lane}] = {name}" if row.size > 1 else f"y{k}_[at] = {name}")
        add(2, "done += 1")
        add(2, f"budget -= {1 + inner_steps(self.body)}")
        add(2, "if budget <= 0:")
        for line in (*save, "return 1"):
            add(3, line)
        for line in (*save, *(["progress[2] = 0"] if self.state == "progress" else []), "return 0"):
            add(1, line)

    def _item(self, k: int, symbol: Symbol) -> Any:
        """This step's row of an x."""
        kind, add = code(symbol.dtype), self.scalar.text.add
        table = self.flags[self.layout.carry + self.layout.consts + k]
        self.head.append(f"x{k}_ = {self.argument(f'x {k}') if table else self.pointer(f'x {k}', symbol)}")
        self.head.append(f"sx{k}_ = {self.argument(f'x stride {k}')}")
        if table:
            add(2, f"e{k}_ = p_{kind}(x{k}_ + at * sx{k}_ * {kind[1]})")
            return self.table(f"x {k}", f"e{k}_", symbol)
        item = lanes.named(symbol.spec, f"e{k}_")
        for lane, name in enumerate(lanes.flat([item])):
            add(2, f"{name} = x{k}_[at * sx{k}_ + {lane}]")
        return item

    def _head(self) -> Text:
        """What stands above the loop."""
        full = Text()
        full.add(0, "def kernel(args, lo, hi):")
        for line in self.head:
            full.add(1, line)
        for k, array in enumerate(self.scalar.body.constants):
            full.add(1, f"c{k} = p_{code(array.dtype)}({self.argument(f'constant {k}')})[0]")
        if self.scalar.checks:
            full.add(1, f"failed = p_i8({self.argument('iteration')})")
        if self.scalar.asks:
            full.add(1, f"look = {self.argument('look')}")
            full.add(1, f"signals = {self.argument('signals')}")
        full.add(1, f"done = {self.state}[1]")
        full.add(1, f"budget = {scalar_loops.BUDGET}")
        return full


def _elements(spec: Spec, pointer: str) -> Lanes:
    """The elements that lie at a pointer, in row order."""
    made = lanes.named(spec, "")
    for lane, index in enumerate(np.ndindex(*made.shape)):
        made[index] = f"{pointer}[{lane}]"
    return made
