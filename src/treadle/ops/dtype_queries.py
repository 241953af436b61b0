"""Questions about dtypes under the names of the Array API standard: `finfo`, `isdtype`, `result_type`, ..."""

from __future__ import annotations

from typing import Any

import numpy as np

from treadle.core.dtypes import ALL, DType, as_dtype, promote, weak_dtype
from treadle.core.tensor import Symbol, Tensor
from treadle.core.variable import Variable
from treadle.errors import DTypeError
from treadle.ops.convert import as_tensor, common_dtype, is_weak

_KINDS = {
    "bool": "b",
    "signed integer": "i",
    "unsigned integer": "u",
    "integral": "iu",
    "real floating": "f",
    "complex floating": "c",
    "numeric": "iufc",
}


def _dtype(value: Any) -> DType:
    return value.dtype if isinstance(value, (Tensor, Variable, np.ndarray)) else as_dtype(value)


def finfo(type: Any, /) -> Any:
    """Bits, eps, greatest and smallest numbers of a floating dtype, as NumPy's record."""
    return np.finfo(_dtype(type))


def iinfo(type: Any, /) -> Any:
    """Bits, greatest and least numbers of an integer dtype, as NumPy's record."""
    return np.iinfo(_dtype(type))


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a dtype is of a kind ("integral", "real floating", ...), is a given dtype, or one of a tuple of these.

    >>> import treadle as td
    >>> td.isdtype(td.int32, ("integral", td.float32))
    True
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, one) for one in kind)
    if isinstance(kind, str) and kind in _KINDS:
        return as_dtype(dtype).kind in _KINDS[kind]
    return as_dtype(dtype) == as_dtype(kind)


def can_cast(from_: Any, to: Any, /) -> bool:
    """Whether promotion may turn the first dtype (or a tensor's) into the second."""
    wanted = as_dtype(to)
    try:
        return promote(_dtype(from_), wanted)[0] == wanted
    except DTypeError:
        return False


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The dtype that tensors, dtypes and Python numbers are promoted to together."""
    values = []
    for value in arrays_and_dtypes:
        if isinstance(value, (Tensor, Variable)) or is_weak(value):
            values.append(value)
        elif isinstance(value, (np.ndarray, np.generic, list, tuple)):
            values.append(as_tensor(value))
        else:
            values.append(Tensor(np.zeros((), as_dtype(value))))
    return common_dtype(values)[0]


def is_traced(x: Any, /) -> bool:
    """Whether this is a tensor that stands for a value while a function is traced."""
    return isinstance(x, Symbol)


class __array_namespace_info__:
    """What the Array API standard lets a library say of itself: its one device, its dtypes, its defaults."""

    def capabilities(self) -> dict[str, Any]:
        """Boolean masks and shapes that depend on values work eagerly; arrays have up to 64 axes."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> str:
        """The CPU."""
        return "cpu"

    def devices(self) -> list[str]:
        """The CPU."""
        return ["cpu"]

    def default_dtypes(self, *, device: Any = None) -> dict[str, DType]:
        """The dtypes of Python numbers and of indices."""
        kinds = {"real floating": float, "complex floating": complex, "integral": int}
        return {name: weak_dtype(kind) for name, kind in kinds.items()} | {"indexing": weak_dtype(int)}

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, DType]:
        """The dtypes of a kind, by name; strings are not among them, as the standard has none."""
        return {n: d for n, d in ALL.items() if d.kind != "T" and (kind is None or isdtype(d, kind))}
