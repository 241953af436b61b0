"""Products of stepped values: before the loop, or behind it; equal to those of each step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import treadle as td
from treadle.control.call import interpret_arrays
from treadle.core.graph import Graph
from treadle.core.spec import Spec
from treadle.core.tracer import trace
from treadle.optimize.pipeline import optimize, rewrites

BEFORE, BEHIND = "products of all steps", "sums of products behind the loop"


def network(x: Any, w: Any, u: Any, reverse: bool = False) -> Any:
    def cell(h: Any, e: Any) -> Any:
        new = td.tanh(e @ w + h @ u)
        return new, new

    return td.scan(cell, td.zeros((3, 4), dtype=x.dtype), x, reverse=reverse)


def arrays(steps: int) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.standard_normal(shape) / 2 for shape in ((steps, 3, 5), (5, 4), (4, 4))]


def checked(f: Any, given: list[np.ndarray]) -> dict[str, int]:
    """Optimised and plain agree; which rules were used."""
    graph = trace(f, [Spec(a.shape, a.dtype) for a in given], "f").graph
    better = optimize(graph, verify=True)
    for a, b in zip(interpret_arrays(better, given), interpret_arrays(graph, given), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
    assert isinstance(better, Graph)
    return rewrites(graph)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 2, 7])
def test_the_input_projection_is_one_product(steps: int, reverse: bool) -> None:
    used = checked(lambda x, w, u: list(network(x, w, u, reverse)), arrays(steps))
    assert used.get(BEFORE, 0) == (steps > 1)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_gradients_of_weights_are_one_product_each(steps: int, reverse: bool) -> None:
    def f(x: Any, w: Any, u: Any) -> Any:
        def loss(w: Any, u: Any, bias: Any) -> Any:
            last, rows = network(x + bias, w, u, reverse)
            return td.sum(last * last) + td.sum(td.sin(rows))

        return list(td.grad(loss, argnums=(0, 1, 2))(w, u, td.zeros((5,), dtype=x.dtype)))

    used = checked(f, arrays(steps))
    assert used.get(BEHIND, 0) == (2 if steps > 1 else 0)


def test_a_test_or_another_use_keeps_products_where_they_are() -> None:
    def f(x: Any, w: Any, u: Any) -> Any:
        def cell(c: Any, e: Any) -> Any:
            return c + td.matmul(td.transpose(e), e), td.sum(c)

        return list(td.scan(cell, td.zeros((5, 5), dtype=x.dtype), x))

    assert BEHIND not in checked(f, arrays(4))

    def g(x: Any, w: Any, u: Any) -> Any:
        step = lambda k, s: (k + 1, s + td.sum(td.exp(x[0] @ w)) * k)  # noqa: E731
        return td.while_loop(lambda k, s: s < 50, step, (1, td.sum(u)))[1]

    assert BEFORE not in checked(lambda *a: [g(*a)], arrays(4))
