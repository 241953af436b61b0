"""Random numbers in a loop's kernel: a few at each step, each a value of its own, from blocks drawn in registers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from treadle.compile.fusion.emit import code
from treadle.compile.moves import philox
from treadle.compile.moves.philox import MASK, POSITIVE, UNIT
from treadle.core.graph import Node
from treadle.ops import sampling

BLOCK, PAIR, NUMBER = 56, 40, 6  # about how many lines of work a block, a pair of normal numbers and a number are

Lanes = np.ndarray[Any, Any]
Write = Callable[[str], str]  # gives an expression a name of its own


def lines_of(node: Node) -> int | None:
    """How many lines a draw is; None where the bounds of whole numbers are several."""
    if any(s.spec.size != 1 for s in node.inputs[1:]) or node.outputs[0].spec.size == 0:
        return None
    size = int(node.outputs[0].spec.size)
    return BLOCK * philox.blocks_of(node) + (PAIR * size // 2 if node.op == "random_normal" else NUMBER * size)


def write(node: Node, values: Sequence[Lanes], name: Write) -> tuple[Lanes, Lanes]:
    """The elements of a draw's numbers, and those of the state behind it."""
    out = node.outputs[0]
    kind, size = code(out.dtype), int(out.spec.size)
    key, counter = (str(text) for text in values[0])
    words = _words(kind, key, counter, philox.blocks_of(node), name)
    if node.op == "random_normal":
        half = (size + 1) // 2
        pairs = [_pair(kind, words[k], words[half + k], name) for k in range(half)]
        numbers = [near for near, _ in pairs] + [far for _, far in pairs]
    elif node.op == "random_integers":
        low, high = (str(value.reshape(-1)[0]) for value in values[1:])
        numbers = _whole(low, high, words[:size], name)
    else:
        made = f"-log_{kind}({POSITIVE[kind]})" if node.op == "random_exponential" else UNIT[kind]
        numbers = [name(made.format(word)) for word in words[:size]]
    found, after = np.empty(size, object), np.empty(2, object)
    found[:] = numbers[:size]
    after[:] = [key, name(f"{counter} + u8({philox.blocks_of(node)})")]
    return found.reshape(tuple(map(int, out.shape))), after


def _words(kind: str, key: str, counter: str, blocks: int, name: Write) -> list[str]:
    """The words of so many blocks from the state's counter on."""
    keys = [(name(f"{key} & {MASK}"), name(f"{key} >> u8(32)"))]
    for _ in range(sampling._ROUNDS - 1):
        a, b = keys[-1]
        keys.append((name(f"({a} + u8({sampling._W0})) & {MASK}"), name(f"({b} + u8({sampling._W1})) & {MASK}")))
    words: list[str] = []
    for block in range(blocks):
        even0 = name(f"{counter} + u8({block})")
        odd0, even1, odd1 = name(f"{even0} >> u8(32)"), "u8(0)", "u8(0)"
        for a, b in keys:
            product0 = name(f"({even0} & {MASK}) * u8({sampling._M0})")
            product1 = name(f"({even1} & {MASK}) * u8({sampling._M1})")
            even0 = name(f"(({product1}) >> u8(32)) ^ {odd0} ^ {a}")
            even1 = name(f"(({product0}) >> u8(32)) ^ {odd1} ^ {b}")
            odd0, odd1 = product1, product0
        if kind[1] == "8":
            words += [name(f"({e} & {MASK}) | ({o} << u8(32))") for e, o in ((even0, odd0), (even1, odd1))]
        else:
            words += [name(f"u4({word})") for word in (even0, odd0, even1, odd1)]
    return words


def _pair(kind: str, first: str, second: str, name: Write) -> tuple[str, str]:
    """Two normal numbers, see `philox.pair`; products are rounded by themselves, as where numbers are stored."""
    share = name(POSITIVE[kind].format(first))
    radius = name(f"sqrt_{kind}({kind}(-2) * log_{kind}({share}))")
    angle = name(f"{kind}({2 * math.pi!r}) * ({UNIT[kind].format(second)})")
    near = name(f"mul_apart_{kind}({radius}, cos_{kind}({angle}))")
    return near, name(f"mul_apart_{kind}({radius}, sin_{kind}({angle}))")


def _whole(low: str, high: str, words: Sequence[str], name: Write) -> list[str]:
    """Whole numbers between bounds: the high half of word * span, from products of halves."""
    first = name(f"u8({low})")
    span = name(f"u8(max_i8({high}, {low})) - {first}")
    span0, span1 = name(f"{span} & {MASK}"), name(f"{span} >> u8(32)")
    numbers = []
    for word in words:
        part0, part1 = name(f"{word} & {MASK}"), name(f"{word} >> u8(32)")
        middle = name(f"{part1} * {span0} + (({part0} * {span0}) >> u8(32))")
        lower = name(f"({part0} * {span1} + ({middle} & {MASK})) >> u8(32)")
        top = name(f"{part1} * {span1} + ({middle} >> u8(32)) + {lower}")
        numbers.append(name(f"i8({first} + {top})"))
    return numbers
