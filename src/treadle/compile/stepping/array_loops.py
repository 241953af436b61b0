"""Which loops over arrays become one kernel: elementwise work over one shape, with scalars beside it.

Where nothing but the loop's own scalars tells when it ends, the order of the loops is turned round: each block of
elements takes all steps while it is in cache, and blocks are shared out. Where sums over the arrays feed back (a test
such as `any(error > eps)`), that needs all elements at each step: such a loop is one kernel while its arrays are small.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from treadle.compile.cost import GRAIN, HEAVY, units
from treadle.compile.fusion.emit import broadcast_strides
from treadle.compile.fusion.items import REDUCTIONS, in_kernel, is_elementwise, is_scalar_constant
from treadle.compile.run import pool
from treadle.compile.stepping.fitting import is_scalar_node
from treadle.compile.views import Buffer, View
from treadle.core.graph import Graph, Node
from treadle.core.spec import Shape
from treadle.core.tensor import Symbol
from treadle.records import dataclass, field

MAX_ARRAYS = 40  # arrays that one kernel may walk at once
CACHED = 16_384  # bytes of a block's arrays: half of a small first-level cache
# The same where each step reads a row of its own. s * 0.9 + tanh(x[k]), 1,000 steps of 500 float32: 1,300 cycles a step
# in blocks of 64 elements, 1,500 in two pieces, 750 in one; of 5,000, 10,900 in two pieces, 9,300 in one.
STREAMED = 131_072
PIECE = 1024  # elements of a row, the least that one core takes where others take the rest
WHOLE = 2 * GRAIN  # elements up to which a loop with sums is one kernel: more is work for several cores at each step
CALL_UNITS = 1 << 25  # units of work of one call, a few milliseconds: then Python has a look
CALL_STEPS = 1 << 18


@dataclass(slots=True)
class Staged:
    """A graph's nodes in passes over the elements: what pass p needs of scalars is computed before it.

    level: the pass that computes an array; for scalars, the pass before which they are known.
    """

    scalars: list[list[Node]] = field(default_factory=list)
    arrays: list[list[Node]] = field(default_factory=list)
    level: dict[Symbol, int] = field(default_factory=dict)
    aliases: dict[Symbol, Symbol] = field(default_factory=dict)
    stretched: list[Symbol] = field(default_factory=list)  # arrays from outside that must be brought to the shape
    sums: bool = False
    cost: int = 0

    def real(self, symbol: Symbol) -> Symbol:
        """The value that a symbol shows."""
        while symbol in self.aliases:
            symbol = self.aliases[symbol]
        return symbol


def staged(graph: Graph, shape: Shape, fixed: Sequence[Symbol]) -> Staged | None:
    """A graph's passes, or None where it holds something else; `fixed` are its inputs that no step changes."""
    found = Staged()
    outside = set(fixed)
    for symbol in graph.inputs:
        if symbol in outside and symbol.shape not in ((), shape):
            if not _stretches(symbol.shape, shape):
                return None
            found.stretched.append(symbol)
        elif symbol.shape not in ((), shape):
            return None
        found.level[symbol] = 0
    for node in graph.nodes:
        if not _stage(found, node, shape):
            return None
    return found


def _stretches(small: Shape, shape: Shape) -> bool:
    try:
        return np.broadcast_shapes(small, shape) == shape
    except ValueError:
        return False


def _stage(found: Staged, node: Node, shape: Shape) -> bool:
    """Find a node's pass; whether it has one."""
    if not all(in_kernel(s.spec) for s in (*node.inputs, *node.outputs)):
        return False
    inputs = [found.real(s) for s in node.inputs]
    level = max((found.level.get(s, 0) for s in inputs), default=0)
    if node.op == "constant":
        return _constant(found, node, shape)
    (*_, out) = node.outputs or (None,)
    if out is None:
        return False
    if node.op == "full" and not node.inputs:
        found.level[out] = 0
        return out.shape in ((), shape)
    if node.op == "broadcast_to" or (node.op == "reshape" and out.shape == node.inputs[0].shape):
        found.aliases[out] = node.inputs[0]
        return out.shape in ((), shape)
    if node.op in REDUCTIONS and node.inputs[0].shape:
        fits = inputs[0].shape == node.inputs[0].shape == shape and out.shape == () and is_all(node)
        found.level[out] = level + 1
        found.sums = True
        _into(found.arrays, level).append(node)
    elif out.shape == shape and shape:
        fits = is_elementwise(node)
        found.level[out] = level
        _into(found.arrays, level).append(node)
    else:
        fits = node.op != "assert" and is_scalar_node(node)
        found.level.update((s, level) for s in node.outputs)
        _into(found.scalars, level).append(node)
    found.cost += units(node) if node.op not in ("cond", "while") else 100
    return fits


