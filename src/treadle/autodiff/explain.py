"""Why is a gradient None? Walks the tape's record from the source and says where the path to the target ends."""

from __future__ import annotations

from typing import Any

from treadle.autodiff.tape import Trail
from treadle.core.dtypes import dtype_name, is_float
from treadle.core.tensor import Tensor
from treadle.core.variable import Variable


def explain(trail: Trail, target: Tensor, source: Any) -> str:
    """One paragraph for `GradientTape.explain`."""
    name = repr(source.name) if isinstance(source, Variable) else "the source"
    early = _without_record(trail, target, source, name)
    if early is not None:
        return early
    reached: set[int | None] = set(trail.reads[id(source)] if isinstance(source, Variable) else (trail.number(source),))
    beyond: set[int | None] = set()  # what only paths through stop_gradient lead to
    used = False
    for op, inputs, made in trail.steps:
        passes = not reached.isdisjoint(inputs)
        if not passes and beyond.isdisjoint(inputs):
            continue
        used = True
        passes = passes and op.name != "stop_gradient"
        (reached if passes else beyond).update(filter(None, (made,) if isinstance(made, int) else made))
    end = trail.number(target)
    if end in reached:
        return f"not None: a recorded path leads from {name} to the target"
    if end in beyond:
        return f"None: every path from {name} to the target ends at stop_gradient, which lets no gradient through"
    blocked = trail.blocked.get(id(target))
    if blocked is not None and blocked[0]() is target:
        return f"None: the path from {name} ends at {blocked[1].name}, which lets no gradient through"
    if not used and not trail.blocked:
        return f"None: no recorded operation uses {name}; it was used outside the tape, or not at all"
    ends = sorted({op.name for _, op in trail.blocked.values()})
    if ends:
        return f"None: every path from {name} ends before the target; {', '.join(ends)} let no gradient through"
    if end is None:
        return "None: the target was made outside the tape, or from tensors that are not watched"
    return f"None: the target does not depend on {name}"


def _without_record(trail: Trail, target: Tensor, source: Any, name: str) -> str | None:
    """What can be said before the record is followed."""
    if not is_float(source.dtype):
        return f"None: {name} is {dtype_name(source.dtype)}; gradients flow through floating tensors only"
    if not is_float(target.dtype):
        return f"None: the target is {dtype_name(target.dtype)}; gradients flow through floating tensors only"
    if isinstance(source, Variable):
        if trail.reads.get(id(source)):
            return None
        why = "it was not read while the tape was recording"
        if not source.trainable:
            why = "it is not trainable, so the tape does not watch it by itself; call tape.watch(variable)"
        return f"None: the variable {name} is not on the tape: {why}"
    if source is target:
        return "not None: target and source are the same tensor"
    if trail.number(source) is None:
        return f"None: {name} is not watched; call tape.watch(x) before it is used"
    return None
