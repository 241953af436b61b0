"""Python numbers beside tensors: what comes out is what NumPy gives for the number itself."""

import operator

import numpy as np
import pytest

import treadle as td
from treadle.errors import DTypeError
from treadle.ops import numbers
from treadle.ops.numbers import as_operand

OPERATORS = [operator.add, operator.sub, operator.mul, operator.lt, operator.eq, td.maximum]


DTYPES = ["uint8", "int32", "int64", "float32", "float64", "complex64"]
NUMBERS = [0, 1, 3, 2**24 + 1, 0.0, -0.0, 0.1, float("nan"), float("-inf"), 1.0, 1j]
KEPT = [(d, n) for d in DTYPES for n in NUMBERS if np.result_type(np.zeros(1, d), n) == d]


@pytest.mark.parametrize(("dtype", "number"), KEPT)  # others ask for another dtype
def test_as_numpy_has_it(dtype, number):
    x = np.array([0, 1, 3, 100]).astype(dtype)
    with np.errstate(all="ignore"):
        for f in OPERATORS:
            g = np.maximum if f is td.maximum else f
            if dtype == "complex64" and f in (operator.lt, td.maximum):
                continue
            for swapped in (False, True):
                a, b = (number, x) if swapped else (x, number)
                s, t = (number, td.asarray(x)) if swapped else (td.asarray(x), number)
                try:
                    wanted = g(a, b)
                except OverflowError:
                    with pytest.raises(DTypeError, match="fit"):
                        f(s, t)
                    continue
                found = f(s, t).numpy()
                assert found.dtype == wanted.dtype
                assert found.tobytes() == np.asarray(wanted).tobytes()


def test_zeros_keep_their_signs():
    x = td.asarray([1.0, -1.0])
    for _ in range(2):
        assert np.signbit((x * 0.0).numpy()).tolist() == [False, True]
        assert np.signbit((x * -0.0).numpy()).tolist() == [True, False]
        assert np.signbit((x * 0).numpy()).tolist() == [False, True]


def test_what_is_kept():
    dtype = np.dtype(np.float32)
    one = as_operand(1, dtype)
    assert one is as_operand(1.0, dtype)
    assert one.shape == () and one.dtype == dtype and not one.flags.writeable
    assert as_operand(1, np.dtype(np.float64)) is not one
    assert as_operand(0, dtype) is as_operand(0.0, dtype)
    assert as_operand(300, np.dtype(np.uint8)) == 300  # left for NumPy to say what it means
    assert as_operand(1e300, dtype) == 1e300
    for k in range(3 * numbers._MOST):
        as_operand(k + 0.5, dtype)
    assert len(numbers._known) <= numbers._MOST


def test_a_float_too_large_for_its_dtype_is_infinite():
    with np.errstate(all="ignore"):
        assert (td.asarray([1.0]) * 1e300).tolist() == [float("inf")]


def test_gradients_with_numbers_on_either_side():
    x = td.asarray([1.0, 2.0, 4.0])
    with td.GradientTape() as tape:
        tape.watch(x)
        y = 2 / x + x * 3 - (1 - x) + x / 4
    np.testing.assert_allclose(tape.gradient(y, x).numpy(), -2 / x.numpy() ** 2 + 4.25, rtol=1e-6)
