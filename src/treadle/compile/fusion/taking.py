"""Steps that compute what they take: the work on it moves out of its group and into one with the step."""

from __future__ import annotations

from typing import Any

from treadle.compile.fusion.fuse import Fuser
from treadle.compile.fusion.items import RUNNING, Group, Single, is_scalar_constant
from treadle.core.graph import Node
from treadle.core.tensor import Symbol


def alone(fuser: Fuser, group: Group, reader: Node, kept: set[Symbol]) -> set[Symbol]:
    """What a group makes for nothing but one node outside it."""
    found: set[Symbol] = set()
    for node in reversed(group.nodes):
        out = node.outputs[0]
        readers = fuser.readers.get(out, ())
        if out not in kept and all(r is reader or (r.outputs and r.outputs[0] in found) for r in readers):
            found.add(out)
    return found


def work_for(fuser: Fuser, group: Group, reader: Node, kept: set[Symbol]) -> list[Node]:
    """The nodes of a group that work for nothing but one outside, with copies of what several groups make anyway."""
    mine = alone(fuser, group, reader, kept)
    wanted: set[Symbol] = set()
    found: list[Node] = []
    for node in reversed(group.nodes):
        out = node.outputs[0]
        home = fuser.home.get(out)
        again = isinstance(home, Group) and home.find() is not group
        if out in mine or (again and out in wanted):
            found.append(node)
            wanted.update(node.inputs)
    return found[::-1]


def read_by(nodes: list[Node]) -> set[Symbol]:
    """The arrays that nodes read and do not make."""
    made = {node.outputs[0] for node in nodes}
    return {s for node in nodes for s in node.inputs if s not in made and not is_scalar_constant(s)}


def stored_anyway(fuser: Fuser, group: Group, symbol: Symbol, kept: set[Symbol]) -> bool:
    """Whether something besides its group wants a value."""
    return symbol in kept or any(
        not reader.outputs or reader.outputs[0] not in group.made for reader in fuser.readers.get(symbol, ())
    )


def take(fuser: Fuser, item: Single, group: Group, nodes: list[Node]) -> None:
    """Put a group of a step, and of the work on what it takes, in the step's place."""
    made = {n.outputs[0] for n in nodes}
    one = part(group, nodes, order=item.order, after=item.after)
    replace(fuser, item, one)
    left: list[Node] = []
    wanted: set[Symbol] = set()
    for node in reversed(group.nodes):  # what is made again may be made by both
        if node.outputs[0] not in made or node.outputs[0] in wanted:
            left.append(node)
            wanted.update(node.inputs)
    left.reverse()
    if left:
        rest = part(group, left)
        group.nodes, group.made, group.read, group.virtual = left, rest.made, rest.read, rest.virtual
    else:
        one.after |= group.after
        fuser.items.remove(group)
        fuser.dropped |= fuser.bits[group]


def replace(fuser: Fuser, item: Single, one: Group) -> None:
    """A group with the work on what a step takes, if any, does the step."""
    if item.node.op in RUNNING:
        one.scan = item.node
    else:
        one.scatter = item.node
    one.read.update(s for s in item.node.inputs if s not in one.made and not is_scalar_constant(s))
    one.made.add(item.node.outputs[0])
    fuser.bits[one] = fuser.bits[item]
    fuser.items[fuser.items.index(item)] = one
    for symbol in one.made:
        fuser.home[symbol] = one


def part(group: Group, nodes: list[Node], **fields: Any) -> Group:
    """A group of some of another's nodes."""
    part = Group(group.shape, nodes, made={n.outputs[0] for n in nodes}, **fields)
    for symbol in read_by(nodes):
        virtual = group.virtual.get(symbol)
        if virtual is None:
            part.read.add(symbol)
        else:
            part.virtual[symbol] = virtual
            part.read.update(virtual.node.inputs)
    return part
