"""Inverses, determinants and factorizations: NumPy's LAPACK on the host, with gradients in public ops where they exist.

Gradients: M. Giles, "An extended collection of matrix derivative results" (2008); Cholesky after I. Murray (2016).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from treadle.core.arguments import one_of
from treadle.core.op import Array, Attrs, Op
from treadle.core.spec import Spec, broadcast_shapes
from treadle.core.tensor import Tensor
from treadle.errors import GradientError, ShapeError, TreadleError
from treadle.ops.arithmetic import multiply, negative
from treadle.ops.arranging import diagonal, tril
from treadle.ops.comparison import equal, where
from treadle.ops.convert import operands, scalar
from treadle.ops.creation import eye
from treadle.ops.families import declare, sum_to
from treadle.ops.linalg import matmul
from treadle.ops.shaping import expand_dims, matrix_transpose, reshape, squeeze


class LinAlgError(TreadleError, np.linalg.LinAlgError):
    """A matrix that cannot be inverted or factorized. Also NumPy's LinAlgError."""


def _guarded(name: str, body: Callable[..., Any]) -> Callable[..., Any]:
    """The body, with NumPy's complaint about a matrix in our words."""

    def run(*arrays: Array, **attrs: Any) -> Any:
        try:
            return body(*arrays, **attrs)
        except np.linalg.LinAlgError as error:
            shapes = " and ".join(str(array.shape) for array in arrays)
            raise LinAlgError(f"{name}: {str(error).lower()} (shape {shapes})") from None

    return run


def _matrices(x: Any, name: str, square: bool = True) -> Tensor:
    (tensor,) = operands((x,), "float", name)
    if tensor.ndim < 2:
        raise ShapeError(f"{name}: needs two axes or more, got shape {tuple(tensor.shape)}")
    rows, columns = tensor.shape[-2:]
    if square and isinstance(rows, int) and isinstance(columns, int) and rows != columns:
        raise ShapeError(f"{name}: needs square matrices, got shape {tuple(tensor.shape)}")
    return tensor


