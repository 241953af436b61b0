"""The compiler: a graph becomes fused kernels and a flat program that a native loop executes.

Importing it installs it as the runner of graphs; llvmlite is imported only when a kernel has to be compiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle.control.call import RUNNER


def _run(graph: Any, arrays: Sequence[Any]) -> Sequence[Any]:
    from treadle.compile.program import run_graph  # the compiler's parts are imported when first used

    return run_graph(graph, arrays)


def prepare(graph: Any) -> None:
    """Make a graph's program now, where its sizes are known, rather than at the first call."""
    from treadle.compile.program import prepare as make

    make(graph)


def kernels_of(graph: Any) -> tuple[Any, ...]:
    """The kernels of the programs that a graph has; made now where it has none and its sizes are known."""
    from treadle.compile.program import kernels_of as find

    return find(graph)


def memory_of(graph: Any) -> Any:
    """The memory of the program of a graph that ran last; made now if there is none. None where sizes are open."""
    from treadle.compile.memory import memory_of as measure
    from treadle.compile.program import prepare as make

    make(graph)
    programs = graph.derived.get("programs")
    return measure(next(reversed(programs.values()))) if programs else None


if not RUNNER:
    RUNNER.append(_run)


def runner(graph: Any) -> Any:
    """A function of argument arrays that runs a graph and its variables as one transaction; see `transaction`."""
    from treadle.compile.run.transaction import runner as make

    return make(graph)
