"""isin as two kernels: a table of the values to look for, and a look into it for each element.

Where the values lie close to each other, each has a place of its own; else places are made of their bits, and a value
goes to the next free place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from treadle.compile.cost import GRAIN
from treadle.compile.fusion.emit import Kernel, Text, code
from treadle.compile.moves.copies import copied
from treadle.compile.views import View
from treadle.core.graph import Node
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]
FEWEST = 1 << 10  # places of a table
LARGEST = 1 << 28
WORK = 8  # elementwise elements that a look costs about as much as
MIXER = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio: spreads bits upwards (Knuth, 6.4)


def _key(text: Text, indent: int, kind: str, at: str) -> None:
    """Lines that make `key`, an i8 that is the same for equal elements alone, and `real`, which NaN is not."""
    text.add(indent, f"v = x[{at}]")
    if kind[0] != "f":
        text.add(indent, "key = i8(v)")
        return
    # Adding 0 makes one zero of the two.
    text.add(indent, f"key = i8(bits_{kind}(v + {kind}(0)))")


def _place(text: Text, indent: int) -> None:
    """Where a key's place begins: its distance from the least, or its bits mixed."""
    text.add(indent, "apart = u8(key) - u8(least)")
    text.add(indent, f"mixed = (u8(key) * u8({MIXER - (1 << 64)})) >> shift")
    text.add(indent, "place = i8(select(near, apart, mixed))")


def _table_text(kind: str) -> Text:
    """Bounds of the keys, then the table: its keys and, for each place, whether it is taken."""
    text = Text()
    lines = [
        (0, "def kernel(args, lo, hi):"),
        (1, f"x = p_{kind}(args[0])"),
        (1, "keys = p_i8(args[1])"),
        (1, "taken = p_u1(args[2])"),
        (1, "head = p_i8(args[3])"),
        (1, "n = args[4]"),
        (1, "size = args[5]"),
        (1, "shift = u8(args[6])"),
        (1, "least = i8(9223372036854775807)"),
        (1, "most = -least - 1"),
        (1, "for j in range(n):"),
    ]
    for indent, line in lines:
        text.add(indent, line)
    _key(text, 2, kind, "j")
    text.add(2, "least = min_i8(least, key)")
    text.add(2, "most = max_i8(most, key)")
    text.add(1, "near = u8(most) - u8(least) < u8(size)")
    text.add(1, "head[0] = least")
    text.add(1, "head[1] = select(near, i8(1), i8(0))")
    text.add(1, "for j in range(size):")
    text.add(2, "taken[j] = u1(0)")
    text.add(1, "for j in range(n):")
    _key(text, 2, kind, "j")
    if kind[0] == "f":
        text.add(2, "if v != v:")
        text.add(3, "continue")
    _place(text, 2)
    text.add(2, "while taken[place] != u1(0) and keys[place] != key:")
    text.add(3, "place = (place + 1) & (size - 1)")
    text.add(2, "taken[place] = u1(1)")
    text.add(2, "keys[place] = key")
    text.add(1, "return 0")
    return text


def _look_text(node: Node, kind: str) -> Text:
    """Whether each element is in the table."""
    found, missing = ("False", "True") if node.attrs["invert"] else ("True", "False")
    text = Text()
    lines = [
        (0, "def kernel(args, lo, hi):"),
        (1, f"x = p_{kind}(args[0])"),
        (1, "keys = p_i8(args[1])"),
        (1, "taken = p_u1(args[2])"),
        (1, "least = p_i8(args[3])[0]"),
        (1, "near = p_i8(args[3])[1] != 0"),
        (1, "y = p_b1(args[4])"),
        (1, "size = args[5]"),
        (1, "shift = u8(args[6])"),
        (1, "for j in range(lo, hi):"),
    ]
    for indent, line in lines:
        text.add(indent, line)
    _key(text, 2, kind, "j")
    _place(text, 2)
    text.add(2, f"y[j] = {missing}")
    text.add(2, "if near and apart >= u8(size):")
    text.add(3, "continue")
    text.add(2, "while taken[place] != u1(0):")
    text.add(3, "if keys[place] == key:")
    text.add(4, f"y[j] = {found}", node)
    text.add(4, "break")
    text.add(3, "if near:")
    text.add(4, "break")
    text.add(3, "place = (place + 1) & (size - 1)")
    text.add(1, "return 0")
    return text


def lower_isin(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Lay out an isin; False where its values cannot live in kernels, or there is nothing to look for."""
    first, second = node.inputs
    if not copied(node) or any(0 in s.shape for s in node.inputs) or first.dtype != second.dtype:
        return False
    x, values = (lowerer.contiguous(lowerer.value(s, env)) for s in node.inputs)
    target = env[node.outputs[0]] = lowerer.fresh(node.outputs[0], targets)
    bits = max(FEWEST, 2 * values.size, min(x.size, 8 * values.size) // 4).bit_length()
    size = 1 << bits
    if size > LARGEST:
        return False
    kind = code(first.dtype).replace("b", "u")
    keys, taken, head = [
        lowerer.memory(Spec((count,), np.dtype(dtype))) for count, dtype in ((size, "i8"), (size, "u1"), (2, "i8"))
    ]
    shared = (size, 64 - bits)
    lowerer.call(Kernel(_table_text(kind), (values, keys, taken, head, values.size, *shared), 1, 0), "isin_table")
    grain = GRAIN // WORK if x.size >= 2 * GRAIN // WORK else 0
    lowerer.call(Kernel(_look_text(node, kind), (x, keys, taken, head, target, *shared), x.size, grain), node.op)
    for view in (keys, taken, head):
        lowerer.free(view.buffer)
    return True
