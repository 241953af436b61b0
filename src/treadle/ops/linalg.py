"""Products of vectors and matrices. One primitive, `matmul` on matrices and batches of them; the rest is made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle.core.arguments import whole
from treadle.core.mode import current
from treadle.core.op import Array, Attrs, Op
from treadle.core.spec import Shape, Spec, broadcast_shapes, normalize_axis, shared
from treadle.core.tensor import Symbol, Tensor
from treadle.errors import ShapeError
from treadle.ops.arithmetic import conj, multiply
from treadle.ops.convert import AS_THEY_ARE, as_tensor, operands, traced_pair
from treadle.ops.families import declare, sum_to
from treadle.ops.reductions import sum as sum_
from treadle.ops.shaping import expand_dims, flatten, matrix_transpose, moveaxis, product, reshape, squeeze, transpose

# -- the primitive -----------------------------------------------------------------------------------------------------


def _matmul_body(a: Array, b: Array, *, transpose_a: bool, transpose_b: bool) -> Array:
    result: Array = np.matmul(a.mT if transpose_a else a, b.mT if transpose_b else b)
    return result


def _misfit(a: Shape, b: Shape, inner_a: Any, inner_b: Any) -> ShapeError:
    return ShapeError(f"matmul: shapes {tuple(a)} and {tuple(b)} do not fit: {inner_a} and {inner_b}")


def _batch(a: Shape, b: Shape) -> Shape:
    """The common leading axes of two batches of matrices."""
    try:
        return broadcast_shapes(a[:-2], b[:-2], op="matmul")
    except ShapeError:
        raise ShapeError(f"matmul: the leading axes of shapes {tuple(a)} and {tuple(b)} do not broadcast") from None


def _matmul_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    a, b = specs[0].shape, specs[1].shape
    rows, inner_a = (a[-1], a[-2]) if attrs["transpose_a"] else (a[-2], a[-1])
    inner_b, columns = (b[-1], b[-2]) if attrs["transpose_b"] else (b[-2], b[-1])
    if inner_a is not inner_b and _differ(inner_a, inner_b):
        raise _misfit(a, b, inner_a, inner_b)
    if len(a) == len(b) == 2:
        return (shared((rows, columns), specs[0].dtype),)
    return (specs[0].with_shape((*_batch(a, b), rows, columns)),)


def _matmul_vjp_a(g: Tensor, y: Tensor, a: Tensor, b: Tensor, *, transpose_a: bool, transpose_b: bool) -> Tensor:
    found = _product(b, g, transpose_b, True) if transpose_a else _product(g, b, False, not transpose_b)
    return found if len(found.shape) == 2 else sum_to(found, a.shape)


def _matmul_vjp_b(g: Tensor, y: Tensor, a: Tensor, b: Tensor, *, transpose_a: bool, transpose_b: bool) -> Tensor:
    found = _product(g, a, True, transpose_a) if transpose_b else _product(a, g, not transpose_a, False)
    return found if len(found.shape) == 2 else sum_to(found, b.shape)


matmul_op: Op = declare("matmul", _matmul_body, _matmul_infer, family="contraction", vjp=(_matmul_vjp_a, _matmul_vjp_b))


def _matmul_add_body(c: Array, a: Array, b: Array, *, alpha: float, **flags: bool) -> Array:
    result: Array = c + c.dtype.type(alpha) * _matmul_body(a, b, **flags)
    return result


def _matmul_add_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    (found,) = _matmul_infer(specs[1:], attrs)
    if found.shape != specs[0].shape:
        raise ShapeError(f"matmul_add: a product of shape {tuple(found.shape)} added to {tuple(specs[0].shape)}")
    return (specs[0],)


# A product times a number, added to a matrix: what sums of products and updates by them are rewritten to.
matmul_add_op: Op = declare(
    "matmul_add",
    _matmul_add_body,
    _matmul_add_infer,
    family="contraction",
    vjp=(
        lambda g, y, c, a, b, **attrs: g,
        lambda g, y, c, a, b, *, alpha, **flags: _matmul_vjp_a(multiply(g, alpha), y, a, b, **flags),
        lambda g, y, c, a, b, *, alpha, **flags: _matmul_vjp_b(multiply(g, alpha), y, a, b, **flags),
    ),
)


# The attributes of products, by what is transposed; nobody writes the attributes of a node.
_FLAGS = [[{"transpose_a": a, "transpose_b": b} for b in (False, True)] for a in (False, True)]
_AS_THEY_ARE = _FLAGS[False][False]


def _product(a: Tensor, b: Tensor, transpose_a: bool = False, transpose_b: bool = False) -> Tensor:
    """The matrix product of tensors of two axes or more and one dtype, either of them transposed first."""
    if type(a) is Tensor and type(b) is Tensor and current() is None:
        first, second = a.array, b.array
        return Tensor(np.matmul(first.mT if transpose_a else first, second.mT if transpose_b else second))
    return matmul_op.bind((a, b), _FLAGS[transpose_a][transpose_b])[0]


_NUMERIC = AS_THEY_ARE["numeric"]


def matmul(x1: Any, x2: Any, /) -> Tensor:
    """The matrix product: vectors, matrices, and batches of them (leading axes broadcast); integers too.

    Raises ShapeError naming the shapes when they do not fit.

    >>> import treadle as td
    >>> td.matmul(td.asarray([[1, 2], [3, 4]]), td.asarray([1, 1])).tolist()
    [3, 7]
    """
    if type(x1) is Tensor and type(x2) is Tensor:
        first, second = x1.array, x2.array
        dtype = first.dtype
        if dtype is second.dtype and first.ndim == second.ndim == 2 and dtype.kind in "iufc":
            mode = current()
            if mode is None or mode.plain:
                try:
                    result = Tensor(np.matmul(first, second))
                except ValueError:
                    raise _misfit(first.shape, second.shape, first.shape[1], second.shape[0]) from None
                if mode is not None:
                    mode.note(matmul_op, (x1, x2), _AS_THEY_ARE, result)
                return result
    if type(x1) is Symbol and type(x2) is Symbol and len(x1.shape) == len(x2.shape) == 2:
        pair = traced_pair(x1, x2, _NUMERIC)
        if pair is not None:
            return matmul_op.bind(pair, _AS_THEY_ARE)[0]  # how shapes must fit is said where the result's is found
    a, b = operands((x1, x2), "numeric", "matmul")
    if not a.ndim or not b.ndim:
        raise ShapeError(f"matmul: shapes {tuple(a.shape)} and {tuple(b.shape)} do not fit: both need an axis or more")
    inner_a, inner_b = a.shape[-1], b.shape[-2 if b.ndim > 1 else -1]
    if _differ(inner_a, inner_b):
        raise _misfit(a.shape, b.shape, inner_a, inner_b)
    if b.ndim == 1:
        column = matmul(a, reshape(b, (b.shape[0], 1)))
        return reshape(column, column.shape[:-1])
    if a.ndim == 1:
        row = matmul(reshape(a, (1, a.shape[0])), b)
        return reshape(row, (*row.shape[:-2], row.shape[-1]))
    if a.ndim > 2 and b.ndim == 2:  # one large product instead of a batch of small ones, also in the gradient
        rows = _product(reshape(a, (product(a.shape[:-1]), a.shape[-1])), b)
        return reshape(rows, (*a.shape[:-1], b.shape[-1]))
    _batch(a.shape, b.shape)
    return _product(a, b)


def _differ(a: Any, b: Any) -> bool:
    return isinstance(a, int) and isinstance(b, int) and a != b


# -- other products ----------------------------------------------------------------------------------------------------


def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Tensor:
    """The sum of the products of two tensors along an axis, the first conjugated; other axes broadcast."""
    a, b = operands((x1, x2), "numeric", "vecdot")
    if not a.ndim or not b.ndim:
        raise ShapeError("vecdot: needs one axis or more")
    first, second = (moveaxis(x, normalize_axis(axis, x.ndim, "vecdot"), -1) for x in (a, b))
    if _differ(first.shape[-1], second.shape[-1]):
        raise ShapeError(
            f"vecdot: shapes {tuple(a.shape)} and {tuple(b.shape)} do not fit: {first.shape[-1]} and {second.shape[-1]}"
        )
    left = conj(first) if first.dtype.kind == "c" else first
    return sum_(multiply(left, second), axis=-1, dtype=a.dtype)


def dot(x1: Any, x2: Any, /) -> Tensor:
    """NumPy's dot: the product with a scalar, or the sum over the last axis of `x1` and the last but one of `x2`."""
    a, b = operands((x1, x2), "numeric", "dot")
    if not a.ndim or not b.ndim:
        return multiply(a, b)
    if a.ndim <= 2 and b.ndim <= 2:
        return matmul(a, b)
    return tensordot(a, b, axes=((a.ndim - 1,), (max(b.ndim - 2, 0),)))


