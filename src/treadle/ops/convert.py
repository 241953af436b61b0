"""From what users pass (tensors, variables, arrays, numbers, nested lists) to tensors of the dtype an op wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle.core.dim import Dim
from treadle.core.dtypes import DType, as_dtype, bool_, default_float, dtype_name, float64, promote, weak_dtype
from treadle.core.mode import current
from treadle.core.op import Op, register
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol, Tensor
from treadle.core.tracer import active_tracer, dim_value
from treadle.core.variable import Variable, _convert, read_variable
from treadle.errors import DeviceError, DTypeError

_SCALARS = (bool, int, float, complex, str)


def _cast_body(x: np.ndarray[Any, Any], *, dtype: DType, weak: bool = False) -> np.ndarray[Any, Any]:
    if x.dtype.kind in "biu" and dtype.kind in "iufc":
        return x.astype(dtype)  # nothing to warn of
    with np.errstate(all="ignore"):
        if dtype.kind == "b" and x.dtype.kind != "b":
            return np.asarray(x != 0)
        if x.dtype.kind == "c" and dtype.kind != "c":
            x = x.real
        return x.astype(dtype)


def _cast_vjp(g: Tensor, y: Tensor, x: Tensor, *, dtype: DType, weak: bool = False) -> Tensor | None:
    if dtype.kind not in "fc" or x.dtype.kind not in "fc":
        return None
    return cast(g, x.dtype)


astype_op = register(
    Op(
        "astype",
        _cast_body,
        lambda specs, attrs: (Spec(specs[0].shape, attrs["dtype"], attrs.get("weak", False)),),
        family="elementwise",
        vjp=_cast_vjp,
        scalar="{o}({0})",
    )
)


def cast(x: Tensor, dtype: DType) -> Tensor:
    """The tensor in another dtype; itself when it has it already (and is not weak)."""
    if type(x) is Tensor:
        if x.array.dtype == dtype:
            return x
        mode = current()
        if mode is None or mode.plain:
            result = Tensor(_cast_body(x.array, dtype=dtype))
            if mode is not None:
                mode.note(astype_op, (x,), {"dtype": dtype}, result)
            return result
    if x.dtype == dtype and not x.spec.weak:
        return x
    return astype_op.bind((x,), {"dtype": dtype})[0]


def as_tensor(value: Any, dtype: DType | None = None) -> Tensor:
    """A tensor from anything that users pass; never an alias of memory that a later write can reach.

    Python scalars become 0-d tensors of their weak dtype (weak symbols while tracing).
    """
    if isinstance(value, Tensor):
        return value if dtype is None else cast(value, dtype)
    if isinstance(value, Variable):
        return as_tensor(read_variable(value), dtype)
    if isinstance(value, _SCALARS) and not isinstance(value, np.generic):
        return scalar(value, dtype)
    if isinstance(value, Dim):
        return as_tensor(dim_value(value), dtype)
    if isinstance(value, np.ndarray):
        return as_tensor(_from_array(value), dtype)
    if isinstance(value, np.generic):
        return as_tensor(Tensor(np.asarray(value)), dtype)
    if isinstance(value, (list, tuple, range)):
        return _from_sequence(value, dtype)
    if hasattr(value, "__dlpack__"):
        return as_tensor(_from_array(np.from_dlpack(value)), dtype)
    if hasattr(value, "__array__"):
        return as_tensor(_from_array(np.asarray(value)), dtype)
    raise DTypeError(f"a {type(value).__name__} cannot become a tensor; give a number, a nested list or an array")


def scalar(value: Any, dtype: DType | None = None) -> Tensor:
    """A 0-d tensor of a Python scalar; a constant node while tracing."""
    if dtype is not None and type(value) in SCALARS:
        tracer = active_tracer()
        if tracer is not None:
            try:
                return tracer.number(value, dtype)
            except OverflowError:  # said in our words below
                pass
    kind = type(value) if type(value) in _SCALARS else next(k for k in _SCALARS if isinstance(value, k))
    try:
        array = np.asarray(kind(value), dtype or weak_dtype(kind))
    except OverflowError as error:
        raise DTypeError(
            f"the Python number {value} does not fit into {dtype_name(dtype or weak_dtype(kind))}"
        ) from error
    if current() is not None:
        tracer = active_tracer()
        if tracer is not None:
            return tracer.constant(array, weak=dtype is None)
    return Tensor(array)


def _from_array(array: np.ndarray[Any, Any]) -> Tensor:
    dtype = as_dtype(array.dtype)
    if array.dtype != dtype or type(array) is not np.ndarray:
        array = np.array(array, dtype=dtype, subok=False)
    elif (tracer := active_tracer()) is not None:
        return tracer.live(array)
    elif _writable(array):
        array = array.copy()
    return Tensor(array)


def _writable(array: np.ndarray[Any, Any]) -> bool:
    """Whether somebody may still write this memory: the array itself or one that it is a view of."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            return True
        base = base.base
    return base is not None


