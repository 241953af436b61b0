"""NumPy's own functions on tensors: `np.tanh(x) @ w` runs treadle's ops, eagerly and while tracing.

A NumPy function is found by its name in treadle's namespace, or in the tables here where names or arguments differ.
What treadle does not have raises; nothing is converted without a word.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from treadle.core.tensor import Symbol, Tensor
from treadle.core.variable import Variable, read_variable
from treadle.errors import TraceError

_RENAMED = {
    "power": "pow",
    "true_divide": "divide",
    "absolute": "abs",
    "fabs": "abs",
    "mod": "remainder",
    "invert": "bitwise_invert",
    "bitwise_not": "bitwise_invert",
    "left_shift": "bitwise_left_shift",
    "right_shift": "bitwise_right_shift",
    "conjugate": "conj",
    "rint": "round",
    "around": "round",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arctan2": "atan2",
    "arcsinh": "asinh",
    "arccosh": "acosh",
    "arctanh": "atanh",
    "concatenate": "concat",
    "amax": "max",
    "amin": "min",
    "bmat": "block",
    "ravel": "flatten",
}
_REDUCTIONS = {
    "add": "sum",
    "multiply": "prod",
    "maximum": "max",
    "minimum": "min",
    "logical_and": "all",
    "logical_or": "any",
}
# NumPy's names of arguments, where treadle's differ; a name of None must be left at its default.
_ARGUMENTS: dict[str, str | None] = {
    "a": None,
    "a_min": "min",
    "a_max": "max",
    "ddof": "correction",
    "out": None,
    "where": None,
    "initial": None,
    "casting": None,
    "order": None,
    "subok": None,
    "like": None,
    "mean": None,
}
_POSITIONAL = {"a": 0, "x": 0, "arr": 0, "array": 0, "ary": 0, "arrays": 0, "m": 0, "obj": 0}
_no_value = getattr(np, "_NoValue", None)


def _namespace(name: str, module: str = "numpy") -> Callable[..., Any] | None:
    """treadle's function for a NumPy function of this name and module."""
    import treadle  # the package imports this module

    place: Any = treadle
    for part in module.split(".")[1:]:
        if part in ("linalg", "fft"):
            place = getattr(treadle, part, None)
    wanted = _RENAMED.get(name, name)
    # treadle's own names may be imported when first used, so that they are not all among its variables yet.
    known = treadle.__all__ if place is treadle else vars(place) if place is not None else ()
    found = getattr(place, wanted) if wanted in known else None
    return found if callable(found) and not isinstance(found, type) else None


def _missing(name: str, what: str, values: Any) -> Exception:
    traced = any(isinstance(value, Symbol) for value in values)
    kind = TraceError if traced else TypeError
    return kind(
        f"np.{name}: {what}. Use td functions (dir(td) lists them), np.{name}(x.numpy()) on values, "
        f"or td.py_function(np.{name}, x, out=spec) inside a traced function"
    )


