"""Norms of vectors and matrices; their gradient at 0 is 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from treadle.core.spec import normalize_axes, normalize_axis
from treadle.core.tensor import Tensor
from treadle.errors import ShapeError
from treadle.ops.arithmetic import abs as abs_
from treadle.ops.arithmetic import conj, multiply, pow, real, sqrt
from treadle.ops.comparison import equal, not_equal, where
from treadle.ops.convert import cast, operands, scalar
from treadle.ops.reductions import max as max_
from treadle.ops.reductions import min as min_
from treadle.ops.reductions import sum as sum_
from treadle.ops.shaping import flatten, moveaxis, reshape

Axis = int | Sequence[int] | None


def _root(total: Tensor, power: float) -> Tensor:
    """The root of a sum of powers, with gradient 0 where the sum is 0 (the root itself would give infinity)."""
    zero = equal(total, 0)
    safe = where(zero, scalar(1, total.dtype), total)
    return where(zero, total, sqrt(safe) if power == 2 else pow(safe, 1 / power))


def _magnitudes(x: Tensor, axis: Axis, order: float, keepdims: bool) -> Tensor:
    if order == 2:
        squares = real(multiply(conj(x), x)) if x.dtype.kind == "c" else multiply(x, x)
        return _root(sum_(squares, axis=axis, keepdims=keepdims), 2)
    size = abs_(x)
    if order == math.inf:
        return max_(size, axis=axis, keepdims=keepdims)
    if order == -math.inf:
        return min_(size, axis=axis, keepdims=keepdims)
    if order == 0:
        return sum_(cast(not_equal(size, 0), size.dtype), axis=axis, keepdims=keepdims)
    if order == 1:
        return sum_(size, axis=axis, keepdims=keepdims)
    return _root(sum_(pow(size, order), axis=axis, keepdims=keepdims), order)


def vector_norm(x: Any, /, *, axis: Axis = None, keepdims: bool = False, ord: float = 2) -> Tensor:
    """The norm of vectors along axes (None: of all elements).

    ord: 2 (the square root of the sum of squares), 1, inf, -inf, 0 (how many are not 0), or any other power.
    """
    (tensor,) = operands((x,), "float", "vector_norm")
    return _magnitudes(tensor, axis, ord, keepdims)


def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: float | str = "fro") -> Tensor:
    """The norm of the matrices in the last two axes.

    ord: "fro" (Frobenius), "nuc" (sum of singular values), 1 and -1 (largest, smallest column sum), inf and -inf (row
    sums), 2 and -2 (largest, smallest singular value).
    """
    (tensor,) = operands((x,), "float", "matrix_norm")
    if tensor.ndim < 2:
        raise ShapeError(f"matrix_norm: needs two axes or more, got shape {tuple(tensor.shape)}")
    if ord == "fro":
        return _magnitudes(tensor, (-2, -1), 2, keepdims)
    if ord in ("nuc", 2, -2):
        from treadle.ops.factorize import svdvals

        values = svdvals(tensor)
        found = sum_(values, axis=-1) if ord == "nuc" else (max_ if ord == 2 else min_)(values, axis=-1)
    elif ord in (1, -1, math.inf, -math.inf):
        rows = ord in (math.inf, -math.inf)
        sums = sum_(abs_(tensor), axis=-1 if rows else -2)
        found = (max_ if ord in (1, math.inf) else min_)(sums, axis=-1)
    else:
        raise ValueError(f"matrix_norm: ord must be 'fro', 'nuc', 1, -1, 2, -2, inf or -inf, got {ord!r}")
    return reshape(found, (*found.shape, 1, 1)) if keepdims else found


def norm(x: Any, /, ord: float | str | None = None, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """NumPy's norm: of a vector, of a matrix (over two axes), or of all elements when nothing else is said.

    The gradient at 0 is 0.

    >>> import treadle as td
    >>> td.linalg.norm(td.asarray([3.0, 4.0])).item()
    5.0
    """
    (tensor,) = operands((x,), "float", "norm")
    if axis is None and ord is None:
        found = _magnitudes(flatten(tensor), None, 2, False)
        return reshape(found, (1,) * tensor.ndim) if keepdims else found
    axes = normalize_axes(axis, tensor.ndim, "norm")
    if len(axes) == 1:
        if isinstance(ord, str):
            raise ValueError(f"norm: ord {ord!r} is for matrices")
        return _magnitudes(tensor, axes, 2 if ord is None else ord, keepdims)
    if len(axes) != 2:
        raise ShapeError(f"norm: ord {ord!r} takes one or two axes, got {len(axes)}")
    named = (0, 1) if axis is None else tuple(normalize_axis(k, tensor.ndim, "norm") for k in axis)  # type: ignore[union-attr]
    found = matrix_norm(moveaxis(tensor, named, (-2, -1)), ord="fro" if ord is None else ord)
    if not keepdims:
        return found
    return reshape(found, tuple([1 if k in axes else size for k, size in enumerate(tensor.shape)]))


__all__ = ["matrix_norm", "norm", "vector_norm"]
