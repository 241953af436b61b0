"""Equality up to rounding: `isclose`, `allclose`, and `array_equal` without any."""

from __future__ import annotations

from typing import Any

import numpy as np

from treadle.core.tensor import Tensor
from treadle.ops.arithmetic import abs
from treadle.ops.comparison import isfinite, isnan
from treadle.ops.convert import as_tensor
from treadle.ops.creation import asarray
from treadle.ops.reductions import all


def isclose(x1: Any, x2: Any, /, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Whether |x1 - x2| <= atol + rtol * |x2|, element by element; equal infinities are close.

    >>> import treadle as td
    >>> td.isclose(td.asarray([1.0, 1.0]), td.asarray([1.000001, 1.1]))
    Tensor([ True, False], shape=(2,), dtype=bool)
    """
    a, b = as_tensor(x1), as_tensor(x2)
    with np.errstate(invalid="ignore", over="ignore"):  # infinities are looked at apart
        close = isfinite(a) & isfinite(b) & (abs(a - b) <= atol + rtol * abs(b)) | (a == b)
    return close | (isnan(a) & isnan(b)) if equal_nan else close


def allclose(x1: Any, x2: Any, /, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Whether all elements are close: a bool tensor of shape ()."""
    return all(isclose(x1, x2, rtol, atol, equal_nan))


def array_equal(x1: Any, x2: Any, /, equal_nan: bool = False) -> Tensor:
    """Whether two tensors have one shape and equal elements: a bool tensor of shape ()."""
    a, b = as_tensor(x1), as_tensor(x2)
    if a.shape != b.shape:
        return asarray(False)
    same = a == b
    return all(same | (isnan(a) & isnan(b)) if equal_nan else same)
