"""Sums of what was spread out: `sum(broadcast_to(x))` is `x` times how often each element stands there.

Exact for integers. For floats one product replaces n - 1 additions: more accurate, and equal within the error of the
sum, about n units in the last place at worst.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from treadle.core.graph import Node
from treadle.core.op import REGISTRY, Op
from treadle.core.tensor import Symbol
from treadle.optimize.sweep import Kinds, Step, Sweep


def _sums(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    """The sum of the smaller tensor, times a count; spread out where the result needs it."""
    spread = sweep.made.get(node.inputs[0])
    if spread is None or spread.op not in ("broadcast_to", "full"):
        return None
    shape = spread.outputs[0].shape
    axes: tuple[int, ...] = node.attrs["axes"]
    if not all(type(shape[k]) is int and shape[k] for k in axes):
        return None
    if spread.op == "full":
        value = sweep.uniform(spread.outputs[0])
        if value is None:
            return None
        x = sweep.constant(value, node)
    else:
        x = spread.inputs[0]
    padded = (1,) * (len(shape) - len(x.shape)) + x.shape
    alike = [k for k, size in enumerate(padded) if type(size) is int and size == 1 and shape[k] != 1]
    if not alike:
        return None
    sweep.counts["sum of broadcast"] += 1
    return (_small_sum(sweep, node, x, padded, tuple(k for k in axes if padded[k] != 1), alike),)


def _small_sum(
    sweep: Sweep, node: Node, x: Symbol, padded: tuple[object, ...], rest: tuple[int, ...], alike: Sequence[int]
) -> Symbol:
    shape, axes = node.inputs[0].shape, node.attrs["axes"]
    if rest:
        x = sweep.emit(REGISTRY["reshape"], (x,), {"shape": padded}, node)
        x = sweep.emit(node.definition, (x,), {"axes": rest, "keepdims": True}, node)
        padded = x.shape
    factor = math.prod([shape[k] for k in axes if k in alike])
    if factor != 1:
        # The count wraps as the sum of small integers would.
        count = np.asarray(factor).astype(x.dtype)
        x = sweep.emit(REGISTRY["multiply"], (x, sweep.constant(count, node)), {}, node)
    keep = [size for k, size in enumerate(padded) if node.attrs["keepdims"] or k not in axes]
    x = sweep.emit(REGISTRY["reshape"], (x,), {"shape": tuple(keep)}, node)
    return sweep.emit(REGISTRY["broadcast_to"], (x,), {"shape": node.outputs[0].shape}, node)


def _may(op: Op, before: Kinds, same: bool) -> bool:
    """Whether what is summed can be spread out."""
    return before[0] in ("broadcast_to", "full") or isinstance(before[0], tuple)


sums = Step(_sums, frozenset(("sum",)), may=_may)
