"""`check_grads`: right rules pass, wrong ones of first and second order are found and named."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td


@td.custom_gradient
def wrong_slope(x):
    return x * x, lambda g: 2.001 * g * x


@td.custom_gradient
def wrong_curvature(x):
    """The gradient is right; the gradient's own gradient is that of a constant."""
    return x * x, lambda g: g * td.stop_gradient(2.0 * x)


def test_right_rules_pass():
    rng = np.random.default_rng(0)

    def f(x, pair, n):
        a, b = pair
        return {"y": td.tanh(x @ a) * n, "z": [td.exp(b), td.sum(x)]}

    args = td.asarray(rng.normal(size=(2, 3))), (rng.normal(size=(3,)).astype(np.float32), 0.5), 3
    td.testing.check_grads(f, args)
    td.testing.check_grads(td.function(f), args)
    td.testing.check_grads(td.sin, (td.asarray(1.0),), order=3)
    td.testing.check_grads(td.sum, (td.ones((0, 2)),))


@pytest.mark.parametrize("way", [lambda f: f, td.function])
def test_wrong_rules_are_named(way):
    x = td.asarray([1.0, 2.0])
    with pytest.raises(td.errors.AssertionFailed, match=r"derivative 1 by args\[0\] at \[0\]"):
        td.testing.check_grads(way(wrong_slope), (x,))
    td.testing.check_grads(way(wrong_curvature), (x,), order=1)
    with pytest.raises(td.errors.AssertionFailed, match=r"derivative 2 by args\[0\]"):
        td.testing.check_grads(way(wrong_curvature), (x,))


def test_what_cannot_be_checked_is_an_error():
    with pytest.raises(td.TreadleError, match="no argument"):
        td.testing.check_grads(lambda n: n, (3,))
    with pytest.raises(td.TreadleError, match="order"):
        td.testing.check_grads(td.sin, (1.0,), order=0)
