"""JAX under `jax.jit`, with 64-bit types on; the training step donates its state, as JAX advises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from peers.base import Array, Peer, by_name, one_of
from peers.numpy_ import BETA_1, BETA_2, EPSILON, RATE

jax.config.update("jax_enable_x64", True)


def add_one(x: Any) -> Any:
    return x + 1


def many(*xs: Any) -> Any:
    return [x + 1 for x in xs]


def chain(x: Any, a: Any, b: Any) -> Any:
    return jnp.tanh(x * a + b) * jax.nn.sigmoid(x) + jnp.exp(-x * x) / 2


def rows(x: Any, y: Any) -> Any:
    return jnp.sum(jnp.square(jnp.exp(x - y)), axis=1)


def columns(x: Any, y: Any) -> Any:
    return jnp.sum(jnp.square(jnp.exp(x - y)), axis=0)


def everything(x: Any, y: Any) -> Any:
    return jnp.sum(jnp.square(jnp.exp(x - y)))


def logsumexp(x: Any) -> Any:
    return jax.nn.logsumexp(x, axis=1)


def variance(x: Any) -> Any:
    return jnp.var(x)


def loss(logits: Any, labels: Any) -> Any:
    chosen = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - chosen)


def cross_entropy(logits: Any, labels: Any) -> Any:
    return jax.value_and_grad(loss)(logits, labels)


def logistic(x: Any, r: Any, n: Any) -> Any:
    def body(carry: Any) -> Any:
        i, x = carry
        return i + 1, r * x * (1 - x)

    return lax.while_loop(lambda carry: carry[0] < n, body, (jnp.int64(0), x))[1]


def newton(a: Any) -> Any:
    return lax.while_loop(lambda x: jnp.abs(x * x - a) > 1e-10 * a, lambda x: 0.5 * (x + a / x), a)


def collatz(n: Any) -> Any:
    def body(carry: Any) -> Any:
        n, steps = carry
        return jnp.where(n % 2 == 0, n // 2, 3 * n + 1), steps + 1

    return lax.while_loop(lambda carry: carry[0] != 1, body, (n, jnp.int64(0)))[1]


def mlp_loss(weights: Any, x: Any, labels: Any) -> Any:
    w1, b1, w2, b2, w3, b3 = weights
    h1 = jax.nn.relu(x @ w1 + b1)
    h2 = jax.nn.relu(h1 @ w2 + b2)
    return loss(h2 @ w3 + b3, labels)


def mlp_step(state: Any, x: Any, labels: Any) -> Any:
    weights, first, second, t = state
    value, gradients = jax.value_and_grad(mlp_loss)(weights, x, labels)
    t = t + 1
    rate = (RATE / (1 - BETA_1**t)).astype(jnp.float32)
    correction = (1 / jnp.sqrt(1 - BETA_2**t)).astype(jnp.float32)
    first = [BETA_1 * m + (1 - BETA_1) * g for m, g in zip(first, gradients, strict=True)]
    second = [BETA_2 * v + (1 - BETA_2) * g * g for v, g in zip(second, gradients, strict=True)]
    weights = [
        w - rate * m / (jnp.sqrt(v) * correction + EPSILON) for w, m, v in zip(weights, first, second, strict=True)
    ]
    return (weights, first, second, t), value


class MlpStep:
    """Keeps the state between calls of the jitted step."""

    def __init__(self, state: Sequence[Array]) -> None:
        weights = [jnp.asarray(w) for w in state]
        zeros = [jnp.zeros_like(w) for w in weights]
        self.state: Any = (weights, zeros, [jnp.zeros_like(w) for w in weights], jnp.float64(0))
        self.step = jax.jit(mlp_step, donate_argnums=0)

    def __call__(self, x: Any, labels: Any) -> Any:
        self.state, value = self.step(self.state, x, labels)
        return value


PROGRAMS = by_name(
    add_one, many, chain, rows, columns, everything, logsumexp, variance, cross_entropy, logistic, newton, collatz
)


class JaxPeer(Peer):
    """JAX on the CPU."""

    variants = ("JAX jit",)

    def build(self, variant: str, program: str, state: Sequence[Array]) -> Callable[..., Any]:
        return MlpStep(state) if program == "mlp" else jax.jit(one_of(program, PROGRAMS))

    def place(self, args: Sequence[Array]) -> list[Any]:
        return [jax.block_until_ready(jnp.asarray(x)) for x in args]

    def thunk(self, call: Callable[..., Any], args: Sequence[Any]) -> Callable[[], Any]:
        wait = jax.block_until_ready
        return lambda: wait(call(*args))


PEER = JaxPeer()
