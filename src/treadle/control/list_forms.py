"""Lists that have grown in staged code in other forms: as a buffer, and as a nest of rows that leaves the function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle import nest
from treadle.control import rows
from treadle.control.list_states import Block, Buffered, Grown, element_specs, rows_into, together
from treadle.control.lists import TensorList, content, grown
from treadle.core.dtypes import int64
from treadle.core.mode import current
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol, Tensor
from treadle.errors import ControlFlowError
from treadle.ops.convert import as_tensor
from treadle.records import dataclass


def to_buffer(owner: TensorList, capacity: int | None, like: Grown) -> Buffered:
    """A list as a buffer, of an open size where no capacity is given; `like` tells what its elements are."""
    from treadle.ops.creation import zeros
    from treadle.ops.shaping import concat

    state = content(owner)
    if isinstance(state, Buffered):
        return state
    own = grown(owner)
    element = own.element or like.element
    if element is None:
        raise ControlFlowError(f"{owner.name} is read in a loop on tensors, but nothing is appended to it")
    specs = element_specs(own if own.segments else like)
    if capacity is None:
        return _open_buffer(owner, own, element, specs)
    if not own.segments:
        buffers = [zeros((capacity, *s.shape), dtype=s.dtype) for s in specs]
        return Buffered(element, tuple(buffers), as_tensor(0, int64), 0)
    known = own.length
    tensors = together(owner, own)
    if known is None:
        length = rows.count_op.bind((tensors[0],), {})[0]
        filled = [rows_into(x, zeros((capacity, *x.shape[1:]), dtype=x.dtype)) for x in tensors]
        return Buffered(element, tuple(filled), length, capacity)
    room = max(capacity - known, 0)
    buffers = [concat([x, zeros((room, *x.shape[1:]), dtype=x.dtype)], axis=0) if room else x for x in tensors]
    return Buffered(element, tuple(buffers), as_tensor(known, int64), known)


def _open_buffer(owner: TensorList, own: Grown, element: nest.Structure, specs: Sequence[Spec]) -> Buffered:
    from treadle.control.elastic import with_room  # loops are built on lists
    from treadle.ops.creation import zeros

    if own.segments:
        tensors = together(owner, own)
        length = as_tensor(own.length, int64) if own.length is not None else rows.count_op.bind((tensors[0],), {})[0]
    else:
        tensors, length = [zeros((0, *s.shape), dtype=s.dtype) for s in specs], as_tensor(0, int64)
    return Buffered(element, tuple([with_room(x, length, 0) for x in tensors]), length, own.length or 0, None, 1)


@dataclass(frozen=True)
class Rows:
    """A list that has grown in staged code, as a nest: what a traced function returns; made again, it is a list."""

    rows: tuple[Tensor, ...]
    element: nest.Structure
    explicit: bool

    def __new__(cls, rows: tuple[Tensor, ...], element: nest.Structure, explicit: bool) -> Any:
        if any(isinstance(x, Symbol) for x in rows):
            made = TensorList()
            made.explicit = explicit
            made._state = Grown(element, (Block(tuple(rows)),), tuple(x.shape[1:] for x in rows))
            return made
        watched = current() is not None  # a tape sees the elements taken out
        items = [
            nest.unflatten(element, [x[k, ...] if watched else Tensor(x.array[k, ...]) for x in rows])
            for k in range(rows[0].array.shape[0])
        ]
        return TensorList(items) if explicit else items


def as_nest(owner: TensorList) -> Rows | list[Any]:
    """A staged list as a nest of its rows."""
    state = content(owner)
    if isinstance(state, Grown) and not state.segments:
        return TensorList() if owner.explicit else []
    made = object.__new__(Rows)
    element = owner._element()
    for name, value in (("rows", tuple(owner._rows())), ("element", element), ("explicit", owner.explicit)):
        object.__setattr__(made, name, value)
    return made


__all__ = ["Rows", "as_nest", "to_buffer"]
