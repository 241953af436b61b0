"""A tensor in a few words: its spec, its values or their range; and tests for NaN and infinity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from treadle.core.graph import Node
from treadle.core.tensor import Tensor

_FEW = 6  # elements that are shown one by one


def summary(x: Tensor) -> str:
    """Spec, and values or their range; how many are NaN or infinite.

    >>> import treadle as td
    >>> td.debug.summary(td.asarray([1.0, 2.5]))
    'float32[2] [1.  2.5]'
    >>> td.debug.summary(td.arange(100, dtype=td.float32))
    'float32[100] 0 to 99, mean 49.5'
    """
    array = x.array
    if array.size <= _FEW:
        text = np.array2string(array, precision=6, threshold=_FEW).replace("\n", "")
        return f"{x.spec} {text}"
    if array.dtype.kind not in "biufc":
        return str(x.spec)
    if array.dtype.kind == "b":
        return f"{x.spec} {np.count_nonzero(array)} of {array.size} true"
    return f"{x.spec} {_range(array)}{bad(array)}"


def _range(array: np.ndarray[Any, Any]) -> str:
    """From the smallest to the largest finite value, and their mean; for complex numbers, of the modulus."""
    what = ""
    if array.dtype.kind == "c":
        array, what = np.abs(array), "modulus "
    finite = array[np.isfinite(array)]
    if not finite.size:
        return "no finite value"
    return f"{what}{finite.min():.6g} to {finite.max():.6g}, mean {finite.mean(dtype=np.float64):.6g}"


def bad(array: np.ndarray[Any, Any]) -> str:
    """ ", 2 NaN, 1 infinite", of which only what there is; empty where all is finite."""
    if array.dtype.kind not in "fc":
        return ""
    parts = [("NaN", np.count_nonzero(np.isnan(array))), ("infinite", np.count_nonzero(np.isinf(array)))]
    return "".join([f", {count} {name}" for name, count in parts if count])


def has_nan(node: Node, values: Mapping[str, Tensor]) -> bool:
    """Whether a node made a NaN: for `Stepper.until`."""
    return any(np.isnan(a).any() for a in _made(node, values))


def has_inf(node: Node, values: Mapping[str, Tensor]) -> bool:
    """Whether a node made an infinity: for `Stepper.until`."""
    return any(np.isinf(a).any() for a in _made(node, values))


def _made(node: Node, values: Mapping[str, Tensor]) -> list[np.ndarray[Any, Any]]:
    return [values[s.name].array for s in node.outputs if s.dtype.kind in "fc"]


__all__ = ["bad", "has_inf", "has_nan", "summary"]
