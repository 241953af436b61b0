"""What the executor and the worker pool need beyond plain Python: memory by address, calls by address, atomics.

Imported only when something must be compiled, since it imports Numba. Every name in `NAMES` is an intrinsic: one or a
few LLVM instructions, inlined where it is used, so that the objects need no symbols of Numba's.
"""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.cgutils import alloca_once
from numba.extending import intrinsic

I8, I32, I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
VOID = ir.VoidType()


def _as_pointer(builder: Any, address: Any, kind: Any) -> Any:
    """`address`, an i64, as a pointer to `kind`."""
    return builder.inttoptr(address, kind.as_pointer())


@intrinsic  # type: ignore[untyped-decorator]
def words(typingctx: Any, address: Any) -> Any:
    """The address as a pointer to int64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _as_pointer(builder, args[0], I64)

    return types.CPointer(types.int64)(types.int64), generate  # type: ignore[attr-defined]


@intrinsic  # type: ignore[untyped-decorator]
def address_of(typingctx: Any, pointer: Any) -> Any:
    """A pointer's address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ptrtoint(args[0], I64)

    return types.int64(pointer), generate


@intrinsic  # type: ignore[untyped-decorator]
def load(typingctx: Any, address: Any) -> Any:
    """The int64 at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_as_pointer(builder, args[0], I64))

    return types.int64(types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def load_byte(typingctx: Any, address: Any) -> Any:
    """The unsigned byte at an address, as an int64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(builder.load(_as_pointer(builder, args[0], I8)), I64)

    return types.int64(types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def load_int(typingctx: Any, address: Any) -> Any:
    """The int32 at an address, as an int64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.sext(builder.load(_as_pointer(builder, args[0], I32)), I64)

    return types.int64(types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def store(typingctx: Any, address: Any, value: Any) -> Any:
    """Write an int64 at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], _as_pointer(builder, args[0], I64))
        return context.get_dummy_value()

    return types.none(types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def call_kernel(typingctx: Any, function: Any, args: Any, lo: Any, hi: Any) -> Any:
    """`function(args, lo, hi)` where `function` and `args` are addresses; its status."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        function, args, lo, hi = values
        kind = ir.FunctionType(I64, [I64.as_pointer(), I64, I64])
        return builder.call(_as_pointer(builder, function, kind), [_as_pointer(builder, args, I64), lo, hi])

    return types.int64(types.int64, types.int64, types.int64, types.int64), generate


def _caller(count: int, result: Any) -> Any:
    """A generator of `function(a, b, ...)` with `count` pointer-sized arguments by address."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.FunctionType(result, [I64] * count)
        value = builder.call(_as_pointer(builder, values[0], kind), list(values[1:]))
        return builder.sext(value, I64) if result != I64 else value

    return generate


@intrinsic  # type: ignore[untyped-decorator]
def call0(typingctx: Any, function: Any) -> Any:
    """`int function()` by address."""
    return types.int64(types.int64), _caller(0, I32)


@intrinsic  # type: ignore[untyped-decorator]
def call1(typingctx: Any, function: Any, a: Any) -> Any:
    """`int function(a)` by address."""
    return types.int64(types.int64, types.int64), _caller(1, I32)


@intrinsic  # type: ignore[untyped-decorator]
def call2(typingctx: Any, function: Any, a: Any, b: Any) -> Any:
    """`int function(a, b)` by address."""
    return types.int64(types.int64, types.int64, types.int64), _caller(2, I32)


@intrinsic  # type: ignore[untyped-decorator]
def nanoseconds(typingctx: Any, function: Any, clock: Any) -> Any:
    """Time by `clock_gettime(clock, ...)`, whose address is `function`."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        moment = alloca_once(builder, ir.ArrayType(I64, 2))
        kind = ir.FunctionType(I32, [I32, I64])
        place = builder.ptrtoint(moment, I64)
        builder.call(_as_pointer(builder, values[0], kind), [builder.trunc(values[1], I32), place])
        seconds = builder.load(_as_pointer(builder, place, I64))
        rest = builder.load(_as_pointer(builder, builder.add(place, I64(8)), I64))
        return builder.add(builder.mul(seconds, I64(1_000_000_000)), rest)

    return types.int64(types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def move(typingctx: Any, target: Any, source: Any, count: Any) -> Any:
    """Copy `count` bytes between two addresses; they may overlap."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        byte = I8.as_pointer()
        function = builder.module.declare_intrinsic("llvm.memmove", [byte, byte, I64])
        target, source = (_as_pointer(builder, value, I8) for value in values[:2])
        builder.call(function, [target, source, values[2], ir.Constant(ir.IntType(1), 0)])
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def fill(typingctx: Any, target: Any, byte: Any, count: Any) -> Any:
    """Write `count` times the low byte of `byte` from an address on."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        function = builder.module.declare_intrinsic("llvm.memset", [I8.as_pointer(), I64])
        target, value = _as_pointer(builder, values[0], I8), builder.trunc(values[1], I8)
        builder.call(function, [target, value, values[2], ir.Constant(ir.IntType(1), 0)])
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def atomic_load(typingctx: Any, address: Any) -> Any:
    """The int64 at an address, sequentially consistent."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.load_atomic(_as_pointer(builder, values[0], I64), "seq_cst", 8)

    return types.int64(types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def atomic_store(typingctx: Any, address: Any, value: Any) -> Any:
    """Write an int64 at an address, sequentially consistent."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.store_atomic(values[1], _as_pointer(builder, values[0], I64), "seq_cst", 8)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def atomic_add(typingctx: Any, address: Any, value: Any) -> Any:
    """Add to the int64 at an address; the value before."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.atomic_rmw("add", _as_pointer(builder, values[0], I64), values[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def atomic_swap(typingctx: Any, address: Any, value: Any) -> Any:
    """Exchange the int64 at an address; the value before."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.atomic_rmw("xchg", _as_pointer(builder, values[0], I64), values[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def pause(typingctx: Any) -> Any:
    """Tell the core that this is a spinning loop; nothing where there is no such instruction by intrinsic."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if platform.machine().lower() in ("x86_64", "amd64"):
            builder.call(builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), ir.FunctionType(VOID, [])), [])
        elif platform.machine().lower() in ("aarch64", "arm64"):
            hint = builder.module.declare_intrinsic("llvm.aarch64.hint", (), ir.FunctionType(VOID, [I32]))
            builder.call(hint, [I32(1)])
        return context.get_dummy_value()

    return types.none(), generate


