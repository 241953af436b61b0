"""Grouping nodes into kernels: elementwise work over one shape, with the reductions of it, becomes one group.

A node joins the groups of its producers when their shapes agree and no path leads out of the group and back into it.
A reduction of rows (over the last axes) does not end its group: what follows may read its result in the same kernel,
which passes over a row several times while that is in cache. Sums across rows end it: they are not complete before
the last row.
"""

from __future__ import annotations

from functools import cached_property

from treadle.compile.cost import LOOK_AHEAD, MAX_NODES, MAX_OPERANDS, SIBLINGS
from treadle.compile.fusion.items import (
    Group,
    Item,
    Single,
    in_kernel,
    is_reduction,
    is_scalar_constant,
    makes,
    reads,
)
from treadle.compile.fusion.levels import is_alias, is_row_shape, reads_as_row, row_like, true_axes
from treadle.compile.fusion.placing import place, together, worked_shape
from treadle.compile.fusion.rules import used
from treadle.core.graph import Graph, Node
from treadle.core.tensor import Symbol


class Fuser:
    """Groups a graph's nodes, walking them once, in program order; `ordered` tells in which order to run the groups."""

    def __init__(self, graph: Graph) -> None:
        self.places = {node: k for k, node in enumerate(graph.nodes)}
        self.items: list[Item] = []
        self.home: dict[Symbol, Item] = {}
        self.constants: set[Symbol] = set()  # those that kernels take by value
        self.bits: dict[Item, int] = {}
        self.reading: dict[Symbol, list[Group]] = {}  # groups that read an array of their own shape
        self.needed = 0  # bit set of all that something else comes after
        self.dropped = 0  # bit set of single steps that are done where their values are read
        self.effect: Item | None = None
        self.graph = graph
        made = [s for node in graph.nodes for s in node.outputs]
        self.fits = set()
        for symbol in (*graph.inputs, *made):
            try:
                fits = symbol._spec.in_kernel
            except AttributeError:
                fits = in_kernel(symbol._spec)
            if fits:
                self.fits.add(symbol)
        for node in graph.nodes:
            if node.op == "constant" and is_scalar_constant(node.outputs[0]):
                self.constants.add(node.outputs[0])
            elif self._elementwise(node) or is_reduction(node) or is_alias(node):
                self._join(node)
            else:
                self._single(node)
        from treadle.compile.fusion import moments, remade, scans, scatters, virtual  # they look at the groups

        virtual.Virtuals(self, graph).find(graph.nodes)
        remade.make_in_readers(self, graph)
        moments.find(self)
        scatters.find(self, graph)
        scans.find(self, graph)

    @cached_property
    def readers(self) -> dict[Symbol, list[Node]]:
        """The nodes that read each value."""
        found: dict[Symbol, list[Node]] = {}
        for node in self.graph.nodes:
            for symbol in set(node.inputs):
                found.setdefault(symbol, []).append(node)
        return found

    def _elementwise(self, node: Node) -> bool:
        """`is_elementwise`, for the nodes of this graph."""
        op = node.definition
        return (
            op.family == "elementwise"
            and op.scalar is not None
            and self.fits.issuperset(node.inputs)
            and self.fits.issuperset(node.outputs)
        )

    def _producers(self, node: Node) -> list[Item]:
        found: list[Item] = []
        for symbol in node.inputs:
            item = self.home.get(symbol)
            if item is None:
                continue
            if item.__class__ is Group and item.merged is not None:
                item = item.find()
            if item not in found:
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

    def _join(self, node: Node) -> None:
        producers = self._producers(node)
        fresh = set(node.inputs)
        if not self.constants.isdisjoint(fresh):
            fresh -= self.constants
        chosen: Group | None = None
        where: str | None = None  # what the node makes in it, if that is known
        places = {}
        rows_first = False
        for producer in producers:
            if producer.__class__ is Group:
                places[producer] = found = self._place(producer, node)
                rows_first = rows_first or found == "row"
        for item in sorted(places, key=lambda item: places[item] != "row") if rows_first else places:
            if places[item] is None or not self._open(item, fresh):
                continue
            bit = self._bit(item)
            if bit & self.needed and any(other.after & bit for other in producers if other is not item):
                continue  # a producer needs the group's results: joining would make a circle
            if chosen is None:
                chosen, where = item, places[item]
            elif self._mergeable(chosen, item, fresh):
                self._merge(chosen, item)
                where = None
                used("two groups become one")
        if chosen is None:
            if is_alias(node):
                self._single(node)
                return
            chosen = self._sibling(node, fresh, producers)
        if chosen is None:
            chosen = Group(worked_shape(node))
            self._bit(chosen)
        self._add(chosen, node, fresh, where or self._place(chosen, node))
        grown = 0
        for other in producers:
            item_now: Item = other.find() if isinstance(other, Group) else other
            if item_now is not chosen:
                grown |= item_now.after | self._bit(item_now)
        self._grow(chosen, grown)

    def _sibling(self, node: Node, fresh: set[Symbol], producers: list[Item]) -> Group | None:
        """A group that reads the same array: what shares no more than that can share the walk over it."""
        shape = worked_shape(node)
        for symbol in node.inputs:
            if symbol.shape != shape:
                continue
            for reader in self.reading.get(symbol, ())[-SIBLINGS:]:
                group = reader.find()
                if group.shape != shape or not self._open(group, fresh) or self._place(group, node) is None:
                    continue
                bit = self._bit(group)
                if not (bit & self.needed and any(other.after & bit for other in producers)):
                    used("work on the same array")
                    return group
        return None

    def _place(self, group: Group, node: Node) -> str | None:
        return place(group, node, self._comes_back)

    def _comes_back(self, reduction: Node) -> bool:
        """Whether elementwise work over the reduced shape reads a reduction, at once or through other work on it."""
        shape, axes = reduction.inputs[0].shape, true_axes(reduction.inputs[0].shape, reduction.attrs["axes"])
        front, seen = [reduction.outputs[0]], 0
        while front and seen < LOOK_AHEAD:
            symbol = front.pop()
            for node in self.readers.get(symbol, ()):
                seen += 1
                out = node.outputs[0]
                if self._elementwise(node) and out.shape == shape:
                    if reads_as_row(symbol.shape, shape, axes):
                        return True
                elif (self._elementwise(node) or is_alias(node)) and is_row_shape(out.shape, shape, axes):
                    front.append(out)
        return False

    def _add(self, group: Group, node: Node, fresh: set[Symbol], where: str | None) -> None:
        symbol = node.outputs[0]
        assert where is not None
        if not group.rows.isdisjoint(fresh):
            used("a row's value is read in its kernel")
        if where == "row":
            group.rows.add(symbol)
            if node.definition.family == "reduction":
                group.inner = true_axes(group.shape, node.attrs["axes"])
                used("rows are reduced" if row_like(group.shape, group.inner) else "columns are reduced and read again")
            elif node.definition.family == "view":
                used("a view of a row's value")
            else:
                used("work on a row's value")
        elif where == "end":
            group.ends.add(symbol)
            if node.inputs[0] in group.rows:
                used("row values are summed")
            else:
                group.across |= {true_axes(group.shape, node.attrs["axes"])}
                if group.row_axes is not None:
                    used("sums across rows")
        group.nodes.append(node)
        for source in fresh - group.made:
            if source.shape == group.shape:
                self.reading.setdefault(source, []).append(group)
        group.read |= fresh - group.made
        group.made.add(symbol)
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
        if a.shape != b.shape or (a.inner is not None and b.inner is not None and a.inner != b.inner):
            return False
        inner = a.inner if a.inner is not None else b.inner
        if not together(a.shape, inner, a.across | b.across):
            return False
        made = a.made | b.made
        read = (a.read | b.read | fresh) - made
        return len(made) < MAX_NODES and len(read) <= MAX_OPERANDS and a.after & self._bit(b) == 0

    def _merge(self, a: Group, b: Group) -> None:
        """Both become one; the earlier keeps its place."""
        mine, theirs = self._bit(a), self._bit(b)
        a.nodes = sorted([*a.nodes, *b.nodes], key=self.places.__getitem__)
        a.inner = a.inner if a.inner is not None else b.inner
        a.across |= b.across
        a.made |= b.made
        a.rows |= b.rows
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

    def renew(self) -> None:
        """Find anew what must run before each item, where what they read has changed."""
        order = self.ordered()
        makers = {symbol: item for item in order for symbol in makes(item)}
        effect: Item | None = None
        for item in order:
            before = {makers[symbol] for symbol in reads(item) if symbol in makers} - {item}
            if isinstance(item, Single) and item.node.effect:
                before |= set() if effect is None else {effect}
                effect = item
            item.after = 0
            for other in before:
                item.after |= other.after | self.bits[other]

    def ordered(self, late: frozenset[Symbol] = frozenset()) -> list[Item]:
        """An order in which everything comes after what it needs, and what makes one of `late` as late as it may."""
        order: list[Item] = []
        done = self.dropped
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
