"""The words of Philox4x32-10 in kernel text, and what uniform, exponential, integer and normal draws make of them.

A draw of n numbers takes whole blocks of the state's stream from its counter on; block b gives four words of 32 bits,
or two of 64, for the numbers from 4 * b, or 2 * b, on. See `ops.sampling`. In memory both are the same bytes.
"""

from __future__ import annotations

import math

from treadle.compile.fusion.emit import Text
from treadle.core.graph import Node
from treadle.ops import sampling

MASK = "u8(4294967295)"
WORDS = ("((even0 & u8(4294967295)) | (odd0 << u8(32)))", "((even1 & u8(4294967295)) | (odd1 << u8(32)))")  # of 64 bits
# Of a word. Whole numbers go to floats as int32: float32 of uint64 is no single instruction of AVX2.
UNIT = {
    "f4": "f4(i4(u8({0}) >> u8(8))) * f4(5.9604644775390625e-08)",
    "f8": "f8(i8({0} >> u8(11))) * f8(1.1102230246251565e-16)",
}
POSITIVE = {
    "f4": "(f4(u4({0})) + f4(0.5)) * f4(2.3283064365386963e-10)",
    "f8": "(f8({0}) + f8(0.5)) * f8(5.421010862427522e-20)",
}


def word_kind(kind: str) -> str:
    """The kind of the words of which numbers of a kind are made."""
    return f"u{kind[1]}"


def a_block(kind: str) -> int:
    """How many numbers of a kind a block gives."""
    return 16 // int(kind[1])


def blocks_of(node: Node) -> int:
    """How many blocks of the state's stream a draw takes."""
    out = node.outputs[0].spec
    count = out.size + out.size % 2 if node.op == "random_normal" else out.size
    return -(-count * out.dtype.itemsize // 16)


def keys(text: Text, indent: int, key: str, mark: str = "") -> None:
    """The keys of the rounds, made of the state's key; mark: makes their names others'."""
    text.add(indent, f"ka0{mark} = {key} & {MASK}")
    text.add(indent, f"kb0{mark} = {key} >> u8(32)")
    for k in range(1, sampling._ROUNDS):
        text.add(indent, f"ka{k}{mark} = (ka{k - 1}{mark} + u8({sampling._W0})) & {MASK}")
        text.add(indent, f"kb{k}{mark} = (kb{k - 1}{mark} + u8({sampling._W1})) & {MASK}")


def rounds(text: Text, indent: int, count: str, mark: str = "") -> None:
    """The ten rounds for one block: even0, odd0, even1, odd1, each a uint32 in the lower half of a uint64.

    What stands in the higher halves is left there: the product of lower halves is one instruction.
    """
    text.add(indent, f"count = {count}")
    text.add(indent, "even0 = count")
    text.add(indent, "odd0 = count >> u8(32)")
    text.add(indent, "even1 = u8(0)")
    text.add(indent, "odd1 = u8(0)")
    for k in range(sampling._ROUNDS):
        text.add(indent, f"product0 = (even0 & {MASK}) * u8({sampling._M0})")
        text.add(indent, f"product1 = (even1 & {MASK}) * u8({sampling._M1})")
        text.add(indent, f"even0 = (product1 >> u8(32)) ^ odd0 ^ ka{k}{mark}")
        text.add(indent, f"even1 = (product0 >> u8(32)) ^ odd1 ^ kb{k}{mark}")
        text.add(indent, "odd0 = product1")
        text.add(indent, "odd1 = product0")


def between(text: Text, indent: int, low: str, high: str, mark: str = "") -> None:
    """What `integers` needs of its bounds, above the loops."""
    text.add(indent, f"low{mark} = {low}")
    text.add(indent, f"span{mark} = u8(max_i8({high}, low{mark})) - u8(low{mark})")
    text.add(indent, f"span0{mark} = span{mark} & {MASK}")
    text.add(indent, f"span1{mark} = span{mark} >> u8(32)")


def number(op: str, kind: str, word: str, target: str, mark: str = "") -> list[str]:
    """The lines that make a uniform, exponential or whole number of a word; mark: that of the bounds."""
    if op == "random_uniform":
        return [f"{target} = {UNIT[kind].format(word)}"]
    if op == "random_exponential":
        return [f"{target} = -log_{kind}({POSITIVE[kind].format(word)})"]
    return [  # the high half of word * span, from products of halves
        f"part0{mark} = {word} & {MASK}",
        f"part1{mark} = {word} >> u8(32)",
        f"middle{mark} = part1{mark} * span0{mark} + ((part0{mark} * span0{mark}) >> u8(32))",
        f"lower{mark} = (part0{mark} * span1{mark} + (middle{mark} & {MASK})) >> u8(32)",
        f"top{mark} = part1{mark} * span1{mark} + (middle{mark} >> u8(32)) + lower{mark}",
        f"{target} = i8(u8(low{mark}) + top{mark})",
    ]


def pair(
    text: Text, indent: int, kind: str, words: tuple[str, str], ends: tuple[str, str], node: Node, mark: str
) -> None:
    """Two normal numbers by Box and Muller: a word gives the radius, another the angle."""
    text.add(indent, f"share{mark} = {POSITIVE[kind].format(words[0])}")
    text.add(indent, f"length{mark} = sqrt_{kind}({kind}(-2) * log_{kind}(share{mark}))", node)
    text.add(indent, f"turn{mark} = {kind}({2 * math.pi!r}) * ({UNIT[kind].format(words[1])})")
    text.add(indent, f"{ends[0]} = length{mark} * cos_{kind}(turn{mark})", node)
    text.add(indent, f"{ends[1]} = length{mark} * sin_{kind}(turn{mark})", node)
