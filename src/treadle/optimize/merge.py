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
    attrs = node.attrs
    if node.definition is constant_op:
        return attrs["value"], attrs["spec"].weak
    inputs = [*map(id, node.inputs)]
    if node.op in COMMUTATIVE and node.outputs[0]._spec.dtype.kind != "T":
        inputs.sort()
    if not attrs:
        return node.op, *inputs
    key = [node.op, *inputs]
    for name, value in attrs.items():
        if name != "label":
            key.append(name)
            key.append(freeze(value))
    made = tuple(key)
    try:
        hash(made)
    except TypeError:  # an attribute that does not hash says nothing about equality
        return None
    return made


def freeze(value: Any) -> Any:
    """A value to compare attributes by: equal only where both mean the same bits."""
    kind = type(value)
    if kind is int or kind is bool:
        return kind, value
    if kind is tuple:
        if {*map(type, value)} <= {int}:  # shapes, mostly
            return "ints", value
        return tuple([freeze(item) for item in value])
    if kind is float:
        return kind, value.hex()
    if kind is complex:
        return kind, value.real.hex(), value.imag.hex()
    return value


merge = Step(_merge, again=True)
