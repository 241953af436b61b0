"""`relu` in eager code, as one op, against the small ops that it stands for."""

import numpy as np
import pytest

import treadle as td
from treadle.ops.select import FEW

SPECIAL = np.array([-1.0, -0.0, 0.0, 2.0, np.nan, -np.inf, np.inf, 1e-45])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [len(SPECIAL), FEW + 8])
def test_value_and_gradient_bit_for_bit(dtype, size):
    x = np.resize(SPECIAL, size).astype(dtype)
    t = td.asarray(x)
    with td.GradientTape() as tape:
        tape.watch(t)
        y = td.nn.relu(t)
        z = 3 * y
    zero = np.zeros((), dtype)
    assert y.numpy().tobytes() == np.where(x <= 0, zero, x).tobytes()
    assert tape.gradient(z, t).numpy().tobytes() == np.where(x <= 0, zero, zero + 3).tobytes()


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_integers(dtype):
    x = np.array([0, 3, 100]).astype(dtype) - (np.dtype(dtype).kind == "i")
    y = td.nn.relu(td.asarray(x)).numpy()
    assert y.dtype == dtype
    assert y.tolist() == np.maximum(x, 0).tolist()


def test_second_derivatives():
    second = td.grad(td.grad(lambda x: td.nn.relu(x**3)))
    assert second(2.0).item() == 12.0
    assert second(-2.0).item() == 0.0


def test_what_a_tape_says_of_it():
    x = td.asarray([1.0, -1.0])
    with td.GradientTape() as tape:
        tape.watch(x)
        y = td.nn.relu(x)
    assert tape.gradient(y, x).tolist() == [1.0, 0.0]
    assert tape.explain(y, x).startswith("not None")
