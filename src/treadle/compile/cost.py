"""What work costs, in one place: the constants by which groups are formed, cut into shares and kept in cache.

Figures in comments are measured: a 2-core AVX2 machine (Zen 3), float32, one thread, cycles and instructions an element
by the processor's counters, minima of 40 to 60 runs. Constants without a figure, and the units of ops, are estimates.
One unit is what a contiguous load of an element already in cache costs in a vectorised loop.
"""

from __future__ import annotations

import math
from functools import lru_cache

from treadle.core.graph import Node
from treadle.core.spec import Shape

MAX_OPERANDS = 18  # beyond this many pointers LLVM stops vectorising unaided
MAX_NODES = 60  # a kernel stays short enough to read, and to compile quickly
# A row of at most PERIOD elements that work over many rows reads again and again is written out PERIODS times or more,
# so that the innermost loop is long: [25000, 4] + [4] costs 3.3 cycles an element row by row and 0.9 written out, with
# rows of 10 2.1 and 0.9, of 16 1.6 and 0.8, of 32 0.9 both ways.
PERIOD, PERIODS = 31, 32
LOOK_AHEAD = 24  # readers that are looked at to see whether a column's sum is read by work on full values
SIBLINGS = 4  # groups that read an array, the latest, among which work on it looks for company
# Sides of the squares in which an operand in the other order is read. x.T + x of 1000x1000: 1,260 us by rows, 710 in
# squares; of 256x256: 50 us in squares of 16 or 32, 81 of 64; of 100x100: 6.6, 5.2, 4.6.
TILE = 32
GRAIN = 8_192  # elements of work below which a share is not worth handing over (measured on the chain)
# Shares of elementwise work that a core gets at most: more would be calls for little work (isinf of 10^6: 122 shares of
# 8,192 elements take 130 us, 32 take 110).
PIECES = 16

# Elements of one block of a sum over rows: small enough to give two cores work from 2 * BAND elements on.
BAND = 16_384
# Rows of a block at least: each block writes partial results as long as a row, and reads them again to add them up.
BAND_ROWS = 32
# Elements added up by themselves before their sum is added to the rest: 64 additions a lane. It costs a horizontal sum
# in so many elements, and keeps the error of a sum of 10^6 float32 of one sign at some 10^-6.
SLICE = 2_048
MANY_PARTS = 64  # partial rows beyond which they are added up by blocks of BAND_ROWS, and those again
SCRATCH_SHARES = 16  # a kernel with scratch rows is cut into at most so many shares, each with rows of its own

# Rows shorter than this go side by side in strips. Softmax of rows of 10 costs 18 cycles an element row by row and 9 in
# strips, of rows of 16 9 and 11; sums alone of rows of 2 cost 6 and 3, of rows of 4 2.8 and 2.7 (Zen 3, AVX2).
SHORT_ROW, SHORT_CHEAP_ROW = 16, 4
HEAVY = 10  # units from which work on an element is more than the copies that strips of short rows make
# Rows in a strip. Softmax over axis 0 of 1000x1000 costs 13 cycles an element in strips of 64, 9.5 in strips of 512,
# 5.2 in one strip of all, which leaves nothing for a second core; of 1000x128 7.7 in strips of 64, 3.3 in one.
STRIP_ROWS = 512
# Rows from this length on are read where a gather finds them, in kernels that make one pass: x[i] * w for 4096 rows of
# 16 takes 9 % longer than with a copy of the rows, of 32 a quarter less, of 64 and more half the time (Zen 3).
PICKED_ROW = 32
# Single elements from which a scatter computes its updates itself. add(x * x) to 256 places: 10^4 elements take 3.5
# cycles each, 3.2 with the updates written before; 10^6 elements 3.5 and 3.7, to sorted places 5.9 and 6.4.
SINGLE_UPDATES = 1 << 17
# A last axis of at most so many elements is no innermost loop for sums of repeated values; REPEATED times or more, that
# is, operands are turned for the longer one.
SHORT_LAST, REPEATED = 8, 8
# Random numbers are drawn by so many into memory on the stack, inside the loop that reads them.
DRAWN_PIECE = 512
DRAWN_RUN = 64  # elements of an innermost loop from which random numbers are drawn in it
DRAWN_ROOM = 4_096  # random numbers of a row that are kept on the stack where several passes read them
DRAWN_WORK = 4  # elements that the drawing of a number costs about as much as
WIDE_STRIP = 64  # elements of a row that are worth a strip of a scatter of rows for one core: each looks at all indices
RECOMPUTE = 6  # units up to which a value is computed again in the next pass over a row rather than kept
WIDE_ROW = 32_768  # elements of a row beyond which a few rows are no work for several cores
FEW_ROWS = 8

_OPS = {
    "divide": 4, "sqrt": 5, "rsqrt": 7, "reciprocal": 4, "exp": 10, "expm1": 14, "exp2": 10, "log": 14, "log1p": 16,
    "log2": 14, "log10": 14, "tanh": 16, "sigmoid": 14, "sin": 16, "cos": 16, "tan": 24, "erf": 24, "erfc": 30,
    "pow": 30, "floor_divide": 20, "remainder": 20, "logaddexp": 28,
    "lgamma": 60, "digamma": 60, "polygamma1": 90, "polygamma2": 100, "polygamma3": 100, "erfinv": 40, "cbrt": 20,
    "hypot": 10, "softplus": 28,
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


@lru_cache(1024)
def rows_pay(shape: Shape, inner: tuple[int, ...]) -> bool:
    """Whether rows are enough, or short enough, to be worked on one by one: else several cores share each pass."""
    size = math.prod(shape)
    row = math.prod(shape[k] for k in inner)
    return row <= WIDE_ROW or size >= FEW_ROWS * row


def band(rows: int, row: int) -> int:
    """How many rows a block of a sum over rows takes; by size alone, so that sums do not depend on threads."""
    return min(max(BAND_ROWS, BAND // max(row, 1)), max(rows, 1))


@lru_cache(1024)
def goes_in_strips(shape: Shape, inner: tuple[int, ...], work: int) -> bool:
    """Whether rows are worked on side by side: they are short, or their elements do not lie along the last axis.

    work: units of the dearest op on full values.
    """
    row = math.prod(shape[k] for k in inner)
    last = max(k for k, size in enumerate(shape) if size != 1)
    return last not in inner or row < (SHORT_ROW if work >= HEAVY else SHORT_CHEAP_ROW)
