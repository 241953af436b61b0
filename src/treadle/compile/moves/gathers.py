"""Gathers and scatters as kernels: take, integer indexing, take_along_axis, `.at[...]`, and slices from run time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from treadle.compile import hosts
from treadle.compile.fusion.emit import broadcast_strides, code
from treadle.compile.fusion.reduce import update_line
from treadle.compile.moves.copies import copied, lay
from treadle.compile.moves.walks import Index, Walk
from treadle.compile.moves.zeros import all_zero
from treadle.compile.views import View
from treadle.core.graph import Node, apart
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]
INDEX_DTYPES = ("i4", "i8")


def _walkable(node: Node, indices: Sequence[Symbol]) -> bool:
    """Whether a node's values and indices can live in a kernel. Of empty values only the body checks the indices."""
    if any(0 in s.shape for s in (*node.inputs, *node.outputs)):
        return False
    return copied(node) and all(code(s.dtype) in INDEX_DTYPES for s in indices)


def _lay_out(lowerer: Lowerer, walk: Walk, sources: Sequence[View]) -> None:
    """Call a walk's kernel; where an index is bad the node's own body says which."""
    note = hosts.Fault(apart(walk.node), hosts.node_step(walk.node, list(sources), [], tuple(lowerer.loops)))
    lowerer.has_checks = True
    lowerer.call(walk.kernel(), walk.node.op, note)


