"""Random numbers in loops of scalars and small tensors: parts of the loop's kernel, and the eager numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import treadle as td


def both(f: Callable[..., Any], *arrays: np.ndarray) -> None:
    """The loop is one kernel; two calls give the eager numbers, and leave the eager state."""
    traced = td.function(f)
    given = [td.asarray(a) for a in arrays]
    td.random.seed(11)
    wanted = [f(*given).numpy() for _ in range(2)]
    state = td.random.default.state.numpy()
    td.random.seed(11)
    got = [traced(*given).numpy() for _ in range(2)]
    np.testing.assert_array_equal(td.random.default.state.numpy(), state)
    assert "while_loop" in [kernel.name for kernel in traced.traces[0].kernels]
    for mine, want in zip(got, wanted, strict=True):
        assert mine.dtype == want.dtype
        np.testing.assert_allclose(mine, want, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_draws_of_every_kind(shape: tuple[int, ...], dtype: str) -> None:
    def f(x: Any) -> Any:
        for _ in td.range(6):
            x = x * td.random.uniform(shape, dtype=dtype) + td.random.exponential(shape, dtype=dtype)
            x = x + td.random.normal(shape, dtype=dtype) * td.astype(td.random.integers(shape, -3, 9), dtype)
        return x

    both(f, np.full(shape, 0.5, dtype))


def test_metropolis_and_walks_that_end_by_chance() -> None:
    def sample(x: Any) -> Any:
        total = td.asarray(0.0)
        for _ in td.range(50):
            y = x + td.random.normal(()) * 2
            if td.random.uniform(()) < td.exp((x * x - y * y) / 2):
                x = y
            total = total + x
        return total

    def walk(x: Any) -> Any:
        steps = td.asarray(0)
        while td.abs(x) < 4:
            x = x + td.random.normal(())
            steps = steps + 1
        return steps

    for f in (sample, walk):
        both(f, np.float32(0.5))


def test_elements_at_random_places() -> None:
    def histogram(counts: Any) -> Any:
        for _ in td.range(40):
            counts = counts.at[td.random.integers((), 0, 25)].add(1)
        return counts

    both(histogram, np.zeros(25, np.int64))


def test_states_of_two_generators() -> None:
    first, second = td.random.Generator(1), td.random.Generator(2)

    @td.function
    def f(x: Any) -> Any:
        for _ in td.range(5):
            x = x + first.uniform((2,)) - second.normal(())
        return x

    got = f(td.zeros((2,))).numpy()
    first.seed(1)
    second.seed(2)
    want = sum(first.uniform((2,)).numpy() - second.normal(()).numpy() for _ in range(5))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert int(second.state.numpy()[1]) == 5
