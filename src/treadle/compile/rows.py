"""Row kernels: several passes over each row while it is in cache, with what is reduced of it in registers.

Sums across rows (of columns, of everything) go by blocks of rows: each block adds up its own, and a second kernel
adds up the blocks. Blocks are cut by size alone, so that sums do not depend on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from treadle.compile.cost import GRAIN, SCRATCH_SHARES, band
from treadle.compile.emit import Body, Kernel, Operands, broadcast_strides, code
from treadle.compile.fuse import Group, is_scalar_constant
from treadle.compile.levels import is_row_shape, other_axes, row_strides, true_axes
from treadle.compile.loops import LoopWriter
from treadle.compile.passes import Pass, Passes
from treadle.compile.reduce import combine, identity
from treadle.compile.views import Buffer, View, contiguous_strides
from treadle.core.graph import Node
from treadle.core.tensor import Symbol


class RowKernel:
    """Geometry and passes of one row kernel.

    view:   where a value that the group reads lies.
    stores: full values and row values that are needed outside, and where they go.
    ends:   sums across rows, and where they go when there is one block; else `use` tells of partial results.
    """

    def __init__(
        self,
        group: Group,
        view: Callable[[Symbol], View],
        stores: Mapping[Symbol, View],
        ends: Mapping[Symbol, View],
    ) -> None:
        assert group.row_axes is not None
        self.group, self.inner = group, group.row_axes
        self.shape: tuple[int, ...] = group.shape  # type: ignore[assignment]
        self.operands, self.body = Operands(self.shape), Body()
        self.loads: dict[tuple[Symbol, bool], int] = {}  # by symbol, and whether row work reads it
        for node in group.nodes:
            as_row = self._works_on_rows(node)
            for symbol in node.inputs:
                if symbol not in group.made and not is_scalar_constant(symbol) and (symbol, as_row) not in self.loads:
                    self.loads[symbol, as_row] = self._add(view(symbol), as_row)
        self.stores = {s: self._add(v, False) for s, v in stores.items() if s not in group.rows}
        self.row_stores = {s: self._add(v, True) for s, v in stores.items() if s in group.rows}
        self.ends = {s: self.operands.add(v, self._end_strides(s)) for s, v in ends.items()}
        read = {id(self.operands.views[k].buffer) for k in self.loads.values()}
        late = {s for s, k in self.stores.items() if id(self.operands.views[k].buffer) in read}
        self.passes = Passes(group, self.stores, late, lambda s: 0 not in self.operands.strides[self.stores[s]])
        self.scratch: dict[Symbol, int] = {}
        for symbol, place in self.passes.home.items():
            if place is None:
                row = View(Buffer("arena", None, 0), (), symbol.dtype, ())
                self.scratch[symbol] = self.operands.add(row, self._row_steps())
        self.sizes, self.flags, self.steps = self.operands.collapse([k in self.inner for k in range(len(self.shape))])
        self.kept = [k for k, flag in enumerate(self.flags) if not flag]
        self.gone = [k for k, flag in enumerate(self.flags) if flag]
        self.row = math.prod(self.shape[k] for k in self.inner)
        first = self.sizes[self.kept[0]]
        self.band = band(first, math.prod(self.sizes) // first)
        self.hi = -(-first // self.band) if ends else first

    def _works_on_rows(self, node: Node) -> bool:
        out = node.outputs[0]
        if node.definition.family == "reduction":
            return node.inputs[0] in self.group.rows
        return out in self.group.rows

    def _add(self, view: View, as_row: bool) -> int:
        if as_row and is_row_shape(view.shape, self.shape, self.inner):
            return self.operands.add(view, row_strides(view.shape, view.strides, self.shape, self.inner))
        return self.operands.add(view, broadcast_strides(view, self.shape))

    def _row_steps(self) -> tuple[int, ...]:
        """Strides of a contiguous row, which all rows share."""
        steps = iter(contiguous_strides(tuple(self.shape[k] for k in self.inner)))
        return tuple(next(steps) if k in self.inner else 0 for k in range(len(self.shape)))

    def is_column(self, symbol: Symbol) -> bool:
        """Whether a sum across rows leaves a row (else a single number)."""
        (node,) = [n for n in self.group.nodes if n.outputs[0] is symbol]
        if node.inputs[0] in self.group.rows:
            return False
        return true_axes(self.shape, node.attrs["axes"]) == other_axes(self.shape, self.inner)

    def _end_strides(self, symbol: Symbol) -> tuple[int, ...]:
        return self._row_steps() if self.is_column(symbol) else (0,) * len(self.shape)

    @property
    def grain(self) -> int:
        """Of how many rows, or blocks of rows, a share consists; 0: do not share."""
        total = math.prod(self.sizes)
        if self.hi < 2 or total < 2 * GRAIN:
            return 0
        grain = max(1, -(-GRAIN * self.hi // total))
        return max(grain, -(-self.hi // SCRATCH_SHARES)) if self.scratch else grain

    @property
    def shares(self) -> int:
        """Into how many shares the work is cut at most."""
        return -(-self.hi // self.grain) if self.grain else 1

    def use(self, symbol: Symbol, view: View) -> None:
        """Put the partial results, or the scratch rows, of a value here."""
        number = self.ends[symbol] if symbol in self.ends else self.scratch[symbol]
        self.operands.views[number] = view

    def write(self) -> Kernel:
        """The kernel."""
        return _RowWriter(self).kernel()


class _RowWriter(LoopWriter):
    """The text of one row kernel, and its arguments."""

    def __init__(self, plan: RowKernel) -> None:
        super().__init__(plan)
        self.plan = plan
        self.first, self.inner = plan.kept[0], plan.gone[-1]
        self.results: dict[Symbol, str] = {}  # row reductions' and ends' accumulators

    def kernel(self) -> Kernel:
        plan = self.plan
        self.addresses()
        for k in plan.scratch.values():
            share = f"lo // {self.named('grain', max(plan.grain, 1))}"
            self.head.append(
                f"a{k} = a{k} + {share} * {self.argument(plan.row * plan.operands.views[k].dtype.itemsize)}"
            )
        self.bound([*plan.kept, *plan.gone], self.first)
        for k in dict.fromkeys(plan.loads.values()):
            if not any(plan.steps[k]):
                self.pointer(1, k, [])
                self.text.add(1, f"x{k} = q{k}[0]")
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
            start = identity(self._op(symbol), symbol.dtype)
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

    def _op(self, symbol: Symbol) -> str:
        (op,) = [n.op for n in self.plan.group.nodes if n.outputs[0] is symbol]
        return op

    # -- one row -------------------------------------------------------------------------------------------------------

    def _rows(self, indent: int) -> None:
        plan = self.plan
        for k in dict.fromkeys(plan.loads.values()):
            if any(plan.steps[k]) and not any(plan.steps[k][axis] for axis in plan.gone):
                self.pointer(indent, k, plan.kept)
                self.text.add(indent, f"x{k} = q{k}[0]")
        for number, this in enumerate(plan.passes.passes):
            for node in this.before:
                self._row_node(indent, node)
            self._pass(indent, number, this)
        for node in plan.passes.after:
            self._row_node(indent, node)
        for symbol, k in plan.row_stores.items():
            self.pointer(indent, k, plan.kept)
            self.text.add(indent, f"q{k}[0] = {plan.body.name(symbol)}")

    def _name_inputs(self, node: Node, as_row: bool) -> None:
        """One array may be read in two ways: by row, and along the row."""
        for symbol in node.inputs:
            k = self.plan.loads.get((symbol, as_row))
            if k is not None:
                self.plan.body.names[symbol] = f"x{k}"

    def _row_node(self, indent: int, node: Node) -> None:
        plan, out = self.plan, node.outputs[0]
        self._name_inputs(node, True)
        if node.definition.family == "view":
            plan.body.names[out] = plan.body.name(node.inputs[0])
        elif node.definition.family == "reduction":
            self._accumulate(indent, node, f"total{plan.ends[out]}")
        else:
            self.text.add(indent, plan.body.line(node), node)

    def _accumulate(self, indent: int, node: Node, target: str) -> None:
        dtype = node.outputs[0].dtype
        value = self.plan.body.name(node.inputs[0])
        if node.inputs[0].dtype != dtype:
            value = f"{code(dtype)}({value})"
        self.text.add(indent, f"{target} = {combine(node.op, dtype, target, value)}", node)

    def _pass(self, indent: int, number: int, this: Pass) -> None:
        plan, inner = self.plan, self.inner
        sums = {node: self._sum(node, number) for node in this.reduce}
        for node, name in sums.items():
            if name:
                dtype = node.outputs[0].dtype
                self.text.add(indent, f"{name} = {identity(node.op, dtype)}")
        deeper = self.open(plan.gone[:-1], indent)
        loads = self._loads(this)
        columns = [plan.ends[node.outputs[0]] for node, name in sums.items() if not name]
        kept = [self._place(s) for s in (*this.reread, *this.keeps)]
        for k in dict.fromkeys([*loads, *kept, *[plan.stores[s] for s in this.stores], *columns]):
            base = f"block{k}" if k in columns else ""
            self.pointer(deeper, k, plan.gone[:-1] if k in columns else [*plan.kept, *plan.gone[:-1]], base)
            if k in loads and not plan.steps[k][inner]:
                self.text.add(deeper, f"x{k} = q{k}[0]")
        self.text.add(deeper, f"for j{inner} in range({self.bounds[inner]}):")
        deeper += 1
        for k in loads:
            if plan.steps[k][inner]:
                self.text.add(deeper, f"x{k} = q{k}[{self.index(k, inner)}]")
        for symbol in this.reread:
            name = plan.body.name(symbol)
            self.text.add(deeper, f"{name} = q{self._place(symbol)}[{self.index(self._place(symbol), inner)}]")
        for node in this.full:
            self._name_inputs(node, False)
            self.text.add(deeper, plan.body.line(node), node)
        for node, name in sums.items():
            self._name_inputs(node, False)
            end = plan.ends.get(node.outputs[0], -1)
            self._accumulate(deeper, node, name or f"q{end}[{self.index(end, inner)}]")
        for symbol in (*this.keeps, *this.stores):
            aside = any(symbol is s for s in this.keeps)  # `in` would ask whether tensors are equal
            k = self._place(symbol) if aside else plan.stores[symbol]
            self.text.add(deeper, f"q{k}[{self.index(k, inner)}] = {plan.body.name(symbol)}")
        for node, name in sums.items():
            self._after(indent, node, name)

    def _loads(self, this: Pass) -> list[int]:
        """The arrays that a pass reads along the row."""
        plan = self.plan
        nodes = [*this.full, *this.reduce]
        found = [plan.loads[s, False] for n in nodes for s in n.inputs if (s, False) in plan.loads]
        return [k for k in dict.fromkeys(found) if any(plan.steps[k][axis] for axis in plan.gone)]

    def _place(self, symbol: Symbol) -> int:
        """The operand in which a value is kept from one pass to another."""
        home = self.plan.passes.home[symbol]
        return self.plan.scratch[symbol] if home is None else self.plan.stores[home]

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


def partial_view(plan: RowKernel, symbol: Symbol, buffer: Buffer) -> View:
    """Partial results of the blocks in a buffer: one number a block, or one row."""
    shape = (plan.hi, plan.row) if plan.is_column(symbol) else (plan.hi,)
    return View(buffer, shape, symbol.dtype, contiguous_strides(shape))
