"""Activations: values and gradients against float64 references, and no overflow at either end."""

import numpy as np
import pytest
from scipy import special

import treadle as td

POINTS = np.array([-1000.0, -50.0, -5.0, -1.0, -1e-3, 0.0, 1e-3, 0.5, 1.0, 5.0, 50.0, 1000.0])


def _sigmoid(x):
    return special.expit(x)


def _phi(x):
    return np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805
NEGATIVE = np.minimum(POINTS, 0)
REFERENCES = {
    "relu": (np.maximum(POINTS, 0), (POINTS > 0) * 1.0),
    "elu": (np.where(POINTS > 0, POINTS, np.expm1(NEGATIVE)), np.where(POINTS > 0, 1, np.exp(NEGATIVE))),
    "selu": (
        SCALE * np.where(POINTS > 0, POINTS, ALPHA * np.expm1(NEGATIVE)),
        SCALE * np.where(POINTS > 0, 1, ALPHA * np.exp(NEGATIVE)),
    ),
    "softplus": (np.logaddexp(POINTS, 0), _sigmoid(POINTS)),
    "softsign": (POINTS / (1 + np.abs(POINTS)), 1 / (1 + np.abs(POINTS)) ** 2),
    "sigmoid": (_sigmoid(POINTS), _sigmoid(POINTS) * _sigmoid(-POINTS)),
    "tanh": (np.tanh(POINTS), 1 - np.tanh(POINTS) ** 2),
    "swish": (POINTS * _sigmoid(POINTS), _sigmoid(POINTS) * (1 + POINTS * _sigmoid(-POINTS))),
    "gelu": (POINTS * special.ndtr(POINTS), special.ndtr(POINTS) + POINTS * _phi(POINTS)),
}


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_activation(name, dtype, traced):
    activation = getattr(td.nn, name)

    def both(x):
        with td.GradientTape() as tape:
            tape.watch(x)
            y = activation(x)
        return y, tape.gradient(y, x)

    y, slope = (td.function(both) if traced else both)(td.asarray(POINTS.astype(dtype)))
    eps = 4e-6 if dtype == np.float32 else 1e-13
    assert y.dtype == dtype
    tiny = 1e-30 if dtype == np.float32 else 1e-200
    np.testing.assert_allclose(y.numpy(), REFERENCES[name][0], rtol=eps, atol=tiny)
    np.testing.assert_allclose(slope.numpy(), REFERENCES[name][1], rtol=eps, atol=eps)


def test_gelu_approximate():
    x = np.linspace(-5, 5, 41)
    wanted = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    np.testing.assert_allclose(td.nn.gelu(td.asarray(x), approximate=True).numpy(), wanted, rtol=1e-12)


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
def test_softmax_and_log_softmax(traced):
    rows = np.array([[1000.0, 0.0, -1000.0], [1.0, 2.0, 3.0], [-1000.0, -1000.0, -1000.0]])

    def both(x):
        return td.nn.softmax(x), td.nn.log_softmax(x), td.nn.softmax(x, axis=0)

    soft, log_soft, down = (td.function(both) if traced else both)(td.asarray(rows))
    np.testing.assert_allclose(soft.numpy(), special.softmax(rows, axis=1), rtol=1e-14)
    np.testing.assert_allclose(log_soft.numpy(), special.log_softmax(rows, axis=1), rtol=1e-14)
    np.testing.assert_allclose(down.numpy(), special.softmax(rows, axis=0), rtol=1e-14)


def test_gradients_of_softmax():
    x = np.array([[0.3, -1.0, 2.0]])
    jacobian = td.jacobian(td.nn.softmax)(td.asarray(x)).numpy().reshape(3, 3)
    p = special.softmax(x[0])
    np.testing.assert_allclose(jacobian, np.diag(p) - np.outer(p, p), rtol=1e-13, atol=1e-16)
    log_jacobian = td.jacobian(td.nn.log_softmax)(td.asarray(x)).numpy().reshape(3, 3)
    np.testing.assert_allclose(log_jacobian, np.eye(3) - p[None, :], rtol=1e-13, atol=1e-16)


def test_relu_passes_nan_and_keeps_integers():
    assert np.isnan(td.nn.relu(td.asarray([np.nan, 1.0])).numpy()[0])
    assert td.nn.relu(td.asarray([-2, 3])).tolist() == [0, 3]
