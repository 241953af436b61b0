"""Row kernels: several passes over each row while it is in cache, with what is reduced of it in registers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from treadle.compile.cost import DRAWN_ROOM, DRAWN_RUN, SLICE, band
from treadle.compile.fusion.drawing import pieces_fit
from treadle.compile.fusion.emit import Kernel
from treadle.compile.fusion.passes import Pass
from treadle.compile.fusion.reduce import combine, identity, is_rounded
from treadle.compile.fusion.row_plan import RowPlan, RowWriter
from treadle.core.graph import Node
from treadle.core.tensor import Symbol


class RowKernel(RowPlan):
    """A kernel that goes along each row."""

    def cut(self) -> int:
        first = self.sizes[self.kept[0]]
        self.band = self.group.band or band(first, math.prod(self.sizes) // first)
        return -(-first // self.band) if self.ends else first

    @property
    def draws(self) -> bool:
        """Whether the kernel can draw the random numbers that it reads."""
        return all(self.by_pieces(k) or self.by_rows(k) for k in self.operands.drawn)

    def by_pieces(self, k: int) -> bool:
        """Whether random numbers can be drawn by pieces of the innermost loop: one pass reads them."""
        inner = self.gone[-1]
        normal = self.operands.drawn[k][0].node.op == "random_normal"
        once = sum(k in self.loads_of(this) for this in self.passes.passes) == 1
        return once and not normal and pieces_fit(self.operands, self.sizes, self.steps, inner)

    def by_rows(self, k: int) -> bool:
        """Whether random numbers can be drawn for a whole row, in memory on the stack."""
        straight, step = {}, 1
        for axis in reversed(self.gone):
            straight[axis] = step
            step *= self.sizes[axis]
        normal = self.operands.drawn[k][0].node.op == "random_normal"
        lies = all(self.steps[k][axis] == step for axis, step in straight.items())
        fits = DRAWN_RUN <= self.row <= DRAWN_ROOM and all(self.steps[k][axis] for axis in self.kept)
        return fits and lies and not normal and not self.operands.joined

    def kept_row(self, dtype: np.dtype[Any]) -> int:
        steps, step = {}, 1
        for axis in reversed(self.gone):
            steps[axis] = step
            step *= self.sizes[axis]
        return self.room(dtype, steps, self.row)

    def writer(self) -> RowWriter:
        return _AlongRows(self)


class _AlongRows(RowWriter):
    """The text of one row kernel, and its arguments."""

    plan: RowKernel

    def __init__(self, plan: RowKernel) -> None:
        super().__init__(plan)
        self.first, self.inner = plan.kept[0], plan.gone[-1]
        self.scope = plan.kept
        self.results: dict[Symbol, str] = {}  # row reductions' and ends' accumulators

    def kernel(self) -> Kernel:
        plan = self.plan
        self.addresses()
        self.scratch()
        self.bound([*plan.kept, *plan.gone], self.first)
        if self.drawing is not None:
            self.drawing.rows = {k: plan.gone for k in plan.operands.drawn if not plan.by_pieces(k)}
            self.drawing.begin(0, plan.kept)
        self.numbers()
        if plan.ends:
            self._blocks()
        else:
            self._rows(self.open(plan.kept, 1))
        self.constants()
        return Kernel(self.finished(), tuple(self.args), plan.hi, plan.grain)

    # -- blocks of rows ------------------------------------------------------------------------------------------------

    def _blocks(self) -> None:
        plan, first = self.plan, self.first
        size, rows = self.named(f"n{first}", plan.sizes[first]), self.named("band", plan.band)
        self.text.add(1, "for block in range(lo, hi):")
        for symbol, k in plan.ends.items():
            step = (plan.row if plan.is_column(symbol) else 1) * symbol.dtype.itemsize
            self.text.add(2, f"block{k} = a{k} + block * {self.named(f'step{k}', step)}")
            start = identity(self.op(symbol), symbol.dtype)
            if plan.is_column(symbol):
                indent = self.open(plan.gone[:-1], 2)
                self.pointer(indent, k, plan.gone[:-1], f"block{k}")
                self.text.add(indent, f"for j{self.inner} in range({self.bounds[self.inner]}):")
                self.text.add(indent + 1, f"q{k}[{self.index(k, self.inner)}] = {start}")
            else:
                self.text.add(2, f"total{k} = {start}")
        self.bounds[first] = f"block * {rows}, min({size}, (block + 1) * {rows})"
        self._rows(self.open(plan.kept, 2))
        for symbol, k in plan.ends.items():
            if not plan.is_column(symbol):
                self.pointer(2, k, [], f"block{k}")
                self.text.add(2, f"q{k}[0] = total{k}")

    # -- one row -------------------------------------------------------------------------------------------------------

    def _rows(self, indent: int) -> None:
        plan = self.plan
        for k in dict.fromkeys(plan.loads.values()):
            if self.varies(k, plan.kept) and not self.varies(k, plan.gone):
                self.pointer(indent, k, plan.kept)
                self.load(indent, k)
        if self.drawing is not None:
            self.drawing.row(indent, plan.kept, self.named("row", plan.row))
        for number, this in enumerate(plan.passes.passes):
            for node in this.before:
                self.row_node(indent, node)
            self._pass(indent, number, this)
        for node in plan.passes.after:
            self.row_node(indent, node)
        for symbol, k in plan.row_stores.items():
            self.pointer(indent, k, plan.kept)
            self.text.add(indent, f"q{k}[0] = {plan.body.name(symbol)}")

    def _pass(self, indent: int, number: int, this: Pass) -> None:
        plan, inner = self.plan, self.inner
        sums = {node: self._sum(node, number) for node in this.reduce}
        for node, name in sums.items():
            if name:
                dtype = node.outputs[0].dtype
                self.text.add(indent, f"{name} = {identity(node.op, dtype)}")
        deeper = self.open(plan.gone[:-1], indent)
        loads = plan.loads_of(this)
        columns = [plan.ends[node.outputs[0]] for node, name in sums.items() if not name]
        kept = [self.place(s) for s in (*this.reread, *this.keeps)]
        for k in dict.fromkeys([*loads, *kept, *[plan.stores[s] for s in this.stores], *columns]):
            base = f"block{k}" if k in columns else ""
            self.pointer(deeper, k, plan.gone[:-1] if k in columns else [*plan.kept, *plan.gone[:-1]], base)
            if k in loads and not self.varies(k, [inner]):
                self.load(deeper, k)
        bounds, parts = self.bounds[inner], {}
        rounded = any(name and is_rounded(node.op, node.outputs[0].dtype) for node, name in sums.items())
        if rounded and plan.sizes[inner] > SLICE:
            deeper, bounds = self.sliced(deeper, inner)
            parts = {node: f"some_{name}" for node, name in sums.items() if name}
            for node, name in parts.items():
                self.text.add(deeper, f"{name} = {identity(node.op, node.outputs[0].dtype)}")
        outside = deeper
        if self.drawing is not None and any(k in self.drawing.drawn and k not in self.drawing.rows for k in loads):
            deeper, bounds = self.drawing.pieces(deeper, [*plan.kept, *plan.gone[:-1]], inner, bounds)
        self.text.add(deeper, f"for j{inner} in range({bounds}):")
        deeper += 1
        for k in loads:
            if self.varies(k, [inner]):
                self.load(deeper, k, inner)
        for symbol in this.reread:
            name = plan.body.name(symbol)
            self.text.add(deeper, f"{name} = q{self.place(symbol)}[{self.index(self.place(symbol), inner)}]")
        for node in this.full:
            self.name_inputs(node)
            self.text.add(deeper, plan.body.line(node), node)
        for node, name in sums.items():
            self.name_inputs(node)
            end = plan.ends.get(node.outputs[0], -1)
            self.accumulate(deeper, node, parts.get(node) or name or f"q{end}[{self.index(end, inner)}]")
        for symbol, k in [*[(s, self.place(s)) for s in this.keeps], *[(s, plan.stores[s]) for s in this.stores]]:
            self.text.add(deeper, f"q{k}[{self.index(k, inner)}] = {plan.body.name(symbol)}")
        for node, name in parts.items():
            total = sums[node]
            self.text.add(outside, f"{total} = {combine(node.op, node.outputs[0].dtype, total, name)}", node)
        for node, name in sums.items():
            self._after(indent, node, name)

    def _sum(self, node: Node, number: int) -> str:
        """The name in which a pass reduces; empty for columns, which are reduced in memory."""
        out = node.outputs[0]
        if out in self.plan.group.rows:
            name = self.plan.body.names[out] = f"r{len(self.results)}"
            self.results[out] = name
            return name
        return "" if self.plan.is_column(out) else f"part{self.plan.ends[out]}"

    def _after(self, indent: int, node: Node, name: str) -> None:
        """What a row adds to the sum of everything."""
        out = node.outputs[0]
        if out in self.plan.ends and name:
            total = f"total{self.plan.ends[out]}"
            self.text.add(indent, f"{total} = {combine(node.op, out.dtype, total, name)}", node)
