"""What the writers of kernels share: arguments, strides and addresses, and the loops that go around a body."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from treadle.compile.cost import SLICE
from treadle.compile.fusion.emit import Body, Operands, Text, code


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

    def addresses(self) -> None:
        """a0, a1, ...: the operands."""
        for k, view in enumerate(self.geometry.operands.views):
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
        self.text.add(indent, f"q{operand} = p_{self.code_of(operand)}({self.address(operand, loops, base)})")

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
        whole.lines += self.text.lines
        whole.add(1, "return 0")
        return whole
