"""Inverses, solutions, determinants and Cholesky factors of many small matrices: one kernel, a matrix in registers.

A call of LAPACK costs more than the work for a small matrix does. Where a matrix cannot be worked on, NumPy does all of
them again, and says so.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from treadle.compile import hosts
from treadle.compile.fusion.emit import Kernel, Text, code
from treadle.compile.stepping import lanes, small_matrices
from treadle.compile.stepping.lanes import Lanes
from treadle.compile.views import View
from treadle.core.dim import is_static
from treadle.core.graph import Node, apart
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]
LEAST = 8  # matrices: a kernel must be compiled, LAPACK is there
# Lines that a matrix may take, and those for many matrices: 100 lines take 0.1 s to compile, 300 about 1 s.
MOST_LINES, MANY, MOST_FOR_MANY = 120, 2000, 350
SHARE = 1 << 15  # lines of work that a core takes at one go


def worth(node: Node) -> bool:
    """Whether a kernel of its own is the quicker way for a node."""
    first = node.inputs[0]
    if node.op not in small_matrices.OPS or not all(is_static(s.shape) and 0 not in s.shape for s in node.inputs):
        return False
    batch = math.prod(map(int, first.shape[:-2]))
    if batch < LEAST or any(s.shape[:-2] != first.shape[:-2] or s.dtype != first.dtype for s in node.inputs):
        return False
    lines = small_matrices.lines_of(node)
    return lines is not None and lines // batch <= (MOST_LINES if batch < MANY else MOST_FOR_MANY)


def lower(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Lay out the kernel of a node that is worth one."""
    sources = [lowerer.contiguous(lowerer.value(s, env)) for s in node.inputs]
    end = env[node.outputs[0]] = lowerer.fresh(node.outputs[0], targets)
    batch = math.prod(map(int, node.inputs[0].shape[:-2]))
    step = hosts.node_step(node, sources, [end], tuple(lowerer.loops))
    lowerer.has_checks = True
    grain = max(1, SHARE // ((small_matrices.lines_of(node) or 1) // batch + 1))
    kernel = Kernel(text_of(node), (*sources, end), batch, grain if batch >= 2 * grain else 0)
    lowerer.call(kernel, node.op, hosts.Otherwise(apart(node), step))
    return True


def text_of(node: Node) -> Text:
    """A loop over the matrices; it tells at its end whether all could be worked on."""
    text = Text()
    text.add(0, "def kernel(args, lo, hi):  # apart")
    for k, symbol in enumerate((*node.inputs, *node.outputs)):
        text.add(1, f"a{k} = args[{k}]")
        text.add(1, f"m{k} = p_{code(symbol.dtype)}(a{k})")
    text.add(1, "bad = i8(0)")
    text.add(1, "for j in range(lo, hi):")
    count = 0

    def name(expression: str) -> str:
        nonlocal count
        count += 1
        text.add(2, f"v{count} = {expression}")
        return f"v{count}"

    def elements(k: int, shape: tuple[int, ...]) -> Lanes:
        made = np.empty(shape, object)
        for lane, index in enumerate(np.ndindex(*shape)):
            made[index] = f"m{k}[j * {made.size} + {lane}]"
        return made

    def refuse(condition: str) -> None:
        text.add(2, f"bad = bad | i8({condition})")

    given = []
    for k, symbol in enumerate(node.inputs):
        places = elements(k, tuple(map(int, symbol.shape[-2:])))
        given.append(lanes.each(places, name))
    out = node.outputs[0]
    found = small_matrices.matrix(node.op, given, code(out.dtype), name, refuse)
    ends = elements(len(given), np.shape(found))
    for index in np.ndindex(*ends.shape):
        text.add(2, f"{ends[index]} = {np.asarray(found)[index]}")
    text.add(1, "return bad * 2")
    return text
