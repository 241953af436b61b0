"""Ops on rows whose number only running tells: what lists that grow in staged loops are made of.

Each gives a first axis of a fresh size, which stands in the attribute `steps`, as the length of a loop's stack does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from treadle.control.loop import fill_op
from treadle.core.dim import Dim
from treadle.core.dtypes import bool_, int64
from treadle.core.op import Op, register
from treadle.core.spec import Spec
from treadle.core.tensor import Tensor
from treadle.errors import IndexOutOfRange

Array = np.ndarray[Any, Any]


def _steps(specs: Any, attrs: Any) -> tuple[Spec, ...]:
    return (Spec((attrs["steps"], *specs[0].shape[1:]), specs[0].dtype),)


def _new() -> dict[str, Any]:
    return {"steps": Dim.fresh("rows")}


# The rows that a mask keeps; and its transpose, rows put back where the mask is true, zeros elsewhere.
keep_op: Op = register(
    Op(
        "keep_rows",
        lambda x, mask, *, steps: x[mask],
        _steps,
        family="host",
        vjp=lambda g, y, x, mask, *, steps: (put_op.bind((g, mask), {})[0], None),
    )
)


def _put(rows: Array, mask: Array) -> Array:
    out = np.zeros((len(mask), *rows.shape[1:]), rows.dtype)
    out[mask] = rows
    return out


put_op: Op = register(
    Op(
        "put_rows",
        _put,
        lambda specs, attrs: (Spec((specs[1].shape[0], *specs[0].shape[1:]), specs[0].dtype),),
        family="host",
        vjp=lambda g, y, rows, mask: (reshape_as_op.bind((keep_op.bind((g, mask), _new())[0], rows), {})[0], None),
    )
)

# The leading axes as one of a fresh size; and its transpose.
join_op: Op = register(
    Op(
        "join_rows",
        lambda x, *, steps, axes: np.reshape(
            x, (-1, *x.shape[axes:]) if x.size else (_product(x, axes), *x.shape[axes:])
        ),
        lambda specs, attrs: (Spec((attrs["steps"], *specs[0].shape[attrs["axes"] :]), specs[0].dtype),),
        family="host",
        vjp=lambda g, y, x, *, steps, axes: reshape_as_op.bind((g, x), {})[0],
    )
)


def _product(x: Array, axes: int) -> int:
    return int(np.prod(x.shape[:axes]))


reshape_as_op: Op = register(
    Op(
        "reshape_as",
        lambda x, like: np.reshape(x, like.shape),
        lambda specs, attrs: (Spec(specs[1].shape, specs[0].dtype),),
        family="host",
        vjp=lambda g, y, x, like: (reshape_as_op.bind((g, x), {})[0], None),
    )
)


def _head(x: Array, length: Array, *, steps: Any) -> Array:
    return x[: int(length)]


# The first rows, as many as a tensor says.
head_op: Op = register(
    Op(
        "leading_rows",
        _head,
        _steps,
        family="host",
        vjp=lambda g, y, x, length, *, steps: (fill_op.bind((g, x), {})[0], None),
    )
)


def _row(x: Array, index: Array) -> Array:
    k = int(index)
    if not -len(x) <= k < len(x):
        raise IndexOutOfRange(f"index {k} is out of range for a list of {len(x)} items")
    return np.array(x[k])


row_op: Op = register(
    Op(
        "row",
        _row,
        lambda specs, attrs: (Spec(specs[0].shape[1:], specs[0].dtype),),
        family="host",
        vjp=lambda g, y, x, index: (place_op.bind((g, x, index), {})[0], None),
    )
)


def _place(g: Array, like: Array, index: Array) -> Array:
    out = np.zeros(like.shape, g.dtype)
    out[int(index)] = g
    return out


place_op: Op = register(
    Op(
        "place_row",
        _place,
        lambda specs, attrs: (Spec(specs[1].shape, specs[0].dtype),),
        family="host",
        vjp=lambda g, y, x, like, index: (row_op.bind((g, index), {})[0], None, None),
    )
)


def count_of(x: Tensor) -> Tensor:
    """How many rows there are."""
    return count_op.bind((x,), {})[0]


def row(x: Tensor, index: Tensor) -> Tensor:
    """The row at an index; from the end where it is negative."""
    return row_op.bind((x, index), {})[0]


count_op: Op = register(
    Op("count_rows", lambda x: np.asarray(len(x), np.int64), lambda s, a: (Spec((), int64),), family="host")
)
certain_op: Op = register(
    Op(
        "all_rows",
        lambda x: np.ones(len(x), np.bool_),
        lambda specs, attrs: (Spec((specs[0].shape[0],), bool_),),
        family="host",
    )
)
# No rows at all, of a size that is open all the same: what the branch of a cond gives that appends nothing.
none_op: Op = register(
    Op(
        "no_rows",
        lambda *, steps, spec: np.zeros((0, *spec.shape), spec.dtype),
        lambda specs, attrs: (Spec((attrs["steps"], *attrs["spec"].shape), attrs["spec"].dtype),),
        family="host",
    )
)


# Rows of an open number that a loop's body gives: the loop joins those of its steps, where it stacks other results.
joined_op: Op = register(
    Op(
        "joined_rows",
        lambda x, *, steps: x,
        _steps,
        family="host",
        vjp=lambda g, y, x, *, steps: (reshape_as_op.bind((g, x), {})[0],),
    )
)


def joined(x: Tensor) -> Tensor:
    """The same rows, marked to be joined by the loop around."""
    return joined_op.bind((x,), {"steps": Dim.fresh("joined")})[0]


def _some(x: Array, start: Array, number: Array, *, steps: Any) -> Array:
    first = int(start)
    return x[first : first + int(number)]


# As many rows from a place on as a tensor says; and its transpose, rows put back there, zeros elsewhere.
some_op: Op = register(
    Op(
        "some_rows",
        _some,
        _steps,
        family="host",
        vjp=lambda g, y, x, start, number, *, steps: (put_at_op.bind((g, x, start), {})[0], None, None),
    )
)


def _put_at(g: Array, like: Array, start: Array) -> Array:
    out = np.zeros(like.shape, g.dtype)
    out[int(start) : int(start) + len(g)] = g
    return out


put_at_op: Op = register(
    Op(
        "put_rows_at",
        _put_at,
        lambda specs, attrs: (Spec(specs[1].shape, specs[0].dtype),),
        family="host",
        vjp=lambda g, y, rows, like, start: (
            reshape_as_op.bind((some_op.bind((g, start, count_op.bind((rows,), {})[0]), _new())[0], rows), {})[0],
            None,
            None,
        ),
    )
)


def keep(x: Tensor, mask: Tensor) -> Tensor:
    """The rows of `x` where `mask`, a bool vector, is true."""
    return keep_op.bind((x, mask), _new())[0]


def join(x: Tensor, axes: int) -> Tensor:
    """The first `axes` axes as one; of a fresh size where it is not known."""
    known = x.shape[:axes]
    if all(type(size) is int for size in known):
        from treadle.ops.shaping import reshape

        return x if axes == 1 else reshape(x, (int(np.prod(known)), *x.shape[axes:]))
    return join_op.bind((x,), {**_new(), "axes": axes})[0]


def head(x: Tensor, length: Tensor) -> Tensor:
    """The first `length` rows."""
    return head_op.bind((x, length), _new())[0]


def no_rows(spec: Spec) -> Tensor:
    """An open number of rows like `spec`, which is 0."""
    return none_op.bind((), {**_new(), "spec": spec})[0]


# A value whose size along one axis only running tells from here on: a declared loop variable that grows.
open_op: Op = register(
    Op(
        "open_axis",
        lambda x, *, steps, axis: x,
        lambda specs, attrs: (
            Spec(
                (*specs[0].shape[: attrs["axis"]], attrs["steps"], *specs[0].shape[attrs["axis"] + 1 :]), specs[0].dtype
            ),
        ),
        family="host",
        vjp=lambda g, y, x, *, steps, axis: reshape_as_op.bind((g, x), {})[0],
    )
)


def opened(x: Tensor, axis: int) -> Tensor:
    """The same value with a fresh size along an axis."""
    return open_op.bind((x,), {**_new(), "axis": axis})[0]
