"""A program as text, one line an instruction: read back from its words when somebody asks, so that nothing is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.compile.run.machine import Op, Slot

if TYPE_CHECKING:
    from treadle.compile.run.executor import Layout

# How many words each instruction takes.
_WORDS = {
    **{Op.RETURN: 1, Op.CALL: 3, Op.PARALLEL: 4, Op.COPY: 4, Op.FILL: 4, Op.JUMP: 2, Op.JUMP_IF: 3, Op.JUMP_UNLESS: 3},
    **{Op.JUMP_LESS: 4, Op.SET: 3, Op.ADD: 3, Op.MOVE: 4, Op.LOAD: 3, Op.STORE: 3, Op.ADDRESS: 5, Op.HOST: 2},
}
_WRITES = frozenset((Op.SET, Op.ADD, Op.MOVE, Op.LOAD, Op.ADDRESS))  # the slot that their first operand names


def listing(layout: Layout) -> list[str]:
    """The program's lines: labels, and instructions behind their pcs."""
    reader = _Reader(layout)
    lines: list[str] = []
    pc, code = 1, layout.code.tolist()
    labels: dict[int, list[int]] = {}
    for number, place in layout.labels.items():
        labels.setdefault(place, []).append(number)
    while pc < len(code):
        lines += [f"L{number}:" for number in labels.get(pc, ())]
        if pc == layout.commit:
            lines.append("commit:")
        op = code[pc]
        note = layout.notes.get(pc)
        text = reader.text(op, code[pc + 1 : pc + _WORDS[op]])
        lines.append(f"{pc:5d}  {text}" + (f"  # {note}" if note is not None else ""))
        pc += _WORDS[op]
    return lines


class _Reader:
    """Knows what the slots of a frame stand for."""

    def __init__(self, layout: Layout) -> None:
        self.first = Slot.FIRST + layout.inputs + layout.outputs
        self.slots = layout.slots().tolist()
        self.labels = {place: number for number, place in layout.labels.items()}
        self.calls = iter(layout.calls)
        self.names: dict[int, str] = {}  # of slots that hold addresses
        patches = layout.patches.tolist()
        for slot, base, offset in zip(patches[::3], patches[1::3], patches[2::3], strict=True):
            self.names[slot] = _place(base, offset, layout.inputs)
        constants = [(a.__array_interface__["data"][0], a.nbytes) for a in layout.constants]
        for slot, value in enumerate(self.slots, self.first):
            for k, (start, nbytes) in enumerate(constants):
                if slot not in self.names and start <= value < start + max(nbytes, 1):
                    self.names[slot] = f"constant{k}" + (f"+{value - start}" if value != start else "")
        self.moved: dict[int, str] = {}  # what was brought last into slots
        self.cells = {code for op, code in _first_operands(layout) if op in _WRITES}

    def name(self, slot: int) -> str:
        """What a slot holds: an address, or a number that the program changes."""
        return self.names.get(slot) or f"cell{slot}"

    def argument(self, slot: int) -> str:
        """What a call finds in a slot of its block."""
        found = self.names.get(slot) or self.moved.get(slot)
        return str(self.slots[slot - self.first]) if found is None else found

    def text(self, op: int, words: list[int]) -> str:
        """An instruction."""
        if op in (Op.CALL, Op.PARALLEL):
            name, count = next(self.calls), next(self.calls)
            assert isinstance(count, int)
            block = words[1]
            args = ", ".join([self.argument(slot) for slot in range(block, block + count)])
            way = "parallel" if op == Op.PARALLEL else "call"
            by = f" by {words[2]}" if op == Op.PARALLEL else ""
            return f"{way} {name}({args}) over {self.argument(block - 1)}{by}"
        if op == Op.SET:
            self.moved[words[0]] = f"fresh({words[1]})"
            return f"cell{words[0]} = {words[1]}"
        if op == Op.MOVE:
            source = self.name(words[1]) + (f"+{words[2]}" if words[2] else "")
            self.moved[words[0]] = source
            return f"cell{words[0]} = {source}"
        return self._other(op, words)

    def _other(self, op: int, words: list[int]) -> str:
        name = self.name
        if op == Op.COPY:
            return f"copy {name(words[0])} <- {name(words[1])}, {words[2]} bytes"
        if op == Op.FILL:
            return f"fill {name(words[0])} with {words[1]}, {words[2]} bytes"
        if op == Op.ADD:
            return f"cell{words[0]} += {words[1]}"
        if op == Op.LOAD:
            return f"cell{words[0]} = int64 at {name(words[1])}"
        if op == Op.STORE:
            return f"int64 at {name(words[0])} = cell{words[1]}"
        if op == Op.ADDRESS:
            return f"cell{words[0]} = {name(words[1])} + cell{words[2]} * {words[3]}"
        if op == Op.HOST:
            return f"host {words[0]}"
        if op == Op.RETURN:
            return "return"
        return f"jump L{self.labels[words[-1]]}{self._condition(op, words)}"

    def _condition(self, op: int, words: list[int]) -> str:
        if op == Op.JUMP_IF:
            return f" if {self.name(words[0])}"
        if op == Op.JUMP_UNLESS:
            return f" unless {self.name(words[0])}"
        if op == Op.JUMP_LESS:
            limit = self.name(words[1]) if words[1] in self.cells else self.argument(words[1])
            return f" if {self.name(words[0])} < {limit}"
        return ""


def _place(base: int, offset: int, inputs: int) -> str:
    """A place in an input, an output or the arena."""
    if base == Slot.ARENA:
        return f"arena+{offset}"
    number = base - Slot.FIRST
    name = f"input{number}" if number < inputs else f"output{number - inputs}"
    return f"{name}+{offset}" if offset else name


def _first_operands(layout: Layout) -> list[tuple[int, int]]:
    """Each instruction's number and first operand."""
    found, pc, code = [], 1, layout.code.tolist()
    while pc < len(code):
        found.append((code[pc], code[pc + 1] if _WORDS[code[pc]] > 1 else 0))
        pc += _WORDS[code[pc]]
    return found


__all__ = ["listing"]
