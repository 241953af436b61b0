"""Random numbers drawn inside the kernels that read them: the eager numbers, whatever the sizes, kinds and threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import treadle as td
from treadle.compile.fusion.fuse import fuse
from treadle.compile.fusion.items import Single
from treadle.core.tracer import trace

X = np.random.default_rng(0).normal(size=(130, 257)).astype(np.float32)
ROWS = X[:, :200]


def both(f: Callable[..., Any], *arrays: np.ndarray) -> None:
    """Two calls give the eager numbers, and leave the eager state."""
    traced = td.function(f)
    given = [td.asarray(a) for a in arrays]
    td.random.seed(11)
    wanted = [f(*given).numpy() for _ in range(2)]
    state = td.random.default.state.numpy()
    td.random.seed(11)
    got = [traced(*given).numpy() for _ in range(2)]
    np.testing.assert_array_equal(td.random.default.state.numpy(), state)
    for mine, want in zip(got, wanted, strict=True):
        assert mine.dtype == want.dtype
        if want.dtype.kind == "f":
            np.testing.assert_allclose(mine, want, rtol=2e-5, atol=2e-5)
        else:
            np.testing.assert_array_equal(mine, want)


def drawn_apart(f: Callable[..., Any], *arrays: np.ndarray) -> list[str]:
    """The draws of a function whose numbers are stored."""
    graph = trace(lambda *xs: [f(*xs)], [td.asarray(a).spec for a in arrays], "f").graph
    singles = [item for item in fuse(graph) if isinstance(item, Single)]
    return [item.node.op for item in singles if item.node.op.startswith("random_") and item.whole]


def dropped(x: Any) -> Any:
    return td.where(td.random.bernoulli(x.shape, 0.7), x, 0) / 0.7


def noisy(x: Any) -> Any:
    return td.tanh(x) + td.random.normal(x.shape) * 0.1


@pytest.mark.parametrize("size", [1, 2, 5, 511, 512, 513, 1027, 20_001])
def test_numbers_of_any_count(size: int) -> None:
    x = X.reshape(-1)[:size]
    assert not drawn_apart(dropped, x)
    both(dropped, x)
    both(lambda x: x * td.random.integers(x.shape, -3, 9), x)
    both(noisy, x)
    both(lambda x: td.mean(td.random.normal(x.shape, dtype="float64") * x), x)


@pytest.mark.parametrize("array", [X, X[:6], X[:5, :70], X[:, :3], X.T, ROWS[::2]])
def test_numbers_beside_arrays_of_any_layout(array: np.ndarray) -> None:
    v = np.arange(array.shape[1], dtype=np.float32)
    both(lambda x, v: x + v + td.random.normal(x.shape), array, v)
    both(lambda x, v: td.sum(x * v * td.random.exponential(x.shape), axis=1) / 100, array, v)
    both(lambda x, v: td.sum(x * td.random.uniform(x.shape), axis=0) + v, array, v)
    both(lambda x, v: td.nn.softmax(x + td.random.uniform(x.shape) * v / 100, axis=-1), array, v)
    both(lambda x, v: td.sum(x * v * td.random.normal(x.shape)) / 1000, array, v)


def test_rows_that_are_read_by_several_passes_are_drawn_once() -> None:
    def f(x: Any) -> Any:
        y = td.random.uniform(x.shape) + x
        return y - td.max(y, axis=-1, keepdims=True)

    assert not drawn_apart(f, X)
    both(f, X)
    both(f, np.tile(X, (1, 20)))  # longer than a room


def test_several_draws_in_one_kernel() -> None:
    def f(x: Any) -> Any:
        kept = td.random.uniform(x.shape) > 0.3
        return td.where(kept, x + td.random.normal(x.shape) * td.random.normal(x.shape, dtype="float64"), 0)

    assert not drawn_apart(f, X)
    both(f, X)
    both(f, X.reshape(-1)[:333])
    both(f, X[0, :2])
    found = td.function(f)
    found(td.asarray(X))
    assert found.traces[0].memory.work < 1000  # the states


def test_numbers_that_are_read_twice_are_stored() -> None:
    def f(x: Any) -> Any:
        u = td.random.uniform(x.shape)
        return td.sum(u) + td.cumsum(u)[-1] + td.sum(x)

    assert drawn_apart(f, X) == ["random_uniform"]
    assert drawn_apart(lambda x: td.random.uniform(x.shape), X) == ["random_uniform"]
    assert not drawn_apart(lambda x: td.sum(td.random.uniform(x.shape)), X)


def test_a_mask_serves_the_gradient_too() -> None:
    def f(x: Any) -> Any:
        return td.grad(lambda x: td.sum(td.square(dropped(x @ ROWS.T))))(x)

    both(f, ROWS / 100)


def test_threads_change_nothing() -> None:
    x = np.tile(X.reshape(-1), 4)[:100_003]

    def f(x: Any) -> Any:
        return dropped(x) + td.sum(noisy(x))

    traced, before = td.function(f), td.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            td.set_num_threads(threads)
            td.random.seed(4)
            found.append(traced(td.asarray(x)).numpy())
    finally:
        td.set_num_threads(before)
    np.testing.assert_array_equal(*found)


def test_a_generator_in_a_loop_draws_in_its_kernels() -> None:
    def f(x: Any) -> Any:
        for _ in td.range(5):
            x = x + td.random.normal(x.shape) * 0.1 - td.random.uniform(x.shape)
        return x

    both(f, X.reshape(-1)[:1001])


def test_few_numbers_are_drawn_however_they_are_read() -> None:
    def over_rows(x: Any) -> Any:
        return x * td.random.normal(x.shape[1:]) + td.random.uniform(()) - td.random.integers((), 0, 9)

    def short_rows(x: Any) -> Any:
        return td.nn.softmax(x + td.random.exponential(x.shape), axis=-1)

    assert not drawn_apart(over_rows, X[:, :5])
    both(over_rows, X[:, :5])
    assert not drawn_apart(short_rows, X[:60, :5])
    both(short_rows, X[:60, :5])
    both(lambda x: x.T + td.random.normal(x.T.shape), X[:20, :21])
    both(lambda x: td.random.normal(x.shape, dtype="float64") + td.sum(x), X[0, :1])