def _from_sequence(value: Sequence[Any], dtype: DType | None) -> Tensor:
    leaves = list(_leaves(value))
    if any(isinstance(leaf, (Tensor, Variable, Dim)) for leaf in leaves):
        from treadle.ops.shaping import stack  # shaping builds on this module

        parts = [as_tensor(item) for item in value]
        return as_tensor(stack(parts), dtype)
    if any(isinstance(leaf, (np.ndarray, np.generic)) for leaf in leaves):
        return as_tensor(_from_array(np.asarray(value)), dtype)
    kinds = {type(leaf) for leaf in leaves}
    for kind in kinds:
        if not issubclass(kind, _SCALARS):
            raise DTypeError(f"a list that holds a {kind.__name__} cannot become a tensor")
    if dtype is None:
        order = (str, complex, float, int, bool)
        kind = next((k for k in order if any(issubclass(t, k) and (t is not bool or k is bool) for t in kinds)), float)
        dtype = weak_dtype(kind)
    try:
        array = np.array(value, dtype=dtype)
    except ValueError as error:
        raise DTypeError(f"the nested list does not make an array: {error}") from error
    tracer = active_tracer()
    if tracer is not None and array.size <= 1024:
        return tracer.constant(array)
    return Tensor(array)


def _leaves(value: Any) -> Any:
    for item in value:
        if isinstance(item, (list, tuple)):
            yield from _leaves(item)
        else:
            yield item


def is_weak(value: Any) -> bool:
    """Whether a value counts by its kind alone in promotion: a Python scalar, or a traced one."""
    if isinstance(value, Symbol):
        return value.spec.weak
    return isinstance(value, (*_SCALARS, Dim)) and not isinstance(value, np.generic)


def common_dtype(values: Sequence[Any]) -> tuple[DType, bool]:
    """The dtype that operands are promoted to, and whether all of them are weak."""
    dtype: DType | None = None
    weak = True
    for value in values:
        w = is_weak(value)
        d = _dtype_of(value)
        dtype, weak = (d, w) if dtype is None else promote(dtype, d, weak, w)
    assert dtype is not None
    return dtype, weak


def _dtype_of(value: Any) -> DType:
    if isinstance(value, (Tensor, Variable)):
        return value.dtype
    if isinstance(value, Dim):
        return weak_dtype(int)
    if isinstance(value, np.generic):
        return as_dtype(value.dtype)
    return weak_dtype(next(k for k in _SCALARS if isinstance(value, k)))


# The kinds of dtypes that an op takes, by what it wants.
TAKES = {
    "any": "biufcT",
    "sum": "biufcT",
    "ordered": "biufT",
    "numeric": "biufc",
    "real": "biuf",
    "whole": "biuf",
    "float": "biufc",
    "real float": "biuf",
    "integer": "biu",
    "shift": "biu",
    "bool": "b",
    "truth": "biufc",
}

# Those of them that it leaves as they are.
AS_THEY_ARE = {
    "any": frozenset("biufc"),
    "sum": frozenset("iufc"),
    "ordered": frozenset("biuf"),
    "numeric": frozenset("iufc"),
    "real": frozenset("biuf"),
    "whole": frozenset("iuf"),
    "float": frozenset("fc"),
    "real float": frozenset("f"),
    "integer": frozenset("biu"),
    "shift": frozenset("iu"),
    "bool": frozenset("b"),
    "truth": frozenset("b"),
}


def _fit(values: Sequence[Any], kinds: frozenset[str]) -> bool:
    """Whether values, the first of them traced, are tensors of one dtype of these kinds already."""
    dtype = values[0].dtype
    for value in values:
        if type(value) is Symbol:
            if value._spec.weak or value._spec.dtype is not dtype:
                return False
        elif type(value) is not Tensor or value.array.dtype is not dtype:
            return False
    return dtype.kind in kinds


# A Python scalar leaves these kinds of tensors their dtype.
SCALARS = {int: frozenset("iufc"), float: frozenset("fc"), complex: frozenset("c")}


def _lends(x: Symbol, number: Any, kinds: frozenset[str]) -> bool:
    """Whether a traced tensor of these kinds lends its dtype to a Python number."""
    spec = x._spec
    return not spec.weak and spec.dtype.kind in kinds and spec.dtype.kind in SCALARS.get(type(number), ())


