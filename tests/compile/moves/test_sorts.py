"""sort, argsort and isin without Python against NumPy: ties, NaN, zeros of both signs, every axis, all lengths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from oracle import agree, compiled

import treadle as td
from treadle.compile.moves import sorts


def drawn(dtype: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Numbers with many ties, of both signs where there are two."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-9 if dtype[0] in "fi" else 0, 10, shape)
    return (x + rng.choice([0.0, 0.25], shape) if dtype[0] == "f" else x > 3 if dtype == "bool" else x).astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "down"),
    [("float32", False), ("float64", True), ("int64", True), ("uint8", False), ("int16", True), ("bool", False)],
)
def test_lengths_and_axes(dtype: str, down: bool) -> None:
    def f(x: td.Tensor, axis: int) -> list[td.Tensor]:
        return [td.sort(x, axis=axis, descending=down), td.argsort(x, axis=axis, descending=down)]

    for n in (1, 2, 17, sorts.SHORT, sorts.SHORT + 1, 700):
        agree(lambda x: f(x, 0), drawn(dtype, (n,)))
    x = drawn(dtype, (3, 70, 4))
    agree(lambda x: f(x, 1) + f(x, 2), x)
    agree(lambda x: f(x[:, ::-2, 1], -1), x)
    assert not compiled(lambda x: f(x, 1), x).hosts


SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, -np.nan, 5e-324, -5e-324, 1e30, -1e30]


@settings(derandomize=True, deadline=None, max_examples=15)
@given(
    st.sampled_from(["float32", "float64"]).flatmap(
        lambda d: hnp.arrays(d, st.sampled_from([(7,), (90,), (2, 9)]), elements=st.sampled_from(SPECIAL[:12]))
    ),
    st.booleans(),
)
def test_specials(x: np.ndarray, down: bool) -> None:
    got = td.function(lambda x: [td.sort(x, descending=down), td.argsort(x, descending=down)])(x)
    np.testing.assert_array_equal(got[0].numpy(), -np.sort(-x) if down else np.sort(x))
    np.testing.assert_array_equal(got[1].numpy(), np.argsort(-x if down else x, kind="stable"))


def test_extremes_of_integers() -> None:
    for dtype, down in (("int64", True), ("uint64", False)):
        limits = np.iinfo(dtype)
        x = np.array([limits.max, limits.min, 1, limits.min, limits.max, 0] * 20, dtype)
        agree(lambda x, down=down: [td.sort(x, descending=down), td.argsort(x, descending=down)], x)


def test_many_rows_are_shared_out() -> None:
    x = drawn("float32", (300, 80))
    agree(lambda x: [td.sort(x), td.argsort(x)], x)
    assert "parallel argsort" in str(compiled(lambda x: td.argsort(x), x).code)


def test_without_numpy_s_sort_python_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorts, "numpy_sort", lambda kind: 0)
    agree(lambda x: td.sort(x), drawn("int32", (9, 3)))
    assert len(compiled(lambda x: td.sort(x), drawn("int32", (9, 3))).hosts) == 1


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8", "bool"])
def test_members(dtype: str) -> None:
    for n, m, scale in ((1, 1, 1), (40, 3, 1), (3, 2000, 1), (500, 300, 1), (500, 300, 11_400_714_819_323)):
        x, v = drawn(dtype, (n,)), drawn(dtype, (m,), seed=1)
        if dtype == "int64":
            x, v = x * scale, v * scale
        agree(lambda x, v: [td.isin(x, v), td.isin(x, v, invert=True)], x, v)
    x, v = drawn(dtype, (6, 5)), drawn(dtype, (2, 3))
    agree(lambda x, v: td.isin(x.T, v[:, ::2]), x, v)
    assert not compiled(lambda x, v: td.isin(x, v), x, v).hosts


def test_members_that_are_no_numbers_or_far_apart() -> None:
    for dtype in ("float32", "float64"):
        x = np.array(SPECIAL, dtype)
        for v in ([np.nan], [0.0], [-0.0, np.inf], [1e30, 5e-324]):
            agree(lambda x, v: td.isin(x, v), x, np.array(v, dtype))
    limits = np.iinfo(np.int64)
    x = np.array([limits.min, limits.max, 0, -1, 1])
    for v in ([limits.min, limits.max], [limits.max], [limits.min], [-1, 1]):
        agree(lambda x, v: td.isin(x, v), x, np.array(v))
