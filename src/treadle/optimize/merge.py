"""Common subexpressions: nodes of one op with the same inputs and attributes become one. Effects are left alone.

Attributes that are graphs count by identity; floats by their bits, so that 0.0 and -0.0 stay apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle.core.graph import HOLDING, Node
from treadle.core.tensor import Symbol
from treadle.core.tracer import constant_op
from treadle.optimize.sweep import Step, Sweep

# Operands of these may stand in either order: equal bits come out (which NaN, NumPy does not say either).
COMMUTATIVE = frozenset(
    (
        *("add", "multiply", "logical_and", "logical_or", "logical_xor"),
        *("bitwise_and", "bitwise_or", "bitwise_xor", "equal", "not_equal"),
    )
)


def _merge(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    """The outputs of an equal node that stands already; else the node is put in and remembered."""
    op = node.definition
    if op.effect or (op.family in HOLDING and node.effect):
        return None
    key = _key(node)
    try:
        found = sweep.table.get(key)
    except TypeError:  # an attribute that does not hash says nothing about equality
        return None
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
    inputs = node.inputs
    if not attrs:
        if len(inputs) == 1:
            return node.op, id(inputs[0])
        if len(inputs) == 2:
            a, b = map(id, inputs)
            if a > b and node.op in COMMUTATIVE and inputs[0].dtype.kind != "T":
                a, b = b, a
            return node.op, a, b
    key: list[Any] = [*map(id, inputs)]
    if node.op in COMMUTATIVE and inputs[0].dtype.kind != "T":
        key.sort()
    key.append(node.op)
    for name, value in attrs.items():
        if name != "label":
            key.append(name)
            key.append(freeze(value))
    return tuple(key)


_INT = frozenset((int,))
_TRUTH = (object(), object())  # False and True, which would equal 0 and 1


def freeze(value: Any) -> Any:
    """A value to compare attributes by: equal only where both mean the same bits."""
    kind = type(value)
    if kind is int:
        return value
    if kind is bool:
        return _TRUTH[value]
    if kind is tuple:
        if _INT.issuperset(map(type, value)):  # shapes, mostly
            return value
        return tuple([freeze(item) for item in value])
    if kind is float:
        return kind, value.hex()
    if kind is complex:
        return kind, value.real.hex(), value.imag.hex()
    return value


merge = Step(_merge, again=True)
