"""Calls of libm for the few arguments a vector function does not cover, without losing the vectorisation of its loop.

`rare(name, limit)` is a function of x and the fast answer y: y where |x| <= limit, else libm's answer. A branch
would keep the loop scalar, so LLVM is told of vector variants of the function (the "vector-function-abi-variant"
attribute): one comparison of all lanes, and only if some lane is out of range are the lanes done one by one.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

WIDTHS = {"f4": (4, 8, 16), "f8": (2, 4, 8)}  # lanes LLVM may choose: 128 to 512 bits
INDEX = ir.IntType(64)


def rare(module: ir.Module, name: str, of: Any, limit: float) -> ir.Function:
    """The function `of(x, y)` of type `of` (float or double) that calls libm's `name` beyond `limit`."""
    suffix = "f4" if isinstance(of, ir.FloatType) else "f8"
    title = f"treadle.rare_{name}_{suffix}"
    found = module.globals.get(title)
    if isinstance(found, ir.Function):
        return found
    libm = name + ("f" if suffix == "f4" else "")
    outside = module.globals.get(libm) or ir.Function(module, ir.FunctionType(of, [of]), libm)
    _pure(outside)
    scalar = ir.Function(module, ir.FunctionType(of, [of, of]), title)
    _scalar_body(scalar, outside, limit)
    widths = WIDTHS[suffix]
    variants = [_variant(module, scalar, limit, width) for width in widths]
    mappings = ",".join(f"_ZGV_LLVM_N{w}vv_{title}({v.name})" for w, v in zip(widths, variants, strict=True))
    # llvmlite knows no string attributes; its set of names is printed as it is.
    set.add(scalar.attributes, f'"vector-function-abi-variant"="{mappings}"')
    return scalar


def _pure(function: ir.Function) -> None:
    for attribute in ("nounwind", "memory(none)", "willreturn"):
        set.add(function.attributes, attribute)


def local(function: ir.Function) -> None:
    """Make a function one that the vectoriser finds by its name."""
    function.linkage = "weak_odr"  # an internal one would be dropped before the vectoriser asks for it
    set.add(function.attributes, '"no-builtins"')
    function.attributes.add("noinline")
    _pure(function)


def _beyond(builder: ir.IRBuilder, x: Any, limit: float) -> Any:
    def bound(value: float) -> ir.Constant:
        return ir.Constant(x.type, [value] * x.type.count if isinstance(x.type, ir.VectorType) else value)

    above = builder.fcmp_ordered(">", x, bound(limit))
    return builder.or_(above, builder.fcmp_ordered("<", x, bound(-limit)))


def _scalar_body(function: ir.Function, outside: ir.Function, limit: float) -> None:
    local(function)
    enter, slow, leave = (function.append_basic_block(label) for label in ("enter", "slow", "leave"))
    x, y = function.args
    builder = ir.IRBuilder(enter)
    builder.cbranch(_beyond(builder, x, limit), slow, leave)
    builder = ir.IRBuilder(slow)
    builder.ret(builder.call(outside, [x]))
    ir.IRBuilder(leave).ret(y)


def _variant(module: ir.Module, scalar: ir.Function, limit: float, width: int) -> ir.Function:
    """The function over `width` lanes; the slow way is a loop through memory, which keeps the code short."""
    one = scalar.args[0].type
    vector = ir.VectorType(one, width)
    function = ir.Function(module, ir.FunctionType(vector, [vector, vector]), f"{scalar.name}_x{width}")
    local(function)
    enter, slow, lane, done, leave = (
        function.append_basic_block(n) for n in ("enter", "slow", "lane", "done", "leave")
    )
    x, y = function.args
    builder = ir.IRBuilder(enter)
    places = [builder.alloca(vector) for _ in range(2)]
    lanes = builder.bitcast(_beyond(builder, x, limit), ir.IntType(width))
    builder.cbranch(builder.icmp_unsigned("!=", lanes, ir.Constant(lanes.type, 0)), slow, leave)
    builder = ir.IRBuilder(slow)
    for place, value in zip(places, (x, y), strict=True):
        builder.store(value, place)
    firsts = [builder.bitcast(place, one.as_pointer()) for place in places]
    builder.branch(lane)
    builder = ir.IRBuilder(lane)
    index = builder.phi(INDEX)
    arguments = [builder.gep(first, [index]) for first in firsts]
    builder.store(builder.call(scalar, [builder.load(a) for a in arguments]), arguments[1])
    following = builder.add(index, ir.Constant(INDEX, 1))
    index.add_incoming(ir.Constant(INDEX, 0), slow)
    index.add_incoming(following, lane)
    builder.cbranch(builder.icmp_unsigned("<", following, ir.Constant(INDEX, width)), lane, done)
    builder = ir.IRBuilder(done)
    builder.ret(builder.load(places[1]))
    ir.IRBuilder(leave).ret(y)
    return function
