"""Ops that take out, put in and compare rows whose number only running tells; what lists do besides growing."""

from __future__ import annotations

from typing import Any

import numpy as np

from treadle.control.rows import reshape_as_op
from treadle.core.dim import Dim
from treadle.core.dtypes import bool_, int64
from treadle.core.op import Op, register
from treadle.core.spec import Spec
from treadle.core.tensor import Tensor

Array = np.ndarray[Any, Any]


def _fresh() -> dict[str, Any]:
    return {"steps": Dim.fresh("rows")}


def _steps(specs: Any, attrs: Any) -> tuple[Spec, ...]:
    return (Spec((attrs["steps"], *specs[0].shape[1:]), specs[0].dtype),)


def _as(x: Tensor, like: Tensor) -> Tensor:
    return reshape_as_op.bind((x, like), {})[0]


# All rows but one; and its transpose, a row put between.
without_op: Op = register(
    Op(
        "without_row",
        lambda x, index, *, steps: np.delete(x, int(index), axis=0),
        _steps,
        family="host",
        vjp=lambda g, y, x, index, *, steps: (_as(_between(g, index), x), None),
    )
)
between_op: Op = register(
    Op(
        "zero_row_between",
        lambda x, index, *, steps: np.insert(x, int(index), 0, axis=0),
        _steps,
        family="host",
        vjp=lambda g, y, x, index, *, steps: (_as(without_row(g, index), x), None),
    )
)


def without_row(x: Tensor, index: Tensor) -> Tensor:
    """All rows but that at an index from 0 on."""
    return without_op.bind((x, index), _fresh())[0]


def _between(x: Tensor, index: Tensor) -> Tensor:
    return between_op.bind((x, index), _fresh())[0]


def _moved(x: Array, source: Array, target: Array) -> Array:
    k, to = int(source), int(target)
    out = np.array(x)
    if k < to:
        out[k:to] = x[k + 1 : to + 1]
    else:
        out[to + 1 : k + 1] = x[to:k]
    out[to] = x[k]
    return out


# One row at another place, those between moved by one; its transpose is the way back.
moved_op: Op = register(
    Op(
        "moved_row",
        _moved,
        lambda specs, attrs: (Spec(specs[0].shape, specs[0].dtype),),
        family="host",
        vjp=lambda g, y, x, source, target: (moved_op.bind((g, target, source), {})[0], None, None),
    )
)


def last_moved(x: Tensor, where: Tensor, last: Tensor) -> Tensor:
    """The rows with the one at `last` put before that at `where`."""
    return moved_op.bind((x, last, where), {})[0]


def moved_up(memory: Tensor, index: Tensor) -> Tensor:
    """Memory without the row at an index: those behind it move up, and it comes last, where nobody looks."""
    from treadle.control.rows import count_op

    last = count_op.bind((memory,), {})[0] - 1
    return moved_op.bind((memory, index, last), {})[0]


# A slice of the rows, by Python's rules; and its transpose, zeros elsewhere.
cut_op: Op = register(
    Op(
        "cut_rows",
        lambda x, *, steps, cut: x[slice(*cut)],
        _steps,
        family="host",
        vjp=lambda g, y, x, *, steps, cut: uncut_op.bind((g, x), {"cut": cut})[0],
    )
)


def _uncut(g: Array, like: Array, *, cut: Any) -> Array:
    out = np.zeros(like.shape, g.dtype)
    out[slice(*cut)] = g
    return out


uncut_op: Op = register(
    Op(
        "uncut_rows",
        _uncut,
        lambda specs, attrs: (Spec(specs[1].shape, specs[0].dtype),),
        family="host",
        vjp=lambda g, y, rows, like, *, cut: (
            _as(cut_op.bind((g,), {**_fresh(), "cut": cut})[0], rows),
            None,
        ),
    )
)


def cut(x: Tensor, part: slice) -> Tensor:
    """A slice of the rows: bounds that are ints or None reach to the ends at most."""
    if isinstance(x.shape[0], int):
        return x[part]
    return cut_op.bind((x,), {**_fresh(), "cut": (part.start, part.stop, part.step)})[0]


same_op: Op = register(
    Op(
        "same_rows",
        lambda x, y: np.asarray(x.shape == y.shape and bool(np.all(x == y))),
        lambda specs, attrs: (Spec((), bool_),),
        family="host",
    )
)


def same_rows(x: Tensor, y: Tensor) -> Tensor:
    """Whether there are as many rows, and all are equal."""
    return same_op.bind((x, y), {})[0]


positions_op: Op = register(
    Op(
        "row_numbers",
        lambda x: np.arange(len(x), dtype=np.int64),
        lambda specs, attrs: (Spec((specs[0].shape[0],), int64),),
        family="host",
    )
)


def positions(x: Tensor) -> Tensor:
    """0, 1, ... for each row."""
    if isinstance(x.shape[0], int):
        from treadle.ops.creation import arange

        return arange(x.shape[0], dtype=int64)
    return positions_op.bind((x,), {})[0]


__all__ = ["cut", "last_moved", "moved_up", "positions", "same_rows", "without_row"]
