"""Activations and other functions without state: finite wherever the true value is, with the right gradients at 0."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from treadle import random
from treadle.core.arguments import share
from treadle.core.tensor import Tensor
from treadle.errors import ArgumentError
from treadle.nn import at_once
from treadle.ops.comparison import where
from treadle.ops.convert import operands
from treadle.ops.elementwise import abs, erfc, exp, expm1, log, logaddexp, sigmoid, stop_gradient, tanh
from treadle.ops.reductions import max, sum

Axis = int | tuple[int, ...]

# Klambauer et al., 2017: the fixed point of mean 0 and variance 1.
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def _float(x: Any, name: str) -> Tensor:
    return operands((x,), "real float", name)[0]


def relu(x: Any) -> Tensor:
    """max(x, 0); its gradient at 0 is 0, and a NaN stays one.

    >>> import treadle as td
    >>> td.nn.relu(td.asarray([-1.0, 0.0, 2.0])).tolist()
    [0.0, 0.0, 2.0]
    """
    found = at_once.relu(x)
    if found is not None:
        return found
    (x,) = operands((x,), "real", "relu")
    return where(x <= 0, 0, x)


def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """x where positive, else alpha * (exp(x) - 1)."""
    t = _float(x, "elu")
    below = where(t > 0, 0, t)  # keeps the overflow of the side not taken out of value and gradient
    return where(t > 0, t, alpha * expm1(below))


def selu(x: Any) -> Tensor:
    """elu, scaled so that layers keep mean 0 and variance 1 (Klambauer et al., 2017)."""
    return _SELU_SCALE * elu(x, _SELU_ALPHA)


def softplus(x: Any) -> Tensor:
    """log(1 + exp(x))."""
    return logaddexp(_float(x, "softplus"), 0.0)


def softsign(x: Any) -> Tensor:
    """x / (1 + |x|)."""
    t = _float(x, "softsign")
    return t / (1 + abs(t))


def swish(x: Any) -> Tensor:
    """x * sigmoid(x), also called silu."""
    t = _float(x, "swish")
    return t * sigmoid(t)


silu = swish


def gelu(x: Any, approximate: bool = False) -> Tensor:
    """x times the normal distribution function of x; `approximate` by tanh (Hendrycks and Gimpel, 2016)."""
    t = _float(x, "gelu")
    if approximate:
        return 0.5 * t * (1 + tanh(math.sqrt(2 / math.pi) * (t + 0.044715 * t * t * t)))
    return 0.5 * t * erfc(t * -math.sqrt(0.5))  # not 1 + erf, which loses all digits far below 0


def shift(x: Tensor, axis: Axis) -> Tensor:
    """x less its largest element along `axis`: softmax and its kin stay the same, and nothing overflows."""
    return x - stop_gradient(max(x, axis=axis, keepdims=True))


def softmax(x: Any, axis: Axis = -1) -> Tensor:
    """exp(x) over its sum along `axis`."""
    raised = exp(shift(_float(x, "softmax"), axis))
    return raised / sum(raised, axis=axis, keepdims=True)


def log_softmax(x: Any, axis: Axis = -1) -> Tensor:
    """log(softmax(x)), exact also where softmax rounds to 0."""
    shifted = shift(_float(x, "log_softmax"), axis)
    return shifted - log(sum(exp(shifted), axis=axis, keepdims=True))


def dropout(x: Any, rate: float, training: bool = True) -> Tensor:
    """Elements set to 0 with probability `rate`, the rest divided by 1 - rate; `x` itself unless `training`.

    Raises ArgumentError for a rate outside [0, 1).
    """
    rate = share("dropout: the rate", rate)
    t = _float(x, "dropout")
    if not training or rate == 0:
        return t
    return where(random.bernoulli(t.shape, 1.0 - rate), t / (1.0 - rate), 0)


ACTIVATIONS: dict[str, Callable[[Any], Tensor]] = {
    "relu": relu,
    "elu": elu,
    "selu": selu,
    "gelu": gelu,
    "softplus": softplus,
    "softsign": softsign,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "swish": swish,
    "silu": silu,
    "softmax": softmax,
    "log_softmax": log_softmax,
}


def activation(given: str | Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    """An activation by its name, or itself. Raises ValueError listing the names."""
    if given is None or callable(given):
        return given
    if given == "linear":
        return None
    found = ACTIVATIONS.get(given)
    if found is None:
        raise ArgumentError(f"there is no activation {given!r}; the names are linear, {', '.join(ACTIVATIONS)}")
    return found