def _spread(view: View, rank: int, position: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of an index over a result whose axes from `position` on are the indices' common ones."""
    common = broadcast_strides(view, shape[position : position + rank])
    return (0,) * position + common + (0,) * (len(shape) - position - rank)


def _rest(view: View, axes: Sequence[int], rank: int, position: int) -> tuple[int, ...]:
    """Strides of the indexed value over the result: 0 along the indices' axes."""
    rest = [stride for k, stride in enumerate(view.strides) if k not in axes]
    return (*rest[:position], *[0] * rank, *rest[position:])


def lower_gather(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """`x[indices]`: the result is walked in its own order."""
    picks = node.inputs[1:]
    axes, position = node.attrs["axes"], node.attrs["position"]
    if not _walkable(node, picks):
        return False
    sources = [lowerer.value(s, env) for s in node.inputs]
    source, *tables = sources
    target = env[node.outputs[0]] = lowerer.fresh(node.outputs[0], targets)
    rank = max(len(t.shape) for t in tables)
    indices = [
        Index(t, _spread(t, rank, position, target.shape), source.shape[k], 1, source.strides[k])
        for t, k in zip(tables, axes, strict=True)
    ]
    operands = [(target, target.strides), (source, _rest(source, axes, rank, position))]
    walk = Walk(node, target.shape, operands, indices, lambda q: f"{q[0]} = {q[1]}")
    _lay_out(lowerer, walk, sources)
    return True


def lower_take_along(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Each element of the result by an index of its own."""
    x, picks = node.inputs
    axis = node.attrs["axis"]
    if not _walkable(node, [picks]):
        return False
    source, table = lowerer.value(x, env), lowerer.value(picks, env)
    target = env[node.outputs[0]] = lowerer.fresh(node.outputs[0], targets)
    lines = tuple([0 if k == axis else stride for k, stride in enumerate(source.strides)])
    index = Index(table, table.strides, source.shape[axis], 1, source.strides[axis])
    walk = Walk(node, target.shape, [(target, target.strides), (source, lines)], [index], lambda q: f"{q[0]} = {q[1]}")
    _lay_out(lowerer, walk, [source, table])
    return True


def _order(shape: Sequence[Any], rank: int, position: int) -> list[int]:
    """The axes of the updates with the indices' ones first, so that updates to one place come in NumPy's order."""
    first = list(range(position, position + rank))
    return first + [k for k in range(len(shape)) if k not in first]


def lower_scatter(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """The old value, then the updates one after another; those of one index go over its row at once."""
    x, _, *picks = node.inputs
    axes, position = node.attrs["axes"], node.attrs["position"]
    if not _walkable(node, picks):
        return False
    update, *tables = [lowerer.value(s, env) for s in node.inputs[1:]]
    target = env[node.outputs[0]] = lowerer.fresh(node.outputs[0], targets)
    sources = [target if all_zero(x) else lowerer.value(x, env), update, *tables]
    lay(lowerer, x, target, env)
    rank = max(len(t.shape) for t in tables)
    order = _order(update.shape, rank, position)

    def ordered(values: tuple[int, ...]) -> tuple[int, ...]:
        return tuple([values[k] for k in order])

    indices = [
        Index(t, ordered(_spread(t, rank, position, update.shape)), target.shape[k], 0, target.strides[k])
        for t, k in zip(tables, axes, strict=True)
    ]
    operands = [(target, ordered(_rest(target, axes, rank, position))), (update, ordered(update.strides))]
    line = update_line(node.attrs["mode"], code(update.dtype))
    _lay_out(lowerer, Walk(node, ordered(update.shape), operands, indices, line, in_turn=True), sources)
    return True


def lower_add_along(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Zeros, with each element added at an index of its own: the gradient of take_along_axis."""
    g, picks = node.inputs
    axis = node.attrs["axis"]
    if not _walkable(node, [picks]):
        return False
    update, table = lowerer.value(g, env), lowerer.value(picks, env)
    target = env[node.outputs[0]] = lowerer.fresh(node.outputs[0], targets)
    lowerer.asm.fill(target.ref, 0, target.nbytes)
    lines = tuple([0 if k == axis else stride for k, stride in enumerate(target.strides)])
    index = Index(table, table.strides, target.shape[axis], 0, target.strides[axis])
    line = update_line("add", code(update.dtype))
    walk = Walk(node, update.shape, [(target, lines), (update, update.strides)], [index], line, in_turn=True)
    _lay_out(lowerer, walk, [update, table])
    return True


def _starts(view: View, shape: tuple[int, ...], sizes: Sequence[int], moved: View, moves: int) -> list[Index]:
    """An index for each axis that the block does not fill; they are read above the loops."""
    found = []
    for k, (whole, size) in enumerate(zip(moved.shape, sizes, strict=True)):
        place = View(view.buffer, shape, view.dtype, (0,) * len(shape), view.offset + k * view.strides[0])
        found.append(Index(place, place.strides, whole - size + 1, moves, moved.strides[k], wraps=False))
    return found


def lower_dynamic_slice(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """A block of the operand from starts that are read while running."""
    x, starts = node.inputs
    if not _walkable(node, [starts]):
        return False
    source, table = lowerer.value(x, env), lowerer.value(starts, env)
    target = env[node.outputs[0]] = lowerer.fresh(node.outputs[0], targets)
    shape = target.shape
    indices = _starts(table, shape, shape, source, 1)
    walk = Walk(
        node, shape, [(target, target.strides), (source, source.strides)], indices, lambda q: f"{q[0]} = {q[1]}"
    )
    _lay_out(lowerer, walk, [source, table])
    return True


def lower_dynamic_update(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """The old value, then the block over it."""
    x, _, starts = node.inputs
    if not _walkable(node, [starts]):
        return False
    update, table = [lowerer.value(s, env) for s in node.inputs[1:]]
    target = env[node.outputs[0]] = lowerer.fresh(node.outputs[0], targets)
    sources = [target if all_zero(x) else lowerer.value(x, env), update, table]
    lay(lowerer, x, target, env)
    indices = _starts(table, update.shape, update.shape, target, 0)
    operands = [(target, target.strides), (update, update.strides)]
    _lay_out(lowerer, Walk(node, update.shape, operands, indices, lambda q: f"{q[0]} = {q[1]}"), sources)
    return True


def lower_fold(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Windows added up where they came from: each place in a window in turn, all windows of it at once."""
    if not _walkable(node, []):
        return False
    view = lowerer.value(node.inputs[0], env)
    target = env[node.outputs[0]] = lowerer.fresh(node.outputs[0], targets)
    lowerer.asm.fill(target.ref, 0, target.nbytes)
    rank = len(node.attrs["sizes"])
    # The axes of the windows are: image, windows, places in a window, channel; the walk takes the places first.
    order = [0, *range(1 + rank, 1 + 2 * rank), *range(1, 1 + rank), 1 + 2 * rank]
    places = [s * d for s, d in zip(target.strides[1:-1], node.attrs["dilations"], strict=True)]
    windows = [s * d for s, d in zip(target.strides[1:-1], node.attrs["strides"], strict=True)]
    operands = [
        (target, (target.strides[0], *places, *windows, target.strides[-1])),
        (view, tuple([view.strides[k] for k in order])),
    ]
    shape = tuple([view.shape[k] for k in order])
    walk = Walk(node, shape, operands, [], update_line("add", code(view.dtype)), in_turn=shape[0] == 1)
    lowerer.call(walk.kernel(), node.op)
    return True
