"""sort and argsort without Python: NumPy's own sort, called by address, and indices by the digits of their keys.

A key is a whole number that is ordered as the elements are: NaN comes last, and of equal elements the first comes first
(-0 and 0 are equal). Short rows are sorted by insertion, long ones digit by digit from the lowest: 10^6 float32 take
NumPy 400 ms, this 15.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from treadle.compile.assembler import Deferred
from treadle.compile.cost import GRAIN, SCRATCH_SHARES
from treadle.compile.fusion.emit import Kernel, Text, code
from treadle.compile.llvm.build import Source
from treadle.compile.moves.copies import copied
from treadle.compile.run.executor import Ref
from treadle.compile.run.gate_entry import _numpy_api
from treadle.compile.views import View
from treadle.core.graph import Node
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]
SHORT = 64  # elements of a row up to which insertion is quicker than digits
DIGITS = 256
LONGEST = 1 << 32  # places that fit beside a key of 32 bits
# Words before `sort` and `argsort` in NumPy's PyArray_ArrFuncs, of three functions each: quick, heap, stable.
SORTS = 33

ROWS = Source(
    "sort",
    """
def kernel(args, lo, hi):
    for j in range(lo, hi):
        call3(args[0], args[1] + j * args[3], args[2], 0)
    return 0
""",
    native=True,
)


@cache
def numpy_sort(kind: str) -> int:
    """The address of NumPy's sort of numbers of a kind, `int sort(void* first, npy_intp count, void*)`; 0: not found.

    From the table that NumPy's C interface (2.x) gives of a dtype's functions.
    """
    usable = sys.implementation.name == "cpython" and ctypes.sizeof(ctypes.c_void_p) == 8
    if not usable or np.lib.NumpyVersion(np.__version__).major != 2:
        return 0
    table = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.py_object)(_numpy_api(365))(np.dtype(kind))
    if not table:
        return 0
    stable = int(kind[1]) <= 2  # which counts, where numbers are few
    return int((ctypes.c_void_p * (SORTS + 3)).from_address(table)[SORTS + 2 * stable] or 0)


def call_sort(lowerer: Lowerer, target: View) -> None:
    """Sort the rows of a view in row order, where they lie; its kind has a sort."""
    rows, n = target.size // target.shape[-1], target.shape[-1]
    args: list[Ref | int] = [numpy_sort(code(target.dtype)), target.ref, n, n * target.dtype.itemsize]
    grain = max(1, GRAIN // n) if rows > 1 and target.size >= 2 * GRAIN else 0
    lowerer.asm.call(lowerer.deferred.setdefault(ROWS.text, Deferred(ROWS)), args, rows, grain)


def _last(view: View, axis: int) -> View:
    """The view with an axis moved to the end."""
    order = [k for k in range(len(view.shape)) if k != axis] + [axis]
    shape, strides = tuple([view.shape[k] for k in order]), tuple([view.strides[k] for k in order])
    return View(view.buffer, shape, view.dtype, strides, view.offset)


def _flipped(view: View) -> View:
    """The view with its last axis from behind."""
    n, step = view.shape[-1], view.strides[-1]
    return View(view.buffer, view.shape, view.dtype, (*view.strides[:-1], -step), view.offset + (n - 1) * step)


def _negated(kind: str) -> Text:
    """y = -x."""
    text = Text()
    text.add(0, "def kernel(args, lo, hi):")
    text.add(1, f"x = p_{kind}(args[0])")
    text.add(1, f"y = p_{kind}(args[1])")
    text.add(1, "for j in range(lo, hi):")
    text.add(2, "y[j] = -x[j]")
    text.add(1, "return 0")
    return text


def lower_sort(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Lay out a sort: in its place, or, along other axes than the last and downwards, in memory of its own."""
    out, axis, down = node.outputs[0], node.attrs["axis"], node.attrs["descending"]
    if not copied(node) or 0 in out.shape or not out.shape or not numpy_sort(code(out.dtype)):
        return False
    source = _last(lowerer.value(node.inputs[0], env), axis)
    target = env[out] = lowerer.fresh(out, targets)
    end = _last(target, axis)
    floats = out.dtype.kind == "f"
    place = end if end.contiguous and not down else lowerer.memory(Spec(source.shape, source.dtype))
    if down and floats:
        view = lowerer.contiguous(source)
        lowerer.call(Kernel(_negated(code(out.dtype)), (view, place), place.size, 0), "negative")
    elif place.buffer is not source.buffer or place.offset != source.offset:
        lowerer.copy(source, place)
    call_sort(lowerer, place)
    if down and floats:
        lowerer.call(Kernel(_negated(code(out.dtype)), (place, place), place.size, 0), "negative")
    if place is not end:
        lowerer.copy(_flipped(place) if down and not floats else place, end)
        lowerer.free(place.buffer)
    return True


