"""Common subexpressions: nodes of one op with the same inputs and attributes become one. Effects are left alone.

Attributes that are graphs count by identity; floats by their bits, so that 0.0 and -0.0 stay apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle.core.graph import Node
from treadle.core.tensor import Symbol
from treadle.core.tracer import constant_op
from treadle.optimize.sweep import Step, Sweep, has_effect

# Operands of these may stand in either order: equal bits come out (which NaN, NumPy does not say either).
COMMUTATIVE = frozenset(
    (
        *("add", "multiply", "logical_and", "logical_or", "logical_xor"),
        *("bitwise_and", "bitwise_or", "bitwise_xor", "equal", "not_equal"),
    )
)


def _merge(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    """The outputs of an equal node that stands already; else the node is put in and remembered."""
    if has_effect(node):
        return None
    key = _key(node)
    if key is None:
        return None
    found = sweep.table.get(key)
    if found is not None:
        if node.definition is not constant_op:
            sweep.counts["merge"] += 1
        return found
    made = sweep.table[key] = sweep.append(node)
    return made


def _key(node: Node) -> Any:
    if node.definition is constant_op:
        return node.attrs["value"], node.attrs["spec"].weak
    inputs = [id(s) for s in node.inputs]
    if node.op in COMMUTATIVE and node.outputs[0].dtype.kind != "T":
        inputs.sort()
    attrs = node.attrs
    if not attrs:
        return node.op, *inputs
    key = (node.op, *inputs, *[(name, freeze(value)) for name, value in attrs.items() if name != "label"])
    try:
        hash(key)
    except TypeError:  # an attribute that does not hash says nothing about equality
        return None
    return key


def freeze(value: Any) -> Any:
    """A value to compare attributes by: equal only where both mean the same bits."""
    kind = type(value)
    if kind is float:
        return kind, value.hex()
    if kind is complex:
        return kind, value.real.hex(), value.imag.hex()
    if kind is tuple:
        return tuple([freeze(item) for item in value])
    if kind in (int, bool):
        return kind, value
    return value


merge = Step(_merge)
