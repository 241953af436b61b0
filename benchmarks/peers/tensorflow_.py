"""TensorFlow: each program under `tf.function`, without and with XLA (`jit_compile=True`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from peers.base import (
    BETA_1,
    BETA_2,
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


def add_one(x: Any) -> Any:
    return x + 1


def many(*xs: Any) -> Any:
    return [x + 1 for x in xs]


def eager_add(x: Any, y: Any) -> Any:
    return x + y


def chain(x: Any, a: Any, b: Any) -> Any:
    return tf.tanh(x * a + b) * tf.sigmoid(x) + tf.exp(-x * x) / 2


def chain_gradient(x: Any, a: Any, b: Any) -> Any:
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = chain(x, a, b)
    return tape.gradient(y, x)


def gelu(x: Any) -> Any:
    return 0.5 * x * (1 + tf.math.erf(x * math.sqrt(0.5)))


def black_scholes(spot: Any, strike: Any, years: Any) -> Any:
    spread = VOLATILITY * tf.sqrt(years)
    high = (tf.math.log(spot / strike) + (INTEREST + VOLATILITY**2 / 2) * years) / spread
    low = high - spread
    half = math.sqrt(0.5)
    return spot * (0.5 + 0.5 * tf.math.erf(high * half)) - strike * tf.exp(-INTEREST * years) * (
        0.5 + 0.5 * tf.math.erf(low * half)
    )


def rows(x: Any, y: Any) -> Any:
    return tf.reduce_sum(tf.square(tf.exp(x - y)), axis=1)


def columns(x: Any, y: Any) -> Any:
    return tf.reduce_sum(tf.square(tf.exp(x - y)), axis=0)


def everything(x: Any, y: Any) -> Any:
    return tf.reduce_sum(tf.square(tf.exp(x - y)))


def logsumexp(x: Any) -> Any:
    return tf.reduce_logsumexp(x, axis=1)


def variance(x: Any) -> Any:
    return tf.math.reduce_variance(x)


def loss(logits: Any, labels: Any) -> Any:
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))


def cross_entropy(logits: Any, labels: Any) -> Any:
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(logits, labels)
    return value, tape.gradient(value, logits)


def layer_norm(x: Any, gamma: Any, beta: Any, w: Any) -> Any:
    with tf.GradientTape() as tape:
        tape.watch([x, gamma, beta])
        center = x - tf.reduce_mean(x, axis=1, keepdims=True)
        factor = tf.math.rsqrt(tf.reduce_mean(tf.square(center), axis=1, keepdims=True) + TINY)
        value = tf.reduce_sum(w * (center * factor * gamma + beta))
    return value, *tape.gradient(value, [x, gamma, beta])


def logistic(x: Any, r: Any, n: Any) -> Any:
    i = tf.constant(0, tf.int64)
    while i < n:
        x = r * x * (1 - x)
        i += 1
    return x


def newton(a: Any) -> Any:
    x = a
    while tf.abs(x * x - a) > 1e-10 * a:
        x = 0.5 * (x + a / x)
    return x


def newton_vector(a: Any) -> Any:
    x = a
    while tf.reduce_any(tf.abs(x * x - a) > 1e-10 * a):
        x = 0.5 * (x + a / x)
    return x


def collatz(n: Any) -> Any:
    steps = tf.constant(0, tf.int64)
    while n != 1:
        if n % 2 == 0:
            n = n // 2
        else:
            n = 3 * n + 1
        steps += 1
    return steps


def descent(w: Any, x: Any, y: Any, n: Any) -> Any:
    i = tf.constant(0, tf.int64)
    while i < n:
        with tf.GradientTape() as tape:
            tape.watch(w)
            value = tf.square(w * x - y)
        w = w - 0.01 * tape.gradient(value, w)
        i += 1
    return w


def mandelbrot(re: Any, im: Any) -> Any:
    x, y, count = tf.zeros_like(re), tf.zeros_like(im), tf.zeros(re.shape, tf.int32)
    for _ in tf.range(TURNS):
        x, y = x * x - y * y + re, 2 * x * y + im
        count = count + tf.cast(x * x + y * y <= 4, tf.int32)
    return count


def jacobi(u: Any) -> Any:
    top, bottom, left, right = u[:1], u[-1:], u[1:-1, :1], u[1:-1, -1:]
    for _ in tf.range(SWEEPS):
        inner = 0.25 * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:])
        u = tf.concat([top, tf.concat([left, inner, right], 1), bottom], 0)
        u = tf.ensure_shape(u, top.shape[1:] + top.shape[1:])
    return u


def gru(x: Any, kernel: Any, recurrent: Any, bias: Any, recurrent_bias: Any) -> Any:
    weights = [kernel, recurrent, bias, recurrent_bias]

    def step(t: Any, h: Any, rows: Any) -> Any:
        a_z, a_r, a_c = tf.split(rows.read(t), 3, axis=1)
        b_z, b_r, b_c = tf.split(h @ recurrent + recurrent_bias, 3, axis=1)
        z = tf.sigmoid(a_z + b_z)
        return t + 1, z * h + (1 - z) * tf.tanh(a_c + tf.sigmoid(a_r + b_r) * b_c), rows

    with tf.GradientTape() as tape:
        tape.watch(weights)
        times, n, _ = x.shape
        rows = tf.TensorArray(x.dtype, times, clear_after_read=False, element_shape=(n, kernel.shape[1]))
        rows = rows.unstack(tf.reshape(tf.reshape(x, (times * n, -1)) @ kernel + bias, (times, n, -1)))
        start = tf.zeros((n, recurrent.shape[0]), x.dtype)
        _, last, _ = tf.while_loop(
            lambda t, h, rows: t < times, step, (tf.constant(0), start, rows), maximum_iterations=times
        )
        value = tf.reduce_sum(tf.square(last)) / 2
    return value, *tape.gradient(value, weights)


def _heads(x: Any) -> Any:
    n, places, width = x.shape
    return tf.transpose(tf.reshape(x, (n, places, HEADS, width // HEADS)), (0, 2, 1, 3))


def attention(x: Any, wq: Any, wk: Any, wv: Any, wo: Any) -> Any:
    mask = tf.linalg.band_part(tf.ones((x.shape[1], x.shape[1]), tf.bool), -1, 0)
    with tf.GradientTape() as tape:
        tape.watch([x, wq, wk, wv, wo])
        q, k, v = _heads(x @ wq), _heads(x @ wk), _heads(x @ wv)
        scores = tf.matmul(q * (1 / math.sqrt(q.shape[-1])), k, transpose_b=True)
        mixed = tf.nn.softmax(tf.where(mask, scores, -math.inf)) @ v
        value = tf.reduce_sum(tf.square(tf.reshape(tf.transpose(mixed, (0, 2, 1, 3)), x.shape) @ wo)) / 2
    return value, *tape.gradient(value, [x, wq, wk, wv, wo])


def perceptron(weights: Any, x: Any) -> Any:
    for w, b in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        x = tf.nn.relu(x @ w + b)
    return x @ weights[-2] + weights[-1]


def eager_mlp(x: Any, labels: Any, *weights: Any) -> Any:
    with tf.GradientTape() as tape:
        tape.watch(weights)
        value = loss(perceptron(weights, x), labels)
    return value, *tape.gradient(value, weights)


class SgdStep:
    """Gradients by a tape, then descent on variables."""

    def __init__(self, state: Sequence[Array]) -> None:
        self.weights = [tf.Variable(w) for w in state]

    def model(self, x: Any) -> Any:
        return perceptron(self.weights, x)

    def update(self, gradients: Any) -> None:
        for w, g in zip(self.weights, gradients, strict=True):
            w.assign_sub(SGD_RATE * g)

    def step(self, x: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss(self.model(x), labels)
        self.update(tape.gradient(value, self.weights))
        return value


class MlpStep(SgdStep):
    """The perceptron with Adam."""

    def __init__(self, state: Sequence[Array]) -> None:
        super().__init__(state)
        self.first = [tf.Variable(tf.zeros_like(w)) for w in self.weights]
        self.second = [tf.Variable(tf.zeros_like(w)) for w in self.weights]
        self.t = tf.Variable(0.0, dtype=tf.float64)

    def update(self, gradients: Any) -> None:
        t = self.t.assign_add(1.0)
        rate = tf.cast(RATE / (1 - BETA_1**t), tf.float32)
        correction = tf.cast(1 / tf.sqrt(1 - BETA_2**t), tf.float32)
        for w, m, v, g in zip(self.weights, self.first, self.second, gradients, strict=True):
            new_m = m.assign(BETA_1 * m + (1 - BETA_1) * g)
            new_v = v.assign(BETA_2 * v + (1 - BETA_2) * g * g)
            w.assign_sub(rate * new_m / (tf.sqrt(new_v) * correction + EPSILON))


class CnnStep(SgdStep):
    """The convolutional network."""

    def model(self, x: Any) -> Any:
        k1, b1, k2, b2, w, b = self.weights
        x = tf.nn.max_pool2d(tf.nn.relu(tf.nn.conv2d(x, k1, 1, "VALID") + b1), 2, 2, "VALID")
        x = tf.nn.max_pool2d(tf.nn.relu(tf.nn.conv2d(x, k2, 1, "VALID") + b2), 2, 2, "VALID")
        return tf.reshape(x, (x.shape[0], -1)) @ w + b


STEPS = {"mlp": MlpStep, "sgd": SgdStep, "cnn": CnnStep}
PROGRAMS = by_name(
    *(add_one, many, eager_add, chain, chain_gradient, gelu, black_scholes, rows, columns, everything, logsumexp),
    *(variance, cross_entropy, layer_norm, logistic, newton, newton_vector, collatz, descent, mandelbrot, jacobi),
    *(gru, attention, eager_mlp),
)


class TensorflowPeer(Peer):
    """TensorFlow on the CPU."""

    variants = ("tf.function", "tf XLA")

    def build(self, variant: str, program: str, state: Sequence[Array]) -> Callable[..., Any]:
        if program in EAGER:
            if variant == "tf XLA":
                raise NotSupported("this row is eager")
            return PROGRAMS[program]
        call = STEPS[program](state).step if program in STEPS else one_of(program, PROGRAMS)
        traced: Callable[..., Any] = tf.function(call, jit_compile=variant == "tf XLA")
        return traced

    def place(self, args: Sequence[Array]) -> list[Any]:
        return [tf.constant(x) for x in args]


PEER = TensorflowPeer()
