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
from treadle.compile.run.gate import Touched
from treadle.compile.run.gate_layout import Way
from treadle.core.dim import is_static
from treadle.core.graph import Graph, StateSlot
from treadle.core.variable import Variable, _reading
from treadle.errors import VariableCreation
from treadle.records import dataclass

Array = np.ndarray[Any, Any]
Run = Callable[[Sequence[Array]], list[Array]]
READ, REPLACED, OVERWRITTEN = Way.READ, Way.REPLACED, Way.OVERWRITTEN


def runner(graph: Graph) -> Run:
    """A function that runs a graph on the arrays of its arguments and captures, and gives its results' arrays.

    Results are fresh arrays; variables that the graph writes are changed.
    """
    static = all(is_static(s.shape) for s in graph.inputs)
    if not graph.state:
        return _pure(graph) if static else lambda arrays: program_for(graph, [a.shape for a in arrays]).run(arrays)
    return _Transaction(graph, static).run


def _pure(graph: Graph) -> Run:
    straight: list[Run] = []

    def run(arrays: Sequence[Array]) -> list[Array]:
        if straight:
            return straight[0](arrays)
        found = program_for(graph, [s.shape for s in graph.inputs])  # type: ignore[misc]
        if found.final:
            straight.append(found.run)
            graph.derived["run"] = straight[0]  # whoever asks from here on calls it without this frame
        return found.run(arrays)

    return run


@dataclass(frozen=True, slots=True, eq=False)
class _Only:
    """A variable that is all a program touches, and the output that is its new value."""

    variable: weakref.ref[Variable]
    output: int


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """What a program does with variables, worked out once, in the order in which their locks are taken.

    slots:    variable, what takes its lock, position among the inputs, READ, REPLACED or OVERWRITTEN, and the output
              that is the new value.
    releases: what lets go of the locks; `early` of those that are only read, `late` of the others.
    reads:    the serials of variables that are only read.
    only:     the variable, where there is but one, the last input, and it gets a new value.
    """

    slots: tuple[tuple[weakref.ref[Variable], Callable[[], object], int, int, int | None], ...]
    releases: tuple[Callable[[], object], ...]
    early: tuple[Callable[[], object], ...]
    late: tuple[Callable[[], object], ...]
    reads: frozenset[int]
    blanks: tuple[None, ...]
    only: _Only | None


