"""Complex numbers in kernels against NumPy: infinities, NaN, zeros of both signs, broadcasting, views, conversions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from oracle import compiled

import treadle as td

PARTS = [0.0, -0.0, 1.0, -2.5, 3e30, -1e-30, np.inf, -np.inf, np.nan]


def everything(a: td.Tensor, b: td.Tensor) -> list[td.Tensor]:
    """One of each op."""
    made = [a + b, a - b, a * b, a / b, -a, td.conj(a), td.square(a), abs(a), td.real(a), td.imag(b)]
    return [*made, td.astype(a, td.complex128)]


def numpys(a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
    """The same by NumPy."""
    with np.errstate(all="ignore"):
        made = [a + b, a - b, a * b, a / b, -a, np.conj(a), np.square(a), np.abs(a), a.real, b.imag]
        return [*made, a.astype(np.complex128)]


def same(got: list[td.Tensor], want: list[np.ndarray], dtype: str) -> None:
    for x, y in zip(got, want, strict=True):
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        np.testing.assert_allclose(x.numpy(), y, rtol=2e-6 if dtype == "c8" else 1e-14)


@settings(derandomize=True, deadline=None, max_examples=20)
@given(
    st.sampled_from(["c8", "c16"]),
    st.sampled_from([((), ()), ((5,), (5,)), ((5,), ()), ((3, 1), (1, 4)), ((2, 3), (3,)), ((0, 2), (2,))]),
    st.data(),
)
def test_as_numpy(dtype: str, shapes: tuple[tuple[int, ...], ...], data: st.DataObject) -> None:
    def drawn(shape: tuple[int, ...]) -> np.ndarray:
        parts = hnp.arrays(f"f{int(dtype[1:]) // 2}", (2, *shape), elements=st.sampled_from(PARTS[:6]))
        real, imaginary = data.draw(parts)
        return real + np.array(1j, dtype) * imaginary

    a, b = (drawn(shape) for shape in shapes)
    same(td.function(everything)(a, b), numpys(a, b), dtype)


@pytest.mark.parametrize("dtype", ["c8", "c16"])
def test_specials(dtype: str) -> None:
    parts = np.array(PARTS, f"f{int(dtype[1:]) // 2}")
    x = np.empty((9, 9), dtype)
    x.real, x.imag = parts[:, None], parts
    for b in (x.ravel()[::-1].copy(), x.T.ravel().copy()):
        got = td.function(everything)(x.ravel(), b)
        for mine, want in zip(got, numpys(x.ravel(), b), strict=True):
            for part in ("real", "imag"):
                y, z = getattr(mine.numpy(), part), getattr(want, part)
                np.testing.assert_allclose(y, z, rtol=1e-5, atol=1e-37)


def test_views_and_copies() -> None:
    x = (np.arange(12).reshape(3, 4) * (1 - 2j)).astype("c8")
    f = td.function(lambda x: [x.T, x[:, ::-2] * x[:, 1:3], td.transpose(x) + x.T, td.concat([x, x])])
    for got, want in zip(f(x), [x.T, x[:, ::-2] * x[:, 1:3], x.T + x.T, np.concatenate([x, x])], strict=True):
        np.testing.assert_array_equal(got.numpy(), want)


def test_no_step_of_python_and_shares() -> None:
    x = (np.arange(20_001) * (1 - 2j)).astype("c8")
    program = compiled(lambda x: (x * x - x) / (x + 1) * 2.0, x)
    assert not program.hosts
    assert "parallel multiply" in str(program.code)
    with np.errstate(all="ignore"):
        want = (x * x - x) / (x + 1) * np.float32(2)
    np.testing.assert_allclose(program.run([x])[0], want, rtol=1e-5)
