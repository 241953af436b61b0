"""searchsorted as a kernel: a binary search for each value, all values going through as many steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.compile.cost import GRAIN
from treadle.compile.fusion.emit import Kernel, Text, code
from treadle.compile.moves.copies import copied
from treadle.compile.views import View
from treadle.core.graph import Node
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]


LANES = 8  # searches that go on side by side: each waits for memory most of the time


def _text(node: Node, kind: str) -> Text:
    """How many of the n sorted elements come before each value; a NaN comes after all numbers."""
    value = "i1" if kind == "b1" else kind

    def before(d: int) -> str:
        if node.attrs["side"] == "left":
            return f"(w{d} < v{d}) | ((v{d} != v{d}) & (w{d} == w{d}))"
        return f"(w{d} <= v{d}) | (v{d} != v{d})"

    lanes = range(LANES)
    text = Text()
    text.add(0, "def kernel(args, lo, hi):")
    for k, name in enumerate(("x", "z")):
        text.add(1, f"{name} = p_{kind}(args[{k}])")
    text.add(1, "y = p_i8(args[2])")
    for k, name in enumerate(("n", "steps", "last")):
        text.add(1, f"{name} = args[{k + 3}]")
    text.add(1, "for g in range(lo, hi):")
    for d in lanes:  # the last searches may be the same one
        text.add(2, f"j{d} = min_i8(g * {LANES} + {d}, last)")
        text.add(2, f"v{d} = {value}(z[j{d}])")
        text.add(2, f"a{d} = i8(0)")  # all before it come before the value
    text.add(2, "left = i8(n)")  # elements that are not decided
    text.add(2, "for k in range(steps):")
    text.add(3, "half = left // 2")
    text.add(3, "left = left - half")
    text.add(3, "back = half - select(half > 0, i8(1), i8(0))")
    for d in lanes:
        text.add(3, f"w{d} = {value}(x[a{d} + back])")
        text.add(3, f"a{d} = a{d} + select({before(d)}, half, i8(0))", node)
    for d in lanes:
        text.add(2, f"w{d} = {value}(x[a{d}])")
        text.add(2, f"y[j{d}] = a{d} + select({before(d)}, i8(1), i8(0))")
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
    groups, work = -(-values.size // LANES), LANES * (4 * steps + 4)
    grain = max(1, GRAIN // work) if groups * work >= 2 * GRAIN else 0
    text = _text(node, code(table.dtype))
    lowerer.call(Kernel(text, (table, values, target, n, steps, values.size - 1), groups, grain), node.op)
    return True