def _plan(slots: Sequence[StateSlot], variables: Sequence[Variable], program: Program) -> _Plan:
    ways = [
        READ if slot.output is None else OVERWRITTEN if slot.output in program.inplace else REPLACED for slot in slots
    ]
    locks = [variable._lock for variable in variables]
    only = None
    if (
        program.final
        and ways == [REPLACED]
        and slots[0].input == program.code.layout.inputs - 1
        and not program.inplace
    ):
        only = _Only(slots[0].variable, slots[0].output)  # type: ignore[arg-type]
    return _Plan(
        slots=tuple(
            (slot.variable, lock.acquire, slot.input, way, slot.output)
            for slot, lock, way in zip(slots, locks, ways, strict=True)
        ),
        releases=tuple(lock.release for lock in locks),
        early=tuple(lock.release for lock, way in zip(locks, ways, strict=True) if way == READ),
        late=tuple(lock.release for lock, way in zip(locks, ways, strict=True) if way != READ),
        reads=frozenset(v.serial for v, way in zip(variables, ways, strict=True) if way == READ),
        blanks=(None,) * len(slots),
        only=only,
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
        if plan.only is not None:
            return self._replace(program, plan.only, arrays)
        inputs: list[Any] = [*arrays, *plan.blanks]
        replaced: list[tuple[Variable, int | None]] = []
        reader = object()
        readers = 0
        taken = 0
        held = plan.releases
        try:
            if plan.reads:
                readers = 1
                _reading[reader] = plan.reads
            for ref, acquire, position, way, output in plan.slots:
                variable = ref()
                if variable is None:
                    self._complain()
                taken += 1  # before it is locked: an interrupt must not leave it so
                acquire()
                # Whoever writes several variables holds all their locks, so each can be read as soon as it is locked.
                memory = variable._memory
                if memory is None:
                    memory = _nothing_yet(variable, position, program)
                    if way == OVERWRITTEN:
                        replaced.append((variable, output))
                elif way == OVERWRITTEN and (variable._lease is not None or len(_reading) > readers):
                    memory = variable._writable()
                if way == REPLACED:
                    replaced.append((variable, output))
                inputs[position] = memory
            if readers:
                for release in plan.early:
                    release()
                held, taken = plan.late, len(plan.late)
            outputs = self._outputs(program, inputs, replaced)
        finally:
            _release(held if taken == len(held) else held[:taken])
            if readers:
                _reading.pop(reader, None)
        return outputs[: self.results]

    def _replace(self, program: Program, only: _Only, arrays: Sequence[Array]) -> list[Array]:
        """The same where one variable is all, and gets a new value: a draw of random numbers."""
        variable = only.variable()
        if variable is None:
            self._complain()
        with variable._lock:
            memory = variable._memory
            if memory is None:
                memory = _nothing_yet(variable, len(arrays), program)
            outputs = program.run([*arrays, memory])
            try:
                variable._adopt(outputs[only.output])
            except BaseException:
                variable._adopt(outputs[only.output])
                raise
        return outputs[: self.results]

    def _outputs(
        self, program: Program, inputs: list[Any], replaced: Sequence[tuple[Variable, int | None]]
    ) -> list[Array]:
        """Run the program, and make what it says the variables' values: all of them, or none."""
        late: BaseException | None = None
        try:
            outputs = program.run(inputs)
        except CommittedRun as run:
            outputs, late = run.outputs, run.error
        try:
            _adopt(replaced, outputs)
        except BaseException:
            _adopt(replaced, outputs)
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
        if program.final and self.planned is not None and self.planned[0] is program:
            return self.planned
        planned = program, _plan(self.slots, sorted(variables, key=lambda v: v.serial), program)
        if program.final:
            self.planned = planned
        return planned

    def _complain(self) -> NoReturn:
        gone = next((slot.name for slot in self.graph.state if slot.variable() is None), "")
        raise VariableCreation(f"the variable {gone!r} that {self.graph.name!r} was traced with no longer exists")


def program_and_variables(graph: Graph, arrays: Sequence[Array]) -> tuple[Program, list[Touched]]:
    """The program that runs a graph on these arrays of arguments and captures, and what it does with variables."""
    if not graph.state:
        return program_for(graph, [a.shape for a in arrays]), []
    transaction = getattr(graph.derived.get("run"), "__self__", None)
    if not isinstance(transaction, _Transaction):
        transaction = _Transaction(graph, all(is_static(s.shape) for s in graph.inputs))
    program, plan = transaction._prepared(arrays)
    touched = []
    for ref, _, position, way, output in plan.slots:
        variable = ref()
        if variable is None:
            transaction._complain()
        touched.append(Touched(ref, variable._lock, way, position, output))
    return program, touched


def _nothing_yet(variable: Variable, position: int, program: Program) -> Array:
    """The input of a variable without a value: an error, unless the program only writes it."""
    if program.reads(position):
        variable._export()  # raises the error that says so
    return np.zeros(program.graph.inputs[position].shape, variable.dtype)


def _adopt(variables: Sequence[tuple[Variable, int | None]], arrays: Sequence[Array]) -> None:
    """Give variables their new values, those of these outputs. Doing it twice does no harm."""
    for variable, k in variables:
        if k is not None and variable._memory is not arrays[k]:
            variable._adopt(arrays[k])


def _release(releases: Sequence[Callable[[], object]]) -> None:
    """Let go of variables; the last may not have been locked yet when an interrupt came, and some may be let go of."""
    for release in releases:
        try:  # noqa: SIM105 - a context manager would cost as much as all the rest
            release()
        except RuntimeError:
            pass
