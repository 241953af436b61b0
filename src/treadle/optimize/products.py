"""Matrix products and transposes: a transposed operand, or a transposed result, becomes a flag of the product.

Transposed operands change no bit. A product turned around, `(a @ b).T` as `b.T @ a.T`, has the same sums, which BLAS
may take in another order: equal within the error of a dot product. Many dot products side by side, `(n, 1, k) @
(n, k, 1)`, are rows of a product of elements, added up.
"""

from __future__ import annotations

from collections.abc import Sequence

from treadle.core.graph import Node
from treadle.core.op import REGISTRY, Op
from treadle.core.tensor import Symbol
from treadle.optimize.sweep import Kinds, Step, Sweep


def _products(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    return _operands(sweep, node) if node.op == "matmul" else _result(sweep, node)


def _dots(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    """One dot product for each of many: rows that are multiplied and added up."""
    (out,) = node.outputs
    shape = out.shape
    if len(shape) < 3 or shape[-2:] != (1, 1) or out.dtype.kind != "f" or not out.spec.static:
        return None
    if not all(s.spec.static and len(s.shape) > 2 for s in node.inputs) or out.spec.size < 2:
        return None
    sweep.counts["dot products side by side"] += 1
    reshape, (a, b) = REGISTRY["reshape"], node.inputs
    rows = [sweep.emit(reshape, (s,), {"shape": (*s.shape[:-2], s.shape[-1] * s.shape[-2])}, node) for s in (a, b)]
    product = sweep.emit(REGISTRY["multiply"], rows, {}, node)
    total = sweep.emit(REGISTRY["sum"], (product,), {"axes": (len(shape) - 2,), "keepdims": False}, node)
    return (sweep.emit(reshape, (total,), {"shape": shape}, node),)


def _operands(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    inputs, attrs = list(node.inputs), dict(node.attrs)
    for k, flag in enumerate(("transpose_a", "transpose_b")):
        before = sweep.producer(inputs[k], "transpose")
        if before is not None and _swaps(before):
            inputs[k], attrs[flag] = before.inputs[0], not attrs[flag]
    if all(a is b for a, b in zip(inputs, node.inputs, strict=True)):
        return None
    sweep.counts["transposed operand"] += 1
    return (sweep.emit(node.definition, inputs, attrs, node),)


def _result(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    (x,) = node.inputs
    product = sweep.producer(x, "matmul")
    if product is None or not _swaps(node) or sweep.uses(x) != 1:
        return None
    sweep.counts["transposed product"] += 1
    flags = product.attrs
    attrs = {"transpose_a": not flags["transpose_b"], "transpose_b": not flags["transpose_a"]}
    return (sweep.emit(product.definition, product.inputs[::-1], attrs, product),)


def _swaps(node: Node) -> bool:
    """Whether a transpose swaps the last two axes and no others."""
    axes = node.attrs["axes"]
    rank = len(axes)
    return rank >= 2 and axes == (*range(rank - 2), rank - 1, rank - 2)


def _may(op: Op, before: Kinds, same: bool) -> bool:
    """Whether a product has a transposed operand, or a transpose shows a product."""
    return ("transpose" if op.name == "matmul" else "matmul") in before


dots = Step(_dots, frozenset(("matmul",)))
products = Step(_products, frozenset(("matmul", "transpose")), may=_may, again=True)
