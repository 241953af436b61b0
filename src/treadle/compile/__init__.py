"""The compiler: a graph becomes fused kernels and a flat program that a native loop executes.

Importing it installs it as the runner of graphs; Numba is imported only when a kernel has to be compiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle.control.call import RUNNER


def _run(graph: Any, arrays: Sequence[Any]) -> Sequence[Any]:
    from treadle.compile.program import run_graph  # the compiler's parts are imported when first used

    return run_graph(graph, arrays)


def kernels_of(graph: Any) -> tuple[Any, ...]:
    """The kernels that a graph's programs have so far."""
    from treadle.compile.program import kernels_of as find

    return find(graph)


if not RUNNER:
    RUNNER.append(_run)


def runner(graph: Any) -> Any:
    """A function of argument arrays that runs a graph and its variables as one transaction; see `transaction`."""
    from treadle.compile.transaction import runner as make

    return make(graph)
