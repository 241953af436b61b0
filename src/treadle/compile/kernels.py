"""From a group to its kernel: loops around the body; reductions go by rows, by columns, or in blocks of everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from treadle.compile import pool
from treadle.compile.emit import BLOCK, Body, Kernel, Operands, Text, broadcast_strides, code
from treadle.compile.fuse import Group
from treadle.compile.views import View
from treadle.core.graph import Node
from treadle.core.tensor import Symbol

GRAIN = 8_192  # elements of work below which a share is not worth handing over (measured on the chain)


@dataclass(frozen=True, slots=True)
class _Reduction:
    """One reduction of a kernel: its node, where its result goes, and its accumulator's name."""

    node: Node
    operand: int
    name: str


def identity(op: str, dtype: np.dtype[Any]) -> str:
    """What a reduction begins with, as kernel text."""
    kind = code(dtype)
    if op in ("any", "all"):
        return str(op == "all")
    if op in ("sum", "prod"):
        start = "-0.0" if op == "sum" and dtype.kind == "f" else str(int(op == "prod"))  # -0 + x is x, for -0 too
        return f"{kind}({start})"
    if dtype.kind == "f":
        return f"{kind}({'-' if op == 'max' else ''}1e400)"
    if dtype.kind == "b":
        return str(op == "min")
    limits = np.iinfo(dtype)
    return f"{kind}({limits.min if op == 'max' else limits.max})"


def combine(op: str, dtype: np.dtype[Any], a: str, b: str) -> str:
    """The reduction of two values, as kernel text. Float sums may be reassociated, so that they vectorise."""
    kind = code(dtype)
    if op in ("any", "all"):
        return f"b1({a} {'|' if op == 'any' else '&'} {b})"
    if op in ("max", "min"):
        if dtype.kind == "b":
            return f"b1({a} {'|' if op == 'max' else '&'} {b})"
        return f"{op}_{kind}({a}, {b})"
    if dtype.kind == "f":
        return f"{'add' if op == 'sum' else 'mul'}_reassoc_{kind}({a}, {b})"
    return f"{kind}({a} {'+' if op == 'sum' else '*'} {b})"


