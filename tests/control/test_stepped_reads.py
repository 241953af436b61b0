"""Reads at a loop's counter become stepped values: the same numbers, no index in the graph, gradients in stacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td
from treadle.core.graph import Node
from treadle.optimize.pipeline import optimize


def loops(f: Any, *args: Any) -> list[Node]:
    traced = td.function(f)
    traced(*args)
    return [node for node in traced.traces[0].graph.walk() if node.op == "while"]


def data(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def recurrent(x: Any, w: Any, u: Any) -> Any:
    h = td.zeros((x.shape[0], u.shape[0]), dtype=td.float64)
    for t in td.range(x.shape[1]):
        h = td.tanh(x[:, t] @ w + h @ u)
    return td.sum(h * h)


def test_the_input_products_of_a_recurrent_network_are_one() -> None:
    x, w, u = data(3, 7, 15), data(15, 6, seed=1), data(6, 6, seed=2)
    (node,) = loops(recurrent, x, w, u)
    assert node.attrs["layout"].xs == 1
    traced = td.function(recurrent)
    traced(x, w, u)
    (better,) = [item for item in optimize(traced.traces[0].graph).walk() if item.op == "while"]
    assert sum(item.op == "matmul" for item in better.attrs["body"].nodes) == 1
    np.testing.assert_allclose(td.function(recurrent)(x, w, u), recurrent(*map(td.asarray, (x, w, u))), rtol=1e-12)


def test_gradients_are_stacked() -> None:
    args = [td.asarray(a) for a in (data(3, 7, 15), data(15, 6, seed=1), data(6, 6, seed=2))]

    def gradient(*args: Any) -> Any:
        return td.grad(recurrent, argnums=(0, 1, 2))(*args)

    for node in loops(gradient, *args):
        assert not any(item.op in ("gather", "scatter") for item in node.attrs["body"].nodes)
    for got, expected in zip(td.function(gradient)(*args), gradient(*args), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)
    td.testing.check_grads(lambda x: recurrent(x, args[1], args[2]), args[:1])


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.data())
def test_any_progression(draw: Any) -> None:
    n, axis = draw.draw(st.integers(1, 6)), draw.draw(st.integers(-3, 2))
    start, factor = draw.draw(st.integers(-2, 8)), draw.draw(st.sampled_from([-2, -1, 1, 2, 3]))
    first, step = draw.draw(st.integers(-3, 3)), draw.draw(st.sampled_from([1, 2]))
    part = draw.draw(st.sampled_from([(), (slice(1, None, 2),)]))
    x = td.asarray(data(9, 9, 9))

    def f(x: Any) -> Any:
        total = x[0] * 0 + td.zeros((9, 9), dtype=td.float64)
        for k in td.range(first, first + n * step, step):
            total = total * 0.5 + td.take(x, start + factor * k, axis=axis)
        return total[part]

    try:
        expected = f(x)
    except td.errors.TreadleError as error:
        with pytest.raises(type(error)):
            td.function(f)(x)
        return
    np.testing.assert_allclose(td.function(f)(x), expected, rtol=1e-12)


def test_parts_of_what_is_read() -> None:
    x = td.asarray(data(5, 8, 40))

    def f(x: Any) -> Any:
        total = td.zeros((40,), dtype=td.float64)
        for k in td.range(8):
            total = total * 0.9 + x[2, k] - x[4, 7 - k] + x[::2][1, k, ::-1]
        return total

    (node,) = loops(f, x)
    assert node.attrs["layout"].xs == 3
    np.testing.assert_allclose(td.function(f)(x), f(x), rtol=1e-12)


def test_what_stays_an_index() -> None:
    x = td.asarray(data(8, 40))

    def leaves(x: Any) -> Any:  # a row that is not there raises as ever
        total = td.zeros((40,), dtype=td.float64)
        for k in td.range(9):
            total = total + x[k]
        return total

    def early(x: Any) -> Any:  # the trip count is not known
        total = td.zeros((40,), dtype=td.float64)
        for k in td.range(8):
            if td.sum(total) > 1.0:
                break
            total = total + x[k] ** 2
        return total

    def small(x: Any) -> Any:  # rows that fit in registers
        total = td.zeros((3,), dtype=td.float64)
        for k in td.range(8):
            total = total + x[k, :3]
        return total

    for f in (early, small):
        assert all(node.attrs["layout"].xs == 0 for node in loops(f, x))
        np.testing.assert_allclose(td.function(f)(x), f(x), rtol=1e-12)
    with pytest.raises(td.errors.IndexOutOfRange):
        td.function(leaves)(x)


def test_rows_far_apart_are_read_in_one_kernel() -> None:
    x = td.asarray(data(300, 40))

    def f(x: Any) -> Any:
        total = td.zeros((300,), dtype=td.float64)
        for k in td.range(40):
            total = total * 0.5 + td.exp(x[:, k] * 0.1) - x[:, 39 - k]
        return total

    traced = td.function(f)
    np.testing.assert_allclose(traced(x), f(x), rtol=1e-12)
    assert [kernel.name for kernel in traced.traces[0].kernels] == ["array_loop"]
