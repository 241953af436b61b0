"""Loops that carry lists as memory whose size only running tells: room is made before it is needed, by doubling.

Where the number of steps is known when the loop begins, room is made once. Where only a test tells, a loop around makes
room and an inner one runs until it is used up; so the inner one's memory keeps its size, and it runs as any loop does.
Where lists grow in a loop inside by numbers that nobody knows, room is made after each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle.control import rows
from treadle.control.loop import loop, take_op
from treadle.core.dim import Dim, Size
from treadle.core.dtypes import int64
from treadle.core.graph import Graph
from treadle.core.interpret import interpret
from treadle.core.op import Op, register
from treadle.core.spec import Spec
from treadle.core.tensor import Tensor
from treadle.core.tracer import trace
from treadle.ops.convert import as_tensor, cast
from treadle.records import dataclass

Array = np.ndarray[Any, Any]
FIRST = 16  # rows of memory that is made for a list of unknown length; powers of two, so that programs serve again


def _with_room(x: Array, length: Array, need: Array, *, steps: Any) -> Array:
    """Memory with at least `need` rows behind the first `length`: the same where they are there already."""
    wanted = int(length) + int(need)
    if wanted <= len(x) and len(x) >= FIRST:
        return x
    out = np.zeros((1 << (max(wanted, FIRST) - 1).bit_length(), *x.shape[1:]), x.dtype)
    out[: len(x)] = x
    return out


room_op: Op = register(
    Op(
        "with_room",
        _with_room,
        lambda specs, attrs: (Spec((attrs["steps"], *specs[0].shape[1:]), specs[0].dtype),),
        family="host",
        vjp=lambda g, y, x, length, need, *, steps: (take_op.bind((g, x), {})[0], None, None),
    )
)


def with_room(x: Tensor, length: Tensor, need: int | Tensor) -> Tensor:
    """Memory that begins with `x`, with room for `need` rows behind the first `length`; of an open number of rows."""
    operands = (x, cast(length, int64), cast(as_tensor(need), int64))
    return room_op.bind(operands, {"steps": Dim.fresh("room")})[0]


@dataclass(frozen=True, slots=True)
class Elastic:
    """A list among the carried values: where its memory and its length stand, and how many rows a step may add."""

    buffers: tuple[int, ...]
    length: int
    growth: int


def run(
    lists: Sequence[Elastic],
    body: Graph,
    carry: Sequence[Tensor],
    consts: Sequence[Tensor],
    xs: Sequence[Tensor],
    *,
    test: Graph | None,
    count: Tensor | None,
    length: Size | None,
    reverse: bool,
) -> tuple[Tensor, ...]:
    """As `loop`, with room made for the lists."""
    kept = all(body.inputs[k].shape[0] == body.outputs[k].shape[0] for one in lists for k in one.buffers)
    known: Any = count if count is not None else rows.count_op.bind((xs[0],), {})[0] if xs else length
    if kept and known is not None:
        start = _roomy(lists, carry, known)
        return loop(body, start, consts, xs, test=test, count=count, length=length, reverse=reverse)
    if kept and test is not None:
        return _by_rooms(lists, body, test, carry, consts)
    inner = body

    def step(*values: Tensor) -> list[Tensor]:
        made = interpret(inner, values)
        return [*_roomy(lists, made[: len(carry)], 1), *made[len(carry) :]]

    grown = trace(step, _specs(body, len(body.inputs)), body.name, closed=True).graph
    return loop(grown, _roomy(lists, carry, 1), consts, xs, test=test, count=count, length=length, reverse=reverse)


def _roomy(lists: Sequence[Elastic], carry: Sequence[Tensor], steps: int | Tensor) -> list[Tensor]:
    """Carried values with room in the lists for so many steps."""
    found = list(carry)
    for one in lists:
        for k in one.buffers:
            found[k] = with_room(found[k], found[one.length], steps * as_tensor(one.growth, int64))
    return found


def _specs(graph: Graph, count: int) -> list[Spec]:
    """What a graph's first inputs are like, with open sizes under names of their own."""
    names: dict[Any, Any] = {}

    def own(size: Any) -> Any:
        opened = isinstance(size, Dim) and size.open is not None
        return names.setdefault(size, Dim.fresh("room")) if opened else size

    return [Spec(tuple([own(size) for size in s.shape]), s.dtype, s.spec.weak) for s in graph.inputs[:count]]


def _by_rooms(
    lists: Sequence[Elastic], body: Graph, test: Graph, carry: Sequence[Tensor], consts: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """A loop around makes room; the one inside runs until a list has none left for a step, or the test fails.

    Both carry the number of steps done, which the outer test gives too: errors name the iteration.
    """
    number, last = len(carry), len(carry) + len(consts)
    counts = [Spec((), int64)] * len(lists)  # how many rows there are: constants of the inner loop
    own = _specs(body, last)
    state = [*own[:number], Spec((), int64), *own[number:]]

    def without(values: Sequence[Tensor]) -> list[Tensor]:
        return [*values[:number], *values[number + 1 : last + 1]]

    def may_go_on(*values: Tensor) -> list[Tensor]:
        return [*interpret(test, without(values)), values[number]]

    def fits(*values: Tensor) -> list[Tensor]:
        (more,) = interpret(test, without(values))
        for one, room in zip(lists, values[last + 1 :], strict=True):
            more = more & (values[one.length] + one.growth <= room)
        return [more]

    def step(*values: Tensor) -> list[Tensor]:
        made = interpret(body, without(values))
        return [*made[:number], values[number] + as_tensor(1, int64), *made[number:]]

    inside = trace(fits, [*state, *counts], test.name, closed=True).graph
    inner = trace(step, [*state, *counts], body.name, closed=True).graph

    def turn(*values: Tensor) -> list[Tensor]:
        rooms = [rows.count_op.bind((values[one.buffers[0]],), {})[0] for one in lists]
        made = loop(inner, values[: number + 1], [*values[number + 1 :], *rooms], (), test=inside)
        return [*_roomy(lists, made[: number + 1], 1), *map(rows.joined, made[number + 1 :])]

    around = trace(turn, state, body.name, closed=True).graph
    outside = trace(may_go_on, state, test.name, closed=True).graph
    made = loop(around, [*_roomy(lists, carry, 1), as_tensor(0, int64)], consts, (), test=outside)
    return (*made[:number], *made[number + 1 :])


__all__ = ["Elastic", "run", "with_room"]
