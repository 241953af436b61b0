"""argmax and argmin in kernels: NumPy's answer for every axis, ties, NaNs, bools and small integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td


@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int64", "uint8", "bool"])
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_agrees_with_numpy(name: str, dtype: str, axis: int | None) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, (3, 5, 4)).astype(dtype)
    if dtype.startswith("float"):
        x[1, 2, 1] = np.nan
        x[1, 3, 1] = np.nan

    @td.function
    def f(x: td.Tensor) -> td.Tensor:
        return getattr(td, name)(x, axis=axis)

    got = f(td.asarray(x))
    np.testing.assert_array_equal(got.numpy(), getattr(np, name)(x, axis=axis))
    assert got.dtype == td.int64
    assert any(kernel.name == name for kernel in f.traces[0].kernels)


def test_views_and_rows_of_one() -> None:
    @td.function
    def f(x: td.Tensor) -> tuple[td.Tensor, td.Tensor, td.Tensor]:
        return td.argmax(x.T, axis=1), td.argmin(x[::-1, ::2], axis=0), td.argmax(x[:, :1], axis=1, keepdims=True)

    x = np.random.default_rng(1).normal(size=(6, 7)).astype(np.float32)
    a, b, c = f(td.asarray(x))
    np.testing.assert_array_equal(a.numpy(), np.argmax(x.T, axis=1))
    np.testing.assert_array_equal(b.numpy(), np.argmin(x[::-1, ::2], axis=0))
    np.testing.assert_array_equal(c.numpy(), np.argmax(x[:, :1], axis=1, keepdims=True))


@pytest.mark.parametrize("n", [65_535, 65_536, 70_001])
@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_long_rows_in_shares(n: int, dtype: str) -> None:
    x = np.random.default_rng(2).integers(0, 1000, n).astype(dtype)
    f = td.function(lambda x: (td.argmax(x), td.argmin(x)))
    assert [y.item() for y in f(td.asarray(x))] == [np.argmax(x), np.argmin(x)]
    for place in (n - 1, 40_000, 3):
        x[place] = 2000
        assert f(td.asarray(x))[0].item() == place
    if dtype == "float32":
        x[[50_000, 60_000]] = np.nan
        assert [y.item() for y in f(td.asarray(x))] == [50_000, 50_000]


EDGES = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 3e38, 1e-40]


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    st.sampled_from(["f4", "f8", "i4", "i8"]),
    st.sampled_from([(1,), (5,), (15,), (16,), (17,), (31,), (32,), (33,), (64,), (70,), (3, 37), (2, 96)]),
    st.lists(st.sampled_from(EDGES), min_size=1, max_size=6),
    st.integers(0, 99),
)
def test_lanes(dtype: str, shape: tuple[int, ...], some: list[float], seed: int) -> None:
    kinds = [x for x in some if np.isfinite(x) and abs(x) < 9] or [2.0] if dtype[0] == "i" else some
    x = np.random.default_rng(seed).choice(np.array(kinds, dtype), shape)
    got = td.function(lambda x: (td.argmax(x, axis=-1), td.argmin(x, axis=-1)))(x)
    np.testing.assert_array_equal(got[0].numpy(), np.argmax(x, axis=-1))
    np.testing.assert_array_equal(got[1].numpy(), np.argmin(x, axis=-1))


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "i8"])
def test_every_place_of_a_lane(dtype: str) -> None:
    f = td.function(lambda x: (td.argmax(x, axis=1), td.argmin(x, axis=1)))
    for value in (5, -5, np.nan):
        if dtype[0] == "f" or value == value:
            x = np.zeros((75, 75), dtype)
            np.fill_diagonal(x, value)
            for got, want in zip(f(x), (np.argmax(x, 1), np.argmin(x, 1)), strict=True):
                np.testing.assert_array_equal(got.numpy(), want)
