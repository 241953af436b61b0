"""Slices whose starts are known only when the program runs (`x[i : i + 2]` with a traced `i`); sizes are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle.core.dim import Dim
from treadle.core.dtypes import int64
from treadle.core.op import Array, Attrs, Op
from treadle.core.spec import Shape, Spec
from treadle.core.tensor import Tensor
from treadle.errors import DTypeError, IndexOutOfRange, ShapeError
from treadle.ops.convert import as_tensor, cast, operands
from treadle.ops.families import declare
from treadle.ops.shaping import as_sizes, stack
from treadle.ops.slicing import zeros


def _window(op: str, shape: tuple[int, ...], starts: Array, sizes: Sequence[int]) -> tuple[slice, ...]:
    for axis, (whole, start, size) in enumerate(zip(shape, starts.tolist(), sizes, strict=True)):
        if start < 0 or start + size > whole:
            raise IndexOutOfRange(f"{op}: {size} elements from {start} do not lie within axis {axis} of size {whole}")
    return tuple([slice(start, start + size) for start, size in zip(starts.tolist(), sizes, strict=True)])


def _dynamic_slice_body(x: Array, starts: Array, *, sizes: tuple[int, ...]) -> Array:
    return x[_window("dynamic_slice", x.shape, starts, sizes)].copy()


def _dynamic_slice_vjp(
    g: Tensor, y: Tensor, x: Tensor, starts: Tensor, *, sizes: Shape
) -> tuple[Tensor | None, Tensor | None]:
    return dynamic_update_slice_op.bind((zeros(x.shape, g.dtype), g, starts), {})[0], None


dynamic_slice_op: Op = declare(
    "dynamic_slice",
    _dynamic_slice_body,
    lambda specs, attrs: (specs[0].with_shape(attrs["sizes"]),),
    family="indexing",
    vjp=_dynamic_slice_vjp,
)


def _dynamic_update_body(x: Array, update: Array, starts: Array) -> Array:
    out = np.array(x, order="C")
    out[_window("dynamic_update_slice", x.shape, starts, update.shape)] = update
    return out


def _dynamic_update_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    return (specs[0].with_shape(specs[0].shape),)


dynamic_update_slice_op: Op = declare(
    "dynamic_update_slice",
    _dynamic_update_body,
    _dynamic_update_infer,
    family="indexing",
    vjp=(
        lambda g, y, x, u, starts: dynamic_update_slice_op.bind((g, zeros(u.shape, g.dtype), starts), {})[0],
        lambda g, y, x, u, starts: dynamic_slice_op.bind((g, starts), {"sizes": u.shape})[0],
        None,
    ),
)


def _starts(op: str, starts: Any, ndim: int) -> Tensor:
    """One int64 vector with a start for every axis."""
    if isinstance(starts, Tensor):
        vector = starts if starts.ndim else stack([starts])
    elif isinstance(starts, (list, tuple)):
        vector = stack([as_tensor(s) for s in starts]) if len(starts) else as_tensor(np.zeros(0, np.int64))
    else:
        vector = stack([starts])
    if vector.dtype.kind not in "iu":
        raise DTypeError(f"{op}: starts must be integers, got {vector.dtype}")
    if vector.shape != (ndim,):
        raise ShapeError(f"{op}: needs a start for each of {ndim} axes, got starts of shape {tuple(vector.shape)}")
    return cast(vector, int64)


def dynamic_slice(x: Any, starts: Any, sizes: Any) -> Tensor:
    """The block of shape `sizes` that begins at `starts`, which may be traced: one integer for each axis, from 0 on.

    Raises ShapeError for sizes that never fit, IndexOutOfRange when the block leaves the tensor (starts are not
    clamped, and do not count from the end).

    >>> import treadle as td
    >>> td.dynamic_slice(td.asarray([1, 2, 3, 4]), [1], [2]).tolist()
    [2, 3]
    """
    x = as_tensor(x)
    shape = as_sizes(sizes)
    fits = len(shape) == x.ndim and all(
        isinstance(size, Dim) or isinstance(whole, Dim) or 0 <= size <= whole
        for size, whole in zip(shape, x.shape, strict=True)
    )
    if not fits:
        raise ShapeError(f"dynamic_slice: sizes {shape} do not fit into shape {tuple(x.shape)}")
    return dynamic_slice_op.bind((x, _starts("dynamic_slice", starts, x.ndim)), {"sizes": shape})[0]


def dynamic_update_slice(x: Any, update: Any, starts: Any) -> Tensor:
    """The tensor with the block that begins at `starts` replaced by `update`, which has as many axes.

    Raises as `dynamic_slice` does.

    >>> import treadle as td
    >>> td.dynamic_update_slice(td.asarray([1, 2, 3, 4]), [8, 9], [2]).tolist()
    [1, 2, 8, 9]
    """
    x = as_tensor(x)
    update = as_tensor(update)
    if update.dtype != x.dtype:
        first, update = operands((x, update), "any", "dynamic_update_slice")
        if first.dtype != x.dtype:
            raise DTypeError(f"dynamic_update_slice: a {x.dtype} tensor cannot hold {update.dtype} values")
    fits = update.ndim == x.ndim and all(
        isinstance(size, Dim) or isinstance(whole, Dim) or size <= whole
        for size, whole in zip(update.shape, x.shape, strict=True)
    )
    if not fits:
        raise ShapeError(
            f"dynamic_update_slice: a block of shape {tuple(update.shape)} does not fit into {tuple(x.shape)}"
        )
    return dynamic_update_slice_op.bind((x, update, _starts("dynamic_update_slice", starts, x.ndim)), {})[0]


__all__ = ["dynamic_slice", "dynamic_update_slice"]
