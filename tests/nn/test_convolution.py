"""Convolution and pooling against loops in plain NumPy; gradients; eager against traced; errors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td


def framed(x, sizes, strides, padding, dilations, value):
    """The image with its margins, and how many windows fit."""
    margins, counts = [], []
    for size, window, stride, dilation in zip(x.shape[1:3], sizes, strides, dilations, strict=True):
        span = (window - 1) * dilation + 1
        count = (size - span) // stride + 1 if padding == "valid" else -(-size // stride)
        missing = max(0, (count - 1) * stride + span - size) if padding == "same" else 0
        margins.append((missing // 2, missing - missing // 2))
        counts.append(count)
    return np.pad(x, [(0, 0), *margins, (0, 0)], constant_values=value), counts


def slow(x, sizes, strides, padding, dilations, value, reduce):
    """reduce(window (n, rows, columns, c)) for each place."""
    x, counts = framed(x, sizes, strides, padding, dilations, value)
    rows = []
    for places in itertools.product(*map(range, counts)):
        cut = [
            slice(p * s, p * s + (k - 1) * d + 1, d)
            for p, s, k, d in zip(places, strides, sizes, dilations, strict=True)
        ]
        rows.append(reduce(x[:, cut[0], cut[1]]))
    return np.stack(rows, 1).reshape(x.shape[0], *counts, -1)


def convolved(x, kernel, strides, padding, dilations):
    def product(window):
        return np.einsum("nrsc,rsco->no", window, kernel)

    return slow(x, kernel.shape[:2], strides, padding, dilations, 0, product)


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(derandomize=True, deadline=None, max_examples=25)
@given(
    st.tuples(st.integers(7, 9), st.integers(7, 8)), pairs, pairs, pairs, st.sampled_from(["valid", "same"]),
    st.sampled_from([1, 2]),
)  # fmt: skip
def test_conv2d_against_loops(image, sizes, strides, dilations, padding, channels):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, *image, channels))
    kernel = rng.normal(size=(*sizes, channels, 3))
    got = td.nn.conv2d(td.asarray(x), td.asarray(kernel), strides, padding, dilations)
    want = convolved(x, kernel, strides, padding, dilations)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-12, atol=1e-12)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(st.tuples(st.integers(4, 7), st.integers(4, 7)), pairs, st.none() | pairs, st.sampled_from(["valid", "same"]))
def test_pooling_against_loops(image, sizes, strides, padding):
    x = np.random.default_rng(2).normal(size=(2, *image, 3))
    steps = strides or sizes
    for name, value, reduce in (
        ("max_pool2d", -np.inf, lambda w: w.max((1, 2))),
        ("avg_pool2d", np.nan, lambda w: np.nanmean(w, (1, 2))),
    ):
        got = getattr(td.nn, name)(td.asarray(x), sizes, strides, padding)
        np.testing.assert_allclose(got.numpy(), slow(x, sizes, steps, padding, (1, 1), value, reduce), rtol=1e-12)


CASES = {
    "plain": lambda x, k: td.nn.conv2d(x, k),
    "same": lambda x, k: td.nn.conv2d(x, k, padding="same"),
    "strides and dilations": lambda x, k: td.nn.conv2d(x, k, (2, 1), "same", (1, 2)),
    "pooled": lambda x, k: td.nn.max_pool2d(td.nn.conv2d(x, k), 2),
    "overlapping pools": lambda x, k: td.nn.max_pool2d(td.nn.conv2d(x, k), 2, 1, "same"),
    "averages": lambda x, k: td.nn.avg_pool2d(td.nn.conv2d(x, k, padding="same"), (3, 2), 2, "same"),
}


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_gradients_and_traces(name, channels):
    rng = np.random.default_rng(3)
    x, k = rng.normal(size=(2, 5, 4, channels)), rng.normal(size=(2, 2, channels, 2))
    f = CASES[name]
    td.testing.check_grads(f, (td.asarray(x), td.asarray(k)), order=2)

    def both(x, k):
        loss, gradients = td.value_and_grad(lambda x, k: td.sum(f(x, k) ** 2), argnums=(0, 1))(x, k)
        return f(x, k), loss, *gradients

    args = td.asarray(x), td.asarray(k)
    for got, want in zip(td.function(both)(*args), both(*args), strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-12, atol=1e-12)


def test_kernel_of_one_is_a_product_of_channels():
    rng = np.random.default_rng(4)
    x, k = rng.normal(size=(2, 3, 3, 4)), rng.normal(size=(1, 1, 4, 5))
    np.testing.assert_allclose(td.nn.conv2d(td.asarray(x), td.asarray(k)).numpy(), x @ k[0, 0], rtol=1e-12)


def test_ties_share_the_gradient_of_a_pool():
    g = td.grad(lambda x: td.sum(td.nn.max_pool2d(x)))(td.ones((1, 2, 2, 1)))
    assert g.tolist() == [[[[0.25], [0.25]], [[0.25], [0.25]]]]


def test_a_symbolic_batch_takes_any_size():
    k = td.asarray(np.random.default_rng(5).normal(size=(3, 3, 2, 4)).astype(np.float32))
    f = td.function(lambda x: td.nn.max_pool2d(td.nn.conv2d(x, k)), input_signature=[td.TensorSpec((None, 6, 6, 2))])
    for n in (1, 3):
        x = td.asarray(np.random.default_rng(n).normal(size=(n, 6, 6, 2)).astype(np.float32))
        np.testing.assert_allclose(f(x).numpy(), td.nn.max_pool2d(td.nn.conv2d(x, k)).numpy(), rtol=1e-4, atol=1e-5)
    assert f.trace_count == 1


def test_errors_say_what_does_not_fit():
    x = td.ones((1, 4, 4, 3))
    with pytest.raises(td.errors.ShapeError, match="images of 3 channels, a kernel for 2"):
        td.nn.conv2d(x, td.ones((3, 3, 2, 1)))
    with pytest.raises(td.errors.ShapeError, match="axis 1 of size 4 is shorter than the window, which spans 5"):
        td.nn.conv2d(x, td.ones((3, 3, 3, 1)), dilations=2)
    with pytest.raises(td.errors.ShapeError, match=r"images \(n, height, width, channels\)"):
        td.nn.max_pool2d(td.ones((4, 4)))
    with pytest.raises(ValueError, match="padding must be"):
        td.nn.conv2d(x, td.ones((3, 3, 3, 1)), padding="full")
    with pytest.raises(ValueError, match="strides must be a positive number or two"):
        td.nn.conv2d(x, td.ones((3, 3, 3, 1)), strides=(1, 0))
