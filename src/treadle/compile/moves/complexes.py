"""Elementwise work on complex numbers: each is two numbers side by side, and a kernel reads and writes both.

NumPy's formulas, so that infinities and signs of zeros come out as there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from treadle.compile.cost import GRAIN
from treadle.compile.fusion.emit import Kernel, Text, broadcast_strides, code
from treadle.compile.fusion.items import in_kernel
from treadle.compile.views import View
from treadle.core.dim import is_static
from treadle.core.graph import Node
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]
# op -> lines before, the real part, the imaginary one ("": the result is real); a and b are the operands, K the kind.
PARTS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "add": ((), "ar + br", "ai + bi"),
    "subtract": ((), "ar - br", "ai - bi"),
    "multiply": ((), "ar * br - ai * bi", "ar * bi + ai * br"),
    "square": ((), "ar * ar - ai * ai", "ar * ai + ai * ar"),
    "negative": ((), "-ar", "-ai"),
    "conj": ((), "ar", "-ai"),
    "real": ((), "ar", ""),
    "imag": ((), "ai", ""),
    "abs": ((), "hypot_K(ar, ai)", ""),
    # R. L. Smith, Algorithm 116 (1962), as NumPy has it: by the larger part of the divisor.
    "divide": (
        (
            "tall = abs_K(br) >= abs_K(bi)",
            "zero = (br == K(0)) & (bi == K(0))",
            "large = select(tall, br, bi)",
            "small = select(tall, bi, br)",
            "rate = select(zero, K(0), small / large)",
            "scale = select(zero, K(1) / abs_K(br), K(1) / (large + small * rate))",
        ),
        "select(zero, ar, select(tall, ar, ai) + select(tall, ai, ar) * rate) * scale",
        "select(zero, ai, select(tall, ai - ar * rate, ai * rate - ar)) * scale",
    ),
    "astype": ((), "ar", "ai"),
}
PRODUCTS = {"multiply", "square"}
ABREAST = 4  # vectors of products in a round


def as_numbers(view: View) -> View:
    """Complex numbers as pairs of numbers, along one more axis."""
    dtype = np.dtype(view.dtype.char.lower())
    return View(view.buffer, (*view.shape, 2), dtype, (*[2 * s for s in view.strides], 1), 2 * view.offset)


def _fits(node: Node) -> bool:
    values = (*node.inputs, *node.outputs)
    if not any(s.dtype.kind == "c" for s in values) or node.outputs[0].dtype.kind not in "fc":
        return False
    if node.op == "astype":
        return node.outputs[0].dtype.kind == "c" and (
            in_kernel(node.inputs[0].spec) or node.inputs[0].dtype.kind == "c"
        )
    return all(is_static(s.shape) and s.dtype.kind == "c" for s in node.inputs)


def _operand(lowerer: Lowerer, symbol: Symbol, shape: tuple[int, ...], env: Env) -> tuple[View, bool]:
    """An operand whose numbers lie in the order of the result, and whether it is one number for all of them."""
    view = lowerer.value(symbol, env)
    wide = View(view.buffer, shape, view.dtype, broadcast_strides(view, shape), view.offset)
    numbers = as_numbers(wide) if view.dtype.kind == "c" else wide
    if view.size == 1:
        return numbers, True
    return lowerer.contiguous(numbers), False


def _products(text: Text, node: Node, kind: str) -> None:
    """Products of pairs as they lie, a vector at a time: LLVM would take them apart and put them together again."""
    size, second = kind[1], len(node.inputs) - 1
    text.add(1, f"abreast = lanes_{kind}() // 2 * {ABREAST}")
    text.add(1, f"bytes = lanes_{kind}() * {size}")
    for name, k in (("left", 1), ("right", second + 1), ("product", 0)):
        text.add(1, f"{name} = args[{k}]")
    text.add(1, "whole = (hi - lo) // abreast")
    text.add(1, "for g in range(whole):")
    text.add(2, f"at = (lo + g * abreast) * {2 * int(size)}")
    for d in range(ABREAST):
        places = [f"{name} + at + {d} * bytes" for name in ("left", "right", "product")]
        text.add(2, f"pairs_{kind}({', '.join(places)})", node)
    text.add(1, "for j in range(lo + whole * abreast, hi):")


def lower_complex(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Lay out an op of `PARTS`; False where it is not about complex numbers of known sizes."""
    out = node.outputs[0]
    if not _fits(node) or not is_static(out.shape):
        return False
    shape: tuple[int, ...] = out.shape  # type: ignore[assignment]
    operands = [_operand(lowerer, s, shape, env) for s in node.inputs]
    target = env[out] = lowerer.fresh(out, targets)
    kind = f"f{out.dtype.itemsize // (2 if out.dtype.kind == 'c' else 1)}"
    text = Text()
    text.add(0, "def kernel(args, lo, hi):" + ("  # apart" if _apart(target, [v for v, _ in operands]) else ""))
    text.add(1, f"z = p_{kind}(args[0])")
    for k, (view, _) in enumerate(operands):
        text.add(1, f"x{k} = p_{code(view.dtype)}(args[{k + 1}])")
    pairs = all(
        symbol.dtype == out.dtype and not alone for symbol, (_, alone) in zip(node.inputs, operands, strict=True)
    )
    if node.op in PRODUCTS and pairs:
        _products(text, node, kind)
    else:
        text.add(1, "for j in range(lo, hi):")
    for k, (symbol, (_, alone)) in enumerate(zip(node.inputs, operands, strict=True)):
        at, name = "0" if alone else "j", "ab"[k]
        pair = symbol.dtype.kind == "c"
        text.add(2, f"{name}r = {kind}(x{k}[{f'2 * {at}' if pair else at}])")
        text.add(2, f"{name}i = {f'{kind}(x{k}[2 * {at} + 1])' if pair else f'{kind}(0)'}")
    lines, real, imaginary = PARTS[node.op]
    for line in lines:
        text.add(2, line.replace("K", kind))
    text.add(2, f"z[{'2 * j' if imaginary else 'j'}] = {real.replace('K', kind)}", node)
    if imaginary:
        text.add(2, f"z[2 * j + 1] = {imaginary.replace('K', kind)}", node)
    text.add(1, "return 0")
    grain = GRAIN if target.size >= 2 * GRAIN else 0
    lowerer.call(Kernel(text, (target, *[view for view, _ in operands]), target.size, grain), node.op)
    for symbol, (view, _) in zip(node.inputs, operands, strict=True):
        if view.buffer is not lowerer.value(symbol, env).buffer:
            lowerer.free(view.buffer)
    return True


def _apart(target: View, views: list[View]) -> bool:
    return all(view.buffer is not target.buffer for view in views)
