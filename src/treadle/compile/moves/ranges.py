"""Tensors made of their positions: arange, linspace and eye. Short ones are constants of the program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from treadle.compile.cost import GRAIN
from treadle.compile.fusion.emit import Kernel, Text, code
from treadle.compile.moves.copies import copied, keep_ready
from treadle.compile.views import Buffer, View, whole
from treadle.core.graph import Node
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]
SHORT = 4096  # elements up to which the values are kept by the program
EXACT = 1 << 53  # positions up to here are exact in float64


def _text(node: Node, kind: str, whole_numbers: bool) -> Text:
    """`y[j] = start + step * j`, rounded after each of the two, as NumPy does it."""
    text = Text()
    text.add(0, "def kernel(args, lo, hi):")
    text.add(1, f"y = p_{kind}(args[0])")
    number = "i8" if whole_numbers else "f8"
    text.add(1, f"start = p_{number}(args[1])[0]")
    text.add(1, f"step = p_{number}(args[1])[1]")
    text.add(1, "for j in range(lo, hi):")
    moved = "start + step * j" if whole_numbers else "start + mul_apart_f8(step, f8(j))"
    text.add(2, f"y[j] = {kind}({moved})", node)
    text.add(1, "return 0")
    return text


def _line(node: Node) -> tuple[bool, Any, Any] | None:
    """Whether an arange or linspace is counted in integers, its start and its step; None where NumPy does more."""
    attrs, dtype = node.attrs, node.outputs[0].dtype
    if node.op == "linspace":
        count = attrs["shape"][0]
        parts = count - 1 if attrs["endpoint"] else count
        start, stop = np.float64(attrs["start"]), np.float64(attrs["stop"])
        step = (stop - start) / parts if parts > 0 else np.float64(0)
        return (False, start, step) if dtype.kind == "f" and step != 0 and np.isfinite(step) else None
    start, step = attrs["start"], attrs["step"]
    integers = isinstance(start, int) and isinstance(step, int)
    if dtype.kind in "iu":
        fits = integers and abs(start) < EXACT and abs(step) * attrs["shape"][0] < EXACT
        return (True, start, step) if fits else None
    return (False, start, step) if dtype.kind == "f" else None


def lower_range(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Lay out an arange or linspace; False where NumPy has to do it."""
    out = node.outputs[0]
    if not copied(node):
        return False
    line = _line(node)
    if out.spec.nbytes <= 8 * SHORT:
        if line is not None:
            keep_ready(lowerer, _text(node, code(out.dtype), line[0]), node.op)
        return _constant(lowerer, node, env)
    if line is None:
        return False
    integers, start, step = line
    target = env[out] = lowerer.fresh(out, targets)
    numbers = np.array([start, step], np.int64 if integers else np.float64)
    n = target.size
    grain = GRAIN if n >= 2 * GRAIN else 0
    lowerer.call(Kernel(_text(node, code(out.dtype), integers), (target, numbers), n, grain), node.op)
    if node.op == "linspace" and node.attrs["endpoint"]:
        last = np.asarray(node.attrs["stop"], out.dtype)
        lowerer.asm.copy(target.ref.at((n - 1) * last.nbytes), lowerer.asm.constant(last), last.nbytes)
    return True


def _constant(lowerer: Lowerer, node: Node, env: Env) -> bool:
    with np.errstate(all="ignore"):
        array = np.ascontiguousarray(node.definition.body(**node.attrs))
    env[node.outputs[0]] = whole(Buffer("constant", lowerer.asm.constant(array), array.nbytes), node.outputs[0].spec)
    return True


def lower_eye(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Zeros, and a one copied along the diagonal."""
    out = node.outputs[0]
    if not copied(node):
        return False
    if out.spec.nbytes <= 8 * SHORT:
        return _constant(lowerer, node, env)
    target = env[out] = lowerer.fresh(out, targets)
    lowerer.asm.fill(target.ref, 0, target.nbytes)
    k = node.attrs["k"]
    rows, columns = target.shape
    down, right = max(0, -k), max(0, k)
    length = max(0, min(rows - down, columns - right))
    if length:
        one = np.ones((), out.dtype)
        first = whole(Buffer("constant", lowerer.asm.constant(one), one.nbytes), Spec((), out.dtype))
        ones = View(first.buffer, (length,), out.dtype, (0,))
        lowerer.copy(
            ones, View(target.buffer, (length,), out.dtype, (columns + 1,), target.offset + down * columns + right)
        )
    return True
