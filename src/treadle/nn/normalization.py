"""Normalisation: of each row (LayerNorm), and of each channel over the batch (BatchNorm)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle.core.arguments import real
from treadle.core.tensor import Tensor
from treadle.core.variable import Variable
from treadle.errors import ShapeError
from treadle.nn.layers import Layer
from treadle.ops.arithmetic import rsqrt
from treadle.ops.convert import operands
from treadle.ops.elementwise import stop_gradient
from treadle.ops.reductions import mean, var


def layer_norm(x: Any, gamma: Any = None, beta: Any = None, epsilon: float = 1e-3) -> Tensor:
    """`(x - mean) / sqrt(variance + epsilon) * gamma + beta` over the last axis (Ba et al., 2016).

    >>> import treadle as td
    >>> td.nn.layer_norm(td.asarray([[1.0, 3.0]]), epsilon=0.0).tolist()
    [[-1.0, 1.0]]
    """
    (t,) = operands((x,), "real float", "layer_norm")
    real("layer_norm: epsilon", epsilon, 0.0)
    y = (t - mean(t, axis=-1, keepdims=True)) * rsqrt(var(t, axis=-1, keepdims=True) + epsilon)
    y = y if gamma is None else y * gamma
    return y if beta is None else y + beta


def _channels(layer: Layer, shape: Sequence[Any]) -> int:
    if not shape or not isinstance(shape[-1], int):
        raise ShapeError(f"{layer.name}: the last axis must have a known size, got shape {tuple(shape)}")
    return shape[-1]


class LayerNorm(Layer):
    """Each row (the last axis) with mean 0 and variance 1, then scaled by `gamma` and shifted by `beta`.

    epsilon: added to the variance. center, scale: whether there are `beta` and `gamma`, one number a channel.

    >>> import treadle as td
    >>> td.nn.LayerNorm()(td.ones((2, 4))).tolist()[0]
    [0.0, 0.0, 0.0, 0.0]
    """

    gamma: Variable | None
    beta: Variable | None

    def __init__(self, epsilon: float = 1e-3, center: bool = True, scale: bool = True, name: str | None = None) -> None:
        super().__init__(name)
        self.epsilon, self.center, self.scale = real("LayerNorm: epsilon", epsilon, 0.0), center, scale
        self.gamma = None
        self.beta = None

    def build(self, shape: Sequence[Any], dtype: Any) -> None:
        """Make the weights for inputs of this shape and dtype; called at the first call."""
        size = _channels(self, shape)
        if self.scale:
            self.gamma = self.add_weight("gamma", (size,), dtype, "ones")
        if self.center:
            self.beta = self.add_weight("beta", (size,), dtype, "zeros")

    def __call__(self, x: Any) -> Tensor:
        (x,) = operands((x,), "real float", "LayerNorm")
        if self.gamma is None and self.beta is None and (self.scale or self.center):
            self.build(x.shape, x.dtype)
        return layer_norm(x, self.gamma, self.beta, self.epsilon)


class BatchNorm(Layer):
    """Each channel (the last axis) with mean 0 and variance 1 over all others (Ioffe and Szegedy, 2015).

    While training the batch's own mean and variance are used, and `moving_mean` and `moving_variance` go a step
    of 1 - momentum towards them; otherwise those are used. epsilon is added to the variance.
    Weights, one number a channel: `gamma`, `beta`, and the two moving ones, which are not trained.
    """

    gamma: Variable | None
    beta: Variable | None
    moving_mean: Variable | None
    moving_variance: Variable | None

    def __init__(
        self,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.momentum = real("BatchNorm: momentum", momentum, 0.0, 1.0)
        self.epsilon, self.center, self.scale = real("BatchNorm: epsilon", epsilon, 0.0), center, scale
        self.gamma = None
        self.beta = None
        self.moving_mean = None
        self.moving_variance = None

    def build(self, shape: Sequence[Any], dtype: Any) -> None:
        """Make the weights for inputs of this shape and dtype; called at the first call."""
        size = (_channels(self, shape),)
        if self.scale:
            self.gamma = self.add_weight("gamma", size, dtype, "ones")
        if self.center:
            self.beta = self.add_weight("beta", size, dtype, "zeros")
        self.moving_mean = self.add_weight("moving_mean", size, dtype, "zeros", trainable=False)
        self.moving_variance = self.add_weight("moving_variance", size, dtype, "ones", trainable=False)

    def __call__(self, x: Any, training: bool = False) -> Tensor:
        (x,) = operands((x,), "real float", "BatchNorm")
        if self.moving_mean is None:
            self.build(x.shape, x.dtype)
        assert self.moving_mean is not None
        assert self.moving_variance is not None
        center: Any
        spread: Any
        if training:
            axes = tuple(range(x.ndim - 1))
            center, spread = mean(x, axis=axes), var(x, axis=axes)
            for moving, now in ((self.moving_mean, center), (self.moving_variance, spread)):
                moving.assign_sub((moving.value - stop_gradient(now)) * (1 - self.momentum))
        else:
            center, spread = self.moving_mean.value, self.moving_variance.value
        factor = rsqrt(spread + self.epsilon)
        y: Tensor = (x - center) * (factor if self.gamma is None else factor * self.gamma)
        return y if self.beta is None else y + self.beta


__all__ = ["BatchNorm", "LayerNorm", "layer_norm"]
