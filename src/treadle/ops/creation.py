"""Tensors from nothing or from Python data: `asarray`, constants, ranges; devices."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Any

import numpy as np

from treadle.core.arguments import whole
from treadle.core.dim import Dim, Size
from treadle.core.dtypes import DType, as_dtype, default_float, int64, weak_dtype
from treadle.core.mode import current
from treadle.core.op import Attrs, Op, register
from treadle.core.spec import Shape, Spec
from treadle.core.tensor import Symbol, Tensor
from treadle.core.variable import Variable
from treadle.errors import ArgumentError, DeviceError, DTypeError, ShapeError
from treadle.ops.comparison import where
from treadle.ops.convert import as_tensor, cast, check_device
from treadle.ops.convert import scalar as _scalar

Array = np.ndarray[Any, Any]
_PYTHON = (bool, int, float, complex, str)


def asarray(obj: Any, /, dtype: Any = None, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor from a number, a nested list, an array, a tensor or a variable.

    Python floats become the default float, Python ints int64; arrays keep their dtype. Nothing is copied that need not
    be, and memory that somebody can still write is never shared. Raises DTypeError for what is no tensor, ValueError
    for `copy=False` where a copy is needed.

    >>> import treadle as td
    >>> td.asarray([[1, 2], [3, 4]], dtype=td.float32)
    Tensor([[1., 2.], [3., 4.]], shape=(2, 2), dtype=float32)
    """
    check_device(device)
    wanted = None if dtype is None else as_dtype(dtype)
    if isinstance(obj, _PYTHON) and not isinstance(obj, np.generic):
        return _scalar(obj, wanted or weak_dtype(next(k for k in _PYTHON if isinstance(obj, k))))
    result = as_tensor(obj, wanted)
    if isinstance(result, Symbol):
        return cast(result, result.dtype)  # a weak number is weak no longer
    if copy is False and isinstance(obj, np.ndarray) and not np.may_share_memory(result.array, obj):
        raise ValueError("asarray: a copy is needed (the array can be written, or has another dtype), but copy=False")
    return result


tensor = asarray


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor from anything that has `__dlpack__`: an array of PyTorch, JAX, NumPy, ... in the CPU's memory."""
    return asarray(np.from_dlpack(x), device=device, copy=copy)


def sizes(shape: Any) -> Shape:
    """A shape as users write it: an int, a sequence, an integer tensor of one axis."""
    from treadle.ops.shaping import as_sizes  # shaping builds on modules that build on this one

    found = as_sizes(shape)
    total = 1
    for size in found:
        if not isinstance(size, Dim):
            total *= max(size, 1)
            if size < 0:
                raise ShapeError(f"a shape has no negative sizes, got {shape!r}")
    if total >= 1 << 60:
        raise ShapeError(f"the shape {shape!r} has more elements than memory can hold")
    return found


def _full_body(*, value: Any, shape: tuple[int, ...], dtype: DType) -> Array:
    return np.full(shape, value, dtype)


def _created(specs: Any, attrs: Attrs) -> tuple[Spec, ...]:
    return (Spec(attrs["shape"], attrs["dtype"]),)


full_op = register(Op("full", _full_body, _created, family="creation"))


