"""Grouping nodes into kernels: elementwise work over one shape, with the reductions of it, becomes one group.

A node joins the groups of its producers when their shapes agree and no path leads out of the group and back into it.
"""

from __future__ import annotations

from collections.abc import Collection
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
    made: set[Symbol] = field(default_factory=set)
    ends: set[Symbol] = field(default_factory=set)  # what reductions made, which is not complete inside the kernel
    read: set[Symbol] = field(default_factory=set)  # arrays from outside

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


class Fuser:
    """Groups a graph's nodes, walking them once, in program order; `ordered` tells in which order to run the groups."""

    def __init__(self, graph: Graph) -> None:
        self.places = {node: k for k, node in enumerate(graph.nodes)}
        self.items: list[Item] = []
        self.home: dict[Symbol, Item] = {}
        self.constants: set[Symbol] = set()  # those that kernels take by value
        self.bits: dict[Item, int] = {}
        self.needed = 0  # bit set of all that something else comes after
        self.effect: Item | None = None
        for node in graph.nodes:
            if node.op == "constant" and is_scalar_constant(node.outputs[0]):
                self.constants.add(node.outputs[0])
            elif is_elementwise(node):
                self._join(node, node.outputs[0].shape, None)
            elif is_reduction(node):
                self._join(node, node.inputs[0].shape, node.attrs["axes"])
            else:
                self._single(node)

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
        bit = self.bits.get(item)
        if bit is None:
            bit = self.bits[item] = 1 << len(self.bits)
            item.order = len(self.bits)
            self.items.append(item)
        return bit

    def _single(self, node: Node) -> None:
        item = Single(node)
        effect = node.effect
        before = self._producers(node)
        if effect and self.effect is not None:
            before.append(self.effect)
        for other in before:
            item.after |= other.after | self._bit(other)
        if effect:
            self.effect = item
        self.needed |= item.after
        self._bit(item)
        for symbol in node.outputs:
            self.home[symbol] = item

    def _join(self, node: Node, shape: Shape, axes: tuple[int, ...] | None) -> None:
        producers = self._producers(node)
        fresh = {s for s in node.inputs if s not in self.constants}
        chosen: Group | None = None
        for item in producers:
            if not isinstance(item, Group) or item.shape != shape or not self._open(item, fresh):
                continue
            if axes is not None and item.axes is not None and item.axes != axes:
                continue
            bit = self._bit(item)
            if bit & self.needed and any(other.after & bit for other in producers if other is not item):
                continue  # a producer needs the group's results: joining would make a circle
            if chosen is None:
                chosen = item
            elif self._mergeable(chosen, item, fresh):
                self._merge(chosen, item)
        if chosen is None:
            chosen = Group(shape)
            self._bit(chosen)
        self._add(chosen, node, fresh, axes)
        grown = 0
        for item in producers:
            item = item.find() if isinstance(item, Group) else item
            if item is not chosen:
                grown |= item.after | self._bit(item)
        self._grow(chosen, grown)

    def _add(self, group: Group, node: Node, fresh: set[Symbol], axes: tuple[int, ...] | None) -> None:
        symbol = node.outputs[0]
        group.nodes.append(node)
        group.read |= fresh - group.made
        group.made.add(symbol)
        if axes is not None:
            group.axes = axes
            group.ends.add(symbol)
        self.home[symbol] = group

    def _grow(self, group: Group, bits: int) -> None:
        """The group now depends on more; so does all that depends on it."""
        if bits & ~group.after:
            group.after |= bits
            self.needed |= bits
            mine = self._bit(group)
            if mine & self.needed:
                for item in self.items:
                    if item.after & mine:
                        item.after |= bits

    def _open(self, group: Group, fresh: set[Symbol]) -> bool:
        """Whether the group can take one more node: what it reads of the group is elementwise, and there is room."""
        if len(group.nodes) >= MAX_NODES or not group.ends.isdisjoint(fresh):
            return False
        return len(group.read) + len(fresh) <= MAX_OPERANDS or len(group.read | fresh - group.made) <= MAX_OPERANDS

    def _mergeable(self, a: Group, b: Group, fresh: set[Symbol]) -> bool:
        """Whether two groups that a node reads, and neither of which the other needs, can be one."""
        if a.axes is not None and b.axes is not None and a.axes != b.axes:
            return False
        made = a.made | b.made
        read = (a.read | b.read | fresh) - made
        return len(made) < MAX_NODES and len(read) <= MAX_OPERANDS and a.after & self._bit(b) == 0

    def _merge(self, a: Group, b: Group) -> None:
        """Both become one; the earlier keeps its place."""
        mine, theirs = self._bit(a), self._bit(b)
        a.nodes = sorted([*a.nodes, *b.nodes], key=self.places.__getitem__)
        a.axes = a.axes if a.axes is not None else b.axes
        a.made |= b.made
        a.ends |= b.ends
        a.read = (a.read | b.read) - a.made
        b.merged = a
        self.items.remove(b)
        a.after = (a.after | b.after) & ~mine & ~theirs
        if (mine | theirs) & self.needed:
            self.needed |= mine | a.after
            for item in self.items:
                if item is not a and item.after & (mine | theirs):
                    item.after = (item.after | mine | a.after) & ~theirs

    def ordered(self, late: frozenset[Symbol] = frozenset()) -> list[Item]:
        """An order in which everything comes after what it needs, and what makes one of `late` as late as it may."""
        order: list[Item] = []
        done = 0
        waiting = sorted(self.items, key=lambda item: item.order)
        last = {item for item in waiting if late and not late.isdisjoint(makes(item))}
        while waiting:
            left: list[Item] = []
            early = not last or any(not item.after & ~done and item not in last for item in waiting)
            for item in waiting:
                if item.after & ~done or (early and item in last):
                    left.append(item)
                else:
                    order.append(item)
                    done |= self.bits[item]
            if len(left) == len(waiting):
                raise AssertionError("fusion made a circle")
            waiting = left
        return order


def fuse(graph: Graph, late: frozenset[Symbol] = frozenset()) -> list[Item]:
    """The graph's work as kernels and single steps, in an order that respects data and effects.

    Groups that make one of the `late` symbols come as late as they may: they update variables in place.
    """
    return Fuser(graph).ordered(late)


def makes(item: Item) -> Collection[Symbol]:
    """The values that an item makes."""
    return item.made if isinstance(item, Group) else item.node.outputs


def reads(item: Item) -> Collection[Symbol]:
    """The values that an item needs; constants that kernels take by value are not told of."""
    return item.read if isinstance(item, Group) else item.node.inputs
