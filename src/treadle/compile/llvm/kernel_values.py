"""Kernel text's expressions as LLVM instructions: which kinds meet, and what comes out.

The kinds are those that Numba would find, so that a text means the same to both compilers: integers are widened to 64
bits where they meet, literals are int64, float64 or bool. Where Numba would go through float64 unasked (int64 with
uint64, float32 with a literal), this raises instead: such a text should say what it wants.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any

from treadle import vector
from treadle.compile.llvm import native, scalar, tiles
from treadle.compile.llvm.llvm_text import Builder
from treadle.compile.llvm.scalar_primitives import CASTS, PRIMITIVES, Value, cast, constant, llvm_type, result_kind

COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_FLOAT = {ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv"}
_INTEGER = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul"}
_BITS = {ast.BitAnd: "and_", ast.BitOr: "or_", ast.BitXor: "xor"}
POINTERS = {f"p_{kind}": kind for kind in CASTS}
Plain = bool | int | float


class NotUnderstood(Exception):
    """A text uses what this compiler does not have; Numba may."""


class Emitter:
    """Writes the instructions of operators and calls."""

    def __init__(self, builder: Builder, apart: bool = False) -> None:
        """apart: what different arguments of the kernel point to does not overlap where anything is written."""
        self.builder: Any = builder
        self.apart = apart
        self.origins: dict[str, int] = {}  # an address's or pointer's name -> the argument that it comes from

    def settled(self, value: Any) -> Value:
        """A value with a kind: literals get Numba's."""
        if isinstance(value, Value):
            return value
        return constant("b1" if isinstance(value, bool) else "i8" if isinstance(value, int) else "f8", value)

    def cast(self, value: Any, kind: str) -> Value:
        """A number brought to a kind."""
        if not isinstance(value, Value):
            return constant(kind, value)
        if value.kind not in CASTS:
            raise NotUnderstood(f"{value.kind} as {kind}")
        return cast(self.builder, value, kind)

    def met(self, a: Any, b: Any) -> tuple[Value, Value]:
        """Two values brought to the kind in which an operator works on them."""
        x, y = self.settled(a), self.settled(b)
        if x.kind == y.kind and x.kind in ("i8", "u8", "f4", "f8"):
            return x, y
        kinds = {x.kind, y.kind}
        if any(kind not in CASTS or kind[0] == "f" for kind in kinds):
            if kinds == {"i8", "f8"} and not (isinstance(a, Value) and isinstance(b, Value)):
                return cast(self.builder, x, "f8"), cast(self.builder, y, "f8")  # a whole literal beside a float64
            raise NotUnderstood(f"kinds {x.kind} and {y.kind} meet; cast one of them")
        if all(kind[0] == "u" for kind in kinds):
            to = "u8"
        elif "u8" in kinds:
            raise NotUnderstood(f"kinds {x.kind} and {y.kind} meet; cast one of them")
        else:
            to = "i8"
        return cast(self.builder, x, to), cast(self.builder, y, to)

    # Operators

    def binary(self, op: ast.operator, a: Any, b: Any) -> Any:
        """An operator on two values; two literals are computed now."""
        if not isinstance(a, Value) and not isinstance(b, Value):
            return self._folded(op, a, b)
        kind = type(op)
        if kind in _BITS:
            return self._bits(_BITS[kind], a, b)
        x, y = self.met(a, b)
        if x.kind[0] == "f":
            if kind not in _FLOAT:
                raise NotUnderstood(f"{kind.__name__} of floats")
            return Value(getattr(self.builder, _FLOAT[kind])(x.ir, y.ir, flags=("contract",)), x.kind)
        if kind in _INTEGER:
            made = getattr(self.builder, _INTEGER[kind])(x.ir, y.ir)
            if kind is not ast.Mult:
                self._follow(made, x.ir, y.ir)
            return Value(made, x.kind)
        if kind in (ast.FloorDiv, ast.Mod):
            return self._division(kind is ast.FloorDiv, x, y, b)
        if kind in (ast.LShift, ast.RShift):
            name = "shl" if kind is ast.LShift else "ashr" if x.kind == "i8" else "lshr"
            return Value(getattr(self.builder, name)(x.ir, y.ir), x.kind)
        raise NotUnderstood(f"{kind.__name__} of integers")

    def _folded(self, op: ast.operator, a: Plain, b: Plain) -> Any:
        folds: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
            ast.Add: lambda x, y: x + y,
            ast.Sub: lambda x, y: x - y,
            ast.Mult: lambda x, y: x * y,
        }
        if type(op) not in folds:
            raise NotUnderstood(f"{type(op).__name__} of literals")
        return folds[type(op)](a, b)

    def _bits(self, name: str, a: Any, b: Any) -> Value:
        x, y = self.settled(a), self.settled(b)
        if x.kind != "b1" or y.kind != "b1":
            x, y = self.met(x, y)
            if x.kind[0] == "f":
                raise NotUnderstood("bits of floats")
        return Value(getattr(self.builder, name)(x.ir, y.ir), x.kind)

    def _division(self, quotient: bool, x: Value, y: Value, divisor: Any) -> Value:
        """Rounded down, 0 where the divisor is 0; a power of two is a shift or a mask."""
        if isinstance(divisor, int) and divisor > 0 and divisor & (divisor - 1) == 0:
            if not quotient:
                return Value(self.builder.and_(x.ir, constant(x.kind, divisor - 1).ir), x.kind)
            shift = self.builder.ashr if x.kind[0] == "i" else self.builder.lshr
            return Value(shift(x.ir, constant(x.kind, divisor.bit_length() - 1).ir), x.kind)
        return self.vector_call(f"{'floordiv' if quotient else 'mod'}_{x.kind}", [x, y])

    def _by_known(self, name: str, values: Sequence[Any]) -> Value | None:
        """`floordiv_i8(x, i8(7))` and its kin where the divisor is known: a shift, or what LLVM makes a product."""
        word, _, kind = name.removeprefix("wide_").rpartition("_")
        if word not in ("floordiv", "mod") or kind[0] not in "iu" or len(values) != 2:
            return None
        x, y = values
        if not isinstance(x, Value) or not isinstance(y, Value) or (x.kind, y.kind) != (kind, kind):
            return None
        known = y.ir.get_reference()
        divisor = int(known) if known.isdigit() else 0
        if divisor & (divisor - 1) == 0 < divisor:
            return self._division(word == "floordiv", x, y, divisor)
        return self._by_product(word == "floordiv", x, y) if divisor else None

    def _by_product(self, quotient: bool, x: Value, y: Value) -> Value:
        """Rounded down, by a positive literal: of a negative x, ~(~x / y), which saves looking at what is left."""
        b = self.builder
        if x.kind[0] == "i":
            digits = 8 * int(x.kind[1]) - 1
            sign = b.ashr(x.ir, constant(x.kind, digits).ir)
            most = constant(x.kind, (1 << digits) - 1).ir  # LLVM does not see that the top bit is 0
            whole = b.xor(b.udiv(b.and_(b.xor(x.ir, sign), most), y.ir), sign)
        else:
            whole = b.udiv(x.ir, y.ir)
        return Value(whole if quotient else b.sub(x.ir, b.mul(whole, y.ir)), x.kind)

    def compare(self, op: ast.cmpop, a: Any, b: Any) -> Value:
        """A comparison; NaN is unequal to everything."""
        x, y = self.settled(a), self.settled(b)
        if x.kind != y.kind:
            if {x.kind, y.kind} <= {"f4", "f8"}:
                x, y = cast(self.builder, x, "f8"), cast(self.builder, y, "f8")
            else:
                x, y = self.met(a, b)
        if type(op) not in COMPARISONS or x.kind not in CASTS:
            raise NotUnderstood(f"{type(op).__name__} of {x.kind}")
        sign = COMPARISONS[type(op)]
        if x.kind[0] == "f":
            ask = self.builder.fcmp_unordered if sign == "!=" else self.builder.fcmp_ordered
        else:
            ask = self.builder.icmp_signed if x.kind[0] == "i" else self.builder.icmp_unsigned
        return Value(ask(sign, x.ir, y.ir), "b1")

    def unary(self, op: ast.unaryop, a: Any) -> Any:
        """`-x`, `~x`, `not x`."""
        if isinstance(op, ast.Not):
            return Value(self.builder.not_(self.truth(a)), "b1")
        if not isinstance(a, Value):
            if isinstance(op, ast.USub) and not isinstance(a, bool):
                return -a
            raise NotUnderstood(f"{type(op).__name__} of a literal")
        if isinstance(op, ast.UAdd):
            return a
        if isinstance(op, ast.Invert) and a.kind == "b1":
            return Value(self.builder.not_(a.ir), "b1")
        if a.kind[0] == "f" and isinstance(op, ast.USub):
            return Value(self.builder.fneg(a.ir), a.kind)
        if a.kind not in CASTS or a.kind[0] == "f":
            raise NotUnderstood(f"{type(op).__name__} of {a.kind}")
        wide = cast(self.builder, a, "u8" if a.kind[0] == "u" else "i8")
        return Value((self.builder.neg if isinstance(op, ast.USub) else self.builder.not_)(wide.ir), wide.kind)

    def truth(self, a: Any) -> Any:
        """A value as a bit."""
        return self.cast(self.settled(a), "b1").ir

    # Memory

    def place(self, pointer: Any, index: Any) -> Any:
        """The address of `pointer[index]`, in LLVM's sense."""
        if not isinstance(pointer, Value) or pointer.kind not in POINTERS:
            raise NotUnderstood("only typed pointers have elements")
        at = self.settled(index)
        if at.kind not in CASTS or at.kind[0] in "fb":
            raise NotUnderstood(f"an index of kind {at.kind}")
        return self.builder.gep(pointer.ir, [cast(self.builder, at, "i8").ir])

    def load(self, pointer: Any, index: Any) -> Value:
        """The element of a typed pointer; booleans are bytes in memory."""
        place = self.place(pointer, index)
        found = self.builder.load(place, self.scope(pointer))
        kind = POINTERS[pointer.kind]
        if self.apart and not isinstance(index, Value) and pointer.ir.get_reference() == "%args":
            self.origins[found.text] = index
        if kind == "b1":
            found = self.builder.icmp_unsigned("!=", found, native.I8(0))
        return Value(found, kind)

    def store(self, pointer: Any, index: Any, value: Any) -> None:
        """Write an element, brought to the pointer's kind."""
        place = self.place(pointer, index)
        kind = POINTERS[pointer.kind]
        given = self.cast(value, kind)
        whole = self.builder.zext(given.ir, native.I8) if kind == "b1" else given.ir
        if whole.get_reference() in self.builder.selected:
            # Else "x[j] = select(c, v, x[j])" becomes a masked store, which takes ten times as long on some processors.
            whole = self.builder.frozen(whole)
        self.builder.store(whole, place, self.scope(pointer))

    def pointer(self, address: Any, kind: str) -> Value:
        """An integer as a typed pointer."""
        at = self.settled(address)
        if at.kind != "i8":
            raise NotUnderstood(f"an address of kind {at.kind}")
        memory = native.I8 if kind == "b1" else llvm_type(kind)
        made = Value(self.builder.inttoptr(at.ir, memory.as_pointer()), f"p_{kind}")
        self._follow(made.ir, at.ir)
        return made

    def _follow(self, made: Any, *sources: Any) -> None:
        """An address made of others comes from where one of them comes from, if it is one alone."""
        if self.apart:
            found = [self.origins[name] for s in sources if (name := s.get_reference()) in self.origins]
            if len(found) == 1:
                self.origins[made.text] = found[0]

    def scope(self, pointer: Value) -> str:
        """What an access through a pointer says to LLVM's alias analysis."""
        origin = self.origins.get(pointer.ir.get_reference())
        return "" if origin is None else self.builder.module.scope(self.builder, origin)

    # Calls

    def call(self, name: str, values: list[Any]) -> Any:
        """A call of one of the words that kernel text may use."""
        if name in POINTERS and len(values) == 1:
            return self.pointer(values[0], POINTERS[name])
        if name in CASTS and len(values) == 1:
            (value,) = values
            return self.cast(value, name)
        if name == "select":
            return self._select(*values)
        if name in ("min", "max") and len(values) == 2:
            x, y = self.met(*values)
            if x.kind[0] == "f":
                raise NotUnderstood(f"{name} of floats; use {name}_{x.kind}")
            return Value(PRIMITIVES[f"{name}_{x.kind}"].emit(self.builder, x.ir, y.ir), x.kind)
        if name in PRIMITIVES:
            primitive = PRIMITIVES[name]
            given = self._given(name, values, primitive.arguments)
            return Value(primitive.emit(self.builder, *(v.ir for v in given)), result_kind(primitive, given))
        if name in vector.FUNCTIONS:
            shifted = self._by_known(name, values)
            return self.vector_call(name, values) if shifted is None else shifted
        if name == "words":
            (value,) = values
            return value if isinstance(value, Value) and value.kind == "p_i8" else self.pointer(value, "i8")
        if name == "address_of" and isinstance(values[0], Value) and values[0].kind in POINTERS:
            return Value(self.builder.ptrtoint(values[0].ir, native.I64), "i8")
        if name in native.FUNCTIONS:
            given = self._given(name, values, ["i8"] * len(values))
            return Value(native.FUNCTIONS[name](self.builder, *(v.ir for v in given)), "i8")
        if tiles.understood(name) == len(values):
            made = tiles.call(self.builder, name, [self.cast(v, "i8").ir for v in values])
            if self.apart and name.startswith("room_"):
                self.origins[made.text] = -1 - len(self.origins)  # memory of the kernel's own meets no argument's
            return Value(made, "i8")
        raise NotUnderstood(f"the word {name!r}")

    def vector_call(self, name: str, values: Sequence[Any]) -> Value:
        """A call of a vector function."""
        source = scalar.of(name)
        given = self._given(name, values, [kind for _, kind in source.arguments])
        made: Value = scalar.call(self.builder, source, given)
        return made

    def _given(self, name: str, values: Sequence[Any], kinds: Sequence[str]) -> list[Value]:
        """Arguments of the kinds that a word wants; as in Numba, integers are converted, floats only widened."""
        if len(values) != len(kinds):
            raise NotUnderstood(f"{name} of {len(values)} values")
        given = []
        for value, kind in zip(values, kinds, strict=True):
            settled = self.settled(value)
            if (
                settled.kind not in CASTS
                or (settled.kind[0] == "f") != (kind[0] == "f")
                or settled.kind == "f8" != kind
            ):
                raise NotUnderstood(f"{name} wants {kind}, got {settled.kind}")
            given.append(cast(self.builder, settled, kind))
        return given

    def _select(self, condition: Any, a: Any, b: Any) -> Value:
        """One instruction; the branches are brought to one kind."""
        x, y = self.alike(a, b)
        made = self.builder.select(self.truth(condition), x.ir, y.ir)
        # One of two addresses: kernels only read through such, and what is read does not overlap with what is written,
        # so that it may count as either's memory.
        if self.apart and x.ir.get_reference() in self.origins and y.ir.get_reference() in self.origins:
            self._follow(made, x.ir)
        return Value(made, x.kind)

    def alike(self, a: Any, b: Any) -> tuple[Value, Value]:
        """Two values of one kind, as where branches join."""
        x, y = self.settled(a), self.settled(b)
        if x.kind == y.kind:
            return x, y
        return self.met(a, b)
