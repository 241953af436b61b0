"""Sliding windows over the axes between the first and the last, and their gradient: what convolution and pooling need.

`windows` is a view (strides alone, nothing moves); `fold` adds windows up where they came from. Each is the other's
gradient, so that all derivatives of what is built on them come by themselves. `block_max` is the largest of blocks that
fill two axes, and `block_share` brings a gradient back to where the largest stood.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle.core.dim import Size
from treadle.core.op import Array, Attrs, Op
from treadle.core.spec import Shape, Spec
from treadle.core.tensor import Tensor
from treadle.errors import ShapeError
from treadle.ops.creation import full_like
from treadle.ops.families import declare
from treadle.ops.reductions import sum
from treadle.ops.shaping import reshape

Ints = tuple[int, ...]


def window_count(size: Size, window: int, stride: int, dilation: int) -> Size:
    """How many windows fit along an axis; 0 where it is too short. Symbolic sizes are trusted to be long enough."""
    room = size - (window - 1) * dilation
    if isinstance(room, int) and room <= 0:
        return 0
    return (room - 1) // stride + 1 if stride > 1 else room


def _windows_body(x: Array, *, sizes: Ints, strides: Ints, dilations: Ints) -> Array:
    step = x.strides
    counts: list[Any] = [window_count(*part) for part in zip(x.shape[1:-1], sizes, strides, dilations, strict=True)]
    places = [a * s for a, s in zip(step[1:-1], strides, strict=True)]
    inside = [a * d for a, d in zip(step[1:-1], dilations, strict=True)]
    return np.lib.stride_tricks.as_strided(
        x,
        (x.shape[0], *counts, *sizes, x.shape[-1]),
        (step[0], *places, *inside, step[-1]),
        writeable=False,
    )


def _windows_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    shape = specs[0].shape
    parts = zip(shape[1:-1], attrs["sizes"], attrs["strides"], attrs["dilations"], strict=True)
    return (specs[0].with_shape((shape[0], *[window_count(*part) for part in parts], *attrs["sizes"], shape[-1])),)


windows_op: Op = declare(
    "windows",
    _windows_body,
    _windows_infer,
    family="view",
    vjp=lambda g, y, x, **attrs: fold(g, x.shape[1:-1], **attrs),
)


def _fold_body(x: Array, *, shape: Ints, sizes: Ints, strides: Ints, dilations: Ints) -> Array:
    out = np.zeros((x.shape[0], *shape, x.shape[-1]), x.dtype)
    rank = len(sizes)
    counts = x.shape[1 : 1 + rank]
    if 0 in x.shape:
        return out
    everything: tuple[Any, ...] = (slice(None),) * (1 + rank)
    for offsets in itertools.product(*map(range, sizes)):
        places = tuple(
            slice(o * d, o * d + (n - 1) * s + 1, s)
            for o, d, n, s in zip(offsets, dilations, counts, strides, strict=True)
        )
        out[(slice(None), *places)] += x[(*everything, *offsets)]
    return out


fold_op: Op = declare(
    "fold",
    _fold_body,
    lambda specs, attrs: (specs[0].with_shape((specs[0].shape[0], *attrs["shape"], specs[0].shape[-1])),),
    family="shaping",
    vjp=lambda g, y, x, *, shape, **attrs: windows_op.bind((g,), attrs)[0],
)


def _blocks(shape: Shape, sizes: Ints) -> tuple[Size, ...]:
    """The shape with both axes between the first and the last cut into blocks; the axes inside are 2 and 4."""
    n, height, width, channels = shape
    return n, height // sizes[0], sizes[0], width // sizes[1], sizes[1], channels


def _block_max_body(x: Array, *, sizes: Ints) -> Array:
    result: Array = x.reshape(_blocks(x.shape, sizes)).max((2, 4))
    return result


def _block_max_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    n, height, _, width, _, channels = _blocks(specs[0].shape, attrs["sizes"])
    return (specs[0].with_shape((n, height, width, channels)),)


block_max_op: Op = declare(
    "block_max",
    _block_max_body,
    _block_max_infer,
    family="shaping",
    vjp=lambda g, y, x, *, sizes: block_share_op.bind((g, y, x), {"sizes": sizes})[0],
)


def _block_share_body(g: Array, y: Array, x: Array, *, sizes: Ints) -> Array:
    parts = x.reshape(_blocks(x.shape, sizes))
    largest = y[:, :, None, :, None]
    largest = (parts == largest) | (np.isnan(parts) & np.isnan(largest))
    share = g / largest.sum((2, 4), dtype=g.dtype)
    result: Array = np.where(largest, share[:, :, None, :, None], g.dtype.type(0)).reshape(x.shape)
    return result


def _block_share_vjp(c: Tensor, out: Tensor, g: Tensor, y: Tensor, x: Tensor, *, sizes: Ints) -> Tensor:
    """It is linear in g: the mean of what stands where the largest are; y and x only say where that is."""
    ones = full_like(g, 1)
    return block_sum(c * block_share_op.bind((ones, y, x), {"sizes": sizes})[0], sizes)


block_share_op: Op = declare(
    "block_share",
    _block_share_body,
    lambda specs, attrs: (specs[2],),
    family="shaping",
    vjp=(_block_share_vjp, None, None),
)


def block_sum(x: Tensor, sizes: Ints) -> Tensor:
    """The sums of blocks of (n, height, width, channels)."""
    return sum(reshape(x, _blocks(x.shape, sizes)), axis=(2, 4))


def block_max(x: Tensor, sizes: Ints) -> Tensor:
    """The largest of each block of (n, height, width, channels), NaN if there is one; sizes divide height and width.

    Ties share the gradient.
    """
    return block_max_op.bind((x,), {"sizes": tuple(sizes)})[0]


def windows(x: Tensor, sizes: Ints, strides: Ints, dilations: Ints) -> Tensor:
    """All windows of a tensor (n, *axes, c): (n, *counts, *sizes, c), with steps between windows and inside them.

    Raises ShapeError where no window fits.
    """
    for axis, part in enumerate(zip(x.shape[1:-1], sizes, strides, dilations, strict=True)):
        if window_count(*part) == 0:
            size, window, _, dilation = part
            span = (window - 1) * dilation + 1
            raise ShapeError(f"axis {axis + 1} of size {size} is shorter than the window, which spans {span}")
    return windows_op.bind((x,), {"sizes": sizes, "strides": strides, "dilations": dilations})[0]


def fold(x: Tensor, shape: Shape, sizes: Ints, strides: Ints, dilations: Ints) -> Tensor:
    """Windows (n, *counts, *sizes, c) added up at their places in zeros of (n, *shape, c)."""
    attrs = {"shape": tuple(shape), "sizes": sizes, "strides": strides, "dilations": dilations}
    return fold_op.bind((x,), attrs)[0]
