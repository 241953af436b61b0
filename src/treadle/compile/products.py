"""Matrix products as BLAS calls: transposed views become flags, batches one call each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.compile import blas
from treadle.compile.views import View
from treadle.core.graph import Node
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]


def _matrix(view: View) -> tuple[bool, int] | None:
    """How BLAS can read the last two axes: (transposed, leading dimension); None when it cannot."""
    rows, columns = view.shape[-2:]
    down, along = view.strides[-2:]
    if along == 1 or columns == 1:
        step = down if rows > 1 else columns
        if step >= columns and (along == 1 or columns == 1):
            return False, max(step, 1)
    if down == 1 or rows == 1:
        step = along if columns > 1 else rows
        if step >= rows:
            return True, max(step, 1)
    return None


def _batch_stride(view: View, batch: tuple[int, ...]) -> int | None:
    """One stride that walks all batch axes, 0 when there is only one matrix; None when there is none."""
    own = view.shape[:-2]
    if all(size == 1 for size in own):
        return 0
    if own != batch:
        return None
    expected = None
    for size, stride in zip(reversed(own), reversed(view.strides[:-2]), strict=True):
        if size == 1:
            continue
        if expected is not None and stride != expected:
            return None
        expected = stride * size
    sizes = [(size, stride) for size, stride in zip(own, view.strides[:-2], strict=True) if size != 1]
    return sizes[-1][1]


def lower_matmul(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Lay out a product; False when BLAS cannot do it (integers, batches that broadcast in an odd way)."""
    out = node.outputs[0]
    if out.dtype.kind != "f" or len(node.inputs[0].shape) < 2 or len(node.inputs[1].shape) < 2:
        return False
    a, b = (lowerer.value(s, env) for s in node.inputs)
    flags = [node.attrs.get("transpose_a", False), node.attrs.get("transpose_b", False)]
    batch: tuple[int, ...] = out.shape[:-2]  # type: ignore[assignment]
    count = 1
    for size in batch:
        count *= size
    sides = []
    for view, flag in zip((a, b), flags, strict=True):
        layout = _matrix(view)
        stride = _batch_stride(view, batch)
        if layout is None or stride is None:
            view = lowerer.contiguous(view)
            layout, stride = _matrix(view), _batch_stride(view, batch)
        if layout is None or stride is None:
            return False
        sides.append((view, layout[0] != flag, layout[1], stride))
    target = env[out] = lowerer.fresh(out, targets)
    m, n = out.shape[-2:]
    k = a.shape[-2] if flags[0] else a.shape[-1]
    assert isinstance(m, int)
    assert isinstance(n, int)
    if m * n * count == 0:
        return True
    if k == 0:
        lowerer.asm.fill(target.ref, 0, target.nbytes)
        return True
    (va, ta, lda, sa), (vb, tb, ldb, sb) = sides
    kind: blas.Dtype = "f4" if out.dtype.itemsize == 4 else "f8"
    lowerer.asm.gemm(
        kind, ta, tb, m, n, k, va.ref, lda, vb.ref, ldb, target.ref, n, batch=count, strides=(sa, sb, m * n), note=node
    )
    return True
