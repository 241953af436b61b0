"""Scatters with the work that makes their updates: each update is computed where it is written, not stored before.

Whole rows go one after another, in the order of their indices, and along each row as vectors. Several cores take
strips of the rows, each of all of them, so that every place gets its updates in order. Single elements go one after
another by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from treadle.compile.cost import GRAIN, HEAVY, MAX_OPERANDS, SHORT_ROW, SINGLE_UPDATES, WIDE_STRIP, units
from treadle.compile.fusion.emit import Body, Kernel, Operands, broadcast_strides, code
from treadle.compile.fusion.fuse import Fuser
from treadle.compile.fusion.items import Group, Single, is_scalar_constant
from treadle.compile.fusion.reduce import update_line
from treadle.compile.fusion.rules import used
from treadle.compile.fusion.small_groups import name_of
from treadle.compile.fusion.sources import Index, Picked, Source, fault, finder
from treadle.compile.fusion.surroundings import LoopWriter
from treadle.compile.fusion.taking import read_by, replace, stored_anyway, take, work_for
from treadle.compile.moves.zeros import all_zero
from treadle.compile.run import pool
from treadle.compile.views import View
from treadle.compile.ways import UPDATES
from treadle.core.graph import Graph, Node
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]


def update_of(node: Node) -> Symbol:
    """What a scatter brings to its places."""
    return node.inputs[1] if node.op == "scatter" else node.inputs[0]


def indices_of(node: Node) -> tuple[Symbol, ...]:
    """Where a scatter brings it."""
    return tuple(node.inputs[1:] if node.op == "add_along_axis" else node.inputs[2:])


def row_axes(node: Node) -> int:
    """How many of the update's last axes are those of rows, which no index moves along."""
    if node.op != "scatter":
        return 0
    rank = max(len(s.shape) for s in indices_of(node))
    position: int = node.attrs["position"]
    return len(update_of(node).shape) - position - rank


# -- which scatters take the work on their updates ---------------------------------------------------------------------


def find(fuser: Fuser, graph: Graph) -> None:
    """Let scatters compute their updates, where nothing else wants them."""
    kept = set(graph.outputs)
    for item in [i for i in fuser.items if isinstance(i, Single) and i.node.op in ("scatter", "add_along_axis")]:
        if _walkable(item.node) and not _settle(fuser, item, kept) and _row(item.node) >= SHORT_ROW:
            replace(fuser, item, Group(update_of(item.node).shape, [], order=item.order, after=item.after))
    for item in [i for i in fuser.items if isinstance(i, Single) and i.node.op == "full"]:
        out = item.node.outputs[0]
        readers = fuser.readers.get(out, ())
        if all_zero(out) and readers and out not in kept and all(_filled(reader, out) for reader in readers):
            fuser.items.remove(item)
            fuser.dropped |= fuser.bits[item]


def _filled(reader: Node, zeros: Symbol) -> bool:
    """Whether all that a node wants of zeros is that its result begins with them."""
    alone = [s is zeros for s in reader.inputs] == [True, *[False] * (len(reader.inputs) - 1)]
    return alone and reader.op in UPDATES and _walkable(reader)


def _walkable(node: Node) -> bool:
    values = (*node.inputs, *node.outputs)
    if not all(s.spec.static and s.dtype.kind in "biuf" and s.dtype.itemsize <= 8 and 0 not in s.shape for s in values):
        return False
    return all(s.dtype.kind == "i" and s.dtype.itemsize >= 4 for s in indices_of(node))


def _settle(fuser: Fuser, item: Single, kept: set[Symbol]) -> bool:
    """Take the work on a scatter's updates into it; False where that does not fit."""
    node, update = item.node, update_of(item.node)
    home = fuser.home.get(update)
    if not isinstance(home, Group) or sum(s is update for s in node.inputs) > 1:
        return False
    group = home.find()
    plain = group.inner is None and not group.ends and not group.moments and group.scatter is None
    if not plain or group.shape != update.shape or any(v.joins or v.draws for v in group.virtual.values()):
        return False
    nodes = work_for(fuser, group, node, kept)
    read = read_by(nodes)
    if not any(n.outputs[0] is update for n in nodes) or not _pays(node, nodes):
        return False
    if len(read) + len(node.inputs) > MAX_OPERANDS:
        return False
    if any(s in group.made and not stored_anyway(fuser, group, s, kept) for s in read):
        return False
    take(fuser, item, group, nodes)
    used("a scatter computes its updates")
    return True


def _row(node: Node) -> int:
    """How many elements one index moves, at least; 1 where each has an index of its own."""
    axes = row_axes(node)
    return math.prod(map(int, update_of(node).shape[-axes:])) if axes > 0 else 1


def _pays(node: Node, nodes: list[Node]) -> bool:
    """Whether the work is as quick in the scatter: along rows of some length as vectors, else a little of much."""
    many = math.prod(map(int, update_of(node).shape)) >= SINGLE_UPDATES
    return _row(node) >= SHORT_ROW or (many and sum(map(units, nodes)) < HEAVY)


# -- the kernel --------------------------------------------------------------------------------------------------------


