"""Division of 64-bit integers in vectors, which no processor has: by way of float64 wherever all lanes allow it.

Below 2**51 integers become float64 and back by adding a number whose last bit counts ones; the quotient, rounded
down, is exact: where a is below 2**53, a / b is further from the next whole number than rounding moves it. LLVM is
told of vector variants as in `rare`; where some lane is larger, the lanes are divided one by one.
"""

from __future__ import annotations

import struct
from typing import Any

from llvmlite import ir

from treadle.compile.llvm.rare import INDEX, local

I64, F64 = ir.IntType(64), ir.DoubleType()
WIDTHS = (2, 4, 8)
BITS = 51  # that a number may have; a signed one and its sign
MAGIC = 6755399441055744.0  # 1.5 * 2**52
(MAGIC_BITS,) = struct.unpack("<q", struct.pack("<d", MAGIC))


def quotient(module: ir.Module, signed: bool) -> ir.Function:
    """The function a // b of int64 or uint64, rounded down: 0 where b is 0, and wrapping."""
    title = f"treadle.rare_quotient_{'i8' if signed else 'u8'}"
    found = module.globals.get(title)
    if isinstance(found, ir.Function):
        return found
    scalar = ir.Function(module, ir.FunctionType(I64, [I64, I64]), title)
    local(scalar)
    _scalar_body(ir.IRBuilder(scalar.append_basic_block("enter")), scalar.args, signed)
    variants = [_variant(module, scalar, signed, width) for width in WIDTHS]
    mappings = ",".join(f"_ZGV_LLVM_N{w}vv_{title}({v.name})" for w, v in zip(WIDTHS, variants, strict=True))
    set.add(scalar.attributes, f'"vector-function-abi-variant"="{mappings}"')
    return scalar


def _scalar_body(builder: ir.IRBuilder, values: Any, signed: bool) -> None:
    """The division itself, kept from what traps."""
    a, b = values
    zero, one = I64(0), I64(1)
    none = builder.icmp_unsigned("==", b, zero)
    if not signed:
        builder.ret(builder.select(none, zero, builder.udiv(a, builder.select(none, one, b))))
        return
    minus = builder.icmp_unsigned("==", b, I64(-1))
    safe = builder.select(builder.or_(none, minus), one, b)
    cut = builder.sdiv(a, safe)
    rest = builder.icmp_unsigned("!=", builder.sub(a, builder.mul(cut, safe)), zero)
    down = builder.and_(rest, builder.icmp_signed("<", builder.xor(a, safe), zero))
    whole = builder.select(down, builder.sub(cut, one), cut)
    builder.ret(builder.select(none, zero, builder.select(minus, builder.neg(a), whole)))


def _variant(module: ir.Module, scalar: ir.Function, signed: bool, width: int) -> ir.Function:
    """The function over `width` lanes."""
    vector, floats = ir.VectorType(I64, width), ir.VectorType(F64, width)
    function = ir.Function(module, ir.FunctionType(vector, [vector, vector]), f"{scalar.name}_x{width}")
    local(function)
    enter, slow, lane, done, quick = (
        function.append_basic_block(n) for n in ("enter", "slow", "lane", "done", "quick")
    )

    def each(kind: Any, value: Any) -> ir.Constant:
        return ir.Constant(kind, [value] * width)

    a, b = function.args
    builder = ir.IRBuilder(enter)
    places = [builder.alloca(vector) for _ in range(2)]
    raised = [builder.add(x, each(vector, 1 << BITS - 1)) if signed else x for x in (a, b)]
    above = builder.lshr(builder.or_(*raised), each(vector, BITS))
    lanes = builder.bitcast(builder.icmp_unsigned("!=", above, each(vector, 0)), ir.IntType(width))
    builder.cbranch(builder.icmp_unsigned("!=", lanes, ir.Constant(lanes.type, 0)), slow, quick)

    builder = ir.IRBuilder(slow)
    for place, value in zip(places, (a, b), strict=True):
        builder.store(value, place)
    firsts = [builder.bitcast(place, I64.as_pointer()) for place in places]
    builder.branch(lane)
    builder = ir.IRBuilder(lane)
    index = builder.phi(INDEX)
    ends = [builder.gep(first, [index]) for first in firsts]
    builder.store(builder.call(scalar, [builder.load(end) for end in ends]), ends[0])
    following = builder.add(index, ir.Constant(INDEX, 1))
    index.add_incoming(ir.Constant(INDEX, 0), slow)
    index.add_incoming(following, lane)
    builder.cbranch(builder.icmp_unsigned("<", following, ir.Constant(INDEX, width)), lane, done)
    builder = ir.IRBuilder(done)
    builder.ret(builder.load(places[0]))

    builder = ir.IRBuilder(quick)
    wide = [
        builder.fsub(builder.bitcast(builder.add(x, each(vector, MAGIC_BITS)), floats), each(floats, MAGIC))
        for x in (a, b)
    ]
    name = f"llvm.floor.v{width}f64"
    floor = module.globals.get(name) or ir.Function(module, ir.FunctionType(floats, [floats]), name)
    whole = builder.fadd(builder.call(floor, [builder.fdiv(*wide)]), each(floats, MAGIC))
    whole = builder.sub(builder.bitcast(whole, vector), each(vector, MAGIC_BITS))
    none = builder.icmp_unsigned("==", b, each(vector, 0))
    builder.ret(builder.select(none, each(vector, 0), whole))
    return function
