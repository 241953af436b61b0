"""Control flow that is decided: of a cond with a known condition its branch is left, of a loop of no steps nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from treadle.core.graph import Graph, Node
from treadle.core.op import REGISTRY
from treadle.core.tensor import Symbol
from treadle.optimize.sweep import Step, Sweep


def _branches(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    """The outputs of a cond or loop that need no decision at run time."""
    if node.op == "cond":
        return _cond(sweep, node)
    return _loop(sweep, node)


def _cond(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    condition, *operands = node.inputs
    known = sweep.value(condition)
    if known is not None:
        sweep.counts["cond decided"] += 1
        return sweep.splice(node.attrs["true" if known else "false"], operands)
    turned = sweep.producer(condition, "logical_not")
    if turned is not None and turned.inputs[0].dtype.kind == "b":
        sweep.counts["cond turned"] += 1
        attrs = {**node.attrs, "true": node.attrs["false"], "false": node.attrs["true"]}
        return sweep.emit_all(node.definition, (turned.inputs[0], *operands), attrs, node)
    return None


def _loop(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    layout, body = node.attrs["layout"], node.attrs["body"]
    count, carry, consts, _ = layout.parts(node.inputs)
    steps = node.attrs["steps"]
    never = type(steps) is int and steps == 0
    if count is not None and not never:
        limit = sweep.value(count)
        never = limit is not None and int(limit) <= 0
    if not never and node.attrs["test"] is not None:
        never = _false_at_once(sweep, node.attrs["test"], [*carry, *consts])
    rows = body.outputs[layout.carry :]
    if not never or (rows and not (type(steps) is int and steps == 0)):
        return None  # stacks whose length is known only by running keep their loop
    sweep.counts["loop of no steps"] += 1
    empty = [
        sweep.emit(REGISTRY["full"], (), {"value": _nothing(s), "shape": (0, *s.shape), "dtype": s.dtype}, node)
        for s in rows
    ]
    return [*carry, *empty]


def _nothing(symbol: Symbol) -> object:
    return "" if symbol.dtype.kind == "T" else 0


def _false_at_once(sweep: Sweep, test: Graph, inputs: Sequence[Symbol]) -> bool:
    """Whether a loop's test fails for its initial values, as far as constants tell (a test of one comparison)."""
    output = test.outputs[0]
    place = {s: k for k, s in enumerate(test.inputs)}
    if output in place:
        value = sweep.value(inputs[place[output]])
        return value is not None and not bool(value)
    last = test.nodes[-1] if test.nodes else None
    if last is None or last.definition.family != "elementwise" or all(s is not output for s in last.outputs):
        return False
    constants = {node.outputs[0]: node.attrs["value"].array for node in test.nodes if node.op == "constant"}
    if len(constants) + 1 < len(test.nodes):
        return False
    arrays = [constants[s] if s in constants else sweep.value(inputs[place[s]]) for s in last.inputs]
    if any(a is None for a in arrays):
        return False
    with np.errstate(all="ignore"):
        return not bool(last.definition.body(*arrays, **last.attrs))


branches = Step(_branches, frozenset(("cond", "while")))
