"""Layers for images, sequences and attention: values against plain NumPy, building, eager against traced, gradients."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td


def rng():
    return np.random.default_rng(7)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def weights(layer):
    return {v.name.rpartition("/")[2]: v.numpy() for v in layer.variables}


def drawn(layer, *args):
    """The layer built, with weights that are all drawn (biases begin as zeros otherwise)."""
    layer(*args)
    for v in layer.variables:
        v.assign(rng().normal(size=v.shape).astype(v.dtype) * 0.5 + (0.2 if "variance" in v.name else 0) ** 2)
    return layer


def gru_by_hand(x, h, w):
    units = h.shape[1]
    rows = []
    for t in range(x.shape[1]):
        a = x[:, t] @ w["kernel"] + w["bias"][0]
        b = h @ w["recurrent_kernel"] + w["bias"][1]
        z = sigmoid(a[:, :units] + b[:, :units])
        r = sigmoid(a[:, units : 2 * units] + b[:, units : 2 * units])
        h = z * h + (1 - z) * np.tanh(a[:, 2 * units :] + r * b[:, 2 * units :])
        rows.append(h)
    return np.stack(rows, 1)


def lstm_by_hand(x, h, c, w):
    rows = []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"], 4, 1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        rows.append(h)
    return np.stack(rows, 1), c


@pytest.mark.parametrize("traced", [False, True])
def test_gru(traced):
    x, h = rng().normal(size=(2, 5, 3)), rng().normal(size=(2, 4))
    layer = drawn(td.nn.GRU(4, return_sequences=True, return_state=True), td.asarray(x))
    f = td.function(layer) if traced else layer
    rows, last = f(td.asarray(x))
    want = gru_by_hand(x, np.zeros((2, 4)), weights(layer))
    np.testing.assert_allclose(rows.numpy(), want, rtol=1e-12)
    np.testing.assert_allclose(last.numpy(), want[:, -1], rtol=1e-12)
    rows, last = layer(td.asarray(x), initial_state=td.asarray(h))
    np.testing.assert_allclose(rows.numpy(), gru_by_hand(x, h, weights(layer)), rtol=1e-12)
    layer.return_sequences = layer.return_state = False
    np.testing.assert_allclose(f(td.asarray(x)).numpy(), want[:, -1], rtol=1e-12)


@pytest.mark.parametrize("traced", [False, True])
def test_lstm(traced):
    x = rng().normal(size=(2, 5, 3))
    layer = td.nn.LSTM(4, return_sequences=True, return_state=True)
    layer(td.asarray(x))
    assert weights(layer)["bias"].tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 8
    drawn(layer, td.asarray(x))
    rows, state, carry = (td.function(layer) if traced else layer)(td.asarray(x))
    zeros = np.zeros((2, 4))
    want, last = lstm_by_hand(x, zeros, zeros, weights(layer))
    np.testing.assert_allclose(rows.numpy(), want, rtol=1e-12)
    np.testing.assert_allclose(state.numpy(), want[:, -1], rtol=1e-12)
    np.testing.assert_allclose(carry.numpy(), last, rtol=1e-12)
    with pytest.raises(ValueError, match="must hold 2 tensors, got 1"):
        layer(td.asarray(x), initial_state=td.asarray(zeros))


@pytest.mark.parametrize("kind", [td.nn.GRU, td.nn.LSTM])
def test_recurrent_gradients(kind):
    x = td.asarray(rng().normal(size=(2, 3, 2)))
    layer = drawn(kind(3), x)

    def loss(x, kernel, recurrent, bias):
        for variable, value in zip((layer.kernel, layer.recurrent_kernel, layer.bias), (kernel, recurrent, bias)):
            variable.assign(value)
        return td.sum(layer(x) ** 2)

    with td.GradientTape() as tape:
        tape.watch(x)
        value = td.sum(layer(x) ** 2)
    variables = [layer.kernel, layer.recurrent_kernel, layer.bias]
    found = tape.gradient(value, [x, *variables])
    for k, start in enumerate([x.numpy(), *[v.numpy() for v in variables]]):
        step = np.zeros_like(start)
        step.flat[k] = 1e-6
        sides = []
        for sign in (1, -1):
            given = [x, *[td.asarray(v.numpy().copy()) for v in variables]]
            kept = [v.numpy().copy() for v in variables]
            given[k] = td.asarray(start + sign * step)
            sides.append(loss(*given).item())
            for variable, old in zip(variables, kept, strict=True):
                variable.assign(old)
        np.testing.assert_allclose(found[k].numpy().flat[k], (sides[0] - sides[1]) / 2e-6, rtol=1e-5, atol=1e-8)


def test_conv2d_layer():
    x = td.asarray(rng().normal(size=(2, 6, 6, 3)).astype(np.float32))
    layer = drawn(td.nn.Conv2D(4, (3, 2), strides=2, padding="same", activation="relu"), x)
    assert layer.kernel.shape == (3, 2, 3, 4)
    y = layer(x)
    want = np.maximum(td.nn.conv2d(x, layer.kernel, 2, "same").numpy() + layer.bias.numpy(), 0)
    assert y.shape == (2, 3, 3, 4)
    np.testing.assert_allclose(y.numpy(), want, rtol=1e-6)
    np.testing.assert_allclose(td.function(layer)(x).numpy(), want, rtol=1e-5, atol=1e-5)
    bare = td.nn.Conv2D(2, 3, use_bias=False)
    bare(x)
    assert len(bare.variables) == 1
    for bad in ({"filters": 0, "kernel_size": 3}, {"filters": 1, "kernel_size": 0}):
        with pytest.raises(ValueError, match="positive|at least 1"):
            td.nn.Conv2D(**bad)
    with pytest.raises(ValueError, match="padding"):
        td.nn.Conv2D(1, 3, padding="full")
    with pytest.raises(td.errors.ShapeError, match="takes images"):
        td.nn.Conv2D(1, 3)(td.ones((2, 3)))


def test_pool_layers_and_reshape():
    x = td.asarray(np.arange(32.0).reshape(2, 4, 4, 1))
    model = td.nn.Sequential([td.nn.MaxPool2D(2), td.nn.AvgPool2D(2, strides=1), td.nn.Flatten()])
    assert model(x).tolist() == [[10.0], [26.0]]
    assert td.nn.Reshape((2, -1))(x).shape == (2, 2, 8)
    with pytest.raises(ValueError, match="MaxPool2D: pool_size"):
        td.nn.MaxPool2D((2, 0))


def test_layer_norm():
    x = rng().normal(size=(3, 2, 8)) * 4 + 1
    layer = drawn(td.nn.LayerNorm(), td.asarray(x))
    w = weights(layer)
    want = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3) * w["gamma"] + w["beta"]
    np.testing.assert_allclose(layer(td.asarray(x)).numpy(), want, rtol=1e-10)
    np.testing.assert_allclose(td.function(layer)(td.asarray(x)).numpy(), want, rtol=1e-10)
    assert td.nn.LayerNorm(center=False, scale=False)(td.asarray(x)).shape == x.shape
    td.testing.check_grads(lambda t: td.nn.layer_norm(t, w["gamma"], w["beta"]), (td.asarray(x[0]),), order=2)


@pytest.mark.parametrize("traced", [False, True])
def test_batch_norm(traced):
    x = rng().normal(size=(6, 3)) * 3 + 2
    layer = td.nn.BatchNorm(momentum=0.9)
    f = td.function(lambda x, training: layer(x, training)) if traced else layer
    y = f(td.asarray(x), True)
    np.testing.assert_allclose(y.numpy(), (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-3), rtol=1e-10)
    np.testing.assert_allclose(layer.moving_mean.numpy(), 0.1 * x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(layer.moving_variance.numpy(), 0.9 + 0.1 * x.var(0), rtol=1e-12)
    mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    y = f(td.asarray(x), False)
    np.testing.assert_allclose(y.numpy(), (x - mean) / np.sqrt(variance + 1e-3), rtol=1e-10)
    assert len(layer.trainable_variables) == 2 and len(layer.variables) == 4
    with pytest.raises(ValueError, match="momentum"):
        td.nn.BatchNorm(momentum=2)


def test_batch_norm_gradient_goes_through_the_batch_statistics():
    x = td.asarray(rng().normal(size=(4, 2)))
    layer = drawn(td.nn.BatchNorm(), x)
    td.testing.check_grads(lambda t: layer(t, True) ** 2, (x,), order=1)


def test_embedding():
    layer = td.nn.Embedding(5, 3)
    ids = td.asarray([[1, 4], [1, 0]])
    y = layer(ids)
    np.testing.assert_array_equal(y.numpy(), layer.embeddings.numpy()[ids.numpy()])
    assert np.abs(layer.embeddings.numpy()).max() <= 0.05
    with td.GradientTape() as tape:
        total = td.sum(layer(ids) * 2.0)
    assert tape.gradient(total, layer.embeddings).numpy()[:, 0].tolist() == [2, 4, 0, 0, 2]
    np.testing.assert_array_equal(td.function(layer)(ids).numpy(), y.numpy())
    with pytest.raises(td.errors.DTypeError, match="takes integers"):
        layer(td.asarray([1.0]))
    with pytest.raises(IndexError):
        layer(td.asarray([5]))
    with pytest.raises(ValueError, match="at least 1"):
        td.nn.Embedding(0, 1)


def attention_by_hand(q, k, v, mask):
    scores = np.einsum("nqd,nkd->nqk", q, k) / np.sqrt(q.shape[-1])
    scores = np.where(mask, scores, -np.inf)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True) @ v


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("traced", [False, True])
def test_multi_head_attention(traced, causal):
    q, v = rng().normal(size=(2, 4, 6)), rng().normal(size=(2, 5, 6))
    layer = drawn(td.nn.MultiHeadAttention(2, 3), td.asarray(q), td.asarray(v))
    call = lambda q, v: layer(q, v, use_causal_mask=causal)
    got = (td.function(call) if traced else call)(td.asarray(q), td.asarray(v))
    w = weights(layer)
    part = {n: x @ w[f"{n}_kernel"] + w[f"{n}_bias"] for n, x in (("query", q), ("key", v), ("value", v))}
    mask = np.tril(np.ones((4, 5), bool), 1) if causal else np.ones((4, 5), bool)
    heads = [attention_by_hand(*[part[n][..., 3 * h : 3 * h + 3] for n in part], mask) for h in range(2)]
    want = np.concatenate(heads, -1) @ w["output_kernel"] + w["output_bias"]
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-10)


def test_attention_mask_and_gradient():
    x = td.asarray(rng().normal(size=(2, 3, 4)))
    mask = np.array([[[True, False, True]] * 3, [[True, True, False]] * 3])
    want = attention_by_hand(x.numpy(), x.numpy(), x.numpy(), mask)
    np.testing.assert_allclose(td.nn.attention(x, x, x, td.asarray(mask)).numpy(), want, rtol=1e-12)
    td.testing.check_grads(lambda q, v: td.nn.attention(q, v, v, td.asarray(mask)), (x, x * 0.5), order=1)
    layer = td.nn.MultiHeadAttention(1, 2, use_bias=False, dropout=0.5)
    hidden = layer(x, x, attention_mask=td.asarray(mask)).numpy()
    moved = x.numpy().copy()
    moved[0, 1] += 1  # a position that no query of the first example sees; it is a query itself
    again = layer(td.asarray(moved), td.asarray(moved), attention_mask=td.asarray(mask)).numpy()
    np.testing.assert_array_equal(hidden[0, [0, 2]], again[0, [0, 2]])
    assert not np.array_equal(hidden[0, 1], again[0, 1])
    assert layer(x, x, training=True).shape == x.shape
