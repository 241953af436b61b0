"""Inverses, determinants, factorizations: the loops in which NumPy calls LAPACK, entered by address, without Python.

A generalized ufunc of `numpy.linalg` keeps its loops in a table of its object (`PyUFuncObject` of NumPy's C interface,
the same since NumPy 1.0): `void loop(char** operands, npy_intp* sizes, npy_intp* steps, void* data)`. So results are
NumPy's, bit for bit, and a matrix that cannot be worked on shows as the processor's flag for invalid operations.
NumPy computes single precision in double precision; so does this.
"""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle.compile import hosts
from treadle.compile.assembler import Deferred
from treadle.compile.fusion.groups import call_group
from treadle.compile.fusion.small_groups import cast_group
from treadle.compile.llvm.build import Source
from treadle.compile.views import View
from treadle.core.graph import Node, apart
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol
from treadle.records import dataclass

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]
DOUBLE = np.dtype(np.float64)

# A block: 0 the loop, 1 its data, 2 `fetestexcept` or 0 where nothing can go wrong, 3-6 the operands' addresses,
# 7-10 sizes of a matrix, 11-22 steps in bytes: each operand's from matrix to matrix, then those within matrices,
# 23 `feclearexcept`: a flag that is up already would stay so.
CALL = Source(
    "linear algebra",
    """
def kernel(args, lo, hi):
    failed = 0
    if hi > lo:
        if args[2] != 0:
            call1(args[23], 1)
        call_loop(args[0], address_of(args), lo, hi - lo)
        if args[2] != 0:
            failed = call1(args[2], 1)
    return 2 if failed != 0 else 0
""",
    native=True,
)
SIZES, STEPS = 4, 12
# Matrices up to this side are shared out over cores, in shares of so many operations; larger ones LAPACK itself shares.
# Not where each is little work: all calls take memory from OpenBLAS's store, under one lock (determinants of 10 x 10
# take 0.84 us each on one core, and half as much again on two that wait for each other).
SMALL, SHARE, HEAVY = 64, 1 << 16, 1 << 14


@cache
def _flags() -> tuple[int, int]:
    """Addresses of C's `fetestexcept` and `feclearexcept`, or zeros. Their 1 is FE_INVALID on x86 and on aarch64."""
    for name in () if sys.platform == "win32" else (None, "libm.so.6"):
        try:
            library = ctypes.CDLL(name)
            found = [ctypes.cast(f, ctypes.c_void_p).value for f in (library.fetestexcept, library.feclearexcept)]
        except (AttributeError, OSError):
            continue
        if all(found):
            return found[0] or 0, found[1] or 0
    return 0, 0


