"""Elementwise work on operands that lie in the other order: whole tiles are turned first, edges are not."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import agree, compiled

import treadle as td


def drawn(dtype: str, *shape: int) -> np.ndarray:
    return (np.random.default_rng(len(shape)).normal(size=shape) * 50).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "int16", "bool"])
def test_tiles_and_edges(dtype: str) -> None:
    def f(x: td.Tensor) -> td.Tensor:
        return x.T | x[::-1] if dtype == "bool" else x.T + x[::-1]

    for side in (31, 32, 33, 64, 70):
        agree(f, drawn(dtype, side, side))


def test_several_operands_and_outer_axes() -> None:
    x, y, z = drawn("float32", 40, 75), drawn("float64", 75, 40), drawn("float32", 3, 40, 66)
    agree(lambda x, y: (td.astype(x, td.float64).T * y + y, x.T[:, ::-1] - x.T, y.T + x), x, y)
    agree(lambda z: (td.transpose(z, (0, 2, 1)) + 1.0, td.transpose(z, (2, 1, 0)) * 2.0, z + z[::-1]), z)
    agree(lambda x, y: x[2:, 3:].T + y[3:, 2:].astype(td.float32), x, y)


def test_a_kernel_serves_all_sizes() -> None:
    def f(x: td.Tensor) -> td.Tensor:
        return x.T + x

    texts = {compiled(f, drawn("float32", n, n)).kernels[0].key for n in (5, 32, 100)}
    assert len(texts) == 1
    assert "turned_f4" in texts.pop()
