"""searchsorted as a kernel: a binary search for each value, all values going through as many steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.compile.copies import copied
from treadle.compile.cost import GRAIN
from treadle.compile.emit import Kernel, Text, code
from treadle.compile.views import View
from treadle.core.graph import Node
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]


def _text(node: Node, kind: str) -> Text:
    """How many of the n sorted elements come before each value; a NaN comes after all numbers."""
    before = "(w < v) | ((v != v) & (w == w))" if node.attrs["side"] == "left" else "(w <= v) | (v != v)"
    value = "i1" if kind == "b1" else kind
    text = Text()
    text.add(0, "def kernel(args, lo, hi):")
    for k, name in enumerate(("x", "z")):
        text.add(1, f"{name} = p_{kind}(args[{k}])")
    text.add(1, "y = p_i8(args[2])")
    text.add(1, "n = args[3]")
    text.add(1, "steps = args[4]")
    text.add(1, "for j in range(lo, hi):")
    text.add(2, f"v = {value}(z[j])")
    text.add(2, "first = i8(0)")  # all before it come before the value
    text.add(2, "left = i8(n)")  # elements that are not decided
    text.add(2, "for k in range(steps):")
    text.add(3, "half = left // 2")
    text.add(3, "left = left - half")
    text.add(3, f"w = {value}(x[first + half - select(half > 0, i8(1), i8(0))])")
    text.add(3, f"first = first + select({before}, half, i8(0))", node)
    text.add(2, f"w = {value}(x[first])")
    text.add(2, f"y[j] = first + select({before}, i8(1), i8(0))")
    text.add(1, "return 0")
    return text


def lower_searchsorted(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Lay out a searchsorted; False where its values cannot live in kernels, or there is nothing to search."""
    if not copied(node) or any(0 in s.shape for s in node.inputs) or node.inputs[0].dtype != node.inputs[1].dtype:
        return False
    table, values = (lowerer.contiguous(lowerer.value(s, env)) for s in node.inputs)
    target = env[node.outputs[0]] = lowerer.fresh(node.outputs[0], targets)
    n = table.size
    steps = (n - 1).bit_length()
    grain = max(1, GRAIN // (4 * steps + 4)) if values.size * (4 * steps + 4) >= 2 * GRAIN else 0
    text = _text(node, code(table.dtype))
    lowerer.call(Kernel(text, (table, values, target, n, steps), values.size, grain), node.op)
    return True
