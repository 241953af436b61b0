"""What the iterations of a loop append to a list: stacks that leave the loop, and the elements made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle.control import rows
from treadle.control.list_states import Base, Block, Grown, Item
from treadle.core.dtypes import int64
from treadle.core.tensor import Tensor
from treadle.ops.convert import as_tensor, cast


class Rows:
    """Kind of an entry: rows of an open number, which the loop has joined."""


def present_of(segment: Any) -> Tensor | None:
    found: Tensor | None = segment.mask if isinstance(segment, Block) else segment.present
    return found


def certain(segment: Any) -> Tensor:
    """Which of a segment's elements are there, as a tensor."""
    found = present_of(segment)
    if found is not None:
        return found
    return as_tensor(np.ones((segment.count,), np.bool_) if isinstance(segment, Block) else np.asarray(True))


def appended_count(state: Grown, base: Base) -> Any:
    """How many elements a body has appended."""
    from treadle.ops.reductions import sum as total

    known, found = 0, []
    for segment in state.segments:
        if segment is base:
            continue
        present = present_of(segment)
        if present is not None:
            found.append(total(cast(present, int64)))
        elif isinstance(segment, Block) and type(segment.count) is not int:
            found.append(rows.count_op.bind((segment.rows[0],), {})[0])
        elif isinstance(segment, Block):
            known += segment.count
        else:
            known += 1
    count = as_tensor(known, int64)
    for part in found:
        count = count + part
    return count


def stacked(entries: list[tuple[type, int, bool]], stacks: Sequence[Tensor]) -> Block:
    """The elements of all iterations, in order, from the stacks of what each appended."""
    from treadle.ops.shaping import concat, expand_dims

    masked = entries[0][2]
    leaves = entries[0][1]
    parts: list[list[Tensor]] = [[] for _ in range(leaves + masked)]
    left = iter(stacks)
    for kind, _, _ in entries:
        for part in parts:
            stack = next(left)
            part.append(expand_dims(stack, axis=1) if kind is Item else stack)
    if len(entries) == 1 and entries[0][0] in (Item, Rows):
        whole = list(stacks)
    else:
        whole = [rows.join(part[0] if len(part) == 1 else concat(part, axis=1), 2) for part in parts]
    return Block(tuple(whole[:leaves]), whole[-1] if masked else None)
