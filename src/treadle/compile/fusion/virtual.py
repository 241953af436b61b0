"""Values that are not stored: gathers are read, and positions counted, inside the kernels that need them.

Decided when the groups stand: a value that groups alone read, at once or through views that move nothing, is made by
each of them anew. For a gather of whole rows that is as cheap as reading a copy; one of single elements is worth it
for one reader only. What is left over is laid out by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from treadle.compile.cost import DRAWN_PIECE, DRAWN_RUN, HEAVY, MAX_OPERANDS, PICKED_ROW, units
from treadle.compile.fusion.fuse import Fuser
from treadle.compile.fusion.items import DRAWS, Group, Single, Virtual
from treadle.compile.fusion.joined import goes_through
from treadle.compile.fusion.levels import Axes, is_alias, other_axes
from treadle.compile.fusion.lines import MOST, line_of
from treadle.compile.fusion.placing import in_strips
from treadle.compile.fusion.rules import used
from treadle.compile.moves.zeros import all_zero
from treadle.config import config
from treadle.core.graph import Graph, Node
from treadle.core.spec import Shape, Spec
from treadle.core.tensor import Symbol

PICKS = {"gather", "take_along_axis", "dynamic_slice"}
MOST_DRAWS = 4  # in one kernel, each with memory on the stack
COUNTED = {"arange", "linspace", "eye"}
JOINS = {"concat", "pad_slice"}
_VIEWS = {"transpose", "slice", "broadcast_to", "stop_gradient"}


def _may_be(node: Node) -> bool:
    """Whether a node's value can be made where it is read."""
    if node.op in COUNTED or node.op == "constant":
        out = node.outputs[0].spec
        if not _holds(out) or max(map(int, out.shape), default=0) < 2 or out.dtype.kind not in "iuf":
            return False
        return max(map(int, out.shape)) < MOST if node.op == "eye" else line_of(node) is not None
    if node.op not in PICKS:
        return False
    indices = node.inputs[1:]
    values = (*node.inputs, *node.outputs)
    return all(_holds(s.spec) and 0 not in s.shape for s in values) and all(
        s.dtype.kind == "i" and s.dtype.itemsize >= 4 for s in indices
    )


def _holds(spec: Spec) -> bool:
    return spec.static and spec.dtype.kind in "biuf" and spec.dtype.itemsize <= 8


def _in_pieces(node: Node) -> bool:
    """Whether a node's value lies in pieces that kernels can read where they are."""
    if node.op not in JOINS or not all(_holds(s.spec) for s in (*node.inputs, *node.outputs)):
        return False
    if node.op == "pad_slice" and any(step != 1 for step in node.attrs["steps"]):
        return False
    return 0 not in node.outputs[0].shape and all(0 not in s.shape for s in node.inputs)


def by_elements(node: Node) -> bool:
    """Whether a pick's last axis goes by the indices, so that each element is looked up by itself."""
    shape = node.outputs[0].shape
    along = other_axes(shape, ())
    if not along or node.op == "dynamic_slice":
        return False
    if node.op == "take_along_axis":
        return True
    position = node.attrs["position"]
    rank = max(len(s.shape) for s in node.inputs[1:])
    return bool(position <= along[-1] < position + rank)


def row_picked(node: Node) -> int:
    """How many elements that lie one after another a pick finds by one index at least."""
    shape = node.outputs[0].shape
    first = 0
    if node.op == "gather":
        first = node.attrs["position"] + max(len(s.shape) for s in node.inputs[1:])
    return math.prod(shape[first:])  # type: ignore[arg-type]


def _drawn_in_kernels(node: Node) -> bool:
    """Whether kernels can draw a node's numbers; Numba knows no memory of a kernel's own, in which they are drawn."""
    fits = all(_holds(s.spec) and 0 not in s.shape for s in (*node.inputs, *node.outputs))
    return fits and all(s.spec.size == 1 for s in node.inputs[1:]) and config.compiler != "numba"


