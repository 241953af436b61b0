"""treadle: each program as a traced function, and the same program op by op."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import treadle as td
from peers.base import (
    BETA_1,
    BETA_2,
    DROPPED,
    EAGER,
    EPSILON,
    HEADS,
    INTEREST,
    RATE,
    SGD_RATE,
    SWEEPS,
    TINY,
    TURNS,
    VOLATILITY,
    Array,
    NotSupported,
    Peer,
    by_name,
    one_of,
)

LOSS = td.losses.SparseCategoricalCrossentropy(from_logits=True)


def add_one(x: Any) -> Any:
    return x + 1


def many(*xs: Any) -> Any:
    return [x + 1 for x in xs]


def eager_add(x: Any, y: Any) -> Any:
    return x + y


def chain(x: Any, a: Any, b: Any) -> Any:
    return td.tanh(x * a + b) * td.sigmoid(x) + td.exp(-x * x) / 2


def chain_gradient(x: Any, a: Any, b: Any) -> Any:
    return td.grad(lambda x: td.sum(chain(x, a, b)))(x)


def gelu(x: Any) -> Any:
    return 0.5 * x * (1 + td.erf(x * math.sqrt(0.5)))


def black_scholes(spot: Any, strike: Any, years: Any) -> Any:
    spread = VOLATILITY * td.sqrt(years)
    high = (td.log(spot / strike) + (INTEREST + VOLATILITY**2 / 2) * years) / spread
    low = high - spread
    half = math.sqrt(0.5)
    return spot * (0.5 + 0.5 * td.erf(high * half)) - strike * td.exp(-INTEREST * years) * (
        0.5 + 0.5 * td.erf(low * half)
    )


def monte_carlo(strike: Any, seed: Any) -> Any:
    return td.mean(td.maximum(td.exp(VOLATILITY * td.random.normal(strike.shape)) - strike, 0))


def dropout(x: Any, seed: Any) -> Any:
    return td.value_and_grad(lambda x: td.sum(td.square(td.nn.dropout(td.tanh(x), DROPPED))))(x)


def rows(x: Any, y: Any) -> Any:
    return td.sum(td.square(td.exp(x - y)), axis=1)


def columns(x: Any, y: Any) -> Any:
    return td.sum(td.square(td.exp(x - y)), axis=0)


def everything(x: Any, y: Any) -> Any:
    return td.sum(td.square(td.exp(x - y)))


def logsumexp(x: Any) -> Any:
    return td.logsumexp(x, axis=1)


def variance(x: Any) -> Any:
    return td.var(x)


def cross_entropy(logits: Any, labels: Any) -> Any:
    return td.value_and_grad(lambda z: LOSS(labels, z))(logits)


def layer_norm(x: Any, gamma: Any, beta: Any, w: Any) -> Any:
    def total(x: Any, gamma: Any, beta: Any) -> Any:
        return td.sum(w * td.nn.layer_norm(x, gamma, beta, TINY))

    value, gradients = td.value_and_grad(total, argnums=(0, 1, 2))(x, gamma, beta)
    return value, *gradients


def logistic(x: Any, r: Any, n: Any) -> Any:
    i = 0
    while i < n:
        x = r * x * (1 - x)
        i += 1
    return x


def newton(a: Any) -> Any:
    x = a
    while abs(x * x - a) > 1e-10 * a:
        x = 0.5 * (x + a / x)
    return x


def newton_vector(a: Any) -> Any:
    x = a
    while td.any(abs(x * x - a) > 1e-10 * a):
        x = 0.5 * (x + a / x)
    return x


def collatz(n: Any) -> Any:
    steps = 0
    while n != 1:
        if n % 2 == 0:
            n = n // 2
        else:
            n = 3 * n + 1
        steps += 1
    return steps


def descent(w: Any, x: Any, y: Any, n: Any) -> Any:
    i = 0
    while i < n:
        w = w - 0.01 * td.grad(lambda w: td.square(w * x - y))(w)
        i += 1
    return w


def mandelbrot(re: Any, im: Any) -> Any:
    x, y, count = td.zeros_like(re), td.zeros_like(im), td.zeros(re.shape, dtype=td.int32)
    for _ in td.range(TURNS):
        x, y = x * x - y * y + re, 2 * x * y + im
        count = count + td.astype(x * x + y * y <= 4, td.int32)
    return count


def jacobi(u: Any) -> Any:
    for _ in td.range(SWEEPS):
        u = u.at[1:-1, 1:-1].set(0.25 * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]))
    return u


def gru(x: Any, kernel: Any, recurrent: Any, bias: Any, recurrent_bias: Any) -> Any:
    def loss(kernel: Any, recurrent: Any, bias: Any, recurrent_bias: Any) -> Any:
        start = td.zeros((x.shape[1], recurrent.shape[0]), dtype=x.dtype)
        last, _ = td.scan(lambda h, p: (td.nn.gru_cell(p, h, recurrent, recurrent_bias), ()), start, x @ kernel + bias)
        return td.sum(td.square(last)) / 2

    value, gradients = td.value_and_grad(loss, argnums=(0, 1, 2, 3))(kernel, recurrent, bias, recurrent_bias)
    return value, *gradients


def _heads(x: Any) -> Any:
    n, places, width = x.shape
    return td.permute_dims(td.reshape(x, (n, places, HEADS, width // HEADS)), (0, 2, 1, 3))


def attention(x: Any, wq: Any, wk: Any, wv: Any, wo: Any) -> Any:
    mask = td.nn.causal_mask(x.shape[1], x.shape[1])

    def loss(x: Any, wq: Any, wk: Any, wv: Any, wo: Any) -> Any:
        mixed = td.nn.attention(_heads(x @ wq), _heads(x @ wk), _heads(x @ wv), mask)
        y = td.reshape(td.permute_dims(mixed, (0, 2, 1, 3)), x.shape) @ wo
        return td.sum(td.square(y)) / 2

    value, gradients = td.value_and_grad(loss, argnums=(0, 1, 2, 3, 4))(x, wq, wk, wv, wo)
    return value, *gradients


def perceptron(weights: Sequence[Any], x: Any) -> Any:
    for w, b in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        x = td.nn.relu(x @ w + b)
    return x @ weights[-2] + weights[-1]


def eager_mlp(x: Any, labels: Any, *weights: Any) -> Any:
    with td.GradientTape() as tape:
        tape.watch(weights)
        loss = LOSS(labels, perceptron(weights, x))
    return loss, *tape.gradient(loss, weights)


class Step:
    """Gradients by a tape, then an optimizer."""

    optimizer: Any

    def __init__(self, state: Sequence[Array]) -> None:
        self.weights = [td.Variable(w) for w in state]
        self.make_optimizer()

    def make_optimizer(self) -> None:
        self.optimizer = td.optim.SGD(SGD_RATE)

    def model(self, x: Any) -> Any:
        return perceptron(self.weights, x)

    def step(self, x: Any, labels: Any) -> Any:
        with td.GradientTape() as tape:
            loss = LOSS(labels, self.model(x))
        gradients = tape.gradient(loss, self.weights)
        self.optimizer.apply_gradients(zip(gradients, self.weights, strict=True))
        return loss


class MlpStep(Step):
    """The perceptron with Adam."""

    def make_optimizer(self) -> None:
        self.optimizer = td.optim.Adam(RATE, BETA_1, BETA_2, EPSILON)


class CnnStep(Step):
    """The convolutional network."""

    def model(self, x: Any) -> Any:
        k1, b1, k2, b2, w, b = self.weights
        x = td.nn.max_pool2d(td.nn.relu(td.nn.conv2d(x, k1) + b1))
        x = td.nn.max_pool2d(td.nn.relu(td.nn.conv2d(x, k2) + b2))
        return td.reshape(x, (x.shape[0], w.shape[0])) @ w + b


STEPS = {"mlp": MlpStep, "sgd": Step, "cnn": CnnStep}
PROGRAMS = by_name(
    *(add_one, many, eager_add, chain, chain_gradient, gelu, black_scholes, rows, columns, everything, logsumexp),
    *(variance, cross_entropy, layer_norm, logistic, newton, newton_vector, collatz, descent, mandelbrot, jacobi),
    *(gru, attention, eager_mlp, monte_carlo, dropout),
)


class TreadlePeer(Peer):
    """treadle, traced and eager."""

    variants = ("treadle", "treadle eager")

    def build(self, variant: str, program: str, state: Sequence[Array]) -> Callable[..., Any]:
        if program in EAGER:
            if variant != "treadle":
                raise NotSupported("this row is eager as it is")
            return PROGRAMS[program]
        call = STEPS[program](state).step if program in STEPS else one_of(program, PROGRAMS)
        return td.function(call) if variant == "treadle" else call

    def place(self, args: Sequence[Array]) -> list[Any]:
        return [td.asarray(x) for x in args]

    def counters(self) -> dict[str, int]:
        return td.stats()


PEER = TreadlePeer()
