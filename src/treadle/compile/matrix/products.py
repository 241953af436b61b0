"""Matrix products: kernels of our own, which read factors where they lie, or BLAS, where matrices are very large."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from treadle.compile.assembler import Deferred
from treadle.compile.fusion.emit import broadcast_strides
from treadle.compile.fusion.groups import call_group
from treadle.compile.fusion.small_groups import combine_group, combining_of
from treadle.compile.matrix import blas, tiled
from treadle.compile.matrix.small_products import SMALL, Side, call_dot, call_small
from treadle.compile.moves.copies import copied
from treadle.compile.views import View, whole
from treadle.core.graph import Node
from treadle.core.op import REGISTRY
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol
from treadle.records import dataclass, replace

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]
# Multiplications up to which tiles are quicker than BLAS, which also packs A: at 32 x 64 x 192 by half, at 100^3 by a
# fifth, at 300^3 by some hundredths; 512^3 takes BLAS less.
LARGEST = 1 << 25
# A product of at most so many numbers, each a sum over k, goes by parts of k that are no shorter than this.
SMALL_RESULT, SHORTEST_PART = 1 << 9, 1 << 11


@dataclass(frozen=True, slots=True)
class _Batch:
    """The batch as `outer` times `inner` matrices, and each side's steps along the two."""

    outer: int
    inner: int
    a: tuple[int, int]
    b: tuple[int, int]


_SINGLE = _Batch(1, 1, (0, 0), (0, 0))


def _matrix(view: View) -> tuple[bool, int] | None:
    """How BLAS can read the last two axes: (transposed, leading dimension); None when it cannot."""
    rows, columns = view.shape[-2:]
    down, along = view.strides[-2:]
    if along == 1 or columns == 1:
        step = down if rows > 1 else columns
        if step >= columns and (along == 1 or columns == 1):
            return False, max(step, 1)
    if down == 1 or rows == 1:
        step = along if columns > 1 else rows
        if step >= rows:
            return True, max(step, 1)
    return None


def _overlapping(view: View) -> bool:
    """Whether rows share memory, as windows do: tiles read them where they lie, BLAS cannot."""
    rows, columns = view.shape[-2:]
    return rows > 1 and view.strides[-1] == 1 and 0 < view.strides[-2] < columns


def _batches(a: View, b: View, batch: tuple[int, ...]) -> _Batch | None:
    """The batch's axes merged where both sides allow; None where more than two are left."""
    if not batch:
        return _SINGLE
    steps = [broadcast_strides(View(v.buffer, v.shape[:-2], v.dtype, v.strides[:-2], v.offset), batch) for v in (a, b)]
    merged: list[tuple[int, int, int]] = []
    for size, one, two in zip(batch, *steps, strict=True):
        if size == 1:
            continue
        if merged and merged[-1][1:] == (one * size, two * size):
            merged[-1] = (merged[-1][0] * size, one, two)
        else:
            merged.append((size, one, two))
    if len(merged) > 2:
        return None
    outer, inner = [(1, 0, 0)] * (2 - len(merged)) + merged
    return _Batch(outer[0], inner[0], (outer[1], inner[1]), (outer[2], inner[2]))


