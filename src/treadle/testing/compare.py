"""Two outcomes of one function side by side: nests, dtypes, values within a tolerance, errors, variables."""

from __future__ import annotations

from typing import Any

import numpy as np

from treadle import nest
from treadle.core.dtypes import dtype_name, string
from treadle.testing.stages import Outcome, Stages

# Relative to the largest number of a result: fused loops and sums in another order round differently.
TOLERANCE = {"float32": 1e-4, "complex64": 1e-4, "float64": 1e-10, "complex128": 1e-10}
_NUMBERS = (bool, int, float, complex, np.generic)


def differs(
    want: Outcome, got: Outcome, stages: Stages, tolerance: float | None, root: str = "the result"
) -> str | None:
    """How an outcome differs from the one wanted, or None; `root` is what the compared value is called."""
    if want.error is not None or got.error is not None:
        found = _errors(want.error, got.error)
    else:
        found = _results(want.result, got.result, tolerance, root)
    if found is not None:
        return found
    for key, (variable, before) in stages.watcher.variables.items():
        a, b = want.state.get(key, before), got.state.get(key, before)
        if (a is None) != (b is None):
            return f"the variable {variable.name!r} has a value in one way only"
        if a is not None and b is not None and (text := _values(a, b, tolerance)):
            return f"the variable {variable.name!r} is {text} afterwards"
    return None


def _errors(want: Exception | None, got: Exception | None) -> str | None:
    if want is not None and got is not None:
        if isinstance(got, type(want)) or isinstance(want, type(got)):
            return None
        return f"it raises {_told(got)}, instead of {_told(want)}"
    if got is not None:
        return f"it raises {_told(got)}"
    return f"it raises nothing, instead of {_told(want)}"


def _told(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}"


def _results(want: Any, got: Any, tolerance: float | None, root: str) -> str | None:
    a, paths, shape = nest.flatten_with_paths(want, root)
    b, other = nest.flatten_with_structure(got)
    if shape != other:
        return f"{root} is {other!r}, instead of {shape!r}"
    for path, x, y in zip(paths, a, b, strict=True):
        text = _leaf(x, y, tolerance)
        if text is not None:
            return f"{path} is {text}"
    return None


def _leaf(x: Any, y: Any, tolerance: float | None) -> str | None:
    if isinstance(x, np.ndarray) and isinstance(y, np.ndarray):
        return _values(x, y, tolerance)
    numeric = (*_NUMBERS, np.ndarray)
    if isinstance(x, numeric) and isinstance(y, numeric):
        # A Python number that a branch or a loop carries comes back as a tensor: its value counts.
        return _values(np.asarray(x), np.asarray(y), tolerance, dtypes=False)
    if isinstance(x, (str, np.ndarray)) and isinstance(y, (str, np.ndarray)):
        return None if str(x) == str(y) else f"{y!r}, instead of {x!r}"
    if x is y or type(x) is type(y):
        plain = isinstance(x, (bytes, type(None), frozenset, set))
        return f"{y!r}, instead of {x!r}" if plain and x != y else None
    return f"a {type(y).__name__}, instead of a {type(x).__name__}"


def _values(
    x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], tolerance: float | None, dtypes: bool = True
) -> str | None:
    if dtypes and x.dtype != y.dtype:
        return f"of dtype {dtype_name(y.dtype)}, instead of {dtype_name(x.dtype)}"
    if x.shape != y.shape:
        return f"of shape {y.shape}, instead of {x.shape}"
    bad = ~_close(x, y, tolerance)
    if not bad.any():
        return None
    index = tuple(int(k) for k in np.argwhere(bad)[0])
    place = f" at {list(index)}" if index else ""
    return f"{_number(y[index])}{place}, instead of {_number(x[index])}"


def _number(x: Any) -> str:
    return repr(x.item() if isinstance(x, (np.generic, np.ndarray)) else x)


def _close(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], tolerance: float | None) -> np.ndarray[Any, Any]:
    if x.dtype == string or y.dtype == string or (x.dtype.kind in "biu" and y.dtype.kind in "biu"):
        return np.asarray(x == y)
    names = [d.name for d in (x.dtype, y.dtype) if d.kind in "fc"]
    allowed = tolerance if tolerance is not None else max(TOLERANCE.get(name, 1e-4) for name in names)
    with np.errstate(all="ignore"):
        same = (x == y) | ((x != x) & (y != y))
        sizes = np.abs(x)[np.isfinite(x)]
        scale = max(1.0, float(sizes.max())) if sizes.size else 1.0
        near = np.isfinite(x) & np.isfinite(y) & (np.abs(x - y) <= allowed * scale)
    return np.asarray(same | near)
