"""Plain NumPy. The same programs, run in float64, are the reference that every result is checked against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from peers.base import Array, Peer, by_name, one_of

RATE, BETA_1, BETA_2, EPSILON = 1e-3, 0.9, 0.999, 1e-7


def add_one(x: Array) -> Any:
    return x + 1


def many(*xs: Array) -> Any:
    return [x + 1 for x in xs]


def chain(x: Array, a: Array, b: Array) -> Any:
    return np.tanh(x * a + b) * (1 / (1 + np.exp(-x))) + np.exp(-x * x) / 2


def rows(x: Array, y: Array) -> Any:
    return np.sum(np.exp(x - y) ** 2, axis=1)


def columns(x: Array, y: Array) -> Any:
    return np.sum(np.exp(x - y) ** 2, axis=0)


def everything(x: Array, y: Array) -> Any:
    return np.sum(np.exp(x - y) ** 2)


def logsumexp(x: Array) -> Any:
    top = np.max(x, axis=1)
    return top + np.log(np.sum(np.exp(x - top[:, None]), axis=1))


def variance(x: Array) -> Any:
    return np.var(x)


def cross_entropy(logits: Array, labels: Array) -> Any:
    """Mean softmax cross-entropy and its gradient with respect to the logits."""
    index = np.arange(len(labels))
    shifted = logits - np.max(logits, axis=1, keepdims=True)
    raised = np.exp(shifted)
    total = np.sum(raised, axis=1, keepdims=True)
    loss = np.mean(np.log(total[:, 0]) - shifted[index, labels])
    gradient = raised / total
    gradient[index, labels] -= 1
    gradient /= len(labels)
    return loss, gradient


def logistic(x: Array, r: Array, n: Array) -> Any:
    value, rate, count = x[()], r[()], n[()]
    i = 0
    while i < count:
        value = rate * value * (1 - value)
        i += 1
    return value


def newton(a: Array) -> Any:
    target = a[()]
    x = target
    while abs(x * x - target) > 1e-10 * target:
        x = 0.5 * (x + target / x)
    return x


def collatz(n: Array) -> Any:
    value, steps = n[()], 0
    while value != 1:
        value = value // 2 if value % 2 == 0 else 3 * value + 1
        steps += 1
    return steps


class MlpStep:
    """One step of Adam on a three-layer perceptron with the gradient by hand; gives the loss before the step."""

    def __init__(self, state: Sequence[Array]) -> None:
        self.weights = [np.array(w) for w in state]
        self.first = [np.zeros_like(w) for w in self.weights]
        self.second = [np.zeros_like(w) for w in self.weights]
        self.t = 0

    def __call__(self, x: Array, labels: Array) -> Any:
        w1, b1, w2, b2, w3, b3 = self.weights
        h1 = np.maximum(x @ w1 + b1, 0)
        h2 = np.maximum(h1 @ w2 + b2, 0)
        loss, d3 = cross_entropy(h2 @ w3 + b3, labels)
        d2 = (d3 @ w3.T) * (h2 > 0)
        d1 = (d2 @ w2.T) * (h1 > 0)
        self.update([x.T @ d1, d1.sum(0), h1.T @ d2, d2.sum(0), h2.T @ d3, d3.sum(0)])
        return loss

    def update(self, gradients: Sequence[Array]) -> None:
        self.t += 1
        rate = RATE / (1 - BETA_1**self.t)
        correction = 1 / (1 - BETA_2**self.t) ** 0.5
        for w, m, v, g in zip(self.weights, self.first, self.second, gradients, strict=True):
            m *= BETA_1
            m += (1 - BETA_1) * g
            v *= BETA_2
            v += (1 - BETA_2) * g * g
            w -= rate * m / (np.sqrt(v) * correction + EPSILON)


PROGRAMS = by_name(
    add_one, many, chain, rows, columns, everything, logsumexp, variance, cross_entropy, logistic, newton, collatz
)


class NumpyPeer(Peer):
    """NumPy as it comes."""

    variants = ("NumPy",)

    def build(self, variant: str, program: str, state: Sequence[Array]) -> Callable[..., Any]:
        return MlpStep(state) if program == "mlp" else one_of(program, PROGRAMS)


PEER = NumpyPeer()
