"""Joining, padding and replacing slices as copies between views: concat, pad_slice, set_slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from treadle.compile.cost import GRAIN
from treadle.compile.fusion.emit import Kernel, Operands, Text, code
from treadle.compile.fusion.items import in_kernel
from treadle.compile.fusion.rules import used
from treadle.compile.llvm.build import Source
from treadle.compile.moves.zeros import all_zero
from treadle.compile.views import Buffer, View
from treadle.core.graph import Node
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]
Bounds = tuple[tuple[int, ...], tuple[int, ...]]  # where a piece starts and stops, along each axis
STRIP = 16  # columns that a transposing copy reads at once: a line of the cache, for float32
SIDE_BY_SIDE = 4  # vectors up to which a kernel writes them between each other: LLVM knows shuffles for so many
LARGE = 1 << 19  # bytes from which two processors copy faster than one


def copied(node: Node) -> bool:
    """Whether a node's values can be copied by kernels."""
    return False not in [in_kernel(s._spec) for s in (*node.inputs, *node.outputs)]


def part(view: View, starts: tuple[int, ...], stops: tuple[int, ...], steps: tuple[int, ...]) -> View:
    """A slice of a view; bounds are those of the slice op."""
    from treadle.ops.slicing import slice_count

    shape = tuple([int(slice_count(*bounds)) for bounds in zip(starts, stops, steps, strict=True)])
    offset = sum(start * stride for start, stride in zip(starts, view.strides, strict=True)) if 0 not in shape else 0
    strides = tuple([step * stride for step, stride in zip(steps, view.strides, strict=True)])
    return View(view.buffer, shape, view.dtype, strides, view.offset + offset)


def lay(lowerer: Lowerer, symbol: Symbol, target: View, env: Env, piece: Bounds | None = None) -> None:
    """Bring a value, or a piece of it, into a target in row order; zeros are written, not copied."""
    if all_zero(symbol):
        lowerer.asm.fill(target.ref, 0, target.nbytes)
        return
    view = lowerer.value(symbol, env)
    if piece is not None:
        view = part(view, *piece, (1,) * len(view.shape))
    if view.buffer is not target.buffer or view.offset != target.offset:
        lowerer.copy(view, target)


def keep_ready(lowerer: Lowerer, text: Text, name: str) -> None:
    """Compile a kernel that larger sizes will need together with the others, so that a larger size compiles nothing."""
    lowerer.spare.setdefault(text.key, Source(name, text.key))


