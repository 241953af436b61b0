"""LLVM assembly as text: a module and a builder with those methods of llvmlite's that kernels need.

llvmlite builds a tree of objects and prints it at the end, which takes about 45 us an instruction; lines of text take
about 4. Types and constants are llvmlite's, so that what writes primitives and vector functions can write for either.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from llvmlite import ir

_BIT = ir.IntType(1)
_declarations: dict[tuple[str, str], tuple[str, str, Any]] = {}  # of intrinsics: name, text, type


class Operand:
    """A value of the function that is being written: its LLVM type and its name."""

    __slots__ = ("text", "type")

    def __init__(self, kind: Any, text: str) -> None:
        self.type = kind
        self.text = text

    def get_reference(self) -> str:
        """The name, as llvmlite's constants have it too."""
        return self.text


_INTEGERS = {width: f"i{width}" for width in (1, 8, 16, 32, 64)}


def type_name(kind: Any) -> str:
    """A type as LLVM writes it; all pointers are alike."""
    if kind.__class__ is ir.IntType:
        return _INTEGERS[kind.width]
    return "ptr" if isinstance(kind, ir.PointerType) else str(kind)


def typed(value: Any) -> str:
    """A value with its type before it."""
    return f"{type_name(value.type)} {value.get_reference()}"


class Module:
    """Definitions and declarations, each once."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.globals: dict[str, Operand] = {}
        self._scopes: dict[int, tuple[int, dict[int, tuple[int, int]]]] = {}  # builder -> domain, origin -> numbers
        self._notes = 0  # numbers of metadata given out
        self._kept: list[Builder] = []  # known by identity, so they must stay alive
        self._loops: list[tuple[int, int, int]] = []  # the numbers of notes at loops, and how many vectors they go by

    def declare_intrinsic(self, name: str, types: Sequence[Any] = (), kind: Any = None) -> Operand:
        """An intrinsic of LLVM, named and declared as llvmlite does it."""
        key = (name, " ".join(map(str, types)))
        known = _declarations.get(key)
        if known is None:
            declared = ir.Module().declare_intrinsic(name, types, kind)
            known = _declarations[key] = (declared.name, str(declared), declared.function_type)
        full, text, function_type = known
        found = self.globals.get(full)
        if found is None:
            found = self.globals[full] = Operand(function_type.as_pointer(), f'@"{full}"')
            self.parts.append(text)
        return found

    def adopt(self, build: Callable[[ir.Module], ir.Function]) -> Operand:
        """A function, and all it needs, that `build` makes in a module of llvmlite's."""
        module = ir.Module()
        wanted = build(module)
        for function in module.functions:
            if function.name not in self.globals:
                self.globals[function.name] = Operand(function.function_type.as_pointer(), f'@"{function.name}"')
                self.parts.append(str(function))
        return self.globals[wanted.name]

    def scope(self, builder: Builder, origin: int) -> str:
        """The note of an access to memory of one origin: it meets no access of another origin of this function."""
        if id(builder) not in self._scopes:
            self._scopes[id(builder)] = self._number(), {}
            self._kept.append(builder)
        numbers = self._scopes[id(builder)][1]
        if origin not in numbers:
            numbers[origin] = self._number(), self._number()
        mine, others = numbers[origin]
        return f", !alias.scope !{mine}, !noalias !{others}"

    def abreast(self, vectors: int) -> str:
        """The note of a loop that works on so many vectors at a time: one waits for results while others compute.

        One is for loops of few vectors: it leaves none to the loop behind that goes element by element.
        """
        self._loops.append((self._number(), self._number(), vectors))
        return f", !llvm.loop !{self._loops[-1][0]}"

    def _number(self) -> int:
        self._notes += 1
        return self._notes - 1

    def _metadata(self) -> Iterator[str]:
        """Loops; scopes: one a domain and origin, and for each origin the list of it alone and that of all others."""
        for loop, hint, vectors in self._loops:
            yield f"!{loop} = distinct !{{!{loop}, !{hint}}}"
            yield f'!{hint} = !{{!"llvm.loop.interleave.count", i32 {vectors}}}'
        count = self._notes
        for domain, numbers in self._scopes.values():
            yield f"!{domain} = distinct !{{!{domain}}}"
            scopes = {origin: count + k for k, origin in enumerate(numbers)}
            count += len(numbers)
            for origin, (mine, others) in numbers.items():
                yield f"!{scopes[origin]} = distinct !{{!{scopes[origin]}, !{domain}}}"
                yield f"!{mine} = !{{!{scopes[origin]}}}"
                rest = ", ".join(f"!{scope}" for other, scope in scopes.items() if other != origin)
                yield f"!{others} = !{{{rest}}}"

    def __str__(self) -> str:
        return "\n".join([*self.parts, *self._metadata()])


