"""argmax and argmin as kernels: one pass along the axis, the first best element wins, a NaN beats everything."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from treadle.compile.emit import Kernel, Text, code
from treadle.compile.fuse import in_kernel
from treadle.compile.kernels import GRAIN
from treadle.compile.views import View
from treadle.core.graph import Node
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]


def _text(node: Node, kind: str) -> Text:
    """Row j begins at element (j // inner) * n * inner + j % inner; its elements are `inner` apart."""
    text = Text()
    value = "i8" if kind == "b1" else kind  # bools are compared as numbers
    sign = ">" if node.op == "argmax" else "<"
    text.add(0, "def kernel(args, lo, hi):")
    text.add(1, f"x = p_{kind}(args[0])")
    text.add(1, "y = p_i8(args[1])")
    text.add(1, "n = args[2]")
    text.add(1, "inner = args[3]")
    text.add(1, "for j in range(lo, hi):")
    text.add(2, "start = (j // inner) * n * inner + j % inner")
    text.add(2, f"best = {value}(x[start])")
    text.add(2, "place = i8(0)")
    text.add(2, "for k in range(1, n):")
    text.add(3, f"v = {value}(x[start + k * inner])")
    text.add(3, f"if v {sign} best or (v != v and best == best):", node)
    text.add(4, "best = v")
    text.add(4, "place = i8(k)")
    text.add(2, "y[j] = place")
    text.add(1, "return 0")
    return text


def lower_position(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Lay out an argmax or argmin; False where its values cannot live in kernels."""
    source, out = node.inputs[0], node.outputs[0]
    if not in_kernel(source.spec) or not in_kernel(out.spec) or 0 in source.shape:
        return False
    view = lowerer.contiguous(lowerer.value(source, env))
    target = env[out] = lowerer.fresh(out, targets)
    axes: tuple[int, ...] = node.attrs["axes"]
    last = axes[-1] if axes else 0
    n = math.prod(view.shape[k] for k in axes)
    inner = math.prod(view.shape[last + 1 :]) if axes else 1
    rows = view.size // n
    grain = -(-GRAIN * rows // view.size) if view.size >= 2 * GRAIN else 0
    kind = code(source.dtype)
    lowerer.call(Kernel(_text(node, kind), (view, target, n, inner), rows, grain), node.op)
    return True
