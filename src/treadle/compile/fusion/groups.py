"""From a group to the calls of its kernels: where its results go, partial results, scratch, and what adds them up."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from copy import copy
from typing import TYPE_CHECKING

from treadle.compile.cost import PERIOD, PERIODS
from treadle.compile.fusion.emit import Body, Kernel
from treadle.compile.fusion.items import Group
from treadle.compile.fusion.kernels import GroupKernel
from treadle.compile.fusion.lengthwise import Turned, goes_lengthwise
from treadle.compile.fusion.moments import lower_moments
from treadle.compile.fusion.placing import in_strips
from treadle.compile.fusion.repeats import Recorder, repeat, structure_of
from treadle.compile.fusion.row_plan import partial_view
from treadle.compile.fusion.rows import RowKernel
from treadle.compile.fusion.rules import used
from treadle.compile.fusion.scans import lower_scan_group
from treadle.compile.fusion.scatters import lower_scatter_group
from treadle.compile.fusion.small_groups import combine_group, combining, copy_group, name_of
from treadle.compile.fusion.sources import Source as Reading
from treadle.compile.fusion.sources import fault, finder, made_apart, unreadable
from treadle.compile.fusion.strips import StripKernel
from treadle.compile.llvm.build import Source
from treadle.compile.views import Buffer, View, contiguous_strides, view_of, whole
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]


def lower_group(lowerer: Lowerer, group: Group, env: Env, targets: Env, wanted: set[Symbol]) -> list[Symbol]:
    """Lay out a group; the values that it leaves in memory."""
    if group.moments:
        return lower_moments(lowerer, group, env, targets)
    if group.scatter is not None:
        return lower_scatter_group(lowerer, group, env, targets)
    if group.scan is not None:
        return lower_scan_group(lowerer, group, env, targets)
    stores: Env = {}
    ends: Env = {}
    aliases = [node for node in group.nodes if node.definition.family == "view"]
    needed = _needed(group, wanted)
    for node in group.nodes:
        symbol = node.outputs[0]
        if node.definition.family == "view":
            continue
        if symbol in group.ends:
            ends[symbol] = env[symbol] = lowerer.fresh(symbol, targets)
        elif symbol in needed:
            stores[symbol] = env[symbol] = lowerer.fresh(symbol, targets)
    for node in aliases:
        if node.outputs[0] in needed:
            shown = view_of(node, env[node.inputs[0]])
            assert shown is not None
            env[node.outputs[0]] = shown
    if not stores and not ends:
        return []
    if lowerer.inplace and any(target.buffer.kind == "input" for target in stores.values()):
        lowerer.asm.commit()  # a variable is overwritten
    stored: Collection[Symbol] = ()
    if group.virtual:  # strips read plain arrays only: what could be read in place is made first after all
        strips = in_strips(group)
        stored = {s for s, v in group.virtual.items() if not v.few} if strips else unreadable(lowerer, group, env)
    if not stored and any(not group.virtual[s].few for s in group.draws):
        stored = _undrawn(lowerer, group, env, stores, ends)
    if not stored:
        call_group(lowerer, group, env, stores, ends)
        return [*stores, *ends]
    plain = copy(group)
    plain.virtual = {s: v for s, v in group.virtual.items() if s not in stored}
    apart = made_apart(lowerer, group, env, stored)
    call_group(lowerer, plain, apart, stores, ends)
    for symbol in [s for s in apart if s not in env]:
        lowerer.free(apart[symbol].buffer)
    return [*stores, *ends]


def _undrawn(
    lowerer: Lowerer, group: Group, env: Env, stores: Mapping[Symbol, View], ends: Mapping[Symbol, View]
) -> set[Symbol]:
    """Random numbers that do not lie so that the group's kernel could draw them; all, if any of them do not."""
    if 0 in group.shape:
        return set()
    kernel = GroupKernel if group.row_axes is None else RowKernel
    if kernel(group, finder(lowerer, group, env), stores, ends).draws:
        return set()
    return {symbol for symbol in group.draws if not group.virtual[symbol].few}


def _needed(group: Group, wanted: set[Symbol]) -> set[Symbol]:
    """What must lie in memory: what is wanted, and what wanted views show."""
    needed = {node.outputs[0] for node in group.nodes if node.outputs[0] in wanted}
    for node in reversed(group.nodes):
        if node.definition.family == "view" and node.outputs[0] in needed and node.inputs[0] in group.made:
            needed.add(node.inputs[0])
    return needed


def call_group(
    lowerer: Lowerer, group: Group, env: Env, stores: Mapping[Symbol, View], ends: Mapping[Symbol, View]
) -> None:
    """The kernels of a group whose results have their places: as for another of its structure where there was one."""
    if 0 in group.shape:
        return
    structure = structure_of(lowerer, group, env, stores, ends)
    if structure is None:
        _call_group(lowerer, group, env, stores, ends)
        return
    try:
        steps = lowerer.repeats.get(structure.key)
    except TypeError:  # an attribute that does not hash
        _call_group(lowerer, group, env, stores, ends)
        return
    if steps is not None:
        repeat(lowerer, structure, steps, group.nodes)
        return
    recorder = Recorder(lowerer, structure, group.nodes)
    _call_group(recorder, group, env, stores, ends)
    if recorder.whole:
        lowerer.repeats[structure.key] = recorder.finished()


