"""The operators and methods of `Tensor` and `Variable`, installed when treadle is imported.

An operator is the public function itself, so that `x + y` costs one Python frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from treadle.core.dim import Dim
from treadle.core.dtypes import dtype_name, int64
from treadle.core.tensor import Symbol, Tensor, no_value
from treadle.core.variable import Variable, read_variable
from treadle.errors import ShapeError, TraceError
from treadle.ops import elementwise as ew
from treadle.ops import linalg, numpy_protocol, reductions, shaping
from treadle.ops.convert import as_tensor
from treadle.ops.display import tensor_format, tensor_html, tensor_repr, tensor_str
from treadle.ops.indexing import getitem

Array = np.ndarray[Any, Any]
_COMPARABLE = (Tensor, Variable, bool, int, float, complex, str, np.ndarray, np.generic, Dim, list, tuple)


def _reflected(function: Any) -> Any:
    def method(self: Any, other: Any) -> Tensor:
        result: Tensor = function(other, self)
        return result

    return method


def _at(x: Any) -> Any:
    """Functional updates: `x.at[index].set(value)`."""
    from treadle.ops.updates import at  # imported when first used: `import treadle` stays light

    return at(x)


def _cumsum(x: Any, axis: int | None = None, *, dtype: Any = None, reverse: bool = False) -> Tensor:
    """Running sums along an axis."""
    from treadle.ops.cumulative import cumsum

    return cumsum(x, axis, dtype=dtype, reverse=reverse)


def _equal(self: Any, other: Any) -> Any:
    """Element by element; what no tensor can be made of is unequal."""
    return ew.equal(self, other) if isinstance(other, _COMPARABLE) else NotImplemented


def _not_equal(self: Any, other: Any) -> Any:
    return ew.not_equal(self, other) if isinstance(other, _COMPARABLE) else NotImplemented


# -- values ----------------------------------------------------------------------------------------------------


def _numpy(self: Tensor) -> Array:
    """The values as a read-only NumPy array; nothing is copied."""
    if isinstance(self, Symbol):
        raise no_value(self, ".numpy() was called")
    view = self.array.view()
    view.flags.writeable = False
    return view


def _array(self: Tensor, dtype: Any = None, copy: bool | None = None) -> Array:
    if isinstance(self, Symbol):
        raise no_value(
            self,
            "NumPy asked for its values (np.array, np.asarray, an assignment into an array; "
            "td.asarray, td.stack and .at do these)",
        )
    array = _numpy(self)
    if dtype is not None and np.dtype(dtype) != array.dtype:
        if copy is False:
            raise ValueError(f"{dtype_name(array.dtype)} cannot become {np.dtype(dtype)} without a copy")
        return array.astype(dtype)
    return array.copy() if copy else array


def _single(self: Tensor, wish: str) -> Any:
    """The one element as a Python value."""
    if isinstance(self, Symbol):
        raise no_value(self, wish)
    if self.array.size != 1:
        raise ShapeError(f"{wish.split()[0]} wants one element, the tensor has shape {self.shape}")
    return self.array.item()


def _bool(self: Tensor) -> bool:
    if isinstance(self, Symbol):
        raise no_value(
            self,
            "bool() was asked whether it is true (`if`, `while`, `and`, `or`, `not`, `assert`, `in`). Tracing converts "
            "these in functions whose source it finds; here it found none, or the code is not converted "
            "(td.autograph.convert marks it, autograph=False turns it off). td.cond, td.while_loop and td.where "
            "work anywhere; so it stopped",
        )
    if self.array.size != 1:
        raise ShapeError(f"bool() of a tensor of shape {self.shape} is ambiguous; say td.any(x) or td.all(x)")
    return bool(self.array.item())


def _int(self: Tensor) -> int:
    return int(_single(self, "int() was called (sizes and counts of Python must be known; use td.range and td ops)"))


def _float(self: Tensor) -> float:
    wish = (
        "float() was called (by math.sqrt and its kin: td.sqrt and its kin work; by array[i] = x: use td.stack or .at)"
    )
    return float(_single(self, wish))


def _complex(self: Tensor) -> complex:
    return complex(_single(self, "complex() was called"))


def _index(self: Tensor) -> int:
    if self.dtype.kind not in "iu" or self.ndim != 0:
        raise TypeError(f"only integer tensors of shape () are indices, this one is {self.spec}")
    return int(_single(self, "index() was called (a Python range, list index or size; use td.range, td.take or x[i])"))


def _item(self: Tensor) -> Any:
    """The one element as a Python value. Raises ShapeError when there are more."""
    return _single(self, "item() was called")


def _tolist(self: Tensor) -> Any:
    """The values as nested lists of Python values."""
    if isinstance(self, Symbol):
        raise no_value(self, ".tolist() was called")
    return self.array.tolist()


def _len(self: Tensor) -> int:
    if not self.shape:
        raise TypeError("len() of a 0-d tensor")
    size = self.shape[0]
    return size if isinstance(size, int) else int(size)


def _iter(self: Tensor) -> Iterator[Tensor]:
    if not self.shape:
        raise TypeError("a 0-d tensor cannot be iterated over")
    if isinstance(self.shape[0], Dim):
        raise TraceError(
            f"the number of rows {self.shape[0]} is not known while tracing, so Python cannot iterate over them; "
            "a `for` in converted code can, as can td.scan"
        )
    return iter([getitem(self, k) for k in range(self.shape[0])])


def _contains(self: Tensor, value: Any) -> bool:
    return bool(reductions.any(ew.equal(self, value)))


def _setitem(self: Tensor, index: Any, value: Any) -> NoReturn:
    raise TypeError(
        "tensors cannot be written; x = x.at[index].set(value) gives a new one (also .add, .multiply, .min, .max)"
    )


def _size(self: Tensor) -> Any:
    """Number of elements."""
    return shaping.product(self.shape)


# -- protocols ----------------------------------------------------------------------------------------------------


def _dlpack(self: Tensor, **options: Any) -> Any:
    array = _array(self)
    try:
        return array.__dlpack__(**options)
    except BufferError:  # an old consumer, which does not know of read-only memory, gets its own
        return array.copy().__dlpack__(**options)


def _namespace(self: Any, *, api_version: str | None = None) -> Any:
    import treadle

    if api_version not in (None, "2021.12", "2022.12", "2023.12", "2024.12"):
        raise ValueError(f"the array API version {api_version} is not known; treadle follows 2024.12")
    return treadle


def _restore(array: Array) -> Tensor:
    """Unpickle a tensor."""
    return Tensor(array)


def _reduce(self: Tensor) -> Any:
    if isinstance(self, Symbol):
        raise no_value(self, "a pickle or a copy of it was asked for")
    return _restore, (np.ascontiguousarray(self.array) if self.ndim else self.array.copy(),)


def _to_device(self: Tensor, device: Any, /, *, stream: Any = None) -> Tensor:
    """The tensor itself; there is one device. Raises DeviceError for another."""
    from treadle.ops.convert import check_device

    check_device(device)
    return self


def _reshape(self: Any, *shape: Any) -> Tensor:
    """The elements in another shape: sizes one by one, or as one sequence."""
    return shaping.reshape(self, shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)


def _transpose(self: Any, *axes: Any) -> Tensor:
    """The axes in another order; by default reversed."""
    if not axes:
        return shaping.transpose(self)
    return shaping.transpose(self, axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes)


def _axes_reversed(self: Any) -> Tensor:
    """The tensor with its axes reversed."""
    return shaping.transpose(self)


def _rounded(self: Any, ndigits: Any = None) -> Tensor:
    """`round(x)`: half to even, as int64 (of integers: themselves); with a number of digits, in the same dtype."""
    x = as_tensor(self)
    if ndigits is None:
        return x if x.dtype.kind in "iu" else ew.astype(ew.round(x), int64)
    if x.dtype.kind in "iu" and ndigits >= 0:
        return x
    scale = 10.0 ** abs(ndigits)
    scaled = ew.round(x * scale) / scale if ndigits >= 0 else ew.round(x / scale) * scale
    return ew.astype(scaled, x.dtype)


def _divmod(self: Any, other: Any) -> tuple[Tensor, Tensor]:
    return ew.floor_divide(self, other), ew.remainder(self, other)


def _rdivmod(self: Any, other: Any) -> tuple[Tensor, Tensor]:
    return ew.floor_divide(other, self), ew.remainder(other, self)


_BINARY = {
    "add": ew.add,
    "sub": ew.subtract,
    "mul": ew.multiply,
    "truediv": ew.divide,
    "floordiv": ew.floor_divide,
    "mod": ew.remainder,
    "pow": ew.pow,
    "matmul": linalg.matmul,
    "and": ew.bitwise_and,
    "or": ew.bitwise_or,
    "xor": ew.bitwise_xor,
    "lshift": ew.bitwise_left_shift,
    "rshift": ew.bitwise_right_shift,
}
_OPERATORS: dict[str, Any] = {
    "__neg__": ew.negative,
    "__pos__": ew.positive,
    "__abs__": ew.abs,
    "__round__": _rounded,
    "__divmod__": _divmod,
    "__rdivmod__": _rdivmod,
    "__invert__": ew.bitwise_invert,
    "__lt__": ew.less,
    "__le__": ew.less_equal,
    "__gt__": ew.greater,
    "__ge__": ew.greater_equal,
    "__eq__": _equal,
    "__ne__": _not_equal,
    "__hash__": object.__hash__,
    "__getitem__": getitem,
    "__array_ufunc__": numpy_protocol.array_ufunc,
    "__array_function__": numpy_protocol.array_function,
    "__array_namespace__": _namespace,
    "T": property(_axes_reversed),
    "mT": property(shaping.matrix_transpose),
    "size": property(_size),
    "device": property(lambda self: "cpu"),
    "at": property(_at),
    "astype": ew.astype,
    "reshape": _reshape,
    "transpose": _transpose,
    **{f"__{name}__": function for name, function in _BINARY.items()},
    **{f"__r{name}__": _reflected(function) for name, function in _BINARY.items()},
    **{
        name: getattr(reductions, name)
        for name in ("sum", "prod", "mean", "max", "min", "any", "all", "argmax", "argmin", "std", "var")
    },
    "cumsum": _cumsum,
    "clip": ew.clip,
    "round": ew.round,
    "conj": ew.conj,
    **{name: getattr(shaping, name) for name in ("squeeze", "flatten", "swapaxes")},
}
_VALUES: dict[str, Any] = {
    "__array__": _array,
    "__bool__": _bool,
    "__int__": _int,
    "__float__": _float,
    "__complex__": _complex,
    "__index__": _index,
    "__len__": _len,
    "__iter__": _iter,
    "__contains__": _contains,
    "__format__": tensor_format,
    "__str__": tensor_str,
    "_repr_html_": tensor_html,
    "item": _item,
    "tolist": _tolist,
}
_TENSOR: dict[str, Any] = {
    "numpy": _numpy,
    "__repr__": tensor_repr,
    "__setitem__": _setitem,
    "__dlpack__": _dlpack,
    "__dlpack_device__": lambda self: (1, 0),  # kDLCPU, device 0
    "__reduce__": _reduce,
    "__copy__": lambda self: self,
    "__deepcopy__": lambda self, memo: self,
    "to_device": _to_device,
}


def _of_value(function: Any) -> Any:
    """A method of tensors as a method of variables: done on the value."""

    def method(self: Variable, *args: Any) -> Any:
        return function(read_variable(self), *args)

    method.__name__, method.__doc__ = getattr(function, "__name__", "method"), function.__doc__
    return method


def _setitem_variable(self: Variable, index: Any, value: Any) -> NoReturn:
    raise TypeError("a variable is set whole: v.assign(v.value.at[index].set(value))")


def _install() -> None:
    for name, value in (_OPERATORS | _VALUES | _TENSOR).items():
        setattr(Tensor, name, value)
    for name, value in _OPERATORS.items():
        setattr(Variable, name, value)
    for name, value in _VALUES.items():
        setattr(Variable, name, _of_value(value))
    setattr(Variable, "__setitem__", _setitem_variable)  # noqa: B010  (a type checker must not think it is there)
    setattr(Variable, "ndim", property(lambda self: len(self.shape)))  # noqa: B010


_install()
