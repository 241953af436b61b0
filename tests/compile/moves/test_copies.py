"""Copies of views: transposed ones by strips, large ones in shares, reshaped ones straight to the result."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import agree, compiled

import treadle as td


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "bool"])
@pytest.mark.parametrize("shape", [(16, 16), (17, 33), (50, 16), (15, 40), (200, 300)])
def test_transposed(dtype: str, shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    agree(lambda x: (td.transpose(x), td.flatten(td.transpose(x)), td.transpose(x[1:, ::2])), x)


def test_several_axes() -> None:
    x = np.random.default_rng(1).normal(size=(4, 20, 5, 18)).astype(np.float32)
    agree(lambda x: (td.transpose(x), td.transpose(x, (2, 3, 0, 1)), td.transpose(x, (0, 3, 2, 1))), x)


def test_a_transposing_copy_goes_by_strips() -> None:
    x = np.zeros((40, 30), np.float32)
    assert [kernel.name for kernel in compiled(td.transpose, x).kernels] == ["copy_transposed"]


def test_repeats_are_written_once() -> None:
    x = np.random.default_rng(2).normal(size=3000).astype(np.float32)
    program = compiled(lambda x: td.tile(x, 4), x)
    assert len(program.code.text().splitlines()) == 2  # one copy, and the return
    agree(lambda x: (td.tile(x, 4), td.repeat(x, 3), td.tile(x, 2) + 1.0), x)


def test_large_joins_in_shares() -> None:
    x = np.random.default_rng(3).normal(size=(300, 701))
    agree(lambda x: (td.concat([x, x * 2.0]), td.concat([x[:5], x[5:]])), x)
