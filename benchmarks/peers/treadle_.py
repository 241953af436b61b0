"""treadle: each program as a traced function, and the same program op by op."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import treadle as td
from peers.base import Array, Peer, by_name, one_of
from peers.numpy_ import BETA_1, BETA_2, EPSILON, RATE

LOSS = td.losses.SparseCategoricalCrossentropy(from_logits=True)


def add_one(x: Any) -> Any:
    return x + 1


def many(*xs: Any) -> Any:
    return [x + 1 for x in xs]


def chain(x: Any, a: Any, b: Any) -> Any:
    return td.tanh(x * a + b) * td.sigmoid(x) + td.exp(-x * x) / 2


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


def collatz(n: Any) -> Any:
    steps = 0
    while n != 1:
        if n % 2 == 0:
            n = n // 2
        else:
            n = 3 * n + 1
        steps += 1
    return steps


class MlpStep:
    """Gradients by a tape, then Adam."""

    def __init__(self, state: Sequence[Array]) -> None:
        self.weights = [td.Variable(w) for w in state]
        self.optimizer = td.optim.Adam(RATE, BETA_1, BETA_2, EPSILON)

    def step(self, x: Any, labels: Any) -> Any:
        w1, b1, w2, b2, w3, b3 = self.weights
        with td.GradientTape() as tape:
            h1 = td.nn.relu(x @ w1 + b1)
            h2 = td.nn.relu(h1 @ w2 + b2)
            loss = LOSS(labels, h2 @ w3 + b3)
        gradients = tape.gradient(loss, self.weights)
        self.optimizer.apply_gradients(zip(gradients, self.weights, strict=True))
        return loss


PROGRAMS = by_name(
    add_one, many, chain, rows, columns, everything, logsumexp, variance, cross_entropy, logistic, newton, collatz
)


class TreadlePeer(Peer):
    """treadle, traced and eager."""

    variants = ("treadle", "treadle eager")

    def build(self, variant: str, program: str, state: Sequence[Array]) -> Callable[..., Any]:
        call = MlpStep(state).step if program == "mlp" else one_of(program, PROGRAMS)
        return td.function(call) if variant == "treadle" else call

    def place(self, args: Sequence[Array]) -> list[Any]:
        return [td.asarray(x) for x in args]

    def counters(self) -> dict[str, int]:
        return td.stats()


PEER = TreadlePeer()
