"""Grouping nodes into kernels: elementwise work over one shape, with the reductions of it, becomes one group.

A node joins the groups of its producers when their shapes agree and no path leads out of the group and back into it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from treadle.core.graph import Graph, Node
from treadle.core.spec import Shape, Spec
from treadle.core.tensor import Symbol

KERNEL_KINDS = "biuf"
REDUCTIONS = {"sum", "prod", "max", "min", "any", "all"}
MAX_OPERANDS = 18  # beyond this many pointers LLVM stops vectorising unaided
MAX_NODES = 60  # a kernel stays short enough to read, and to compile quickly


@dataclass(eq=False, slots=True)
class Group:
    """Nodes that become one kernel: elementwise over `shape`, then reductions over `axes` of it."""

    shape: Shape
    nodes: list[Node] = field(default_factory=list)
    axes: tuple[int, ...] | None = None
    order: int = 0
    after: int = 0  # bit set of groups and single nodes that must run before
    merged: Group | None = None

    def find(self) -> Group:
        """The group that this one has become part of."""
        group = self
        while group.merged is not None:
            group = group.merged
        return group


@dataclass(eq=False, slots=True)
class Single:
    """A node by itself: BLAS, a host step, a loop, a branch, a view."""

    node: Node
    order: int = 0
    after: int = 0


Item = Group | Single


def in_kernel(spec: Spec) -> bool:
    """Whether values of this spec can live in kernels."""
    return spec.dtype.kind in KERNEL_KINDS and spec.static


def is_elementwise(node: Node) -> bool:
    """Whether a node can be part of an elementwise kernel."""
    op = node.definition
    if op.family != "elementwise" or op.scalar is None:
        return False
    return all(in_kernel(s.spec) for s in (*node.inputs, *node.outputs))


def is_reduction(node: Node) -> bool:
    """Whether a node can be the end of a kernel."""
    if node.op not in REDUCTIONS or not node.inputs[0].shape:
        return False
    return all(in_kernel(s.spec) for s in (*node.inputs, *node.outputs)) and 0 not in node.inputs[0].shape


def is_scalar_constant(symbol: Symbol) -> bool:
    """Whether a symbol is a 0-d constant that kernels can take by value."""
    node = symbol.node
    return node is not None and node.op == "constant" and symbol.shape == () and in_kernel(symbol.spec)


class _Fuser:
    """Walks the nodes once, in program order."""

    def __init__(self, graph: Graph, late: frozenset[Symbol]) -> None:
        self.graph = graph
        self.late = late
        self.places = {node: k for k, node in enumerate(graph.nodes)}
        self.items: list[Item] = []
        self.home: dict[Symbol, Item] = {}
        self.bits: dict[int, int] = {}
        self.effect: Item | None = None

    def run(self) -> list[Item]:
        for node in self.graph.nodes:
            if node.op == "constant" and is_scalar_constant(node.outputs[0]):
                continue
            if is_elementwise(node):
                self._join(node, node.outputs[0].shape, None)
            elif is_reduction(node):
                self._join(node, node.inputs[0].shape, node.attrs["axes"])
            else:
                self._single(node)
        return self._ordered()

    def _producers(self, node: Node) -> list[Item]:
        found: list[Item] = []
        for symbol in node.inputs:
            item = self.home.get(symbol)
            if isinstance(item, Group):
                item = item.find()
            if item is not None and item not in found:
                found.append(item)
        return found

    def _bit(self, item: Item) -> int:
        bit = self.bits.get(id(item))
        if bit is None:
            bit = self.bits[id(item)] = 1 << len(self.bits)
            item.order = len(self.bits)
            self.items.append(item)
        return bit

    def _single(self, node: Node) -> None:
        item = Single(node)
        for producer in self._producers(node):
            item.after |= producer.after | self._bit(producer)
        if node.effect and self.effect is not None:
            before = self.effect
            item.after |= before.after | self._bit(before)
        if node.effect:
            self.effect = item
        self._bit(item)
        for symbol in node.outputs:
            self.home[symbol] = item

    def _join(self, node: Node, shape: Shape, axes: tuple[int, ...] | None) -> None:
        producers = self._producers(node)
        chosen: Group | None = None
        for item in producers:
            if not isinstance(item, Group) or item.shape != shape or not self._open(item, node):
                continue
            if axes is not None and item.axes not in (None, axes):
                continue
            if any(other.after & self._bit(item) for other in producers if other is not item):
                continue  # a producer needs the group's results: joining would make a circle
            if chosen is None:
                chosen = item
            elif self._mergeable(chosen, item, node):
                chosen = self._merge(chosen, item)
        if chosen is None:
            chosen = Group(shape)
            self._bit(chosen)
        chosen.nodes.append(node)
        if axes is not None:
            chosen.axes = axes
        grown = 0
        for item in producers:
            item = item.find() if isinstance(item, Group) else item
            if item is not chosen:
                grown |= item.after | self._bit(item)
        self._grow(chosen, grown)
        self.home[node.outputs[0]] = chosen

    def _grow(self, group: Group, bits: int) -> None:
        """The group now depends on more; so does all that depends on it."""
        if bits & ~group.after:
            group.after |= bits
            mine = self._bit(group)
            for item in self.items:
                if item.after & mine:
                    item.after |= bits

    def _open(self, group: Group, node: Node) -> bool:
        """Whether the group can take one more node: what it reads of the group is elementwise, and there is room."""
        if len(group.nodes) >= MAX_NODES:
            return False
        ends = {n.outputs[0] for n in group.nodes if n.op in REDUCTIONS and n.definition.family == "reduction"}
        if any(symbol in ends for symbol in node.inputs):
            return False
        return operands(group, node) <= MAX_OPERANDS

    def _mergeable(self, a: Group, b: Group, node: Node) -> bool:
        if a.axes is not None and b.axes is not None and a.axes != b.axes:
            return False
        if len(a.nodes) + len(b.nodes) >= MAX_NODES or operands(a, *b.nodes, node) > MAX_OPERANDS:
            return False
        return not (a.after & self._bit(b) or b.after & self._bit(a)) or self._adjacent(a, b)

    def _adjacent(self, a: Group, b: Group) -> bool:
        """One group reads the other's elementwise results and nothing lies between them."""
        first, second = (a, b) if b.after & self._bit(a) else (b, a)
        between = second.after & ~first.after & ~self._bit(first)
        mine = self._bit(first)
        if any(item.after & mine and self._bit(item) & between for item in self.items if item is not second):
            return False
        ends = {n.outputs[0] for n in first.nodes if n.definition.family == "reduction"}
        return not any(symbol in ends for n in second.nodes for symbol in n.inputs)

    def _merge(self, a: Group, b: Group) -> Group:
        """Both become one; the earlier keeps its place."""
        mine, theirs = self._bit(a), self._bit(b)
        a.nodes = sorted([*a.nodes, *b.nodes], key=self.places.__getitem__)
        a.axes = a.axes if a.axes is not None else b.axes
        b.merged = a
        self.items.remove(b)
        both = (a.after | b.after) & ~mine & ~theirs
        a.after = both
        for item in self.items:
            if item is not a and item.after & (mine | theirs):
                item.after = (item.after | mine | both) & ~theirs
        return a

    def _ordered(self) -> list[Item]:
        """An order in which everything comes after what it needs."""
        done, order = 0, []
        waiting = sorted(self.items, key=lambda item: item.order)
        late = {id(item) for item in waiting if self.late and makes(item) & self.late}
        while waiting:
            left, moved = [], False
            ready_early = any(not item.after & ~done and id(item) not in late for item in waiting)
            for item in waiting:
                if item.after & ~done or (ready_early and id(item) in late):
                    left.append(item)
                else:
                    order.append(item)
                    done |= self._bit(item)
                    moved = True
            if not moved:
                raise AssertionError("fusion made a circle")
            waiting = left
        return order


def operands(group: Group, *more: Node) -> int:
    """How many arrays the group reads with these nodes added."""
    made = {n.outputs[0] for n in (*group.nodes, *more)}
    read = {s for n in (*group.nodes, *more) for s in n.inputs if s not in made and not is_scalar_constant(s)}
    return len(read)


def fuse(graph: Graph, late: frozenset[Symbol] = frozenset()) -> list[Item]:
    """The graph's work as kernels and single steps, in an order that respects data and effects.

    Groups that make one of the `late` symbols come as late as they may: they update variables in place.
    """
    return _Fuser(graph, late).run()


def makes(item: Item) -> set[Symbol]:
    """The values that an item makes."""
    nodes = item.nodes if isinstance(item, Group) else [item.node]
    return {s for node in nodes for s in node.outputs}