def _call_group(
    lowerer: Lowerer | Recorder, group: Group, env: Env, stores: Mapping[Symbol, View], ends: Mapping[Symbol, View]
) -> None:
    if 0 in group.shape:
        return
    find = finder(lowerer, group, env)
    turned = Turned(lowerer, group, find) if goes_lengthwise(group, stores) else None
    if turned is not None:
        find, ends = turned.read, {symbol: turned.target(view) for symbol, view in ends.items()}
        used("loops go along the axis before a short last one")
    if group.inner is not None or (turned is None and group.row_axes is not None):
        _call_rows(lowerer, group, env, find, stores, ends)
    else:
        _call_plain(lowerer, group, env, find, stores, ends, turned is not None)
    if turned is not None:
        turned.finish()


def _call_plain(
    lowerer: Lowerer | Recorder,
    group: Group,
    env: Env,
    find: Callable[[Symbol], Reading],
    stores: Mapping[Symbol, View],
    ends: Mapping[Symbol, View],
    exchanged: bool,
) -> None:
    plan = GroupKernel(group, find, stores, ends, exchanged)
    if plan.periodic and _written_out(lowerer, group, plan):
        return
    blocks = plan.blocks
    if plan.full:
        _spare(lowerer, ends, dict.fromkeys(ends, 1))
    if blocks == 1:
        lowerer.call(plan.write(), name_of(group), fault(lowerer, group, env))
        return
    partials = {s: lowerer.memory(Spec((blocks,), s.dtype)) for s in ends}
    flat = {s: View(p.buffer, s.shape, s.dtype, (0,) * len(s.shape)) for s, p in partials.items()}  # type: ignore[arg-type]
    again = GroupKernel(group, find, stores, flat, exchanged)
    again.apart = plan.apart
    lowerer.call(again.write(), name_of(group), fault(lowerer, group, env))
    _combine(lowerer, partials, ends)


def _written_out(lowerer: Lowerer | Recorder, group: Group, plan: GroupKernel) -> bool:
    """Work over many rows that reads a short one again and again: write that out several times, and take long rows.

    False where the rows are too few; then the kernels are compiled all the same, so that more rows compile nothing.
    """
    many, row = plan.many_rows, plan.sizes[1]
    shape = (PERIOD * PERIODS // row, row)
    tiles: dict[int, View] = {}
    if not many:
        plan = copy(plan)
        plan.body, plan.operands, plan.steps = Body(), copy(plan.operands), list(plan.steps)
        plan.operands.views = list(plan.operands.views)
    for k in plan.periodic:
        source = plan.operands.views[k]
        spec = Spec(shape, source.dtype)
        tiles[k] = lowerer.memory(spec) if many else whole(Buffer("arena", None, 0), spec)
        stretched = View(source.buffer, shape, source.dtype, (0, 1), source.offset)
        copied, _, made = copy_group(stretched)
        kernel = GroupKernel(copied, lambda s, v=stretched: v, {made: tiles[k]}, {}).write()  # type: ignore[misc]
        _call_or_spare(lowerer, kernel, name_of(copied), many)
    plan.unroll(tiles)
    _call_or_spare(lowerer, plan.write(), name_of(group), many)
    if many:
        used("a short row is written out")
    for tile in tiles.values():
        lowerer.free(tile.buffer)
    return many


def _call_or_spare(lowerer: Lowerer | Recorder, kernel: Kernel, name: str, call: bool) -> None:
    if call:
        lowerer.call(kernel, name)
    else:
        lowerer.offer(Source(name, kernel.text.key))


def _call_rows(
    lowerer: Lowerer | Recorder,
    group: Group,
    env: Env,
    find: Callable[[Symbol], Reading],
    stores: Mapping[Symbol, View],
    ends: Mapping[Symbol, View],
) -> None:
    assert group.row_axes is not None
    strips = in_strips(group)
    plan = (StripKernel if strips else RowKernel)(group, find, stores, ends)
    plan.prepare()
    used("strips of rows" if strips else "passes along rows")
    if ends:
        _spare(lowerer, ends, {s: 1 + plan.is_column(s) for s in ends})
    scratch = []
    for number, elements in plan.rooms.items():
        scratch.append(lowerer.memory(Spec((plan.shares * elements,), plan.operands.views[number].dtype)))
        plan.put(number, scratch[-1])
    partials: Env = {}
    if plan.hi > 1:
        for symbol in ends:
            shape = (plan.hi, plan.row) if plan.is_column(symbol) else (plan.hi,)
            memory = lowerer.memory(Spec(shape, symbol.dtype))
            partials[symbol] = partial_view(plan, symbol, memory.buffer)
            plan.put(plan.ends[symbol], partials[symbol])
    lowerer.call(plan.write(), name_of(group), fault(lowerer, group, env))
    for rows in scratch:
        lowerer.free(rows.buffer)
    _combine(lowerer, partials, ends)


def _combine(lowerer: Lowerer | Recorder, partials: Mapping[Symbol, View], ends: Mapping[Symbol, View]) -> None:
    """Add up the blocks' results."""
    for symbol, partial in partials.items():
        used("partial results are added up")
        assert symbol.node is not None
        target = ends[symbol]
        shape = partial.shape[1:]
        end = View(target.buffer, shape, target.dtype, contiguous_strides(shape), target.offset)
        group, made = combine_group(symbol.node.definition, partial)
        _call_group(lowerer, group, {group.nodes[0].inputs[0]: partial}, {}, {made: end})
        lowerer.free(partial.buffer)


def _spare(lowerer: Lowerer | Recorder, ends: Mapping[Symbol, View], ranks: Mapping[Symbol, int]) -> None:
    """Kernels that larger sizes will need are compiled now, so that a larger size compiles nothing."""
    for source in combining(ends, ranks):
        lowerer.offer(source)


__all__ = ["call_group", "lower_group"]
