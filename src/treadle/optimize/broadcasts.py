"""Broadcasts and elementwise ops: operands need not be spread out first, and work is done before spreading, not after.

Elementwise ops broadcast by themselves, so that `x + broadcast_to(b)` is `x + b`; and where every operand is spread
out, `tanh(broadcast_to(b))` is `broadcast_to(tanh(b))`. The same bits come out.
"""

from __future__ import annotations

from collections.abc import Sequence

from treadle.core.graph import Node
from treadle.core.op import REGISTRY, Op
from treadle.core.spec import Shape
from treadle.core.tensor import Symbol
from treadle.optimize.sweep import Kinds, Step, Sweep


def _broadcasts(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    """The elementwise node on smaller operands; spread out afterwards where the result needs it."""
    shape = node.outputs[0].shape
    if not shape:
        return None
    if not any(_is_spread(sweep, s) for s in node.inputs):
        return None
    small = [_source(sweep, s, node) for s in node.inputs]
    if all(a is b for a, b in zip(small, node.inputs, strict=True)):
        return None
    inputs = list(node.inputs)
    if _broadcast([s.shape for s in small]) == shape:
        inputs = small
    elif all(_is_spread(sweep, s) or not s.shape for s in node.inputs):
        sweep.counts["spread after"] += 1
        result = sweep.emit(node.definition, small, node.attrs, node)
        return (sweep.emit(REGISTRY["broadcast_to"], (result,), {"shape": shape}, node),)
    else:
        for k, source in enumerate(small):  # as many as leave the result its shape
            trial = [*inputs[:k], source, *inputs[k + 1 :]]
            if _broadcast([s.shape for s in trial]) == shape:
                inputs = trial
    if all(a is b for a, b in zip(inputs, node.inputs, strict=True)):
        return None
    sweep.counts["spread less"] += 1
    return (sweep.emit(node.definition, inputs, node.attrs, node),)


def _is_spread(sweep: Sweep, symbol: Symbol) -> bool:
    node = sweep.made.get(symbol)
    return node is not None and node.op in ("broadcast_to", "full")


def _source(sweep: Sweep, symbol: Symbol, like: Node) -> Symbol:
    """What a symbol is a broadcast of; itself when it is none."""
    node = sweep.made.get(symbol)
    if node is None or not symbol.shape:
        return symbol
    if node.op == "broadcast_to":
        return node.inputs[0]
    if node.op == "full":
        value = sweep.uniform(symbol)
        return symbol if value is None else sweep.constant(value, like)
    return symbol


def _broadcast(shapes: Sequence[Shape]) -> Shape | None:
    """The common shape, for sizes that are surely equal; None where a symbolic size hides a check."""
    result = shapes[0]
    for shape in shapes[1:]:
        if shape == result:
            continue
        if len(shape) > len(result):
            shape, result = result, shape
        sizes = list(result)
        for k in range(1, len(shape) + 1):
            a, b = sizes[-k], shape[-k]
            if a == b:
                continue
            if not (type(a) is int and a == 1) and not (type(b) is int and b == 1):
                return None
            sizes[-k] = b if type(a) is int and a == 1 else a
        result = tuple(sizes)
    return result


def _may(op: Op, before: Kinds, same: bool) -> bool:
    """Whether an operand can be spread out."""
    return any(kind in ("broadcast_to", "full") or isinstance(kind, tuple) for kind in before)


broadcasts = Step(_broadcasts, family="elementwise", may=_may)
