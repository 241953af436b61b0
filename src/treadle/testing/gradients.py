"""`check_grads`: derivatives against central differences in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from treadle import nest
from treadle.autodiff.functional import jvp, value_and_grad
from treadle.core.dtypes import float64, is_float
from treadle.core.tensor import Tensor
from treadle.errors import AssertionFailed, GradientError
from treadle.ops.convert import as_tensor, cast
from treadle.ops.reductions import sum as sum_of

# The step that balances rounding (eps / h) against truncation (h**2) in a central difference.
STEP = float(np.cbrt(np.finfo(np.float64).eps))

Scalar = Callable[..., Tensor]


def check_grads(
    f: Callable[..., Any],
    args: Any,
    order: int = 2,
    *,
    step: float = STEP,
    rtol: float = 1e-6,
    atol: float = 1e-6,
    seed: int = 0,
) -> None:
    """Compare f's derivatives, up to `order`, with central differences; both reverse and forward mode.

    f:     takes `args`, gives a nest of real floating tensors of any shape (weighted by random numbers and summed).
    args:  a tuple of arguments, each a nest; real floating leaves are taken in float64, others are handed on.
    step:  the step of the differences, times max(1, |x|). Rounding spoils steps much below the default, 6e-6.
    Raises AssertionFailed naming the argument and element where they differ by more than atol + rtol * |numeric|.

    >>> import treadle as td
    >>> td.testing.check_grads(lambda x: td.sin(x) * x, (td.asarray([1., 2.]),))
    """
    if order < 1:
        raise GradientError(f"check_grads: order must be 1 or more, got {order}")
    rng = np.random.default_rng(seed)
    leaves, paths, structure = nest.flatten_with_paths(args if isinstance(args, (tuple, list)) else (args,), "args")
    floats = [k for k, x in enumerate(leaves) if _is_real(x)]
    if not floats:
        raise GradientError("check_grads: no argument is a real floating tensor, array or number")

    def call(*points: Tensor) -> Any:
        filled = list(leaves)
        for k, x in zip(floats, points, strict=True):
            filled[k] = x
        return f(*nest.unflatten(structure, filled))

    points = [cast(as_tensor(leaves[k]), float64) for k in floats]
    weights = [as_tensor(rng.normal(size=y.shape)) for y in nest.flatten(call(*points))]

    def scalar(*points: Tensor) -> Tensor:
        return _weighted(nest.flatten(call(*points)), weights)

    names = [paths[k] for k in floats]
    _check(scalar, points, names, order, 1, step, (rtol, atol), rng)


def _is_real(x: Any) -> bool:
    if isinstance(x, (float, np.floating)):
        return True
    return isinstance(x, (Tensor, np.ndarray)) and is_float(x.dtype) and x.dtype.kind == "f"


def _weighted(values: Any, weights: Any) -> Tensor:
    parts = [sum_of(cast(as_tensor(y), float64) * w) for y, w in zip(values, weights, strict=True)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _check(
    scalar: Scalar,
    points: list[Tensor],
    names: list[str],
    order: int,
    level: int,
    step: float,
    tolerances: tuple[float, float],
    rng: np.random.Generator,
) -> None:
    """Check the first derivative of a scalar function, then that of its derivative along random directions."""
    both = value_and_grad(scalar, argnums=tuple(range(len(points))))
    _, grads = both(*points)
    for k, name in enumerate(names):
        numeric = _difference(scalar, points, k, step)
        _compare(grads[k].numpy(), numeric, f"derivative {level} by {name}", tolerances)
    directions = [as_tensor(rng.normal(size=x.shape)) for x in points]
    _, tangent = jvp(scalar, tuple(points), tuple(directions))
    along = _weighted(grads, directions).numpy()
    _compare(tangent.numpy(), along, f"derivative {level} in forward mode, against reverse mode", tolerances)
    if level < order:

        def slope(*at: Tensor) -> Tensor:
            return _weighted(both(*at)[1], directions)

        _check(slope, points, names, order, level + 1, step, tolerances, rng)


def _difference(scalar: Scalar, points: list[Tensor], k: int, step: float) -> np.ndarray[Any, Any]:
    """Central differences of a scalar function by each element of one argument."""
    x = np.array(points[k].numpy())
    found = np.empty(x.shape)
    for index in np.ndindex(x.shape):
        h = step * max(1.0, abs(float(x[index])))
        ends, values = [], []
        for sign in (1, -1):
            moved = x.copy()
            moved[index] += sign * h
            ends.append(moved[index])
            values.append(float(scalar(*points[:k], as_tensor(moved), *points[k + 1 :])))
        found[index] = (values[0] - values[1]) / (ends[0] - ends[1])
    return found


def _compare(ours: Any, numeric: Any, what: str, tolerances: tuple[float, float]) -> None:
    rtol, atol = tolerances
    ours, numeric = np.asarray(ours), np.asarray(numeric)
    bad = ~(np.abs(ours - numeric) <= atol + rtol * np.abs(numeric))
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        place = f" at {list(index)}" if index else ""
        raise AssertionFailed(
            f"check_grads: {what}{place} is {ours[index]!s}, central differences give {numeric[index]!s}"
        )
