"""What the native loops use beyond integer arithmetic: memory by address, calls by address, atomics.

Each function writes one or a few LLVM instructions; a value is always an int64, an address among them. See
`kernel_values`.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

from llvmlite import ir

I1, I8, I32, I64 = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)
VOID = ir.VoidType()
ZERO = I64(0)
Writer = Callable[..., Any]


def _at(builder: Any, address: Any, kind: Any = I64) -> Any:
    """`address` as a pointer to `kind`."""
    return builder.inttoptr(address, kind.as_pointer())


def same(builder: Any, value: Any) -> Any:
    """`words(address)` and `address_of(pointer)`: pointers are addresses here; the names serve readers."""
    return value


def load(builder: Any, address: Any) -> Any:
    """The int64 at an address."""
    return builder.load(_at(builder, address))


def load_byte(builder: Any, address: Any) -> Any:
    """The unsigned byte at an address."""
    return builder.zext(builder.load(_at(builder, address, I8)), I64)


def load_int(builder: Any, address: Any) -> Any:
    """The int32 at an address."""
    return builder.sext(builder.load(_at(builder, address, I32)), I64)


def store(builder: Any, address: Any, value: Any) -> Any:
    """Write an int64 at an address."""
    builder.store(value, _at(builder, address))
    return ZERO


def call_kernel(builder: Any, function: Any, args: Any, lo: Any, hi: Any) -> Any:
    """`function(args, lo, hi)`, a kernel by its address; its status."""
    return builder.call(_at(builder, function, ir.FunctionType(I64, [I64] * 3)), [args, lo, hi])


def ask(builder: Any, function: Any, block: Any) -> Any:
    """`function(block, 0, 0)`, a kernel that changes nothing which the asking one reads or writes; its answer."""
    kind = ir.FunctionType(I64, [I64] * 3)
    effects = ("nounwind", "cold", "memory(inaccessiblemem: readwrite)")
    return builder.call(_at(builder, function, kind), [block, ZERO, ZERO], attrs=effects)


def call_int(builder: Any, function: Any, *values: Any) -> Any:
    """`int function(values...)`, with arguments as wide as pointers, by address."""
    kind = ir.FunctionType(I32, [I64] * len(values))
    return builder.sext(builder.call(_at(builder, function, kind), list(values)), I64)


def call_word(builder: Any, function: Any, *values: Any) -> Any:
    """`void* function(values...)`, with arguments as wide as pointers, by address."""
    kind = ir.FunctionType(I64, [I64] * len(values))
    return builder.call(_at(builder, function, kind), list(values))


def on_stack(builder: Any, kind: Any) -> Any:
    """Address of memory on the stack, reserved once per call of the function whatever loop this stands in."""
    with builder.goto_entry_block():
        return builder.ptrtoint(builder.alloca(kind), I64)


def nanoseconds(builder: Any, function: Any, clock: Any) -> Any:
    """Time by `clock_gettime(clock, ...)`, whose address is `function`."""
    moment = on_stack(builder, ir.ArrayType(I64, 2))
    kind = ir.FunctionType(I32, [I32, I64])
    builder.call(_at(builder, function, kind), [builder.trunc(clock, I32), moment])
    seconds, rest = load(builder, moment), load(builder, builder.add(moment, I64(8)))
    return builder.add(builder.mul(seconds, I64(1_000_000_000)), rest)


def move(builder: Any, target: Any, source: Any, count: Any) -> Any:
    """Copy `count` bytes between two addresses; they may overlap."""
    byte = I8.as_pointer()
    function = builder.module.declare_intrinsic("llvm.memmove", [byte, byte, I64])
    builder.call(function, [_at(builder, target, I8), _at(builder, source, I8), count, I1(0)])
    return ZERO


def fill(builder: Any, target: Any, byte: Any, count: Any) -> Any:
    """Write `count` times the low byte of `byte` from an address on."""
    function = builder.module.declare_intrinsic("llvm.memset", [I8.as_pointer(), I64])
    builder.call(function, [_at(builder, target, I8), builder.trunc(byte, I8), count, I1(0)])
    return ZERO


def atomic_load(builder: Any, address: Any) -> Any:
    """The int64 at an address, sequentially consistent as all atomics here."""
    return builder.load_atomic(_at(builder, address), "seq_cst", 8)


def atomic_store(builder: Any, address: Any, value: Any) -> Any:
    """Write an int64 at an address."""
    builder.store_atomic(value, _at(builder, address), "seq_cst", 8)
    return ZERO


def atomic_add(builder: Any, address: Any, value: Any) -> Any:
    """Add to the int64 at an address; the value before."""
    return builder.atomic_rmw("add", _at(builder, address), value, "seq_cst")


def atomic_swap(builder: Any, address: Any, value: Any) -> Any:
    """Exchange the int64 at an address; the value before."""
    return builder.atomic_rmw("xchg", _at(builder, address), value, "seq_cst")


def pause(builder: Any) -> Any:
    """Tell the core that this is a spinning loop; nothing where there is no such instruction by intrinsic."""
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        builder.call(builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), ir.FunctionType(VOID, [])), [])
    elif machine in ("aarch64", "arm64"):
        hint = builder.module.declare_intrinsic("llvm.aarch64.hint", (), ir.FunctionType(VOID, [I32]))
        builder.call(hint, [I32(1)])
    return ZERO


def _smaller(sign: str) -> Writer:
    return lambda builder, a, b: builder.select(builder.icmp_signed(sign, a, b), a, b)


def _call_blas(builder: Any, function: Any, block: Any, sizes: list[Any], layout: Callable[..., list[Any]]) -> Any:
    """Call a BLAS routine whose arguments all go by address: sizes from the stack, the rest from slots of a block.

    The low half of an int64 is what a BLAS with 32-bit integers reads, since the machine is little-endian.
    """
    places = []
    for size in sizes:
        places.append(on_stack(builder, I64))
        store(builder, places[-1], size)
    arguments = layout(*places, lambda number: builder.add(block, I64(8 * number)))
    builder.call(_at(builder, function, ir.FunctionType(VOID, [I64] * len(arguments))), arguments)
    return ZERO


def call_gemm(builder: Any, function: Any, block: Any, m: Any, n: Any, a: Any, b: Any, c: Any) -> Any:
    """BLAS's `gemm` by address, in its own column order, on the numbers of a gemm block (see `gemm`)."""

    def layout(m: Any, n: Any, slot: Any) -> list[Any]:
        numbers = [slot(1), slot(2), m, n, slot(5), slot(13), a, slot(7), b, slot(9), slot(15), c, slot(11)]
        return [*numbers, I64(1), I64(1)]  # Fortran appends the lengths of its strings

    return _call_blas(builder, function, block, [m, n], layout)


