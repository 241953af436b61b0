"""What tracing costs: converting per 100 source lines; tracing with rewriting, and lowering, per node.

`python benchmarks/tracing.py` prints milliseconds and microseconds (the best of several rounds, in processor time, so
that other work on the machine counts little). Kernels are compiled before the first round, and by no later one.
"""

from __future__ import annotations

import inspect
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import treadle as td
from treadle.autograph import converter
from treadle.compile.program import Program
from treadle.core.graph import Graph
from treadle.optimize.pipeline import optimize

ROUNDS = 5
_CORPUS = Path(__file__).parents[1] / "tests" / "control_flow"


def functions() -> list[types.FunctionType]:
    """The functions with control flow that are converted."""
    sys.path.insert(0, str(_CORPUS))
    import corpus_algorithms
    import corpus_exits
    import corpus_loops
    import corpus_statements

    modules = (corpus_algorithms, corpus_exits, corpus_loops, corpus_statements)
    return [
        f
        for module in modules
        for f in vars(module).values()
        if isinstance(f, types.FunctionType) and f.__module__ == module.__name__
    ]


def best(run: Callable[[], Any]) -> float:
    """Seconds of processor time of the quickest round."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def converting() -> tuple[float, int]:
    """Milliseconds per 100 source lines, and how many lines there were."""
    found = functions()
    lines = sum(len(inspect.getsource(f).splitlines()) for f in found)

    def run() -> None:
        converter._done.clear()
        for f in found:
            converter.conversion(f.__code__)

    return best(run) * 1e5 / lines, lines


def network(x: Any, weights: list[Any]) -> Any:
    """Layers of a product, a bias and a nonlinearity."""
    for w, b in weights:
        x = td.tanh(x @ w + b)
    return td.sum(x * x)


def chain(x: Any) -> Any:
    """Elementwise work in one staged loop with a branch, and outside of it."""
    for i in td.range(10):
        if x[0] > 3:
            x = x * 0.5
        else:
            x = x + td.sin(x) * 0.25 + i
    for k in range(40):
        x = td.tanh(x * 0.5 + k) - td.exp(-x * x) / 2
    return td.sum(x)


def slope(x: Any, weights: list[Any]) -> Any:
    """The gradient of the network with respect to its weights."""
    with td.GradientTape() as tape:
        tape.watch(weights)
        y = network(x, weights)
    return tape.gradient(y, weights)


def tracing(function: Callable[..., Any], *args: Any) -> tuple[float, float, int]:
    """Microseconds per node of tracing and rewriting, and of lowering; how many nodes the trace has at first."""

    def traced() -> Graph:
        graph = td.function(function).trace(*args).graph
        optimize(graph)
        return graph

    graph = traced()
    Program(graph)
    nodes = sum(1 for _ in graph.walk())
    return best(traced) * 1e6 / nodes, best(lambda: Program(graph)) * 1e6 / nodes, nodes


def main() -> None:
    """Print the table."""
    rate, lines = converting()
    print(f"converting {lines} lines: {rate:.1f} ms per 100 lines (target 50)")
    weights = [(td.asarray(np.eye(4, dtype=np.float32)), td.zeros((4,))) for _ in range(40)]
    x = td.ones((4,))
    for name, function, args in (
        ("network of 40 layers", network, (x, weights)),
        ("its gradient", slope, (x, weights)),
        ("chain", chain, (x,)),
    ):
        rate, lowering, nodes = tracing(function, *args)
        print(f"{name}, {nodes} nodes: tracing and rewriting {rate:.1f} us a node (target 40), lowering {lowering:.1f}")


if __name__ == "__main__":
    main()
