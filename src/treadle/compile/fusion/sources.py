"""What the operands of a kernel are when they are no plain arrays: reads by index, counted positions, random numbers.

All are views like others, over one shape, so that broadcasting, transposing and collapsing axes mean for them what
they mean for memory. A `Picked` value is a view of the array that it reads, whose place moves by integers that are
views over the same shape. A `Counted` value is a view of the numbers 0, 1, 2, ... themselves: its strides say how a
position in the kernel's loops becomes one among them. A `Drawn` value is a view of places in the same way, at which
random numbers stand.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle.compile.fusion.items import DRAWS, Group, Virtual
from treadle.compile.fusion.joined import Joined, beside, over, padded, single, through, zeros
from treadle.compile.fusion.lines import Line, line_of
from treadle.compile.moves.zeros import all_zero
from treadle.compile.views import Buffer, View, contiguous_strides, view_of
from treadle.core.graph import Node, apart
from treadle.core.tensor import Symbol
from treadle.records import dataclass, replace

if TYPE_CHECKING:
    from treadle.compile.fusion.repeats import Recorder
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]


@dataclass(frozen=True, slots=True)
class Index:
    """Integers that move a place: `value * step` elements on, where 0 <= value < size.

    wraps: whether negative values count from the end.
    """

    view: View
    size: int
    step: int
    node: Node  # the look-up, for people
    wraps: bool = True


@dataclass(frozen=True, slots=True)
class Picked:
    """An array read by indices."""

    source: View
    indices: tuple[Index, ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """Numbers on a line; with no line, 1 where the position is 0 and else 0.

    size: positions before views; the view's offset and strides are in positions.
    """

    view: View
    line: Line | None
    size: int = 0


@dataclass(frozen=True, slots=True)
class Drawn:
    """Random numbers: the view is of places among all that the node draws from the state.

    bounds: the two numbers between which whole numbers are drawn.
    """

    view: View
    state: View
    node: Node
    bounds: tuple[View, ...] = ()


Source = View | Picked | Counted | Joined | Drawn


def finder(lowerer: Lowerer | Recorder, group: Group, env: Env) -> Callable[[Symbol], Source]:
    """Where the values that a group reads lie, or how they are made."""
    if not group.virtual:
        return lambda symbol: lowerer.value(symbol, env)
    known: dict[Symbol, Source] = {}

    def find(symbol: Symbol) -> Source:
        virtual = group.virtual.get(symbol)
        if virtual is None:
            return lowerer.value(symbol, env)
        if symbol not in known:
            known[symbol] = _made(lowerer, virtual, env)
        return known[symbol]

    return find


def _made(lowerer: Lowerer | Recorder, virtual: Virtual, env: Env) -> Source:
    node = virtual.node
    if virtual.joins:
        return joined(lowerer, virtual, env)
    if virtual.draws:
        return drawn(lowerer, virtual, env)
    if not virtual.picks:
        made = _counted(node)
        return replace(made, view=_through(made.view, virtual.views))
    arrays = [lowerer.value(s, env) for s in node.inputs]
    picked = {"gather": _gathered, "take_along_axis": _taken, "dynamic_slice": _sliced}[node.op](node, arrays)
    indices = tuple([replace(index, view=_through(index.view, virtual.views)) for index in picked.indices])
    return Picked(_through(picked.source, virtual.views), indices)


def drawn(lowerer: Lowerer | Recorder, virtual: Virtual, env: Env) -> Drawn:
    """What random numbers are drawn from, and in which order they are read."""
    node = virtual.node
    out = node.outputs[0]
    shape: tuple[int, ...] = out.shape  # type: ignore[assignment]
    state, *bounds = [lowerer.value(s, env) for s in node.inputs]
    places = View(Buffer("drawn", None, 0), shape, out.dtype, contiguous_strides(shape))
    return Drawn(_through(places, virtual.views), state, node, tuple(bounds))


def joined(lowerer: Lowerer | Recorder, virtual: Virtual, env: Env) -> Joined:
    """The pieces of a value, through its views."""
    found = _pieces(lowerer, virtual.node.outputs[0], env)
    for view in virtual.views:
        found = through(found, view)
    return found


def _pieces(lowerer: Lowerer | Recorder, symbol: Symbol, env: Env) -> Joined:
    """A value as pieces: what is stored is one, joins and pads of it are several."""
    node = symbol.node
    if all_zero(symbol):
        return zeros(symbol.shape, symbol.dtype)  # type: ignore[arg-type]
    if symbol in env or node is None or node.op == "constant":
        return single(lowerer.value(symbol, env))
    parts = [_pieces(lowerer, s, env) for s in node.inputs]
    if node.op == "concat":
        axis = node.attrs["axis"]
        return beside([part for part in parts if part.shape[axis]], axis)
    if node.op == "pad_slice":
        return padded(parts[0], node.outputs[0].shape, node.attrs["starts"], node.attrs["stops"])  # type: ignore[arg-type]
    return through(parts[0], node)


def unreadable(lowerer: Lowerer, group: Group, env: Env) -> set[Symbol]:
    """Values in pieces that do not lie so that the group's kernel could read them there."""
    found = {symbol: joined(lowerer, virtual, env) for symbol, virtual in group.virtual.items() if virtual.joins}
    return {symbol for symbol, whole in found.items() if over(whole, group.shape) is None}  # type: ignore[arg-type]


def _through(view: View, views: tuple[Node, ...]) -> View:
    for node in views:
        found = view_of(node, view)
        assert found is not None  # only views that keep every element's stride are taken for this
        view = found
    return view


