"""`cond`: one of two graphs runs, as a bool tensor decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle.control.call import run_graph, zeros_like, zeros_like_spec
from treadle.core.graph import Graph
from treadle.core.interpret import interpret
from treadle.core.op import Attrs, Grad, Op, Pullback, register
from treadle.core.spec import Spec
from treadle.core.tensor import Tensor
from treadle.core.tracer import trace


def _body(pred: np.ndarray[Any, Any], *operands: np.ndarray[Any, Any], true: Graph, false: Graph) -> Any:
    return run_graph(true if pred else false, operands)


def _infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    return tuple(Spec(s.shape, s.dtype, s.spec.weak) for s in attrs["true"].outputs)


class CondOp(Op):
    """pred, operands -> outputs of attrs["true"] or attrs["false"]; both graphs take all operands."""

    __slots__ = ()

    @property
    def differentiable(self) -> bool:
        return True

    def record(
        self, inputs: tuple[Tensor, ...], attrs: dict[str, Any], needed: Sequence[bool]
    ) -> tuple[tuple[Tensor, ...], Pullback]:
        from treadle.autodiff.split import split  # autodiff runs ops, and this op, so it is imported late

        graphs = (attrs["true"], attrs["false"])
        parts = [split(graph, tuple(needed[1:]), bounded=True) for graph in graphs]
        gradients = sorted({k for part in parts for k in part.gradients})
        if not gradients:
            return self.bind(inputs, attrs), lambda grads: [None] * len(inputs)
        count = len(graphs[0].outputs)
        origins = [_origins(part.forward, count) for part in parts]
        residuals = [
            [s.spec for s, k in zip(part.forward.outputs[count:], origin, strict=True) if k is None]
            for part, origin in zip(parts, origins, strict=True)
        ]
        slots, places = _share(residuals)
        operand_specs = [x.spec for x in inputs[1:]]
        held = sorted({k for origin in origins for k in origin if k is not None})

        def forward(position: int) -> Graph:
            def run(*operands: Tensor) -> list[Tensor]:
                made = interpret(parts[position].forward, operands, {})
                own = [y for y, k in zip(made[count:], origins[position], strict=True) if k is None]
                kept = dict(zip(places[position], own, strict=True))
                padded = [kept[k] if k in kept else zeros_like_spec(spec) for k, spec in enumerate(slots)]
                return [*made[:count], *padded]

            return trace(run, operand_specs, parts[position].forward.name, closed=True).graph

        cotangents = sorted({k for part in parts for k in part.cotangents})
        outputs_spec = [graphs[0].outputs[k].spec for k in cotangents]

        def backward(position: int) -> Graph:
            part = parts[position]

            def run(*values: Tensor) -> list[Tensor]:
                seeds = dict(zip(cotangents, values, strict=False))
                stored = values[len(cotangents) : len(cotangents) + len(slots)]
                given = dict(zip(held, values[len(cotangents) + len(slots) :], strict=True))
                own = iter(places[position])
                kept = [given[k] if k is not None else stored[next(own)] for k in origins[position]]
                made = interpret(part.backward, [*(seeds[k] for k in part.cotangents), *kept], {})
                found = dict(zip(part.gradients, made, strict=True))
                return [found[k] if k in found else zeros_like_spec(operand_specs[k]) for k in gradients]

            specs = [*outputs_spec, *slots, *(operand_specs[k] for k in held)]
            return trace(run, specs, part.backward.name, closed=True).graph

        made = self.bind(inputs, {"true": forward(0), "false": forward(1)})
        outputs, stored = made[:count], made[count:]

        def pullback(grads: Sequence[Grad]) -> Sequence[Grad]:
            seeds = [g if (g := grads[k]) is not None else zeros_like(outputs[k]) for k in cotangents]
            operands = (inputs[0], *seeds, *stored, *(inputs[k + 1] for k in held))
            back = self.bind(operands, {"true": backward(0), "false": backward(1)})
            found: list[Grad] = [None] * len(inputs)
            for k, g in zip(gradients, back, strict=True):
                found[k + 1] = g
            return found

        return outputs, pullback

    def push(
        self, inputs: tuple[Tensor, ...], attrs: dict[str, Any], tangents: Sequence[Grad]
    ) -> tuple[tuple[Tensor, ...], Sequence[Grad]]:
        """Forward mode: each branch gives its outputs and their tangents."""
        from treadle.autodiff.forward import jvp_graph

        graphs = (attrs["true"], attrs["false"])
        mask = tuple(t is not None for t in tangents[1:])
        parts = [jvp_graph(graph, mask) for graph in graphs]
        count = len(graphs[0].outputs)
        active = sorted({k for _, found in parts for k in found})
        given = [t for t in tangents[1:] if t is not None]
        specs = [x.spec for x in inputs[1:]] + [t.spec for t in given]

        def branch(position: int) -> Graph:
            graph, own = parts[position]

            def run(*values: Tensor) -> list[Tensor]:
                made = interpret(graph, values, {})
                found = dict(zip(own, made[count:], strict=True))
                filled = [found[k] if k in found else zeros_like_spec(made[k].spec) for k in active]
                return [*made[:count], *filled]

            return trace(run, specs, graph.name, closed=True).graph

        made = self.bind((*inputs, *given), {"true": branch(0), "false": branch(1)})
        tangent: list[Grad] = [None] * count
        for k, t in zip(active, made[count:], strict=True):
            tangent[k] = t
        return made[:count], tangent


def _origins(forward: Graph, count: int) -> list[int | None]:
    """For each residual of a branch: the operand that it is, or None where the branch makes it."""
    where = {symbol: k for k, symbol in enumerate(forward.inputs)}
    return [where.get(symbol) for symbol in forward.outputs[count:]]


def _share(residuals: Sequence[Sequence[Spec]]) -> tuple[list[Spec], list[list[int]]]:
    """Slots that both branches' residuals fit into, and the slot of each residual."""
    slots: list[Spec] = []
    places: list[list[int]] = []
    for specs in residuals:
        free = list(range(len(slots)))
        places.append([])
        for spec in specs:
            slot = next((k for k in free if (slots[k].shape, slots[k].dtype) == (spec.shape, spec.dtype)), None)
            if slot is None:
                slot = len(slots)
                slots.append(Spec(spec.shape, spec.dtype))
            else:
                free.remove(slot)
            places[-1].append(slot)
    return slots, places


cond_op = register(CondOp("cond", _body, _infer, family="graph", multiple=True))
