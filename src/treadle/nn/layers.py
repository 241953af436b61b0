"""Layers, named and built as in Keras: weights are made at the first call, from the shape of what comes in."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from treadle.core.arguments import share, whole
from treadle.core.dtypes import dtype_name
from treadle.core.mode import activate, call_user
from treadle.core.tensor import Tensor
from treadle.core.variable import Variable
from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.nn import functional, init
from treadle.nn.module import Module, snake_case
from treadle.ops.convert import as_tensor, cast, operands
from treadle.ops.linalg import matmul
from treadle.ops.shaping import reshape

_counts: defaultdict[str, itertools.count[int]] = defaultdict(itertools.count)


class Layer(Module):
    """Base of layers.

    name: by default the class's name with a number, `dense`, `dense_1`, ...
    """

    def __init__(self, name: str | None = None) -> None:
        base = snake_case(type(self).__name__)
        number = next(_counts[base]) if name is None else 0
        super().__init__(name or (f"{base}_{number}" if number else base))
        self.trainable = True

    def add_weight(
        self, name: str, shape: Sequence[int], dtype: Any, initializer: Any, trainable: bool = True
    ) -> Variable:
        """A new Variable of the layer, with its initial value at once, also while a function is traced."""
        with activate(None):  # the draw is made now and once, not at each call of the function that is traced
            value = init.get(initializer)(tuple(shape), dtype)
            return Variable(value, dtype=dtype, name=f"{self.name}/{name}", trainable=trainable)

    def get_weights(self) -> list[np.ndarray[Any, Any]]:
        """The values of `variables`, in their order, as arrays of one's own; none before the first call.

        >>> import treadle as td
        >>> layer = td.nn.Dense(2, kernel_initializer="ones")
        >>> layer(td.ones((1, 3))).tolist(), [w.shape for w in layer.get_weights()]
        ([[3.0, 3.0]], [(2,), (3, 2)])
        """
        return [np.array(variable.numpy()) for variable in self.variables]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Give `variables` these values, in their order; floats may be of another width.

        Raises ArgumentError where there are more or fewer than variables (a layer has none before its first call),
        ShapeError or DTypeError naming the variable where one does not fit: then nothing has changed.
        """
        variables, given = self.variables, list(weights)
        if len(given) != len(variables):
            names = ", ".join(f"{v.name} {tuple(v.shape)}" for v in variables) or "none before its first call"
            raise ArgumentError(
                f"{self.name}: set_weights takes {len(variables)} arrays ({names}), got {len(given)}; "
                "the order is that of `variables`"
            )
        fitting = [_fitting(variable, as_tensor(value)) for variable, value in zip(variables, given, strict=True)]
        for variable, value in zip(variables, fitting, strict=True):
            variable.assign(value)


def _fitting(variable: Variable, value: Tensor) -> Tensor:
    """A weight as its variable can hold it."""
    if tuple(value.shape) != tuple(variable.shape):
        raise ShapeError(
            f"set_weights: {variable.name} has shape {tuple(variable.shape)}, the array {tuple(value.shape)}"
        )
    if not np.can_cast(value.dtype, variable.dtype, "same_kind"):
        raise DTypeError(
            f"set_weights: {variable.name} is {dtype_name(variable.dtype)}, the array {dtype_name(value.dtype)}; "
            "convert it with td.astype"
        )
    return cast(value, variable.dtype)


class Dense(Layer):
    """`activation(x @ kernel + bias)` over the last axis of `x`.

    units: size of the last axis that comes out.
    activation: a name, a function, or None.
    Weights: `kernel` (in, units) and `bias` (units,), of the dtype of the first input (integers: the default float).

    Raises ShapeError naming both sizes when the last axis differs from the one that the layer was built for.

    >>> import treadle as td
    >>> layer = td.nn.Dense(4)
    >>> layer(td.ones((2, 3))).shape, layer.kernel.shape
    ((2, 4), (3, 4))
    """

    kernel: Variable | None
    bias: Variable | None

    def __init__(
        self,
        units: int,
        activation: str | Callable[[Any], Any] | None = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.units = whole("Dense: units", units, 1)
        self.activation = functional.activation(activation)
        self.use_bias = use_bias
        self.kernel_initializer = init.get(kernel_initializer)
        self.bias_initializer = init.get(bias_initializer)
        self.kernel = None
        self.bias = None

    def build(self, shape: Sequence[Any], dtype: Any) -> None:
        """Make the weights for inputs of this shape and dtype; called at the first call."""
        size = shape[-1]
        if not isinstance(size, int):
            raise ShapeError(f"{self.name}: the last axis must have a known size, got shape {tuple(shape)}")
        self.kernel = self.add_weight("kernel", (size, self.units), dtype, self.kernel_initializer)
        if self.use_bias:
            self.bias = self.add_weight("bias", (self.units,), dtype, self.bias_initializer)

    def __call__(self, x: Any) -> Tensor:
        (x,) = operands((x,), "float", "Dense")
        if not x.shape:
            raise ShapeError(f"{self.name}: takes at least one axis, got a scalar")
        if self.kernel is None:
            self.build(x.shape, x.dtype)
        assert self.kernel is not None
        wanted = self.kernel.shape[0]
        if isinstance(x.shape[-1], int) and x.shape[-1] != wanted:
            raise ShapeError(
                f"{self.name}: the last axis of the input has size {x.shape[-1]}, the layer was built for {wanted} "
                f"(input {tuple(x.shape)}, kernel {tuple(self.kernel.shape)})"
            )
        y = matmul(x, self.kernel)
        if self.bias is not None:
            y = y + self.bias
        result: Tensor = y if self.activation is None else call_user(self.activation, y)
        return result


class Activation(Layer):
    """An activation function as a layer, by name or as a function."""

    def __init__(self, activation: str | Callable[[Any], Any], name: str | None = None) -> None:
        super().__init__(name)
        self.activation = functional.activation(activation)

    def __call__(self, x: Any) -> Tensor:
        result: Tensor = as_tensor(x) if self.activation is None else call_user(self.activation, x)
        return result


class Flatten(Layer):
    """All axes but the first as one.

    >>> import treadle as td
    >>> td.nn.Flatten()(td.ones((2, 3, 4))).shape
    (2, 12)
    """

    def __call__(self, x: Any) -> Tensor:
        x = as_tensor(x)
        if not x.shape:
            raise ShapeError(f"{self.name}: takes at least one axis, got a scalar")
        rest = x.shape[1:]
        return reshape(x, (x.shape[0], math.prod(rest)))


class Reshape(Layer):
    """All axes but the first in another shape, in row-major order; one size may be -1 and is worked out.

    >>> import treadle as td
    >>> td.nn.Reshape((3, -1))(td.ones((2, 12))).shape
    (2, 3, 4)
    """

    def __init__(self, target_shape: Sequence[int], name: str | None = None) -> None:
        super().__init__(name)
        self.target_shape = tuple(target_shape)

    def __call__(self, x: Any) -> Tensor:
        x = as_tensor(x)
        if not x.shape:
            raise ShapeError(f"{self.name}: takes at least one axis, got a scalar")
        return reshape(x, (x.shape[0], *self.target_shape))


class Dropout(Layer):
    """While training, sets elements to 0 with probability `rate` and divides the rest by 1 - rate."""

    def __init__(self, rate: float, name: str | None = None) -> None:
        super().__init__(name)
        self.rate = share("Dropout: the rate", rate)

    def __call__(self, x: Any, training: bool = False) -> Tensor:
        return functional.dropout(x, self.rate, training)
