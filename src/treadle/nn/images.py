"""Layers for images (n, height, width, channels): convolution and pooling, named and built as in Keras."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from treadle.core.arguments import whole
from treadle.core.mode import call_user
from treadle.core.tensor import Tensor
from treadle.core.variable import Variable
from treadle.errors import ArgumentError, ShapeError
from treadle.nn import functional, init
from treadle.nn.convolution import Pair, avg_pool2d, conv2d, max_pool2d, pair
from treadle.nn.layers import Layer
from treadle.ops.convert import operands


def _check_padding(padding: str, name: str) -> str:
    if padding not in ("valid", "same"):
        raise ArgumentError(f'{name}: padding must be "valid" or "same", got {padding!r}')
    return padding


class Conv2D(Layer):
    """`activation(conv2d(x, kernel) + bias)` of images.

    filters:     channels that come out. kernel_size: rows and columns of the kernel.
    strides, padding, dilations: as in `td.nn.conv2d`.
    Weights: `kernel` (rows, columns, in, filters) and `bias` (filters,), of the dtype of the first input.

    >>> import treadle as td
    >>> layer = td.nn.Conv2D(4, 3, padding="same")
    >>> layer(td.ones((2, 8, 8, 1))).shape, layer.kernel.shape
    ((2, 8, 8, 4), (3, 3, 1, 4))
    """

    kernel: Variable | None
    bias: Variable | None

    def __init__(
        self,
        filters: int,
        kernel_size: Pair,
        strides: Pair = 1,
        padding: str = "valid",
        dilations: Pair = 1,
        activation: str | Callable[[Any], Any] | None = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.filters = whole("Conv2D: filters", filters, 1)
        self.kernel_size = pair(kernel_size, "Conv2D: kernel_size")
        self.strides = pair(strides, "Conv2D: strides")
        self.padding = _check_padding(padding, "Conv2D")
        self.dilations = pair(dilations, "Conv2D: dilations")
        self.activation = functional.activation(activation)
        self.use_bias = use_bias
        self.kernel_initializer = init.get(kernel_initializer)
        self.bias_initializer = init.get(bias_initializer)
        self.kernel = None
        self.bias = None

    def build(self, shape: Sequence[Any], dtype: Any) -> None:
        """Make the weights for images of this shape and dtype; called at the first call."""
        if len(shape) != 4 or not isinstance(shape[3], int):
            raise ShapeError(f"{self.name}: takes images (n, height, width, channels), got shape {tuple(shape)}")
        sizes = (*self.kernel_size, shape[3], self.filters)
        self.kernel = self.add_weight("kernel", sizes, dtype, self.kernel_initializer)
        if self.use_bias:
            self.bias = self.add_weight("bias", (self.filters,), dtype, self.bias_initializer)

    def __call__(self, x: Any) -> Tensor:
        (x,) = operands((x,), "float", "Conv2D")
        if self.kernel is None:
            self.build(x.shape, x.dtype)
        y = conv2d(x, self.kernel, self.strides, self.padding, self.dilations)
        if self.bias is not None:
            y = y + self.bias
        result: Tensor = y if self.activation is None else call_user(self.activation, y)
        return result


class _Pool2D(Layer):
    def __init__(
        self, pool_size: Pair = 2, strides: Pair | None = None, padding: str = "valid", name: str | None = None
    ) -> None:
        super().__init__(name)
        kind = type(self).__name__
        self.pool_size = pair(pool_size, f"{kind}: pool_size")
        self.strides = self.pool_size if strides is None else pair(strides, f"{kind}: strides")
        self.padding = _check_padding(padding, kind)


class MaxPool2D(_Pool2D):
    """The largest element of each window, as `td.nn.max_pool2d`."""

    def __call__(self, x: Any) -> Tensor:
        return max_pool2d(x, self.pool_size, self.strides, self.padding)


class AvgPool2D(_Pool2D):
    """The mean of each window, as `td.nn.avg_pool2d`."""

    def __call__(self, x: Any) -> Tensor:
        return avg_pool2d(x, self.pool_size, self.strides, self.padding)
