"""From a group to the calls of its kernels: where its results go, partial results, scratch, and what adds them up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from treadle.compile.fuse import Group
from treadle.compile.kernels import GroupKernel
from treadle.compile.rows import RowKernel, partial_view
from treadle.compile.small_groups import combine_group, combining, name_of
from treadle.compile.views import View, contiguous_strides, view_of
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]


def lower_group(lowerer: Lowerer, group: Group, env: Env, targets: Env, wanted: set[Symbol]) -> list[Symbol]:
    """Lay out a group; the values that it leaves in memory."""
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
    call_group(lowerer, group, env, stores, ends)
    return [*stores, *ends]


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
    """The kernels of a group whose results have their places."""
    if 0 in group.shape:
        return
    if group.row_axes is not None:
        _call_rows(lowerer, group, env, stores, ends)
        return
    plan = GroupKernel(group, lambda s: lowerer.value(s, env), stores, ends)
    blocks = plan.blocks
    if plan.full:
        _spare(lowerer, ends, dict.fromkeys(ends, 1))
    if blocks == 1:
        lowerer.call(plan.write(), name_of(group))
        return
    partials = {s: lowerer.memory(Spec((blocks,), s.dtype)) for s in ends}
    flat = {s: View(p.buffer, s.shape, s.dtype, (0,) * len(s.shape)) for s, p in partials.items()}  # type: ignore[arg-type]
    again = GroupKernel(group, lambda s: lowerer.value(s, env), stores, flat)
    lowerer.call(again.write(), name_of(group))
    _combine(lowerer, partials, ends)


def _call_rows(
    lowerer: Lowerer, group: Group, env: Env, stores: Mapping[Symbol, View], ends: Mapping[Symbol, View]
) -> None:
    plan = RowKernel(group, lambda s: lowerer.value(s, env), stores, ends)
    if ends:
        _spare(lowerer, ends, {s: 1 + plan.is_column(s) for s in ends})
    scratch = [lowerer.memory(Spec((plan.shares * plan.row,), s.dtype)) for s in plan.scratch]
    for symbol, rows in zip(plan.scratch, scratch, strict=True):
        plan.use(symbol, rows)
    partials: Env = {}
    if plan.hi > 1:
        for symbol in ends:
            shape = (plan.hi, plan.row) if plan.is_column(symbol) else (plan.hi,)
            memory = lowerer.memory(Spec(shape, symbol.dtype))
            partials[symbol] = partial_view(plan, symbol, memory.buffer)
            plan.use(symbol, partials[symbol])
    lowerer.call(plan.write(), name_of(group))
    for rows in scratch:
        lowerer.free(rows.buffer)
    _combine(lowerer, partials, ends)


def _combine(lowerer: Lowerer, partials: Mapping[Symbol, View], ends: Mapping[Symbol, View]) -> None:
    """Add up the blocks' results."""
    for symbol, partial in partials.items():
        assert symbol.node is not None
        target = ends[symbol]
        shape = partial.shape[1:]
        end = View(target.buffer, shape, target.dtype, contiguous_strides(shape), target.offset)
        group, made = combine_group(symbol.node.definition, partial)
        call_group(lowerer, group, {group.nodes[0].inputs[0]: partial}, {}, {made: end})
        lowerer.free(partial.buffer)


def _spare(lowerer: Lowerer, ends: Mapping[Symbol, View], ranks: Mapping[Symbol, int]) -> None:
    """Kernels that larger sizes will need are compiled now, so that a larger size compiles nothing."""
    for source in combining(ends, ranks):
        lowerer.spare.setdefault(source.text, source)


__all__ = ["call_group", "lower_group"]
