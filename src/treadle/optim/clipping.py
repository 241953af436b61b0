"""Gradients made shorter: `clip_by_global_norm` scales all alike, so that their direction stays."""

from __future__ import annotations

from typing import Any

from treadle import nest
from treadle.core.arguments import real
from treadle.core.dtypes import DType
from treadle.core.tensor import Tensor
from treadle.core.variable import Variable
from treadle.errors import GradientError
from treadle.ops.convert import as_tensor, cast
from treadle.ops.elementwise import abs as abs_
from treadle.ops.elementwise import isfinite, maximum, sqrt, square, where
from treadle.ops.reductions import sum as sum_


def global_norm(tensors: Any) -> Tensor:
    """sqrt of the sum of the squares of all elements of a nest of floating tensors; None among them counts as 0.

    0-d, of the widest of their real dtypes. Raises GradientError where there is no tensor at all.

    >>> import treadle as td
    >>> td.optim.global_norm([td.asarray([3.0, 0.0]), None, td.asarray(4.0)]).item()
    5.0
    """
    found = [as_tensor(x) for x in _leaves(tensors) if x is not None]
    if not found:
        raise GradientError("global_norm: there is no tensor to take the norm of")
    total: Any = None
    for x in found:
        part = sum_(square(abs_(x)))
        total = part if total is None else total + part
    return sqrt(total)


def clip_by_global_norm(tensors: Any, clip_norm: Any) -> tuple[Any, Tensor]:
    """The nest with each tensor times clip_norm / max(global norm, clip_norm), and the global norm before.

    clip_norm is 0 or more. Shapes and dtypes stay, None stays None. A norm that is NaN makes every result NaN; one
    that is infinite too, as
    no scale could be right (Pascanu, Mikolov and Bengio, 2013).

    >>> import treadle as td
    >>> clipped, norm = td.optim.clip_by_global_norm([td.asarray([3.0, 4.0])], 1.0)
    >>> print(clipped[0], norm)
    [0.6 0.8] 5.0
    """
    norm = global_norm(tensors)
    if not isinstance(clip_norm, (Tensor, Variable)):
        real("clip_by_global_norm: clip_norm", clip_norm, 0.0)
    limit = cast(as_tensor(clip_norm), norm.dtype)
    # A norm that is no number must not leave gradients that look sound.
    scale = where(isfinite(norm), limit / maximum(norm, limit), as_tensor(float("nan"), norm.dtype))
    scales: dict[DType, Tensor] = {}

    def clipped(x: Any) -> Any:
        if x is None:
            return None
        t = as_tensor(x)
        if t.dtype not in scales:
            scales[t.dtype] = cast(scale, t.dtype)
        return t * scales[t.dtype]

    return nest.map(clipped, tensors), norm


def _leaves(tensors: Any) -> list[Any]:
    leaves = nest.flatten(tensors)
    for x in leaves:
        if x is not None and not isinstance(x, (Tensor, Variable)) and not hasattr(x, "__array__"):
            raise GradientError(f"global_norm: takes tensors, got {type(x).__name__}")
    return leaves


__all__ = ["clip_by_global_norm", "global_norm"]
