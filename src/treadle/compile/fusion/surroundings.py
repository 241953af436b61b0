"""What the writers of kernels share: arguments, strides and addresses, and the loops that go around a body."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from treadle.compile.cost import SLICE
from treadle.compile.fusion.drawing import Drawing
from treadle.compile.fusion.emit import Body, Operands, Text, code
from treadle.compile.fusion.joined import ZEROS, Grid, chosen
from treadle.compile.fusion.reads import Reads
from treadle.compile.stepping.scalar_loops import CHECK


class Geometry(Protocol):
    """What a writer must know of its kernel: operands, and sizes and strides over the collapsed axes.

    apart: whether no two operands overlap; of a kernel for partial results, whether that holds of the whole ones too,
    so that the size of the work does not change the text.
    """

    operands: Operands
    body: Body
    sizes: list[int]
    steps: list[list[int]]
    apart: bool


class LoopWriter:
    """Collects the head of a kernel (arguments, sizes, strides) while its loops are written."""

    def __init__(self, plan: Geometry) -> None:
        self.geometry = plan
        self.text = Text()
        self.args: list[Any] = []
        self.head: list[str] = []
        self.bounds: dict[int, str] = {}
        self.reads = Reads(self) if plan.operands.picks or plan.operands.counted else None
        self.drawing = Drawing(self) if plan.operands.drawn or plan.operands.few else None
        self.scope: list[int] | None = None  # loops around several others, in which what was found holds for all
        self._known: set[str] = set()

    def argument(self, value: Any) -> str:
        """One more argument; the text that reads it."""
        self.args.append(value)
        return f"args[{len(self.args) - 1}]"

    def named(self, name: str, value: Any) -> str:
        """An argument under a name, once."""
        if name not in self._known:
            self._known.add(name)
            self.head.append(f"{name} = {self.argument(value)}")
        return name

    def number(self, name: str, value: float) -> str:
        """A float64 argument under a name, once."""
        if name not in self._known:
            self._known.add(name)
            self.head.append(f"{name} = p_f8({self.argument(np.array(value, np.float64))})[0]")
        return name

    def addresses(self) -> None:
        """a0, a1, ...: the operands."""
        operands = self.geometry.operands
        zeros = [view for view in operands.views if view.buffer is ZEROS]
        if zeros:
            most = max(zeros, key=lambda view: view.nbytes)
            self.named("zeros", np.zeros(-(-most.nbytes // 8), np.int64))
        for k, view in enumerate(operands.views):
            if view.buffer is ZEROS:
                self.head.append(f"a{k} = zeros + {self.argument(view.offset)} * {view.dtype.itemsize}")
            elif k not in operands.counted and k not in operands.drawn and k not in operands.few:
                self.named(f"a{k}", view)

    def constants(self) -> None:
        """c0, c1, ...: numbers that are passed, since they may come from a size."""
        for k, array in enumerate(self.geometry.body.constants):
            self.head.append(f"c{k} = p_{code(array.dtype)}({self.argument(array)})[0]")

    def bound(self, axes: Iterable[int], first: int) -> None:
        """n0, n1, ...: sizes; the first axis goes by shares."""
        for axis in axes:
            if axis == first:
                self.bounds[axis] = "lo, hi"
            else:
                self.bounds[axis] = self.named(f"n{axis}", self.geometry.sizes[axis])

    def code_of(self, operand: int) -> str:
        """The dtype code of an operand."""
        return code(self.geometry.operands.views[operand].dtype)

    def stride(self, operand: int, axis: int) -> str:
        """The name of an operand's stride in bytes along a loop."""
        itemsize = self.geometry.operands.views[operand].dtype.itemsize
        return self.named(f"s{operand}_{axis}", self.geometry.steps[operand][axis] * itemsize)

    def address(self, operand: int, loops: Sequence[int], base: str = "") -> str:
        """Where an operand's element lies for the current place in these loops."""
        text = base or f"a{operand}"
        for axis in loops:
            if self.geometry.steps[operand][axis]:
                text += f" + j{axis} * {self.stride(operand, axis)}"
        return text

    def pointer(self, indent: int, operand: int, loops: Sequence[int], base: str = "") -> None:
        """`q0 = p_f4(a0 + ...)`."""
        if self.drawing is not None and operand in self.drawing.drawn:
            self.drawing.pointer(indent, operand, loops)
            return
        moved = self.reads.begin(indent, operand, loops) if self.reads else ""
        if moved is not None:
            grid = self.geometry.operands.joined.get(operand)
            place = self.address(operand, loops, base) if grid is None else self._piece(operand, grid, loops)
            self.text.add(indent, f"q{operand} = p_{self.code_of(operand)}({place}{moved})")

    def _piece(self, operand: int, grid: Grid, loops: Sequence[int]) -> str:
        """The address in the piece of a joined operand that these loops, and the stretch of the last, stand in."""
        return chosen(
            grid,
            lambda number: self.address(number, loops),
            lambda axis, n: self.named(f"k{operand}_{axis}_{n}", grid.cuts[axis][n]),
            lambda axis: f"j{axis}" if axis in loops else "low",
        )

    def stretches(self, indent: int, inner: int) -> int:
        """A loop over the stretches of the innermost one between cuts, where there are any; the indent inside."""
        cuts = {place for grid in self.geometry.operands.joined.values() for place in grid.cuts[inner][1:-1]}
        if not any(len(grid.cuts[inner]) > 2 for grid in self.geometry.operands.joined.values()):
            return indent
        edges = np.array([0, *sorted(cuts), self.geometry.sizes[inner]], np.int64)
        count = self.named("stretches", len(edges) - 1)
        low, comma, high = self.bounds[inner].partition(", ")
        if not comma:
            low, high = "i8(0)", low
        if "edges" not in self._known:
            self._known.add("edges")
            self.head.append(f"edges = p_i8({self.argument(edges)})")
        self.text.add(indent, f"for stretch in range({count}):")
        self.text.add(indent + 1, f"low = max({low}, edges[stretch])")
        self.text.add(indent + 1, f"high = min({high}, edges[stretch + 1])")
        self.bounds[inner] = "low, high"
        return indent + 1

    def varies(self, operand: int, axes: Sequence[int]) -> bool:
        """Whether an operand's place changes along any of these axes."""
        return varies(self.geometry.operands, self.geometry.steps, operand, axes)

    def load(self, indent: int, operand: int, inner: int | None = None) -> None:
        """`x0 = q0[j1]`; with no loop, what stands where the pointer was set."""
        if self.reads is not None and self.reads.special(operand):
            self.reads.load(indent, operand, inner)
            return
        index = "0" if inner is None else self.index(operand, inner)
        if self.drawing is not None and operand in self.drawing.drawn:
            self.drawing.load(indent, operand, index)
        else:
            self.text.add(indent, f"x{operand} = q{operand}[{index}]")

    def index(self, operand: int, inner: int) -> str:
        """The index of an operand's pointer in the innermost loop."""
        step = self.geometry.steps[operand][inner]
        if step == 1:
            return f"j{inner}"
        if step == 0:
            return "0"
        if step == -1:  # read backwards: with the stride in the text, that vectorises
            return f"-j{inner}"
        name = f"e{operand}_{inner}"
        if name not in self._known:
            self._known.add(name)
            itemsize = self.geometry.operands.views[operand].dtype.itemsize
            self.head.append(f"{name} = {self.argument(step * itemsize)} // {itemsize}")
        return f"j{inner} * {name}"

    def open(self, loops: Sequence[int], indent: int) -> int:
        """Open loops; the indent inside."""
        for axis in loops:
            self.text.add(indent, f"for j{axis} in range({self.bounds[axis]}):")
            indent += 1
        return indent

    def sliced(self, indent: int, axis: int) -> tuple[int, str]:
        """A loop over slices of an axis, for sums that lose no digits: the indent inside, and the bounds of a slice.

        Each slice adds up its own, so that few numbers are added one after another to a large sum.
        """
        bounds = self.bounds[axis]
        if "," in bounds:
            low, _, high = bounds.partition(", ")
            self.text.add(indent, f"low = {low}")
            self.text.add(indent, f"high = {high}")
            self.text.add(indent, f"for slice in range((high - low + {SLICE - 1}) // {SLICE}):")
            return indent + 1, f"low + slice * {SLICE}, min(high, low + (slice + 1) * {SLICE})"
        self.text.add(indent, f"for slice in range(({bounds} + {SLICE - 1}) // {SLICE}):")
        return indent + 1, f"slice * {SLICE}, min({bounds}, (slice + 1) * {SLICE})"

    def finished(self) -> Text:
        """The whole text."""
        whole = Text()
        # A promise to the compiler, which then makes no checks at run time for memory that overlaps.
        whole.add(0, "def kernel(args, lo, hi):" + ("  # apart" if self.geometry.apart else ""))
        for line in self.head:
            whole.add(1, line)
        checks = bool(self.geometry.operands.picks)
        if checks:
            whole.add(1, "bad = i8(0)")
        whole.lines += self.text.lines
        whole.add(1, f"return bad * {CHECK}" if checks else "return 0")
        return whole


def varies(operands: Operands, steps: Sequence[Sequence[int]], operand: int, axes: Sequence[int]) -> bool:
    """Whether an operand's place changes along any of these axes."""
    if any(steps[operand][axis] for axis in axes):
        return True
    grid = operands.joined.get(operand)
    if grid is not None:
        return any(steps[number][axis] for number in grid.numbers for axis in axes)
    return any(steps[t][axis] for t, _ in operands.picks.get(operand, ()) for axis in axes)
