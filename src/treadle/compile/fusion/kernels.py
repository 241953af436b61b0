"""From a group to its kernel: loops around the body; reductions go by rows, by columns, or in blocks of everything."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from treadle.compile.cost import DRAWN_WORK, GRAIN, PERIOD, PERIODS, PIECES, SLICE
from treadle.compile.fusion.drawing import half_of, pieces_fit
from treadle.compile.fusion.emit import BLOCK, Body, Kernel, Operands, broadcast_strides, code
from treadle.compile.fusion.items import Group
from treadle.compile.fusion.reduce import combine, identity, is_rounded
from treadle.compile.fusion.sources import Source
from treadle.compile.fusion.surroundings import LoopWriter
from treadle.compile.fusion.turned import tiled
from treadle.compile.run import pool
from treadle.compile.views import View
from treadle.core.graph import Node
from treadle.core.tensor import Symbol
from treadle.records import dataclass


@dataclass(frozen=True, slots=True)
class _Reduction:
    """One reduction of a kernel: its node, where its result goes, and its accumulator's name."""

    node: Node
    operand: int
    name: str


class GroupKernel:
    """Writes the kernel of one group.

    view:    where a value that the group reads lies.
    stores:  elementwise results that are needed outside, and where they go.
    results: the reductions, and where they go; a full reduction that needs several blocks goes to `partials`.
    exchanged: whether the last axis and the one before it change places in the loops.
    """

    def __init__(
        self,
        group: Group,
        view: Callable[[Symbol], Source],
        stores: Mapping[Symbol, View],
        results: Mapping[Symbol, View],
        exchanged: bool = False,
    ) -> None:
        shape: tuple[int, ...] = group.shape  # type: ignore[assignment]
        self.group = group
        self.exchanged = exchanged
        self.operands = Operands(shape)
        self.body = Body()
        self.stores: dict[Symbol, int] = {}
        self.reductions: list[_Reduction] = []
        self.loads = self.operands.take_all(group.nodes, view, lambda v: broadcast_strides(v, shape))
        for symbol, target in stores.items():
            self.stores[symbol] = self.operands.add(target, broadcast_strides(target, shape))
        for node in group.nodes:
            if node.definition.family == "reduction":
                target = results[node.outputs[0]]
                number = self.operands.add(target, self._result_strides(node, target))
                self.reductions.append(_Reduction(node, number, f"r{len(self.reductions)}"))
        self.apart = self.operands.apart
        self.total = 0  # elements, where rows are unrolled
        (axes,) = group.across or ((),)
        reduced = [k in axes for k in range(len(shape))]
        self.sizes, self.flags, self.steps = self.operands.collapse(reduced)
        if not self.sizes:
            self.sizes, self.flags = [1], [False]
            self.steps = [[1] for _ in self.steps]
        if exchanged and len(self.sizes) > 1:
            self.sizes[-2:], self.flags[-2:] = self.sizes[:-3:-1], self.flags[:-3:-1]
            for steps in self.steps:
                steps[-2:] = steps[:-3:-1]
        self.half = half_of(self.operands, self.sizes, self.steps)

    @property
    def periodic(self) -> list[int]:
        """Arrays of one short row that elementwise work over many rows reads again for each."""
        operands = self.operands
        special = operands.picks or operands.counted or operands.joined or operands.drawn or operands.few
        if len(self.sizes) != 2 or any(self.flags) or self.reductions or special:
            return []
        _, row = self.sizes
        if row > PERIOD:
            return []
        if any(steps not in ([row, 1], [0, 1], [0, 0]) for steps in self.steps):
            return []
        if any(self.steps[k] != [row, 1] for k in self.stores.values()):
            return []
        return [k for k in dict.fromkeys(self.loads.values()) if self.steps[k] == [0, 1]]

    @property
    def draws(self) -> bool:
        """Whether the kernel can draw the random numbers that it reads."""
        order, kind = self._order()
        fits = pieces_fit(self.operands, self.sizes, self.steps, order[-1])
        return fits and (self.half == 0 or (self.half is not None and kind in ("map", "all")))

    @property
    def many_rows(self) -> bool:
        """Whether there are enough rows for writing a short one out to pay."""
        return self.sizes[0] * self.sizes[1] >= 4 * PERIODS * PERIOD

    def unroll(self, tiles: Mapping[int, View]) -> None:
        """Go over several rows at once: the periodic arrays have been written out for so many."""
        self.total = self.sizes[0] * self.sizes[1]
        length = next(iter(tiles.values())).size
        self.sizes = [-(-self.total // length), length]
        for k, steps in enumerate(self.steps):
            self.steps[k] = [length, 1] if steps[0] else steps
        for k, tile in tiles.items():
            self.operands.views[k] = tile

    def _result_strides(self, node: Node, target: View) -> tuple[int, ...]:
        """Strides of a reduction's result over the axes before reduction."""
        steps = iter(target.strides)
        axes = node.attrs["axes"]
        if node.attrs["keepdims"]:
            return tuple(0 if k in axes else step for k, step in enumerate(target.strides))
        return tuple(0 if k in axes else next(steps) for k in range(len(node.inputs[0].shape)))

    @property
    def full(self) -> bool:
        """Whether everything is reduced."""
        return bool(self.reductions) and all(self.flags)

    @property
    def blocks(self) -> int:
        """Into how many partial results a full reduction is cut; 1 when the result is written at once."""
        if not self.full:
            return 1
        return -(-(self.half or self.sizes[0]) // self.block)

    @property
    def block(self) -> int:
        """How much of the first axis one partial result of a full reduction covers."""
        return max(1, self.most // math.prod(self.sizes[1:]))

    @property
    def most(self) -> int:
        """How many elements one partial result of a full reduction covers; draws are more work than others."""
        return BLOCK // DRAWN_WORK if self.operands.drawn else BLOCK

    def _order(self) -> tuple[list[int], str]:
        """The loops from outside in, and their kind."""
        if not any(self.flags):
            order, kind = list(range(len(self.sizes))), "map"
        elif all(self.flags):
            order, kind = list(range(len(self.sizes))), "all"
        else:
            kept = [k for k, flag in enumerate(self.flags) if not flag]
            gone = [k for k, flag in enumerate(self.flags) if flag]
            if self.flags[-1]:
                order, kind = kept + gone, "rows"
            else:
                order, kind = kept[:-1] + gone + kept[-1:], "columns"
        return order, kind

    def write(self) -> Kernel:
        """The kernel."""
        return _Writer(self, *self._order()).kernel()


class _Writer(LoopWriter):
    """The text of one kernel, and its arguments."""

    def __init__(self, plan: GroupKernel, order: list[int], kind: str) -> None:
        super().__init__(plan)
        self.plan = plan
        self.order = order
        self.kind = kind

    def kernel(self) -> Kernel:
        plan = self.plan
        self.addresses()
        inner = self.order[-1]
        loops = self.order[:-1]
        self._body_text()  # names the constants, which are arguments too
        self.constants()
        if self.drawing is not None:
            self.drawing.begin(plan.half or 0, self.order)
        crossed = self._crossed() if self.kind == "map" else None
        if crossed is not None:
            return tiled(self, crossed)
        kept = [f for f in plan.flags if not f]
        whole_columns = self.kind == "columns" and (len(kept) == 1 or plan.exchanged)
        first = inner if whole_columns or len(self.order) == 1 else self.order[0]
        self.bound(self.order, first)
        if plan.total:
            self.bounds[inner] = f"min(n{inner}, {self.named('total', plan.total)} - j{first} * n{inner})"
        writer = {"map": self._map, "all": self._all, "rows": self._rows, "columns": self._columns}[self.kind]
        writer(loops, inner)
        hi = plan.blocks if self.kind == "all" else plan.half or plan.sizes[first]
        total = 1
        for size in plan.sizes:
            total *= size
        grain, least = 0, GRAIN // DRAWN_WORK if plan.operands.drawn else GRAIN
        if hi > 1 and total >= 2 * least:
            share = max(least, total // (PIECES * pool.processors())) if self.kind == "map" else least
            grain = max(1, -(-share * hi // total))
            if self.kind == "columns" and first == inner:
                # Narrow strips walk memory badly, and the cut does not change the sums: as few strips as cores.
                grain = max(grain, 256, -(-hi // pool.processors()))
        return Kernel(self.finished(), tuple(self.args), hi, grain)

    # -- pieces ------------------------------------------------------------------------------------------------------

    def _body_text(self) -> None:
        """The body's lines: loads are named x0, x1, ...; what the nodes make v0, v1, ..."""
        body = self.plan.body
        for symbol, k in self.plan.loads.items():
            body.names[symbol] = f"x{k}"
            if not self.varies(k, self.order[-1:]):
                body.fixed.add(symbol)
            if self.reads is not None:
                self.reads.name(symbol, k)
        self.lines: list[tuple[str, Node]] = []
        for node in self.plan.group.nodes:
            if node.definition.family != "reduction":
                self.lines.append((body.line(node), node))
        for reduction in self.plan.reductions:
            body.name(reduction.node.inputs[0])

    def pointers(self, indent: int, loops: Sequence[int], inner: int, which: Sequence[int]) -> None:
        """Addresses where the inner loop begins, and values that do not change in it."""
        for k in which:
            self.pointer(indent, k, loops)
            if k in self.plan.loads.values() and not self.varies(k, [inner]):
                self.load(indent, k)

    def outside(self, loops: Sequence[int], indent: int) -> int:
        """Open the loops around the innermost one; of what goes over halves, the first counts in the first half."""
        if not self.plan.half or not loops:
            return self.open(loops, indent)
        self.text.add(indent, f"for i{loops[0]} in range({self.bounds[loops[0]]}):")
        return self.open(loops[1:], indent + 1)

    def pieces(self, indent: int, loops: Sequence[int], inner: int, bounds: str) -> tuple[int, str]:
        """The loop over pieces of the innermost one, where random numbers are drawn: the indent inside, its bounds."""
        if self.drawing is None or not self.drawing.drawn:
            return indent, bounds
        indent, bounds = self.drawing.pieces(indent, loops, inner, bounds)
        if self.plan.half:
            self.pointers(indent, loops, inner, self.element_operands())
        return indent, bounds

    def element(self, indent: int, inner: int) -> None:
        """Loads, the body and stores, at one element."""
        plan = self.plan
        for k in dict.fromkeys(plan.loads.values()):
            if self.varies(k, [inner]):
                self.load(indent, k, inner)
        for line, node in self.lines:
            self.text.add(indent, line, node)
        for symbol, k in plan.stores.items():
            self.text.add(indent, f"q{k}[{self.index(k, inner)}] = {plan.body.name(symbol)}")

    def element_operands(self) -> list[int]:
        """The operands of an element, each once."""
        return list(dict.fromkeys([*self.plan.loads.values(), *self.plan.stores.values()]))

    def _accumulate(self, indent: int, reduction: _Reduction, target: str) -> None:
        node = reduction.node
        dtype = node.outputs[0].dtype
        value = self.plan.body.name(node.inputs[0])
        if node.inputs[0].dtype != dtype:
            value = f"{code(dtype)}({value})"
        self.text.add(indent, f"{target} = {combine(node.op, dtype, target, value)}", node)

    def _begin(self, indent: int) -> None:
        for r in self.plan.reductions:
            self.text.add(indent, f"{r.name} = {identity(r.node.op, r.node.outputs[0].dtype)}")

    # -- kinds of loops ----------------------------------------------------------------------------------------------

    def _map(self, loops: list[int], inner: int) -> None:
        """Elementwise only; a reduction over axes of size 1 is a copy."""
        indent = self.stretches(self.outside(loops, 1), inner)
        indent, bounds = self.pieces(indent, loops, inner, self.bounds[inner])
        results = [r.operand for r in self.plan.reductions]
        elements = [] if self.plan.half else self.element_operands()
        self.pointers(indent, loops, inner, [*elements, *results])
        self.text.add(indent, f"for j{inner} in range({bounds}):")
        self.element(indent + 1, inner)
        for r in self.plan.reductions:
            value = f"{code(r.node.outputs[0].dtype)}({self.plan.body.name(r.node.inputs[0])})"
            self.text.add(indent + 1, f"q{r.operand}[{self.index(r.operand, inner)}] = {value}", r.node)

    def _crossed(self) -> int | None:
        """The axis along which an operand lies in order that the innermost loop walks in strides; None: there is none.

        By patterns of strides alone, so that the size of the work does not change the text.
        """
        plan, inner = self.plan, self.order[-1]
        if plan.total or plan.reductions or plan.operands.joined or len(self.order) < 2:
            return None
        for k, steps in enumerate(plan.steps):
            if steps[inner] not in (-1, 0, 1) and k not in plan.operands.counted:
                for axis in self.order[:-1]:
                    if steps[axis] in (-1, 1):
                        return axis
        return None

    def _rows(self, loops: list[int], inner: int) -> None:
        """The innermost axis is reduced: accumulators in registers."""
        kept = [k for k in loops if not self.plan.flags[k]]
        gone = [k for k in loops if self.plan.flags[k]]
        indent = self.open(kept, 1)
        self._begin(indent)
        deeper = self.stretches(self.open(gone, indent), inner)
        self.pointers(deeper, loops, inner, self.element_operands())
        self._sums(deeper, loops, inner)
        self.pointers(indent, kept, inner, [r.operand for r in self.plan.reductions])
        for r in self.plan.reductions:
            self.text.add(indent, f"q{r.operand}[0] = {r.name}")

    def _sums(self, indent: int, loops: Sequence[int], inner: int) -> None:
        """The innermost loop of reductions in registers; sums that round go by slices."""
        bounds, deeper = self.bounds[inner], indent
        kinds = {r.name: (r.node.op, r.node.outputs[0].dtype) for r in self.plan.reductions}
        long = len(self.order) == 1 or self.plan.sizes[inner] > SLICE
        rounded = long and any(is_rounded(*kind) for kind in kinds.values())
        if rounded:
            deeper, bounds = self.sliced(indent, inner)
            for name, kind in kinds.items():
                self.text.add(deeper, f"some_{name} = {identity(*kind)}")
        inside, bounds = self.pieces(deeper, loops, inner, bounds)
        self.text.add(inside, f"for j{inner} in range({bounds}):")
        self.element(inside + 1, inner)
        for r in self.plan.reductions:
            self._accumulate(inside + 1, r, f"some_{r.name}" if rounded else r.name)
        if rounded:
            for name, kind in kinds.items():
                self.text.add(deeper, f"{name} = {combine(*kind, name, f'some_{name}')}")

    def _columns(self, loops: list[int], inner: int) -> None:
        """The innermost axis stays: results are accumulated in memory, row by row."""
        kept = [k for k in loops if not self.plan.flags[k]]
        gone = [k for k in loops if self.plan.flags[k]]
        indent = self.open(kept, 1)
        self.pointers(indent, kept, inner, [r.operand for r in self.plan.reductions])
        self.text.add(indent, f"for j{inner} in range({self.bounds[inner]}):")
        for r in self.plan.reductions:
            start = identity(r.node.op, r.node.outputs[0].dtype)
            self.text.add(indent + 1, f"q{r.operand}[{self.index(r.operand, inner)}] = {start}")
        deeper = self.stretches(self.open(gone, indent), inner)
        self.pointers(deeper, loops, inner, self.element_operands())
        deeper, bounds = self.pieces(deeper, loops, inner, self.bounds[inner])
        self.text.add(deeper, f"for j{inner} in range({bounds}):")
        self.element(deeper + 1, inner)
        for r in self.plan.reductions:
            self._accumulate(deeper + 1, r, f"q{r.operand}[{self.index(r.operand, inner)}]")

    def _all(self, loops: list[int], inner: int) -> None:
        """Everything is reduced: one partial result a block of elements or rows, so that shares can be handed out."""
        results = [r.operand for r in self.plan.reductions]
        if not loops:
            self.named("n", self.plan.half or self.plan.sizes[inner])
            pieces, most = bool(self.plan.operands.joined), self.plan.most
            self.pointers(1, [], inner, results if pieces else [*self.element_operands(), *results])
            self.text.add(1, "for block in range(lo, hi):")
            self._begin(2)
            self.bounds[inner] = f"block * {most}, min(n, (block + 1) * {most})"
            indent = self.stretches(2, inner)
            if pieces:
                self.pointers(indent, [], inner, self.element_operands())
            self._sums(indent, loops, inner)
            for r in self.plan.reductions:
                self.text.add(2, f"q{r.operand}[block] = {r.name}")
            return
        self.pointers(1, [], inner, results)
        first = loops[0]
        rows, size = self.named("rows", self.plan.block), self.named("n", self.plan.half or self.plan.sizes[first])
        self.text.add(1, "for block in range(lo, hi):")
        self._begin(2)
        self.bounds[first] = f"block * {rows}, min({size}, (block + 1) * {rows})"
        indent = self.stretches(self.outside(loops, 2), inner)
        if not self.plan.half:
            self.pointers(indent, loops, inner, self.element_operands())
        self._sums(indent, loops, inner)
        for r in self.plan.reductions:
            self.text.add(2, f"q{r.operand}[block] = {r.name}")


__all__ = ["GRAIN", "GroupKernel"]
