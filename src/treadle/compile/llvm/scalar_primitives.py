"""The primitives of the vector language as LLVM instructions: a table from name to kinds and emitter.

A kind is a NumPy type code of its size: b1, i1..i8, u1..u8, f4, f8. The Python twins, with the meaning of each
name, are in `treadle.vector.primitives`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from treadle.compile.llvm import no_fma
from treadle.compile.llvm.rare import rare
from treadle.compile.llvm.wide_division import quotient
from treadle.records import dataclass
from treadle.vector.primitives import DTYPES, FLOATS, INTEGERS, RARE

CASTS = tuple(DTYPES)
_TYPES: dict[str, Any] = {
    "b1": ir.IntType(1),
    "f4": ir.FloatType(),
    "f8": ir.DoubleType(),
    **{kind: ir.IntType(8 * int(kind[1])) for kind in INTEGERS},
}


@dataclass(frozen=True, slots=True)
class Value:
    """An LLVM value and its kind (LLVM's integers do not know their sign)."""

    ir: Any
    kind: str


@dataclass(frozen=True, slots=True)
class Primitive:
    """Argument kinds (empty: any one kind for all), result kind (empty: that of the arguments), and the emitter."""

    arguments: tuple[str, ...]
    result: str
    emit: Callable[..., Any]


def result_kind(primitive: Primitive, values: Sequence[Value]) -> str:
    """The kind of what a primitive returns for these values."""
    return primitive.result or values[0].kind


def llvm_type(kind: str) -> Any:
    """The LLVM type of a value of this kind; a b1 is one bit in registers."""
    return _TYPES[kind]


def constant(kind: str, value: Any) -> Value:
    """A Python number as a constant of this kind; a float is rounded to float32 where that is asked."""
    if kind == "f4":
        value = float(np.float32(value))
    elif kind == "f8":
        value = float(value)
    else:
        value = int(value)
    return Value(ir.Constant(llvm_type(kind), value), kind)


def cast(builder: ir.IRBuilder, value: Value, kind: str) -> Value:
    """C's conversion, with float to integer defined everywhere as in `treadle.vector.primitives`."""
    source, to = value.kind, llvm_type(kind)
    if source == kind:
        return value
    if kind == "b1":
        zero = ir.Constant(value.ir.type, 0)
        ask = builder.fcmp_unordered if source in FLOATS else builder.icmp_unsigned
        return Value(ask("!=", value.ir, zero), kind)
    if source in FLOATS and kind in FLOATS:
        return Value((builder.fpext if kind == "f8" else builder.fptrunc)(value.ir, to), kind)
    if source in FLOATS:
        return Value(_float_to_int(builder, value, kind), kind)
    signed = source[0] == "i"
    if kind in FLOATS:
        return Value((builder.sitofp if signed else builder.uitofp)(value.ir, to), kind)
    if to.width == value.ir.type.width:
        return Value(value.ir, kind)
    if to.width < value.ir.type.width:
        return Value(builder.trunc(value.ir, to), kind)
    return Value((builder.sext if signed else builder.zext)(value.ir, to), kind)


def _float_to_int(builder: ir.IRBuilder, value: Value, kind: str) -> Any:
    """Through int32 or int64; out of range gives the minimum, by a select, since LLVM leaves it undefined."""
    wide = ir.IntType(64 if kind in ("i8", "u8", "u4") else 32)
    x = value.ir
    if kind == "u8":  # the upper half comes down by 2**63 and gets its top bit back
        upper = builder.fcmp_ordered(">=", x, ir.Constant(x.type, 2.0**63))
        x = builder.select(upper, builder.fsub(x, ir.Constant(x.type, 2.0**63)), x)
    limit = 2.0 ** (wide.width - 1)
    fits = builder.and_(
        builder.fcmp_ordered("<", x, ir.Constant(x.type, limit)),
        builder.fcmp_ordered(">=", x, ir.Constant(x.type, -limit))
        if value.kind == "f4" or wide.width == 64
        else builder.fcmp_ordered(">", x, ir.Constant(x.type, -limit - 1)),
    )
    whole = builder.fptosi(builder.select(fits, x, ir.Constant(x.type, 0.0)), wide)
    whole = builder.select(fits, whole, ir.Constant(wide, -(1 << (wide.width - 1))))
    if kind == "u8":
        whole = builder.xor(whole, builder.select(upper, ir.Constant(wide, -(1 << 63)), ir.Constant(wide, 0)))
    to = llvm_type(kind)
    return builder.trunc(whole, to) if to.width < wide.width else whole


def _llvm(name: str, kind: str, count: int, flags: tuple[str, ...] = ()) -> Primitive:
    """An LLVM intrinsic of `count` arguments of one float kind."""

    def emit(builder: ir.IRBuilder, *values: Any) -> Any:
        of = llvm_type(kind)
        function = builder.module.declare_intrinsic(name, [of], ir.FunctionType(of, [of] * count))
        return builder.call(function, values, fastmath=flags) if flags else builder.call(function, values)

    return Primitive((kind,) * count, kind, emit)


def _fma() -> Primitive:
    direct = _llvm("llvm.fma", "f8", 3)

    def emit(builder: ir.IRBuilder, a: Any, b: Any, c: Any) -> Any:
        return (direct.emit if no_fma.has_fma() else no_fma.emulated)(builder, a, b, c)

    return Primitive(direct.arguments, direct.result, emit)


def _compare_and_select(kind: str, sign: str) -> Primitive:
    def emit(builder: ir.IRBuilder, a: Any, b: Any) -> Any:
        ask = builder.icmp_signed if kind[0] == "i" else builder.icmp_unsigned
        return builder.select(ask(sign, a, b), a, b)

    return Primitive((kind, kind), kind, emit)


def _absolute(kind: str) -> Primitive:
    def emit(builder: ir.IRBuilder, a: Any) -> Any:
        if kind[0] == "u":
            return a
        return builder.select(builder.icmp_signed("<", a, ir.Constant(a.type, 0)), builder.neg(a), a)

    return Primitive((kind,), kind, emit)


def _flagged(operation: str, kind: str, flags: tuple[str, ...]) -> Primitive:
    def emit(builder: ir.IRBuilder, a: Any, b: Any) -> Any:
        return getattr(builder, operation)(a, b, flags=flags)

    return Primitive((kind, kind), kind, emit)


def _bitcast(kind: str, result: str) -> Primitive:
    return Primitive((kind,), result, lambda builder, a: builder.bitcast(a, llvm_type(result)))


def _division(kind: str, rest: bool) -> Primitive:
    """Of integers of up to 32 bits by floats of twice their digits: vectors can do that, and the quotient is exact."""
    name = ("s" if kind[0] == "i" else "u") + ("rem" if rest else "div")
    if kind[1] == "8":
        return Primitive((kind, kind), kind, lambda builder, a, b: getattr(builder, name)(a, b))
    wide = llvm_type("f8" if kind[1] == "4" else "f4")

    def emit(builder: ir.IRBuilder, a: Any, b: Any) -> Any:
        widen = builder.sitofp if kind[0] == "i" else builder.uitofp
        narrow = builder.fptosi if kind[0] == "i" else builder.fptoui
        quotient = narrow(builder.fdiv(widen(a, wide), widen(b, wide)), a.type)
        return builder.sub(a, builder.mul(quotient, b)) if rest else quotient

    return Primitive((kind, kind), kind, emit)


def _wide_division(kind: str) -> Primitive:
    """For loops over many elements: see `wide_division`."""

    def emit(builder: ir.IRBuilder, a: Any, b: Any) -> Any:
        return builder.call(_shared(builder.module, lambda module: quotient(module, kind[0] == "i")), [a, b])

    return Primitive((kind, kind), kind, emit)


def _shift(kind: str, left: bool) -> Primitive:
    """NumPy's shifts: LLVM leaves counts of the width and more undefined, so they are selected away."""

    def emit(builder: ir.IRBuilder, a: Any, count: Any) -> Any:
        width = a.type.width
        fits = builder.icmp_unsigned("<", count, ir.Constant(a.type, width))
        signed = kind[0] == "i" and not left
        count = builder.select(fits, count, ir.Constant(a.type, width - 1 if signed else 0))
        if signed:
            return builder.ashr(a, count)
        moved = builder.shl(a, count) if left else builder.lshr(a, count)
        return builder.select(fits, moved, ir.Constant(a.type, 0))

    return Primitive((kind, kind), kind, emit)


def _wrapping_pow(kind: str) -> Primitive:
    """Square and multiply, the one primitive with a loop in it."""

    def emit(builder: ir.IRBuilder, a: Any, b: Any) -> Any:
        return builder.call(_shared(builder.module, lambda module: _power(module, a.type)), [a, b])

    return Primitive((kind, kind), kind, emit)


def _power(module: ir.Module, of: Any) -> ir.Function:
    """The function a**b on integers of one width."""
    name = f"treadle.wrapping_pow.{of.width}"
    found = module.globals.get(name)
    if isinstance(found, ir.Function):
        return found
    function = ir.Function(module, ir.FunctionType(of, [of, of]), name)
    function.linkage = "internal"
    function.attributes.add("alwaysinline")
    enter, loop, leave = (function.append_basic_block(label) for label in ("enter", "loop", "leave"))
    ir.IRBuilder(enter).branch(loop)
    inner = ir.IRBuilder(loop)
    one, zero = ir.Constant(of, 1), ir.Constant(of, 0)
    base, left, product = (inner.phi(of) for _ in range(3))
    odd = inner.icmp_unsigned("!=", inner.and_(left, one), zero)
    following = (inner.mul(base, base), inner.lshr(left, one), inner.select(odd, inner.mul(product, base), product))
    for phi, first, later in zip((base, left, product), (*function.args, one), following, strict=True):
        phi.add_incoming(first, enter)
        phi.add_incoming(later, loop)
    inner.cbranch(inner.icmp_unsigned("==", following[1], zero), leave, loop)
    ir.IRBuilder(leave).ret(following[2])
    return function


def _rare(name: str, kind: str, limit: float) -> Primitive:
    def emit(builder: ir.IRBuilder, x: Any, y: Any) -> Any:
        function = _shared(builder.module, lambda module: rare(module, name, llvm_type(kind), limit))
        return builder.call(function, [x, y])

    return Primitive((kind, kind), kind, emit)


def _shared(module: Any, build: Callable[[ir.Module], ir.Function]) -> Any:
    """A function with blocks of its own, which `build` makes; modules of text adopt it."""
    return build(module) if isinstance(module, ir.Module) else module.adopt(build)


_INTRINSICS = {
    "sqrt": ("llvm.sqrt", 1),
    "abs": ("llvm.fabs", 1),
    "floor": ("llvm.floor", 1),
    "ceil": ("llvm.ceil", 1),
    "trunc": ("llvm.trunc", 1),
    "rint": ("llvm.rint", 1),
    "copysign": ("llvm.copysign", 2),
    "fma": ("llvm.fma", 3),
    "max": ("llvm.maximum", 2),
    "min": ("llvm.minimum", 2),
}

PRIMITIVES: dict[str, Primitive] = {
    **{f"{name}_{k}": _llvm(llvm, k, count) for name, (llvm, count) in _INTRINSICS.items() for k in FLOATS},
    "fma_f8": _fma(),
    # Which zero wins is left open, which takes 3 instructions instead of 5; what goes on being the best comes second.
    **{f"top_{k}": _llvm("llvm.maximum", k, 2, ("nsz",)) for k in FLOATS},
    **{f"bottom_{k}": _llvm("llvm.minimum", k, 2, ("nsz",)) for k in FLOATS},
    **{f"top_{k}": _compare_and_select(k, ">") for k in INTEGERS},
    **{f"bottom_{k}": _compare_and_select(k, "<") for k in INTEGERS},
    **{f"fmod_{k}": _flagged("frem", k, ()) for k in FLOATS},
    **{f"add_reassoc_{k}": _flagged("fadd", k, ("reassoc",)) for k in FLOATS},
    **{f"mul_reassoc_{k}": _flagged("fmul", k, ("reassoc",)) for k in FLOATS},
    # Never part of an fma: an operation that has a flag of its own is not given "contract".
    **{f"mul_apart_{k}": _flagged("fmul", k, ("arcp",)) for k in FLOATS},
    **{f"max_{k}": _compare_and_select(k, ">") for k in (*INTEGERS, "b1")},
    **{f"min_{k}": _compare_and_select(k, "<") for k in (*INTEGERS, "b1")},
    **{f"abs_{k}": _absolute(k) for k in INTEGERS},
    **{f"left_shift_{k}": _shift(k, True) for k in INTEGERS},
    **{f"right_shift_{k}": _shift(k, False) for k in INTEGERS},
    **{f"wrapping_pow_{k}": _wrapping_pow(k) for k in INTEGERS},
    **{f"rare_{name}_{k}": _rare(name, k, limit) for name, limits in RARE.items() for k, limit in limits.items()},
    "bits_f4": _bitcast("f4", "i4"),
    "bits_f8": _bitcast("f8", "i8"),
    "float_i4": _bitcast("i4", "f4"),
    "float_i8": _bitcast("i8", "f8"),
    **{f"trunc_div_{k}": _division(k, False) for k in INTEGERS},
    **{f"trunc_rem_{k}": _division(k, True) for k in INTEGERS},
    **{f"wide_div_{k}": _wide_division(k) for k in ("i8", "u8")},
}
