"""The largest of blocks of images, and the gradient that goes back to them: one pass each, channels in vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.compile.cost import GRAIN
from treadle.compile.fusion.emit import Kernel, Text, code
from treadle.compile.moves.copies import copied
from treadle.compile.views import View
from treadle.core.graph import Node
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]
TAPS = 16  # elements of a block up to which they are read side by side


def _along_channels(lowerer: Lowerer, symbol: Symbol, env: Env) -> View:
    """A value whose channels lie side by side."""
    view = lowerer.value(symbol, env)
    return view if view.strides[-1] == 1 or view.shape[-1] == 1 else lowerer.contiguous(view)


def _fits(node: Node) -> bool:
    sizes = node.attrs["sizes"]
    static = copied(node) and node.outputs[0].dtype.kind == "f"
    return static and sizes[0] * sizes[1] <= TAPS and not any(0 in s.shape for s in (*node.inputs, *node.outputs))


def _begin(views: list[View], node: Node) -> tuple[Text, str]:
    """The loops over rows of blocks, and over blocks; each view's pointers, one a place in a block for full images."""
    height, width = node.attrs["sizes"]
    kind, size = code(views[0].dtype), views[0].dtype.itemsize
    text = Text()
    text.add(0, "def kernel(args, lo, hi):  # apart, short")
    for k, name in enumerate(("rows", "columns", "channels")):
        text.add(1, f"{name} = args[{k}]")
    for k in range(len(views)):
        text.add(1, f"a{k} = args[{3 + 4 * k}]")
        for d in range(3):
            text.add(1, f"s{k}_{d} = args[{4 + 4 * k + d}] * {size}")
    text.add(1, "for t in range(lo, hi):")
    for k, view in enumerate(views):
        step = height if view.shape[1] != views[0].shape[1] else 1
        text.add(2, f"r{k} = a{k} + t // rows * s{k}_0 + t % rows * {step} * s{k}_1")
    text.add(2, "for j in range(columns):")
    for k, view in enumerate(views):
        if view.shape[1] == views[0].shape[1]:
            text.add(3, f"q{k} = p_{kind}(r{k} + j * s{k}_2)")
            continue
        for tap in range(height * width):
            text.add(
                3, f"q{k}_{tap} = p_{kind}(r{k} + (j * {width} + {tap % width}) * s{k}_2 + {tap // width} * s{k}_1)"
            )
    text.add(3, "for c in range(channels):")
    return text, kind


def _call(lowerer: Lowerer, node: Node, text: Text, views: list[View]) -> None:
    text.add(1, "return 0")
    n, rows, columns, channels = views[0].shape
    args: list[View | int] = [rows, columns, channels]
    for view in views:
        args += [view, *view.strides[:3]]
    work = columns * channels * node.attrs["sizes"][0] * node.attrs["sizes"][1]
    grain = max(1, GRAIN // work) if n * rows * work >= 2 * GRAIN else 0
    lowerer.call(Kernel(text, tuple(args), n * rows, grain), node.op)


def lower_block_max(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Each block's places read side by side."""
    if not _fits(node):
        return False
    source = _along_channels(lowerer, node.inputs[0], env)
    target = env[node.outputs[0]] = lowerer.fresh(node.outputs[0], targets)
    views = [target, source]
    text, kind = _begin(views, node)
    taps = node.attrs["sizes"][0] * node.attrs["sizes"][1]
    found = [f"q1_{tap}[c]" for tap in range(taps)]
    while len(found) > 1:
        pairs = [f"max_{kind}({a}, {b})" for a, b in zip(found[::2], found[1::2], strict=False)]
        found = pairs + found[2 * len(pairs) :]
    text.add(4, f"q0[c] = {found[0]}", node)
    _call(lowerer, node, text, views)
    return True


def lower_block_share(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """The gradient over the count of the largest, where they stand, and 0 beside them."""
    if not _fits(node):
        return False
    g, y, x = [_along_channels(lowerer, s, env) for s in node.inputs]
    target = env[node.outputs[0]] = lowerer.fresh(node.outputs[0], targets)
    views = [g, y, x, target]
    text, kind = _begin(views, node)
    taps = node.attrs["sizes"][0] * node.attrs["sizes"][1]
    for tap in range(taps):
        text.add(4, f"v{tap} = q2_{tap}[c]")
        text.add(4, f"h{tap} = (v{tap} == q1[c]) | (v{tap} != v{tap})", node)
    count = " + ".join([f"select(h{tap}, {kind}(1), {kind}(0))" for tap in range(taps)])
    text.add(4, f"share = q0[c] / ({count})", node)
    for tap in range(taps):
        text.add(4, f"q3_{tap}[c] = select(h{tap}, share, {kind}(0))", node)
    _call(lowerer, node, text, views)
    return True