def outer(x1: Any, x2: Any, /) -> Tensor:
    """Every element of one vector times every element of another."""
    a, b = operands((x1, x2), "numeric", "outer")
    return multiply(expand_dims(flatten(a), axis=1), flatten(b))


def tensordot(x1: Any, x2: Any, /, *, axes: int | Sequence[Sequence[int]] = 2) -> Tensor:
    """The sum of products over several axes.

    axes: the last so many of `x1` with the first of `x2`, or a pair of sequences that name them.
    Raises ShapeError naming the sizes that do not fit.
    """
    a, b = operands((x1, x2), "numeric", "tensordot")
    if isinstance(axes, (int, np.integer)):
        if not 0 <= axes <= min(a.ndim, b.ndim):
            raise ShapeError(f"tensordot: {axes} axes of shapes {tuple(a.shape)} and {tuple(b.shape)}")
        named: tuple[Sequence[int], Sequence[int]] = (range(a.ndim - axes, a.ndim), range(axes))
    else:
        named = tuple([k] if isinstance(k, int) else list(k) for k in axes)  # type: ignore[assignment]
    first = [normalize_axis(k, a.ndim, "tensordot") for k in named[0]]
    second = [normalize_axis(k, b.ndim, "tensordot") for k in named[1]]
    if len(first) != len(second):
        raise ShapeError(f"tensordot: {len(first)} axes of one tensor and {len(second)} of the other")
    for k, j in zip(first, second, strict=True):
        if _differ(a.shape[k], b.shape[j]):
            raise ShapeError(
                f"tensordot: shapes {tuple(a.shape)} and {tuple(b.shape)} do not fit: {a.shape[k]} and {b.shape[j]}"
            )
    rows = [k for k in range(a.ndim) if k not in first]
    columns = [k for k in range(b.ndim) if k not in second]
    inner = product([a.shape[k] for k in first])
    shape = tuple([a.shape[k] for k in rows] + [b.shape[k] for k in columns])
    left = reshape(transpose(a, [*rows, *first]), (product([a.shape[k] for k in rows]), inner))
    right = reshape(transpose(b, [*second, *columns]), (inner, product([b.shape[k] for k in columns])))
    return reshape(_product(left, right), shape)


def cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Tensor:
    """The cross product of vectors of three elements along an axis; other axes broadcast."""
    from treadle.ops.shaping import stack
    from treadle.ops.slicing import slice_axis

    a, b = operands((x1, x2), "numeric", "cross")
    place = axis if axis < 0 else axis - a.ndim
    parts = []
    for x in (a, b):
        k = normalize_axis(axis, x.ndim, "cross")
        if x.shape[k] != 3:
            raise ShapeError(f"cross: axis {axis} must have size 3, got shape {tuple(x.shape)}")
        parts.append([squeeze(slice_axis(x, k, i, i + 1), k) for i in range(3)])
    u, v = parts
    turned = [u[(i + 1) % 3] * v[(i + 2) % 3] - u[(i + 2) % 3] * v[(i + 1) % 3] for i in range(3)]
    return stack(turned, axis=place)


def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Tensor:
    """The sum of the diagonal of each matrix in the last two axes."""
    from treadle.ops.arranging import diagonal  # imported when first used: `import treadle` stays light

    return sum_(diagonal(as_tensor(x), offset=offset), axis=-1, dtype=dtype)


def matrix_power(x: Any, n: int, /) -> Tensor:
    """Square matrices multiplied n times with themselves; for a negative n, the inverses. n = 0: the identity."""
    from treadle.ops.creation import eye
    from treadle.ops.factorize import inv
    from treadle.ops.shaping import broadcast_to

    tensor, n = as_tensor(x), whole("matrix_power: n", n)
    if n < 0:
        return matrix_power(inv(tensor), -n)
    if n == 0:
        return broadcast_to(eye(tensor.shape[-1], dtype=tensor.dtype), tensor.shape)
    half = matrix_power(tensor, n // 2) if n > 1 else None
    if half is None:
        return tensor
    squared = matmul(half, half)
    return matmul(squared, tensor) if n % 2 else squared


__all__ = [
    "cross",
    "dot",
    "matmul",
    "matrix_power",
    "matrix_transpose",
    "outer",
    "tensordot",
    "trace",
    "vecdot",
]
