"""Matrix products as kernels of our own: integers, which BLAS does not do, matrices too small for a call, and dots.

A row of the result is made from rows of B, four at a time, so that the inner loop walks memory in order; where B is
stored transposed each element is a sum along two rows.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from treadle.compile.cost import GRAIN
from treadle.compile.fusion.emit import BLOCK, Kernel, Template, Text, code
from treadle.compile.views import View
from treadle.core.graph import Node
from treadle.core.spec import Spec
from treadle.records import dataclass

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

SMALL = 1 << 8  # multiplications up to which a kernel beats a call of BLAS (4^3: 90 against 140 ns; 10^3: 700, 450)


@dataclass(frozen=True, slots=True)
class Side:
    """A factor as op(A) or op(B): a view, and steps in elements along rows, columns and the two axes of the batch."""

    view: View
    row: int
    column: int
    outer: int
    inner: int


_NODE: Any = object()  # stands in texts for the node that does the product
HEAD = ("c0", "a0", "b0", "m", "n", "k", "inner", "ao", "ai", "ar", "ac", "bo", "bi", "br", "bc")


def _head(text: Text) -> None:
    text.add(0, "def kernel(args, lo, hi):")
    for j, name in enumerate(HEAD):
        text.add(1, f"{name} = args[{j}]")


@cache
def _rows_text(kind: str) -> Template:
    """B's rows lie in order: c[r] += a[r, q] * b[q], four q at a time."""
    size = kind[1]
    text = Text()
    _head(text)
    text.add(1, "for t in range(lo, hi):")
    text.add(2, f"pa = a0 + (t // inner * ao + t % inner * ai) * {size}")
    text.add(2, f"pb = b0 + (t // inner * bo + t % inner * bi) * {size}")
    text.add(2, "for r in range(m):")
    text.add(3, f"a = p_{kind}(pa + r * ar * {size})")
    text.add(3, f"c = p_{kind}(c0 + (t * m + r) * n * {size})")
    text.add(3, "for j in range(n):")
    text.add(4, f"c[j] = {kind}(0)")
    text.add(3, "for g in range(k // 4):")
    for d in range(4):
        text.add(4, f"w{d} = a[(4 * g + {d}) * ac]")
        text.add(4, f"y{d} = p_{kind}(pb + (4 * g + {d}) * br * {size})")
    text.add(4, "for j in range(n):")
    text.add(5, f"c[j] = {kind}(c[j] + ((w0 * y0[j] + w1 * y1[j]) + (w2 * y2[j] + w3 * y3[j])))", _NODE)
    text.add(3, "for q in range(k // 4 * 4, k):")
    text.add(4, "w = a[q * ac]")
    text.add(4, f"y = p_{kind}(pb + q * br * {size})")
    text.add(4, "for j in range(n):")
    text.add(5, f"c[j] = {kind}(c[j] + w * y[j])", _NODE)
    text.add(1, "return 0")
    return Template.of(text, (_NODE,))


@cache
def _dots_text(kind: str, unit: bool) -> Template:
    """Each element is a sum over q; `unit`: both rows lie in order."""
    size = kind[1]
    text = Text()
    _head(text)
    left, right = ("a[q]", "b[q]") if unit else ("a[q * ac]", "b[q * br]")
    text.add(1, "for t in range(lo, hi):")
    text.add(2, f"pa = a0 + (t // inner * ao + t % inner * ai) * {size}")
    text.add(2, f"pb = b0 + (t // inner * bo + t % inner * bi) * {size}")
    text.add(2, "for r in range(m):")
    text.add(3, f"a = p_{kind}(pa + r * ar * {size})")
    text.add(3, f"c = p_{kind}(c0 + (t * m + r) * n * {size})")
    text.add(3, "for j in range(n):")
    text.add(4, f"b = p_{kind}(pb + j * bc * {size})")
    text.add(4, f"total = {kind}(0)")
    text.add(4, "for q in range(k):")
    product = f"{left} * {right}"
    added = f"add_reassoc_{kind}(total, {product})" if kind[0] == "f" else f"{kind}(total + {product})"
    text.add(5, f"total = {added}", _NODE)
    text.add(4, "c[j] = total")
    text.add(1, "return 0")
    return Template.of(text, (_NODE,))


def call_small(lowerer: Lowerer, node: Node, target: View, a: Side, b: Side, k: int, count: int, inner: int) -> None:
    """Lay out `count` products of matrices, the batch being `count // inner` times `inner`; only k may be 0."""
    m, n = target.shape[-2:]
    kind = code(target.dtype)
    if b.column == 1 or n == 1:
        text = _rows_text(kind)
    else:
        text = _dots_text(kind, a.column == 1 and b.row == 1)
    work = m * n * max(k, 1)
    grain = max(1, GRAIN // work) if count > 1 and count * work >= 2 * GRAIN else 0
    numbers = (m, n, k, inner, a.outer, a.inner, a.row, a.column, b.outer, b.inner, b.row, b.column)
    lowerer.call(Kernel(text, (target, a.view, b.view, *numbers), count, grain, (node,)), node.op)


@cache
def _dot_text(kind: str) -> Template:
    """Sums of products over blocks of elements, one sum a block."""
    text = Text()
    text.add(0, "def kernel(args, lo, hi):")
    for j, name in enumerate(("a", "b", "y")):
        text.add(1, f"{name} = p_{kind}(args[{j}])")
    text.add(1, "n = args[3]")
    text.add(1, "for t in range(lo, hi):")
    text.add(2, f"total = {kind}(0)")
    text.add(2, f"for j in range(t * {BLOCK}, min(n, (t + 1) * {BLOCK})):")
    text.add(3, f"total = add_reassoc_{kind}(total, a[j] * b[j])", _NODE)
    text.add(2, "y[t] = total")
    text.add(1, "return 0")
    return Template.of(text, (_NODE,))


@cache
def _sum_text(kind: str) -> Template:
    """The sum of the blocks' sums."""
    text = Text()
    text.add(0, "def kernel(args, lo, hi):")
    text.add(1, f"a = p_{kind}(args[0])")
    text.add(1, f"y = p_{kind}(args[1])")
    text.add(1, f"total = {kind}(0)")
    text.add(1, "for j in range(args[2]):")
    text.add(2, f"total = add_reassoc_{kind}(total, a[j])", _NODE)
    text.add(1, "y[0] = total")
    text.add(1, "return 0")
    return Template.of(text, (_NODE,))


def call_dot(lowerer: Lowerer, node: Node, a: View, b: View, target: View, n: int) -> None:
    """Lay out the sum of products of two vectors of n elements in order; blocks can be shared out."""
    kind = code(target.dtype)
    blocks = -(-n // BLOCK)
    text = _dot_text(kind)
    if blocks == 1:
        lowerer.call(Kernel(text, (a, b, target, n), 1, 0, (node,)), "dot")
        return
    partial = lowerer.memory(Spec((blocks,), target.dtype))
    lowerer.call(Kernel(text, (a, b, partial, n), blocks, 1, (node,)), "dot")
    lowerer.call(Kernel(_sum_text(kind), (partial, target, blocks), 1, 0, (node,)), "dot_sum")
    lowerer.free(partial.buffer)