def full(shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of one value; its dtype is that of the value unless given."""
    check_device(device)
    found = sizes(shape)
    if isinstance(fill_value, _PYTHON) and not isinstance(fill_value, np.generic):
        kind = next(k for k in _PYTHON if isinstance(fill_value, k))
        wanted = as_dtype(dtype) if dtype is not None else weak_dtype(kind)
        return full_op.bind(
            (),
            {
                "value": kind(fill_value),  # type: ignore[arg-type]
                "shape": found,
                "dtype": wanted,
            },
        )[0]
    from treadle.ops.shaping import broadcast_to

    return broadcast_to(asarray(fill_value, dtype), found)


def _number(dtype: Any) -> DType:
    return default_float() if dtype is None else as_dtype(dtype)


def zeros(shape: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of zeros, of the default float unless `dtype` says another."""
    check_device(device)
    wanted = _number(dtype)
    if current() is None and wanted.kind != "T":
        return Tensor(np.zeros(sizes(shape), wanted))  # sizes are ints here
    value = "" if wanted.kind == "T" else 0
    return full_op.bind((), {"value": value, "shape": sizes(shape), "dtype": wanted})[0]


def ones(shape: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of ones, of the default float unless `dtype` says another.

    >>> import treadle as td
    >>> td.ones((2, 2))
    Tensor([[1., 1.], [1., 1.]], shape=(2, 2), dtype=float32)
    """
    check_device(device)
    wanted = _number(dtype)
    if current() is None and wanted.kind != "T":
        array = np.empty(sizes(shape), wanted)  # sizes are ints here
        array.fill(1)
        return Tensor(array)
    return full_op.bind((), {"value": 1, "shape": sizes(shape), "dtype": wanted})[0]


def empty(shape: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor whose values nobody needs: zeros, as tensors cannot be written."""
    return zeros(shape, dtype=dtype, device=device)


def _like(x: Any, dtype: Any) -> tuple[Shape, DType]:
    if not isinstance(x, (Tensor, Variable)):
        x = as_tensor(x)
    return x.shape, x.dtype if dtype is None else as_dtype(dtype)


def zeros_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Zeros of the shape and (unless given) the dtype of `x`."""
    shape, wanted = _like(x, dtype)
    return zeros(shape, dtype=wanted, device=device)


def ones_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones of the shape and (unless given) the dtype of `x`."""
    shape, wanted = _like(x, dtype)
    return ones(shape, dtype=wanted, device=device)


def empty_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of the shape and (unless given) the dtype of `x` whose values nobody needs: zeros."""
    return zeros_like(x, dtype=dtype, device=device)


def full_like(x: Any, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of one value, of the shape and (unless given) the dtype of `x`."""
    shape, wanted = _like(x, dtype)
    return full(shape, fill_value, dtype=wanted, device=device)


def _arange_body(*, start: Any, step: Any, shape: tuple[int, ...], dtype: DType) -> Array:
    if dtype.kind in "iu":
        return np.asarray(start + step * np.arange(shape[0]), dtype)
    return np.asarray(start + step * np.arange(shape[0], dtype=np.float64), dtype)


arange_op = register(Op("arange", _arange_body, _created, family="creation"))


def arange(start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Numbers from `start` (0 when only `stop` is given) up to `stop`, which is left out, in steps of `step`.

    Integers give int64, floats the default float. Bounds may be symbolic sizes (with a step of 1), not traced tensors:
    a shape cannot depend on values.

    >>> import treadle as td
    >>> td.arange(3)
    Tensor([0, 1, 2], shape=(3,), dtype=int64)
    """
    check_device(device)
    if stop is None:
        start, stop = 0, start
    start, stop, step = (_static_number("arange", value) for value in (start, stop, step))
    count: Size
    if isinstance(start, Dim) or isinstance(stop, Dim):
        if step != 1:
            raise ShapeError(f"arange: symbolic bounds {start} to {stop} need a step of 1, got {step}")
        count = stop - start
    else:
        if step == 0:
            raise ShapeError("arange: the step is 0")
        count = sizes(max(0, math.ceil((stop - start) / step)))[0]
    whole = all(isinstance(value, (int, Dim)) for value in (start, stop, step))
    wanted = as_dtype(dtype) if dtype is not None else (int64 if whole else default_float())
    return arange_op.bind((), {"start": start, "step": step, "shape": (count,), "dtype": wanted})[0]


def _static_number(name: str, value: Any) -> Any:
    """A number that decides a shape: a Python number, a size, or a tensor that has a value now."""
    if isinstance(value, (Tensor, Variable, np.generic, np.ndarray)):
        value = as_tensor(value).item()  # type: ignore[attr-defined,unused-ignore]
    if isinstance(value, float) and not math.isfinite(value):
        raise ArgumentError(f"{name}: takes finite numbers, got {value}")
    if isinstance(value, (int, float, Dim)):
        return value
    raise DTypeError(f"{name}: takes real numbers, got {type(value).__name__}")


def _linspace_body(*, start: float, stop: float, endpoint: bool, shape: tuple[int, ...], dtype: DType) -> Array:
    return np.linspace(start, stop, shape[0], endpoint=endpoint).astype(dtype)


linspace_op = register(Op("linspace", _linspace_body, _created, family="creation"))


def linspace(
    start: Any, stop: Any, /, num: Size, *, dtype: Any = None, device: Any = None, endpoint: bool = True
) -> Tensor:
    """`num` evenly spaced numbers from `start` to `stop`, which is the last one unless `endpoint` is False.

    Bounds may be 0-d tensors; gradients flow to them.
    """
    check_device(device)
    wanted = None if dtype is None else as_dtype(dtype)
    if not isinstance(num, Dim):
        num = whole("linspace: num", num, 0)
    if isinstance(start, (int, float)) and isinstance(stop, (int, float)):
        attrs = {"start": float(start), "stop": float(stop), "endpoint": bool(endpoint)}
        return linspace_op.bind((), attrs | {"shape": sizes(num), "dtype": wanted or default_float()})[0]
    steps = num - 1 if endpoint else num
    first, last = asarray(start), asarray(stop)
    position = arange(num, dtype=default_float())
    share = position / steps
    result = first + (last - first) * share
    if endpoint:
        result = where(position == steps, last, result)  # not off by a rounding
    return result if wanted is None else cast(result, wanted)


def _eye_body(*, shape: tuple[int, ...], k: int, dtype: DType) -> Array:
    return np.eye(shape[0], shape[1], k, dtype=dtype)


eye_op = register(Op("eye", _eye_body, _created, family="creation"))


def eye(n_rows: Size, n_cols: Size | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones on the k-th diagonal of a matrix, zeros elsewhere."""
    check_device(device)
    shape = sizes((n_rows, n_rows if n_cols is None else n_cols))
    return eye_op.bind((), {"shape": shape, "k": whole("eye: k", k), "dtype": _number(dtype)})[0]


class device:
    """The place where tensors live: `td.device("cpu")`, the only one; also a context manager that changes nothing.

    Raises DeviceError for any other.

    >>> import treadle as td
    >>> td.device("cpu")
    device('cpu')
    """

    __slots__ = ("name",)

    def __init__(self, name: Any) -> None:
        text = str(name)
        if text.lower().lstrip("/") not in ("cpu", "cpu:0"):
            raise DeviceError(f'there is no device {text!r}; treadle runs on "cpu"')
        self.name = "cpu"

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"device({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return str(other) == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __enter__(self) -> device:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        return None
