"""What work costs, in one place: the constants by which groups are formed, cut into shares and kept in cache.

All figures are from a 2-core AVX2 machine (Zen 3), float32, minima of many runs; they are reasons, not promises.
One unit is what a contiguous load of an element already in cache costs in a vectorised loop, about 0.05 ns.
"""

from __future__ import annotations

import math

from treadle.core.graph import Node
from treadle.core.spec import Shape

MAX_OPERANDS = 18  # beyond this many pointers LLVM stops vectorising unaided
MAX_NODES = 60  # a kernel stays short enough to read, and to compile quickly
GRAIN = 8_192  # elements of work below which a share is not worth handing over (measured on the chain)

# Elements of one block of a sum over rows: small enough to give two cores work from 2 * BAND elements on.
BAND = 16_384
# Rows of a block at least: each block writes partial results as long as a row, and reads them again to add them up.
BAND_ROWS = 32
SCRATCH_SHARES = 16  # a kernel with scratch rows is cut into at most so many shares, each with rows of its own

RECOMPUTE = 6  # units up to which a value is computed again in the next pass over a row rather than kept
WIDE_ROW = 32_768  # elements of a row beyond which a few rows are no work for several cores
FEW_ROWS = 8

_OPS = {
    "divide": 4, "sqrt": 5, "rsqrt": 7, "reciprocal": 4, "exp": 10, "expm1": 14, "exp2": 10, "log": 14, "log1p": 16,
    "log2": 14, "log10": 14, "tanh": 16, "sigmoid": 14, "sin": 16, "cos": 16, "tan": 24, "erf": 24, "erfc": 30,
    "pow": 30, "floor_divide": 20, "remainder": 20, "logaddexp": 28, "hypot": 10, "softplus": 28,
}  # fmt: skip
_CHEAP = {
    "add", "subtract", "multiply", "negative", "positive", "abs", "square", "maximum", "minimum", "equal", "not_equal",
    "less", "less_equal", "greater", "greater_equal", "where", "logical_and", "logical_or", "logical_not", "astype",
    "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_invert", "floor", "ceil", "trunc", "sign",
    "round", "isnan", "isfinite", "isinf", "signbit", "copysign",
}  # fmt: skip


def units(node: Node) -> int:
    """The cost of one element of an elementwise node."""
    return 1 if node.op in _CHEAP else _OPS.get(node.op, 16)


def rows_pay(shape: Shape, inner: tuple[int, ...]) -> bool:
    """Whether rows are enough, or short enough, to be worked on one by one: else several cores share each pass."""
    size = math.prod(shape)
    row = math.prod(shape[k] for k in inner)
    return row <= WIDE_ROW or size >= FEW_ROWS * row


def band(rows: int, row: int) -> int:
    """How many rows a block of a sum over rows takes; by size alone, so that sums do not depend on threads."""
    return min(max(BAND_ROWS, BAND // max(row, 1)), max(rows, 1))