def traced_pair(x1: Any, x2: Any, kinds: frozenset[str]) -> tuple[Tensor, Tensor] | None:
    """Two operands, one of them traced, as tensors of one dtype of these kinds where that is plain to see."""
    if type(x1) is Symbol:
        spec = x1._spec
        dtype = spec.dtype
        if spec.weak or dtype.kind not in kinds:
            return None
        if type(x2) is Symbol:
            other = x2._spec
            return (x1, x2) if other.dtype is dtype and not other.weak else None
        if type(x2) is Tensor:
            return (x1, x2) if x2.array.dtype is dtype else None
        number = x2
    else:
        spec = x2._spec
        dtype = spec.dtype
        if spec.weak or dtype.kind not in kinds:
            return None
        if type(x1) is Tensor:
            return (x1, x2) if x1.array.dtype is dtype else None
        number = x1
    taken = SCALARS.get(type(number))
    if taken is None or dtype.kind not in taken:
        return None
    tracer = active_tracer()
    if tracer is None:
        return None
    try:
        made = tracer.number(number, dtype)
    except OverflowError:  # said in our words by who comes next
        return None
    return (x1, made) if number is x2 else (made, x2)


def operands(values: Sequence[Any], want: str, op: str) -> list[Tensor]:
    """Operands as tensors of one dtype, fit for an op.

    want: "any"; "sum" (any; bool becomes int64); "ordered" (not complex); "numeric" (bool becomes int64); "real"
    (numbers and bool, not complex); "whole" (so, and bool becomes int64); "float" (integers become the default float);
    "real float" (so, not complex); "integer" (bool or integer); "shift" (so, and
    bool becomes int64); "bool"; "truth" (numbers become `x != 0`).
    Raises DTypeError naming the op and the dtype.
    """
    if len(values) == 1:  # nothing to promote
        (only,) = values
        if type(only) is Tensor and only.array.dtype.kind in AS_THEY_ARE[want]:
            return [only]
    first = values[0]
    if type(first) is Symbol:
        if _fit(values, AS_THEY_ARE[want]):
            return list(values)
        if len(values) == 2 and _lends(first, values[1], AS_THEY_ARE[want]):
            return [first, scalar(values[1], first._spec.dtype)]
    elif len(values) == 2 and type(values[1]) is Symbol and _lends(values[1], first, AS_THEY_ARE[want]):
        return [scalar(first, values[1]._spec.dtype), values[1]]
    prepared = [v if isinstance(v, (Tensor, Variable)) or is_weak(v) else as_tensor(v) for v in values]
    if want == "truth":
        return [as_tensor(v, bool_) for v in prepared]
    dtype, weak = common_dtype(prepared)
    kind = dtype.kind
    if kind not in TAKES[want]:
        hint = "; compare with 0 first" if want == "bool" and kind != "T" else ""
        raise DTypeError(f"{op}: does not take {dtype_name(dtype)} tensors{hint}")
    if want in ("float", "real float") and kind in "biu":
        # A traced Python number is as exact as Python's own: 1 / k of a carried count k is a float64 until it settles.
        dtype = float64 if weak and active_tracer() is not None else default_float()
    elif want in ("numeric", "sum", "whole", "shift") and kind == "b":
        dtype = weak_dtype(int)
    if weak and active_tracer() is not None:
        return [_weak(v, dtype) for v in prepared]
    return [as_tensor(v, dtype) for v in prepared]


def _weak(value: Any, dtype: DType) -> Tensor:
    """A Python number, or a traced one, as one of this dtype, still weak: it has met no tensor."""
    tracer = active_tracer()
    if tracer is not None and isinstance(value, (bool, int, float, complex)) and dtype.kind in "fc":
        return tracer.constant(np.asarray(value, dtype), weak=True)  # as exact as Python's own
    x = as_tensor(value)
    return x if x.dtype == dtype else astype_op.bind((x,), {"dtype": dtype, "weak": True})[0]


def settled(value: Any) -> Tensor:
    """A tensor from anything; a traced Python number takes the dtype that it has when it meets no tensor."""
    x = as_tensor(value)
    if isinstance(x, Symbol) and x.spec.weak and x.dtype.kind in "fc":
        return cast(x, weak_dtype(float if x.dtype.kind == "f" else complex))
    return x


def check_device(device: Any) -> None:
    """Accept the one device there is, by name or as `td.device`. Raises DeviceError for another."""
    if device is not None and str(device) != "cpu":
        raise DeviceError(f'there is no device {str(device)!r}; treadle runs on "cpu"')


_convert.append(as_tensor)

__all__ = [
    "TAKES",
    "as_tensor",
    "astype_op",
    "bool_",
    "cast",
    "check_device",
    "common_dtype",
    "is_weak",
    "operands",
    "scalar",
    "settled",
]
