"""Forward mode through a loop: tangents are carried along, no stacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle.control import rows
from treadle.control.call import zeros_like
from treadle.control.loop import Layout, joined_name, loop
from treadle.control.loop_gradient import changing_axis
from treadle.core.graph import Graph
from treadle.core.interpret import interpret
from treadle.core.op import Grad
from treadle.core.spec import Spec
from treadle.core.tensor import Tensor
from treadle.core.tracer import trace


def push_loop(
    inputs: tuple[Tensor, ...], attrs: dict[str, Any], tangents: Sequence[Grad]
) -> tuple[tuple[Tensor, ...], Sequence[Grad]]:
    """The loop with tangents of the carry carried along, those of consts and xs beside them."""
    from treadle.autodiff.forward import jvp_graph  # autodiff runs ops, and the loop is one

    layout: Layout = attrs["layout"]
    body: Graph = attrs["body"]
    test: Graph | None = attrs["test"]
    count, carry, consts, xs = layout.parts(inputs)
    given = list(tangents[int(layout.counted) :])
    active = [t is not None for t in given]
    while True:
        graph, made = jvp_graph(body, tuple(active))
        reached = [k for k in made if k < layout.carry and not active[k]]
        if not reached:
            break
        for k in reached:
            active[k] = True
    total, last = len(body.outputs), layout.carry + layout.consts
    carried = [k for k in range(layout.carry) if active[k]]
    fixed = [k for k in range(layout.carry, last) if active[k]]
    stepped = [k for k in range(last, last + layout.xs) if active[k]]
    ys = [k for k in made if k >= layout.carry]

    def parts(values: Sequence[Tensor]) -> tuple[list[Tensor], dict[int, Tensor]]:
        """The plain inputs of the body, and the tangents by input."""
        a = layout.carry
        b = a + len(carried)
        c = b + layout.consts
        d = c + len(fixed)
        e = d + layout.xs
        plain = [*values[:a], *values[b:c], *values[d:e]]
        found = dict(zip(carried, values[a:b], strict=True)) | dict(zip(fixed, values[c:d], strict=True))
        return plain, found | dict(zip(stepped, values[e:], strict=True))

    def step(*values: Tensor) -> list[Tensor]:
        plain, found = parts(values)
        outputs = interpret(graph, [*plain, *(found[k] for k in sorted(found))], {})
        pushed = dict(zip(made, outputs[total:], strict=True))
        pushed |= {k: rows.joined(pushed[k]) for k in ys if joined_name(body.outputs[k]) is not None}
        kept = [pushed[k] if k in pushed else zeros_like(outputs[k]) for k in carried]
        kept = [
            t if (axis := changing_axis(body, k)) is None else rows.opened(t, axis)
            for k, t in zip(carried, kept, strict=True)
        ]
        return [*outputs[: layout.carry], *kept, *outputs[layout.carry : total], *(pushed[k] for k in ys)]

    start = [t if (t := given[k]) is not None else zeros_like(carry[k]) for k in carried]
    held = [t for k in fixed if (t := given[k]) is not None]
    items = [t for k in stepped if (t := given[k]) is not None]
    states = [body.inputs[k] for k in (*range(layout.carry), *carried)]
    specs = [Spec(x.shape, x.dtype) for x in (*states, *consts, *held)]
    specs += [Spec(x.shape[1:], x.dtype) for x in (*xs, *items)]
    both = trace(step, specs, graph.name, closed=True).graph
    if test is not None:
        inner = test

        def check(*values: Tensor) -> list[Tensor]:
            first = layout.carry + len(carried)
            return interpret(inner, [*values[: layout.carry], *values[first : first + layout.consts]], {})

        test = trace(check, specs[: len(specs) - len(xs) - len(items)], inner.name, closed=True).graph
    outputs = loop(
        both,
        [*carry, *start],
        [*consts, *held],
        [*xs, *items],
        test=test,
        count=count,
        length=attrs["steps"] if test is None and count is None else None,
        reverse=attrs["reverse"],
    )
    a, b = layout.carry, layout.carry + len(carried)
    plain = (*outputs[:a], *outputs[b : b + total - a])
    found: list[Grad] = [None] * total
    for k, t in zip([*carried, *ys], [*outputs[a:b], *outputs[b + total - a :]], strict=True):
        found[k] = t
    return plain, found
