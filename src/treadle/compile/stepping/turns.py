"""Carried arrays with two places that take turns: a step reads one and writes the other, and nothing is copied.

For values that cannot be written over the old ones, since a step still reads those: stencils above all. Where a step
replaces a slice of the old value (`u.at[1:-1].set(...)`), what lies around the slice is the same in both places from
the start on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from treadle.compile.fusion.items import Group, Item, is_elementwise, reads
from treadle.compile.moves.copies import copied, part
from treadle.compile.views import Buffer, View, whole
from treadle.core.graph import Graph, Node
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol
from treadle.records import dataclass

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]
LEAST = 4096  # bytes below which a copy costs no more than the changing of addresses


@dataclass(slots=True)
class Turn:
    """One carried array: the place of its result, the other place, and views through cells that change each step."""

    k: int
    home: View
    away: View
    now: View
    after: View
    framed: Node | None


def turning(body: Graph, carry: int, straight: Collection[int], work: Sequence[Item]) -> dict[int, Node | None]:
    """Which carried values take turns; with the node that replaces a slice of the old value, where that makes it."""
    found: dict[int, Node | None] = {}
    for k in range(carry):
        old, new = body.inputs[k], body.outputs[k]
        if (
            new is old
            or not new.spec.static
            or new.spec.nbytes < LEAST
            or (new.shape, new.dtype) != (old.shape, old.dtype)
        ):
            continue
        framed = _framed(body, old, new, work)
        if framed is not None or k not in straight:
            found[k] = framed
    return found


def _framed(body: Graph, old: Symbol, new: Symbol, work: Sequence[Item]) -> Node | None:
    """The node that makes the new value from the old one and a slice that a kernel can write to its place."""
    node = new.node
    if node is None or node.op != "set_slice" or node.inputs[0] is not old or not copied(node):
        return None
    value = node.inputs[1]
    if value.node is None or not is_elementwise(value.node) or not value.shape or 0 in value.shape:
        return None
    if sum(value in set(reads(item)) for item in work) != 1 or value in set(body.outputs):
        return None
    home = next((item for item in work if isinstance(item, Group) and value in item.made), None)
    return node if home is not None and home.row_axes is None and not home.ends else None


def begin(lowerer: Lowerer, k: int, start: View, home: View, framed: Node | None, steps: int | None) -> Turn:
    """Take the second place, and bring the first value to where the first step reads it."""
    spec = Spec(home.shape, home.dtype)
    away = lowerer.memory(spec)
    cells = [lowerer.asm.cell(), lowerer.asm.cell()]
    first, second = (home, away) if steps is None or steps % 2 == 0 else (away, home)
    lowerer.copy(start, first)
    if framed is not None:
        lowerer.copy(first, second)
    for cell, place in zip(cells, (first, second), strict=True):
        lowerer.asm.move(cell, place.ref)
    now, after = (whole(Buffer("cell", cell, spec.nbytes), spec) for cell in cells)
    return Turn(k, home, away, now, after, framed)


def aim(turn: Turn, new: Symbol, aims: Env) -> None:
    """Let the new value be made where the next step reads it."""
    if turn.framed is None:
        if new.node is not None and new not in aims:
            aims[new] = turn.after
        return
    attrs = turn.framed.attrs
    aims[new] = turn.after
    aims[turn.framed.inputs[1]] = part(turn.after, attrs["starts"], attrs["stops"], attrs["steps"])


def swap(lowerer: Lowerer, turns: Sequence[Turn]) -> None:
    """The places change their parts."""
    asm = lowerer.asm
    for turn in turns:
        held = asm.cell()
        assert turn.now.buffer.ref is not None
        assert turn.after.buffer.ref is not None
        asm.move(held, turn.now.buffer.ref)
        asm.move(turn.now.buffer.ref, turn.after.buffer.ref)
        asm.move(turn.after.buffer.ref, held)


def finish(lowerer: Lowerer, turns: Sequence[Turn], known: bool) -> None:
    """The last value comes to its home: it is there already where the number of steps was known."""
    for turn in turns:
        if not known:
            lowerer.copy(turn.now, turn.home)
        lowerer.free(turn.away.buffer)
