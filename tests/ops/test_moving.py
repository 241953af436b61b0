"""Slices with traced bounds: windows whose size is known although their place is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td

X = np.arange(24.0).reshape(6, 4)
I = np.int64(2)  # noqa: E741

READS = [
    lambda x, i: x[i : i + 3],
    lambda x, i: x[i - 1 : i + 1, 1:3],
    lambda x, i: x[2 * i - 4 : 2 * (i + 1) - 3, i],
    lambda x, i: x[3 - i : -i + 6 : 2, None, ::2],
    lambda x, i: x[..., i : i + 2],
    lambda x, i: x[i : i + 2, np.array([0, 1, 3])],
    lambda x, i: x[i : i + x.shape[1]],
    lambda x, i: x[i:i],
    lambda x, i: x[i : 1 + (i + 1)][::-1],
]
CHANGES = [
    lambda x, i: x.at[i : i + 2].set(1.0),
    lambda x, i: x.at[i : i + 2, 1].add(5.0),
    lambda x, i: x.at[1:3, i : i + 2].multiply(np.array([1.0, 3.0])),
    lambda x, i: x.at[i : i + 3 : 2].set(x[:2]),
    lambda x, i: x.at[i - 1 : i + 1, np.array([0, 3])].max(4.5),
]


@pytest.mark.parametrize("f", [*READS, *CHANGES])
def test_a_window_is_what_python_says(f):
    x, i = td.asarray(X), td.asarray(I)
    wanted = f(x, i).numpy()
    np.testing.assert_array_equal(td.function(f)(x, i).numpy(), wanted)


@pytest.mark.parametrize("f", [READS[0], READS[3], CHANGES[0], CHANGES[1], CHANGES[3]])
def test_gradients(f):
    x, i = td.asarray(X / 7), td.asarray(I)
    weights = td.asarray(np.cos(np.arange(f(x, i).size)).reshape(f(x, i).shape))
    td.testing.check_grads(td.function(lambda x: td.sum(f(x, i) ** 2 * weights)), (x,), order=2)


def moving_mean(x, n):
    total = td.zeros((), dtype=x.dtype)
    for k in td.range(x.shape[0] - 2):
        part = x[k : k + 3]
        total = total * 0.5 + td.mean(part) * td.max(part)
        x = x.at[k : k + 2].add(part[:2] * 0.25)
    return total, x


def test_bounds_from_outside_a_loop():
    @td.function
    def f(x, i):
        j = i + 1
        total = td.zeros((2,))
        for k in td.range(3):
            total = total + x[j : j + 2] * k + x[j + k - 3 : k + i]
        return total

    x = td.asarray(np.arange(8.0, dtype=np.float32))
    np.testing.assert_array_equal(f(x, td.asarray(2)).numpy(), [12.0, 18.0])


@settings(derandomize=True, deadline=None, max_examples=10)
@given(st.integers(3, 9))
def test_windows_move_in_loops(size):
    x = td.asarray(np.sin(np.arange(float(size))))
    wanted = [y.numpy() for y in moving_mean(x, size)]
    for got, want in zip(td.function(moving_mean)(x, size), wanted, strict=True):
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-12)


@pytest.mark.parametrize(
    ("f", "error", "words"),
    [
        (lambda x, i: x[i:], td.errors.TraceError, r"x\[i : i \+ 3\] has a known one"),
        (lambda x, i: x[i : 2 * i], td.errors.TraceError, "not known while tracing"),
        (lambda x, i: x.at[:i].set(0.0), td.errors.TraceError, "not known while tracing"),
        (lambda x, i: x[i : i + 9], td.errors.ShapeError, "do not fit"),
        (lambda x, i: x.at[i : i + 2].set(np.ones(3)), td.errors.ShapeError, "must broadcast"),
        (lambda x, i: x[i + 1 : i + 5], td.errors.IndexOutOfRange, "4 elements from 3 do not lie"),
        (lambda x, i: x[i - 4 : i], td.errors.IndexOutOfRange, "4 elements from -2 do not lie"),
    ],
)
def test_errors(f, error, words):
    with pytest.raises(error, match=words):
        td.function(f)(td.asarray(X), td.asarray(I))
