"""Matrix products as calls of BLAS: the kernels that call it, their blocks of arguments, and how work is shared out."""

from __future__ import annotations

from functools import lru_cache

from treadle.compile.llvm.build import Source
from treadle.compile.matrix import blas
from treadle.compile.matrix.blas import Dtype, scalar_words
from treadle.compile.run import pool
from treadle.compile.run.executor import Ref
from treadle.records import dataclass, replace

ITEMSIZE: dict[Dtype, int] = {"f4": 4, "f8": 8}

# A gemm block of arguments, in BLAS's column order (our row-major product C = A B is its C' = B' A'):
#   0 routine  1 transpose of B  2 transpose of A  3 m  4 n  5 k  6 B  7 ldb  8 A  9 lda  10 C  11 ldc
#   12 bytes from a row of op(A) to the next  13-14 alpha  15-16 beta  17 bytes from a row of C to the next
#   18-20 bytes from one A, B, C of a batch to the next  21 bytes from a column of op(B) to the next  22 an element's
#   23 matrices in an inner batch  24-25 bytes from one A, B of the outer batch to the next
SMALLEST_CUT = 1 << 19  # multiplications from which a product is shared out
SHORTEST_SLICE = 32  # rows or columns
# Multiplications of one product of a batch below which threads hinder each other: every call takes memory from BLAS's
# store, under one lock (10 x 10 x 10: 0.62 us a product on two threads, 0.48 on one).
SMALLEST_SHARED = 1 << 15

ROWS = Source(
    "gemm",
    """
def kernel(args, lo, hi):
    if hi > lo:
        place = address_of(args)
        call_gemm(args[0], place, args[4], hi - lo, args[6], args[8] + lo * args[12], args[10] + lo * args[17])
    return 0
""",
    native=True,
)
BATCH = Source(
    "batched gemm",
    """
def kernel(args, lo, hi):
    place = address_of(args)
    for i in range(lo, hi):
        o = i // args[23]
        j = i % args[23]
        a = args[8] + o * args[24] + j * args[18]
        b = args[6] + o * args[25] + j * args[19]
        call_gemm(args[0], place, args[4], args[3], b, a, args[10] + i * args[20])
    return 0
""",
    native=True,
)
COLUMNS = Source(
    "gemm by columns",
    """
def kernel(args, lo, hi):
    if hi > lo:
        place = address_of(args)
        call_gemm(args[0], place, hi - lo, args[3], args[6] + lo * args[21], args[8], args[10] + lo * args[22])
    return 0
""",
    native=True,
)
# A gemv block: y = alpha M x + beta y, where M gives `outputs` numbers from k:
#   0 routine  1 "N" or "T" of M as BLAS sees it  2 outputs  3 k  4 M  5 its leading dimension  6 x  7 its step  8 y
#   9 its step  10 bytes of M from an output to the next  11 those of y  12-13 alpha  14-15 beta
#   16-18 bytes from one M, x, y of a batch to the next  19 whether 1 is "T"
#   20 products in an inner batch  21-22 bytes from one M, x of the outer batch to the next
VECTOR = Source(
    "gemv",
    """
def kernel(args, lo, hi):
    if hi > lo:
        m = args[3] if args[19] else hi - lo
        n = hi - lo if args[19] else args[3]
        call_gemv(args[0], address_of(args), m, n, args[4] + lo * args[10], args[6], args[8] + lo * args[11])
    return 0
""",
    native=True,
)
BATCHED_VECTOR = Source(
    "batched gemv",
    """
def kernel(args, lo, hi):
    m = args[3] if args[19] else args[2]
    n = args[2] if args[19] else args[3]
    for i in range(lo, hi):
        o = i // args[20]
        j = i % args[20]
        x = args[6] + o * args[22] + j * args[17]
        call_gemv(args[0], address_of(args), m, n, args[4] + o * args[21] + j * args[16], x, args[8] + i * args[18])
    return 0
""",
    native=True,
)
Geometry = tuple[int, int, bool, int]
Scale = tuple[float, float]
PLACES = tuple([Ref("matrix", k) for k in range(3)])  # A, B, C of no product in particular
KERNELS = (ROWS, COLUMNS, BATCH, VECTOR, BATCHED_VECTOR)


@dataclass(frozen=True, slots=True)
class Operand:
    """A matrix in memory: place, elements from a stored row to the next and from one of a batch to the next.

    outer: elements from the first matrix of an inner batch to that of the next.
    """

    place: Ref
    lead: int
    stride: int = 0
    transposed: bool = False
    outer: int = 0


@dataclass(frozen=True, slots=True)
class Product:
    """C[m, n] = alpha op(A)[m, k] op(B)[k, n] + beta C, `batch` times, all row-major; no size but k is 0.

    inner: products in an inner batch, after which A and B go on by their outer strides; 0: there is no outer one.
    """

    dtype: Dtype
    m: int
    n: int
    k: int
    a: Operand
    b: Operand
    c: Operand
    alpha: float = 1.0
    beta: float = 0.0
    batch: int = 1
    inner: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """One kernel call that does a product; `clear` bytes of C must be 0 before it."""

    kernel: Source
    args: list[Ref | int]
    extent: int
    grain: int
    clear: int = 0


