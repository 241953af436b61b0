"""Kernels that walk over one shape while integer arrays, read on the way, say where in an operand to go.

Gathers, scatters and slices with starts found while running are walks: they differ in the line they do at an element.
Indices are checked: a bad one reads (or writes) place 0 instead, and the kernel reports it once, at its end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from treadle.compile.cost import GRAIN
from treadle.compile.fusion.emit import Kernel, Operands, Text, code
from treadle.compile.stepping.scalar_loops import CHECK
from treadle.compile.views import View
from treadle.core.graph import Node
from treadle.records import dataclass, field

Line = Callable[[list[str]], str]


@dataclass(frozen=True, slots=True)
class Index:
    """Integers that move an operand: `value * step` elements on, where 0 <= value < size.

    strides: of the integers over the walk's shape.  wraps: whether negative values count from the end.
    """

    view: View
    strides: tuple[int, ...]
    size: int
    moves: int  # the operand
    step: int
    wraps: bool = True


@dataclass(slots=True)
class Walk:
    """One walk: its shape, operands with their strides over it, indices, and the line done at each element.

    line:     the names of the operands' elements (`q0[j1]`) -> what to do.
    in_turn:  whether elements must come one after another, as where two updates may meet in one place.
    """

    node: Node
    shape: tuple[int, ...]
    operands: Sequence[tuple[View, tuple[int, ...]]]
    indices: Sequence[Index]
    line: Line
    in_turn: bool = False

    def kernel(self) -> Kernel:
        """The kernel text and its arguments."""
        return _Writer(self).kernel()


@dataclass(slots=True)
class _Writer:
    walk: Walk
    args: list[Any] = field(default_factory=list)
    head: list[str] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    text: Text = field(default_factory=Text)
    views: list[View] = field(default_factory=list)  # operands, then indices
    tables: list[int] = field(default_factory=list)  # where in `views` the indices are
    depth: list[int] = field(default_factory=list)  # the innermost loop that an index depends on; -1: none
    sizes: list[int] = field(default_factory=list)
    steps: list[list[int]] = field(default_factory=list)

    def _argument(self, name: str, value: Any) -> str:
        """A name for an argument, read above the loops."""
        if name not in self.known:
            self.known.add(name)
            self.head.append(f"{name} = args[{len(self.args)}]")
            self.args.append(value)
        return name

    def kernel(self) -> Kernel:
        walk = self.walk
        table = Operands(walk.shape)
        both = [*walk.operands, *((index.view, index.strides) for index in walk.indices)]
        table.views, table.strides = [view for view, _ in both], [strides for _, strides in both]
        self.views = table.views
        self.tables = list(range(len(walk.operands), len(both)))
        self.sizes, _, self.steps = table.collapse([False] * len(walk.shape))
        if not self.sizes:
            self.sizes, self.steps = [1], [[0] for _ in self.views]
        for k in range(len(self.views)):
            self._argument(f"a{k}", self.views[k])
        self.depth = [max((d for d, s in enumerate(self.steps[t]) if s), default=-1) for t in self.tables]
        self._loops()
        body = self.text.lines
        self.text = Text()
        self.text.add(0, "def kernel(args, lo, hi):")
        for line in self.head:
            self.text.add(1, line)
        if walk.indices:
            self.text.add(1, "bad = i8(0)")
        self.text.lines += body
        self.text.add(1, f"return bad * {CHECK}" if walk.indices else "return 0")
        total, hi = math.prod(self.sizes), self.sizes[0]
        grain = max(1, -(-GRAIN * hi // total)) if hi > 1 and total >= 2 * GRAIN and not walk.in_turn else 0
        return Kernel(self.text, tuple(self.args), hi, grain)

    def _loops(self) -> None:
        last = len(self.sizes) - 1
        self._resolve(-1, 1)
        for axis in range(last + 1):
            indent = axis + 1
            if axis == last:
                for k in [*range(len(self.walk.operands)), *self._late(last)]:
                    self.text.add(indent, f"q{k} = p_{code(self.views[k].dtype)}({self._address(k, last)})")
            bounds = "lo, hi" if axis == 0 else self._argument(f"n{axis}", self.sizes[axis])
            self.text.add(indent, f"for j{axis} in range({bounds}):")
            self._resolve(axis, indent + 1)
        names = [f"q{k}[{self._element(k, last)}]" for k in range(len(self.walk.operands))]
        self.text.add(last + 2, self.walk.line(names), self.walk.node)

    def _late(self, last: int) -> list[int]:
        """The tables of indices that are read in the innermost loop."""
        return [t for t, depth in zip(self.tables, self.depth, strict=True) if depth == last]

    def _resolve(self, axis: int, indent: int) -> None:
        """Read and check the indices that are known from this axis on."""
        last = len(self.sizes) - 1
        for i, index in enumerate(self.walk.indices):
            if self.depth[i] != axis:
                continue
            table = self.tables[i]
            if axis == last:
                read = f"q{table}[{self._stepped(table, last)}]"
            else:
                read = f"p_{code(index.view.dtype)}({self._address(table, axis + 1)})[0]"
            size = self._argument(f"m{i}", index.size)
            self.text.add(indent, f"r{i} = i8({read})")
            if index.wraps:
                self.text.add(indent, f"r{i} = r{i} + select(r{i} < 0, {size}, i8(0))")
            self.text.add(indent, f"out{i} = u8(r{i}) >= u8({size})", self.walk.node)
            self.text.add(indent, f"bad = bad | i8(out{i})")
            self.text.add(indent, f"r{i} = select(out{i}, i8(0), r{i})")

    def _address(self, operand: int, axis: int) -> str:
        """Where an operand stands when the loop over `axis` begins."""
        size = self.views[operand].dtype.itemsize
        terms = [f"a{operand}"]
        for d in range(axis):
            step = self.steps[operand][d]
            if step:
                terms.append(f"j{d} * {self._argument(f's{operand}_{d}', step * size)}")
        for i, index in enumerate(self.walk.indices):
            if index.moves == operand and self.depth[i] < axis:
                terms.append(f"r{i} * {self._argument(f't{i}', index.step * size)}")
        return " + ".join(terms)

    def _stepped(self, operand: int, axis: int) -> str:
        step = self.steps[operand][axis]
        if step == 0:
            return "0"
        return f"j{axis}" if step == 1 else f"j{axis} * {self._argument(f'e{operand}_{axis}', step)}"

    def _element(self, operand: int, last: int) -> str:
        """The operand's element, counted from where the innermost loop began."""
        terms = [self._stepped(operand, last)]
        for i, index in enumerate(self.walk.indices):
            if index.moves == operand and self.depth[i] == last:
                terms.append(f"r{i}" if index.step == 1 else f"r{i} * {self._argument(f'u{i}', index.step)}")
        found = [term for term in terms if term != "0"]
        return " + ".join(found) or "0"