def is_all(node: Node) -> bool:
    """Whether a reduction goes over all axes."""
    return len(set(node.attrs["axes"])) == len(node.inputs[0].shape)


def _constant(found: Staged, node: Node, shape: Shape) -> bool:
    (out,) = node.outputs
    found.level[out] = 0
    if is_scalar_constant(out):
        return True
    if not _stretches(out.shape, shape):
        return False
    found.stretched.append(out)
    return True


def _into(levels: list[list[Node]], level: int) -> list[Node]:
    while len(levels) <= level:
        levels.append([])
    return levels[level]


@dataclass(slots=True)
class ArrayLoop:
    """A loop that can be one kernel: its shape and the passes of its parts."""

    node: Node
    shape: tuple[int, ...]
    test: Staged | None
    body: Staged

    @property
    def sums(self) -> bool:
        """Whether each step needs all elements."""
        return self.body.sums or (self.test is not None and self.test.sums)

    @property
    def size(self) -> int:
        """Elements."""
        return int(np.prod(self.shape))

    @property
    def cost(self) -> int:
        """Units of work at one element of one step."""
        return max(1, self.body.cost + (self.test.cost if self.test is not None else 0))


def array_loop(node: Node) -> ArrayLoop | None:
    """How a loop becomes one kernel, or None."""
    layout = node.attrs["layout"]
    body: Graph = node.attrs["body"]
    test: Graph | None = node.attrs["test"]
    known = isinstance(node.attrs["steps"], int)
    _, carry, consts, xs = layout.parts(node.inputs)
    if (len(body.outputs) > layout.carry or (xs and not layout.counted)) and not known:
        return None
    if not all(in_kernel(s.spec) for s in (*carry, *consts, *xs)):
        return None
    shapes = [s.shape for s in (*carry, *(s for s in body.inputs[layout.carry + layout.consts :])) if s.shape]
    shapes = shapes or [s.shape for s in consts if s.shape]
    if not shapes or any(s != shapes[0] for s in shapes) or 0 in shapes[0] or len(body.inputs) > MAX_ARRAYS:
        return None
    shape: tuple[int, ...] = shapes[0]
    inside = staged(body, shape, body.inputs[layout.carry : layout.carry + layout.consts])
    if inside is None or any(
        s.shape != i.shape for s, i in zip(body.outputs, body.inputs[: layout.carry], strict=False)
    ):
        return None
    if not all(s.shape in ((), shape) for s in body.outputs):
        return None
    asked = None if test is None else staged(test, shape, test.inputs[layout.carry :])
    if test is not None and asked is None:
        return None
    loop = ArrayLoop(node, shape, asked, inside)
    walked = len(body.inputs) + len(inside.stretched) + len(body.outputs)
    if walked > MAX_ARRAYS or (loop.sums and loop.size > WHOLE):
        return None
    return loop


def block_of(loop: ArrayLoop, views: Sequence[View], streams: bool) -> tuple[int, int, int]:
    """Elements of a block, how many blocks there are, and how many of them make a share worth handing over.

    streams: whether each step reads rows of its own: then a block is a long piece of each.
    """
    size = loop.size
    if loop.sums:
        return size, 1, 1
    nbytes = max(1, sum(view.dtype.itemsize for view in views))
    most, pieces = min(1024, CACHED // nbytes), 8
    if streams:
        many = pool.processors()
        most, pieces = STREAMED // nbytes, many if size // many >= PIECE or loop.cost >= 3 * HEAVY else 1
    width = min(max(64, most // 64 * 64), max(64, -(-size // pieces) // 16 * 16))
    blocks = -(-size // width)
    steps = loop.node.attrs["steps"]
    taken = steps if isinstance(steps, int) else 16
    return width, blocks, max(1, -(-GRAIN * 20 // (width * loop.cost * max(taken, 1))))


def chunk_of(loop: ArrayLoop) -> int:
    """Steps that one call takes."""
    return max(1, min(CALL_STEPS, CALL_UNITS // (loop.size * loop.cost)))


def stretch(view: View, shape: tuple[int, ...]) -> View:
    """A view over a larger shape."""
    return View(view.buffer, shape, view.dtype, broadcast_strides(view, shape), view.offset)


def plain_memory(buffer: Buffer) -> bool:
    """Whether a buffer's address is known where the loop begins."""
    return "object" not in buffer.kind and buffer.kind != "stack"
