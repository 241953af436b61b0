"""The sum of everything and the sum of squares around a number made of it (a variance), in one pass over memory.

Each block is added up, and its squares around its own mean, while it is in cache; from block to block the squares are
moved to the common middle: for any m, the sum of (x - m)^2 over a block is that around the block's mean, plus its
count times (mean - m)^2 (Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983). So nothing
is lost where the middle is far from zero, unlike with a sum of squares alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.compile.cost import GRAIN, SLICE
from treadle.compile.fusion.emit import BLOCK, Kernel, Text, code
from treadle.compile.fusion.fuse import Fuser
from treadle.compile.fusion.items import Group, is_scalar_constant
from treadle.compile.fusion.levels import other_axes, true_axes
from treadle.compile.fusion.rules import used
from treadle.compile.views import View
from treadle.core.graph import Node
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]


def _sums_all(node: Node | None) -> bool:
    """Whether a node adds up everything, as floats."""
    if node is None or node.op != "sum":
        return False
    (source,), (out,) = node.inputs, node.outputs
    whole = true_axes(source.shape, node.attrs["axes"]) == other_axes(source.shape, ())
    return whole and source.dtype == out.dtype and out.dtype.kind == "f"


def _parts(group: Group) -> tuple[Node, Node, Node, Node, Node] | None:
    """Sum, middle, distance, square and sum of squares, where that is what a group ends; None where it is not."""
    if len(group.nodes) != 3 or group.virtual:
        return None
    distance, square, spread = group.nodes
    if distance.op != "subtract" or not _sums_all(spread) or spread.inputs[0] is not square.outputs[0]:
        return None
    if square.op not in ("square", "multiply") or any(s is not distance.outputs[0] for s in square.inputs):
        return None
    x, m = distance.inputs
    middle = m.node
    if middle is None or middle.op not in ("divide", "multiply") or not is_scalar_constant(middle.inputs[1]):
        return None
    total = middle.inputs[0].node
    if (
        total is None
        or not _sums_all(total)
        or total.inputs[0] is not x
        or x.dtype != m.dtype
        or x.shape != group.shape
    ):
        return None
    return total, middle, distance, square, spread


def find(fuser: Fuser) -> None:
    """Make one item of the three kernels that a variance of everything would be."""
    for item in [i for i in fuser.items if isinstance(i, Group)]:
        parts = _parts(item)
        if parts is None:
            continue
        total, middle, *_, spread = parts
        homes = [fuser.home.get(node.outputs[0]) for node in (total, middle)]
        first, second = [home.find() if isinstance(home, Group) else None for home in homes]
        if first is None or second is None or first.nodes != [total] or second.nodes != [middle] or first.virtual:
            continue
        made = {node.outputs[0] for node in (total, middle, spread)}
        one = Group(item.shape, list(parts), order=item.order, made=made, ends=set(made), read={total.inputs[0]})
        one.moments = True
        bits = 0
        for old in (first, second, item):
            bits |= fuser.bits[old]
            one.after |= old.after
            fuser.items.remove(old)
        one.after &= ~bits
        fuser.bits[one] = bits
        fuser.items.append(one)
        used("a variance in one pass")


def lower_moments(lowerer: Lowerer, group: Group, env: Env, targets: Env) -> list[Symbol]:
    """Lay out the pass and what adds up its blocks; the three values."""
    total, middle, _, _, spread = group.nodes
    view = lowerer.contiguous(lowerer.value(total.inputs[0], env))
    made = [node.outputs[0] for node in (total, middle, spread)]
    for symbol in made:
        env[symbol] = lowerer.fresh(symbol, targets)
    blocks = -(-view.size // BLOCK)
    sums, squares = (lowerer.memory(Spec((blocks,), view.dtype)) for _ in range(2))
    grain = max(1, -(-GRAIN * blocks // view.size)) if blocks > 1 and view.size >= 2 * GRAIN else 0
    kind = code(view.dtype)
    lowerer.call(Kernel(_pass(kind, total, spread), (view, sums, squares, view.size), blocks, grain), "sum_and_squares")
    constant = middle.inputs[1].node
    assert constant is not None
    args = (sums, squares, *[env[s] for s in made], view.size, blocks, constant.attrs["value"].array)
    lowerer.call(Kernel(_together(kind, middle, spread), args, 1, 0), "sum_and_squares_of_blocks")
    lowerer.free(sums.buffer)
    lowerer.free(squares.buffer)
    return made


def _pass(kind: str, total: Node, spread: Node) -> Text:
    text = Text()
    text.add(0, "def kernel(args, lo, hi):  # apart")
    for k in range(3):
        text.add(1, f"q{k} = p_{kind}(args[{k}])")
    text.add(1, "n = args[3]")
    text.add(1, "for block in range(lo, hi):")
    text.add(2, f"low = block * {BLOCK}")
    text.add(2, f"high = min(n, low + {BLOCK})")
    for name, value, node in (("total", "q0[j]", total), ("spread", "off * off", spread)):
        text.add(2, f"{name} = {kind}(-0.0)")
        text.add(2, f"for slice in range((high - low + {SLICE - 1}) // {SLICE}):")
        text.add(3, f"some_{name} = {kind}(-0.0)")
        text.add(3, f"for j in range(low + slice * {SLICE}, min(high, low + (slice + 1) * {SLICE})):")
        if name == "spread":
            text.add(4, "off = q0[j] - mean", node)
        text.add(4, f"some_{name} = add_reassoc_{kind}(some_{name}, {value})", node)
        text.add(3, f"{name} = add_reassoc_{kind}({name}, some_{name})")
        if name == "total":
            text.add(2, f"mean = total / {kind}(high - low)")
    text.add(2, "q1[block] = total")
    text.add(2, "q2[block] = spread")
    text.add(1, "return 0")
    return text


def _together(kind: str, middle: Node, spread: Node) -> Text:
    text = Text()
    text.add(0, "def kernel(args, lo, hi):  # apart")
    for k in range(5):
        text.add(1, f"q{k} = p_{kind}(args[{k}])")
    text.add(1, "n = args[5]")
    text.add(1, "blocks = args[6]")
    text.add(1, f"c = p_{kind}(args[7])[0]")
    text.add(1, f"total = {kind}(-0.0)")
    text.add(1, "for block in range(blocks):")
    text.add(2, f"total = add_reassoc_{kind}(total, q0[block])")
    text.add(1, f"m = total {'/' if middle.op == 'divide' else '*'} c", middle)
    text.add(1, f"spread = {kind}(-0.0)")
    text.add(1, "for block in range(blocks):")
    text.add(2, f"count = {kind}(min(n, (block + 1) * {BLOCK}) - block * {BLOCK})")
    text.add(2, "off = q0[block] / count - m")
    text.add(2, f"spread = add_reassoc_{kind}(spread, q1[block] + count * off * off)", spread)
    for k, name in enumerate(("total", "m", "spread")):
        text.add(1, f"q{k + 2}[0] = {name}")
    text.add(1, "return 0")
    return text
