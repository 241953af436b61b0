"""What the tests of the optimiser share: ops by short names, tracing, running, comparing bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

import treadle.ops.methods
import treadle.ops.numpy_protocol  # noqa: F401  both install what tensors can do
from treadle.autodiff import functional as derivatives
from treadle.control import custom, functional, staging
from treadle.control.call import interpret_arrays
from treadle.core.dtypes import bool_, float32, float64, int64
from treadle.core.graph import Graph
from treadle.core.spec import Spec
from treadle.core.tracer import trace
from treadle.ops import creation, effects, elementwise, linalg, reductions, shaping

Array = np.ndarray[Any, Any]

_MODULES = (creation, effects, elementwise, linalg, reductions, shaping, functional, derivatives)
td = SimpleNamespace(**{name: f for m in _MODULES for name, f in vars(m).items() if callable(f)})
td.range, td.staged_for, td.custom_gradient = staging.Range, staging.staged_for, custom.custom_gradient


def graph_of(f: Callable[..., Any], *specs: Spec, name: str = "program") -> Graph:
    """The graph of a function that gives a list of tensors."""
    return trace(f, specs, name).graph


def run(graph: Graph, inputs: Sequence[Array]) -> list[Array]:
    """The interpreter's outputs."""
    with np.errstate(all="ignore"):
        return interpret_arrays(graph, inputs)


def assert_same(graph: Graph, other: Graph, inputs: Sequence[Array], tolerance: float = 0.0) -> None:
    """Both graphs give the same bits (NaN's sign and payload excepted), or floats within a relative tolerance."""
    for a, b in zip(run(graph, inputs), run(other, inputs), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        if a.dtype.kind in "fc" and tolerance:
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
            continue
        np.testing.assert_array_equal(a, b)
        if a.dtype.kind == "f":
            known = ~np.isnan(a)
            np.testing.assert_array_equal(np.signbit(a[known]), np.signbit(b[known]))


def ops(graph: Graph) -> list[str]:
    """The ops of a graph, inner graphs included, in order."""
    return [node.op for node in graph.walk()]


F0, F1, F2 = Spec((), float64), Spec((3,), float64), Spec((4, 3), float64)
S0, S1 = Spec((), float32), Spec((5,), float32)
I0, I1 = Spec((), int64), Spec((3,), int64)
B0 = Spec((), bool_)