class ScatterKernel:
    """Geometry of a scatter: a walk over its updates, the axes of its indices first."""

    def __init__(self, group: Group, view: Callable[[Symbol], Source], target: View) -> None:
        assert group.scatter is not None
        self.group, self.node = group, group.scatter
        self.shape: tuple[int, ...] = update_of(self.node).shape  # type: ignore[assignment]
        self.order = self._order()
        self.operands, self.body = Operands(self._ordered(self.shape)), Body()
        self.loads = self.operands.take_all(group.nodes, view, self._stretched)
        update = update_of(self.node)
        if update not in group.made and not is_scalar_constant(update):
            self.loads[update] = self.operands.take(view(update), self._stretched)
        tables = [view(s) for s in indices_of(self.node)]
        self.target = self.operands.take(self._places(target, tables), lambda v: self._ordered(v.strides))
        self.operands.written.add(self.target)
        self.apart = self.operands.apart
        self.sizes, _, self.steps = self.operands.collapse([False] * len(self.shape))
        if not self.sizes:
            self.sizes, self.steps = [1], [[0] for _ in self.steps]
        self.rows = not any(self.steps[table][-1] for table, _ in self.operands.picks[self.target])

    def _order(self) -> list[int]:
        """The axes of the updates, the indices' ones first, so that updates to one place come in NumPy's order."""
        rank = len(self.shape)
        if self.node.op != "scatter":
            return list(range(rank))
        first = self.node.attrs["position"]
        along = range(first, first + max(len(s.shape) for s in indices_of(self.node)))
        return [*along, *[k for k in range(rank) if k not in along]]

    def _ordered(self, values: tuple[int, ...]) -> tuple[int, ...]:
        return tuple([values[k] for k in self.order])

    def _stretched(self, view: View) -> tuple[int, ...]:
        return self._ordered(broadcast_strides(view, self.shape))

    def _places(self, target: View, tables: list[Any]) -> Picked:
        """The target over the updates' shape: where its element lies that an update goes to."""
        node, shape = self.node, self.shape
        if node.op != "scatter":
            axes, found = [node.attrs["axis"]], tables
            strides = tuple([0 if k in axes else step for k, step in enumerate(target.strides)])
        else:
            axes, position = node.attrs["axes"], node.attrs["position"]
            rank = max(len(t.shape) for t in tables)
            rest = [step for k, step in enumerate(target.strides) if k not in axes]
            strides = (*rest[:position], *[0] * rank, *rest[position:])
            found = []
            for t in tables:
                steps = broadcast_strides(t, shape[position : position + rank])
                over = (*[0] * position, *steps, *[0] * (len(shape) - position - rank))
                found.append(View(t.buffer, shape, t.dtype, over, t.offset))
        indices = [Index(t, target.shape[k], target.strides[k], node) for t, k in zip(found, axes, strict=True)]
        return Picked(View(target.buffer, shape, target.dtype, strides, target.offset), tuple(indices))

    @property
    def strip(self) -> int:
        """How much of a row one core takes, at least; all of it where there is little work."""
        row, wide = self.sizes[-1], 2 * WIDE_STRIP
        if math.prod(self.sizes) < 2 * GRAIN or row < wide:
            return row
        return -(-row // (min(pool.processors(), row // WIDE_STRIP) * 16)) * 16

    def write(self) -> Kernel:
        """The kernel."""
        return _Writer(self).kernel()


class _Writer(LoopWriter):
    """The text of one kernel, and its arguments."""

    plan: ScatterKernel

    def __init__(self, plan: ScatterKernel) -> None:
        super().__init__(plan)
        self.plan = plan

    def kernel(self) -> Kernel:
        plan = self.plan
        self.addresses()
        inner = len(plan.sizes) - 1
        lines = self._body(inner)
        self.constants()
        loops = list(range(inner))
        hi, grain, indent = plan.sizes[0], 0, 1
        self.bound(range(inner + 1), -1 if plan.rows else 0)
        if plan.rows:  # shares are strips of the rows: each goes over all indices
            hi = -(-plan.sizes[inner] // plan.strip)
            grain = int(hi > 1)
            self.text.add(1, "for k in range(lo, hi):")
            strip = self.named("strip", plan.strip)
            self.bounds[inner] = f"k * {strip}, min({self.bounds[inner]}, (k + 1) * {strip})"
            indent = 2
        indent = self.open(loops, indent)
        self.pointer(indent, plan.target, loops)
        which = list(dict.fromkeys(plan.loads.values()))
        for k in which:
            self.pointer(indent, k, loops)
            if not self.varies(k, [inner]):
                self.load(indent, k)
        self.text.add(indent, f"for j{inner} in range({self.bounds[inner]}):")
        for k in which:
            if self.varies(k, [inner]):
                self.load(indent + 1, k, inner)
        for line, node in lines:
            self.text.add(indent + 1, line, node)
        assert self.reads is not None
        place = self.reads.place(indent + 1, plan.target, inner)
        update = update_of(plan.node)
        write = update_line(plan.node.attrs.get("mode", "add"), code(update.dtype))
        self.text.add(indent + 1, write([f"q{plan.target}[{place}]", plan.body.name(update)]), plan.node)
        return Kernel(self.finished(), tuple(self.args), hi, grain)

    def _body(self, inner: int) -> list[tuple[str, Node]]:
        plan = self.plan
        for symbol, k in plan.loads.items():
            plan.body.names[symbol] = f"x{k}"
            if not self.varies(k, [inner]):
                plan.body.fixed.add(symbol)
            assert self.reads is not None
            self.reads.name(symbol, k)
        return [(plan.body.line(node), node) for node in plan.group.nodes]


def lower_scatter_group(lowerer: Lowerer, group: Group, env: Env, targets: Env) -> list[Symbol]:
    """Lay out a scatter with the work on its updates; the value that it leaves in memory."""
    from treadle.compile.moves.copies import lay

    node = group.scatter
    assert node is not None
    out = node.outputs[0]
    target = env[out] = lowerer.fresh(out, targets)
    if node.op == "scatter":
        lay(lowerer, node.inputs[0], target, env)
    else:
        lowerer.asm.fill(target.ref, 0, target.nbytes)
    kernel = ScatterKernel(group, finder(lowerer, group, env), target).write()
    lowerer.call(kernel, f"{name_of(group)}_{node.op}", fault(lowerer, group, env))
    return [out]
