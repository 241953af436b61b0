"""Slices with bounds known while tracing, and their gradient: the primitives under indexing, split, flip and roll.

Bounds are kept for every axis and counted from 0: 0 <= start <= size; a stop of -1 (with a negative step) means that
index 0 is taken too. Sizes may be symbolic: that they reach the bounds is checked by the body when the graph runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle.core.dim import Size
from treadle.core.dtypes import DType
from treadle.core.op import Array, Attrs, Op
from treadle.core.spec import Shape, Spec, normalize_axes
from treadle.core.tensor import Tensor
from treadle.errors import IndexOutOfRange
from treadle.ops.convert import as_tensor, scalar
from treadle.ops.families import declare


def slice_count(start: Size, stop: Size, step: int) -> Size:
    """How many elements a slice takes; symbolic bounds are trusted to be in order."""
    if step == 1 and type(start) is int and type(stop) is int:
        return max(stop - start, 0)
    distance = stop - start if step > 0 else start - stop
    if isinstance(distance, int) and distance <= 0:
        return 0
    size = abs(step)
    return distance if size == 1 else (distance + (size - 1)) // size


def _python_slices(starts: Sequence[int], stops: Sequence[int], steps: Sequence[int]) -> tuple[slice, ...]:
    return tuple(
        [
            slice(0, 0) if slice_count(a, b, s) == 0 else slice(a, None if b < 0 else b, s)
            for a, b, s in zip(starts, stops, steps, strict=True)
        ]
    )


def _slice_body(x: Array, *, starts: tuple[int, ...], stops: tuple[int, ...], steps: tuple[int, ...]) -> Array:
    for axis, (size, a, b, s) in enumerate(zip(x.shape, starts, stops, steps, strict=True)):
        # While tracing a symbolic size was trusted to reach these bounds.
        inside = 0 <= a <= b <= size if s > 0 else -1 <= b <= a < max(size, 1)
        if not inside and slice_count(a, b, s) + (a < 0) + (a > size) + (b < -1):
            raise IndexOutOfRange(
                f"slice: {a}:{b}:{s} does not lie within axis {axis}, whose size is {size} in this call"
            )
    return x[_python_slices(starts, stops, steps)]


def _slice_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    parts = zip(attrs["starts"], attrs["stops"], attrs["steps"], strict=True)
    return (specs[0].with_shape(tuple([slice_count(*part) for part in parts])),)


slice_op: Op = declare(
    "slice",
    _slice_body,
    _slice_infer,
    family="view",
    vjp=lambda g, y, x, **attrs: pad_slice(g, x.shape, **attrs),
)


def _pad_slice_body(
    g: Array, *, shape: tuple[int, ...], starts: tuple[int, ...], stops: tuple[int, ...], steps: tuple[int, ...]
) -> Array:
    out = np.zeros(shape, g.dtype)
    out[_python_slices(starts, stops, steps)] = g
    return out


pad_slice_op: Op = declare(
    "pad_slice",
    _pad_slice_body,
    lambda specs, attrs: (specs[0].with_shape(attrs["shape"]),),
    family="shaping",
    vjp=lambda g, y, x, *, shape, **attrs: slice_op.bind((g,), attrs)[0],
)


def pad_slice(
    x: Tensor, shape: Shape, starts: tuple[Size, ...], stops: tuple[Size, ...], steps: tuple[int, ...]
) -> Tensor:
    """Zeros of `shape` with `x` written where the slice lies: the gradient of a slice."""
    return pad_slice_op.bind((x,), {"shape": shape, "starts": starts, "stops": stops, "steps": steps})[0]


def slice_tensor(x: Tensor, starts: Sequence[Size], stops: Sequence[Size], steps: Sequence[int]) -> Tensor:
    """The elements at start, start + step, ... of each axis; bounds count from 0 (a stop of -1: past the front)."""
    for a, b, s, size in zip(starts, stops, steps, x.shape, strict=True):
        if not (isinstance(a, int) and a == 0 and b == size and s == 1):
            break
    else:
        return x
    return slice_op.bind((x,), {"starts": tuple(starts), "stops": tuple(stops), "steps": tuple(steps)})[0]


def slice_axis(x: Tensor, axis: int, start: Size, stop: Size, step: int = 1) -> Tensor:
    """A slice along one axis (counted from 0); the others whole."""
    starts: list[Size] = [0] * x.ndim
    stops = list(x.shape)
    steps = [1] * x.ndim
    starts[axis], stops[axis], steps[axis] = start, stop, step
    return slice_tensor(x, starts, stops, steps)


def flip(x: Any, /, *, axis: int | Sequence[int] | None = None) -> Tensor:
    """The elements in reverse order along these axes (by default all)."""
    tensor = as_tensor(x)
    for k in normalize_axes(axis, tensor.ndim, "flip"):
        tensor = slice_axis(tensor, k, tensor.shape[k] - 1, -1, -1)
    return tensor


# -- a tensor with a slice replaced ------------------------------------------------------------------------------------


def _set_slice_body(
    x: Array, v: Array, *, starts: tuple[int, ...], stops: tuple[int, ...], steps: tuple[int, ...]
) -> Array:
    out = np.array(x, order="C")
    out[_python_slices(starts, stops, steps)] = v
    return out


set_slice_op: Op = declare(
    "set_slice",
    _set_slice_body,
    lambda specs, attrs: (specs[0].with_shape(specs[0].shape),),
    family="shaping",
    vjp=(
        lambda g, y, x, v, **bounds: set_slice_op.bind((g, zeros(v.shape, g.dtype)), bounds)[0],
        lambda g, y, x, v, **bounds: slice_op.bind((g,), bounds)[0],
    ),
)


def zeros(shape: Shape, dtype: DType) -> Tensor:
    """Zeros of this shape, which may be symbolic; one zero, broadcast."""
    from treadle.ops.shaping import broadcast_to  # shaping builds on this module

    return broadcast_to(scalar(0, dtype), shape)
