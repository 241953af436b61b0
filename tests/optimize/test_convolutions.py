"""Convolutions that read images where they lie: that they give what products of copied windows give, and when."""

import numpy as np
import pytest

import treadle as td
from treadle.optimize import convolutions
from treadle.optimize.pipeline import rewrites

RULES = ("convolution directly", "kernel's gradient directly", "images' gradient directly")


@pytest.fixture
def always(monkeypatch):
    """Directly wherever that can be."""
    monkeypatch.setattr(convolutions, "CLEARLY", float("inf"))
    monkeypatch.setattr(convolutions, "SHORTEST", 0)
    monkeypatch.setattr(convolutions, "WIDEST", 1 << 40)


def drawn(*shapes, dtype="float64"):
    rng = np.random.default_rng(7)
    return [td.asarray(rng.standard_normal(shape).astype(dtype)) for shape in shapes]


def applied(function):
    counts = rewrites(function.traces[-1].graph)
    return [counts.get(rule, 0) for rule in RULES]


def close(got, wanted, dtype):
    bound = 1e-11 if dtype == "float64" else 2e-4
    np.testing.assert_allclose(np.asarray(got), np.asarray(wanted), rtol=bound, atol=bound)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("images", "kernel", "options"),
    [
        ((2, 9, 8, 5), (3, 2, 5, 4), {}),
        ((3, 7, 9, 4), (3, 3, 4, 6), {"padding": "same"}),
        ((1, 6, 5, 4), (5, 5, 4, 8), {}),
        ((2, 5, 5, 4), (5, 5, 4, 5), {}),
    ],
)
def test_results_and_gradients(images, kernel, options, dtype, always):
    x, w = drawn(images, kernel, dtype=dtype)

    def loss(x, w):
        return td.sum(td.tanh(td.nn.conv2d(x, w, **options)))

    both = td.function(td.value_and_grad(loss, argnums=(0, 1)))
    (value, (dx, dw)), (wanted, (x_wanted, w_wanted)) = both(x, w), td.value_and_grad(loss, argnums=(0, 1))(x, w)
    assert applied(both) == [1, 1, 1]
    close(value, wanted, dtype)
    close(dx, x_wanted, dtype)
    close(dw, w_wanted, dtype)


@pytest.mark.parametrize(
    ("options", "directly"),
    [
        ({"strides": 2}, [1, 0, 0]),
        ({"strides": (1, 3)}, [1, 0, 0]),
        ({"dilations": (2, 1)}, [1, 0, 0]),
        ({"dilations": 2}, [0] * 3),
    ],
)
def test_strides_and_gaps(options, directly, always):
    x, w = drawn((2, 11, 10, 4), (3, 3, 4, 5))
    f = td.function(lambda x, w: td.nn.conv2d(x, w, **options))
    close(f(x, w), td.nn.conv2d(x, w, **options), "float64")
    assert applied(f) == directly

    def loss(x, w):
        return td.sum(td.square(td.nn.conv2d(x, w, **options)))

    gradients = td.function(td.grad(loss, argnums=(0, 1)))
    for got, wanted in zip(gradients(x, w), td.grad(loss, argnums=(0, 1))(x, w), strict=True):
        close(got, wanted, "float64")
    assert applied(gradients) == [0, 0, 0], "windows that the kernel's gradient needs all the same"


def test_windows_that_something_else_reads_stay(always):
    x, w = drawn((2, 8, 8, 4), (3, 3, 4, 5))
    from treadle.ops.windows import windows

    def f(x, w):
        rows = td.reshape(windows(x, (3, 3), (1, 1), (1, 1)), (72, 36))
        return rows @ td.reshape(w, (36, 5)), td.max(rows)

    traced = td.function(f)
    close(traced(x, w)[0], f(x, w)[0], "float64")
    assert applied(traced) == [0, 0, 0]


def test_in_a_loop(always):
    x, w = drawn((2, 8, 8, 4), (3, 3, 4, 4))

    def f(x, w):
        i = td.asarray(0)
        while i < 3:
            x = td.tanh(td.nn.conv2d(x, w, padding="same"))
            i = i + 1
        return x

    traced = td.function(f)
    close(traced(x, w), f(x, w), "float64")
    assert applied(traced) == [1, 0, 0]


@pytest.mark.parametrize(
    ("images", "kernel", "directly"),
    [
        ((4, 64, 64, 32), (3, 3, 32, 8), True),
        ((4, 64, 64, 8), (5, 5, 8, 8), True),
        ((32, 28, 28, 1), (3, 3, 1, 8), False),
        ((16, 16, 16, 128), (3, 3, 128, 128), False),
        ((64, 8, 8, 64), (3, 3, 64, 128), False),
        ((8, 32, 32, 128), (1, 1, 128, 32), False),
    ],
)
def test_the_way_that_was_measured_faster_is_taken(images, kernel, directly):
    def loss(x, w):
        return td.sum(td.nn.conv2d(x, w))

    graph = (
        td.function(td.grad(loss, argnums=(0, 1)))
        .trace(td.TensorSpec(images, "float32"), td.TensorSpec(kernel, "float32"))
        .graph
    )
    found = [rewrites(graph).get(rule, 0) for rule in RULES]
    assert any(found) == directly
