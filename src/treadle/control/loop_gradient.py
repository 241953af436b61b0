"""The gradient of a loop: run it with the residuals of each step stacked, then a loop in reverse over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle.control import rows
from treadle.control.call import zeros_like, zeros_like_spec
from treadle.control.loop import Layout, LoopOp, fill_op, joined_name, loop
from treadle.core.dim import Dim
from treadle.core.dtypes import int64, is_float
from treadle.core.graph import Graph
from treadle.core.interpret import interpret
from treadle.core.op import Grad, Pullback
from treadle.core.spec import Spec
from treadle.core.tensor import Tensor
from treadle.core.tracer import trace
from treadle.errors import GradientError
from treadle.records import dataclass


@dataclass(frozen=True, slots=True)
class _Plan:
    """The body split for the inputs that matter, and where each of its residuals comes from in the reverse loop.

    origins: per residual ("const", k), ("x", k), ("stack", k), ("next", k): the carry that the step leaves is what
             the next one finds, which has just been seen when steps are passed backwards; or ("open", k): a carry
             whose size changes, of which the steps' rows are joined.
    nexts:   for each carry of the last kind its number, and the stack of what steps find.
    """

    split: Any
    active: tuple[bool, ...]
    origins: tuple[tuple[str, int], ...]
    stacks: int
    nexts: tuple[tuple[int, int], ...]

    def opens(self, body: Graph) -> dict[int, int]:
        """The carries of which the steps' rows are joined, each with the axis along which its size changes."""
        found = {k: _open_axis(body.inputs[k]) for kind, k in self.origins if kind == "open"}
        return {k: axis for k, axis in found.items() if axis is not None}


def record_loop(
    op: LoopOp, inputs: tuple[Tensor, ...], attrs: dict[str, Any], needed: Sequence[bool]
) -> tuple[tuple[Tensor, ...], Pullback]:
    """Run the loop and give its pullback."""
    layout: Layout = attrs["layout"]
    body: Graph = attrs["body"]
    want = tuple(needed[int(layout.counted) :])
    plan = _plan(body, layout, want)
    if not plan.split.gradients and not any(plan.active[: layout.carry]):  # a loop of no steps hands its carry on
        return op.bind(inputs, attrs), lambda grads: [None] * len(inputs)
    for k in range(layout.carry):
        if plan.active[k] and _grows(body, k) and k not in plan.split.gradients:
            raise GradientError(
                "the gradient of a loop variable whose shape changes (set_shape_invariant) is not known where its new "
                "value does not depend on the one before; append the parts to a list, and td.stack or td.concat it"
            )
    count, carry, consts, xs = layout.parts(inputs)
    static = isinstance(attrs["steps"], int) or _is_length(attrs)
    outputs, stacks, numbers, steps = _forward(attrs, plan, count, carry, consts, xs, static)

    def pullback(grads: Sequence[Grad]) -> Sequence[Grad]:
        return _backward(attrs, plan, inputs, outputs, stacks, numbers, steps, grads, want)

    return outputs, pullback


def _is_length(attrs: dict[str, Any]) -> bool:
    """Whether the trip count is a symbolic size that the spec gave, not one found by running."""
    return attrs["test"] is None and not attrs["layout"].counted


def _plan(body: Graph, layout: Layout, want: tuple[bool, ...]) -> _Plan:
    from treadle.autodiff.split import split  # autodiff runs ops, and the loop is one

    active = [w and is_float(s.dtype) for w, s in zip(want, body.inputs, strict=True)]
    while True:  # a carried value matters as soon as one that matters reaches it
        parts = split(body, tuple(active), bounded=True, free=layout.carry)
        reached = [k for k in parts.cotangents if k < layout.carry and not active[k]]
        if not reached:
            break
        for k in reached:
            active[k] = True
    return _Plan(parts, tuple(active), *_origins(parts.forward, layout, len(body.outputs)))


def _open_axis(symbol: Any) -> int | None:
    """The axis along which a carried value changes its size; None where its shape stays."""
    found = [axis for axis, size in enumerate(symbol.shape) if isinstance(size, Dim) and size.open is not None]
    return found[0] if found else None


def _grows(body: Graph, k: int) -> bool:
    """Whether a carried value has another size after a step than before it."""
    return changing_axis(body, k) is not None


def changing_axis(body: Graph, k: int) -> int | None:
    """The axis along which a carried value has another size after a step than before it."""
    return None if body.inputs[k].shape == body.outputs[k].shape else _open_axis(body.inputs[k])