def _reads_each_once(group: Group, shown: Sequence[tuple[Symbol, tuple[Node, ...]]]) -> bool:
    """Whether a group reads each number of a draw once, as far as shapes tell, and can draw them for whole rows."""
    if group.scatter is not None or any(virtual.joins for virtual in group.virtual.values()):
        return False
    read = [symbol for symbol, _ in shown if symbol in group.read]
    if len(group.draws) >= MOST_DRAWS or len(read) != 1:
        return False
    size = read[0].spec.size
    if size <= DRAWN_PIECE and (size <= DRAWN_RUN or size == math.prod(group.shape)):
        return True
    return not in_strips(group) and _same_size(read[0].shape, group.shape)


class Virtuals:
    """Finds a graph's virtual values, given the groups, and takes them out of the work."""

    def __init__(self, fuser: Fuser, graph: Graph) -> None:
        self.fuser = fuser
        self.kept = set(graph.outputs)
        self.state = {graph.outputs[slot.output] for slot in graph.state if slot.output is not None}
        self.fine: dict[Symbol, list[Group] | None] = {}  # the groups that read a value; None: something else does
        self.pieces: dict[Node, list[Group]] = {}  # joins that are read where their parts are, and by which groups
        self.singles = {item.node: item for item in fuser.items if isinstance(item, Single)}

    def find(self, nodes: Sequence[Node]) -> None:
        """Take out what can be made where it is read."""
        for node in nodes:
            if node in self.singles and _may_be(node):
                self._settle(node)
        for node in reversed(nodes):  # what joins are joined of comes after them
            if node in self.singles and _in_pieces(node):
                self._settle_pieces(node)
        if self.pieces:
            self._read_pieces()
        drawn = [self._settle_draw(node) for node in nodes if node in self.singles and node.op in DRAWS]
        if any(drawn):
            self.fuser.renew()

    def _settle_draw(self, node: Node) -> bool:
        """Let a draw's numbers be made by the one group that reads them; the state behind it stays a step."""
        out, shown = node.outputs[0], list[tuple[Symbol, tuple[Node, ...]]]()
        if out not in self.fuser.readers or out in self.kept or not _drawn_in_kernels(node):
            return False
        groups = self._groups(out, (), shown, is_alias)
        if len(groups) != 1 or not _reads_each_once(groups[0], shown):
            return False
        (group,) = groups
        inputs = [s for s in node.inputs if s not in self.fuser.constants]
        if len(group.read) + len(inputs) > MAX_OPERANDS:
            return False
        for symbol, views in shown:
            if symbol in group.read:
                group.read.discard(symbol)
                group.read.update(inputs)
                group.virtual[symbol] = Virtual(node, views)
        used("random numbers are drawn where they are read")
        for view in {view for _, views in shown for view in views}:
            self._drop(view)
        self.singles.pop(node).whole = False
        return True

    def _settle_pieces(self, node: Node) -> None:
        out = node.outputs[0]
        if out not in self.fuser.readers or out in self.kept or self._made_there(node):
            return
        shown: list[tuple[Symbol, tuple[Node, ...]]] = []
        groups = self._groups(out, (), shown, goes_through)
        if not groups or any(group.row_axes is not None or len(group.read) >= MAX_OPERANDS for group in groups):
            return
        self.pieces[node] = groups
        for symbol, views in shown:
            for group in groups:
                if symbol in group.read:
                    group.virtual[symbol] = Virtual(node, views)
        used("a value in pieces is read in place")
        for gone in {node, *(view for _, views in shown for view in views)}:
            self._drop(gone)

    def _made_there(self, node: Node) -> bool:
        """Whether all parts of a join are made in their places in it anyway."""
        homes = [self.fuser.home.get(s) for s in node.inputs if not all_zero(s)]
        alone = all(len(self.fuser.readers[s]) == 1 and s not in self.kept for s in node.inputs)
        return node.op == "concat" and alone and all(isinstance(home, Group) for home in homes)

    def _read_pieces(self) -> None:
        """Groups read what values in pieces consist of."""
        for group in dict.fromkeys(g for groups in self.pieces.values() for g in groups):
            for symbol, virtual in list(group.virtual.items()):
                if virtual.joins:
                    found = tuple(dict.fromkeys(self._leaves(virtual.node.outputs[0])))
                    group.virtual[symbol] = Virtual(virtual.node, virtual.views, found)
                    group.read.discard(symbol)
                    group.read.update(found)
        for node in [node for node in self.singles if node.op == "full" and all_zero(node.outputs[0])]:
            out = node.outputs[0]
            if out not in self.kept and all(reader in self.pieces for reader in self.fuser.readers.get(out, [node])):
                self._drop(node)

    def _leaves(self, symbol: Symbol) -> Iterator[Symbol]:
        node = symbol.node
        if all_zero(symbol):
            return
        if node is None or node in self.singles or isinstance(self.fuser.home.get(symbol), Group):
            yield symbol
            return
        for source in node.inputs:
            yield from self._leaves(source)

    def _settle(self, node: Node) -> None:
        out = node.outputs[0]
        if out not in self.fuser.readers or out in self.kept:
            return
        shown: list[tuple[Symbol, tuple[Node, ...]]] = []
        groups = self._groups(out, (), shown, lambda view: is_alias(view) or view.op in _VIEWS)
        if not groups or (node.op in PICKS and not self._pays(node, groups, shown)):
            return
        for symbol, views in shown:
            virtual = Virtual(node, views)
            for group in groups:
                if symbol in group.read:
                    group.read.discard(symbol)
                    group.read.update(node.inputs)
                    group.virtual[symbol] = virtual
        used("a gather is read in place" if node.op in PICKS else "positions are counted")
        for gone in {node, *(view for _, views in shown for view in views)}:
            self._drop(gone)

    def _groups(
        self,
        symbol: Symbol,
        views: tuple[Node, ...],
        shown: list[tuple[Symbol, tuple[Node, ...]]],
        through: Callable[[Node], bool],
    ) -> list[Group]:
        """The groups that read a value at once or through views; none where anything else reads it."""
        if symbol in self.kept:
            return []
        found: list[Group] = []
        shown.append((symbol, views))
        for reader in self.fuser.readers.get(symbol, ()):
            single = self.singles.get(reader)
            if single is not None:
                if reader.definition.family != "view" or not through(reader):
                    return []
                more = self._groups(reader.outputs[0], (*views, reader), shown, through)
                if not more:
                    return []
                found += more
                continue
            if reader in self.pieces:
                found += self.pieces[reader]
                continue
            home = self.fuser.home.get(reader.outputs[0])
            if not isinstance(home, Group):
                return []
            found.append(home.find())
        return list(dict.fromkeys(found))

    def _pays(self, node: Node, groups: list[Group], shown: list[tuple[Symbol, tuple[Node, ...]]]) -> bool:
        """Whether all these groups can look up the values, and it is no more work than reading a copy of them."""
        for group in groups:
            if len(group.read) + len(node.inputs) > MAX_OPERANDS or not self.state.isdisjoint(group.made):
                return False
        if not by_elements(node):
            return row_picked(node) >= PICKED_ROW or all(group.inner is not None for group in groups)
        read = [(group, symbol) for group in groups for symbol, _ in shown if symbol in group.read]
        return len(read) == 1 and self._fits_elements(*read[0])

    def _fits_elements(self, group: Group, symbol: Symbol) -> bool:
        """Single elements: once for each, in one pass; or one number a row."""
        inner = group.row_axes
        if inner is None:
            light = sum(units(n) for n in group.nodes if n.definition.family == "elementwise") < HEAVY
            return light and _same_size(symbol.shape, group.shape)
        readers = [n for n in self.fuser.readers[symbol] if n.outputs[0] in group.made]
        return _one_a_row(symbol.shape, group.shape, inner) or all(n.outputs[0] in group.rows for n in readers)

    def _drop(self, node: Node) -> None:
        """A single step that nothing has to wait for any more."""
        item = self.singles.pop(node, None)
        if item is not None:
            self.fuser.items.remove(item)
            self.fuser.dropped |= self.fuser.bits[item]


def _same_size(a: Shape, b: Shape) -> bool:
    return [size for size in a if size != 1] == [size for size in b if size != 1]


def _one_a_row(shape: Shape, of: Shape, inner: Axes) -> bool:
    padded = (1,) * (len(of) - len(shape)) + tuple(shape)
    return all(padded[k] == 1 for k in inner)