def copy_bytes(lowerer: Lowerer, target: View, source: View) -> None:
    """A copy of memory in one piece; a large one is shared out."""
    nbytes = source.nbytes
    text = Text()
    text.add(0, "def kernel(args, lo, hi):")
    text.add(1, "y = p_i8(args[0])")
    text.add(1, "x = p_i8(args[1])")
    text.add(1, "for j in range(lo, hi):")
    text.add(2, "y[j] = x[j]")
    text.add(1, "return 0")
    if nbytes < LARGE or nbytes % 8 or target.buffer is source.buffer:
        lowerer.asm.copy(target.ref, source.ref, nbytes)
        keep_ready(lowerer, text, "copy")
        return
    lowerer.call(Kernel(text, (target, source), nbytes // 8, LARGE // 32), "copy")


def copy_transposed(lowerer: Lowerer, target: View, source: View) -> bool:
    """A copy whose source lies in the other order, by strips of columns; False where it is not of that kind."""
    table = Operands(source.shape)
    table.views, table.strides = [source, target], [source.strides, target.strides]
    sizes, _, (far, near) = table.collapse([False] * len(source.shape))
    if len(sizes) != 2 or far[0] != 1 or near[1] != 1 or target.buffer is source.buffer:
        return False
    kind = code(source.dtype)
    text = Text()
    text.add(0, "def kernel(args, lo, hi):")
    text.add(1, f"y = p_{kind}(args[0])")
    for k, name in enumerate(("x", "rows", "n", "s", "t")):
        text.add(1, f"{name} = args[{k + 1}]")
    text.add(1, "for g in range(lo, hi):")
    text.add(2, f"width = min_i8({STRIP}, rows - g * {STRIP})")
    for indent, test, count in ((2, f"if width == {STRIP}:", f"{STRIP}"), (2, "else:", "width")):
        text.add(indent, test)
        text.add(3, "for k in range(n):")
        text.add(4, f"q = p_{kind}(x + (k * s + g * {STRIP}) * {kind[1]})")
        text.add(4, f"for r in range({count}):")
        text.add(5, f"y[(g * {STRIP} + r) * t + k] = q[r]")
    text.add(1, "return 0")
    if min(sizes) < STRIP:
        keep_ready(lowerer, text, "copy_transposed")
        return False
    strips = -(-sizes[0] // STRIP)
    grain = max(1, GRAIN // (STRIP * sizes[1])) if sizes[0] * sizes[1] >= 2 * GRAIN else 0
    lowerer.call(Kernel(text, (target, source, *sizes, far[1], near[0]), strips, grain), "copy_transposed")
    return True


def _interleave(lowerer: Lowerer, node: Node, target: View, parts: Sequence[View]) -> None:
    """Whole vectors side by side: element j of each, then element j + 1."""
    kind, count = code(target.dtype), len(parts)
    text = Text()
    text.add(0, "def kernel(args, lo, hi):" + ("  # apart" if _apart(target, parts) else ""))
    text.add(1, f"y = p_{kind}(args[0])")
    for d in range(count):
        text.add(1, f"x{d} = p_{kind}(args[{d + 1}])")
    text.add(1, "for j in range(lo, hi):")
    for d in range(count):
        text.add(2, f"y[j * {count} + {d}] = x{d}[j]", node)
    text.add(1, "return 0")
    n = parts[0].size
    lowerer.call(Kernel(text, (target, *parts), n, GRAIN if n >= 2 * GRAIN else 0), node.op)


def _apart(target: View, parts: Sequence[View]) -> bool:
    table = Operands(target.shape)
    table.views = [target, *parts]
    return table.apart


def _side_by_side(node: Node, target: View, parts: Sequence[View]) -> bool:
    """Whether the parts of a join are a few whole vectors, each one element wide along the last axis."""
    last = len(target.shape) - 1
    wide = node.attrs["axis"] != last or not 2 <= len(parts) <= SIDE_BY_SIDE or 0 in target.shape
    return not wide and all(view.shape[last] == 1 and view.contiguous for view in parts)


def lower_concat(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """One copy for each part that was not made in its place."""
    if not copied(node):
        return False
    from treadle.compile.joining import span

    out, axis = node.outputs[0], node.attrs["axis"]
    begun = lowerer.joined.pop(out, None)
    target = env[out] = begun or lowerer.fresh(out, targets)
    parts = [lowerer.value(symbol, env) for symbol in node.inputs]
    if begun is None and target.contiguous and _side_by_side(node, target, parts):
        _interleave(lowerer, node, target, parts)
        return True
    start = 0
    for symbol, view in zip(node.inputs, parts, strict=True):
        place = part(target, *span(target.shape, axis, start, symbol), (1,) * len(target.shape))
        start += view.shape[axis]
        if view != place:  # else it was made there
            lowerer.copy(view, place)
    return True


def _laid_around(lowerer: Lowerer, node: Node, target: View, env: Env) -> bool:
    """Whether what a slice is written with was made there already; then only what is around it is brought."""
    if lowerer.joined.pop(node.outputs[0], None) is None:
        return False
    used("what replaces a slice is made in its place")
    starts, stops = node.attrs["starts"], node.attrs["stops"]
    empty = node.op == "pad_slice" or all_zero(node.inputs[0])
    source = _zeros(lowerer, target) if empty else lowerer.value(node.inputs[0], env)
    for axis, size in enumerate(target.shape):
        for first, last in ((0, starts[axis]), (stops[axis], size)):
            low = (*starts[:axis], first, *[0] * (len(starts) - axis - 1))
            high = (*stops[:axis], last, *target.shape[axis + 1 :])
            steps = (1,) * len(low)
            place = part(target, low, high, steps)
            if empty and place.contiguous and place.size:
                lowerer.asm.fill(place.ref, 0, place.nbytes)
            else:
                lowerer.copy(part(source, low, high, steps), place)
    return True


def _zeros(lowerer: Lowerer, like: View) -> View:
    """A view of one zero that is as large as another."""
    zero = np.zeros((), like.dtype)
    buffer = Buffer("constant", lowerer.asm.constant(zero), zero.nbytes)
    return View(buffer, like.shape, like.dtype, (0,) * len(like.shape))


def around(target: View, starts: Sequence[int], inside: View) -> list[Bounds]:
    """What must be laid before a slice is written: bounds of pieces in one go each, what the slice fills left out.

    Only along the first axis that it does not fill: other gaps between its rows are written twice.
    """
    rank = len(target.shape)
    partial = [k for k in range(rank) if inside.shape[k] != target.shape[k]]
    if not partial:
        return []
    if not inside.size or inside.strides != target.strides:
        return [((0,) * rank, target.shape)]
    axis = partial[0]
    if any(size != 1 for size in target.shape[:axis]):
        return [((0,) * rank, target.shape)]
    first, last = starts[axis], starts[axis] + inside.shape[axis]
    cuts = [(0, first), (last, target.shape[axis])]
    if len(partial) > 1:
        cuts.append((first, last))
    before, after = (0,) * axis, (0,) * (rank - axis - 1)
    return [
        ((*before, low, *after), (*target.shape[:axis], high, *target.shape[axis + 1 :]))
        for low, high in cuts
        if low < high
    ]


def lower_pad_slice(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Zeros, then a copy into the slice."""
    if not copied(node):
        return False
    out = node.outputs[0]
    target = env[out] = lowerer.joined.get(out) or lowerer.fresh(out, targets)
    if _laid_around(lowerer, node, target, env):
        return True
    inside = part(target, node.attrs["starts"], node.attrs["stops"], node.attrs["steps"])
    for low, high in around(target, node.attrs["starts"], inside):
        piece = part(target, low, high, (1,) * len(low))
        lowerer.asm.fill(piece.ref, 0, piece.nbytes)
    if all_zero(node.inputs[0]):
        lowerer.asm.fill(target.ref, 0, target.nbytes)
    else:
        lowerer.copy(lowerer.value(node.inputs[0], env), inside)
    return True


def lower_set_slice(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """The old value, then the new part over it."""
    if not copied(node):
        return False
    out = node.outputs[0]
    value = lowerer.value(node.inputs[1], env)
    target = env[out] = lowerer.joined.get(out) or lowerer.fresh(out, targets)
    if _laid_around(lowerer, node, target, env):
        return True
    inside = part(target, node.attrs["starts"], node.attrs["stops"], node.attrs["steps"])
    if lowerer.inplace and target.buffer.kind == "input":
        lowerer.asm.commit()  # a variable is overwritten
    if value == inside:  # it was made in its place, with the old value around it
        return True
    for bounds in around(target, node.attrs["starts"], inside):
        lay(lowerer, node.inputs[0], part(target, *bounds, (1,) * len(target.shape)), env, bounds)
    lowerer.copy(value, inside)
    return True
