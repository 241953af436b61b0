"""Matrix products of floats by kernels of our own: tiles of the result in registers, panels of B in the first cache.

A product C[m, n] = A[m, k] B[k, n] goes over k in parts whose panel of B, two vectors wide, stays in the first cache;
each tile of six rows reads A where it lies, whatever its strides are. B is brought into panels, since its rows may be
far apart, or its columns. No thread, lock or call of a library is in it, so that small products cost what they are.
"""

from __future__ import annotations

from functools import cache, lru_cache

from treadle.compile.llvm.build import Source
from treadle.compile.matrix.blas import Dtype, scalar_words
from treadle.compile.run import pool
from treadle.compile.run.executor import Ref
from treadle.records import dataclass

# Rows of a panel of B: 320 of 64 bytes are 20 of the first cache's 32 kB.
DEPTH = 320
# Bytes of A that are read again for each panel of B before the next rows come: half of a second cache of 512 kB.
ROWS_BYTES = 1 << 18
FEW = 12  # rows up to which B is read where it lies

# 0-2 A, B, C  3-5 m, n, k  6-7 bytes along rows and columns of A  8-9 of B  10 along rows of C  11 matrices in an inner
# batch  12-13 bytes from one A of the outer and of the inner batch to the next  14-15 of B  16 of C  17 whether to add
# to C  18 what lo..hi counts: 0 products of the batch, 1 rows, 2 columns  19 by what a product is multiplied that is
# added  20 the number 1
_TEXT = """
def kernel(args, lo, hi):
    m = args[3]
    k = args[5]
    ar = args[6]
    ac = args[7]
    br = args[8]
    bc = args[9]
    cr = args[10]
    inner = args[11]
    mode = args[18]
    lanes = lanes_KIND()
    wide = 2 * lanes
    line = SIZE * wide
    room = room_KIND(DEPTH)
    first = lo if mode == 0 else 0
    last = hi if mode == 0 else 1
    row0 = lo if mode == 1 else 0
    row1 = hi if mode == 1 else m
    column0 = lo if mode == 2 else 0
    column1 = hi if mode == 2 else args[4]
    parts = (k + DEPTH - 1) // DEPTH
    depth = (k + parts - 1) // parts
    rows = max(96, ROWS_BYTES // (SIZE * depth))
    for t in range(first, last):
        a = args[0] + t // inner * args[12] + t % inner * args[13]
        b = args[1] + t // inner * args[14] + t % inner * args[15]
        c = args[2] + t * args[16]
        q = 0
        while q < k:
            part = min(depth, k - q)
            plus = address_of(args) + 8 * (20 if q > 0 else 19) if q > 0 or args[17] != 0 else 0
            top = row0
            while top < row1:
                bottom = row1 if row1 - top < rows + rows // 2 else top + rows
                j = column0
                while j < column1:
                    count = min(wide, column1 - j)
                    source = b + q * br + j * bc
                    panel = room
                    following = line
                    if bc == SIZE:
                        if bottom - top <= FEW and count == wide:
                            panel = source
                            following = br
                        else:
                            panel_KIND(part, source, br, room, count)
                    else:
                        if count < wide:
                            fill(room, 0, part * line)
                        x = 0
                        while x < count:
                            y = 0
                            while y < part:
                                if br == SIZE and x + lanes <= count and y + lanes <= part:
                                    turned_KIND(source + x * bc + y * SIZE, bc, room + y * line + x * SIZE, line)
                                else:
                                    for v in range(y, min(y + lanes, part)):
                                        for u in range(x, min(x + lanes, count)):
                                            cell = p_KIND(room + v * line + u * SIZE)
                                            cell[0] = p_KIND(source + u * bc + v * br)[0]
                                y += lanes
                            x += lanes
                    i = top
                    at = a + top * ar + q * ac
                    to = c + top * cr + j * SIZE
                    while i + 6 <= bottom:
                        tile_KIND_6(part, at, ar, ac, panel, following, to, cr, count, plus)
                        i += 6
                        at += 6 * ar
                        to += 6 * cr
                    left = bottom - i
TAILS
                    j += wide
                top = bottom
            q += part
    return 0
"""


