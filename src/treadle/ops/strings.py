"""Strings: tensors of NumPy's variable-width string dtype, worked on by the host, also inside graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle.core.dtypes import dtype_name, int64, string
from treadle.core.op import Array, Attrs, Op
from treadle.core.spec import Spec, broadcast_shapes
from treadle.core.tensor import Tensor
from treadle.errors import DTypeError, ShapeError
from treadle.ops.convert import as_tensor
from treadle.ops.families import declare


def _strings(value: Any, op: str) -> Tensor:
    tensor = as_tensor(value)
    if tensor.dtype.kind != "T":
        raise DTypeError(f"strings.{op}: takes strings, got {dtype_name(tensor.dtype)}")
    return tensor


def _join_body(*parts: Array, separator: str) -> Array:
    joined = parts[0]
    for part in parts[1:]:
        joined = np.strings.add(np.strings.add(joined, separator), part)
    return np.asarray(joined, string)


def _join_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    return (Spec(broadcast_shapes(*[s.shape for s in specs], op="join"), string),)


join_op: Op = declare("join", _join_body, _join_infer, family="host")


def join(parts: Sequence[Any], separator: str = " ") -> Tensor:
    """String tensors put together element by element, with a separator between; shapes broadcast.

    >>> import treadle as td
    >>> td.strings.join(["hello", td.asarray("world")]).item()
    'hello world'
    """
    if not len(parts):
        raise ShapeError("strings.join: needs one part or more")
    tensors = tuple([_strings(part, "join") for part in parts])
    broadcast_shapes(*[part.shape for part in tensors], op="join")
    return join_op.bind(tensors, {"separator": str(separator)})[0]


def _same(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    return (Spec(specs[0].shape, string),)


upper_op: Op = declare("upper", np.strings.upper, _same, family="host")
lower_op: Op = declare("lower", np.strings.lower, _same, family="host")
strip_op: Op = declare("strip", np.strings.strip, _same, family="host")
length_op: Op = declare(
    "str_length",
    lambda x: np.strings.str_len(x).astype(np.int64),
    lambda specs, attrs: (Spec(specs[0].shape, int64),),
    family="host",
)


def upper(x: Any, /) -> Tensor:
    """Each string in capitals."""
    return upper_op.bind((_strings(x, "upper"),), {})[0]


def lower(x: Any, /) -> Tensor:
    """Each string in small letters."""
    return lower_op.bind((_strings(x, "lower"),), {})[0]


def strip(x: Any, /) -> Tensor:
    """Each string without white space at its ends."""
    return strip_op.bind((_strings(x, "strip"),), {})[0]


def length(x: Any, /) -> Tensor:
    """The number of characters of each string, as int64."""
    return length_op.bind((_strings(x, "length"),), {})[0]


__all__ = ["join", "length", "lower", "strip", "upper"]
