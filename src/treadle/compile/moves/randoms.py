"""Random numbers as kernels: Philox blocks, and what uniform, normal, exponential and integer draws make of them.

The numbers are those of `ops.sampling`, bit for bit (normal and exponential within the ULPs of log, sin and cos).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle.compile import hosts
from treadle.compile.cost import GRAIN
from treadle.compile.fusion.emit import Kernel, Text, code
from treadle.compile.moves.copies import copied
from treadle.compile.run.executor import Ref, Run
from treadle.compile.views import View
from treadle.core.graph import Node
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol
from treadle.ops import sampling

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]
LONGEST = 1 << 31  # orders whose places a uint32 counts
ALIKE = 0  # 1: as if words agreed, for tests
MASK = "u8(4294967295)"
WORK = 16  # elementwise elements that one block of four words costs about as much as


def _rounds(text: Text, indent: int) -> None:
    """The ten rounds of Philox4x32 on the words e0, o0, e1, o1, each a uint32 in a uint64."""
    m0, m1 = f"u8({sampling._M0})", f"u8({sampling._M1})"
    for k in range(sampling._ROUNDS):
        text.add(indent, f"p0 = e0 * {m0}")
        text.add(indent, f"p1 = e1 * {m1}")
        text.add(indent, f"e0 = (p1 >> u8(32)) ^ o0 ^ k{k}")
        text.add(indent, f"e1 = (p0 >> u8(32)) ^ o1 ^ h{k}")
        text.add(indent, f"o0 = p1 & {MASK}")
        text.add(indent, f"o1 = p0 & {MASK}")


UNIT = {
    "f4": "f4({0} >> u8(8)) * f4(5.9604644775390625e-08)",
    "f8": "f8(i8({0} >> u8(11))) * f8(1.1102230246251565e-16)",
}
POSITIVE = {
    "f4": "(f4(u4({0})) + f4(0.5)) * f4(2.3283064365386963e-10)",
    "f8": "(f8({0}) + f8(0.5)) * f8(5.421010862427522e-20)",
}


def _stores(kind: str, made: str) -> list[str]:
    """What is written of a block: `made` of each 32-bit word, or pair as a 64-bit one ({0}), and of its place ({1})."""
    pairs = ["(e0 | (o0 << u8(32)))", "(e1 | (o1 << u8(32)))"]
    words = ["e0", "o0", "e1", "o1"] if kind in ("f4", "u4") else pairs
    n = len(words)
    places = [f"(u8({n}) * (u8(j) + u8(args[2])) + u8({k}))" for k in range(n)]
    return [f"y[{n} * j + {k}] = {made.format(words[k], places[k])}" for k in range(n)]


def _block_text(node: Node, kind: str, before: list[str], lines: list[str]) -> Text:
    """Blocks lo..hi of the state's stream from block `args[2]` on."""
    text = Text()
    text.add(0, "def kernel(args, lo, hi):")
    text.add(1, f"y = p_{kind}(args[0])")
    text.add(1, "key = p_u8(args[1])[0]")
    text.add(1, "first = p_u8(args[1])[1] + u8(args[2])")
    for line in before:
        text.add(1, line)
    text.add(1, f"k0 = key & {MASK}")
    text.add(1, "h0 = key >> u8(32)")
    for k in range(1, sampling._ROUNDS):
        text.add(1, f"k{k} = (k{k - 1} + u8({sampling._W0})) & {MASK}")
        text.add(1, f"h{k} = (h{k - 1} + u8({sampling._W1})) & {MASK}")
    text.add(1, "for j in range(lo, hi):")
    text.add(2, "count = first + u8(j)")
    text.add(2, f"e0 = count & {MASK}")
    text.add(2, "o0 = count >> u8(32)")
    text.add(2, "e1 = u8(0)")
    text.add(2, "o1 = u8(0)")
    _rounds(text, 2)
    for line in lines:
        text.add(2, line, node)
    text.add(1, "return 0")
    return text


def _state_text(node: Node) -> Text:
    """The state behind a draw: the key, and the counter further on."""
    text = Text()
    text.add(0, "def kernel(args, lo, hi):")
    text.add(1, "before = p_u8(args[0])")
    text.add(1, "after = p_u8(args[1])")
    text.add(1, "key = before[0]")
    text.add(1, "count = before[1] + u8(args[2])")
    text.add(1, "after[0] = key")
    text.add(1, "after[1] = count", node)
    text.add(1, "return 0")
    return text


