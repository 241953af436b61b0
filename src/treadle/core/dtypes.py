"""Dtypes, the default float, and the promotion rules, which are the same eagerly and traced.

The Array API table, with two additions: bool with a number gives the number's dtype, an integer with a float gives
the float's dtype. A Python scalar is weak: it takes the tensor's dtype when that is of the same or a higher kind.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from treadle.core import changes
from treadle.errors import DTypeError

DType = np.dtype[Any]

bool_ = np.dtype(np.bool_)
int8, int16, int32, int64 = (np.dtype(t) for t in (np.int8, np.int16, np.int32, np.int64))
uint8, uint16, uint32, uint64 = (np.dtype(t) for t in (np.uint8, np.uint16, np.uint32, np.uint64))
float32, float64 = np.dtype(np.float32), np.dtype(np.float64)
complex64, complex128 = np.dtype(np.complex64), np.dtype(np.complex128)
string: DType = np.dtypes.StringDType()

ALL: dict[str, DType] = {
    str(d): d
    for d in (
        *(bool_, int8, int16, int32, int64, uint8, uint16, uint32, uint64),
        *(float32, float64, complex64, complex128),
    )
} | {"string": string}

# What names a dtype whatever the default float is.
_KNOWN: dict[Any, DType] = {
    **ALL,
    **{d: d for d in ALL.values()},
    **{d.type: d for d in ALL.values() if d is not string},
    **{bool: bool_, int: int64},
}

_KIND = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3, "T": 4}


class _Defaults:
    """The one piece of state here: the default float, set by `td.set_default_dtype`."""

    floating: DType = float32


def default_float() -> DType:
    """The dtype of Python floats, and of integers that must become floats."""
    return _Defaults.floating


def set_default_dtype(dtype: Any) -> None:
    """Make float32 or float64 the default float."""
    wanted = as_dtype(dtype)
    if wanted not in (float32, float64):
        raise DTypeError(f"set_default_dtype: the default must be float32 or float64, got {dtype_name(wanted)}")
    _Defaults.floating = wanted
    changes.note()


def as_dtype(dtype: Any) -> DType:
    """A treadle dtype from a NumPy dtype or type, a Python type, or a name.

    Raises DTypeError for a dtype that treadle does not have (float16, object, ...).
    """
    if dtype.__hash__ is not None and dtype in _KNOWN:
        return _KNOWN[dtype]
    if dtype is float:
        return default_float()
    if dtype is str or (isinstance(dtype, str) and dtype == "string"):
        return string
    if dtype is complex:
        return complex64 if default_float() == float32 else complex128
    try:
        found = np.dtype(dtype)
    except TypeError as error:
        raise DTypeError(f"{dtype!r} is not a dtype; use one of {', '.join(ALL)}") from error
    if found.kind in "UT":
        return string
    known = ALL.get(found.newbyteorder("=").name)
    if known is None:
        raise DTypeError(f"dtype {found} is not supported; use one of {', '.join(ALL)}")
    return known


def dtype_name(dtype: DType) -> str:
    """The name that reprs and messages use."""
    known = _NAMES.get(dtype)
    if known is None:  # NumPy takes two microseconds to say it
        known = _NAMES[dtype] = "string" if dtype.kind == "T" else dtype.name
    return known


_NAMES: dict[DType, str] = {}


def is_float(dtype: DType) -> bool:
    """Whether the dtype is floating or complex: whether a gradient can flow."""
    return dtype.kind in "fc"


def weak_dtype(kind: type) -> DType:
    """The dtype of a Python scalar that meets no tensor."""
    if kind is bool:
        return bool_
    if kind is int:
        return int64
    if kind is float:
        return default_float()
    if kind is complex:
        return complex64 if default_float() == float32 else complex128
    return string


@lru_cache(maxsize=4096)
def _promote(a: DType, b: DType) -> DType:
    if a == b:
        return a
    rank_a, rank_b = _KIND[a.kind], _KIND[b.kind]
    if 4 in (rank_a, rank_b):
        raise DTypeError(f"{dtype_name(a)} and {dtype_name(b)} cannot be combined; convert one with td.astype")
    if rank_a == rank_b:
        both = np.promote_types(a, b)
        if both.kind == "f" and rank_a == 1:
            raise DTypeError("uint64 and a signed integer have no common integer dtype; convert one with td.astype")
        return both
    low, high = (a, b) if rank_a < rank_b else (b, a)
    if high.kind == "c" and low.kind == "f":
        return np.promote_types(low, high)
    return high


@lru_cache(maxsize=4096)
def _promote_weak(strong: DType, weak: DType, default: DType) -> DType:
    """A tensor's dtype meets a Python scalar, whose kind alone counts."""
    rank_s, rank_w = _KIND[strong.kind], _KIND[weak.kind]
    if rank_w <= rank_s and not (4 in (rank_s, rank_w) and rank_s != rank_w):
        return strong
    if rank_w == 4 or rank_s == 4:
        raise DTypeError(f"{dtype_name(strong)} and {dtype_name(weak)} cannot be combined; convert one with td.astype")
    if rank_w == 1:
        return int64
    if rank_w == 2:
        return default
    if strong.kind == "f":
        return complex64 if strong == float32 else complex128
    return complex64 if default == float32 else complex128


def promote(a: DType, b: DType, weak_a: bool = False, weak_b: bool = False) -> tuple[DType, bool]:
    """The common dtype of two operands, and whether it is still weak (both were)."""
    if weak_a == weak_b:
        return _promote(a, b), weak_a
    if weak_a:
        a, b = b, a
    return _promote_weak(a, b, _Defaults.floating), False
