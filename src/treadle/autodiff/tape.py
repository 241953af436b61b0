"""The tape's mode: it records the ops that touch watched tensors, and runs their pullbacks backwards."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle.core.dtypes import is_float
from treadle.core.mode import Mode, activate
from treadle.core.op import Grad, Op, Pullback
from treadle.core.tensor import Symbol, Tensor
from treadle.core.tracer import active_tracer, identity_op
from treadle.core.variable import Variable, read_variable, write_variable
from treadle.errors import Location
from treadle.ops.arithmetic import add
from treadle.records import dataclass

# One recorded op: what went in, what came out, its attributes, which inputs want a gradient, and how cotangents go
# back; None stands for the op's own rule. A bare tuple, since eager code makes one an op.
Record = tuple[Op, tuple[Tensor, ...], tuple[Tensor, ...], dict[str, Any], Sequence[bool], Pullback | None]

# Ops of these families compute without looking at the mode that they run in.
_PURE = frozenset({"elementwise", "reduction", "view", "contraction", "indexing", "creation"})


def _location(outputs: Sequence[Tensor]) -> Location | None:
    """The user's line, where the op was traced."""
    first = outputs[0] if outputs else None
    return first.location if isinstance(first, Symbol) else None


@dataclass(slots=True)
class Trail:
    """What is left of a tape that has given its gradient: who led to whom, by id, for explanations. No tensor stays.

    steps:   per record its op, and the ids of inputs and outputs.
    watched: weak references by id, which tell whether a tensor is the one that had this id.
    blocked: so too, with the op that let no gradient through.
    reads:   the ids of what was read from each variable.
    """

    steps: list[tuple[Op, tuple[int, ...], tuple[int, ...]]]
    watched: dict[int, weakref.ref[Tensor]]
    blocked: dict[int, tuple[weakref.ref[Tensor], Op]]
    reads: dict[int, tuple[int, ...]]