def _normal_text(node: Node, kind: str) -> Text:
    """Pairs by Box and Muller: word j of the first half gives the radius, of the second the angle."""
    word = "u4" if kind == "f4" else "u8"
    text = Text()
    text.add(0, "def kernel(args, lo, hi):")
    for k, name in enumerate(("first", "second")):
        text.add(1, f"{name} = p_{word}(args[{k}])")
    for k, name in enumerate(("near", "far")):
        text.add(1, f"{name} = p_{kind}(args[{k + 2}])")
    text.add(1, "for j in range(lo, hi):")
    text.add(2, f"u = {POSITIVE[kind].format('u8(first[j])')}")
    text.add(2, f"radius = sqrt_{kind}({kind}(-2) * log_{kind}(u))", node)
    text.add(2, f"angle = {kind}({2 * math.pi!r}) * ({UNIT[kind].format('u8(second[j])')})")
    text.add(2, f"near[j] = radius * cos_{kind}(angle)", node)
    text.add(2, f"far[j] = radius * sin_{kind}(angle)", node)
    text.add(1, "return 0")
    return text


class _Draw:
    """One draw being laid out."""

    def __init__(self, lowerer: Lowerer, node: Node, env: Env, targets: Env) -> None:
        self.lowerer, self.node = lowerer, node
        self.state = lowerer.contiguous(lowerer.value(node.inputs[0], env))
        out, after = node.outputs
        self.target = env[out] = lowerer.fresh(out, targets)
        self.after = env[after] = lowerer.fresh(after, targets)
        self.count = self.target.size

    def blocks(self, kind: str, target: View, count: int, before: list[str], made: str, more: tuple[Any, ...]) -> int:
        """Write `count` numbers of one kind to a target; how many blocks that takes."""
        lowerer, each = self.lowerer, 4 if kind in ("f4", "u4") else 2
        text = _block_text(self.node, kind, before, _stores(kind, made))
        full, rest = divmod(count, each)
        grain = GRAIN // WORK if full >= 2 * GRAIN // WORK else 0
        if full:
            lowerer.call(Kernel(text, (target, self.state, 0, *more), full, grain), self.node.op)
        if rest:  # the last block goes to a place of its own, and what is wanted of it is copied
            spare = lowerer.memory(Spec((each,), target.dtype))
            lowerer.call(Kernel(text, (spare, self.state, full, *more), 1, 0), self.node.op)
            size = target.dtype.itemsize
            lowerer.asm.copy(target.ref.at(full * each * size), spare.ref, rest * size)
            lowerer.free(spare.buffer)
        return full + (rest > 0)

    def advance(self, blocks: int) -> bool:
        """Write the state behind the draw."""
        if self.lowerer.inplace and self.after.buffer.kind == "input":
            self.lowerer.asm.commit()
        self.lowerer.call(Kernel(_state_text(self.node), (self.state, self.after, blocks), 1, 0), "random_state")
        return True


