"""Python numbers beside tensors, as arrays of no axes.

NumPy takes such an array as it is; for a number it searches the common dtype anew each time, which costs as much again
as a small operation, and three times that for an int beside floats.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from treadle.core.dtypes import DType
from treadle.core.op import Array

_MOST = 1024  # numbers kept
_known: dict[tuple[Any, DType], Array] = {}
_zeros: dict[DType, Array] = {}


def as_operand(value: Any, dtype: DType) -> Any:
    """A Python number as a read-only 0-d array of this dtype, which is of its kind or a higher one.

    The number itself where it does not fit into the dtype: what that means is for NumPy to say.
    """
    found = _known.get((value, dtype)) if value else None
    return _make(value, dtype) if found is None else found


def _make(value: Any, dtype: DType) -> Any:
    """`as_operand` for a number that is not known yet, and for zeros: 0, 0.0 and -0.0 are equal."""
    plain_zero = not value and (type(value) is int or (type(value) is float and math.copysign(1.0, value) > 0))
    if plain_zero and dtype in _zeros:
        return _zeros[dtype]
    try:
        with np.errstate(all="ignore"):
            array = np.asarray(value, dtype)
    except OverflowError:
        return value
    if type(value) is not int and not np.isfinite(array) and math.isfinite(abs(value)):
        return value
    array.flags.writeable = False
    if plain_zero:
        _zeros[dtype] = array
    elif value:
        if len(_known) >= _MOST:
            _known.clear()
        _known[value, dtype] = array
    return array


__all__ = ["as_operand"]
