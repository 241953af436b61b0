"""argmax and argmin as kernels: the first best element wins, a NaN beats everything.

Along rows each lane of a few vectors keeps its best and the place of that (`llvm.peaks`); where places do not fit
beside the elements the best is found first, then its place block by block: both vectorise.
Along other axes all columns are walked at once, with the best of each so far kept in memory.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from treadle.compile.cost import GRAIN
from treadle.compile.fusion.emit import Kernel, Text, code
from treadle.compile.fusion.items import in_kernel
from treadle.compile.moves.copies import keep_ready
from treadle.compile.run import pool
from treadle.compile.views import View
from treadle.config import config
from treadle.core.dtypes import int8
from treadle.core.graph import Node
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]
LANES = {"f4", "f8", "i4", "i8"}  # whose places fit beside them in lanes
BLOCK = 128  # elements that are searched at once for the place of the best
CHUNK = 32_768  # elements of a long row that are one share
LONGEST = 1 << 31  # rows whose places fit an int32


def _values(kind: str) -> str:
    """The kind that elements are compared as: bools as numbers."""
    return "i1" if kind == "b1" else kind


def _by_lanes(node: Node, kind: str) -> Text:
    """Row j is the n elements from j * n on (the last may be shorter); its places are counted from j * base on."""
    text, word = Text(), "peak" if node.op == "argmax" else "dip"
    for indent, line in (
        (0, "def kernel(args, lo, hi):  # apart"),
        (1, "y = p_i8(args[1])"),
        (1, "width = args[2]"),
        (1, "total = args[3]"),
        (1, "for j in range(lo, hi):"),
        (2, "n = min_i8(width, total - j * width)"),
        (2, f"y[j] = j * args[4] + {word}_{kind}(args[0] + j * width * {kind[1]}, n)"),
        (1, "return 0"),
    ):
        text.add(indent, line, node if "y[j] =" in line else None)
    return text


def _along_rows(node: Node, kind: str) -> Text:
    """The same for kinds whose lanes are too narrow for places."""
    if kind in LANES and config.compiler != "numba":
        return _by_lanes(node, kind)
    value, size = _values(kind), kind[1]
    name = "top" if node.op == "argmax" else "bottom"
    text = Text()
    for indent, line in (
        (0, "def kernel(args, lo, hi):  # apart"),
        (1, "a = args[0]"),
        (1, "y = p_i8(args[1])"),
        (1, "width = args[2]"),
        (1, "total = args[3]"),
        (1, "base = args[4]"),
        (1, "for j in range(lo, hi):"),
        (2, "n = min_i8(width, total - j * width)"),
        (2, f"x = p_{kind}(a + j * width * {size})"),
        (2, f"best = {value}(x[0])"),
        (2, "for k in range(1, n):"),
        (3, f"best = {name}_{value}({value}(x[k]), best)"),
        (2, "at = i8(0)"),
        (2, f"place = i4({BLOCK})"),  # half as wide as an int64, so that twice as many fit into a register
        (2, f"while place == i4({BLOCK}):"),
        (3, f"z = p_{kind}(a + (j * width + at) * {size})"),
        (3, f"for k in range(min_i8(n - at, {BLOCK})):"),
        (4, f"v = {value}(z[k])"),
        (4, "found = (v == best) | (v != v)"),  # where one is NaN so is the best
        (4, f"place = min_i4(place, select(found, i4(k), i4({BLOCK})))"),
        (3, f"at = at + {BLOCK}"),
        (2, f"y[j] = j * base + at - {BLOCK} + i8(place)"),
        (1, "return 0"),
    ):
        text.add(indent, line, node if "found =" in line else None)
    return text


def _along_columns(node: Node, kind: str, alone: bool) -> Text:
    """Blocks of n rows of `inner` elements; where there is only one block (`alone`), shares are cut by columns.

    Places are int32 until the end: half as wide as an int64, so that twice as many fit into a register.
    """
    value, (name, sign) = _values(kind), ("top", "<=") if node.op == "argmax" else ("bottom", ">=")
    text = Text()
    lines = [(0, "def kernel(args, lo, hi):  # apart")]
    lines += [(1, f"{name} = args[{k}]") for k, name in enumerate(("a", "y0", "b0", "p0", "n", "inner"))]
    columns = "lo, hi" if alone else "inner"
    lines += [(1, "j = i8(0)")] if alone else [(1, "for j in range(lo, hi):")]
    deep = 1 if alone else 2
    lines += [
        (deep, f"first = p_{kind}(a + j * n * inner * {kind[1]})"),
        (deep, "y = p_i8(y0 + j * inner * 8)"),
        (deep, f"b = p_{value}(b0 + j * inner * {value[1]})"),
        (deep, "p = p_i4(p0 + j * inner * 4)"),
        (deep, f"for i in range({columns}):"),
        (deep + 1, f"b[i] = {value}(first[i])"),
        (deep + 1, "p[i] = i4(0)"),
        (deep, "for k in range(1, n):"),
        (deep + 1, f"x = p_{kind}(a + (j * n + k) * inner * {kind[1]})"),
        (deep + 1, f"for i in range({columns}):"),
        (deep + 2, f"v = {value}(x[i])"),
        (deep + 2, "best = b[i]"),
        (deep + 2, f"better = ~(v {sign} best) & (best == best)"),  # also where v is the first NaN
        # Not by select, which would become a masked store: those take 20 times as long on some processors.
        (deep + 2, f"b[i] = {name}_{value}(v, best)"),
        (deep + 2, "p[i] = max_i4(p[i], select(better, i4(k), i4(0)))"),
        (deep, f"for i in range({columns}):"),
        (deep + 1, "y[i] = i8(p[i])"),
        (1, "return 0"),
    ]
    for indent, line in lines:
        text.add(indent, line, node if "better =" in line else None)
    return text


def _best_of(node: Node, kind: str) -> Text:
    """The first best element among those at n places, which are in order."""
    value, sign = _values(kind), ">" if node.op == "argmax" else "<"
    text = Text()
    for indent, line in (
        (0, "def kernel(args, lo, hi):"),
        (1, f"x = p_{kind}(args[0])"),
        (1, "places = p_i8(args[1])"),
        (1, "y = p_i8(args[2])"),
        (1, "at = places[0]"),
        (1, f"best = {value}(x[at])"),
        (1, "for k in range(1, args[3]):"),
        (2, "place = places[k]"),
        (2, f"v = {value}(x[place])"),
        (2, f"better = (v {sign} best) | ((v != v) & (best == best))"),
        (2, "best = select(better, v, best)"),
        (2, "at = select(better, place, at)"),
        (1, "y[0] = at"),
        (1, "return 0"),
    ):
        text.add(indent, line, node if "better =" in line else None)
    return text


def _one_row(lowerer: Lowerer, node: Node, view: View, target: View) -> None:
    """A single long row, in chunks that can be shared out."""
    kind, n = code(view.dtype), view.size
    chunks = -(-n // CHUNK)
    places = lowerer.memory(Spec((chunks,), target.dtype))
    lowerer.call(Kernel(_along_rows(node, kind), (view, places, CHUNK, n, CHUNK), chunks, 1), node.op)
    lowerer.call(Kernel(_best_of(node, kind), (view, places, target, chunks), 1, 0), f"{node.op}_of_chunks")
    lowerer.free(places.buffer)


def lower_position(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Lay out an argmax or argmin; False where its values cannot live in kernels."""
    source, out = node.inputs[0], node.outputs[0]
    if not in_kernel(source.spec) or not in_kernel(out.spec) or 0 in source.shape:
        return False
    view = lowerer.contiguous(lowerer.value(source, env))
    target = env[out] = lowerer.fresh(out, targets)
    axes: tuple[int, ...] = node.attrs["axes"]
    last = axes[-1] if axes else 0
    n = math.prod(view.shape[k] for k in axes)
    inner = math.prod(view.shape[last + 1 :]) if axes else 1
    rows = view.size // n
    kind = code(source.dtype)
    if rows == 1 and n >= 2 * CHUNK:
        _one_row(lowerer, node, view, target)
        return True
    if rows == 1:
        keep_ready(lowerer, _best_of(node, kind), f"{node.op}_of_chunks")
    if inner == 1:
        grain = -(-GRAIN * rows // view.size) if view.size >= 2 * GRAIN else 0
        lowerer.call(Kernel(_along_rows(node, kind), (view, target, n, view.size, 0), rows, grain), node.op)
        return True
    if n > LONGEST:
        return False
    best = lowerer.memory(Spec((rows,), int8 if kind == "b1" else source.dtype))
    places = lowerer.memory(Spec((rows,), np.dtype("i4")))
    outer = rows // inner
    hi = inner if outer == 1 else outer
    grain = max(1, -(-GRAIN * hi // view.size)) if view.size >= 2 * GRAIN and hi > 1 else 0
    if grain and outer == 1:  # narrow strips walk memory badly: as few strips as cores
        grain = max(grain, 256, -(-hi // pool.processors()))
    text = _along_columns(node, kind, outer == 1)
    lowerer.call(Kernel(text, (view, target, best, places, n, inner), hi, grain), node.op)
    lowerer.free(best.buffer)
    lowerer.free(places.buffer)
    return True