class Block:
    """A basic block: its label, its lines, and whether it has come to its end."""

    __slots__ = ("is_terminated", "label", "lines", "used")

    def __init__(self, label: str) -> None:
        self.label = label
        self.lines: list[str] = []
        self.is_terminated = False
        self.used = False  # whether anything goes there


class Phi(Operand):
    """A phi, whose line is written when its sources are known."""

    __slots__ = ("block", "place", "sources")

    def __init__(self, kind: Any, text: str, block: Block) -> None:
        super().__init__(kind, text)
        self.block = block
        self.place = len(block.lines)
        self.sources: list[str] = []
        block.lines.append("")

    def add_incoming(self, value: Any, source: Block) -> None:
        """One more source."""
        self.sources.append(f"[ {value.get_reference()}, %{source.label} ]")
        self.block.lines[self.place] = f"{self.text} = phi {type_name(self.type)} {', '.join(self.sources)}"


_SIGNED = {"==": "eq", "!=": "ne", "<": "slt", "<=": "sle", ">": "sgt", ">=": "sge"}
_UNSIGNED = {"==": "eq", "!=": "ne", "<": "ult", "<=": "ule", ">": "ugt", ">=": "uge"}
_FLOAT = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}


def _binary(operation: str) -> Callable[..., Operand]:
    def write(self: Any, a: Any, b: Any, flags: Sequence[str] = ()) -> Operand:
        words = " ".join((operation, *flags))
        made: Operand = self._value(a.type, f"{words} {typed(a)}, {b.get_reference()}")
        return made

    return write


def _conversion(operation: str) -> Callable[..., Operand]:
    def write(self: Any, value: Any, kind: Any) -> Operand:
        made: Operand = self._value(kind, f"{operation} {typed(value)} to {type_name(kind)}")
        return made

    return write


