"""`choose` gives bit for bit what `np.where` gives, on both sides of the size where it changes its way."""

import numpy as np
import pytest

from treadle.ops.select import FEW, choose

SPECIAL = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1.5, -2.5, 1e-45, 3e38])
DTYPES = ("bool", "int8", "uint16", "int32", "int64", "uint64", "float32", "float64", "complex64", "complex128")


def _arrays(dtype, shape):
    rng = np.random.default_rng(0)
    values = np.resize(SPECIAL, shape) if np.dtype(dtype).kind in "fc" else rng.integers(0, 200, shape)
    with np.errstate(all="ignore"):
        first = values.astype(dtype)
    return rng.random(shape) < 0.5, first, np.roll(first, 3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [7, FEW + 13])
def test_bits_are_kept(dtype, size):
    condition, a, b = _arrays(dtype, (size,))
    assert choose(condition, a, b).tobytes() == np.where(condition, a, b).tobytes()
    assert choose(condition, a, b).dtype == a.dtype


NUMBERS = [0, 7, 0.0, -0.0, float("nan"), float("inf"), -1.5]
KEPT = [(d, n) for d in DTYPES if d != "bool" for n in NUMBERS if type(n) is int or np.dtype(d).kind in "fc"]


@pytest.mark.parametrize(("dtype", "number"), KEPT)  # others would ask for another dtype
def test_numbers_on_either_side(dtype, number):
    condition, a, _ = _arrays(dtype, (FEW + 1,))
    for x, y in ((a, number), (number, a)):
        found, wanted = choose(condition, x, y), np.where(condition, x, y)
        assert found.dtype == wanted.dtype
        assert found.tobytes() == wanted.tobytes()


def test_shapes_are_broadcast():
    rng = np.random.default_rng(1)
    wide, tall, one = rng.normal(size=(1, 40)), rng.normal(size=(30, 1)), rng.normal(size=())
    full = rng.normal(size=(30, 40))
    large = rng.random((30, 40)) < 0.5
    for a, b in ((wide, tall), (one, wide), (tall, one), (one, one), (full, wide), (full.T.T[::-1], 0), (0, full.T.T)):
        np.testing.assert_array_equal(choose(large, a, b), np.where(large, a, b))
    rows = rng.random((FEW, 1)) < 0.5
    np.testing.assert_array_equal(choose(rows, wide, -wide), np.where(rows, wide, -wide))
    deep = rng.normal(size=(3, FEW, 2))
    np.testing.assert_array_equal(choose(rows, deep, 0), np.where(rows, deep, 0))
    np.testing.assert_array_equal(choose(rows, deep, deep[:1]), np.where(rows, deep, deep[:1]))


def test_strings_and_conditions_that_are_numbers():
    text = np.array(["a", "bc"] * FEW, np.dtypes.StringDType())
    condition = np.arange(2 * FEW) % 3 == 0
    assert (choose(condition, text, text[::-1]) == np.where(condition, text, text[::-1])).all()
    numbers = np.arange(2 * FEW)
    np.testing.assert_array_equal(choose(numbers, numbers, -numbers), np.where(numbers, numbers, -numbers))


def test_misfits_are_numpys():
    condition = np.zeros(FEW, bool)
    with pytest.raises(ValueError, match="broadcast"):
        choose(condition, np.zeros(FEW), np.zeros(FEW + 1))
    with pytest.raises(OverflowError):
        choose(condition, np.zeros(FEW, np.int8), 300)
