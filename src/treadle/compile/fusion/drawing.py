"""Random numbers in the kernels that read them: drawn by pieces of the innermost loop into memory on the stack.

A generator gives whole blocks, which suits vectors but not single elements. So the innermost loop goes by pieces;
before each, the blocks that hold its numbers are drawn into a room, which stays in the first-level cache, and the loop
reads them as it reads any array. Where a piece begins in a block does not matter, so neither do shares.

Normal numbers come in pairs, half of all numbers apart. Kernels that draw such go over the first half alone, and do for
each piece the numbers of both halves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from treadle.compile.cost import DRAWN_PIECE, DRAWN_ROOM, DRAWN_RUN
from treadle.compile.fusion.emit import Operands
from treadle.compile.moves import philox
from treadle.compile.views import contiguous_strides
from treadle.core.graph import Node

if TYPE_CHECKING:
    from treadle.compile.fusion.sources import Drawn
    from treadle.compile.fusion.surroundings import LoopWriter

ABREAST = 8  # blocks drawn at once: whole vectors, without a loop for what is left of them


def pieces_fit(operands: Operands, sizes: Sequence[int], steps: Sequence[Sequence[int]], inner: int) -> bool:
    """Whether the random numbers of a kernel can be drawn by pieces of its innermost loop."""
    if operands.joined or (len(sizes) > 1 and sizes[inner] < DRAWN_RUN):
        return False
    if len(sizes) > 1 and any(s[inner] not in (-1, 0, 1) for k, s in enumerate(steps) if k not in operands.counted):
        return False  # work that goes by tiles
    return all(
        (steps[k][inner] == 1 or sizes[inner] == 1)
        and all(s or size == 1 for s, size in zip(steps[k], sizes, strict=True))
        for k in operands.drawn
    )


def half_of(operands: Operands, sizes: Sequence[int], steps: Sequence[Sequence[int]]) -> int | None:
    """How much of the first axis normal numbers are drawn for at once, the rest being their others; None: no such half.

    0 where there are no normal numbers.
    """
    normal = [k for k, (drawn, _) in operands.drawn.items() if drawn.node.op == "random_normal"]
    if not normal:
        return 0
    fits = len(sizes) == 1 or sizes[0] % 2 == 0
    straight = contiguous_strides(tuple(sizes))
    whole = all(tuple(steps[k]) == straight and not operands.drawn[k][0].view.offset for k in normal)
    return (sizes[0] + 1) // 2 if fits and (whole or math.prod(sizes) == 1) else None


class Drawing:
    """Writes the lines of one kernel that draw random numbers."""

    def __init__(self, writer: LoopWriter) -> None:
        self.writer = writer
        self.plan = writer.geometry
        self.drawn = self.plan.operands.drawn
        self.normal = [k for k, (drawn, _) in self.drawn.items() if drawn.node.op == "random_normal"]
        self.half = 0
        self.first = 0  # the axis of which normal numbers take a half
        self.rows: dict[int, Sequence[int]] = {}  # what is drawn for whole rows, and the axes of a row

    def begin(self, half: int, order: Sequence[int]) -> None:
        """The keys, counters, bounds and rooms, at the head of the kernel; half: of the first axis, see `half_of`."""
        add, writer = self.writer.text.add, self.writer
        self.half, self.first = half, order[0]
        for k in self.drawn:
            self._source(k, self.drawn)
            for name in ("near", "far", "radius", "angle") if k in self.normal else ("room",):
                self._room(f"{name}_{k}", k, DRAWN_ROOM if k in self.rows else DRAWN_PIECE)
        for k, (drawn, _) in self.plan.operands.few.items():
            self._source(k, self.plan.operands.few)
            self._room(f"room_{k}", k, DRAWN_PIECE)
            add(1, f"numbers_{k} = p_{writer.code_of(k)}(room_{k})")
            words = drawn.node.outputs[0].spec.size
            words += words % 2 if drawn.node.op == "random_normal" else 0
            if words <= philox.a_block(writer.code_of(k)):
                self._one_block(k, drawn.node)
            else:
                self._all(k, drawn.node, words)
            size = drawn.view.dtype.itemsize
            add(1, f"a{k} = room_{k} + {writer.named(f'from_{k}', drawn.view.offset)} * {size}")

    def _source(self, k: int, drawn: dict[int, tuple[Drawn, tuple[int, ...]]]) -> None:
        """What an operand's words are drawn from, and the bounds of whole numbers."""
        add, (source, (state, *bounds)) = self.writer.text.add, drawn[k]
        add(1, f"key_{k} = p_u8(a{state})[0]")
        add(1, f"count_{k} = p_u8(a{state} + {self.writer.named(f'next_{k}', source.state.strides[0] * 8)})[0]")
        philox.keys(self.writer.text, 1, f"key_{k}", f"_{k}")
        if bounds:
            philox.between(self.writer.text, 1, f"p_i8(a{bounds[0]})[0]", f"p_i8(a{bounds[1]})[0]", f"_{k}")

    def _room(self, name: str, k: int, count: int) -> None:
        """Memory on the stack for so many of an operand's numbers or words, and what is drawn beyond them."""
        size = self.writer.code_of(k)[1]
        rows = -(-count * int(size) // 32) + ABREAST  # each of 32 bytes at least
        self.writer.text.add(1, f"{name} = room_f{size}({rows})")

    def _one_block(self, k: int, node: Node) -> None:
        """Draw numbers that one block gives."""
        text, kind, count = self.writer.text, self.writer.code_of(k), node.outputs[0].spec.size
        philox.rounds(text, 1, f"count_{k}", f"_{k}")
        words = philox.WORDS if kind[1] == "8" else ("u4(even0)", "u4(odd0)", "u4(even1)", "u4(odd1)")
        if node.op == "random_normal":
            half = (count + 1) // 2
            for n in range(half):
                ends = f"numbers_{k}[{n}]", f"numbers_{k}[{half + n}]"
                philox.pair(text, 1, kind, (words[n], words[half + n]), ends, node, f"_{k}")
            return
        for n in range(count):
            for line in philox.number(node.op, kind, words[n], f"numbers_{k}[{n}]", f"_{k}"):
                text.add(1, line, node)

    def _all(self, k: int, node: Node, count: int) -> None:
        """Draw all of few numbers, of so many words."""
        add, kind = self.writer.text.add, self.writer.code_of(k)
        word = philox.word_kind(kind)
        self._room(f"words_{k}", k, DRAWN_PIECE)
        size = self.writer.named(f"size_{k}", count)
        self._blocks(1, k, "i8(0)", size, "words")
        add(1, f"pwords_{k} = p_{word}(words_{k})")
        if node.op != "random_normal":
            add(1, f"for b in range({size}):")
            for line in philox.number(node.op, kind, f"pwords_{k}[b]", f"numbers_{k}[b]", f"_{k}"):
                add(2, line, node)
            return
        half = f"{size} // 2"
        add(1, f"pangle_{k} = p_{word}(words_{k} + {half} * {kind[1]})")
        add(1, f"pfar_{k} = p_{kind}(room_{k} + {half} * {kind[1]})")
        add(1, f"for b in range({half}):")
        ends = f"numbers_{k}[b]", f"pfar_{k}[b]"
        philox.pair(self.writer.text, 2, kind, (f"pwords_{k}[b]", f"pangle_{k}[b]"), ends, node, f"_{k}")

    def pointer(self, indent: int, k: int, loops: Sequence[int]) -> None:
        """What was drawn for a row is an array; what is drawn by pieces gets its pointer there."""
        if k in self.rows:
            place = self.writer.address(k, [axis for axis in loops if axis in self.rows[k]], f"room_{k}")
            size = self.writer.code_of(k)[1]
            self.writer.text.add(indent, f"q{k} = p_{self._kept(k)}({place} + over_{k} * {size})")

    def load(self, indent: int, k: int, index: str) -> None:
        """The lines that make `x0`: of a word, or what was made of it before."""
        kind, node = self.writer.code_of(k), self._node(k)
        if self._kept(k) == kind:
            self.writer.text.add(indent, f"x{k} = q{k}[{index}]")
            return
        for line in philox.number(node.op, kind, f"q{k}[{index}]", f"x{k}", f"_{k}"):
            self.writer.text.add(indent, line, node)

    def _kept(self, k: int) -> str:
        """The kind of what is kept in a room: words, or numbers that are dear and read by several passes."""
        kind, op = self.writer.code_of(k), self._node(k).op
        made = k in self.normal or (k in self.rows and op != "random_uniform")
        return kind if made else philox.word_kind(kind)

    def row(self, indent: int, loops: Sequence[int], count: str) -> None:
        """Draw the numbers of a row of `count`."""
        add = self.writer.text.add
        for k in self.rows:
            kind, node = self.writer.code_of(k), self._node(k)
            self._blocks(indent, k, self._place(k, loops), count, "room")
            if self._kept(k) == kind:
                add(indent, f"words_{k} = p_{philox.word_kind(kind)}(room_{k})")
                add(indent, f"numbers_{k} = p_{kind}(room_{k})")
                add(indent, f"for b in range(over_{k} + {count}):")
                for line in philox.number(node.op, kind, f"words_{k}[b]", f"numbers_{k}[b]", f"_{k}"):
                    add(indent + 1, line, node)

    # -- pieces --------------------------------------------------------------------------------------------------------

    def pieces(self, indent: int, loops: Sequence[int], inner: int, bounds: str) -> tuple[int, str]:
        """A loop over pieces of the innermost one, each with its numbers drawn: the indent inside, and its bounds."""
        add = self.writer.text.add
        low, comma, high = bounds.partition(", ")
        add(indent, f"start = {low if comma else 'i8(0)'}")
        add(indent, f"stop = {high if comma else low}")
        add(indent, f"for piece in range((stop - start + {DRAWN_PIECE - 1}) // {DRAWN_PIECE}):")
        indent += 1
        near, till = ("near", "till") if self.half else ("begin", "end")
        add(indent, f"{near} = start + piece * {DRAWN_PIECE}")
        add(indent, f"{till} = min(stop, {near} + {DRAWN_PIECE})")
        if self.half:
            indent = self._sides(indent, loops, inner)
        for k in self.drawn:
            if k not in self.normal and k not in self.rows:
                self._blocks(indent, k, f"{self._place(k, loops)} + begin", "end - begin", "room")
                size = self.writer.code_of(k)[1]
                add(indent, f"q{k} = p_{self._kept(k)}(room_{k} + (over_{k} - begin) * {size})")
        return indent, "begin, end"

    def _sides(self, indent: int, loops: Sequence[int], inner: int) -> int:
        """Draw pairs of normal numbers for a piece, and go over both its sides: the indent inside."""
        add, half = self.writer.text.add, self.writer.named("half", self.half)
        for k in self.normal:
            self._pairs(indent, k, loops)
        add(indent, "for side in range(2):")
        indent += 1
        if loops:
            add(indent, f"j{self.first} = i{self.first} + side * {half}")
            add(indent, "begin = near")
            add(indent, "end = till")
        else:
            add(indent, f"begin = near + side * {half}")
            add(indent, f"end = min(till + side * {half}, {self.writer.named('whole', self.plan.sizes[inner])})")
        for k in self.normal:
            kind = self.writer.code_of(k)
            add(indent, f"q{k} = p_{kind}(select(side == 0, near_{k}, far_{k}) - begin * {kind[1]})")
        return indent

    def _pairs(self, indent: int, k: int, loops: Sequence[int]) -> None:
        """Draw the pairs of normal numbers for a piece: the words of radius and angle, and what those make."""
        add, kind = self.writer.text.add, self.writer.code_of(k)
        word, each = philox.word_kind(kind), philox.a_block(kind)
        half = self.writer.named(f"half_{k}", (self.drawn[k][0].view.size + 1) // 2)
        add(indent, f"first_{k} = {self._place(k, loops, 'i')} + near")
        add(indent, "for part in range(2):")
        add(indent + 1, f"words_{k} = select(part == 0, radius_{k}, angle_{k})")
        self._blocks(indent + 1, k, f"first_{k} + part * {half}", "till - near", "words")
        for name, place in (("radius", f"first_{k}"), ("angle", f"(first_{k} + {half})")):
            add(indent, f"p{name}_{k} = p_{word}({name}_{k} + {place} % {each} * {kind[1]})")
        for name in ("near", "far"):
            add(indent, f"p{name}_{k} = p_{kind}({name}_{k})")
        add(indent, "for b in range(till - near):")
        ends = f"pnear_{k}[b]", f"pfar_{k}[b]"
        words = f"pradius_{k}[b]", f"pangle_{k}[b]"
        philox.pair(self.writer.text, indent + 1, kind, words, ends, self._node(k), f"_{k}")

    def _node(self, k: int) -> Node:
        return (self.drawn.get(k) or self.plan.operands.few[k])[0].node

    def _place(self, k: int, loops: Sequence[int], letter: str = "j") -> str:
        """Which of the numbers stands where the innermost loop begins; letter: of the counter of the first loop."""
        text = self.writer.named(f"from_{k}", self.drawn[k][0].view.offset)
        for axis in loops:
            if self.plan.steps[k][axis]:
                counter = f"{letter if axis == self.first else 'j'}{axis}"
                text += f" + {counter} * {self.writer.named(f'd{k}_{axis}', self.plan.steps[k][axis])}"
        return text

    def _blocks(self, indent: int, k: int, place: str, count: str, name: str) -> None:
        """Draw the blocks with the words from `place` on into a room, where the first of them is number `over`."""
        add, each = self.writer.text.add, philox.a_block(self.writer.code_of(k))
        add(indent, f"place_{k} = {place}")
        add(indent, f"over_{k} = place_{k} % {each}")
        add(indent, f"block_{k} = count_{k} + u8(place_{k} // {each})")
        add(indent, f"drawn_{k} = p_u8({name}_{k})")
        several = each * ABREAST
        add(indent, f"for b in range((over_{k} + {count} + {several - 1}) // {several} * {ABREAST}):")
        philox.rounds(self.writer.text, indent + 1, f"block_{k} + u8(b)", f"_{k}")
        for n, word in enumerate(philox.WORDS):
            add(indent + 1, f"drawn_{k}[2 * b + {n}] = {word}", self._node(k))
