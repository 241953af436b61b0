"""Plain arguments without meaning are refused by name: counts, rates, shapes and bounds of random numbers."""

from __future__ import annotations

import re

import numpy as np
import pytest

import treadle as td
from treadle.core.arguments import real, whole

ArgumentError = td.errors.ArgumentError


def test_whole_numbers():
    assert [whole("n", value, 0) for value in (0, np.int8(3), td.asarray(4))] == [0, 3, 4]
    assert whole("n", -(2**70)) == -(2**70)
    for value in (True, 2.0, "2", None, [1]):
        with pytest.raises(ArgumentError, match=r"n must be a whole number, got"):
            whole("n", value)


def test_real_numbers():
    assert [real("r", value, 0.0) for value in (0, 0.5, np.float32(2))] == [0.0, 0.5, 2.0]
    for value in (True, "1", None, float("nan"), float("inf"), -1):
        with pytest.raises(ArgumentError, match=r"r must be a finite number of 0 or more, got"):
            real("r", value, 0.0)
    with pytest.raises(ArgumentError, match="r must be a finite number from 0 to 1, got 2"):
        real("r", 2, 0, 1)
    with pytest.raises(ArgumentError, match="r must be a finite number, got"):
        real("r", float("nan"))


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: td.random.seed(1.5), "seed must be a whole number, got 1.5"),
        (lambda: td.random.normal((-1,)), "normal: a shape has no negative sizes, got (-1,)"),
        (lambda: td.random.uniform("a"), "uniform: the shape must be a whole number or a tuple of such, got 'a'"),
        (lambda: td.random.normal((2,), std=-1.0), "normal: std must be a finite number of 0 or more, got -1.0"),
        (lambda: td.random.integers((2,), 5, 2), "integers: nothing lies from 5 to 2 - 1"),
        (lambda: td.random.integers((2,), 0, 300, dtype=td.int8), "int8 holds -128 to 127, not 0 to 300 - 1"),
        (lambda: td.random.integers((2,), 0, 1.5), "integers: the bounds must be integers, got float32"),
        (lambda: td.random.bernoulli((2,), 1.5), "bernoulli: p must be a finite number from 0 to 1, got 1.5"),
        (lambda: td.random.permutation(-3), "permutation: x must be at least 0, got -3"),
        (lambda: td.random.permutation(2.5), "permutation: x must be a whole number, got 2.5"),
        (lambda: td.random.categorical((2,), td.zeros((0,))), "categorical: logits need an axis of classes"),
    ],
)
def test_random_numbers_that_cannot_be_drawn_move_nothing(draw, words):
    before = td.random.default.state.numpy()
    with pytest.raises(td.errors.TreadleError, match=re.escape(words)):
        draw()
    np.testing.assert_array_equal(td.random.default.state.numpy(), before)
