"""Running results that compute their elements: along and across rows, both ways, with what else wants the elements."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import agree, compiled

import treadle as td

OPS = [td.cumsum, td.cumprod, td.cummax, td.cummin, td.logcumsumexp]
RNG = np.random.default_rng(3)
SPECIAL = np.array([1.0, -0.0, np.inf, 2.0, -np.inf, np.nan, 3.0, -1.0])


def drawn(*shape: int, dtype: str = "float64") -> np.ndarray:
    return (RNG.normal(size=shape) * 3).astype(dtype)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.data())
def test_any_shape_axis_and_direction(draw: Any) -> None:
    shape = draw.draw(st.lists(st.sampled_from([1, 2, 3, 17]), min_size=1, max_size=3))
    axis = draw.draw(st.integers(-len(shape), len(shape) - 1))
    op = draw.draw(st.sampled_from(OPS))
    dtype = draw.draw(st.sampled_from(["float32", "float64", "int64", "int32"]))
    if dtype[0] == "i" and op is td.logcumsumexp:
        dtype = "float64"
    back = {"reverse": draw.draw(st.booleans())} if op is not td.cumprod else {}
    x, row = drawn(*shape, dtype=dtype), drawn(shape[-1], dtype=dtype)
    agree(lambda x, r: op(x * 2 - r, axis=axis, **back), x, row)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("axis", [0, 1])
def test_special_values(op: Any, axis: int) -> None:
    x = np.stack([SPECIAL, SPECIAL[::-1], np.full(8, -np.inf), np.full(8, -0.0)])
    agree(lambda x: op(x * 1.5, axis=axis), x)


def test_it_is_one_kernel() -> None:
    x = drawn(30, 40)
    for axis in (0, 1):
        assert [
            k.text.key.count("for ") > 0 for k in compiled(lambda x, a=axis: td.cumsum(td.exp(x), axis=a), x).kernels
        ] == [True]


def test_what_something_else_wants_is_stored() -> None:
    x, i = drawn(12, 5), np.arange(12) % 3
    agree(lambda x: (td.cumsum(x * 2, axis=0), x * 2, td.sum(td.cumsum(x * 3, axis=1), axis=0)), x)
    agree(lambda x: td.cumsum(td.cumsum(td.sin(x), axis=0) * 2, axis=1), x)

    def pairs(x: Any, y: Any) -> Any:  # outer differences are made by each that reads them
        apart = x[:, None] - y[None]
        return td.sum(apart, axis=0), td.max(apart, axis=1), td.cumsum(apart * 2, axis=0)

    agree(pairs, drawn(12), drawn(20))

    def scattered(x: Any, y: Any) -> Any:
        apart = x[:, None] - y[None]
        return td.sum(apart, axis=0), td.max(apart, axis=1), td.zeros((3, 20), dtype=x.dtype).at[i].add(apart * 2)

    agree(scattered, drawn(12), drawn(20))


def test_large_ones_and_gradients() -> None:
    agree(lambda x: td.cumsum(td.sin(x), axis=1), drawn(200, 300))
    agree(lambda x: td.cumsum(td.sin(x), axis=0), drawn(300, 200))
    agree(lambda x: td.grad(lambda x: td.sum(td.cumsum(td.sin(x) * 2, axis=0) ** 2))(x), drawn(9, 7))
