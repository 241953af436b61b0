"""Running sums, products, extremes and logarithms of sums of exponentials as kernels.

Along rows one element goes after another, along other axes row after row. A long scan that is not shared out stops now
and then, so that Ctrl-C is heard, and goes on from the last result that it has written.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from treadle.compile.cost import GRAIN
from treadle.compile.fusion.emit import Kernel, Text, code
from treadle.compile.moves.copies import copied
from treadle.compile.run.executor import BUDGET as AGAIN
from treadle.compile.run.executor import Ref
from treadle.compile.views import View
from treadle.core.graph import Node
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]
BUDGET = 1 << 22  # elements of a scan between two looks at Python: some milliseconds


# op -> one more element `{1}` after the running result `{0}`, of kind `{t}`
STEPS = {
    "cumsum": "{t}({0} + {1})",
    "cumprod": "{t}({0} * {1})",
    "cummax": "top_{t}({1}, {0})",
    "cummin": "bottom_{t}({1}, {0})",
    "logcumsumexp": "logaddexp_{t}({0}, {1})",
}


def running(node: Node, kind: str, before: str, element: str) -> str:
    """One more element after a running result, as kernel text."""
    return STEPS[node.op].format(before, element, t=kind)


def _along_rows(node: Node, kind: str) -> Text:
    """The scanned axis is the last: row j has n elements; `first` and `step` tell where it begins and which way."""
    text = Text()
    text.add(0, "def kernel(args, lo, hi):")
    for k, name in enumerate(("a0", "a1", "n", "first", "begin", "budget")):
        text.add(1, f"{name} = args[{k}]")
    text.add(1, "end = min(n, begin + budget)")
    sign = "-" if node.attrs.get("reverse") else ""
    text.add(1, "for j in range(lo, hi):")
    text.add(2, f"x = p_{kind}(a1 + (j * n + first) * {kind[1]})")
    text.add(2, f"y = p_{kind}(a0 + (j * n + first) * {kind[1]})")
    text.add(2, "if begin == 1:")
    text.add(3, "y[0] = x[0]")
    text.add(2, f"total = y[{sign}(begin - 1)]")
    text.add(2, "for k in range(begin, end):")
    text.add(3, f"total = {running(node, kind, 'total', f'x[{sign}k]')}", node)
    text.add(3, f"y[{sign}k] = total")
    return _ended(text, 4)


def _ended(text: Text, place: int) -> Text:
    """The lines by which a kernel says whether it is to be called again, and from where on."""
    text.add(1, "if end < n:")
    text.add(2, f"args[{place}] = end")
    text.add(2, f"return {AGAIN}")
    text.add(1, "return 0")
    return text


def _across_rows(node: Node, kind: str) -> Text:
    """Blocks of n rows of `inner` elements: each row of results is the one before it and a row of x."""
    text = Text()
    text.add(0, "def kernel(args, lo, hi):")
    for k, name in enumerate(("a0", "a1", "n", "first", "begin", "budget", "inner")):
        text.add(1, f"{name} = args[{k}]")
    text.add(1, "end = min(n, begin + budget)")
    back = "+ inner" if node.attrs.get("reverse") else "- inner"
    ahead = "-" if node.attrs.get("reverse") else "+"
    text.add(1, "for j in range(lo, hi):")
    text.add(2, f"x = p_{kind}(a1 + (j * n + first) * inner * {kind[1]})")
    text.add(2, f"y = p_{kind}(a0 + (j * n + first) * inner * {kind[1]})")
    text.add(2, "if begin == 1:")
    text.add(3, "for i in range(inner):")
    text.add(4, "y[i] = x[i]")
    text.add(2, "for k in range(begin, end):")
    text.add(3, f"start = ((j * n + first) {ahead} k) * inner * {kind[1]}")
    text.add(3, f"u = p_{kind}(a1 + start)")
    text.add(3, f"v = p_{kind}(a0 + start)")
    text.add(3, f"w = p_{kind}(a0 + start {back} * {kind[1]})")
    text.add(3, "for i in range(inner):")
    text.add(4, f"v[i] = {running(node, kind, 'w[i]', 'u[i]')}", node)
    return _ended(text, 4)


def lower_scan(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Lay out a running result; False where its values cannot live in kernels."""
    source, out = node.inputs[0], node.outputs[0]
    if not copied(node) or code(source.dtype) != code(out.dtype) or source.dtype.kind == "b":
        return False
    view = lowerer.contiguous(lowerer.value(source, env))
    target = env[out] = lowerer.fresh(out, targets)
    if not view.size:
        return True
    axis = node.attrs["axis"]
    n, inner = view.shape[axis], math.prod(view.shape[axis + 1 :])
    rows = view.size // (n * inner)
    first = n - 1 if node.attrs.get("reverse") else 0
    kind = code(source.dtype)
    grain = max(1, -(-GRAIN * rows // view.size)) if view.size >= 2 * GRAIN and rows > 1 else 0
    begin: Ref | int = 1
    budget = max(1, BUDGET // (rows * inner))
    if grain or budget >= n or lowerer.inplace:  # shares cannot stop, nor can what may overwrite a variable
        budget = n
    else:
        begin = lowerer.asm.fresh(1)
    args = (target, view, n, first, begin, budget)
    if inner == 1:
        kernel = Kernel(_along_rows(node, kind), args, rows, grain)
    else:
        kernel = Kernel(_across_rows(node, kind), (*args, inner), rows, grain)
    lowerer.call(kernel, node.op)
    return True
