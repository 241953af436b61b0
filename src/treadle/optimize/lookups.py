"""Elements looked up in what was worked out for a whole table: only what is looked up is worked out.

`tanh(table)[ids]` becomes `tanh(table[ids])` where no more is looked up than there is, and nothing else reads the work.
Exact: the same elements are worked on, one by one. Indices out of range are told of as before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from treadle.core.graph import Node
from treadle.core.op import Op
from treadle.core.tensor import Symbol
from treadle.optimize.sweep import Kinds, Step, Sweep

LOOKUPS = frozenset(("gather", "take_along_axis", "dynamic_slice"))


def _lookups(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    table, *indices = node.inputs
    work = sweep.made.get(table)
    if work is None or work.definition.family != "elementwise" or len(work.outputs) != 1 or work.effect:
        return None
    whole, out = work.outputs[0], node.outputs[0]
    if not whole.spec.static or not out.spec.static or 0 in whole.shape or 0 in out.shape or sweep.uses(whole) != 1:
        return None
    full = [s for s in work.inputs if s.shape == whole.shape]
    if not full or any(s.shape != whole.shape and s.shape != () for s in work.inputs):
        return None
    if len(full) * math.prod(map(int, out.shape)) > math.prod(map(int, whole.shape)):
        return None
    sweep.counts["work on what is looked up"] += 1
    operands = []
    for symbol in work.inputs:
        if symbol.shape == whole.shape:
            symbol = sweep.emit(node.definition, (symbol, *indices), node.attrs, node)
        operands.append(symbol)
    return (sweep.emit(work.definition, operands, work.attrs, work),)


def _may(op: Op, before: Kinds, same: bool) -> bool:
    """Whether what is looked up is a result."""
    return bool(before) and before[0] is not None


lookups = Step(_lookups, LOOKUPS, may=_may, again=True)