def _key(text: Text, indent: int, kind: str, down: bool) -> None:
    """Lines that make `key` (a u8) of element k of x."""
    size = int(kind[1])
    if kind[0] == "f":
        top = f"u8({1 << (8 * size - 1)})" if size == 4 else "(u8(1) << u8(63))"
        ones = "(u8(0) - u8(1))" if size == 8 else f"u8({(1 << 32) - 1})"
        text.add(indent, "v = x[k]")
        text.add(indent, "raw = u8(bits[k])")
        if down:
            text.add(indent, f"raw = raw ^ {top}")
        text.add(indent, f"raw = select(v == {kind}(0), u8(0), raw)")
        text.add(indent, f"key = raw ^ select((raw & {top}) != u8(0), {ones}, {top})")
        text.add(indent, f"key = select(v != v, {ones}, key)")
        return
    mask = "(u8(0) - u8(1))" if size == 8 else f"u8({(1 << (8 * size)) - 1})"
    text.add(indent, "raw = u8(bits[k])")
    if kind[0] == "i":
        text.add(indent, f"raw = raw ^ {f'u8({1 << (8 * size - 1)})' if size < 8 else '(u8(1) << u8(63))'}")
    text.add(indent, f"key = raw ^ {mask}" if down else "key = raw")


def _order_text(kind: str, down: bool) -> Text:
    """Share s of the rows, with scratch of its own: keys with places beside them, or, of 64 bits, in two arrays."""
    size = int(kind[1])
    wide = size == 8
    base = "u8(32) + " if not wide else ""
    text = Text()
    lines = [(0, "def kernel(args, lo, hi):")]
    names = ("a", "b", "rows", "n", "shares", "scratch", "room")
    lines += [(1, f"{name} = args[{k}]") for k, name in enumerate(names)]
    lines += [
        (1, "for s in range(lo, hi):"),
        (2, "c = p_i8(scratch + s * room)"),
        (2, f"near = scratch + s * room + {size * DIGITS * 8}"),
        (2, "far = near + n * 8"),
        (2, "near_places = far + n * 8"),
        (2, "far_places = near_places + n * 8"),
        (2, "for j in range(s * rows // shares, (s + 1) * rows // shares):"),
        (3, f"x = p_{kind}(a + j * n * {size})"),
        (3, f"bits = p_u{size}(a + j * n * {size})"),
        (3, "y = p_i8(b + j * n * 8)"),
        (3, "e = p_u8(near)"),
        (3, "for k in range(n):"),
    ]
    for indent, line in lines:
        text.add(indent, line)
    _key(text, 4, kind, down)
    text.add(4, "e[k] = key" if wide else "e[k] = (key << u8(32)) | u8(k)")
    _insertion(text, wide)
    _by_digits(text, size, base, wide)
    text.add(1, "return 0")
    return text


