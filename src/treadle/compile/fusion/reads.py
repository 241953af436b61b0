"""How kernels read what is no plain array: places that indices move, checked on the way, and positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from treadle.compile.fusion.emit import code
from treadle.compile.fusion.narrow import Narrow
from treadle.compile.fusion.sources import Index
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.fusion.surroundings import LoopWriter


class Reads:
    """Writes the lines of one kernel that read by index or count positions.

    A bad index reads place 0 instead, and the kernel reports it at its end.
    """

    def __init__(self, writer: LoopWriter) -> None:
        self.writer = writer
        self.plan = writer.geometry
        self.picks, self.counted = self.plan.operands.picks, self.plan.operands.counted
        self.found: set[str] = set()  # indices that hold for the whole scope

    def special(self, operand: int) -> bool:
        """Whether an operand is no plain array."""
        return operand in self.picks or operand in self.counted

    # -- above a loop --------------------------------------------------------------------------------------------------

    def begin(self, indent: int, operand: int, loops: Sequence[int]) -> str | None:
        """What indices add to an operand's address, found here; None where it has no address."""
        if operand in self.counted:
            self._position(indent, operand, loops)
            return None
        moved = ""
        for n, (table, index) in enumerate(self.picks.get(operand, ())):
            writer = self.writer
            if any(step and axis not in loops for axis, step in enumerate(self.plan.steps[table])):
                writer.pointer(indent, table, loops)
                continue
            if f"i{operand}_{n}" not in self.found:
                kind = writer.code_of(table)
                self._check(indent, operand, n, index, f"p_{kind}({writer.address(table, loops)})[0]")
                if list(loops) == writer.scope:
                    self.found.add(f"i{operand}_{n}")
            size = self.plan.operands.views[operand].dtype.itemsize
            moved += f" + i{operand}_{n} * {writer.named(f't{operand}_{n}', index.step * size)}"
        return moved

    def _check(self, indent: int, operand: int, n: int, index: Index, read: str) -> None:
        """An index as a place counted from the front; one out of range is taken down, and becomes 0."""
        add, at = self.writer.text.add, f"i{operand}_{n}"
        size = self.writer.named(f"m{operand}_{n}", index.size)
        add(indent, f"{at} = i8({read})")
        if index.wraps:
            add(indent, f"{at} = {at} + select({at} < 0, {size}, i8(0))")
        add(indent, f"out_{at} = u8({at}) >= u8({size})", index.node)
        add(indent, f"bad = bad | i8(out_{at})")
        add(indent, f"{at} = select(out_{at}, i8(0), {at})")

    def _position(self, indent: int, operand: int, loops: Sequence[int]) -> None:
        """What stands at the beginning of the innermost loop, or, on a line of fractions, its position."""
        counted, steps = self.counted[operand], self.plan.steps[operand]
        start, step = self._whole(operand)
        text = self.writer.named(f"o{operand}", start + step * counted.view.offset)
        for axis in loops:
            if steps[axis]:
                text += f" + j{axis} * {self._step(operand, axis)}"
        self.writer.text.add(indent, f"q{operand} = i4({text})")

    def _whole(self, operand: int) -> tuple[int, int]:
        """Start and step of what is counted in integers: the numbers themselves, or the positions."""
        line = self.counted[operand].line
        return (int(line.start), int(line.step)) if line is not None and line.whole else (0, 1)

    def _step(self, operand: int, axis: int) -> str:
        return self.writer.named(f"s{operand}_{axis}", self.plan.steps[operand][axis] * self._whole(operand)[1])

    # -- in the innermost loop -----------------------------------------------------------------------------------------

    def load(self, indent: int, operand: int, inner: int | None) -> None:
        """The line that makes `x0`, and what it needs before it."""
        if operand in self.counted:
            self._count(indent, operand, inner)
            return
        self.writer.text.add(indent, f"x{operand} = q{operand}[{self.place(indent, operand, inner)}]")

    def place(self, indent: int, operand: int, inner: int | None) -> str:
        """Where an element lies that indices move, which are read here if they change in the innermost loop."""
        writer = self.writer
        place = "0" if inner is None else writer.index(operand, inner)
        for n, (table, index) in enumerate(self.picks[operand]):
            if inner is not None and self.plan.steps[table][inner]:
                self._check(indent, operand, n, index, f"q{table}[{writer.index(table, inner)}]")
                place += f" + i{operand}_{n} * {writer.named(f'u{operand}_{n}', index.step)}"
        return place.removeprefix("0 + ")

    def _count(self, indent: int, operand: int, inner: int | None) -> None:
        counted, at = self.counted[operand], f"q{operand}"
        if inner is not None and self.plan.steps[operand][inner]:
            by = self.plan.steps[operand][inner] * self._whole(operand)[1]
            at += f" + i4(j{inner})" if by == 1 else f" + i4(j{inner}) * i4({self._step(operand, inner)})"
        line, kind = counted.line, code(counted.view.dtype)
        if line is None:
            value = f"select(i4({at}) == i4(0), {kind}(1), {kind}(0))"
        elif line.whole:
            value = f"i4({at})" if kind[0] != "f" else f"{kind}(i4({at}))"
        else:
            value = f"{kind}({self.writer.number(f'f{operand}', line.start)} + mul_apart_f8("
            value += f"{self.writer.number(f'g{operand}', line.step)}, f8(i4({at}))))"
            if line.last is not None:
                last = self.writer.named(f"h{operand}", counted.size - 1)
                end = f"{kind}({self.writer.number(f'l{operand}', line.last)})"
                value = f"select(i4({at}) == i4({last}), {end}, {value})"
        self.writer.text.add(indent, f"x{operand} = {value}")

    def name(self, symbol: Symbol, operand: int) -> None:
        """Let a value be known in the body by what was read; positions also as the 32-bit numbers that they are."""
        counted, body = self.counted.get(operand), self.plan.body
        kind = code(symbol.dtype)
        if counted is not None and counted.line is not None and counted.line.whole and kind[0] != "f":
            ends = (int(counted.line.start), int(counted.line.start + counted.line.step * (counted.size - 1)))
            body.narrow[symbol] = Narrow(f"x{operand}", min(ends), max(ends))
            body.names[symbol] = f"{kind}(x{operand})"