class Builder:
    """Writes one function, `define <linkage> <result> @"<name>"(<parameters>)`."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.entry: list[str] = []  # memory on the stack
        self.blocks: list[Block] = []
        self._count = 0
        self.selected: set[str] = set()  # names of what `select` gave
        self.block = self.append_basic_block("start")

    def text(self, head: str) -> str:
        """The finished function behind its head."""
        lines = [head + " {", "entry:", *self.entry, f"br label %{self.blocks[0].label}"]
        for block in self.blocks:
            lines.append(f"{block.label}:")
            lines += block.lines
        return "\n".join([*lines, "}"])

    # Blocks

    def append_basic_block(self, name: str) -> Block:
        """A new block behind the others."""
        block = Block(f"{name}.{len(self.blocks)}")
        self.blocks.append(block)
        return block

    def position_at_end(self, block: Block) -> None:
        """Go on in a block."""
        self.block = block

    def branch(self, target: Block) -> None:
        """Go there."""
        target.used = True
        self._end(f"br label %{target.label}")

    def cbranch(self, test: Any, yes: Block, no: Block, note: str = "") -> None:
        """Go where the bit says."""
        yes.used = no.used = True
        self._end(f"br i1 {test.get_reference()}, label %{yes.label}, label %{no.label}{note}")

    def ret(self, value: Any) -> None:
        """Return a value."""
        self._end(f"ret {typed(value)}")

    def unreachable(self) -> None:
        """What cannot be reached needs an end all the same."""
        self._end("unreachable")

    def _end(self, line: str) -> None:
        self.block.lines.append(line)
        self.block.is_terminated = True

    # Values

    def _name(self) -> str:
        self._count += 1
        return f"%v{self._count}"

    def _value(self, kind: Any, line: str) -> Operand:
        name = self._name()
        self.block.lines.append(f"{name} = {line}")
        return Operand(kind, name)

    def phi(self, kind: Any) -> Phi:
        """A value that depends on where control came from."""
        return Phi(kind, self._name(), self.block)

    def select(self, test: Any, yes: Any, no: Any) -> Operand:
        """One of two values."""
        made = self._value(yes.type, f"select {typed(test)}, {typed(yes)}, {typed(no)}")
        self.selected.add(made.text)
        return made

    def frozen(self, value: Any) -> Operand:
        """The value, told apart from what made it."""
        return self._value(value.type, f"freeze {typed(value)}")

    def neg(self, value: Any) -> Operand:
        """0 - value."""
        return self._value(value.type, f"sub {type_name(value.type)} 0, {value.get_reference()}")

    def not_(self, value: Any) -> Operand:
        """All bits turned."""
        ones = "true" if value.type == _BIT else "-1"
        return self._value(value.type, f"xor {typed(value)}, {ones}")

    def fneg(self, value: Any) -> Operand:
        """The sign turned."""
        return self._value(value.type, f"fneg {typed(value)}")

    def icmp_signed(self, sign: str, a: Any, b: Any) -> Operand:
        """A comparison of integers."""
        return self._value(_BIT, f"icmp {_SIGNED[sign]} {typed(a)}, {b.get_reference()}")

    def icmp_unsigned(self, sign: str, a: Any, b: Any) -> Operand:
        """A comparison of integers without sign."""
        return self._value(_BIT, f"icmp {_UNSIGNED[sign]} {typed(a)}, {b.get_reference()}")

    def fcmp_ordered(self, sign: str, a: Any, b: Any) -> Operand:
        """A comparison of floats, false where one is NaN."""
        return self._value(_BIT, f"fcmp o{_FLOAT[sign]} {typed(a)}, {b.get_reference()}")

    def fcmp_unordered(self, sign: str, a: Any, b: Any) -> Operand:
        """A comparison of floats, true where one is NaN."""
        return self._value(_BIT, f"fcmp u{_FLOAT[sign]} {typed(a)}, {b.get_reference()}")

    # Memory and calls

    def alloca(self, kind: Any, name: str = "") -> Operand:
        """Memory on the stack, reserved once per call of the function."""
        place = self._name()
        self.entry.append(f"{place} = alloca {type_name(kind)}")
        return Operand(kind.as_pointer(), place)

    @contextlib.contextmanager
    def goto_entry_block(self) -> Iterator[None]:
        """Nothing moves: `alloca` writes to the entry of itself."""
        yield

    def load(self, place: Any, note: str = "") -> Operand:
        """What lies at a place."""
        kind = place.type.pointee
        return self._value(kind, f"load {type_name(kind)}, ptr {place.get_reference()}{note}")

    def store(self, value: Any, place: Any, note: str = "") -> None:
        """Write to a place."""
        self.block.lines.append(f"store {typed(value)}, ptr {place.get_reference()}{note}")

    def gep(self, place: Any, indices: Sequence[Any], inbounds: bool = True) -> Operand:
        """The place `indices[0]` elements further on."""
        words = "getelementptr inbounds" if inbounds else "getelementptr"
        kind = type_name(place.type.pointee)
        return self._value(place.type, f"{words} {kind}, ptr {place.get_reference()}, {typed(indices[0])}")

    def load_atomic(self, place: Any, ordering: str, align: int) -> Operand:
        """Read an integer atomically."""
        kind = place.type.pointee
        line = f"load atomic {type_name(kind)}, ptr {place.get_reference()} {ordering}, align {align}"
        return self._value(kind, line)

    def store_atomic(self, value: Any, place: Any, ordering: str, align: int) -> None:
        """Write an integer atomically."""
        self.block.lines.append(f"store atomic {typed(value)}, ptr {place.get_reference()} {ordering}, align {align}")

    def atomic_rmw(self, operation: str, place: Any, value: Any, ordering: str) -> Operand:
        """Change an integer atomically; its value before."""
        return self._value(value.type, f"atomicrmw {operation} ptr {place.get_reference()}, {typed(value)} {ordering}")

    def call(
        self, function: Any, values: Sequence[Any], *, fastmath: Sequence[str] = (), attrs: Sequence[str] = ()
    ) -> Operand:
        """Call a function by its name or address."""
        result = function.type.pointee.return_type
        words = " ".join(("call", *fastmath, type_name(result)))
        line = " ".join((f"{words} {function.get_reference()}({', '.join(map(typed, values))})", *attrs))
        if isinstance(result, ir.VoidType):
            self.block.lines.append(line)
            return Operand(result, "")
        return self._value(result, line)

    # Operations and conversions

    add = _binary("add")
    sub = _binary("sub")
    mul = _binary("mul")
    sdiv = _binary("sdiv")
    udiv = _binary("udiv")
    srem = _binary("srem")
    urem = _binary("urem")
    shl = _binary("shl")
    lshr = _binary("lshr")
    ashr = _binary("ashr")
    xor = _binary("xor")
    fadd = _binary("fadd")
    fsub = _binary("fsub")
    fmul = _binary("fmul")
    fdiv = _binary("fdiv")
    frem = _binary("frem")
    and_ = _binary("and")
    or_ = _binary("or")
    trunc = _conversion("trunc")
    zext = _conversion("zext")
    sext = _conversion("sext")
    fptrunc = _conversion("fptrunc")
    fpext = _conversion("fpext")
    fptosi = _conversion("fptosi")
    fptoui = _conversion("fptoui")
    sitofp = _conversion("sitofp")
    uitofp = _conversion("uitofp")
    inttoptr = _conversion("inttoptr")
    ptrtoint = _conversion("ptrtoint")
    bitcast = _conversion("bitcast")
