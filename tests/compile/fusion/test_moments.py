"""A variance of everything takes one pass over memory, and loses nothing where the middle is far from zero."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import agree, compiled, graph_of

import treadle as td
from treadle.compile.fusion.fuse import fuse
from treadle.compile.fusion.items import Group
from treadle.optimize.pipeline import optimize

RNG = np.random.default_rng(11)


def in_one_pass(f: Any, *arrays: np.ndarray) -> bool:
    items = fuse(optimize(graph_of(f, arrays)))
    return any(isinstance(item, Group) and item.moments for item in items)


@pytest.mark.parametrize("size", [1, 2, 1000, 32_768, 32_769, 200_000])
def test_variance_far_from_zero(size: int) -> None:
    x = (RNG.standard_normal(size) + 1e4).astype(np.float32)
    assert in_one_pass(td.var, x) or size == 1
    (got,) = compiled(td.var, x).run([x])
    want = np.var(x.astype(np.float64))
    np.testing.assert_allclose(got, want, rtol=2e-3 if size > 2 else 1e-2, atol=1e-6)


def test_standard_deviations_and_what_else_is_read() -> None:
    x = RNG.standard_normal((300, 200))

    def f(x: Any) -> Any:
        middle = td.mean(x)
        spread = td.sum((x - middle) ** 2)
        return td.sqrt(spread / 59_999), middle, spread / middle

    assert in_one_pass(f, x)
    assert in_one_pass(lambda x: td.std(x, correction=1), x)
    agree(f, x)
    agree(f, x.T[::-1])
    agree(f, x[::3, ::2])


def test_other_squares_stay_as_they_are() -> None:
    x, y = RNG.standard_normal((2, 50, 40)).astype(np.float32)
    for f in (
        lambda x, y: td.sum((y - td.mean(x)) ** 2),
        lambda x, y: td.sum((x - td.mean(x)) ** 2, axis=0) + y,
        lambda x, y: (td.sum((x - td.mean(x)) ** 2), x - td.mean(x) + y),
        lambda x, y: td.sum((x - td.mean(x)) ** 3) + y,
    ):
        assert not in_one_pass(f, x, y)
        agree(f, x, y)
