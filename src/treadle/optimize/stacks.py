"""Reductions along an axis on which single tensors were stacked: `sum(stack([a, b, c]), axis=0)` is `a + b + c`.

So nothing is stacked, and what made the tensors may join the kernel. NumPy takes such elements in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence

from treadle.core.graph import Node
from treadle.core.op import REGISTRY, Op
from treadle.core.tensor import Symbol
from treadle.optimize.sweep import Kinds, Step, Sweep

MOST = 12  # tensors; more are too many operands for one kernel
_PAIRS = {
    **{"sum": "add", "prod": "multiply", "max": "maximum", "min": "minimum"},
    **{"any": "logical_or", "all": "logical_and"},
}


def _stacks(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    """The tensors taken together pair by pair, and reduced along the other axes."""
    (x,) = node.inputs
    stack = sweep.producer(x, "concat")
    if stack is None or not 1 < len(stack.inputs) <= MOST or sweep.uses(x) != 1 or x.dtype != node.outputs[0].dtype:
        return None
    axis = stack.attrs["axis"]
    if axis not in node.attrs["axes"] or any(s.shape[axis] != 1 for s in stack.inputs):
        return None
    sweep.counts["reduced stack"] += 1
    made = stack.inputs[0]
    for piece in stack.inputs[1:]:
        made = sweep.emit(REGISTRY[_PAIRS[node.op]], (made, piece), {}, node)
    return (sweep.emit(node.definition, (made,), node.attrs, node),)


def _may(op: Op, before: Kinds, same: bool) -> bool:
    """Whether what is reduced can be a stack."""
    return before[0] == "concat"


stacks = Step(_stacks, frozenset(_PAIRS), may=_may, again=True)
