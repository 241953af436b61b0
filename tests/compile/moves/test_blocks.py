"""Pooling by blocks and its gradient in programs against the interpreter: odd images, ties, NaN, views."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import agree, compiled

import treadle as td


def pooled(sizes: tuple[int, int]) -> object:
    def f(x: td.Tensor, w: td.Tensor) -> list[td.Tensor]:
        g = td.grad(lambda x: td.sum(td.nn.max_pool2d(x, sizes) ** 2))
        return [td.nn.max_pool2d(x, sizes), g(x), td.nn.max_pool2d(td.transpose(x, (0, 2, 1, 3))[:, 1:], sizes) * w]

    return f


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("channels", "sizes"), [(8, (2, 2)), (5, (3, 1)), (20, (2, 3))])
def test_blocks(dtype: str, channels: int, sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(channels)
    x = rng.integers(-3, 3, (3, 7, 7, channels)).astype(dtype)  # many ties
    x[rng.random(x.shape) < 0.02] = np.nan
    w = rng.normal(size=channels).astype(dtype)
    agree(pooled(sizes), x, w)
    assert not compiled(pooled(sizes), x, w).hosts


def test_many_images_are_shared_out() -> None:
    x = np.random.default_rng(1).normal(size=(40, 12, 12, 8)).astype(np.float32)
    assert "parallel block_max" in compiled(td.nn.max_pool2d, x).code.text()
    agree(td.nn.max_pool2d, x)
