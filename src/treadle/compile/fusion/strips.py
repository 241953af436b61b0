"""Row kernels for short rows, and for rows that lie across memory: strips of rows go side by side through each pass.

The innermost loop goes over the rows of a strip, so that it vectorises where a row has few elements, and walks along
memory where the rows' elements are far apart (softmax over the first axis). What is one number a row is an array over
the strip, in scratch; so are elements that several passes read far apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from treadle.compile.cost import STRIP_ROWS
from treadle.compile.fusion.emit import Kernel
from treadle.compile.fusion.passes import Pass
from treadle.compile.fusion.reduce import combine, identity
from treadle.compile.fusion.row_plan import RowPlan, RowWriter
from treadle.core.graph import Node
from treadle.core.tensor import Symbol


class StripKernel(RowPlan):
    """A kernel that goes through strips of rows."""

    def holds(self, strides: tuple[int, ...]) -> bool:
        lanes = max(k for k, size in enumerate(self.shape) if size != 1 and k not in self.inner)
        return strides[lanes] == 1

    def cut(self) -> int:
        self.lanes, self.outer = self.kept[-1], self.kept[:-1]
        self.width = min(STRIP_ROWS, self.sizes[self.lanes])
        self.strips = -(-self.sizes[self.lanes] // self.width)
        self.values: dict[Symbol, int] = {}  # row values in scratch
        return self.sizes[self.outer[0]] if self.outer else self.strips

    def kept_row(self, dtype: np.dtype[Any]) -> int:
        steps, step = {self.lanes: 1}, self.width
        for axis in reversed(self.gone):
            steps[axis] = step
            step *= self.sizes[axis]
        return self.room(dtype, steps, self.row * self.width)

    def value(self, symbol: Symbol) -> int:
        """The scratch operand of a row value."""
        if symbol not in self.values:
            self.values[symbol] = self.room(symbol.dtype, {self.lanes: 1}, self.width)
        return self.values[symbol]

    def prepare(self) -> None:
        """Find all scratch: row values that other loops read, and elements that several passes read far apart."""
        stages = [*[this.before for this in self.passes.passes], self.passes.after]
        for number, nodes in enumerate(stages):
            made = {n.outputs[0] for n in nodes}
            for node in nodes:
                for symbol in node.inputs:
                    if symbol in self.group.rows and symbol not in made:
                        self.value(self.root(symbol))
            if number < len(self.passes.passes):
                this = self.passes.passes[number]
                for node in (*this.full, *this.reduce):
                    for symbol in node.inputs:
                        if symbol in self.group.rows:
                            self.value(self.root(symbol))
                for node in this.reduce:
                    if node.outputs[0] in self.group.rows:
                        self.value(node.outputs[0])
        for symbol in self.row_stores:
            if symbol not in {n.outputs[0] for n in self.passes.after}:
                self.value(self.root(symbol))
        # Elements far apart are copied by loops of their own, since a loop that reads or writes them is not vectorised.
        self.copies: dict[int, int] = {}
        for this in self.passes.passes:
            for k in self.far(this):
                if k not in self.copies:
                    self.copies[k] = self.kept_row(self.operands.views[k].dtype)
        self.outs: dict[int, int] = {}
        for k in self.stores.values():
            if self.steps[k][self.lanes] not in (0, 1):
                self.outs[k] = self.room(self.operands.views[k].dtype, {self.lanes: 1}, self.width)

    def far(self, this: Pass) -> list[int]:
        """Loads of a pass whose elements do not lie side by side for the rows of a strip."""
        read = dict.fromkeys(
            self.loads[s, None] for n in (*this.full, *this.reduce) for s in n.inputs if (s, None) in self.loads
        )
        return [k for k in read if self.steps[k][self.lanes] not in (0, 1)]

    def root(self, symbol: Symbol) -> Symbol:
        """The value that views of a row value show."""
        nodes = self.passes.node
        while symbol in nodes and nodes[symbol].definition.family == "view":
            symbol = nodes[symbol].inputs[0]
        return symbol

    def writer(self) -> RowWriter:
        return _Strips(self)


class _Strips(RowWriter):
    """The text of one kernel of strips, and its arguments."""

    plan: StripKernel

    def kernel(self) -> Kernel:
        plan = self.plan
        self.addresses()
        self.scratch()
        split = plan.outer[0] if plan.outer else -1
        self.bound([*plan.outer, *plan.gone], split)
        size = self.named(f"n{plan.lanes}", plan.sizes[plan.lanes])
        width = self.named("width", plan.width)
        if self.drawing is not None:
            self.drawing.begin(0, plan.gone)
        self.numbers()
        indent = 1
        if plan.outer:
            indent = self.open(plan.outer[:1], indent)
            self._begin(indent, f"j{plan.outer[0]}")
            indent = self.open(plan.outer[1:], indent)
            self.text.add(indent, f"for strip in range({self.named('strips', plan.strips)}):")
        else:
            self.text.add(indent, "for strip in range(lo, hi):")
            self._begin(indent + 1, "strip")
        self.text.add(indent + 1, f"first = strip * {width}")
        self.text.add(indent + 1, f"last = min({size}, first + {width})")
        for k in plan.rooms:
            item = plan.operands.views[k].dtype.itemsize
            self.text.add(indent + 1, f"strip{k} = a{k} - first * {item}")
        self._strip(indent + 1)
        self._end(2)
        self.constants()
        return Kernel(self.finished(), tuple(self.args), plan.hi, plan.grain)

    # -- sums across rows ----------------------------------------------------------------------------------------------

    def _begin(self, indent: int, block: str) -> None:
        plan = self.plan
        for symbol, k in plan.ends.items():
            step = (plan.row if plan.is_column(symbol) else 1) * symbol.dtype.itemsize
            self.text.add(indent, f"block{k} = a{k} + {block} * {self.named(f'step{k}', step)}")
            start = identity(self.op(symbol), symbol.dtype)
            if plan.is_column(symbol):
                deeper = self.open(plan.gone, indent)
                self.pointer(deeper, k, plan.gone, f"block{k}")
                self.text.add(deeper, f"q{k}[0] = {start}")
            else:
                self.text.add(indent, f"total{k} = {start}")

    def _end(self, indent: int) -> None:
        for symbol, k in self.plan.ends.items():
            if not self.plan.is_column(symbol):
                self.pointer(indent, k, [], f"block{k}")
                self.text.add(indent, f"q{k}[0] = total{k}")

    # -- one strip -----------------------------------------------------------------------------------------------------

    def _strip(self, indent: int) -> None:
        passes = self.plan.passes
        for number, this in enumerate(passes.passes):
            self._row_loop(indent, this.before, this)
            self._pass(indent, number, this)
        self._row_loop(indent, passes.after, None)

    def _lanes(self, indent: int) -> int:
        self.text.add(indent, f"for j{self.plan.lanes} in range(first, last):")
        return indent + 1

    def _fetch(self, indent: int, symbols: list[Symbol]) -> dict[Symbol, int]:
        """Pointers to the row values that a loop reads; which they are."""
        found = {}
        for symbol in symbols:
            root = self.plan.root(symbol)
            if symbol in self.plan.group.rows and root in self.plan.values:
                found[symbol] = self.plan.values[root]
        for k in dict.fromkeys(found.values()):
            self.pointer(indent, k, [], f"strip{k}")
        return found

    def _read(self, indent: int, fetched: dict[Symbol, int]) -> None:
        names = self.plan.body.names
        for symbol, k in fetched.items():
            names[symbol] = f"y{k}"
        for k in dict.fromkeys(fetched.values()):
            self.text.add(indent, f"y{k} = q{k}[j{self.plan.lanes}]")

    def _row_loop(self, indent: int, nodes: list[Node], following: Pass | None) -> None:
        """One loop over the strip: row work, and where the next pass's reductions begin."""
        plan = self.plan
        made = dict.fromkeys([n.outputs[0] for n in nodes])  # in order: the text must not depend on where symbols lie
        starts = [n for n in following.reduce if n.outputs[0] in plan.group.rows] if following else []
        stores = {} if following else plan.row_stores
        if not (nodes or starts or stores):
            return
        outside = [s for n in nodes for s in n.inputs if s not in made] + [s for s in stores if s not in made]
        fetched = self._fetch(indent, list(dict.fromkeys(outside)))
        reads = [(s, plan.row_shape(n)) for n in nodes for s in n.inputs]
        loads = [plan.loads[key] for key in reads if key in plan.loads]
        loads = [k for k in dict.fromkeys(loads) if any(plan.steps[k])]
        kept = {s: plan.values[s] for s in made if s in plan.values}
        begun = {n: plan.values[n.outputs[0]] for n in starts}
        for k in [*loads, *stores.values()]:
            self.pointer(indent, k, plan.outer)
        for k in dict.fromkeys([*kept.values(), *begun.values()]):
            self.pointer(indent, k, [], f"strip{k}")
        deeper = self._lanes(indent)
        self._read(deeper, fetched)
        for k in loads:
            self.text.add(deeper, f"x{k} = q{k}[{self.index(k, plan.lanes)}]")
        for node in nodes:
            self.row_node(deeper, node)
        for symbol, k in kept.items():
            self.text.add(deeper, f"q{k}[j{plan.lanes}] = {plan.body.name(symbol)}")
        for node, k in begun.items():
            self.text.add(deeper, f"q{k}[j{plan.lanes}] = {identity(node.op, node.outputs[0].dtype)}")
        for symbol, k in stores.items():
            self.text.add(deeper, f"q{k}[{self.index(k, plan.lanes)}] = {plan.body.name(symbol)}")

    def _pass(self, indent: int, number: int, this: Pass) -> None:
        plan, lanes = self.plan, self.plan.lanes
        rows = [s for n in (*this.full, *this.reduce) for s in n.inputs if s in plan.group.rows]
        reduced = {n: plan.values[n.outputs[0]] for n in this.reduce if n.outputs[0] in plan.group.rows}
        for node in this.full:
            self.name_inputs(node)
        loads = list(
            dict.fromkeys(
                plan.loads[s, None] for n in (*this.full, *this.reduce) for s in n.inputs if (s, None) in plan.loads
            )
        )
        loads = [k for k in loads if any(plan.steps[k])]
        copied = {k for k in loads if k in plan.copies}
        copying = [k for k in loads if k in plan.copies and self._first(k) == number]
        kept = [self.place(s) for s in (*this.reread, *this.keeps)]
        columns = {n: plan.ends[n.outputs[0]] for n in this.reduce if n.outputs[0] in plan.ends}
        columns = {n: k for n, k in columns.items() if plan.is_column(n.outputs[0])}
        fetched = self._fetch(indent, list(dict.fromkeys(rows)))
        for k in dict.fromkeys(reduced.values()):
            self.pointer(indent, k, [], f"strip{k}")
        deeper = self.open(plan.gone, indent)
        stores = [plan.stores[s] for s in this.stores]
        for k in dict.fromkeys([*loads, *kept, *stores]):
            if k not in copied or k in copying or k in stores:
                self._point(deeper, k)
            if k in copied:
                self._point(deeper, plan.copies[k])
            if k in stores and k in plan.outs:
                self._point(deeper, plan.outs[k])
            if k in loads and not plan.steps[k][lanes]:
                self.text.add(deeper, f"x{k} = q{k}[0]")
        for k in copying:
            self.text.add(self._lanes(deeper), f"q{plan.copies[k]}[j{lanes}] = q{k}[{self.index(k, lanes)}]")
        for node, k in columns.items():
            self.text.add(deeper, f"part{k} = {identity(node.op, node.outputs[0].dtype)}")
        inside = self._lanes(deeper)
        self._read(inside, fetched)
        for k in loads:
            source = plan.copies[k] if k in copied else k
            if plan.steps[k][lanes]:
                self.text.add(inside, f"x{k} = q{source}[{self.index(source, lanes)}]")
        for symbol in this.reread:
            k = self.place(symbol)
            self.text.add(inside, f"{plan.body.name(symbol)} = q{k}[{self.index(k, lanes)}]")
        for node in this.full:
            self.name_inputs(node)
            self.text.add(inside, plan.body.line(node), node)
        for node in this.reduce:
            self.name_inputs(node)
            out = node.outputs[0]
            if node in reduced:
                target = f"q{reduced[node]}[j{lanes}]"
            else:
                target = f"{'part' if node in columns else 'total'}{plan.ends[out]}"
            self.accumulate(inside, node, target)
        for symbol, k in [*[(s, self.place(s)) for s in this.keeps], *[(s, plan.stores[s]) for s in this.stores]]:
            k = plan.outs.get(k, k)
            self.text.add(inside, f"q{k}[{self.index(k, lanes)}] = {plan.body.name(symbol)}")
        for k in stores:
            if k in plan.outs:
                self.text.add(self._lanes(deeper), f"q{k}[{self.index(k, lanes)}] = q{plan.outs[k]}[j{lanes}]")
        for node, k in columns.items():
            self.pointer(deeper, k, plan.gone, f"block{k}")
            dtype = node.outputs[0].dtype
            self.text.add(deeper, f"q{k}[0] = {combine(node.op, dtype, f'q{k}[0]', f'part{k}')}", node)

    def _point(self, indent: int, k: int) -> None:
        """A pointer to this step's elements of an operand."""
        plan = self.plan
        if k in plan.rooms:
            self.pointer(indent, k, plan.gone, f"strip{k}")
        else:
            self.pointer(indent, k, [*plan.outer, *plan.gone])

    def _first(self, load: int) -> int:
        """The first pass that reads an array."""
        return next(n for n, this in enumerate(self.plan.passes.passes) if load in self.plan.far(this))
