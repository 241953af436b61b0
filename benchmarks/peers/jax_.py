"""JAX under `jax.jit`, with 64-bit types on; the training step donates its state, as JAX advises."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

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
    Peer,
    by_name,
    one_of,
)

jax.config.update("jax_enable_x64", True)


def add_one(x: Any) -> Any:
    return x + 1


def many(*xs: Any) -> Any:
    return [x + 1 for x in xs]


def eager_add(x: Any, y: Any) -> Any:
    return x + y


def chain(x: Any, a: Any, b: Any) -> Any:
    return jnp.tanh(x * a + b) * jax.nn.sigmoid(x) + jnp.exp(-x * x) / 2


def chain_gradient(x: Any, a: Any, b: Any) -> Any:
    return jax.grad(lambda x: jnp.sum(chain(x, a, b)))(x)


def gelu(x: Any) -> Any:
    return 0.5 * x * (1 + lax.erf(x * math.sqrt(0.5)))


def black_scholes(spot: Any, strike: Any, years: Any) -> Any:
    spread = VOLATILITY * jnp.sqrt(years)
    high = (jnp.log(spot / strike) + (INTEREST + VOLATILITY**2 / 2) * years) / spread
    low = high - spread
    half = math.sqrt(0.5)
    return spot * (0.5 + 0.5 * lax.erf(high * half)) - strike * jnp.exp(-INTEREST * years) * (
        0.5 + 0.5 * lax.erf(low * half)
    )


def monte_carlo(strike: Any, seed: Any) -> Any:
    drawn = jax.random.normal(jax.random.key(seed), strike.shape, strike.dtype)
    return jnp.mean(jnp.maximum(jnp.exp(VOLATILITY * drawn) - strike, 0))


def dropout(x: Any, seed: Any) -> Any:
    def loss(x: Any) -> Any:
        kept = jax.random.bernoulli(jax.random.key(seed), 1 - DROPPED, x.shape)
        return jnp.sum(jnp.where(kept, jnp.tanh(x) / (1 - DROPPED), 0) ** 2)

    return jax.value_and_grad(loss)(x)


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


def layer_norm(x: Any, gamma: Any, beta: Any, w: Any) -> Any:
    def total(x: Any, gamma: Any, beta: Any) -> Any:
        center = x - jnp.mean(x, axis=1, keepdims=True)
        factor = lax.rsqrt(jnp.mean(jnp.square(center), axis=1, keepdims=True) + TINY)
        return jnp.sum(w * (center * factor * gamma + beta))

    value, gradients = jax.value_and_grad(total, argnums=(0, 1, 2))(x, gamma, beta)
    return value, *gradients


def logistic(x: Any, r: Any, n: Any) -> Any:
    def body(carry: Any) -> Any:
        i, x = carry
        return i + 1, r * x * (1 - x)

    return lax.while_loop(lambda carry: carry[0] < n, body, (jnp.int64(0), x))[1]


def newton(a: Any) -> Any:
    return lax.while_loop(lambda x: jnp.abs(x * x - a) > 1e-10 * a, lambda x: 0.5 * (x + a / x), a)


def newton_vector(a: Any) -> Any:
    return lax.while_loop(lambda x: jnp.any(jnp.abs(x * x - a) > 1e-10 * a), lambda x: 0.5 * (x + a / x), a)


def collatz(n: Any) -> Any:
    def body(carry: Any) -> Any:
        n, steps = carry
        return jnp.where(n % 2 == 0, n // 2, 3 * n + 1), steps + 1

    return lax.while_loop(lambda carry: carry[0] != 1, body, (n, jnp.int64(0)))[1]


def descent(w: Any, x: Any, y: Any, n: Any) -> Any:
    slope = jax.grad(lambda w: jnp.square(w * x - y))
    return lax.fori_loop(0, n, lambda i, w: w - 0.01 * slope(w), w)


def mandelbrot(re: Any, im: Any) -> Any:
    def body(i: Any, carry: Any) -> Any:
        x, y, count = carry
        x, y = x * x - y * y + re, 2 * x * y + im
        return x, y, count + (x * x + y * y <= 4).astype(jnp.int32)

    start = jnp.zeros_like(re), jnp.zeros_like(im), jnp.zeros(re.shape, jnp.int32)
    return lax.fori_loop(0, TURNS, body, start)[2]


def jacobi(u: Any) -> Any:
    def body(i: Any, u: Any) -> Any:
        return u.at[1:-1, 1:-1].set(0.25 * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]))

    return lax.fori_loop(0, SWEEPS, body, u)


def gru(x: Any, kernel: Any, recurrent: Any, bias: Any, recurrent_bias: Any) -> Any:
    def loss(kernel: Any, recurrent: Any, bias: Any, recurrent_bias: Any) -> Any:
        def step(h: Any, p: Any) -> Any:
            a_z, a_r, a_c = jnp.split(p, 3, axis=1)
            b_z, b_r, b_c = jnp.split(h @ recurrent + recurrent_bias, 3, axis=1)
            z = jax.nn.sigmoid(a_z + b_z)
            c = jnp.tanh(a_c + jax.nn.sigmoid(a_r + b_r) * b_c)
            return z * h + (1 - z) * c, None

        start = jnp.zeros((x.shape[1], recurrent.shape[0]), x.dtype)
        return jnp.sum(jnp.square(lax.scan(step, start, x @ kernel + bias)[0])) / 2

    value, gradients = jax.value_and_grad(loss, argnums=(0, 1, 2, 3))(kernel, recurrent, bias, recurrent_bias)
    return value, *gradients


def _heads(x: Any) -> Any:
    n, places, width = x.shape
    return x.reshape(n, places, HEADS, width // HEADS).transpose(0, 2, 1, 3)


def attention(x: Any, wq: Any, wk: Any, wv: Any, wo: Any) -> Any:
    mask = jnp.tril(jnp.ones((x.shape[1], x.shape[1]), bool))

    def loss(x: Any, wq: Any, wk: Any, wv: Any, wo: Any) -> Any:
        q, k, v = _heads(x @ wq), _heads(x @ wk), _heads(x @ wv)
        scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.swapaxes(-1, -2)
        mixed = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf), axis=-1) @ v
        return jnp.sum(jnp.square(mixed.transpose(0, 2, 1, 3).reshape(x.shape) @ wo)) / 2

    value, gradients = jax.value_and_grad(loss, argnums=(0, 1, 2, 3, 4))(x, wq, wk, wv, wo)
    return value, *gradients


def perceptron(weights: Any, x: Any) -> Any:
    for w, b in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        x = jax.nn.relu(x @ w + b)
    return x @ weights[-2] + weights[-1]


def mlp_loss(weights: Any, x: Any, labels: Any) -> Any:
    return loss(perceptron(weights, x), labels)


def cnn_loss(weights: Any, x: Any, labels: Any) -> Any:
    k1, b1, k2, b2, w, b = weights
    for kernel, bias in ((k1, b1), (k2, b2)):
        x = lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.nn.relu(x + bias)
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return loss(x.reshape(x.shape[0], -1) @ w + b, labels)


def eager_mlp(x: Any, labels: Any, *weights: Any) -> Any:
    value, gradients = jax.value_and_grad(mlp_loss)(weights, x, labels)
    return value, *gradients


def adam(state: Any, x: Any, labels: Any) -> Any:
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
        self.step = jax.jit(adam, donate_argnums=0)

    def __call__(self, x: Any, labels: Any) -> Any:
        self.state, value = self.step(self.state, x, labels)
        return value


class SgdStep(MlpStep):
    """Plain descent; the loss is another for the convolutional network."""

    loss = staticmethod(mlp_loss)

    def __init__(self, state: Sequence[Array]) -> None:
        self.state = [jnp.asarray(w) for w in state]

        def descend(weights: Any, x: Any, labels: Any) -> Any:
            value, gradients = jax.value_and_grad(self.loss)(weights, x, labels)
            return [w - SGD_RATE * g for w, g in zip(weights, gradients, strict=True)], value

        self.step = jax.jit(descend, donate_argnums=0)


class CnnStep(SgdStep):
    """The convolutional network."""

    loss = staticmethod(cnn_loss)


STEPS = {"mlp": MlpStep, "sgd": SgdStep, "cnn": CnnStep}
PROGRAMS = by_name(
    *(add_one, many, eager_add, chain, chain_gradient, gelu, black_scholes, rows, columns, everything, logsumexp),
    *(variance, cross_entropy, layer_norm, logistic, newton, newton_vector, collatz, descent, mandelbrot, jacobi),
    *(gru, attention, eager_mlp, monte_carlo, dropout),
)


class JaxPeer(Peer):
    """JAX on the CPU."""

    variants = ("JAX jit",)

    def build(self, variant: str, program: str, state: Sequence[Array]) -> Callable[..., Any]:
        if program in EAGER:
            return PROGRAMS[program]
        return STEPS[program](state) if program in STEPS else jax.jit(one_of(program, PROGRAMS))

    def place(self, args: Sequence[Array]) -> list[Any]:
        return [jax.block_until_ready(jnp.asarray(x)) for x in args]

    def thunk(self, call: Callable[..., Any], args: Sequence[Any]) -> Callable[[], Any]:
        wait = jax.block_until_ready
        return lambda: wait(call(*args))


PEER = JaxPeer()