def _same(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    return (specs[0].with_shape(specs[0].shape),)


def _no_gradient(name: str) -> Callable[..., NoReturn]:
    def rule(*_: Any, **__: Any) -> NoReturn:
        raise GradientError(f"{name}: has no gradient rule yet; wrap its input in td.stop_gradient if none is meant")

    return rule


def _real(spec: Spec, shape: tuple[Any, ...]) -> Spec:
    return Spec(shape, np.dtype(spec.dtype.char.lower()))


# -- inverse, solve, determinant ---------------------------------------------------------------------------------------

inv_op: Op = declare(
    "inv",
    _guarded("inv", np.linalg.inv),
    _same,
    family="host",
    vjp=lambda g, y, x: negative(matmul(matmul(matrix_transpose(y), g), matrix_transpose(y))),
)


def inv(x: Any, /) -> Tensor:
    """The inverses of square matrices. Raises LinAlgError for a singular one."""
    return inv_op.bind((_matrices(x, "inv"),), {})[0]


def _solve_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    batch = broadcast_shapes(specs[0].shape[:-2], specs[1].shape[:-2], op="solve")
    return (specs[0].with_shape((*batch, *specs[1].shape[-2:])),)


def _solve_vjp(g: Tensor, y: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    back = solve_op.bind((matrix_transpose(a), g), {})[0]
    return sum_to(negative(matmul(back, matrix_transpose(y))), a.shape), sum_to(back, b.shape)


solve_op: Op = declare("solve", _guarded("solve", np.linalg.solve), _solve_infer, family="host", vjp=_solve_vjp)


def solve(x1: Any, x2: Any, /) -> Tensor:
    """The x of `x1 @ x = x2`, for square matrices `x1`; `x2` is one vector, or matrices whose columns are solved for.

    Raises ShapeError when the shapes do not fit, LinAlgError for a singular matrix.
    """
    first, second = operands((x1, x2), "float", "solve")
    a = _matrices(first, "solve")
    b = expand_dims(second, axis=1) if second.ndim == 1 else second
    if not b.ndim or (isinstance(b.shape[-2], int) and isinstance(a.shape[-1], int) and b.shape[-2] != a.shape[-1]):
        raise ShapeError(f"solve: shapes {tuple(a.shape)} and {tuple(second.shape)} do not fit")
    found = solve_op.bind((a, b), {})[0]
    return squeeze(found, -1) if second.ndim == 1 else found


def _scale(g: Tensor, matrices: Tensor) -> Tensor:
    """A number for each matrix times that matrix."""
    return multiply(reshape(g, (*g.shape, 1, 1)), matrices)


det_op: Op = declare(
    "det",
    lambda x: np.linalg.det(x),
    lambda specs, attrs: (specs[0].with_shape(specs[0].shape[:-2]),),
    family="host",
    vjp=lambda g, y, x: _scale(multiply(g, y), matrix_transpose(inv_op.bind((x,), {})[0])),
)


def det(x: Any, /) -> Tensor:
    """The determinants of square matrices; the gradient needs a matrix that has an inverse."""
    return det_op.bind((_matrices(x, "det"),), {})[0]


def _slogdet_vjp(g: tuple[Tensor | None, Tensor | None], y: Any, x: Tensor) -> Tensor | None:
    return None if g[1] is None else _scale(g[1], matrix_transpose(inv_op.bind((x,), {})[0]))


slogdet_op: Op = declare(
    "slogdet",
    lambda x: tuple(np.linalg.slogdet(x)),
    lambda specs, attrs: (specs[0].with_shape(specs[0].shape[:-2]), _real(specs[0], specs[0].shape[:-2])),
    family="host",
    multiple=True,
    vjp=_slogdet_vjp,
)


class SlogdetResult(NamedTuple):
    """What `slogdet` gives."""

    sign: Tensor
    logabsdet: Tensor


def slogdet(x: Any, /) -> SlogdetResult:
    """Sign and logarithm of the absolute value of the determinants of square matrices."""
    return SlogdetResult(*slogdet_op.bind((_matrices(x, "slogdet"),), {}))


# -- Cholesky ----------------------------------------------------------------------------------------------------------


def _cholesky_vjp(g: Tensor, y: Tensor, x: Tensor) -> Tensor:
    upper = matrix_transpose(y)
    lower = tril(matmul(upper, g))
    middle = where(equal(eye(x.shape[-1], dtype=x.dtype), 1), multiply(lower, scalar(0.5, x.dtype)), lower)
    # L^-T M L^-1, made symmetric: the input is read as a symmetric matrix.
    half = solve_op.bind((upper, middle), {})[0]
    whole = matrix_transpose(solve_op.bind((upper, matrix_transpose(half)), {})[0])
    return multiply(whole + matrix_transpose(whole), scalar(0.5, x.dtype))


cholesky_op: Op = declare("cholesky", _guarded("cholesky", np.linalg.cholesky), _same, family="host", vjp=_cholesky_vjp)


def cholesky(x: Any, /, *, upper: bool = False) -> Tensor:
    """The lower (or upper) triangular L with `L @ L.T = x`, for symmetric positive definite matrices.

    Only the lower triangle is read. Raises LinAlgError for a matrix that is not positive definite.
    """
    found = cholesky_op.bind((_matrices(x, "cholesky"),), {})[0]
    return matrix_transpose(found) if upper else found


# -- eigenvalues -------------------------------------------------------------------------------------------------------


def _eigh_vjp(g: tuple[Tensor | None, Tensor | None], y: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
    if x.dtype.kind == "c":
        raise GradientError("eigh: has no gradient rule for complex matrices yet")
    values, vectors = y
    size = x.shape[-1]
    one = equal(eye(size, dtype=x.dtype), 1)
    inner = scalar(0, x.dtype)
    if g[1] is not None:
        gaps = expand_dims(values, axis=-2) - expand_dims(values, axis=-1)
        safe = where(one, scalar(1, x.dtype), gaps)
        inner = where(one, scalar(0, x.dtype), matmul(matrix_transpose(vectors), g[1]) / safe)
    if g[0] is not None:
        inner = inner + where(one, expand_dims(g[0], axis=-1), scalar(0, x.dtype))
    whole = matmul(matmul(vectors, inner), matrix_transpose(vectors))
    return multiply(whole + matrix_transpose(whole), scalar(0.5, x.dtype))


eigh_op: Op = declare(
    "eigh",
    _guarded("eigh", lambda x: tuple(np.linalg.eigh(x))),
    lambda specs, attrs: (_real(specs[0], specs[0].shape[:-1]), specs[0].with_shape(specs[0].shape)),
    family="host",
    multiple=True,
    vjp=_eigh_vjp,
)


class EighResult(NamedTuple):
    """What `eigh` gives."""

    eigenvalues: Tensor
    eigenvectors: Tensor


def eigh(x: Any, /) -> EighResult:
    """Eigenvalues, ascending, and eigenvectors (columns) of symmetric or Hermitian matrices; the lower triangle counts.

    The gradient of the vectors needs eigenvalues that differ.
    """
    return EighResult(*eigh_op.bind((_matrices(x, "eigh"),), {}))


def eigvalsh(x: Any, /) -> Tensor:
    """Eigenvalues, ascending, of symmetric or Hermitian matrices."""
    return eigh(x).eigenvalues


# -- QR and singular values --------------------------------------------------------------------------------------------


def _qr_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    *batch, rows, columns = specs[0].shape
    inner = rows if attrs["mode"] == "complete" else min(rows, columns)
    return specs[0].with_shape((*batch, rows, inner)), specs[0].with_shape((*batch, inner, columns))


qr_op: Op = declare(
    "qr",
    lambda x, *, mode: tuple(np.linalg.qr(x, mode)),
    _qr_infer,
    family="host",
    multiple=True,
    vjp=_no_gradient("qr"),
)


class QRResult(NamedTuple):
    """What `qr` gives."""

    Q: Tensor
    R: Tensor


def qr(x: Any, /, *, mode: str = "reduced") -> QRResult:
    """Q with orthonormal columns and upper triangular R with `Q @ R = x`; mode "reduced" or "complete". No gradient."""
    one_of("qr: mode", mode, "reduced", "complete")
    return QRResult(*qr_op.bind((_matrices(x, "qr", square=False),), {"mode": mode}))


def _svd_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    *batch, rows, columns = specs[0].shape
    inner = min(rows, columns)
    full = attrs["full_matrices"]
    return (
        specs[0].with_shape((*batch, rows, rows if full else inner)),
        _real(specs[0], (*batch, inner)),
        specs[0].with_shape((*batch, columns if full else inner, columns)),
    )


def _svd_vjp(
    g: tuple[Tensor | None, ...], y: tuple[Tensor, Tensor, Tensor], x: Tensor, *, full_matrices: bool
) -> Tensor | None:
    if g[0] is not None or g[2] is not None or x.dtype.kind == "c" or full_matrices:
        raise GradientError(
            "svd: only the singular values of real matrices have a gradient rule; use td.linalg.svdvals"
        )
    if g[1] is None:
        return None
    return matmul(multiply(y[0], expand_dims(g[1], axis=-2)), y[2])


svd_op: Op = declare(
    "svd",
    _guarded("svd", lambda x, *, full_matrices: tuple(np.linalg.svd(x, full_matrices=full_matrices))),
    _svd_infer,
    family="host",
    multiple=True,
    vjp=_svd_vjp,
)


class SVDResult(NamedTuple):
    """What `svd` gives."""

    U: Tensor
    S: Tensor
    Vh: Tensor


def svd(x: Any, /, *, full_matrices: bool = True) -> SVDResult:
    """U, descending singular values S and Vh with `(U * S) @ Vh = x` (for full_matrices=False)."""
    matrices = _matrices(x, "svd", square=False)
    return SVDResult(*svd_op.bind((matrices,), {"full_matrices": bool(full_matrices)}))


def svdvals(x: Any, /) -> Tensor:
    """The singular values of matrices, descending."""
    return svd(x, full_matrices=False).S


def _pinv_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    *batch, rows, columns = specs[0].shape
    return (specs[0].with_shape((*batch, columns, rows)),)


pinv_op: Op = declare(
    "pinv",
    lambda x, *, rtol: np.linalg.pinv(x, rtol=rtol),
    _pinv_infer,
    family="host",
    vjp=_no_gradient("pinv"),
)


def pinv(x: Any, /, *, rtol: float | None = None) -> Tensor:
    """The pseudo-inverses of matrices; singular values below `rtol` times the largest count as 0. No gradient."""
    return pinv_op.bind((_matrices(x, "pinv", square=False),), {"rtol": rtol})[0]


matrix_rank_op: Op = declare(
    "matrix_rank",
    lambda x, *, rtol: np.asarray(np.linalg.matrix_rank(x, rtol=rtol), np.int64),
    lambda specs, attrs: (Spec(specs[0].shape[:-2], np.dtype(np.int64)),),
    family="host",
)


def matrix_rank(x: Any, /, *, rtol: float | None = None) -> Tensor:
    """The ranks of matrices: how many singular values exceed `rtol` times the largest."""
    return matrix_rank_op.bind((_matrices(x, "matrix_rank", square=False),), {"rtol": rtol})[0]


__all__ = [
    "LinAlgError",
    "cholesky",
    "det",
    "diagonal",
    "eigh",
    "eigvalsh",
    "inv",
    "matrix_rank",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
]
