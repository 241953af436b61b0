"""`td.linalg`: linear algebra under the names of the Array API standard, and NumPy's `norm`."""

from treadle.ops.arranging import diagonal
from treadle.ops.factorize import (
    LinAlgError,
    cholesky,
    det,
    eigh,
    eigvalsh,
    inv,
    matrix_rank,
    pinv,
    qr,
    slogdet,
    solve,
    svd,
    svdvals,
)
from treadle.ops.linalg import cross, matmul, matrix_power, outer, tensordot, trace, vecdot
from treadle.ops.norms import matrix_norm, norm, vector_norm
from treadle.ops.shaping import matrix_transpose

__all__ = [
    "LinAlgError",
    "cholesky",
    "cross",
    "det",
    "diagonal",
    "eigh",
    "eigvalsh",
    "inv",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "norm",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "tensordot",
    "trace",
    "vecdot",
    "vector_norm",
]