@intrinsic  # type: ignore[untyped-decorator]
def call_gemm(typingctx: Any, function: Any, block: Any, m: Any, n: Any, a: Any, b: Any, c: Any) -> Any:
    """BLAS's `gemm` by address, in its own column order, on the numbers of a gemm block (see `gemm`).

    Integers go by address of the int64 that holds them: the low half is what a 32-bit BLAS reads, since the machine is
    little-endian.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        function, block, m, n, a, b, c = values
        sizes = []
        for value in (m, n):
            place = alloca_once(builder, I64)
            builder.store(value, place)
            sizes.append(builder.ptrtoint(place, I64))

        def slot(number: int) -> Any:
            return builder.add(block, I64(8 * number))

        arguments = [slot(1), slot(2), *sizes, slot(5), slot(13), a, slot(7), b, slot(9), slot(15), c, slot(11)]
        kind = ir.FunctionType(VOID, [I64] * 15)
        builder.call(_as_pointer(builder, function, kind), [*arguments, I64(1), I64(1)])
        return context.get_dummy_value()

    return types.none(*[types.int64] * 7), generate


@intrinsic  # type: ignore[untyped-decorator]
def call_gemv(typingctx: Any, function: Any, block: Any, m: Any, n: Any, a: Any, x: Any, y: Any) -> Any:
    """BLAS's `gemv` by address, on the numbers of a gemv block (see `gemm`)."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        function, block, m, n, a, x, y = values
        sizes = []
        for value in (m, n):
            place = alloca_once(builder, I64)
            builder.store(value, place)
            sizes.append(builder.ptrtoint(place, I64))

        def slot(number: int) -> Any:
            return builder.add(block, I64(8 * number))

        arguments = [slot(1), *sizes, slot(12), a, slot(5), x, slot(7), slot(14), y, slot(9), I64(1)]
        kind = ir.FunctionType(VOID, [I64] * 12)
        builder.call(_as_pointer(builder, function, kind), arguments)
        return context.get_dummy_value()

    return types.none(*[types.int64] * 7), generate


NAMES = {
    "words": words,
    "address_of": address_of,
    "load": load,
    "load_byte": load_byte,
    "load_int": load_int,
    "store": store,
    "call_kernel": call_kernel,
    "call0": call0,
    "call1": call1,
    "call2": call2,
    "nanoseconds": nanoseconds,
    "move": move,
    "fill": fill,
    "atomic_load": atomic_load,
    "atomic_store": atomic_store,
    "atomic_add": atomic_add,
    "atomic_swap": atomic_swap,
    "pause": pause,
    "call_gemm": call_gemm,
    "call_gemv": call_gemv,
}