@cache
def loop_of(name: str, types: str) -> tuple[int, int] | None:
    """Address and data of the loop of one of NumPy's generalized ufuncs for these types, "d->d"; None: not found."""
    if ctypes.sizeof(ctypes.c_void_p) != 8 or sys.byteorder != "little" or sys.implementation.name != "cpython":
        return None
    ufunc = getattr(getattr(np.linalg, "_umath_linalg", None), name, None)
    if not isinstance(ufunc, np.ufunc) or types not in ufunc.types or not all(_flags()):
        return None

    def word(offset: int, kind: Any = ctypes.c_int64) -> int:
        return int(kind.from_address(id(ufunc) + offset).value)

    counts = [word(offset, ctypes.c_int32) for offset in (16, 20, 24, 48)]
    if counts != [ufunc.nin, ufunc.nout, ufunc.nargs, ufunc.ntypes]:
        return None  # ufuncs are laid out in another way
    number = ufunc.types.index(types)
    numbers = bytes([np.dtype(kind).num for kind in types.replace("->", "")])
    if ctypes.string_at(word(64) + number * ufunc.nargs, ufunc.nargs) != numbers:
        return None
    function = ctypes.c_int64.from_address(word(32) + 8 * number).value
    data = ctypes.c_int64.from_address(word(40) + 8 * number).value if word(40) else 0
    return int(function), int(data)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a loop: the operands, each `core` axes in the end and a batch before, and a matrix's sizes.

    work: operations that a matrix takes, about; fails: whether LAPACK may refuse a matrix.
    """

    loop: tuple[int, int]
    operands: tuple[View, ...]
    cores: tuple[int, ...]
    sizes: tuple[int, ...]
    work: int
    fails: bool


def _batch_step(view: View, core: int) -> int | None:
    """Elements from matrix to matrix of a batch; None where that is no one step."""
    step = None
    for size, stride in zip(
        view.shape[: len(view.shape) - core][::-1], view.strides[: -core or None][::-1], strict=True
    ):
        if size == 1:
            continue
        if step is None:
            step, room = stride, stride * size
        elif stride != room:
            return None
        else:
            room *= size
    return step or 0


def _emit(lowerer: Lowerer, node: Node, call: Call, note: Any) -> None:
    """Lay out the call of a loop."""
    loop, data = call.loop
    views = call.operands
    args: list[Any] = [loop, data, _flags()[0] if call.fails else 0, *[view.ref for view in views]]
    args += [0] * (7 - len(args)) + [*call.sizes, *[0] * (SIZES - len(call.sizes))]
    steps: list[int] = []
    for view, core in zip(views, call.cores, strict=True):
        step = _batch_step(view, core)
        assert step is not None
        steps.append(step * view.dtype.itemsize)
    for view, core in zip(views, call.cores, strict=True):
        steps += [stride * view.dtype.itemsize for stride in view.strides[len(view.shape) - core :]]
    args += steps + [0] * (STEPS - len(steps)) + [_flags()[1]]
    first, core = views[0], call.cores[0]
    batch = math.prod(first.shape[: len(first.shape) - core])
    shared = max(call.sizes) <= SMALL and call.work >= HEAVY and batch * call.work >= 2 * SHARE
    found = lowerer.deferred.setdefault(CALL.text, Deferred(CALL))
    lowerer.asm.call(found, args, batch, max(1, SHARE // call.work) if shared else 0, note)


class Work:
    """One node being laid out: its operands in double precision, and results that are brought back from it."""

    def __init__(self, lowerer: Lowerer, node: Node, env: Env, targets: Env) -> None:
        self.lowerer, self.node, self.env, self.targets = lowerer, node, env, targets
        self.taken: list[View] = []
        self.after: list[tuple[View, View]] = []
        self.sources = [lowerer.value(s, env) for s in node.inputs]

    def temporary(self, shape: tuple[int, ...], dtype: np.dtype[Any] = DOUBLE) -> View:
        """Memory of the arena until the node is done."""
        view = self.lowerer.memory(Spec(shape, dtype))
        self.taken.append(view)
        return view

    def input(self, k: int, own: bool = False) -> View:
        """An operand in double precision, with one step from matrix to matrix; `own`: one that may be overwritten."""
        view = self.sources[k]
        if view.dtype == DOUBLE and not own and _batch_step(view, 2) is not None:
            return view
        made = self.temporary(view.shape)
        if view.dtype == DOUBLE:
            self.lowerer.copy(view, made)
        else:
            self.cast(view, made)
        return made

    def output(self, k: int) -> View:
        """Where a result is made: its place, or memory from which it is rounded to its place."""
        symbol = self.node.outputs[k]
        end = self.env[symbol] = self.lowerer.fresh(symbol, self.targets)
        if end.dtype == DOUBLE:
            return end
        made = self.temporary(end.shape)
        self.after.append((made, end))
        return made

    def call(self, name: str, operands: Sequence[View], cores: Sequence[int], sizes: Sequence[int], work: int) -> None:
        """Call the loop `name` on operands with so many axes of one matrix each."""
        nin = 2 if name in ("solve", "qr_reduced", "qr_complete") else 1
        found = loop_of(name, "d" * nin + "->" + "d" * (len(operands) - nin))
        assert found is not None
        lowerer, fails = self.lowerer, name not in ("det", "slogdet")
        note = None
        if fails:
            step = hosts.node_step(self.node, self.sources, [], tuple(lowerer.loops))
            note, lowerer.has_checks = hosts.Fault(apart(self.node), step), True
        _emit(lowerer, self.node, Call(found, tuple(operands), tuple(cores), tuple(sizes), work, fails), note)

    def done(self) -> bool:
        """Round what must be rounded, and give memory back."""
        for made, end in self.after:
            self.cast(made, end)
        for view in self.taken:
            self.lowerer.free(view.buffer)
        return True

    def cast(self, view: View, target: View) -> None:
        """Convert a value."""
        group, source, made = cast_group(view, target.dtype)
        call_group(self.lowerer, group, {source: view}, {made: target}, {})