def lower_elementwise(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Lay out a uniform or exponential draw."""
    if not copied(node):
        return False
    draw = _Draw(lowerer, node, env, targets)
    kind = code(draw.target.dtype)
    made = UNIT[kind] if node.op == "random_uniform" else f"-log_{kind}({POSITIVE[kind]})"
    return draw.advance(draw.blocks(kind, draw.target, draw.count, [], made, ()))


def lower_normal(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Lay out a normal draw: words into memory of the arena, then pairs of them into pairs of numbers."""
    if not copied(node):
        return False
    draw = _Draw(lowerer, node, env, targets)
    kind, count = code(draw.target.dtype), draw.count
    half = (count + 1) // 2
    if not count:
        return draw.advance(0)
    words = lowerer.memory(Spec((2 * half,), np.dtype("u4" if kind == "f4" else "u8")))
    made = "u4({0})" if kind == "f4" else "{0}"
    taken = draw.blocks("u4" if kind == "f4" else "u8", words, 2 * half, [], made, ())
    size, word = draw.target.dtype.itemsize, words.dtype.itemsize
    text = _normal_text(node, kind)
    spare = lowerer.memory(Spec((1,), draw.target.dtype))

    def pairs(start: int, n: int, far: Ref) -> None:
        entry = lowerer.entry(text, "random_normal_pairs")
        first, second = words.ref.at(start * word), words.ref.at((half + start) * word)
        grain = GRAIN // 4 if n >= GRAIN // 2 else 0
        lowerer.asm.call(entry, [first, second, draw.target.ref.at(start * size), far], n, grain)

    whole = count // 2
    if whole:
        pairs(0, whole, draw.target.ref.at(half * size))
    if whole < half:
        pairs(whole, 1, spare.ref)
    lowerer.free(words.buffer)
    lowerer.free(spare.buffer)
    return draw.advance(taken)


def lower_integers(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Lay out a draw of integers between two numbers; where the bounds are arrays Python does it."""
    low, high = node.inputs[1:]
    if not copied(node) or low.spec.size != 1 or high.spec.size != 1:
        return False
    bounds = (lowerer.value(low, env), lowerer.value(high, env))
    draw = _Draw(lowerer, node, env, targets)
    before = ["low = p_i8(args[3])[0]", "high = p_i8(args[4])[0]", "span = u8(max_i8(high, low)) - u8(low)"]
    before += [f"s0 = span & {MASK}", "s1 = span >> u8(32)"]
    # The high half of word * span, from products of halves; the words' halves are at hand.
    lines: list[str] = []
    for k, (w0, w1) in enumerate((("e0", "o0"), ("e1", "o1"))):
        lines += [
            f"middle{k} = {w1} * s0 + (({w0} * s0) >> u8(32))",
            f"low{k} = ({w0} * s1 + (middle{k} & {MASK})) >> u8(32)",
            f"top{k} = {w1} * s1 + (middle{k} >> u8(32)) + low{k}",
            f"y[2 * j + {k}] = i8(u8(low) + top{k})",
        ]
    return draw.advance(_write_pairs(draw, before, lines, bounds))


def _write_pairs(draw: _Draw, before: list[str], lines: list[str], bounds: tuple[View, ...]) -> int:
    lowerer, node = draw.lowerer, draw.node
    text = _block_text(node, "i8", before, lines)
    full, rest = divmod(draw.count, 2)
    grain = GRAIN // WORK if full >= 2 * GRAIN // WORK else 0
    if full:
        lowerer.call(Kernel(text, (draw.target, draw.state, 0, *bounds), full, grain), node.op)
    if rest:
        spare = lowerer.memory(Spec((2,), draw.target.dtype))
        lowerer.call(Kernel(text, (spare, draw.state, full, *bounds), 1, 0), node.op)
        lowerer.asm.copy(draw.target.ref.at(full * 16), spare.ref, 8)
        lowerer.free(spare.buffer)
    return full + rest


def _order_text(node: Node) -> Text:
    """The order of n random words with their places in their lowest bits; 2 where two words agree in all others.

    The highest bits say about where a word belongs: as many buckets as words, and then few steps to its place.
    """
    text = Text()
    lines = [
        (0, "def kernel(args, lo, hi):  # apart"),
        (1, "w = p_u8(args[0])"),
        (1, "y = p_i8(args[1])"),
        (1, "e = p_u8(args[2])"),
        (1, "c = p_u4(args[3])"),
        (1, "places = u8(args[4])"),
        (1, "n = args[5]"),
        (1, "shift = u8(args[6])"),
        (1, "for b in range(args[7]):"),
        (2, "c[b] = u4(0)"),
        (1, "for j in range(n):"),
        (2, "c[i8(w[j] >> shift)] += u4(1)"),
        (1, "before = u4(0)"),
        (1, "for b in range(args[7]):"),
        (2, "some = c[b]"),
        (2, "c[b] = before"),
        (2, "before = u4(before + some)"),
        (1, "for j in range(n):"),
        (2, "word = w[j]"),
        (2, "to = c[i8(word >> shift)]"),
        (2, "c[i8(word >> shift)] = u4(to + u4(1))"),
        (2, "e[i8(to)] = word"),
        (1, "for j in range(1, n):"),
        (2, "moved = e[j]"),
        (2, "i = j"),
        (2, "while i > 0 and e[i - 1] > moved:"),
        (3, "e[i] = e[i - 1]"),
        (3, "i = i - 1"),
        (2, "e[i] = moved"),
        (1, f"bad = u8({ALIKE})"),
        (1, "y[0] = i8(e[0] & places)"),
        (1, "for j in range(1, n):"),
        (2, "bad = bad | select((e[j] ^ e[j - 1]) <= places, u8(1), u8(0))"),
        (2, "y[j] = i8(e[j] & places)"),
        (1, "return i8(bad) * 2"),
    ]
    for indent, line in lines:
        text.add(indent, line, node if line.startswith("y[j]") else None)
    return text


def lower_permutation(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Lay out a draw of an order: words, their places in their lowest bits, and the order of those.

    Where words agree in what is left of them, the op's body decides; see `sampling.order_of`.
    """
    if not copied(node) or node.outputs[0].spec.nbytes >> 3 >= LONGEST:
        return False
    draw = _Draw(lowerer, node, env, targets)
    n = draw.count
    if not n:
        return draw.advance(0)
    words, order = [lowerer.memory(Spec((n,), np.dtype("u8"))) for _ in range(2)]
    bits = max(1, n.bit_length() - 1)
    counts = lowerer.memory(Spec((1 << bits,), np.dtype("u4")))
    places = (1 << n.bit_length()) - 1
    taken = draw.blocks("u8", words, n, ["kept = u8(args[3])"], "({0} & kept) | {1}", (~places,))
    state, target = hosts.fetch(draw.state), hosts.fetch(draw.target)

    def again(run: Run) -> None:
        target(run)[...] = node.definition.body(state(run), **node.attrs)[0]

    lowerer.has_checks = True
    arguments = (words, draw.target, order, counts, places, n, 64 - bits, 1 << bits)
    lowerer.call(Kernel(_order_text(node), arguments, 1, 0), node.op, hosts.Otherwise(node, again))
    for view in (words, order, counts):
        lowerer.free(view.buffer)
    return draw.advance(taken)
