"""Carried arrays that become one another: `a, b = b, a`, or `before, now = now, step(now, before)`, move addresses.

A chain is a row of carried values each of which becomes what the next one was; the last becomes the first (a circle),
or a new value, which is made in one place more. After each step the places move on by one. Where the new value is the
old one with a slice replaced, all places hold the same around the slice, and the first value of the other lies apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from treadle.compile.run.executor import Ref
from treadle.compile.stepping.turns import Turn
from treadle.compile.views import Buffer, View, whole
from treadle.core.graph import Graph, Node
from treadle.core.spec import Spec
from treadle.records import dataclass

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer


@dataclass(frozen=True, slots=True)
class Rotation:
    """One chain: its carried values, where each is now, their homes, memory of the program's own, and the new value."""

    chain: tuple[int, ...]
    now: tuple[View, ...]
    homes: tuple[View, ...]
    own: tuple[View, ...]
    settled: bool  # whether the last values end at home by themselves
    turn: Turn | None
    hidden: Ref | None  # the place that the first of a framed chain leaves free after this step


def chains(body: Graph, carry: int, framed: Mapping[int, Node | None]) -> list[tuple[int, ...]]:
    """The chains of a loop's carried values; `framed` holds those that take turns."""
    place = {symbol: k for k, symbol in enumerate(body.inputs[:carry])}
    following: dict[int, int] = {}
    for k, symbol in enumerate(body.outputs[:carry]):
        j = place.get(symbol, k)
        if j != k and k in framed and j not in following.values():
            following[k] = j
    found: list[tuple[int, ...]] = []
    starts = [k for k in following if k not in following.values()]
    for start in [*starts, *following]:
        if any(start in chain for chain in found):
            continue
        chain = [start]
        while (after := following.get(chain[-1])) is not None and after != start:
            chain.append(after)
        new = chain[-1] in framed and (framed[chain[-1]] is None or len(chain) == 2)
        if after == start or new:  # a circle, or a new value at the end
            found.append(tuple(chain))
    return found


def begin(
    lowerer: Lowerer,
    body: Graph,
    chain: tuple[int, ...],
    starts: Sequence[View],
    homes: Sequence[View],
    framed: Mapping[int, Node | None],
    steps: int | None,
) -> Rotation:
    """Take the places, and bring the first values to where the first step reads them."""
    last = chain[-1]
    circle = body.outputs[last] is body.inputs[chain[0]]
    spec = Spec(homes[last].shape, homes[last].dtype)
    ends = tuple(homes[k] for k in chain)
    taken = {id(starts[k].buffer) for k in chain}
    slices = not circle and framed[last] is not None
    settled = steps is not None and steps > 0 and not any(id(end.buffer) in taken for end in ends)
    missing = (0 if settled else len(chain)) + (0 if circle else 1)
    own = tuple(lowerer.memory(spec) for _ in range(missing))
    ring = (*ends, *own) if settled else own
    shift = steps % len(ring) if settled and steps is not None else 0
    cells = [lowerer.asm.cell() for _ in ring]
    places = [ring[number - shift] for number in range(len(ring))]
    hidden = None
    if slices:
        hidden = lowerer.asm.cell()
        lowerer.asm.move(hidden, places[0].ref)
        for place in places:
            lowerer.copy(starts[last], place)
        own = (*own, lowerer.memory(spec))
        places[0] = own[-1]
    for number, (cell, place) in enumerate(zip(cells, places, strict=True)):
        if number < len(chain) - slices:
            lowerer.copy(starts[chain[number]], place)
        lowerer.asm.move(cell, place.ref)
    views = [whole(Buffer("cell", cell, spec.nbytes), spec) for cell in cells]
    turn = None if circle else Turn(last, homes[last], own[-1], views[len(chain) - 1], views[-1], framed[last])
    return Rotation(chain, tuple(views[: len(chain)]), ends, own, settled, turn, hidden)


def swap(lowerer: Lowerer, rotation: Rotation) -> None:
    """Each value's place becomes that of the one before it."""
    views = (*rotation.now, *(() if rotation.turn is None else (rotation.turn.after,)))
    refs = [view.ref for view in views]
    held = lowerer.asm.cell()
    lowerer.asm.move(held, refs[0] if rotation.hidden is None else rotation.hidden)
    for ref, following in zip(refs, [*refs[1:], held], strict=True):
        lowerer.asm.move(ref, following)
    if rotation.hidden is not None:
        lowerer.asm.move(rotation.hidden, refs[0])


def finish(lowerer: Lowerer, rotation: Rotation) -> None:
    """The last values come to their homes."""
    if not rotation.settled:
        for view, home in zip(rotation.now, rotation.homes, strict=True):
            lowerer.copy(view, home)
    for view in rotation.own:
        lowerer.free(view.buffer)


def members(rotations: Sequence[Rotation]) -> dict[int, View]:
    """Carried value -> where it is now."""
    return {k: view for rotation in rotations for k, view in zip(rotation.chain, rotation.now, strict=True)}