def _counted(node: Node) -> Counted:
    out = node.outputs[0]
    shape: tuple[int, ...] = out.shape  # type: ignore[assignment]
    numbers = Buffer("counted", None, 0)
    if node.op == "eye":  # the distance from the diagonal
        return Counted(View(numbers, shape, out.dtype, (-1, 1), -node.attrs["k"]), None)
    return Counted(View(numbers, shape, out.dtype, contiguous_strides(shape)), line_of(node), shape[0])


def _gathered(node: Node, arrays: list[View]) -> Picked:
    source, *tables = arrays
    axes, position = node.attrs["axes"], node.attrs["position"]
    shape: tuple[int, ...] = node.outputs[0].shape  # type: ignore[assignment]
    rank = max(len(t.shape) for t in tables)
    rest = [stride for k, stride in enumerate(source.strides) if k not in axes]
    strides = (*rest[:position], *[0] * rank, *rest[position:])

    def spread(t: View) -> View:
        lead, common = rank - len(t.shape), shape[position : position + rank]
        steps = [0 if n == 1 and m != 1 else s for n, m, s in zip(t.shape, common[lead:], t.strides, strict=True)]
        over = (0,) * (position + lead) + tuple(steps)
        return View(t.buffer, shape, t.dtype, over + (0,) * (len(shape) - len(over)), t.offset)

    indices = [Index(spread(t), source.shape[k], source.strides[k], node) for t, k in zip(tables, axes, strict=True)]
    return Picked(View(source.buffer, shape, source.dtype, strides, source.offset), tuple(indices))


def _taken(node: Node, arrays: list[View]) -> Picked:
    source, table = arrays
    axis = node.attrs["axis"]
    strides = tuple([0 if k == axis else stride for k, stride in enumerate(source.strides)])
    lines = View(source.buffer, table.shape, source.dtype, strides, source.offset)
    return Picked(lines, (Index(table, source.shape[axis], source.strides[axis], node),))


def _sliced(node: Node, arrays: list[View]) -> Picked:
    source, starts = arrays
    shape: tuple[int, ...] = node.outputs[0].shape  # type: ignore[assignment]
    still = (0,) * len(shape)
    indices = []
    for k, (whole, size) in enumerate(zip(source.shape, shape, strict=True)):
        place = View(starts.buffer, shape, starts.dtype, still, starts.offset + k * starts.strides[0])
        indices.append(Index(place, whole - size + 1, source.strides[k], node, wraps=False))
    return Picked(View(source.buffer, shape, source.dtype, source.strides, source.offset), tuple(indices))


def made_apart(lowerer: Lowerer, group: Group, env: Env, which: Collection[Symbol]) -> Env:
    """The values of a group's surroundings, with these that are not stored made after all, by steps of their own."""
    stored = dict(env)
    for symbol in [s for s in group.virtual if s in which]:  # in order: `which` may be a set
        virtual = group.virtual[symbol]
        _make(lowerer, virtual.node, stored)
        stored[symbol] = _through(stored[virtual.node.outputs[0]], virtual.views)
    return stored


def _make(lowerer: Lowerer, node: Node, stored: Env) -> None:
    """Make a value, and what it is made of where that is not stored either."""
    from treadle.compile.moves.randoms import lower_numbers
    from treadle.compile.ways import way

    out = node.outputs[0]
    if out in stored:
        return
    for symbol in node.inputs:
        if symbol.node is not None and symbol not in stored:
            _make(lowerer, symbol.node, stored)
    lay_out = way(node.op)
    if node.definition.family == "view":
        stored[out] = _through(stored[node.inputs[0]], (node,))
    elif node.op == "full":
        lowerer.fill(node, stored, {})
    elif node.op in DRAWS:
        lower_numbers(lowerer, node, stored, {})
    elif lay_out is None:
        stored[out] = lowerer.constant_view(out)
    elif not lay_out(lowerer, node, stored, {}):
        lowerer.host(node, stored, {})


def _nothing(lowerer: Lowerer, symbol: Symbol) -> View:
    """A view of a value's shape on a single zero."""
    zero = np.zeros((), symbol.dtype)
    shape: tuple[int, ...] = symbol.shape  # type: ignore[assignment]
    return View(Buffer("constant", lowerer.asm.constant(zero), zero.nbytes), shape, symbol.dtype, (0,) * len(shape))


def fault(lowerer: Lowerer | Recorder, group: Group, env: Env) -> Any:
    """The note for a kernel that checks indices: each look-up in turn, by NumPy; None for one that checks nothing."""
    from treadle.compile import hosts
    from treadle.compile.fusion.repeats import Recorder

    nodes = list(dict.fromkeys(v.node for v in group.virtual.values() if v.picks))
    if group.scatter is not None:
        nodes.append(group.scatter)
    if not nodes:
        return None
    assert not isinstance(lowerer, Recorder)  # what is recorded checks nothing
    lowerer.has_checks = True

    def value(symbol: Symbol) -> View:
        # Numbers that are not stored anywhere matter no more than the others of a scatter: its indices are told of.
        missing = symbol in group.made or (symbol not in env and all_zero(symbol))
        return _nothing(lowerer, symbol) if missing else lowerer.value(symbol, env)

    steps = [hosts.node_step(node, [value(s) for s in node.inputs], [], tuple(lowerer.loops)) for node in nodes]

    def run(run: Any) -> None:
        for step in steps:
            step(run)

    return hosts.Fault(apart(nodes[0]), run)