class GroupKernel:
    """Writes the kernel of one group.

    view:    where a value that the group reads lies.
    stores:  elementwise results that are needed outside, and where they go.
    results: the reductions, and where they go; a full reduction that needs several blocks goes to `partials`.
    """

    def __init__(
        self,
        group: Group,
        view: Callable[[Symbol], View],
        stores: Mapping[Symbol, View],
        results: Mapping[Symbol, View],
    ) -> None:
        shape: tuple[int, ...] = group.shape  # type: ignore[assignment]
        self.group = group
        self.operands = Operands(shape)
        self.body = Body()
        self.loads: dict[Symbol, int] = {}
        self.stores: dict[Symbol, int] = {}
        self.reductions: list[_Reduction] = []
        made = {node.outputs[0] for node in group.nodes}
        from treadle.compile.fuse import is_scalar_constant

        for node in group.nodes:
            for symbol in node.inputs:
                if symbol not in made and symbol not in self.loads and not is_scalar_constant(symbol):
                    source = view(symbol)
                    self.loads[symbol] = self.operands.add(source, broadcast_strides(source, shape))
        for symbol, target in stores.items():
            self.stores[symbol] = self.operands.add(target, broadcast_strides(target, shape))
        for node in group.nodes:
            if node.definition.family == "reduction":
                target = results[node.outputs[0]]
                number = self.operands.add(target, self._result_strides(node, target))
                self.reductions.append(_Reduction(node, number, f"r{len(self.reductions)}"))
        reduced = [group.axes is not None and k in group.axes for k in range(len(shape))]
        self.sizes, self.flags, self.steps = self.operands.collapse(reduced)
        if not self.sizes:
            self.sizes, self.flags = [1], [False]
            self.steps = [[1] for _ in self.steps]

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
        return self.sizes[0] if len(self.sizes) > 1 else -(-self.sizes[0] // BLOCK)

    def write(self) -> Kernel:
        """The kernel."""
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
        return _Writer(self, order, kind).kernel()


class _Writer:
    """The text of one kernel, and its arguments."""

    def __init__(self, plan: GroupKernel, order: list[int], kind: str) -> None:
        self.plan = plan
        self.order = order
        self.kind = kind
        self.text = Text()
        self.args: list[Any] = []
        self.head: list[str] = []

    def _argument(self, value: Any) -> str:
        self.args.append(value)
        return f"args[{len(self.args) - 1}]"

    def kernel(self) -> Kernel:
        plan, text = self.plan, self.text
        views = plan.operands.views
        for k, view in enumerate(views):
            self.head.append(f"a{k} = {self._argument(view)}")
        inner = self.order[-1]
        loops = self.order[:-1]
        self._body_text()  # names the constants, which are arguments too
        self.head += [
            f"c{k} = p_{code(array.dtype)}({self._argument(array)})[0]" for k, array in enumerate(plan.body.constants)
        ]
        bounds = {}
        whole_columns = self.kind == "columns" and len([f for f in plan.flags if not f]) == 1
        first = inner if whole_columns or len(self.order) == 1 else self.order[0]
        for axis in self.order:
            if axis != first:
                self.head.append(f"n{axis} = {self._argument(plan.sizes[axis])}")
                bounds[axis] = f"n{axis}"
            else:
                bounds[axis] = "lo, hi"
        self.bounds, self.first = bounds, first
        writer = {"map": self._map, "all": self._all, "rows": self._rows, "columns": self._columns}[self.kind]
        writer(loops, inner)
        lines = self.text
        self.text = Text()
        self.text.add(0, "def kernel(args, lo, hi):")
        for line in self.head:
            self.text.add(1, line)
        self.text.lines += lines.lines
        self.text.add(1, "return 0")
        del text
        hi = plan.blocks if self.kind == "all" else plan.sizes[first]
        total = 1
        for size in plan.sizes:
            total *= size
        grain = 0
        if hi > 1 and total >= 2 * GRAIN:
            grain = max(1, -(-GRAIN * hi // total))
            if self.kind == "columns" and first == inner:
                # Narrow strips walk memory badly, and the cut does not change the sums: as few strips as cores.
                grain = max(grain, 256, -(-hi // pool.processors()))
        return Kernel(self.text, tuple(self.args), hi, grain)

    # -- pieces ------------------------------------------------------------------------------------------------------

    def _body_text(self) -> None:
        """The body's lines: loads are named x0, x1, ...; what the nodes make v0, v1, ..."""
        body = self.plan.body
        for symbol, k in self.plan.loads.items():
            body.names[symbol] = f"x{k}"
        self.lines: list[tuple[str, Node]] = []
        for node in self.plan.group.nodes:
            if node.definition.family != "reduction":
                self.lines.append((body.line(node), node))
        for reduction in self.plan.reductions:
            body.name(reduction.node.inputs[0])

    def _stride(self, operand: int, axis: int, indent_head: bool = True) -> str:
        """The name of an operand's stride in bytes along a loop."""
        step = self.plan.steps[operand][axis]
        itemsize = self.plan.operands.views[operand].dtype.itemsize
        name = f"s{operand}_{axis}"
        line = f"{name} = "
        if not any(h.startswith(line) for h in self.head):
            self.head.append(line + self._argument(step * itemsize))
        return name

    def _pointers(self, indent: int, loops: Sequence[int], inner: int, which: Sequence[int]) -> None:
        """`q0 = p_f4(a0 + ...)`: addresses where the inner loop begins, and values that do not change in it."""
        plan = self.plan
        for k in which:
            view = plan.operands.views[k]
            address = f"a{k}"
            for axis in loops:
                if plan.steps[k][axis]:
                    address += f" + j{axis} * {self._stride(k, axis)}"
            self.text.add(indent, f"q{k} = p_{code(view.dtype)}({address})")
            if plan.steps[k][inner] == 0 and k in plan.loads.values():
                self.text.add(indent, f"x{k} = q{k}[0]")

    def _index(self, operand: int, inner: int) -> str:
        step = self.plan.steps[operand][inner]
        if step == 1:
            return f"j{inner}"
        if step == 0:
            return "0"
        itemsize = self.plan.operands.views[operand].dtype.itemsize
        name = f"s{operand}_{inner}"
        line = f"{name} = "
        if not any(h.startswith(line) for h in self.head):
            self.head.append(f"{line}{self._argument(step * itemsize)} // {itemsize}")
        return f"j{inner} * {name}"

    def _inner(self, indent: int, inner: int) -> None:
        """Loads, the body and stores, at one element."""
        plan = self.plan
        for k in dict.fromkeys(plan.loads.values()):
            if plan.steps[k][inner] != 0:
                self.text.add(indent, f"x{k} = q{k}[{self._index(k, inner)}]")
        for line, node in self.lines:
            self.text.add(indent, line, node)
        for symbol, k in plan.stores.items():
            self.text.add(indent, f"q{k}[{self._index(k, inner)}] = {plan.body.name(symbol)}")

    def _element_operands(self) -> list[int]:
        return list(dict.fromkeys([*self.plan.loads.values(), *self.plan.stores.values()]))

    def _open(self, loops: Sequence[int], indent: int = 1) -> int:
        for axis in loops:
            self.text.add(indent, f"for j{axis} in range({self.bounds[axis]}):")
            indent += 1
        return indent

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
        indent = self._open(loops)
        results = [r.operand for r in self.plan.reductions]
        self._pointers(indent, loops, inner, [*self._element_operands(), *results])
        self.text.add(indent, f"for j{inner} in range({self.bounds[inner]}):")
        self._inner(indent + 1, inner)
        for r in self.plan.reductions:
            value = f"{code(r.node.outputs[0].dtype)}({self.plan.body.name(r.node.inputs[0])})"
            self.text.add(indent + 1, f"q{r.operand}[{self._index(r.operand, inner)}] = {value}", r.node)

    def _rows(self, loops: list[int], inner: int) -> None:
        """The innermost axis is reduced: accumulators in registers."""
        kept = [k for k in loops if not self.plan.flags[k]]
        gone = [k for k in loops if self.plan.flags[k]]
        indent = self._open(kept)
        self._begin(indent)
        deeper = self._open(gone, indent)
        self._pointers(deeper, loops, inner, self._element_operands())
        self.text.add(deeper, f"for j{inner} in range({self.bounds[inner]}):")
        self._inner(deeper + 1, inner)
        for r in self.plan.reductions:
            self._accumulate(deeper + 1, r, r.name)
        self._pointers(indent, kept, inner, [r.operand for r in self.plan.reductions])
        for r in self.plan.reductions:
            self.text.add(indent, f"q{r.operand}[0] = {r.name}")

    def _columns(self, loops: list[int], inner: int) -> None:
        """The innermost axis stays: results are accumulated in memory, row by row."""
        kept = [k for k in loops if not self.plan.flags[k]]
        gone = [k for k in loops if self.plan.flags[k]]
        indent = self._open(kept)
        self._pointers(indent, kept, inner, [r.operand for r in self.plan.reductions])
        self.text.add(indent, f"for j{inner} in range({self.bounds[inner]}):")
        for r in self.plan.reductions:
            start = identity(r.node.op, r.node.outputs[0].dtype)
            self.text.add(indent + 1, f"q{r.operand}[{self._index(r.operand, inner)}] = {start}")
        deeper = self._open(gone, indent)
        self._pointers(deeper, loops, inner, self._element_operands())
        self.text.add(deeper, f"for j{inner} in range({self.bounds[inner]}):")
        self._inner(deeper + 1, inner)
        for r in self.plan.reductions:
            self._accumulate(deeper + 1, r, f"q{r.operand}[{self._index(r.operand, inner)}]")

    def _all(self, loops: list[int], inner: int) -> None:
        """Everything is reduced: one partial result a block (or a first axis), so that shares can be handed out."""
        results = [r.operand for r in self.plan.reductions]
        if not loops:
            self.head.append(f"n = {self._argument(self.plan.sizes[inner])}")
            self._pointers(1, [], inner, [*self._element_operands(), *results])
            self.text.add(1, "for block in range(lo, hi):")
            self._begin(2)
            self.text.add(2, f"for j{inner} in range(block * {BLOCK}, min(n, (block + 1) * {BLOCK})):")
            self._inner(3, inner)
            for r in self.plan.reductions:
                self._accumulate(3, r, r.name)
            for r in self.plan.reductions:
                self.text.add(2, f"q{r.operand}[block] = {r.name}")
            return
        self._pointers(1, [], inner, results)
        first, rest = loops[0], loops[1:]
        self.text.add(1, f"for j{first} in range(lo, hi):")
        self._begin(2)
        indent = self._open(rest, 2)
        self._pointers(indent, loops, inner, self._element_operands())
        self.text.add(indent, f"for j{inner} in range({self.bounds[inner]}):")
        self._inner(indent + 1, inner)
        for r in self.plan.reductions:
            self._accumulate(indent + 1, r, r.name)
        for r in self.plan.reductions:
            self.text.add(2, f"q{r.operand}[j{first}] = {r.name}")