def call_gemv(builder: Any, function: Any, block: Any, m: Any, n: Any, a: Any, x: Any, y: Any) -> Any:
    """BLAS's `gemv` by address, on the numbers of a gemv block (see `gemm`)."""

    def layout(m: Any, n: Any, slot: Any) -> list[Any]:
        return [slot(1), m, n, slot(12), a, slot(5), x, slot(7), slot(14), y, slot(9), I64(1)]

    return _call_blas(builder, function, block, [m, n], layout)


def call_loop(builder: Any, function: Any, block: Any, first: Any, count: Any) -> Any:
    """A loop of a generalized ufunc of NumPy by address, on `count` matrices from `first` on (see `matrix.lapack`)."""
    operands, sizes = on_stack(builder, ir.ArrayType(I64, 4)), on_stack(builder, ir.ArrayType(I64, 5))

    def slot(address: Any, number: int) -> Any:
        return builder.add(address, I64(8 * number))

    for k in range(4):
        start = builder.add(load(builder, slot(block, 3 + k)), builder.mul(first, load(builder, slot(block, 11 + k))))
        store(builder, slot(operands, k), start)
        store(builder, slot(sizes, 1 + k), load(builder, slot(block, 7 + k)))
    store(builder, sizes, count)
    kind = ir.FunctionType(VOID, [I64] * 4)
    builder.call(_at(builder, function, kind), [operands, sizes, slot(block, 11), load(builder, slot(block, 1))])
    return ZERO


FUNCTIONS: dict[str, Writer] = {
    "words": same,
    "address_of": same,
    "min": _smaller("<"),
    "max": _smaller(">"),
    "call0": call_int,
    "call1": call_int,
    "call2": call_int,
    "call3": call_int,
    "call4": call_int,
    "call_word": call_word,
    "ask": ask,
    **{
        function.__name__: function
        for function in (load, load_byte, load_int, store, call_kernel, nanoseconds, move, fill, pause)
    },
    **{function.__name__: function for function in (atomic_load, atomic_store, atomic_add, atomic_swap)},
    **{function.__name__: function for function in (call_gemm, call_gemv, call_loop)},
}
