"""Training curves of a two-layer net under optimizers in float64, against references made with NumPy.

The same net without biases and optimizers is reference curve R1 of the acceptance tests.
"""

import numpy as np
import pytest

import treadle as td

R2 = [587.61336, 548.64438, 514.2499]
R3 = [587.61336, 572.23061, 557.36416]
R4 = [587.61336, 2.0346232, 0.022019306, 4.8060676e-4]
R5 = [587.61336, 5.9437794e-3, 1.6306143e-7, 4.4748608e-12]


def curve(step, points):
    """The losses at steps 0, 100, 200, ..."""
    losses = []
    for k in range(100 * (points - 1) + 1):
        loss = step()
        if k % 100 == 0:
            losses.append(loss.item())
    return losses


def layered_net(optimizer):
    """R2 to R5: Linear, relu, Linear with uniform weights and biases."""
    rng = np.random.default_rng(0)
    x, y = td.asarray(rng.standard_normal((60, 1000))), td.asarray(rng.standard_normal((60, 10)))
    model = td.nn.Sequential([td.nn.Dense(100, "relu"), td.nn.Dense(10)])
    model(x)
    for layer, n_in in zip(model.layers, (1000, 100), strict=True):
        bound = 1 / np.sqrt(n_in)
        layer.kernel.assign(rng.uniform(-bound, bound, layer.kernel.shape))
        layer.bias.assign(rng.uniform(-bound, bound, layer.bias.shape))
    weights = model.trainable_variables

    def step():
        with td.GradientTape() as tape:
            loss = td.sum((model(x) - y) ** 2)
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return loss

    return step


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda: td.optim.SGD(1e-6), R2),
        (lambda: td.optim.Adam(1e-6), R3),
        (lambda: td.optim.SGD(1e-4), R4),
        (lambda: td.optim.SGD(1e-4, momentum=0.9), R5),
    ],
    ids=["R2", "R3", "R4", "R5"],
)
def test_layered_net_traced(make, wanted):
    step = td.function(layered_net(make()))
    np.testing.assert_allclose(curve(step, len(wanted)), wanted, rtol=1e-7)
    assert step.trace_count == 1