def array_ufunc(self: Any, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
    """NumPy's hook for ufuncs; `reduce` and `accumulate` become reductions."""
    name = ufunc.__name__
    out = kwargs.pop("out", None)
    if out is not None:
        return _into(ufunc, method, inputs, kwargs, out)
    dtype = kwargs.pop("dtype", None)
    if method == "reduce" and name in _REDUCTIONS:
        kwargs = _known(name, {"axis": 0} | kwargs, inputs)
        kwargs = kwargs | ({"dtype": dtype} if dtype is not None and name in ("add", "multiply") else {})
        return _call(_namespace(_REDUCTIONS[name]), inputs, kwargs)
    if method == "accumulate" and name == "add":
        return _call(_namespace("cumsum"), inputs, {"axis": 0, "dtype": dtype} | kwargs)
    function = _namespace(name)
    if method != "__call__" or function is None:
        what = "treadle has no such function" if method == "__call__" else f"treadle has no ufunc method {method!r}"
        raise _missing(f"{name}.{method}" if method != "__call__" else name, what, inputs)
    given = _known(name, kwargs, inputs)
    result = function(*inputs, **given)
    return result.astype(dtype) if dtype is not None else result


def _into(ufunc: np.ufunc, method: str, inputs: Any, kwargs: dict[str, Any], out: Any) -> Any:
    """`out=`: into a NumPy array from values; never into a tensor, which cannot be written."""
    if any(isinstance(o, (Tensor, Variable)) for o in out):
        raise _missing(ufunc.__name__, "tensors cannot be written, so `out=` cannot be one", inputs)
    if any(isinstance(value, Symbol) for value in inputs):
        raise _missing(
            ufunc.__name__, "a traced tensor has no values to write into a NumPy array (`out=`, `+=`)", inputs
        )
    values = [_as_numpy(value) for value in inputs]
    return getattr(ufunc, method)(*values, out=out, **kwargs)


def _as_numpy(value: Any) -> Any:
    if isinstance(value, Variable):
        value = read_variable(value)
    return value.numpy() if isinstance(value, Tensor) else value


def _known(name: str, kwargs: dict[str, Any], inputs: Any) -> dict[str, Any]:
    """NumPy's keyword arguments under treadle's names. Raises for those that treadle has no meaning for."""
    given: dict[str, Any] = {}
    for key, value in kwargs.items():
        if value is _no_value:
            continue
        if key not in _ARGUMENTS:
            given[key] = value
        elif (wanted := _ARGUMENTS[key]) is not None:
            given[wanted] = value
        elif value is not None and not (key == "where" and value is True) and (key, value) not in _DEFAULTS:
            raise _missing(name, f"treadle has no `{key}=`", inputs)
    return given


_DEFAULTS = [("order", "C"), ("order", "K"), ("casting", "same_kind"), ("subok", True)]


def _call(function: Callable[..., Any] | None, args: Any, kwargs: dict[str, Any]) -> Any:
    assert function is not None
    return function(*args, **kwargs)


def array_function(self: Any, func: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
    """NumPy's hook for all other functions: the treadle function of the same name, arguments matched by name."""
    name = func.__name__
    special = _SPECIAL.get(name)
    if special is not None:
        return special(*args, **kwargs)
    function = _namespace(name, func.__module__ or "numpy")
    if function is None:
        raise _missing(name, "treadle has no such function", _leaves(args))
    kwargs = dict(kwargs)
    lead = [kwargs.pop(key) for key in list(kwargs) if not args and key in _POSITIONAL]
    given = _known(name, kwargs, _leaves(args))
    positional, named = _place(name, function, func, (*lead, *args))
    try:
        bound = inspect.signature(function).bind(*positional, **named, **given)
    except TypeError as error:
        raise _missing(
            name, f"td.{function.__name__} takes {inspect.signature(function)}: {error}", _leaves(args)
        ) from error
    return function(*bound.args, **bound.kwargs)


def _place(
    name: str, function: Callable[..., Any], func: Callable[..., Any], args: Any
) -> tuple[list[Any], dict[str, Any]]:
    """Arguments given by position to NumPy, by name where treadle takes them by name only."""
    try:
        theirs = list(inspect.signature(func).parameters)
    except ValueError:
        return list(args), {}
    ours = inspect.signature(function).parameters
    room = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in ours.values())
    if any(p.kind is p.VAR_POSITIONAL for p in ours.values()):
        return list(args), {}
    named: dict[str, Any] = {}
    positional: list[Any] = []
    names = list(ours)
    for k, value in enumerate(args):
        label = theirs[k] if k < len(theirs) else ""
        same_place = k < room and (k == 0 or names[k] == label or label not in ours)
        if same_place and not named and _ARGUMENTS.get(label, label) in (label, None, names[k]):
            positional.append(value)
        elif value is not _no_value:
            named |= _known(name, {label: value}, args)
    return positional, named


def _leaves(args: Any) -> list[Any]:
    found: list[Any] = []
    for value in args:
        found += _leaves(value) if isinstance(value, (list, tuple)) else [value]
    return found


def _dot(a: Any, b: Any) -> Tensor:
    from treadle.ops.arithmetic import multiply
    from treadle.ops.convert import as_tensor
    from treadle.ops.linalg import tensordot

    a, b = as_tensor(a), as_tensor(b)
    if a.ndim == 0 or b.ndim == 0:
        return multiply(a, b)
    return tensordot(a, b, axes=([-1], [-1 if b.ndim == 1 else -2]))


def _where(condition: Any, *values: Any) -> Any:
    from treadle.ops.comparison import where
    from treadle.ops.searching import nonzero

    return where(condition, *values) if values else nonzero(condition)


def _transpose(a: Any, axes: Any = None) -> Tensor:
    from treadle.ops.shaping import transpose

    return transpose(a, axes)


def _shape(a: Any) -> Any:
    return a.shape


_SPECIAL: dict[str, Callable[..., Any]] = {
    "dot": _dot,
    "where": _where,
    "transpose": _transpose,
    "shape": _shape,
    "ndim": lambda a: a.ndim,
    "size": lambda a, axis=None: a.size if axis is None else a.shape[axis],
    "copy": lambda a, order="K", subok=False: a,
}
