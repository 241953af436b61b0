"""Running sums and their kin with the work that makes their elements: each is computed where it is taken in."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from treadle.compile.cost import GRAIN, MAX_OPERANDS
from treadle.compile.fusion.emit import Body, Kernel, Operands, broadcast_strides, code
from treadle.compile.fusion.fuse import Fuser
from treadle.compile.fusion.items import RUNNING, Group, Single
from treadle.compile.fusion.reduce import identity
from treadle.compile.fusion.rules import used
from treadle.compile.fusion.small_groups import name_of
from treadle.compile.fusion.sources import Source, finder
from treadle.compile.fusion.surroundings import LoopWriter
from treadle.compile.fusion.taking import read_by, stored_anyway, take, work_for
from treadle.compile.moves.scans import BUDGET, running
from treadle.compile.views import View
from treadle.core.graph import Graph, Node
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]
# What each begins with: the reduction that it is, up to an element.
_BEGINS = {"cumsum": "sum", "cumprod": "prod", "cummax": "max", "cummin": "min", "logcumsumexp": "max"}


def find(fuser: Fuser, graph: Graph) -> None:
    """Let running results compute their elements, where nothing else wants them."""
    kept = set(graph.outputs)
    for item in [i for i in fuser.items if isinstance(i, Single) and i.node.op in RUNNING]:
        (source,) = item.node.inputs
        home = fuser.home.get(source)
        if not isinstance(home, Group) or not _walkable(item.node):
            continue
        group = home.find()
        special = group.inner is not None or group.ends or group.moments or group.scatter or group.scan
        if special or group.virtual or group.shape != source.shape:
            continue
        nodes = work_for(fuser, group, item.node, kept)
        read = read_by(nodes)
        if not any(n.outputs[0] is source for n in nodes) or len(read) >= MAX_OPERANDS:
            continue
        if all(s not in group.made or stored_anyway(fuser, group, s, kept) for s in read):
            take(fuser, item, group, nodes)
            used("a running result computes its elements")


def _walkable(node: Node) -> bool:
    (source,), (out,) = node.inputs, node.outputs
    if not source.spec.static or source.dtype != out.dtype or source.dtype.kind not in "iuf" or 0 in source.shape:
        return False
    axis = node.attrs["axis"]
    shared = source.spec.size >= 2 * GRAIN and math.prod(map(int, source.shape[:axis])) > 1
    # A long one that is not shared out stops now and then, which those of stored elements can.
    return source.shape[axis] != 1 and (shared or source.spec.size <= BUDGET)


class ScanKernel:
    """Geometry of a running result: a walk over its elements, the axis that it runs along by itself."""

    apart = False  # a row of results is read where the next is made

    def __init__(self, group: Group, view: Callable[[Symbol], Source], target: View) -> None:
        assert group.scan is not None
        self.group, self.node = group, group.scan
        shape = target.shape
        self.operands, self.body = Operands(shape), Body()
        self.loads = self.operands.take_all(group.nodes, view, lambda v: broadcast_strides(v, shape))
        self.target = self.operands.add(target, broadcast_strides(target, shape))
        along = [k == self.node.attrs["axis"] for k in range(len(shape))]
        self.sizes, flags, self.steps = self.operands.collapse(along)
        self.along = flags.index(True)

    def write(self) -> Kernel:
        """The kernel."""
        return _Writer(self).kernel()


class _Writer(LoopWriter):
    """The text of one kernel, and its arguments."""

    def __init__(self, plan: ScanKernel) -> None:
        super().__init__(plan)
        self.plan = plan
        self.loads = list(dict.fromkeys(plan.loads.values()))
        self.backwards = bool(plan.node.attrs.get("reverse"))

    def kernel(self) -> Kernel:
        plan = self.plan
        self.addresses()
        inner = len(plan.sizes) - 1
        lines = self._body(inner)
        self.constants()
        outer = list(range(plan.along))
        self.bound(range(inner + 1), 0 if outer else -1)
        if not outer:
            self.text.add(1, "for block in range(lo, hi):")
        indent = self.open(outer, 1) if outer else 2
        if plan.along == inner:
            self._along(indent, outer, lines)
        else:
            self._across(indent, outer, lines)
        total, hi = math.prod(plan.sizes), plan.sizes[0] if outer else 1
        grain = max(1, -(-GRAIN * hi // total)) if hi > 1 and total >= 2 * GRAIN else 0
        return Kernel(self.finished(), tuple(self.args), hi, grain)

    def _body(self, inner: int) -> list[tuple[str, Node]]:
        body = self.plan.body
        for symbol, k in self.plan.loads.items():
            body.names[symbol] = f"x{k}"
            if not self.varies(k, [inner]):
                body.fixed.add(symbol)
        return [(body.line(node), node) for node in self.plan.group.nodes]

    def _steps(self, indent: int) -> int:
        """The loop along which the result runs; the indent inside."""
        axis = self.plan.along
        if not self.backwards:
            return self.open([axis], indent)
        self.text.add(indent, f"for back in range({self.bounds[axis]}):")
        self.text.add(indent + 1, f"j{axis} = {self.bounds[axis]} - 1 - back")
        return indent + 1

    def _pointers(self, indent: int, loops: list[int], inner: int) -> None:
        for k in self.loads:
            self.pointer(indent, k, loops)
            if not self.varies(k, [inner]):
                self.load(indent, k)
        self.pointer(indent, self.plan.target, loops)

    def _element(self, indent: int, inner: int, lines: list[tuple[str, Node]]) -> str:
        """An element's loads and work; its name."""
        for k in self.loads:
            if self.varies(k, [inner]):
                self.load(indent, k, inner)
        for line, node in lines:
            self.text.add(indent, line, node)
        return self.plan.body.name(self.plan.node.inputs[0])

    def _along(self, indent: int, outer: list[int], lines: list[tuple[str, Node]]) -> None:
        """The result runs along the innermost axis: in a register."""
        plan, axis = self.plan, self.plan.along
        dtype = plan.node.outputs[0].dtype
        self._pointers(indent, outer, axis)
        self.text.add(indent, f"total = {identity(_BEGINS[plan.node.op], dtype)}")
        inside = self._steps(indent)
        element = self._element(inside, axis, lines)
        self.text.add(inside, f"total = {running(plan.node, code(dtype), 'total', element)}", plan.node)
        self.text.add(inside, f"q{plan.target}[{self.index(plan.target, axis)}] = total")

    def _across(self, indent: int, outer: list[int], lines: list[tuple[str, Node]]) -> None:
        """Rows of results: each is the one before it, and a row of elements."""
        plan, axis = self.plan, self.plan.along
        kind, target = code(plan.node.outputs[0].dtype), plan.target
        *middle, inner = range(axis + 1, len(plan.sizes))
        inside = self.open(middle, self._steps(indent))
        loops = [*outer, axis, *middle]
        self._pointers(inside, loops, inner)
        begins = f"{self.bounds[axis]} - 1" if self.backwards else "0"
        place = f"q{target}[{self.index(target, inner)}]"
        self.text.add(inside, f"if j{axis} == {begins}:")
        self.text.add(inside + 1, f"for j{inner} in range({self.bounds[inner]}):")
        self.text.add(inside + 2, f"{place} = {self._element(inside + 2, inner, lines)}")
        self.text.add(inside, "else:")
        back = "+" if self.backwards else "-"
        before = f"{self.address(target, loops)} {back} {self.stride(target, axis)}"
        self.text.add(inside + 1, f"w = p_{kind}({before})")
        self.text.add(inside + 1, f"for j{inner} in range({self.bounds[inner]}):")
        element = self._element(inside + 2, inner, lines)
        earlier = place.replace(f"q{target}", "w", 1)
        self.text.add(inside + 2, f"{place} = {running(plan.node, kind, earlier, element)}", plan.node)


def lower_scan_group(lowerer: Lowerer, group: Group, env: Env, targets: Env) -> list[Symbol]:
    """Lay out a running result with the work on its elements; the value that it leaves in memory."""
    assert group.scan is not None
    out = group.scan.outputs[0]
    target = env[out] = lowerer.fresh(out, targets)
    kernel = ScanKernel(group, finder(lowerer, group, env), target).write()
    lowerer.call(kernel, f"{name_of(group)}_{group.scan.op}")
    return [out]