# Multiplications from which a product is shared out: 7 us on one thread, where handing over takes 0.5.
SMALLEST_CUT = 1 << 18
SHORTEST = 16  # rows of a share


@cache
def source(kind: Dtype) -> Source:
    """The kernel for products of `kind`, "f4" or "f8"."""
    tails = []
    for rows in (4, 2, 1):
        tails.append(f"                    if left >= {rows}:")
        tails.append(
            f"                        tile_KIND_{rows}(part, at, ar, ac, panel, following, to, cr, count, plus)"
        )
        tails += [f"                        {name} += {rows} * {step}" for name, step in (("at", "ar"), ("to", "cr"))]
        tails.append(f"                        left -= {rows}")
    text = _TEXT.replace("TAILS", "\n".join(tails)).replace("ROWS_BYTES", str(ROWS_BYTES)).replace("DEPTH", str(DEPTH))
    text = text.replace("FEW", str(FEW)).replace("KIND", kind).replace("SIZE", kind[1])
    return Source(f"product_{kind}", text, native=True, hot=True)


@dataclass(frozen=True, slots=True)
class Factor:
    """A or B: its place, and bytes along its rows, its columns, and the outer and inner axis of the batch."""

    place: Ref
    row: int
    column: int
    outer: int = 0
    inner: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """C: its place, and bytes along its rows and from one of a batch to the next; its columns lie side by side."""

    place: Ref
    row: int
    each: int = 0


@dataclass(frozen=True, slots=True)
class Sizes:
    """`count` products of m x k by k x n, in batches of `inner`."""

    m: int
    n: int
    k: int
    count: int = 1
    inner: int = 1


def arguments(
    sizes: Sizes, a: Factor, b: Factor, c: Result, add: float, kind: Dtype
) -> tuple[list[Ref | int], int, int]:
    """The arguments of a call, what lo..hi runs over, and the length of a share (0: not shared out).

    add: by what the product is multiplied that is added to C; 0: it takes C's place.
    """
    mode, extent, grain = _shared_out(sizes, kind)
    numbers: list[Ref | int] = [
        a.place,
        b.place,
        c.place,
        sizes.m,
        sizes.n,
        sizes.k,
        a.row,
        a.column,
        b.row,
        b.column,
        c.row,
    ]
    numbers += [sizes.inner, a.outer, a.inner, b.outer, b.inner, c.each, int(add != 0), mode]
    numbers += [scalar_words(kind, add)[0], scalar_words(kind, 1.0)[0]]
    return numbers, extent, grain


@lru_cache(256)
def _shared_out(sizes: Sizes, kind: str) -> tuple[int, int, int]:
    """What lo..hi counts, its end and the length of a share: by sizes and processors alone, whatever threads there are.

    Each element of the result is summed in one order, so that shares change no result.
    """
    m, n, work, processors = sizes.m, sizes.n, sizes.m * sizes.n * sizes.k, pool.processors()
    if sizes.count > 1:
        grain = max(1, min(-(-sizes.count // processors), SMALLEST_CUT // (2 * work)))
        return 0, sizes.count, grain if sizes.count * work >= SMALLEST_CUT else 0
    if work < SMALLEST_CUT or processors < 2:
        return 1, m, 0
    wide = 64 // int(kind[1])
    rows = -(-m // min(processors, max(1, m // SHORTEST)))
    columns = -(-n // (wide * processors)) * wide
    if _cost(rows, n, wide) <= _cost(m, columns, wide):
        return 1, m, rows if rows < m else 0
    return 2, n, columns if columns < n else 0


def _cost(rows: int, columns: int, wide: int) -> int:
    """Rounds of the inner loop, about: tiles of six rows cost 6, smaller ones 4, a panel 3."""
    tiles = rows // 6 * 6 + 4 * (rows % 6).bit_count()
    return -(-columns // wide) * (tiles + 3)
