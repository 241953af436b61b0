"""Running a trace: gather arguments, captures and variables, run the graph, commit what it wrote all at once."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from treadle.compile import runner
from treadle.control.call import call
from treadle.core.graph import Graph
from treadle.core.tensor import Tensor
from treadle.core.tracer import active_tracer
from treadle.core.variable import Variable, read_variable, write_variable
from treadle.errors import ShapeError, UndefinedVariable

Array = np.ndarray[Any, Any]


class Runnable(Protocol):
    """A graph with what must be fed besides arguments: captured tensors and variables. A `Trace` is one.

    live:   which captures show an outer NumPy array as it is at each call.
    writes: the variables whose new values are the graph's last outputs.
    """

    @property
    def name(self) -> str: ...
    @property
    def graph(self) -> Graph: ...
    @property
    def captures(self) -> tuple[Tensor, ...]: ...
    @property
    def live(self) -> tuple[bool, ...]: ...
    @property
    def capture_shapes(self) -> tuple[tuple[Any, ...], ...]: ...
    @property
    def reads(self) -> tuple[weakref.ref[Variable], ...]: ...
    @property
    def writes(self) -> tuple[weakref.ref[Variable], ...]: ...


def run_trace(trace: Runnable, arrays: Sequence[Array]) -> list[Array]:
    """The results of a trace's program for argument arrays, as one transaction: a call that fails changes nothing."""
    run = trace.graph.derived.get("run")
    if run is None:
        run = trace.graph.derived["run"] = runner(trace.graph)
    return run([*arrays, *captured_arrays(trace)] if trace.captures else arrays)  # type: ignore[no-any-return]


def captured_arrays(trace: Runnable) -> list[Array]:
    """The arrays of captured tensors; an outer NumPy array is read as it is now."""
    found: list[Array] = []
    for capture, live in zip(trace.captures, trace.live, strict=True):
        array = capture.array
        if live and array.shape != trace.capture_shapes[len(found)]:
            raise ShapeError(
                f"{trace.name}: an outer NumPy array that it reads was given the shape {array.shape} in place"
            )
        found.append(array)
    return found


def alive(ref: weakref.ref[Variable]) -> Variable:
    """The variable of a trace. Raises UndefinedVariable when it is gone."""
    variable = ref()
    if variable is None:
        raise UndefinedVariable(
            "a Variable that the trace uses no longer exists; keep it, or call the function instead"
        )
    return variable


def call_in_mode(trace: Runnable, tensors: Sequence[Tensor]) -> list[Tensor]:
    """The results of a trace as one `call` op of the current mode: a tape, an outer trace, forward mode."""
    tracer = active_tracer()
    captures = []
    for capture, live in zip(trace.captures, trace.live, strict=True):
        if live:
            capture = tracer.live(capture.array) if tracer is not None else Tensor(capture.array.copy())
        captures.append(capture)
    variables = [alive(ref) for ref in trace.reads]
    inputs = [*tensors, *captures, *(read_variable(v) for v in variables)]
    outputs = list(call(trace.graph, inputs, label=trace.name))
    count = len(outputs) - len(trace.writes)
    for ref, value in zip(trace.writes, outputs[count:], strict=True):
        write_variable(alive(ref), value)
    return outputs[:count]


def protect(results: list[Array], unsafe: Sequence[Array]) -> list[Array]:
    """Results with no memory in common with arrays that the caller may still write."""
    return [r.copy() if any(np.may_share_memory(r, u) for u in unsafe) else r for r in results]
