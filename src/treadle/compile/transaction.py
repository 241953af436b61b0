"""Running a graph together with the variables that it touches, as one transaction.

Variables are locked in one global order. Those that are only read give a snapshot and are let go at once; those that are
written stay locked until the call ends, are updated in place where the program may, and get their other new values
together when the call has succeeded: a call that fails changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from treadle.compile.program import Program, program_for
from treadle.core.graph import Graph
from treadle.core.dim import is_static
from treadle.core.variable import Variable
from treadle.errors import VariableCreation

Array = np.ndarray[Any, Any]
Run = Callable[[Sequence[Array]], list[Array]]


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
            program.append(program_for(graph, [s.shape for s in graph.inputs]))  # type: ignore[misc]
        return program[0].run(arrays)

    return run


class _Transaction:
    """One graph's way of taking and giving variables."""

    def __init__(self, graph: Graph, static: bool) -> None:
        self.graph = graph
        self.slots = graph.state
        self.results = len(graph.outputs) - sum(slot.output is not None for slot in graph.state)
        self.static = static
        self.program: Program | None = None

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        variables = [slot.variable() for slot in self.slots]
        if any(variable is None for variable in variables):
            gone = next(slot.name for slot in self.slots if slot.variable() is None)
            raise VariableCreation(f"the variable {gone!r} that {self.graph.name!r} was traced with no longer exists")
        return self._locked(arrays, variables)  # type: ignore[arg-type]

    def _program(self, arrays: Sequence[Array], variables: Sequence[Variable]) -> Program:
        if self.program is not None:
            return self.program
        shapes = [*(a.shape for a in arrays), *(v.shape for v in variables)]
        program = program_for(self.graph, shapes, stateful=True)  # type: ignore[arg-type]
        if self.static:
            self.program = program
        return program

    def _locked(self, arrays: Sequence[Array], variables: Sequence[Variable]) -> list[Array]:
        program = self._program(arrays, variables)
        order = sorted(zip(variables, self.slots, strict=True), key=_serial)
        held: dict[int, Variable] = {}
        inputs: list[Any] = [*arrays, *([None] * len(order))]
        taken: dict[int, Array] = {}
        overwritten = program.inplace
        try:
            for variable, _ in order:
                variable._lock.acquire()
                held[id(variable)] = variable
            for variable, slot in order:
                if slot.output is not None and slot.output in overwritten:
                    taken[slot.output] = inputs[slot.input] = variable._writable()
                else:
                    inputs[slot.input] = variable._export()
            for variable, slot in order:
                if slot.output is None:
                    held.pop(id(variable))._lock.release()
            outputs = program.run(inputs, taken)
            for variable, slot in order:
                if slot.output is not None and slot.output not in overwritten:
                    variable._adopt(outputs[slot.output])
        finally:
            for variable in held.values():
                variable._lock.release()
        return outputs[: self.results]


def _serial(pair: tuple[Variable, Any]) -> int:
    return pair[0].serial
