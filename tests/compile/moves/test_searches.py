"""searchsorted as a kernel against NumPy: sides, ties, infinities, NaN, dtypes, all small lengths."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import agree, compiled

import treadle as td


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool"])
def test_every_length(side: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 7, 25).astype(dtype)
    for n in (0, 1, 2, 3, 4, 5, 7, 8, 9, 100):
        table = np.sort(rng.integers(0, 7, n).astype(dtype))
        agree(lambda x, v: td.searchsorted(x, v, side=side), table, values)
    assert not compiled(lambda x, v: td.searchsorted(x, v, side=side), table, values).hosts


@pytest.mark.parametrize("side", ["left", "right"])
def test_specials_and_shapes(side: str) -> None:
    table = np.array([-np.inf, -1.0, -0.0, 0.0, 2.0, np.inf, np.nan, np.nan])
    values = np.array([[np.nan, np.inf, -np.inf, 0.0], [-0.0, 1.0, 2.0, 3.0]])
    agree(lambda x, v: td.searchsorted(x, v, side=side), table, values)
    agree(lambda x, v: td.searchsorted(x[:6:2], v.T, side=side), table, values)