def _insertion(text: Text, wide: bool) -> None:
    """Rows of few elements."""
    lines = [
        (3, f"if n <= {SHORT}:"),
        *([(4, "y[0] = 0")] if wide else []),
        (4, "for k in range(1, n):"),
        (5, "moved = e[k]"),
        (5, "i = k"),
        (5, "while i > 0 and e[i - 1] > moved:"),
        (6, "e[i] = e[i - 1]"),
        *([(6, "y[i] = y[i - 1]")] if wide else []),
        (6, "i = i - 1"),
        (5, "e[i] = moved"),
        *([(5, "y[i] = k")] if wide else [(4, "for k in range(n):"), (5, "y[k] = i8(e[k] & u8(4294967295))")]),
        (4, "continue"),
    ]
    for indent, line in lines:
        text.add(indent, line)


def _by_digits(text: Text, size: int, base: str, wide: bool) -> None:
    """Rows of many: count all digits at once, then bring keys in the order of each digit, the lowest first."""
    pairs = [
        (3, f"for k in range({size * DIGITS}):"),
        (4, "c[k] = 0"),
        (3, "for k in range(n):"),
        *[(4, f"c[{d * DIGITS} + i8((e[k] >> ({base}u8({8 * d}))) & u8(255))] += 1") for d in range(size)],
        (3, "one = near"),
        (3, "other = far"),
        *([(3, "one_places = near_places"), (3, "other_places = far_places")] if wide else []),
        *([(3, "at = p_i8(near_places)"), (3, "for k in range(n):"), (4, "at[k] = k")] if wide else []),
        (3, f"for d in range({size}):"),
        (4, f"shift = {base}u8(8) * u8(d)"),
        (4, f"w = p_i8(scratch + s * room + d * {DIGITS * 8})"),
        (4, "f = p_u8(one)"),
        (4, "g = p_u8(other)"),
        *([(4, "fp = p_i8(one_places)"), (4, "gp = p_i8(other_places)")] if wide else []),
        (4, "if w[i8((f[0] >> shift) & u8(255))] != n:"),
        (5, "before = i8(0)"),
        (5, f"for k in range({DIGITS}):"),
        (6, "some = w[k]"),
        (6, "w[k] = before"),
        (6, "before = before + some"),
        (5, "for k in range(n):"),
        (6, "moved = f[k]"),
        (6, "digit = i8((moved >> shift) & u8(255))"),
        (6, "to = w[digit]"),
        (6, "w[digit] = to + 1"),
        (6, "g[to] = moved"),
        *([(6, "gp[to] = fp[k]")] if wide else []),
        (5, "spare = one"),
        (5, "one = other"),
        (5, "other = spare"),
        *([(5, "spare = one_places"), (5, "one_places = other_places"), (5, "other_places = spare")] if wide else []),
        (3, "last = p_i8(one_places)" if wide else "last = p_u8(one)"),
        (3, "for k in range(n):"),
        (4, "y[k] = last[k]" if wide else "y[k] = i8(last[k] & u8(4294967295))"),
    ]
    for indent, line in pairs:
        text.add(indent, line)


def lower_argsort(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Lay out an argsort; stable, whether that is asked or not."""
    out, axis = node.outputs[0], node.attrs["axis"]
    if not copied(node) or 0 in out.shape or not out.shape:
        return False
    source = lowerer.contiguous(_last(lowerer.value(node.inputs[0], env), axis))
    n = source.shape[-1]
    if n >= LONGEST:
        return False
    kind = code(source.dtype).replace("b", "u")
    target = env[out] = lowerer.fresh(out, targets)
    end = _last(target, axis)
    place = end if end.contiguous else lowerer.memory(Spec(source.shape, out.dtype))
    rows, size = source.size // n, int(kind[1])
    shares = min(rows, SCRATCH_SHARES) if source.size >= 2 * GRAIN else 1
    room = size * DIGITS * 8 + (4 if size == 8 else 2) * n * 8
    scratch = lowerer.memory(Spec((shares * room,), np.dtype("u1")))
    text = _order_text(kind, node.attrs["descending"])
    lowerer.call(Kernel(text, (source, place, rows, n, shares, scratch, room), shares, int(shares > 1)), node.op)
    lowerer.free(scratch.buffer)
    if place is not end:
        lowerer.copy(place, end)
        lowerer.free(place.buffer)
    return True