def _origins(
    forward: Graph, layout: Layout, count: int
) -> tuple[tuple[tuple[str, int], ...], int, tuple[tuple[int, int], ...]]:
    """Where each residual comes from, the number of stacks, and the carries that are passed backwards."""
    where = {symbol: k for k, symbol in enumerate(forward.inputs)}
    left = {symbol: k for k, symbol in enumerate(forward.outputs[: layout.carry])}
    residuals = forward.outputs[count:]
    kept = set(residuals)
    origins: list[tuple[str, int]] = []
    stack_of: dict[int, int] = {}
    nexts: list[int] = []
    stacks = 0
    for symbol in residuals:
        k = where.get(symbol, -1)
        out = left.get(symbol, -1)
        if layout.carry <= k < layout.carry + layout.consts:
            origins.append(("const", k - layout.carry))
        elif k >= layout.carry + layout.consts:
            origins.append(("x", k - layout.carry - layout.consts))
        elif k >= 0 and _grows(forward, k):
            origins.append(("open", k))
        elif k < 0 <= out and forward.inputs[out] in kept:
            origins.append(("next", out))
            nexts.append(out)
        else:
            stack_of[k] = stacks
            origins.append(("stack", stacks))
            stacks += 1
    return tuple(origins), stacks, tuple([(k, stack_of[k]) for k in nexts])


def _forward(
    attrs: dict[str, Any],
    plan: _Plan,
    count: Tensor | None,
    carry: list[Tensor],
    consts: list[Tensor],
    xs: list[Tensor],
    static: bool,
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], dict[int, Tensor], Tensor | None]:
    """The loop with residuals stacked and, where the trip count is unknown, counted.

    Gives outputs, stacks, how many rows each step made of what is joined (outputs, and residuals of carries whose size
    changes, by their numbers), and the number of steps.
    """
    from treadle.ops.convert import as_tensor
    from treadle.ops.shaping import moveaxis

    body: Graph = attrs["body"]
    test: Graph | None = attrs["test"]
    layout: Layout = attrs["layout"]
    forward: Graph = plan.split.forward
    extra = 0 if static else 1
    joins = [k for k in plan.split.cotangents if k >= layout.carry and joined_name(body.outputs[k]) is not None]
    opens = plan.opens(body)

    def step(*values: Tensor) -> list[Tensor]:
        made = interpret(forward, values[extra:], {})
        residuals = made[len(body.outputs) :]
        kept = [r for r, (kind, _) in zip(residuals, plan.origins, strict=True) if kind == "stack"]
        counted = [] if static else [values[0] + as_tensor(1, int64)]
        numbers = [rows.count_op.bind((made[k],), {})[0] for k in joins]
        flat = [moveaxis(values[extra + k], axis, 0) for k, axis in opens.items()]
        sizes = [rows.count_op.bind((x,), {})[0] for x in flat]
        return [*counted, *made[: len(body.outputs)], *kept, *map(rows.joined, flat), *numbers, *sizes]

    counter = [] if static else [Spec((), int64)]
    specs = [*counter, *(Spec(s.shape, s.dtype) for s in body.inputs)]
    graph = trace(step, specs, forward.name, closed=True).graph
    if test is not None and not static:
        inner = test

        def check(*values: Tensor) -> list[Tensor]:
            return interpret(inner, values[1:], {})

        test = trace(check, specs[: 1 + layout.carry + layout.consts], inner.name, closed=True).graph
    start = [] if static else [as_tensor(0, int64)]
    made = loop(
        graph,
        [*start, *carry],
        consts,
        xs,
        test=test,
        count=count,
        length=attrs["steps"] if static else None,
        reverse=attrs["reverse"],
    )
    total = extra + len(body.outputs)
    last = len(made) - len(joins) - len(opens)
    numbers = dict(zip([*joins, *opens], made[last:], strict=True))
    return made[extra:total], made[total:last], numbers, (None if static else made[0])