class Tape(Mode):
    """Records ops with a watched input. Everything is run by the mode outside it."""

    def __init__(self, watch_variables: bool = True) -> None:
        self.watch_variables = watch_variables
        self.recording = True
        self.records: list[Record] = []
        # Tensors are known by identity; the dict keeps them alive, so that an id stays theirs.
        self.watched: dict[int, Tensor] = {}
        self.variables: dict[int, tuple[Variable, list[Tensor]]] = {}
        # What ops made that let no gradient through although an input was watched: only for explanations.
        self.blocked: dict[int, tuple[Tensor, Op]] = {}

    def process(self, op: Op, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> tuple[Tensor, ...]:
        watched = self.watched
        if self.plain and op.family in _PURE and type(op) is Op and not op.multiple:
            outputs = op.run(inputs, attrs)
            self.note(op, inputs, attrs, outputs[0])
            return outputs
        with activate(self.outer):
            if not self.recording:
                return op.bind(inputs, attrs)
            needed = [id(x) in watched for x in inputs]
            if not any(needed):
                return op.bind(inputs, attrs)
            if not op.differentiable:
                outputs = op.bind(inputs, attrs)
                self.blocked.update((id(y), (y, op)) for y in outputs)
                return outputs
            outputs, pullback = op.record(inputs, attrs, needed)
        for y in outputs:
            if is_float(y.dtype):
                watched[id(y)] = y
            else:
                self.blocked[id(y)] = (y, op)
        self.records.append((op, inputs, outputs, attrs, needed, pullback))
        return outputs

    def note(self, op: Op, inputs: tuple[Any, ...], attrs: dict[str, Any], output: Tensor) -> None:
        """Record an op that has computed at once, if an input is watched."""
        watched = self.watched
        for x in inputs:
            if id(x) in watched:
                break
        else:
            return
        if not self.recording:
            return
        if op.vjp is None or output.array.dtype.kind not in "fc":
            self.blocked[id(output)] = (output, op)
            if op.vjp is None:
                return
        else:
            watched[id(output)] = output
        if len(inputs) == 2:
            first, second = inputs
            needed: Sequence[bool] = (id(first) in watched, id(second) in watched)
            if type(second) is not Tensor:
                inputs = first, _number(second, first)
            elif type(first) is not Tensor:
                inputs = _number(first, second), second
        else:
            needed = [id(x) in watched for x in inputs]
        self.records.append((op, inputs, (output,), attrs, needed, None))

    def watch(self, x: Tensor) -> None:
        """Record what is done with this tensor from here on."""
        self.watched[id(x)] = x

    def watch_variable(self, variable: Variable) -> None:
        """Record reads of this variable, also of one that is not trainable."""
        self.variables.setdefault(id(variable), (variable, []))

    def trail(self) -> Trail:
        """The record as ids."""
        return Trail(
            [(r[0], tuple(map(id, r[1])), tuple(map(id, r[2]))) for r in self.records],
            dict(zip(self.watched, map(weakref.ref, self.watched.values()), strict=True)),
            {key: (weakref.ref(x), op) for key, (x, op) in self.blocked.items()},
            {key: tuple([id(x) for x in group]) for key, (_, group) in self.variables.items()},
        )

    def forget(self) -> None:
        """Let go of everything recorded and watched; the variables are still known."""
        self.recording = False
        self.records, self.watched, self.blocked = [], {}, {}
        self.variables = {key: (variable, []) for key, (variable, _) in self.variables.items()}

    def read(self, variable: Variable) -> Tensor:
        if self.plain:
            value = Tensor(variable._export())
        else:
            with activate(self.outer):
                value = read_variable(variable)
                if isinstance(value, Symbol):
                    # A name of its own, so that only what is read through this tape counts as the variable.
                    (value,) = identity_op.bind((value,), {})
        wanted = id(variable) in self.variables or (variable.trainable and self.watch_variables)
        if self.recording and wanted and is_float(value.dtype):
            self.watched[id(value)] = value
            self.variables.setdefault(id(variable), (variable, []))[1].append(value)
        return value

    def write(self, variable: Variable, value: Tensor) -> None:
        with activate(self.outer):
            write_variable(variable, value)

    def backward(
        self, targets: Sequence[Tensor], seeds: Sequence[Tensor], sources: Sequence[Sequence[Tensor]]
    ) -> list[Grad]:
        """The gradient of sum(target * seed) with respect to each source, a group of tensors whose gradients add up.

        None where no recorded path leads from a source to a target. Runs in the current mode.
        """
        records, reached = self._reached(sources)
        cotangents: dict[int, Tensor] = {}
        for target, seed in zip(targets, seeds, strict=True):
            _accumulate(cotangents, target, seed)
        tracer = active_tracer()
        kept = tracer.origin if tracer is not None else None
        try:
            for record in reversed(records):
                if tracer is not None:
                    tracer.origin = _location(record[2]) or kept
                _pull(record, cotangents, reached)
        finally:
            if tracer is not None:
                tracer.origin = kept
        return [_total([cotangents.get(id(x)) for x in group]) for group in sources]

    def _reached(self, sources: Sequence[Sequence[Tensor]]) -> tuple[list[Record], set[int]]:
        """The records that depend on a source, in order, and by their ids the tensors that do."""
        reached = {id(x) for group in sources for x in group}
        found = []
        for record in self.records:
            for x in record[1]:
                if id(x) in reached:
                    found.append(record)
                    reached.update(map(id, record[2]))
                    break
        return found, reached.intersection(self.watched)


def _pull(record: Record, cotangents: dict[int, Tensor], reached: set[int]) -> None:
    """Take the cotangents of what an op made to those of its inputs that lead to a source."""
    op, inputs, outputs, attrs, needed, pullback = record
    grads: Sequence[Grad] = [cotangents.get(id(y)) for y in outputs] if pullback else (cotangents.get(id(outputs[0])),)
    for g in grads:
        if g is not None:
            break
    else:
        return
    rules = op.vjp
    if pullback is None and type(rules) is tuple:  # one rule an input: only those that are asked for run
        for x, rule, want in zip(inputs, rules, needed, strict=True):
            if want and rule is not None and id(x) in reached:
                _accumulate(cotangents, x, rule(grads[0], outputs[0], *inputs, **attrs))
        return
    found = op.pull(grads, outputs, inputs, attrs, needed) if pullback is None else pullback(grads)
    for x, g in zip(inputs, found, strict=True):
        if g is not None and id(x) in reached:
            _accumulate(cotangents, x, g)


def _number(value: Any, beside: Tensor) -> Tensor:
    """A Python number as it takes part in an op with a tensor."""
    return Tensor(np.asarray(value, beside.array.dtype))


def _accumulate(cotangents: dict[int, Tensor], x: Tensor, g: Grad) -> None:
    if g is not None:
        before = cotangents.get(id(x))
        cotangents[id(x)] = g if before is None else add(before, g)


def _total(grads: Sequence[Grad]) -> Grad:
    total: Grad = None
    for g in grads:
        if g is not None:
            total = g if total is None else add(total, g)
    return total
