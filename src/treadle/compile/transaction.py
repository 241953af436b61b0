"""Running a graph together with the variables that it touches, as one transaction.

Variables are locked in one global order. Those that are only read give a snapshot and are let go at once; those that
are written stay locked until the call ends, are updated in place where the program may, and get their other new values
together when the call has succeeded: a call that fails changes nothing.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from treadle.compile.program import CommittedRun, Program, program_for
from treadle.core.dim import is_static
from treadle.core.graph import Graph, StateSlot
from treadle.core.variable import Variable
from treadle.errors import VariableCreation
from treadle.records import dataclass

Array = np.ndarray[Any, Any]
Run = Callable[[Sequence[Array]], list[Array]]
READ, REPLACED, OVERWRITTEN = range(3)  # what a program does with a variable


def runner(graph: Graph) -> Run:
    """A function that runs a graph on the arrays of its arguments and captures, and gives its results' arrays.

    Results are fresh arrays; variables that the graph writes are changed.
    """
    static = all(is_static(s.shape) for s in graph.inputs)
    if not graph.state:
        return _pure(graph) if static else lambda arrays: program_for(graph, [a.shape for a in arrays]).run(arrays)
    return _Transaction(graph, static).run


def _pure(graph: Graph) -> Run:
    program: list[Program] = []

    def run(arrays: Sequence[Array]) -> list[Array]:
        if not program:
            found = program_for(graph, [s.shape for s in graph.inputs])  # type: ignore[misc]
            if not found.final:
                return found.run(arrays)
            program.append(found)
        return program[0].run(arrays)

    return run


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """What a program does with variables, worked out once, in the order in which their locks are taken.

    slots:   variable, position among the inputs, and READ, REPLACED or OVERWRITTEN.
    readers: the numbers of those that are only read. writers: of the others, whose new values are `outputs`.
    """

    slots: tuple[tuple[weakref.ref[Variable], int, int], ...]
    readers: tuple[int, ...]
    writers: tuple[int, ...]
    outputs: tuple[int, ...]
    blanks: tuple[None, ...]


def _plan(slots: Sequence[StateSlot], program: Program) -> _Plan:
    ways = [
        READ if slot.output is None else OVERWRITTEN if slot.output in program.inplace else REPLACED for slot in slots
    ]
    return _Plan(
        slots=tuple((slot.variable, slot.input, way) for slot, way in zip(slots, ways, strict=True)),
        readers=tuple(k for k, way in enumerate(ways) if way == READ),
        writers=tuple(k for k, way in enumerate(ways) if way != READ),
        outputs=tuple(slot.output for slot in slots if slot.output is not None),
        blanks=(None,) * len(slots),
    )


class _Transaction:
    """One graph's way of taking and giving variables."""

    def __init__(self, graph: Graph, static: bool) -> None:
        self.graph = graph
        self.results = len(graph.outputs) - sum(slot.output is not None for slot in graph.state)
        self.static = static
        self.slots: tuple[StateSlot, ...] = ()  # in the order of locks
        self.planned: tuple[Program, _Plan] | None = None

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """The results; the variables that the graph writes have changed when they come."""
        program, plan = (self.static and self.planned) or self._prepared(arrays)
        inputs: list[Any] = [*arrays, *plan.blanks]
        held: list[Variable] = []
        reading: list[Variable] = []
        try:
            for ref, position, way in plan.slots:
                variable = ref()
                if variable is None:
                    self._complain()
                held.append(variable)  # before it is locked: an interrupt must not leave it so
                variable._lock.acquire()
                # Whoever writes several variables holds all their locks, so each can be read as soon as it is locked.
                memory = variable._memory
                if memory is None:
                    memory = _nothing_yet(variable, position, program)
                elif way == READ:
                    variable._readers += 1
                    reading.append(variable)
                elif way == OVERWRITTEN and (
                    variable._readers or ((lease := variable._lease) is not None and lease() is not None)
                ):
                    memory = variable._writable()
                inputs[position] = memory
            if plan.readers:
                for k in plan.readers:
                    held[k]._lock.release()
                held = [held[k] for k in plan.writers]
            outputs = self._outputs(program, inputs, held, plan)
        finally:
            _release(held)
            for variable in reading:
                with variable._lock:
                    variable._readers -= 1
        return outputs[: self.results]

    def _outputs(self, program: Program, inputs: list[Any], written: list[Variable], plan: _Plan) -> list[Array]:
        """Run the program, and make what it says the variables' values: all of them, or none."""
        late: BaseException | None = None
        try:
            outputs = program.run(inputs)
        except CommittedRun as run:
            outputs, late = run.outputs, run.error
        try:
            _adopt(written, plan.outputs, outputs)
        except BaseException:
            _adopt(written, plan.outputs, outputs)
            raise
        if late is not None:
            raise late
        return outputs

    def _prepared(self, arrays: Sequence[Array]) -> tuple[Program, _Plan]:
        """The program for these arguments and its plan."""
        variables = [v for slot in self.graph.state if (v := slot.variable()) is not None]
        if len(variables) < len(self.graph.state):
            self._complain()
        if not self.slots:
            pairs = sorted(zip(variables, self.graph.state, strict=True), key=lambda pair: pair[0].serial)
            self.slots = tuple(slot for _, slot in pairs)
        shapes = [*(a.shape for a in arrays), *(v.shape for v in variables)]
        program = program_for(self.graph, shapes, stateful=True)
        if not program.final:
            return program, _plan(self.slots, program)
        if self.planned is None or self.planned[0] is not program:
            self.planned = program, _plan(self.slots, program)
        return self.planned

    def _complain(self) -> NoReturn:
        gone = next((slot.name for slot in self.graph.state if slot.variable() is None), "")
        raise VariableCreation(f"the variable {gone!r} that {self.graph.name!r} was traced with no longer exists")


def _nothing_yet(variable: Variable, position: int, program: Program) -> Array:
    """The input of a variable without a value: an error, unless the program only writes it."""
    if program.reads(position):
        variable._export()  # raises the error that says so
    return np.zeros(program.graph.inputs[position].shape, variable.dtype)


def _adopt(variables: Sequence[Variable], outputs: Sequence[int], arrays: Sequence[Array]) -> None:
    """Give variables their new values; those that were overwritten have them. Doing it twice does no harm."""
    for variable, k in zip(variables, outputs, strict=True):
        if variable._memory is not arrays[k]:
            variable._adopt(arrays[k])


def _release(held: Sequence[Variable]) -> None:
    """Let go of variables; the last may not have been locked yet when an interrupt came."""
    for variable in held:
        try:  # noqa: SIM105 - a context manager would cost as much as all the rest
            variable._lock.release()
        except RuntimeError:
            pass