def lower_matmul(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Lay out a product; False where NumPy has to do it (complex numbers, bools, batches that broadcast oddly)."""
    out = node.outputs[0]
    first, second = node.inputs
    if not copied(node) or out.dtype.kind == "b" or len(first.shape) < 2 or len(second.shape) < 2:
        return False
    a, b = lowerer.value(first, env), lowerer.value(second, env)
    flags = (node.attrs.get("transpose_a", False), node.attrs.get("transpose_b", False))
    shape: tuple[int, ...] = out.shape  # type: ignore[assignment]
    m, n = shape[-2:]
    k = a.shape[-2] if flags[0] else a.shape[-1]
    way = _way(out, m, n, k, flags[0])
    if way == "blas" and (_overlapping(a) or _overlapping(b)):
        way = "tiled"
    if way == "blas":
        a, b = (view if _matrix(view) is not None else lowerer.contiguous(view) for view in (a, b))
    batch = _batches(a, b, shape[:-2])
    if batch is None:
        return False
    target = env[out] = lowerer.fresh(out, targets)
    if 0 in shape:
        return True
    if k == 0:
        lowerer.asm.fill(target.ref, 0, target.nbytes)
        return True
    left, right = _side(a, flags[0], batch.a), _side(b, flags[1], batch.b)
    count = math.prod(shape[:-2])
    dot = m == n == count == 1 and left.column == right.row == 1 and out.dtype.kind == "f"
    if dot:
        call_dot(lowerer, node, a, b, target, k)
    elif way == "small":
        call_small(lowerer, node, target, left, right, k, count, batch.inner)
    elif way == "tiled":
        _call_tiled(lowerer, node, target, left, right, k, count, batch.inner)
    else:
        _call_blas(lowerer, node, target, a, b, flags, batch, k)
    return True


def lower_accumulated(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Lay out a product that is added to a matrix: in its memory where it dies there, else to a copy of it."""
    out = node.outputs[0]
    before, first, second = node.inputs
    if not copied(node) or out.dtype.kind != "f":
        return False
    a, b = lowerer.value(first, env), lowerer.value(second, env)
    flags = (node.attrs["transpose_a"], node.attrs["transpose_b"])
    shape: tuple[int, ...] = out.shape  # type: ignore[assignment]
    m, n = shape[-2:]
    k = a.shape[-2] if flags[0] else a.shape[-1]
    by_blas = _way(out, m, n, k, flags[0]) == "blas" and not (_overlapping(a) or _overlapping(b))
    if by_blas:
        a, b = (view if _matrix(view) is not None else lowerer.contiguous(view) for view in (a, b))
    batch = _batches(a, b, shape[:-2])
    if batch is None:
        return False
    old, target = lowerer.value(before, env), lowerer.fresh(out, targets)
    env[out] = target
    if lowerer.inplace and target.buffer.kind == "input":
        lowerer.asm.commit()  # a variable is overwritten
    if old != target:
        lowerer.copy(old, target)
    if k == 0 or 0 in shape:
        return True
    scale: float = node.attrs["alpha"]
    if by_blas:
        _call_blas(lowerer, node, target, a, b, flags, batch, k, scale)
    else:
        count = math.prod(shape[:-2])
        sides = _side(a, flags[0], batch.a), _side(b, flags[1], batch.b)
        _lay_tiles(lowerer, node, target, *sides, k, count, batch.inner, scale)
    return True


def _way(out: Symbol, m: int, n: int, k: int, turned: bool) -> str:
    """Who does a product: a kernel written for it, tiles, or BLAS; turned: whether A is transposed."""
    work = m * n * k
    if out.dtype.kind != "f" or work <= SMALL:
        return "small"
    # Tiles of a transposed A read a few numbers of each line that they touch, again for each panel of B.
    far = turned and work > LARGEST // 4 and m * min(k, tiled.DEPTH) * out.dtype.itemsize > tiled.ROWS_BYTES
    large = m == 1 or n == 1 or work > LARGEST or far
    return "blas" if large and blas.available() else "tiled"


def _call_tiled(lowerer: Lowerer, node: Node, target: View, a: Side, b: Side, k: int, count: int, inner: int) -> None:
    """Lay out `count` products by tiles; one of a small result and a long sum goes by parts of the sum."""
    m, n = target.shape[-2:]
    parts = deep_parts(m * n * count, k) if count == 1 else 1
    if parts == 1:
        _lay_tiles(lowerer, node, target, a, b, k, count, inner)
        if count == 1 and m * n <= SMALL_RESULT:  # a larger k would go by parts
            lowerer.offer(combining_of(REGISTRY["sum"], target.dtype, 2))
        return
    part = k // parts
    partial = lowerer.memory(Spec((parts, m, n), target.dtype))
    a, b = replace(a, outer=0, inner=part * a.column), replace(b, outer=0, inner=part * b.row)
    _lay_tiles(lowerer, node, partial, a, b, part, parts, parts)
    _add_up(lowerer, partial, target)
    lowerer.free(partial.buffer)


def deep_parts(numbers: int, k: int) -> int:
    """In how many parts a sum over k goes, by sizes alone: so that processors share a product of few numbers."""
    if numbers > SMALL_RESULT:
        return 1
    return next((parts for parts in (8, 4, 2) if k % parts == 0 and k // parts >= SHORTEST_PART), 1)


def _add_up(lowerer: Lowerer, partial: View, target: View) -> None:
    """The sum of partial results."""
    shape = (target.size,)
    flat = whole(partial.buffer, Spec((partial.shape[0], *shape), target.dtype))
    group, made = combine_group(REGISTRY["sum"], flat)
    end = View(target.buffer, shape, target.dtype, (1,), target.offset)
    call_group(lowerer, group, {group.nodes[0].inputs[0]: flat}, {}, {made: end})


def _lay_tiles(
    lowerer: Lowerer, node: Node, target: View, a: Side, b: Side, k: int, count: int, inner: int, add: float = 0.0
) -> None:
    """The call of the tiles' kernel; add: by what the product is multiplied that is added to the target, or 0."""
    size = target.dtype.itemsize
    m, n = target.shape[-2:]
    kind: blas.Dtype = "f4" if size == 4 else "f8"
    left, right = _factor(a, size), _factor(b, size)
    result = tiled.Result(target.ref, n * size, m * n * size)
    args, extent, grain = tiled.arguments(tiled.Sizes(m, n, k, count, inner), left, right, result, add, kind)
    source = tiled.source(kind)
    entry = lowerer.deferred.setdefault(source.text, Deferred(source))
    lowerer.asm.call(entry, args, extent, grain, node.name)


def _factor(side: Side, size: int) -> tiled.Factor:
    """A factor in bytes."""
    return tiled.Factor(side.view.ref, side.row * size, side.column * size, side.outer * size, side.inner * size)


def _side(view: View, flag: bool, steps: tuple[int, int]) -> Side:
    """A factor with its transposition undone; an axis of size 1 has whatever step suits best."""
    rows, columns = view.shape[-2:]
    down = view.strides[-2] if rows > 1 else columns
    along = view.strides[-1] if columns > 1 else 1
    if columns == 1 and rows > 1:
        along = 1
    if flag:
        down, along = along, down
    return Side(view, down, along, *steps)


def _call_blas(
    lowerer: Lowerer,
    node: Node,
    target: View,
    a: View,
    b: View,
    flags: tuple[bool, bool],
    batch: _Batch,
    k: int,
    add: float = 0.0,
) -> None:
    """The call of BLAS; add: by what the product is multiplied that is added to the target, or 0."""
    kind: blas.Dtype = "f4" if target.dtype.itemsize == 4 else "f8"
    source = tiled.source(kind)
    lowerer.spare.setdefault(source.text, source)  # other sizes need it
    layouts = _matrix(a), _matrix(b)
    assert layouts[0] is not None
    assert layouts[1] is not None
    m, n = target.shape[-2:]
    lowerer.asm.gemm(
        kind,
        layouts[0][0] != flags[0],
        layouts[1][0] != flags[1],
        m,
        n,
        k,
        a.ref,
        layouts[0][1],
        b.ref,
        layouts[1][1],
        target.ref,
        n,
        add or 1.0,
        1.0 if add else 0.0,
        batch=batch.outer * batch.inner,
        strides=(batch.a[1], batch.b[1], m * n),
        inner=batch.inner,
        outer=(batch.a[0], batch.b[0]),
        note=node.name,
    )
