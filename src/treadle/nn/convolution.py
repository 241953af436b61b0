"""Convolution and pooling of images (n, height, width, channels), made of window views and one matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle.core.dim import Size
from treadle.core.tensor import Tensor
from treadle.errors import ArgumentError, ShapeError
from treadle.ops.arranging import pad
from treadle.ops.convert import operands
from treadle.ops.creation import full
from treadle.ops.linalg import matmul
from treadle.ops.reductions import max, mean, sum
from treadle.ops.shaping import concat, permute_dims, product, reshape
from treadle.ops.windows import block_max, windows

Pair = int | Sequence[int]


def pair(value: Any, what: str) -> tuple[int, int]:
    """One positive number for both axes, or two. Raises ValueError for anything else."""
    numbers = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(numbers) != 2 or not all(isinstance(n, int) and n > 0 for n in numbers):
        raise ArgumentError(f"{what} must be a positive number or two, got {value!r}")
    return numbers


def _margins(size: Size, window: int, stride: int, dilation: int) -> tuple[int, int]:
    """What "same" puts before and behind an axis, so that ceil(size / stride) windows fit; the odd one behind."""
    span = (window - 1) * dilation + 1
    if not isinstance(size, int):
        if stride != 1:
            raise ShapeError('padding="same" with strides needs known image sizes')
        missing = span - 1
    else:
        missing = (-(-size // stride) - 1) * stride + span - size
        missing = missing if missing > 0 else 0
    return missing // 2, missing - missing // 2


def _framed(x: Tensor, name: str, padding: str, *geometry: tuple[int, int]) -> tuple[Tensor, list[tuple[int, int]]]:
    """The margins that `padding` asks for, of an image tensor that is checked."""
    if x.ndim != 4:
        raise ShapeError(f"{name}: takes images (n, height, width, channels), got shape {tuple(x.shape)}")
    if padding not in ("valid", "same"):
        raise ArgumentError(f'{name}: padding must be "valid" or "same", got {padding!r}')
    sizes, strides, dilations = geometry
    if padding == "valid":
        return x, [(0, 0), (0, 0)]
    return x, [_margins(*part) for part in zip(x.shape[1:3], sizes, strides, dilations, strict=True)]


def _enlarged(x: Tensor, margins: list[tuple[int, int]], value: float) -> Tensor:
    if not any(any(m) for m in margins):
        return x
    if value == 0:
        return pad(x, [(0, 0), *margins, (0, 0)])
    for axis, (before, behind) in enumerate(margins, 1):  # an infinite frame
        shape = list(x.shape)
        parts = []
        for count in (before, behind):
            shape[axis] = count
            parts.append(full(tuple(shape), value, dtype=x.dtype))
        x = concat([parts[0], x, parts[1]], axis=axis)
    return x


def conv2d(x: Any, kernel: Any, strides: Pair = 1, padding: str = "valid", dilations: Pair = 1) -> Tensor:
    """Cross-correlation of images with a kernel, as in Keras.

    x:       (n, height, width, in); kernel: (rows, columns, in, out), of one floating dtype.
    strides: steps between windows, for both axes or each. dilations: steps inside them.
    padding: "valid" (windows inside the image only) or "same" (zeros around, so that ceil(size / stride) come out).

    Gives (n, height', width', out). Raises ShapeError where channels differ or no window fits.

    >>> import treadle as td
    >>> td.nn.conv2d(td.ones((1, 5, 5, 1)), td.ones((3, 3, 1, 2)), padding="same").shape
    (1, 5, 5, 2)
    """
    x, kernel = operands((x, kernel), "float", "conv2d")
    if kernel.ndim != 4:
        raise ShapeError(f"conv2d: takes kernels (rows, columns, in, out), got shape {tuple(kernel.shape)}")
    rows, columns, channels, units = kernel.shape
    sizes, steps, gaps = (rows, columns), pair(strides, "conv2d: strides"), pair(dilations, "conv2d: dilations")
    x, margins = _framed(x, "conv2d", padding, sizes, steps, gaps)
    if isinstance(x.shape[3], int) and isinstance(channels, int) and x.shape[3] != channels:
        raise ShapeError(
            f"conv2d: images of {x.shape[3]} channels, a kernel for {channels} "
            f"(images {tuple(x.shape)}, kernel {tuple(kernel.shape)})"
        )
    x = _enlarged(x, margins, 0)
    if rows == columns == 1 and steps == (1, 1):
        return matmul(x, reshape(kernel, (channels, units)))
    patches = windows(x, sizes, steps, gaps)
    places = patches.shape[:3]
    taps = rows * columns * channels
    weights = reshape(kernel, (taps, units))
    if channels == 1 and steps[1] == 1 and _exceeds(places[2], columns):
        # One channel: an output row is a run of memory for each tap, longer than a row of the kernel is.
        turned = reshape(permute_dims(patches, (3, 4, 5, 0, 1, 2)), (taps, product(places)))
        return reshape(matmul(turned.mT, weights), (*places, units))
    return reshape(matmul(reshape(patches, (product(places), taps)), weights), (*places, units))


def _exceeds(a: Size, b: Size) -> bool:
    return isinstance(a, int) and isinstance(b, int) and a > b


def _pooled(x: Any, pool_size: Pair, strides: Pair | None, padding: str, name: str) -> tuple[Tensor, Any, Any, Any]:
    (x,) = operands((x,), "real float", name)
    sizes = pair(pool_size, f"{name}: pool_size")
    steps = sizes if strides is None else pair(strides, f"{name}: strides")
    x, margins = _framed(x, name, padding, sizes, steps, (1, 1))
    return x, sizes, steps, margins


def _whole_blocks(x: Tensor, sizes: tuple[int, int], steps: tuple[int, int]) -> Tensor | None:
    """The part of images that is filled by windows which touch each other; None where they do not, or none fits."""
    height, width = x.shape[1:3]
    if sizes != steps or not isinstance(height, int) or not isinstance(width, int):
        return None
    counts = (height // sizes[0], width // sizes[1])
    return x[:, : counts[0] * sizes[0], : counts[1] * sizes[1]] if 0 not in counts else None


def _split(x: Tensor, sizes: tuple[int, int], steps: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
    """The windows, and the axes inside them; windows that touch each other are no more than a reshape."""
    blocks = _whole_blocks(x, sizes, steps)
    if blocks is None:
        return windows(x, sizes, steps, (1, 1)), (3, 4)
    n, height, width, channels = blocks.shape
    return reshape(blocks, (n, height // sizes[0], sizes[0], width // sizes[1], sizes[1], channels)), (2, 4)


def max_pool2d(x: Any, pool_size: Pair = 2, strides: Pair | None = None, padding: str = "valid") -> Tensor:
    """The largest element of each window of images (n, height, width, channels); NaN if there is one.

    pool_size: height and width of windows. strides: steps between them, by default pool_size.
    padding:   "valid", or "same" (nothing outside the image counts). Ties share the gradient.

    >>> import treadle as td
    >>> td.nn.max_pool2d(td.reshape(td.arange(16.0), (1, 4, 4, 1))).tolist()
    [[[[5.0], [7.0]], [[13.0], [15.0]]]]
    """
    x, sizes, steps, margins = _pooled(x, pool_size, strides, padding, "max_pool2d")
    x = _enlarged(x, margins, -float("inf"))
    blocks = _whole_blocks(x, sizes, steps)
    return max(windows(x, sizes, steps, (1, 1)), axis=(3, 4)) if blocks is None else block_max(blocks, sizes)


def avg_pool2d(x: Any, pool_size: Pair = 2, strides: Pair | None = None, padding: str = "valid") -> Tensor:
    """The mean of each window of images (n, height, width, channels).

    pool_size: height and width of windows. strides: steps between them, by default pool_size.
    padding:   "valid", or "same" (the mean is of the elements inside the image).

    >>> import treadle as td
    >>> td.nn.avg_pool2d(td.reshape(td.arange(16.0), (1, 4, 4, 1))).tolist()
    [[[[2.5], [4.5]], [[10.5], [12.5]]]]
    """
    x, sizes, steps, margins = _pooled(x, pool_size, strides, padding, "avg_pool2d")
    found, axes = _split(_enlarged(x, margins, 0), sizes, steps)
    if not any(any(m) for m in margins):
        return mean(found, axis=axes)
    inside = full((1, *x.shape[1:3], 1), 1, dtype=x.dtype)
    counted, axes = _split(_enlarged(inside, margins, 0), sizes, steps)
    return sum(found, axis=axes) / sum(counted, axis=axes)


__all__ = ["avg_pool2d", "conv2d", "max_pool2d", "pair"]
