"""`relu` in eager code: one op and its gradient instead of two. Traced code takes small ones, which fuse."""

from __future__ import annotations

from typing import Any

import numpy as np

from treadle.core.mode import current
from treadle.core.op import Array, Op
from treadle.core.tensor import Tensor
from treadle.ops.comparison import where
from treadle.ops.convert import AS_THEY_ARE
from treadle.ops.families import NO_ATTRS
from treadle.ops.numbers import as_operand
from treadle.ops.select import choose

_KINDS = AS_THEY_ARE["real"] - {"b"}


def _body(x: Array) -> Array:
    """max(x, 0), which is 0.0 for -0.0, as `where(x <= 0, 0, x)` has it."""
    zero = as_operand(0, x.dtype)
    return np.asarray(np.maximum(x, zero) + zero)


def _vjp(g: Tensor, y: Tensor, x: Tensor) -> Tensor:
    if type(g) is Tensor and current() is None:
        return Tensor(choose(np.not_equal(y.array, as_operand(0, y.array.dtype)), g.array, 0))
    return where(y != 0, g, 0)


_relu_op = Op("relu", _body, lambda specs, attrs: (specs[0],), family="host", vjp=(_vjp,))


def relu(x: Any) -> Tensor | None:
    """max(x, 0); None where it must be done step by step: while tracing, and in a mode that wants to see each step."""
    if type(x) is not Tensor or x.array.dtype.kind not in _KINDS:
        return None
    mode = current()
    if mode is not None and not mode.plain:
        return None
    result = Tensor(_body(x.array))
    if mode is not None:
        mode.note(_relu_op, (x,), NO_ATTRS, result)
    return result
