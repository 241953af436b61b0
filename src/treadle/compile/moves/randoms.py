"""Random numbers that are stored, random orders, and the states behind draws.

The numbers are those of `ops.sampling`, bit for bit (normal and exponential within the ULPs of log, sin and cos).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from treadle.compile import hosts
from treadle.compile.cost import GRAIN
from treadle.compile.fusion.emit import Kernel, Text
from treadle.compile.fusion.groups import call_group
from treadle.compile.fusion.items import Virtual
from treadle.compile.fusion.small_groups import copy_group
from treadle.compile.moves import philox
from treadle.compile.moves.copies import copied
from treadle.compile.run.executor import Run
from treadle.compile.views import View
from treadle.config import config
from treadle.core.graph import Node, apart
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]
LONGEST = 1 << 31  # orders whose places a uint32 counts
ALIKE = 0  # 1: as if words agreed, for tests
WORK = 16  # elementwise elements that one block of four words costs about as much as


def _words_text(node: Node) -> Text:
    """Blocks lo..hi of the state's stream: the bits of `args[2]` of each word, and in the others its place."""
    text = Text()
    text.add(0, "def kernel(args, lo, hi):")
    text.add(1, "y = p_u8(args[0])")
    text.add(1, "key = p_u8(args[1])[0]")
    text.add(1, "first = p_u8(args[1])[1]")
    text.add(1, "kept = u8(args[2])")
    philox.keys(text, 1, "key")
    text.add(1, "for j in range(lo, hi):")
    philox.rounds(text, 2, "first + u8(j)")
    for k, word in enumerate(philox.WORDS):
        text.add(2, f"y[2 * j + {k}] = ({word} & kept) | (u8(2) * u8(j) + u8({k}))", node)
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


def lower_numbers(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> None:
    """Lay out a draw without the state behind it: a copy of numbers that are drawn where they are read."""
    out = node.outputs[0]
    target = env[out] = lowerer.fresh(out, targets)
    group, source, made = copy_group(target)
    group.virtual[source] = Virtual(node)
    call_group(lowerer, group, env, {made: target}, {})


def lower_state(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> None:
    """Lay out the state behind a draw, whether its numbers are made or not."""
    state = lowerer.contiguous(lowerer.value(node.inputs[0], env))
    after = env[node.outputs[1]] = lowerer.fresh(node.outputs[1], targets)
    if lowerer.inplace and after.buffer.kind == "input":
        lowerer.asm.commit()
    lowerer.call(Kernel(_state_text(node), (state, after, philox.blocks_of(node)), 1, 0), "random_state")


def lower_draw(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Lay out a draw; where the bounds of integers are arrays, or kernels are compiled by Numba, Python does it."""
    if not copied(node) or any(s.spec.size != 1 for s in node.inputs[1:]) or config.compiler == "numba":
        return False
    lower_numbers(lowerer, node, env, targets)
    lower_state(lowerer, node, env, targets)
    return True


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
    target, state = lowerer.fresh(node.outputs[0], targets), lowerer.contiguous(lowerer.value(node.inputs[0], env))
    env[node.outputs[0]] = target
    n = target.size
    if n:
        _order(lowerer, node, state, target)
    lower_state(lowerer, node, env, targets)
    return True


def _order(lowerer: Lowerer, node: Node, state: View, target: View) -> None:
    n, blocks = target.size, philox.blocks_of(node)
    words = lowerer.memory(Spec((2 * blocks,), np.dtype("u8")))
    order = lowerer.memory(Spec((n,), np.dtype("u8")))
    bits = max(1, n.bit_length() - 1)
    counts = lowerer.memory(Spec((1 << bits,), np.dtype("u4")))
    places = (1 << n.bit_length()) - 1
    grain = GRAIN // WORK if blocks >= 2 * GRAIN // WORK else 0
    lowerer.call(Kernel(_words_text(node), (words, state, ~places), blocks, grain), node.op)
    read, written, kept = hosts.fetch(state), hosts.fetch(target), apart(node)

    def again(run: Run) -> None:
        written(run)[...] = kept.definition.body(read(run), **kept.attrs)[0]

    lowerer.has_checks = True
    arguments = (words, target, order, counts, places, n, 64 - bits, 1 << bits)
    lowerer.call(Kernel(_order_text(node), arguments, 1, 0), node.op, hosts.Otherwise(kept, again))
    for view in (words, order, counts):
        lowerer.free(view.buffer)