def plan(product: Product) -> Plan:
    """The call for a product: by gemv where one side is a vector, which is several times faster, else by gemm."""
    p = product
    a, b, c = p.a, p.b, p.c
    p = replace(
        p,
        a=replace(a, lead=max(a.lead, p.m if a.transposed else p.k, 1)),
        b=replace(b, lead=max(b.lead, p.k if b.transposed else p.n, 1)),
        c=replace(c, lead=max(c.lead, p.n)),
    )
    # What C holds before must not matter where beta is 0; gemv may multiply it by 0, so that C is cleared first.
    vector = (p.n == 1 or p.m == 1) and p.k > 0
    clearable = (p.m == 1 or p.c.lead == 1) and (p.batch == 1 or p.c.stride == p.m * p.n)
    return _plan_vector(p) if vector and (p.beta or clearable) else _plan_matrix(p)


@lru_cache(256)
def plan_of(
    dtype: Dtype, sizes: tuple[int, ...], a: Geometry, b: Geometry, c: Geometry, scale: Scale, processors: int
) -> Plan:
    """The call for m, n, k, batch and inner batch, with PLACES for the matrices: a network has the same many times.

    a, b, c: lead, stride, transposed, outer of each matrix; scale: alpha and beta; processors: how many there are.
    """
    m, n, k, batch, inner = sizes
    x, y, z = [Operand(place, *geometry) for place, geometry in zip(PLACES, (a, b, c), strict=True)]
    return plan(Product(dtype, m, n, k, x, y, z, *scale, batch, inner))


def _library() -> blas.Library:
    library = blas.library()
    if library is None:
        raise RuntimeError("there is no BLAS whose routines can be called by address")
    return library


def _plan_matrix(p: Product) -> Plan:
    """By gemm, cut by rows or columns of C where it is large, or by matrices of the batch."""
    size = ITEMSIZE[p.dtype]
    row, column = (1 if p.a.transposed else p.a.lead), (p.b.lead if p.b.transposed else 1)
    flags = [ord("T" if operand.transposed else "N") for operand in (p.b, p.a)]
    args: list[Ref | int] = [_library().gemm[p.dtype], *flags, p.m, p.n, p.k, p.b.place, p.b.lead, p.a.place, p.a.lead]
    args += [p.c.place, p.c.lead, size * row, *scalar_words(p.dtype, p.alpha), *scalar_words(p.dtype, p.beta)]
    args += [size * step for step in (p.c.lead, p.a.stride, p.b.stride, p.c.stride, column, 1)]
    args += [p.inner or p.batch, size * p.a.outer, size * p.b.outer]
    if p.batch > 1:
        return Plan(BATCH, args, p.batch, batch_grain(p.batch, p.m * p.n * p.k))
    kernel, extent, grain = cut(p.m, p.n, p.k)
    return Plan(kernel, args, extent, grain)


def _plan_vector(p: Product) -> Plan:
    """By gemv: C is a column op(A) b, or a row a op(B)."""
    size = ITEMSIZE[p.dtype]
    if p.n == 1:
        outputs, matrix, other = p.m, p.a, p.b
        flip, steps = not p.a.transposed, (1 if p.b.transposed else p.b.lead, p.c.lead)
    else:
        outputs, matrix, other = p.n, p.b, p.a
        flip, steps = p.b.transposed, (p.a.lead if p.a.transposed else 1, 1)
    routine, letter = _library().gemv[p.dtype], ord("T" if flip else "N")
    args: list[Ref | int] = [routine, letter, outputs, p.k, matrix.place, matrix.lead, other.place, steps[0]]
    args += [p.c.place, steps[1], size * (matrix.lead if flip else 1), size * steps[1]]
    args += [*scalar_words(p.dtype, p.alpha), *scalar_words(p.dtype, p.beta)]
    args += [size * matrix.stride, size * other.stride, size * p.c.stride, int(flip)]
    args += [p.inner or p.batch, size * matrix.outer, size * other.outer]
    clear = 0 if p.beta else size * outputs * p.batch
    if p.batch > 1:
        return Plan(BATCHED_VECTOR, args, p.batch, batch_grain(p.batch, outputs * p.k), clear)
    grain = _grain(outputs, outputs * p.k)
    return Plan(VECTOR, args, outputs, grain, clear)


def _grain(extent: int, work: int) -> int:
    """The length of a slice of `extent` rows or columns; 0 where the whole is too small to be cut."""
    # Slices are as many as there are processors, since each packs the whole other factor again; they do not follow
    # `set_num_threads`, so that it changes no result. Measured: small products and short slices lose by it.
    slices = min(pool.processors(), extent // SHORTEST_SLICE)
    return -(-extent // slices) if slices > 1 and work >= SMALLEST_CUT else 0


def cut(m: int, n: int, k: int) -> tuple[Source, int, int]:
    """How to share out an m x k by k x n product: kernel, extent it runs over, grain (0: not at all)."""
    grain = _grain(max(m, n), m * n * k)
    return (COLUMNS, n, grain) if n > m and grain else (ROWS, m, grain)


def batch_grain(batch: int, work: int) -> int:
    """Products a share of a batch should have, each of `work` multiplications; 0 where the whole is too small."""
    if batch * work < SMALLEST_CUT or work < SMALLEST_SHARED:
        return 0
    return max(1, min(-(-batch // 2), SMALLEST_CUT // max(work, 1)))
