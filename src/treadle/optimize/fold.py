"""Constant folding: a node all of whose inputs are constants is run now, by its NumPy body.

Results are kept up to 1,024 elements. A body that raises is left to raise when the program runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from treadle.core.dim import Dim
from treadle.core.graph import Node
from treadle.core.op import Op, as_array
from treadle.core.tensor import Symbol
from treadle.core.tracer import constant_op, dim_op
from treadle.optimize.sweep import Array, Kinds, Step, Sweep

LIMIT = 1024


def _fold(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    """The node's results as constants."""
    arrays = _inputs(sweep, node)
    if arrays is None:
        return None
    if not all(s.spec.static and math.prod(s.shape) <= LIMIT for s in node.outputs):
        return None
    op = node.definition
    try:
        with np.errstate(all="ignore"):
            result = op.body(*arrays, **node.attrs)
    except Exception:  # whatever it raises belongs to the run of the program
        return None
    results = [as_array(item) for item in result] if op.multiple else [as_array(result)]
    for array, symbol in zip(results, node.outputs, strict=True):
        if array.shape != symbol.shape or array.dtype != symbol.dtype:
            return None
    sweep.counts["fold"] += 1
    copies = [np.array(array, order="C") for array in results]
    return [sweep.constant(a, node, s.spec.weak) for a, s in zip(copies, node.outputs, strict=True)]


def _inputs(sweep: Sweep, node: Node) -> list[Array] | None:
    """The values of the inputs, when all are known; of nodes without inputs only numbers are worth it."""
    if not node.inputs:
        if node.definition is constant_op:
            return None
        number = node.op == "full" and node.outputs[0].shape == ()
        known = node.definition is dim_op and not isinstance(node.attrs["dim"], Dim)
        return [] if number or known else None
    arrays = []
    for symbol in node.inputs:
        array = sweep.value(symbol)
        if array is None:
            return None
        arrays.append(array)
    # Views of constants cost nothing in kernels; spread out they would only take memory.
    if node.op == "broadcast_to" or node.definition.family in ("graph", "effect"):
        return None
    return arrays


def _may(op: Op, before: Kinds, same: bool) -> bool:
    """Whether all operands can be constants, as far as what makes them tells."""
    return op is not constant_op and all(kind == "constant" or isinstance(kind, tuple) for kind in before)


fold = Step(_fold, may=_may)
