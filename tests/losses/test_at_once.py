"""Cross-entropy in eager code, as one op, against the traced one, which is made of small ops."""

import numpy as np
import pytest

import treadle as td
from treadle.core.mode import current
from treadle.losses import at_once

LOSS = td.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_and_gradients_of_both_orders_agree_with_the_traced_ones(dtype, reduction):
    loss = td.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
    draws = np.random.default_rng(3)
    logits = td.asarray(draws.normal(size=(5, 4)).astype(dtype) * 3)
    along = td.asarray(draws.normal(size=(5, 4)).astype(dtype))
    labels = td.asarray(draws.integers(0, 4, 5))

    def whole(z):
        return td.sum(td.square(loss(labels, z)))

    def first(z):
        return td.grad(whole)(z)

    def second(z):
        return td.grad(lambda z: td.sum(first(z) * along))(z)

    tolerance = {"rtol": 1e-5, "atol": 1e-7} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-14}
    for f in (lambda z: loss(labels, z), first, second):
        np.testing.assert_allclose(f(logits).numpy(), td.function(f)(logits).numpy(), **tolerance)


def test_large_logits_and_a_tape():
    z = td.asarray([[1000.0, 0.0, -1000.0], [0.0, 0.0, 0.0]])
    with td.GradientTape() as tape:
        tape.watch(z)
        assert current().plain
        loss = LOSS(td.asarray([0, 2]), z)
    np.testing.assert_allclose(loss.numpy(), np.log(3) / 2, rtol=1e-6)
    third = 1 / 6
    np.testing.assert_allclose(
        tape.gradient(loss, z).numpy(), [[0, 0, 0], [third, third, third - 0.5]], rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("label", [-1, 3])
def test_a_class_out_of_range_is_left_to_the_longer_way(label):
    labels, z = td.asarray([label]), td.zeros((1, 3))
    assert at_once.cross_entropy(labels, z, "mean") is None
    with pytest.raises(td.errors.AssertionFailed, match="outside 0"):
        LOSS(labels, z)


def test_traced_code_is_made_of_small_ops():
    trace = td.function(lambda z: LOSS(td.asarray([0, 1]), z)).trace(td.zeros((2, 3)))
    assert "cross_entropy" not in {str(node.op) for node in trace.graph.nodes}


def test_one_sample_without_a_batch():
    z = td.asarray([0.5, -1.0, 2.0])
    with td.GradientTape() as tape:
        tape.watch(z)
        loss = LOSS(td.asarray(2), z)
    softmax = np.exp(z.numpy()) / np.exp(z.numpy()).sum()
    np.testing.assert_allclose(loss.numpy(), -np.log(softmax[2]), rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(loss, z).numpy(), softmax - [0, 0, 1], rtol=1e-6)


def test_a_persistent_tape_gives_its_gradient_again():
    z = td.asarray(np.random.default_rng(0).normal(size=(4, 3)))
    with td.GradientTape(persistent=True) as tape:
        tape.watch(z)
        loss = LOSS(td.asarray([0, 1, 2, 0]), z)
    first = tape.gradient(loss, z)
    kept = first.numpy().copy()
    np.testing.assert_array_equal(tape.gradient(loss, z).numpy(), kept)
    np.testing.assert_array_equal(first.numpy(), kept)
