"""Values made again in the kernels that read them: outer sums, products and masks are not stored at all.

A little work on positions and on values smaller than its result (`x[:, None] - x[None]`, a causal mask, a row's factor
times a column's) costs less to do again than to write and to read. Decided when the groups stand, in their order, so
that what is made of such values may follow them into their readers.
"""

from __future__ import annotations

from treadle.compile.cost import MAX_NODES, MAX_OPERANDS, RECOMPUTE, units
from treadle.compile.fusion.fuse import Fuser
from treadle.compile.fusion.items import Group, Single
from treadle.compile.fusion.rules import used
from treadle.core.graph import Graph, Node
from treadle.core.spec import Shape
from treadle.core.tensor import Symbol


def make_in_readers(fuser: Fuser, graph: Graph) -> None:
    """Give groups what others made for them, where that is a little work on smaller values."""
    kept = set(graph.outputs)
    finder: _Readers | None = None
    for group in [item for item in fuser.items if isinstance(item, Group)]:
        if group.scatter is not None or group.moments:
            continue
        light = _light(group)
        if not light:
            continue
        finder = finder or _Readers(fuser)
        moved = False
        for symbol in [s for s in light if s not in kept]:
            homes = finder.of(symbol, group, light[symbol])
            if homes:
                moved |= _move(fuser, light[symbol], group, homes)
        if moved:
            finder = None
            used("a value is made again where it is read")
            _shed(fuser, group, kept)


def _light(group: Group) -> dict[Symbol, tuple[Node, ...]]:
    """The full values that are a little work on smaller values, and the nodes of that work."""
    found: dict[Symbol, tuple[Node, ...]] = {}
    for node in group.nodes:
        out = node.outputs[0]
        if node.definition.family != "elementwise" or out in group.rows:
            continue
        cone: dict[Node, None] = {}
        for symbol in node.inputs:
            if symbol in found:
                cone.update(dict.fromkeys(found[symbol]))
            elif not _is_small(symbol, group):
                break
        else:
            cone[node] = None
            if sum(map(units, cone)) <= RECOMPUTE:
                found[out] = tuple(cone)
    return found


def _is_small(symbol: Symbol, group: Group) -> bool:
    """Whether a value that a group reads is repeated along an axis, or counted and not stored."""
    if symbol in group.virtual:
        virtual = group.virtual[symbol]
        return not (virtual.picks or virtual.joins or virtual.draws)
    return (symbol not in group.made or symbol in group.rows) and _repeated(symbol.shape, group.shape)


def _repeated(shape: Shape, over: Shape) -> bool:
    padded = (1,) * (len(over) - len(shape)) + tuple(shape)
    return any(size == 1 != whole for size, whole in zip(padded, over, strict=True))


class _Readers:
    """Who reads a value: groups, by what they read as it stands now, and steps of another kind."""

    def __init__(self, fuser: Fuser) -> None:
        self.groups: dict[Symbol, list[Group]] = {}
        self.other: set[Symbol] = set()
        for item in fuser.items:
            if isinstance(item, Single):
                self.other.update(item.node.inputs)
                continue
            for symbol in item.read:
                self.groups.setdefault(symbol, []).append(item)
            for virtual in item.virtual.values():
                self.other.update(virtual.read)

    def of(self, symbol: Symbol, group: Group, cone: tuple[Node, ...]) -> list[Group]:
        """The groups that read it and could make it; none where anything else reads it."""
        homes = [home for home in self.groups.get(symbol, ()) if home is not group]
        if symbol in self.other or not all(_takes(home, symbol, group, cone) for home in homes):
            return []
        return homes


def _takes(home: Group, symbol: Symbol, group: Group, cone: tuple[Node, ...]) -> bool:
    """Whether a group may make a value: over its own shape, or one of positions alone over a larger one."""
    if home.scatter is not None or home.moments or symbol in home.virtual:
        return False
    if home.shape == group.shape:
        return True
    made = {node.outputs[0] for node in cone}
    if any(s not in made and s not in group.virtual and s.shape for node in cone for s in node.inputs):
        return False
    readers = [node for node in home.nodes if any(s is symbol for s in node.inputs)]
    return all(
        node.definition.family == "elementwise"
        and node.outputs[0] not in home.rows
        and node.outputs[0].shape == home.shape
        for node in readers
    )


def _move(fuser: Fuser, cone: tuple[Node, ...], group: Group, homes: list[Group]) -> bool:
    """Have all these groups do work on smaller values; False where one has no room for that."""
    made = {node.outputs[0] for node in cone}
    sources = dict.fromkeys([s for node in cone for s in node.inputs if s not in made])
    virtual = {s: group.virtual[s] for s in sources if s in group.virtual}
    read = {s for s in sources if s in group.read or s in group.made}
    for home in homes:
        if len(home.nodes) + len(cone) > MAX_NODES or len(home.read | read) > MAX_OPERANDS:
            return False
    for home in homes:
        home.nodes = sorted({*cone, *home.nodes}, key=fuser.places.__getitem__)
        home.made |= made
        home.read = (home.read | read) - home.made
        home.virtual.update(virtual)
    return True


def _shed(fuser: Fuser, group: Group, kept: set[Symbol]) -> None:
    """Take out of a group what nobody reads any more, and the group where nothing is left."""
    wanted = set(kept)
    for item in fuser.items:
        if item is not group:
            wanted.update(item.node.inputs if isinstance(item, Single) else item.read)
            if isinstance(item, Group):
                for virtual in item.virtual.values():
                    wanted.update(virtual.read)
    left: list[Node] = []
    for node in reversed(group.nodes):
        if node.outputs[0] in wanted:
            left.append(node)
            wanted.update(node.inputs)
    if not left:
        fuser.items.remove(group)
        fuser.dropped |= fuser.bits[group]
        return
    group.nodes = left[::-1]
    group.made = {node.outputs[0] for node in left}
    group.rows &= group.made
    group.ends &= group.made
    group.virtual = {s: v for s, v in group.virtual.items() if s in wanted}
    needed = {s for node in left for s in node.inputs}
    for virtual in group.virtual.values():
        needed.update(virtual.read)
    group.read = (group.read & needed) - group.made
