"""The tape's mode: it records the ops that touch watched tensors, and runs their pullbacks backwards.

Watched tensors are numbered in order; a record names its inputs and outputs by number, so that the way back is a walk
over lists.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import Any

from treadle.core.dtypes import is_float
from treadle.core.mode import Mode, activate
from treadle.core.op import Grad, Op, Pullback
from treadle.core.tensor import Symbol, Tensor
from treadle.core.tracer import Tracer, active_tracer, renamed
from treadle.core.variable import Variable, read_variable, write_variable
from treadle.errors import Location
from treadle.ops.arithmetic import add
from treadle.records import dataclass

# What led to what: the op, the number of each input (from 1; None where it is not watched), and the number of its
# output, or a tuple of those of its outputs.
Step = tuple[Op, tuple[int | None, ...], int | tuple[int | None, ...]]
# A recorded op, a bare tuple since eager code makes one an op: the step, then inputs, outputs (the output alone where
# the step has one number), attributes, and how cotangents go back (None: by the op's own rule).
Record = tuple[
    Op,
    tuple[int | None, ...],
    int | tuple[int | None, ...],
    tuple[Tensor, ...],
    Tensor | tuple[Tensor, ...],
    dict[str, Any],
    Pullback | None,
]

# Ops of these families compute without looking at the mode that they run in.
_PURE = frozenset({"elementwise", "reduction", "view", "contraction", "indexing", "creation"})


@dataclass(slots=True)
class Trail:
    """What is left of a tape that has given its gradient: who led to whom, by number, for explanations.

    numbers: of watched tensors, by id.
    tensors: weak references to them in order, which tell whether a tensor is the one that had this id.
    blocked: so too, by id, with the op that let no gradient through.
    reads:   the numbers of what was read from each variable, by its id.
    """

    steps: list[Step]
    numbers: dict[int, int]
    tensors: list[weakref.ref[Tensor]]
    blocked: dict[int, tuple[weakref.ref[Tensor], Op]]
    reads: dict[int, tuple[int, ...]]

    def number(self, x: Tensor) -> int | None:
        """The number of a tensor, if it was watched."""
        found = self.numbers.get(id(x))
        return found if found is not None and self.tensors[found - 1]() is x else None


class Tape(Mode):
    """Records ops with a watched input. Everything is run by the mode outside it."""

    def __init__(self, watch_variables: bool = True) -> None:
        self.watch_variables = watch_variables
        self.reset()

    def reset(self) -> None:
        """Forget everything, and record from here on."""
        self.recording = True
        self.records: list[Record] = []
        # Tensors are known by identity: their numbers by id, and the tensors themselves, so that an id stays theirs.
        self.watched: dict[int, int] = {}
        self.kept: list[Tensor] = []
        # The numbers of those that were watched or read, and not made by a recorded op.
        self.roots: set[int] = set()
        self.variables: dict[int, tuple[Variable, list[Tensor]]] = {}
        # What ops made that let no gradient through although an input was watched: only for explanations.
        self.blocked: dict[int, tuple[Tensor, Op]] = {}

    def process(self, op: Op, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> tuple[Tensor, ...]:
        if self.plain and op.family in _PURE and type(op) is Op and not op.multiple:
            outputs = op.run(inputs, attrs)
            self.note(op, inputs, attrs, outputs[0])
            return outputs
        outer = self.outer
        if outer.__class__ is Tracer and self.recording and type(op) is Op and op.family in _PURE and not op.multiple:
            traced = outer.process(op, inputs, attrs)  # which looks at no mode for such ops
            self.note(op, inputs, attrs, traced[0])
            return traced
        with activate(outer):
            if not self.recording:
                return op.bind(inputs, attrs)
            numbers = tuple(map(self.watched.get, map(id, inputs)))
            if not any(numbers):
                return op.bind(inputs, attrs)
            if not op.differentiable:
                outputs = op.bind(inputs, attrs)
                self.blocked.update((id(y), (y, op)) for y in outputs)
                return outputs
            own = type(op) is Op and not op.multiple  # its own rule is all there is to it
            outputs, pullback = (
                (op.bind(inputs, attrs), None) if own else op.record(inputs, attrs, list(map(bool, numbers)))
            )
        made: list[int | None] = []
        for y in outputs:
            if is_float(y.dtype):
                self.kept.append(y)
                made.append(len(self.kept))
                self.watched[id(y)] = len(self.kept)
            else:
                self.blocked[id(y)] = (y, op)
                made.append(None)
        if own and made[0]:
            self.records.append((op, numbers, made[0], inputs, outputs[0], attrs, None))
        else:
            self.records.append((op, numbers, tuple(made), inputs, outputs, attrs, pullback))
        return outputs

    def note(self, op: Op, inputs: tuple[Tensor, ...], attrs: dict[str, Any], output: Tensor) -> None:
        """Record an op of one output that has computed at once, or is traced, if an input is watched."""
        watched = self.watched
        numbers = tuple(map(watched.get, map(id, inputs)))
        if not any(numbers) or not self.recording:
            return
        dtype = output.array.dtype if type(output) is Tensor else output.dtype
        if op.vjp is None or dtype.kind not in "fc":
            self.blocked[id(output)] = (output, op)
            if op.vjp is not None:
                self.records.append((op, numbers, (), inputs, (output,), attrs, None))
            return
        kept = self.kept
        kept.append(output)
        watched[id(output)] = number = len(kept)
        self.records.append((op, numbers, number, inputs, output, attrs, None))

    def watch(self, x: Tensor) -> None:
        """Record what is done with this tensor from here on."""
        if id(x) not in self.watched:
            self.kept.append(x)
            number = self.watched[id(x)] = len(self.kept)
            self.roots.add(number)

    def watch_variable(self, variable: Variable) -> None:
        """Record reads of this variable, also of one that is not trainable."""
        self.variables.setdefault(id(variable), (variable, []))

    def trail(self) -> Trail:
        """The record without its tensors."""
        return Trail(
            [record[:3] for record in self.records],
            self.watched,
            list(map(weakref.ref, self.kept)),
            {key: (weakref.ref(x), op) for key, (x, op) in self.blocked.items()},
            {key: tuple([self.watched[id(x)] for x in group]) for key, (_, group) in self.variables.items()},
        )

    def forget(self) -> None:
        """Let go of everything recorded and watched; the variables are still known."""
        variables: dict[int, tuple[Variable, list[Tensor]]] = {
            key: (variable, []) for key, (variable, _) in self.variables.items()
        }
        self.reset()
        self.recording = False
        self.variables = variables

    def read(self, variable: Variable) -> Tensor:
        if self.plain:
            value = Tensor(variable._export())
        else:
            with activate(self.outer):
                value = read_variable(variable)
                if isinstance(value, Symbol):
                    # A name of its own, so that only what is read through this tape counts as the variable.
                    value = renamed(value)
        wanted = id(variable) in self.variables or (variable.trainable and self.watch_variables)
        if self.recording and wanted and is_float(value.dtype):
            self.watch(value)
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
        number = self.watched.get
        flat = [number(id(x), 0) for group in sources for x in group]
        ends = set(flat)
        cotangents: list[Grad] = [None] * (len(self.kept) + 1)
        # What a source that is not watched gets: the seeds of those targets that it is.
        apart: dict[int, Tensor] = {}
        for target, seed in zip(targets, seeds, strict=True):
            n = number(id(target))
            if n:
                cotangents[n] = _sum(cotangents[n], seed)
            else:
                apart[id(target)] = _sum(apart.get(id(target)), seed)
        _walk(self._reached(ends), cotangents, ends)
        found = [cotangents[n] for n in flat]
        if apart:
            beside = [apart.get(id(x)) for group in sources for x in group]
            found = [other if g is None else g for g, other in zip(found, beside, strict=True)]
        if [*map(len, sources)] == [1] * len(found):
            return found
        parts = iter(found)
        return [_total([next(parts) for _ in group]) for group in sources]

    def _reached(self, ends: set[int]) -> Iterable[Record]:
        """The records that depend on a source, the last first; inputs that do not have no number there."""
        if self.roots <= ends:
            return reversed(self.records)
        reached: set[int | None] = set(ends)
        found: list[Record] = []
        for op, inputs, made, *rest in self.records:
            if not reached.isdisjoint(inputs):
                reached.update((made,) if type(made) is int else filter(None, made))  # type: ignore[arg-type]
                wanted = tuple([n if n in reached else None for n in inputs])
                found.append((op, wanted, made, *rest))  # type: ignore[arg-type]
        return reversed(found)


def _walk(records: Iterable[Record], cotangents: list[Grad], ends: set[int]) -> None:
    """Take the cotangents of what each op made on to its inputs; those of `ends` stay."""
    tracer = active_tracer()
    kept = tracer.origin if tracer is not None else None
    try:
        for record in records:
            op, numbers, made, inputs, y, attrs, _ = record
            if tracer is not None:
                tracer.origin = _location(y) or kept
            rules = op.vjp
            if type(made) is not int or type(rules) is not tuple:
                _pull(record, cotangents, ends)
                continue
            g = cotangents[made]
            if g is None:
                continue
            if made not in ends:
                cotangents[made] = None  # nobody asks for it any more: its memory serves the next
            for n, rule in zip(numbers, rules, strict=True):  # only those that are asked for run
                if n and rule is not None:
                    share = rule(g, y, *inputs, **attrs) if attrs else rule(g, y, *inputs)
                    if share is not None:
                        before = cotangents[n]
                        cotangents[n] = share if before is None else add(before, share)
    finally:
        if tracer is not None:
            tracer.origin = kept


def _pull(record: Record, cotangents: list[Grad], ends: set[int]) -> None:
    """`_walk`'s work for an op with one rule for all inputs, or a pullback of its own, or several outputs."""
    op, numbers, made, inputs, outputs, attrs, pullback = record
    places: tuple[int | None, ...] = (made,) if isinstance(made, int) else made
    grads = [cotangents[n] if n else None for n in places]
    if grads.count(None) == len(grads):
        return
    for n in places:
        if n and n not in ends:
            cotangents[n] = None
    if pullback is None:
        y = outputs if isinstance(outputs, tuple) else (outputs,)
        found = op.pull(grads, y, inputs, attrs, list(map(bool, numbers)))
    else:
        found = pullback(grads)
    for n, g in zip(numbers, found, strict=True):
        if n and g is not None:
            cotangents[n] = _sum(cotangents[n], g)


def _location(made: Tensor | tuple[Tensor, ...]) -> Location | None:
    """The user's line, where the op was traced."""
    first = (made[0] if made else None) if isinstance(made, tuple) else made
    return first.location if isinstance(first, Symbol) else None


def _sum(before: Grad, g: Tensor) -> Tensor:
    return g if before is None else add(before, g)


def _total(grads: Sequence[Grad]) -> Grad:
    total: Grad = None
    for g in grads:
        if g is not None:
            total = _sum(total, g)
    return total
