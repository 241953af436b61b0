"""TensorFlow: each program under `tf.function`, without and with XLA (`jit_compile=True`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from peers.base import Array, Peer, by_name, one_of
from peers.numpy_ import BETA_1, BETA_2, EPSILON, RATE


def add_one(x: Any) -> Any:
    return x + 1


def many(*xs: Any) -> Any:
    return [x + 1 for x in xs]


def chain(x: Any, a: Any, b: Any) -> Any:
    return tf.tanh(x * a + b) * tf.sigmoid(x) + tf.exp(-x * x) / 2


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


def collatz(n: Any) -> Any:
    steps = tf.constant(0, tf.int64)
    while n != 1:
        if n % 2 == 0:
            n = n // 2
        else:
            n = 3 * n + 1
        steps += 1
    return steps


class MlpStep:
    """Gradients by a tape, then Adam on variables."""

    def __init__(self, state: Sequence[Array]) -> None:
        self.weights = [tf.Variable(w) for w in state]
        self.first = [tf.Variable(tf.zeros_like(w)) for w in self.weights]
        self.second = [tf.Variable(tf.zeros_like(w)) for w in self.weights]
        self.t = tf.Variable(0.0, dtype=tf.float64)

    def step(self, x: Any, labels: Any) -> Any:
        w1, b1, w2, b2, w3, b3 = self.weights
        with tf.GradientTape() as tape:
            h1 = tf.nn.relu(x @ w1 + b1)
            h2 = tf.nn.relu(h1 @ w2 + b2)
            value = loss(h2 @ w3 + b3, labels)
        gradients = tape.gradient(value, self.weights)
        t = self.t.assign_add(1.0)
        rate = tf.cast(RATE / (1 - BETA_1**t), tf.float32)
        correction = tf.cast(1 / tf.sqrt(1 - BETA_2**t), tf.float32)
        for w, m, v, g in zip(self.weights, self.first, self.second, gradients, strict=True):
            new_m = m.assign(BETA_1 * m + (1 - BETA_1) * g)
            new_v = v.assign(BETA_2 * v + (1 - BETA_2) * g * g)
            w.assign_sub(rate * new_m / (tf.sqrt(new_v) * correction + EPSILON))
        return value


PROGRAMS = by_name(
    add_one, many, chain, rows, columns, everything, logsumexp, variance, cross_entropy, logistic, newton, collatz
)


class TensorflowPeer(Peer):
    """TensorFlow on the CPU."""

    variants = ("tf.function", "tf XLA")

    def build(self, variant: str, program: str, state: Sequence[Array]) -> Callable[..., Any]:
        call = MlpStep(state).step if program == "mlp" else one_of(program, PROGRAMS)
        traced: Callable[..., Any] = tf.function(call, jit_compile=variant == "tf XLA")
        return traced

    def place(self, args: Sequence[Array]) -> list[Any]:
        return [tf.constant(x) for x in args]


PEER = TensorflowPeer()
