"""A training loop inside one traced function, rows L1 to L6 and L9: datasets, state, printing, metrics, losses."""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import treadle as td

SAMPLES, BATCH = 20_000, 100


@pytest.fixture(scope="module")
def digits():
    """Real images of handwritten digits as rows of 64 whole numbers up to 16, and the digit of each."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.data.astype(np.uint8), found.target.astype(np.uint8)


def prepare(x, y):
    return td.astype(x, td.float32) / 16.0, td.astype(y, td.int64)


def pipeline(digits, samples):
    """The images again and again, so many in all, in random order, in batches of 100."""
    rows = td.data.Dataset.from_tensor_slices(digits)
    return rows.map(prepare).repeat().take(samples).shuffle(samples, seed=3).batch(BATCH)


def all_ops(graph):
    return [node.op for node in graph.walk()]


def test_L1_batches_of_mapped_and_shuffled_samples(digits):
    assert len(pipeline(digits, SAMPLES)) == SAMPLES // BATCH == 200  # the loop below runs through as many
    x, y = next(iter(pipeline(digits, 1000)))
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((100, 64), td.float32, (100,), td.int64)
    assert 0 <= float(td.min(x)) < float(td.max(x)) <= 1
    some = td.data.Dataset.from_tensor_slices(digits).take(500).shuffle(500, seed=3).batch(BATCH)
    first, again = (next(iter(some))[1].tolist() for _ in range(2))
    assert first != again  # another order at each iteration


@dataclass
class Trained:
    """What a training loop in one function has given, printed and measured."""

    step: td.Tensor
    loss: td.Tensor
    accuracy: td.Tensor
    lines: list[str]
    function: Any
    mean_loss: td.metrics.Mean
    accuracies: td.metrics.SparseCategoricalAccuracy


@pytest.fixture(scope="module")
def trained(digits):
    """Two hundred steps of batch 100, the whole loop in one traced function."""
    td.random.seed(1)
    model = td.nn.Sequential([td.nn.Dense(64, activation="relu"), td.nn.Dense(10)])
    optimizer = td.optim.Adam(0.003)
    loss_of = td.losses.SparseCategoricalCrossentropy(from_logits=True)
    mean_loss, accuracies = td.metrics.Mean(), td.metrics.SparseCategoricalAccuracy()

    def train_one_step(x, y):
        with td.GradientTape() as tape:
            logits = model(x)
            loss = loss_of(y, logits)
        weights = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        mean_loss(loss)
        accuracies(y, logits)
        return loss

    @td.function
    def train(train_ds):
        step = 0
        loss = 0.0
        for x, y in train_ds:
            step += 1
            loss = train_one_step(x, y)
            if step % 10 == 0:
                td.print("step", step, "loss", loss, "accuracy", accuracies.result())
        return step, loss, accuracies.result()

    rows = td.data.Dataset.from_tensor_slices(digits).repeat().take(SAMPLES).shuffle(SAMPLES, seed=3)
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        step, loss, accuracy = train(rows.batch(BATCH).map(prepare))
    return Trained(step, loss, accuracy, text.getvalue().splitlines(), train, mean_loss, accuracies)


def test_L2_a_loop_over_a_dataset_is_one_node_and_prints_every_tenth_step(trained):
    assert len(trained.lines) == 20
    numbers = [int(re.match(r"step (\d+) loss ", line)[1]) for line in trained.lines]
    assert numbers == list(range(10, 201, 10))
    assert (trained.step.item(), trained.step.dtype) == (200, td.int64)
    assert (trained.loss.shape, trained.loss.dtype) == ((), td.float32)
    assert trained.function.trace_count == 1
    ops = all_ops(trained.function.traces[0].graph)
    assert ops.count("while") == 1
    assert ops.count("dataset_next") == 1


def test_L3_two_hundred_steps_learn_real_digits(trained):
    assert float(trained.loss) < 0.35
    assert 0.80 < float(trained.accuracy) < 1.0


def test_L4_metrics_keep_their_state_in_the_graph(trained):
    assert trained.accuracies.count.numpy() == SAMPLES
    assert trained.accuracies.result().item() == trained.accuracy.item()
    assert trained.mean_loss.count.numpy() == 200
    for metric in (trained.mean_loss, trained.accuracies):
        metric.reset()
        assert (metric.result().item(), metric.count.numpy()) == (0, 0)


def test_L4_a_mean_over_all_samples_equals_numpys(run, digits):
    x = digits[0][:1000].astype(np.float32)
    mean = td.metrics.Mean()

    @run
    def measure(ds):
        for rows in ds:
            mean(rows)
        return mean.result()

    got = measure(td.data.Dataset.from_tensor_slices(x).batch(64))
    np.testing.assert_allclose(got.numpy(), x.mean(dtype=np.float64), rtol=1e-6)
    if run.traced:  # the last batch is smaller, and costs no second trace
        assert measure.trace_count == 1
        assert all_ops(measure.traces[0].graph).count("while") == 1


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_L5_cross_entropy_from_logits_of_any_size(run, scale):
    rng = np.random.default_rng(5)
    logits = (rng.normal(size=(50, 7)) * scale).astype(np.float32)
    labels = rng.integers(0, 7, 50)
    loss_of = td.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")
    got = run(lambda y, z: loss_of(y, z))(td.asarray(labels), td.asarray(logits))
    wide = logits.astype(np.float64)
    top = wide.max(axis=1, keepdims=True)
    wanted = np.log(np.exp(wide - top).sum(axis=1)) + top[:, 0] - wide[np.arange(50), labels]
    assert got.shape == (50,)
    assert np.isfinite(got.numpy()).all()
    np.testing.assert_allclose(got.numpy(), wanted, rtol=2e-6, atol=1e-6 * scale)

    @run
    def gradient(y, z):
        with td.GradientTape() as tape:
            tape.watch(z)
            loss = td.sum(loss_of(y, z))
        return tape.gradient(loss, z)

    share = np.exp(wide - top)
    share /= share.sum(axis=1, keepdims=True)
    share[np.arange(50), labels] -= 1
    np.testing.assert_allclose(gradient(td.asarray(labels), td.asarray(logits)).numpy(), share, atol=2e-6)


def test_L6_gradients_keep_their_order_and_missing_ones_are_told_of(run):
    a, b, c = (td.Variable([float(k)] * (k + 1), name=name) for k, name in enumerate("abc"))
    optimizer = td.optim.SGD(1.0)

    @run
    def step(x):
        with td.GradientTape() as tape:
            loss = td.sum(a) * x + td.sum(c) * 10.0
        gradients = tape.gradient(loss, [a, b, c])
        optimizer.apply_gradients(zip(gradients, [a, b, c]))
        return gradients[1] is None

    with pytest.warns(td.errors.GradientWarning, match=r"the gradient of the Variable 'b' is None"):
        assert step(td.asarray(2.0))
    assert a.numpy().tolist() == [-2.0]
    assert b.numpy().tolist() == [1.0, 1.0]
    assert c.numpy().tolist() == [-8.0, -8.0, -8.0]


def test_L9_enumerate_over_full_batches(run, digits):
    @run
    def sums(ds, n):
        total = td.asarray(0.0)
        last = 0
        for k, (x, y) in enumerate(ds.take(n)):
            assert x.shape == (100, 64)
            total = total + td.sum(x) * td.astype(td.sum(y), td.float32) / 1e4
            last = k
        return total, last

    ds = td.data.Dataset.from_tensor_slices(digits).map(prepare).batch(100, drop_remainder=True)
    assert len(ds) == 17  # of 1,797 samples
    batches = [(digits[0][k * 100 : k * 100 + 100] / 16.0, digits[1][k * 100 : k * 100 + 100]) for k in range(17)]
    for n in (3, 17, 30):
        total, last = sums(ds, n)
        wanted = sum(x.sum() * float(y.astype(int).sum()) / 1e4 for x, y in batches[:n])
        np.testing.assert_allclose(total.numpy(), wanted, rtol=1e-5)
        assert int(last) == min(n, 17) - 1
    if run.traced:
        assert sums.trace_count == 3  # n is a Python number
        assert all(all_ops(trace.graph).count("while") == 1 for trace in sums.traces)


def test_L9_a_step_traced_once_for_full_batches(digits):
    @td.function
    def step(x, y):
        return td.sum(x) + td.astype(td.sum(y), td.float32)

    ds = td.data.Dataset.from_tensor_slices(digits).map(prepare).batch(100, drop_remainder=True)
    for _, (x, y) in enumerate(ds.take(40)):
        step(x, y)
    assert step.trace_count == 1
