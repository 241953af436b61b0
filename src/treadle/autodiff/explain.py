"""Why is a gradient None? Walks the tape's record from the source and says where the path to the target ends."""

from __future__ import annotations

from typing import Any

from treadle.autodiff.tape import Tape
from treadle.core.dtypes import dtype_name, is_float
from treadle.core.tensor import Tensor
from treadle.core.variable import Variable


def explain(tape: Tape, target: Tensor, source: Any, group: list[Tensor]) -> str:
    """One paragraph for `GradientTape.explain`."""
    name = repr(source.name) if isinstance(source, Variable) else "the source"
    if not is_float(source.dtype):
        return f"None: {name} is {dtype_name(source.dtype)}; gradients flow through floating tensors only"
    if not is_float(target.dtype):
        return f"None: the target is {dtype_name(target.dtype)}; gradients flow through floating tensors only"
    if isinstance(source, Variable) and not group:
        why = "it was not read while the tape was recording"
        if not source.trainable:
            why = "it is not trainable, so the tape does not watch it by itself; call tape.watch(variable)"
        return f"None: the variable {name} is not on the tape: {why}"
    if not any(id(x) in tape.watched for x in group):
        return f"None: {name} is not watched; call tape.watch(x) before it is used"
    if any(x is target for x in group):
        return "not None: target and source are the same tensor"
    reached = {id(x) for x in group}
    beyond: set[int] = set()  # what only paths through stop_gradient lead to
    used = False
    for record in tape.records:
        passes = any(id(x) in reached for x in record.inputs)
        if not passes and not any(id(x) in beyond for x in record.inputs):
            continue
        used = True
        passes = passes and record.op.name != "stop_gradient"
        (reached if passes else beyond).update(id(y) for y in record.outputs)
    if id(target) in reached:
        return f"not None: a recorded path leads from {name} to the target"
    if id(target) in beyond:
        return f"None: every path from {name} to the target ends at stop_gradient, which lets no gradient through"
    if not used:
        return f"None: no recorded operation uses {name}; it was used outside the tape, or not at all"
    if id(target) in tape.blocked:
        op = tape.blocked[id(target)].name
        return f"None: the path from {name} ends at {op}, which lets no gradient through"
    blocked = sorted({op.name for op in tape.blocked.values()})
    if blocked:
        return f"None: every path from {name} ends before the target; {', '.join(blocked)} let no gradient through"
    if id(target) not in tape.watched:
        return "None: the target was made outside the tape, or from tensors that are not watched"
    return f"None: the target does not depend on {name}"
