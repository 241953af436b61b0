"""Products in programs against the interpreter: batches in odd orders, integers, small sizes, vectors, empty ones."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import agree, compiled

import treadle as td


def drawn(dtype: str, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(sum(map(len, shapes)))
    if dtype.startswith("float"):
        return [rng.normal(size=shape).astype(dtype) for shape in shapes]
    return [rng.integers(0, 9, shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int16", "uint8"])
@pytest.mark.parametrize(
    ("m", "k", "n"), [(2, 3, 4), (1, 9, 5), (6, 5, 1), (17, 33, 20), (1, 7, 1), (3, 0, 2), (0, 3, 2)]
)
def test_sizes_and_dtypes(dtype: str, m: int, k: int, n: int) -> None:
    a, b, c = drawn(dtype, (m, k), (k, n), (n, k))
    agree(lambda a, b, c: (a @ b, a @ c.T, b.T @ a.T, c @ a.T), a, b, c)
    assert not compiled(lambda a, b: a @ b, a, b).hosts


@pytest.mark.parametrize("side", [3, 12])
def test_batches_that_broadcast_or_are_transposed(side: int) -> None:
    a, b, c, d = drawn("float32", (2, side, 3, side), (2, side, 3, side), (3, side, side), (1, 3, 1, side, side))

    def f(a: td.Tensor, b: td.Tensor, c: td.Tensor, d: td.Tensor) -> list[td.Tensor]:
        heads, others = td.transpose(a, (0, 2, 1, 3)), td.transpose(b, (0, 2, 3, 1))
        return [
            heads @ others,
            heads @ c,
            c @ others,
            c[0] @ heads,
            d[0] @ c,
            c[:, None] @ heads[0],
            td.matrix_transpose(c) @ c,
        ]

    agree(f, a, b, c, d)
    assert not compiled(f, a, b, c, d).hosts


@pytest.mark.parametrize("n", [1, 5, 1000, 100_003])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_vectors(n: int, dtype: str) -> None:
    x, y = drawn(dtype, (n,), (n,))
    got, _ = agree(lambda x, y: (x @ y / n, x[::-1] @ y / n), x, y)
    np.testing.assert_allclose(got, x.astype("f8") @ y.astype("f8") / n, rtol=1e-4, atol=1e-4)


def test_matrix_and_vector_in_batches() -> None:
    a, x = drawn("float64", (3, 2, 40, 30), (3, 2, 30, 1))
    agree(lambda a, x: (a @ x, td.transpose(a, (1, 0, 2, 3)) @ td.transpose(x, (1, 0, 2, 3)), a[0] @ x[:1, 0]), a, x)


def test_gradients_of_batches() -> None:
    a, b = drawn("float64", (2, 3, 9, 8), (3, 8, 7))

    def f(a: td.Tensor, b: td.Tensor) -> list[td.Tensor]:
        return list(td.grad(lambda a, b: td.sum((a @ b) ** 2), argnums=(0, 1))(a, b))

    agree(f, a, b)
