"""Losses and metrics: values, stability, gradients, errors, graphs."""

import numpy as np
import pytest
from scipy import special

import treadle as td

BOTH = pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
LOGITS = np.array([[1000.0, 0.0, -1000.0], [0.5, -1.0, 2.0], [-1000.0, -1000.0, -999.0], [1e3, 1e3, 1e3]])
LABELS = np.array([1, 2, 0, 2])
EACH = special.logsumexp(LOGITS, axis=1) - LOGITS[np.arange(4), LABELS]


def as_traced(f, traced):
    return td.function(f) if traced else f


@BOTH
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-6), (np.float64, 1e-12)], ids=["f32", "f64"])
def test_sparse_crossentropy_is_logsumexp_less_the_right_logit(traced, dtype, rtol):
    logits, labels = td.asarray(LOGITS.astype(dtype)), td.asarray(LABELS)
    for reduction, wanted in (("none", EACH), ("mean", EACH.mean()), ("sum", EACH.sum())):
        loss = td.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
        found = as_traced(lambda y, p: loss(y, p), traced)(labels, logits)
        assert found.dtype == dtype
        np.testing.assert_allclose(found.numpy(), wanted, rtol=rtol)


@BOTH
def test_gradient_of_sparse_crossentropy(traced):
    loss = td.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")

    def gradient(y, p):
        with td.GradientTape() as tape:
            tape.watch(p)
            value = loss(y, p)
        return tape.gradient(value, p)

    found = as_traced(gradient, traced)(td.asarray(LABELS), td.asarray(LOGITS))
    np.testing.assert_allclose(found.numpy(), special.softmax(LOGITS, axis=1) - np.eye(3)[LABELS], atol=1e-13)


def test_sparse_crossentropy_from_probabilities_and_on_more_axes():
    p = special.softmax(np.random.default_rng(0).standard_normal((2, 3, 4)), axis=-1)
    y = np.array([[0, 1, 2], [3, 0, 1]], np.int32)
    wanted = -np.log(np.take_along_axis(p, y[..., None], axis=-1)[..., 0])
    from_p = td.losses.SparseCategoricalCrossentropy(reduction="none")(y, p)
    from_logits = td.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")(y, np.log(p))
    np.testing.assert_allclose(from_p.numpy(), wanted, rtol=1e-12)
    np.testing.assert_allclose(from_logits.numpy(), wanted, rtol=1e-12)


@BOTH
@pytest.mark.parametrize("bad", [3, -1])
def test_a_class_out_of_range_raises(traced, bad):
    loss = td.losses.SparseCategoricalCrossentropy(from_logits=True)
    f = as_traced(lambda y, p: loss(y, p), traced)
    logits = td.asarray(LOGITS[:2])
    with pytest.raises(td.errors.AssertionFailed, match=r"outside 0, \.\.\., 3 - 1"):
        f(td.asarray([0, bad]), logits)
    assert np.isfinite(f(td.asarray([0, 1]), logits).item())


def test_sparse_crossentropy_refuses_what_does_not_fit():
    loss = td.losses.SparseCategoricalCrossentropy(from_logits=True)
    with pytest.raises(td.errors.DTypeError, match=r"the order is \(y_true, y_pred\)"):
        loss(td.asarray(LOGITS), td.asarray(LABELS))
    with pytest.raises(td.errors.ShapeError, match=r"y_true has shape \(4, 1\), y_pred \(4, 3\)"):
        loss(td.asarray(LABELS[:, None]), td.asarray(LOGITS))
    with pytest.raises(td.errors.ShapeError, match=r"\(3,\)"):
        loss(td.asarray(LABELS[:3]), td.asarray(LOGITS))
    with pytest.raises(ValueError, match="reduction"):
        td.losses.SparseCategoricalCrossentropy(reduction="average")


def test_an_open_batch_size_is_traced_once():
    loss = td.losses.SparseCategoricalCrossentropy(from_logits=True)
    f = td.function(
        lambda y, p: loss(y, p), input_signature=[td.TensorSpec(("n",), td.int64), td.TensorSpec(("n", 3), td.float64)]
    )
    for count in (4, 2):
        np.testing.assert_allclose(f(LABELS[:count], LOGITS[:count]).item(), EACH[:count].mean(), rtol=1e-12)
    assert f.trace_count == 1


def test_crossentropy_needs_no_host_step_and_few_kernels():
    loss = td.losses.SparseCategoricalCrossentropy(from_logits=True)
    f = td.function(lambda y, p: loss(y, p))
    f(td.asarray(LABELS), td.asarray(LOGITS))
    assert len(f.traces[0].kernels) <= 6
    assert not any(node.op in ("gather", "arange") for node in f.traces[0].graph.nodes)


@BOTH
def test_mean_squared_error(traced):
    y, p = np.arange(6.0).reshape(2, 3), np.ones((2, 3))
    for reduction, wanted in (("none", ((y - p) ** 2).mean(-1)), ("mean", ((y - p) ** 2).mean())):
        loss = td.losses.MeanSquaredError(reduction=reduction)
        np.testing.assert_allclose(as_traced(lambda y, p: loss(y, p), traced)(td.asarray(y), p).numpy(), wanted)


def test_mean_squared_error_refuses_to_broadcast_by_mistake():
    with pytest.raises(td.errors.ShapeError, match=r"\(3,\).*\(3, 1\)"):
        td.losses.MeanSquaredError()(td.ones((3,)), td.ones((3, 1)))


@BOTH
def test_metrics_keep_their_state(traced):
    mean, accuracy = td.metrics.Mean(name="loss"), td.metrics.SparseCategoricalAccuracy()

    def update(y, p):
        mean(p)
        accuracy(y, p)

    f = as_traced(update, traced)
    assert mean.result().item() == 0.0
    for count in (4, 3):
        f(td.asarray(LABELS[:count]), td.asarray(LOGITS[:count]))
    hits = LOGITS.argmax(axis=1) == LABELS
    np.testing.assert_allclose(accuracy.result().item(), (hits.sum() + hits[:3].sum()) / 7, rtol=1e-6)
    both = np.concatenate([LOGITS.ravel(), LOGITS[:3].ravel()])
    np.testing.assert_allclose(mean.result().item(), both.mean(), rtol=1e-6)
    assert mean.result().dtype == td.float32
    mean.reset()
    assert mean.result().item() == 0.0 and mean.trainable_variables == ()


def test_weighted_mean():
    mean = td.metrics.Mean()
    mean(td.asarray([1.0, 2.0, 6.0]), sample_weight=td.asarray([1.0, 0.0, 3.0]))
    assert mean.result().item() == 4.75
