"""Whole numbers that 32 bits surely hold: positions, their sums and differences, and what they are compared with.

Labels and positions are 64-bit integers in programs; in a vector half as many fit, and a mask made of them has to be
packed for the floats that it goes with. Comparing a label with each position of a row costs a third this way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.compile.fusion.items import is_scalar_constant
from treadle.compile.fusion.lines import MOST
from treadle.core.graph import Node
from treadle.core.tensor import Symbol
from treadle.records import dataclass

if TYPE_CHECKING:
    from treadle.compile.fusion.emit import Body

_COMPARES = {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"}
_SIGNS = {"add": "+", "subtract": "-"}


@dataclass(frozen=True, slots=True)
class Narrow:
    """A whole number as kernel text of 32 bits, and between what it lies."""

    text: str
    low: int
    high: int


def narrow_line(body: Body, node: Node) -> str | None:
    """The assignment that computes a node in 32 bits; None where that is not all the same."""
    if all(s not in body.narrow for s in node.inputs):
        return None
    if node.op in _COMPARES:
        texts = [_compared(body, s) for s in node.inputs]
        if None in texts:
            return None
        template = node.definition.scalar
        assert template is not None
        return f"{body.made(node.outputs[0])} = b1({template.format(*texts)})"
    sign, out = _SIGNS.get(node.op), node.outputs[0]
    if sign is None or out.dtype.kind != "i" or out.dtype.itemsize < 4:
        return None
    a, b = [_known(body, s) for s in node.inputs]
    if a is None or b is None:
        return None
    ends = [x + y if sign == "+" else x - y for x in (a.low, a.high) for y in (b.low, b.high)]
    if min(ends) <= -MOST or max(ends) >= MOST:
        return None
    known = body.narrow.get(out)
    made = body.made(out) if known is None else known.text
    body.narrow[out] = Narrow(made, min(ends), max(ends))
    body.names[out] = f"i{out.dtype.itemsize}({made})"
    return f"{made} = i4({a.text} {sign} {b.text})"


def _known(body: Body, symbol: Symbol) -> Narrow | None:
    """A number whose bounds are known: a position, or a constant."""
    known = body.narrow.get(symbol)
    if known is not None or not is_scalar_constant(symbol) or symbol.dtype.kind not in "iu":
        return known
    assert symbol.node is not None
    value = int(symbol.node.attrs["value"].array)
    return Narrow(f"i4({body.name(symbol)})", value, value) if abs(value) < MOST else None


def _compared(body: Body, symbol: Symbol) -> str | None:
    """One side of a comparison: what lies outside of all positions may be any number that does."""
    known = _known(body, symbol)
    if known is not None:
        return known.text
    if symbol not in body.fixed or symbol.dtype.kind != "i" or symbol.dtype.itemsize < 4:
        return None
    name = body.name(symbol)
    if symbol.dtype.itemsize == 4:
        return name
    return f"i4(select({name} > i8({MOST}), i8({MOST}), select({name} < i8(-{MOST}), i8(-{MOST}), {name})))"