def _backward(
    attrs: dict[str, Any],
    plan: _Plan,
    inputs: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
    stacks: tuple[Tensor, ...],
    numbers: dict[int, Tensor],
    steps: Tensor | None,
    grads: Sequence[Grad],
    want: tuple[bool, ...],
) -> Sequence[Grad]:
    from treadle.ops.convert import as_tensor
    from treadle.ops.shaping import moveaxis

    layout: Layout = attrs["layout"]
    body: Graph = attrs["body"]
    parts = plan.split
    _, carry, consts, xs = layout.parts(inputs)
    last = layout.carry + layout.consts
    carried = [k for k in range(layout.carry) if plan.active[k]]
    opens, grown = plan.opens(body), {k: axis for k in carried if (axis := changing_axis(body, k)) is not None}
    stacks, flat = stacks[: plan.stacks], stacks[plan.stacks :]
    shared = [k for k in range(layout.carry, last) if k in parts.gradients]
    stepped = [k for k in range(last, last + layout.xs) if k in parts.gradients]
    stacked = (k for k in range(layout.carry, len(body.outputs)) if k in parts.cotangents and k not in numbers)
    ys = [k for k in stacked if grads[k] is not None]
    joins = list(numbers)  # the rows of one step are taken from where those of all are joined

    seen = [outputs[k] for k, _ in plan.nexts]
    start = [g if (g := grads[k]) is not None else zeros_like(outputs[k]) for k in carried]
    start = [rows.opened(g, grown[k]) if k in grown else g for k, g in zip(carried, start, strict=True)]
    sums = [zeros_like(consts[k - layout.carry]) for k in shared]
    used_consts = sorted({k for kind, k in plan.origins if kind == "const"})
    used_xs = sorted({k for kind, k in plan.origins if kind == "x"})
    items = [*stacks, *(xs[k] for k in used_xs), *(g for k in ys if (g := grads[k]) is not None)]
    items += [numbers[k] for k in joins]
    ends_of = {k: g if (g := grads[k]) is not None else zeros_like(outputs[k]) for k in joins if k not in opens}
    ends_of |= dict(zip(opens, flat, strict=True))
    whole = [ends_of[k] for k in joins]
    places = [as_tensor(0, int64) if attrs["reverse"] else rows.count_op.bind((g,), {})[0] for g in whole]
    fixed = [*(consts[k] for k in used_consts), *whole]

    def step(*values: Tensor) -> list[Tensor]:
        position = 0

        def take(number: int) -> list[Tensor]:
            nonlocal position
            position += number
            return list(values[position - number : position])

        cots, totals, after, ends = take(len(carried)), take(len(shared)), take(len(seen)), take(len(joins))
        held, all_rows = take(len(used_consts)), take(len(joins))
        kept, row_xs, row_ys, counts = take(len(stacks)), take(len(used_xs)), take(len(ys)), take(len(joins))
        seeds: dict[int, Tensor] = dict(zip(carried, cots, strict=True)) | dict(zip(ys, row_ys, strict=True))
        new_ends = [end + n if attrs["reverse"] else end - n for end, n in zip(ends, counts, strict=True)]
        firsts = ends if attrs["reverse"] else new_ends
        found_here: dict[int, Tensor] = {}
        for k, x, first, n in zip(joins, all_rows, firsts, counts, strict=True):
            size = Dim.fresh("rows") if k in opens else body.outputs[k].shape[0]
            (part,) = rows.some_op.bind((x, first, n), {"steps": size})
            if k in opens:
                found_here[k] = moveaxis(part, 0, opens[k])
            else:
                seeds[k] = part
        sources = {
            "const": dict(zip(used_consts, held, strict=True)),
            "x": dict(zip(used_xs, row_xs, strict=True)),
            "stack": dict(enumerate(kept)),
            "next": {k: x for (k, _), x in zip(plan.nexts, after, strict=True)},
            "open": found_here,
        }
        residuals = [sources[kind][k] for kind, k in plan.origins]
        given = [seeds[k] if k in seeds else zeros_like_spec(body.outputs[k].spec) for k in parts.cotangents]
        values = (*given, *residuals)
        sizes = _own_sizes(parts.backward, values) if grown else {}
        made = dict(zip(parts.gradients, interpret(parts.backward, values, sizes), strict=True))
        new_cots = [made[k] if k in made else zeros_like_spec(carry[k].spec) for k in carried]
        new_cots = [rows.opened(g, grown[k]) if k in grown else g for k, g in zip(carried, new_cots, strict=True)]
        new_totals = [t + made[k] for t, k in zip(totals, shared, strict=True)]
        handed = [kept[stack] for _, stack in plan.nexts]
        return [*new_cots, *new_totals, *handed, *new_ends, *(made[k] for k in stepped)]

    def row(x: Tensor) -> Spec:
        return Spec(x.shape[1:], x.dtype)

    def changing(k: int, x: Tensor) -> Spec:  # sizes of its own, as they are others in each step
        axis = grown.get(k, -1)
        return Spec(tuple([Dim.fresh("rows") if n == axis else size for n, size in enumerate(x.shape)]), x.dtype)

    specs = [changing(k, x) for k, x in zip(carried, start, strict=True)]
    specs += [Spec(x.shape, x.dtype) for x in (*sums, *seen, *places, *fixed)] + [row(x) for x in items]
    graph = trace(step, specs, parts.backward.name, closed=True).graph
    if steps is None and not items and isinstance(attrs["steps"], Dim) and attrs["steps"].open:
        steps = rows.count_op.bind((xs[0],), {})[0]  # nothing else that the loop is given tells how long it is
    made = loop(
        graph,
        [*start, *sums, *seen, *places],
        fixed,
        items,
        count=steps,
        length=attrs["steps"] if steps is None else None,
        reverse=not attrs["reverse"],
    )
    found: list[Grad] = [None] * len(inputs)
    first = int(layout.counted)
    sources = [*carried, *shared, *(-1 for _ in (*seen, *places)), *stepped]
    for k, g in zip(sources, made, strict=True):
        if k < 0 or not want[k]:
            continue
        if k >= last and isinstance(g.shape[0], Dim) and g.shape != inputs[first + k].shape:
            (g,) = fill_op.bind((g, inputs[first + k]), {})
        found[first + k] = g
    return found


def _own_sizes(graph: Graph, values: Sequence[Tensor]) -> dict[str, Any]:
    """Sizes that change from step to step, read off the values that have them."""
    found: dict[str, Any] = {}
    for symbol, value in zip(graph.inputs, values, strict=True):
        for size, got in zip(symbol.shape, value.shape, strict=True):
            if isinstance(size, Dim) and size.open is not None:
                found.setdefault(size.open, got)
    return found
