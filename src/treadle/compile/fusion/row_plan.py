"""What row kernels have in common: the operands of a group with rows, its passes, and how its work is cut.

Sums across rows (of columns, of everything) go by blocks of rows: each block adds up its own, and a second kernel
adds up the blocks. Blocks are cut by size alone, so that sums do not depend on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from treadle.compile.cost import GRAIN, SCRATCH_SHARES
from treadle.compile.fusion.emit import Body, Kernel, Operands, broadcast_strides, code
from treadle.compile.fusion.items import Group, is_scalar_constant
from treadle.compile.fusion.levels import other_axes, row_strides, true_axes
from treadle.compile.fusion.passes import Pass, Passes
from treadle.compile.fusion.reduce import combine
from treadle.compile.fusion.sources import Source
from treadle.compile.fusion.surroundings import LoopWriter, varies
from treadle.compile.views import Buffer, View, contiguous_strides
from treadle.core.graph import Node
from treadle.core.tensor import Symbol


class RowPlan:
    """Geometry and passes of one row kernel.

    view:   where a value that the group reads lies.
    stores: full values and row values that are needed outside, and where they go.
    ends:   sums across rows, and where they go when there is one block; else `put` tells of partial results.
    """

    def __init__(
        self,
        group: Group,
        view: Callable[[Symbol], Source],
        stores: Mapping[Symbol, View],
        ends: Mapping[Symbol, View],
    ) -> None:
        assert group.row_axes is not None
        self.group, self.inner = group, group.row_axes
        self.shape: tuple[int, ...] = group.shape  # type: ignore[assignment]
        self.operands, self.body = Operands(self.shape), Body()
        # By symbol, and the shape of the row values that are made of it (None: full ones).
        self.loads: dict[tuple[Symbol, tuple[int, ...] | None], int] = {}
        for node in group.nodes:
            made = self.row_shape(node)
            for symbol in node.inputs:
                if symbol not in group.made and not is_scalar_constant(symbol) and (symbol, made) not in self.loads:
                    self.loads[symbol, made] = self._take(view(symbol), made)
        self.stores = {s: self._add(v, None) for s, v in stores.items() if s not in group.rows}
        self.row_stores = {s: self._add(v, v.shape) for s, v in stores.items() if s in group.rows}
        self.ends = {s: self.operands.add(v, self._end_strides(s)) for s, v in ends.items()}
        self.apart = self.operands.apart
        read = {id(self.operands.views[k].buffer) for k in self.loads.values()}
        late = {s for s, k in self.stores.items() if id(self.operands.views[k].buffer) in read}
        self.passes = Passes(group, self.stores, late, lambda s: self.holds(self.operands.strides[self.stores[s]]))
        self.rooms: dict[int, int] = {}  # scratch operands, and how many elements of each a share needs
        self.sizes, self.flags, self.steps = self.operands.collapse([k in self.inner for k in range(len(self.shape))])
        self.kept = [k for k, flag in enumerate(self.flags) if not flag]
        self.gone = [k for k, flag in enumerate(self.flags) if flag]
        self.row = math.prod(self.shape[k] for k in self.inner)
        self.hi = self.cut()
        self.scratch = {s: self.kept_row(s.dtype) for s, place in self.passes.home.items() if place is None}

    def holds(self, strides: tuple[int, ...]) -> bool:
        """Whether a result of these strides is a good place for another value before."""
        return True

    def cut(self) -> int:
        """How many rows, strips or blocks there are."""
        raise NotImplementedError

    def kept_row(self, dtype: np.dtype[Any]) -> int:
        """A scratch operand for a value that is kept from pass to pass."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Find what scratch the kernel needs beside kept values."""

    def writer(self) -> RowWriter:
        """What writes the text."""
        raise NotImplementedError

    def works_on_rows(self, node: Node) -> bool:
        """Whether a node reads row values, not full ones."""
        if node.definition.family == "reduction":
            return node.inputs[0] in self.group.rows
        return node.outputs[0] in self.group.rows

    def row_shape(self, node: Node) -> tuple[int, ...] | None:
        """The shape that work on row values goes over; None for work on full ones."""
        return tuple(map(int, node.outputs[0].shape)) if self.works_on_rows(node) else None

    def _take(self, source: Source, made: tuple[int, ...] | None) -> int:
        return self.operands.take(source, lambda view: self._stretched(view, made))

    def _add(self, view: View, made: tuple[int, ...] | None) -> int:
        return self.operands.add(view, self._stretched(view, made))

    def _stretched(self, view: View, made: tuple[int, ...] | None) -> tuple[int, ...]:
        if made is None:
            return broadcast_strides(view, self.shape)
        # Row values lack the reduced axes: what they are made of lines up with them, not with the full shape.
        return row_strides(made, broadcast_strides(view, made), self.shape, self.inner)

    def is_column(self, symbol: Symbol) -> bool:
        """Whether a sum across rows leaves a row (else a single number)."""
        (node,) = [n for n in self.group.nodes if n.outputs[0] is symbol]
        if node.inputs[0] in self.group.rows:
            return False
        return true_axes(self.shape, node.attrs["axes"]) == other_axes(self.shape, self.inner)

    def _end_strides(self, symbol: Symbol) -> tuple[int, ...]:
        """Strides of a sum across rows: those of a contiguous row, which all rows share, or none."""
        steps = iter(contiguous_strides(tuple(self.shape[k] for k in self.inner)))
        column = self.is_column(symbol)
        return tuple(next(steps) if column and k in self.inner else 0 for k in range(len(self.shape)))

    def room(self, dtype: np.dtype[Any], steps: dict[int, int], elements: int) -> int:
        """A scratch operand with strides over the collapsed axes."""
        self.operands.views.append(View(Buffer("arena", None, 0), (), dtype, ()))
        self.operands.strides.append(())
        self.steps.append([steps.get(axis, 0) for axis in range(len(self.sizes))])
        self.rooms[len(self.steps) - 1] = elements
        return len(self.steps) - 1

    @property
    def grain(self) -> int:
        """Of how many rows, or blocks of rows, a share consists; 0: do not share."""
        total = math.prod(self.sizes)
        if self.hi < 2 or total < 2 * GRAIN:
            return 0
        grain = max(1, -(-GRAIN * self.hi // total))
        return max(grain, -(-self.hi // SCRATCH_SHARES)) if self.rooms else grain

    @property
    def shares(self) -> int:
        """Into how many shares the work is cut at most."""
        return -(-self.hi // self.grain) if self.grain else 1

    def varies(self, operand: int, axes: Sequence[int]) -> bool:
        """Whether an operand's place changes along any of these axes."""
        return varies(self.operands, self.steps, operand, axes)

    def loads_of(self, this: Pass) -> list[int]:
        """The arrays that a pass reads along the row."""
        nodes = [*this.full, *this.reduce]
        found = [self.loads[s, None] for n in nodes for s in n.inputs if (s, None) in self.loads]
        return [k for k in dict.fromkeys(found) if self.varies(k, self.gone)]

    def put(self, number: int, view: View) -> None:
        """Tell where an operand lies: partial results, scratch."""
        self.operands.views[number] = view

    def write(self) -> Kernel:
        """The kernel."""
        return self.writer().kernel()


class RowWriter(LoopWriter):
    """The pieces that the texts of all row kernels share."""

    def __init__(self, plan: RowPlan) -> None:
        super().__init__(plan)
        self.plan = plan

    def kernel(self) -> Kernel:
        """The text and its arguments."""
        raise NotImplementedError

    def scratch(self) -> None:
        """Each share has scratch of its own."""
        plan = self.plan
        for k, elements in plan.rooms.items():
            share = f"lo // {self.named('grain', max(plan.grain, 1))}"
            size = elements * plan.operands.views[k].dtype.itemsize
            self.head.append(f"a{k} = a{k} + {share} * {self.argument(size)}")

    def numbers(self) -> None:
        """Loads that never change."""
        for k in dict.fromkeys(self.plan.loads.values()):
            if not self.varies(k, range(len(self.plan.sizes))):
                self.pointer(1, k, [])
                self.load(1, k)

    def op(self, symbol: Symbol) -> str:
        """The reduction that makes a value."""
        (op,) = [n.op for n in self.plan.group.nodes if n.outputs[0] is symbol]
        return op

    def name_inputs(self, node: Node) -> None:
        """One array may be read in several ways: by row, and along the row."""
        made = self.plan.row_shape(node)
        for symbol in node.inputs:
            k = self.plan.loads.get((symbol, made))
            if k is not None:
                self.plan.body.names[symbol] = f"x{k}"
                self._known_as(symbol, k)

    def _known_as(self, symbol: Symbol, k: int) -> None:
        """What the body may make of a value that was read: that it stays the same along a row, or is a position."""
        if self.varies(k, self.plan.gone):
            self.plan.body.fixed.discard(symbol)
        else:
            self.plan.body.fixed.add(symbol)
        if self.reads is not None:
            self.reads.name(symbol, k)

    def accumulate(self, indent: int, node: Node, target: str) -> None:
        """One more value for a reduction."""
        dtype = node.outputs[0].dtype
        value = self.plan.body.name(node.inputs[0])
        if node.inputs[0].dtype != dtype:
            value = f"{code(dtype)}({value})"
        self.text.add(indent, f"{target} = {combine(node.op, dtype, target, value)}", node)

    def row_node(self, indent: int, node: Node) -> None:
        """What is computed once a row: a view, a reduction of rows' values, or elementwise work."""
        plan, out = self.plan, node.outputs[0]
        self.name_inputs(node)
        if node.definition.family == "view":
            plan.body.names[out] = plan.body.name(node.inputs[0])
        elif node.definition.family == "reduction":
            self.accumulate(indent, node, f"total{plan.ends[out]}")
        else:
            self.text.add(indent, plan.body.line(node), node)

    def place(self, symbol: Symbol) -> int:
        """The operand in which a value is kept from one pass to another."""
        home = self.plan.passes.home[symbol]
        return self.plan.scratch[symbol] if home is None else self.plan.stores[home]


def partial_view(plan: RowPlan, symbol: Symbol, buffer: Buffer) -> View:
    """Partial results of the blocks in a buffer: one number a block, or one row."""
    shape = (plan.hi, plan.row) if plan.is_column(symbol) else (plan.hi,)
    return View(buffer, shape, symbol.dtype, contiguous_strides(shape))
