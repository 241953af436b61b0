"""PyTensor in its default mode; each program becomes a function of arrays of any size at its first call."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.scan.utils import until

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

pytensor.config.floatX = "float32"
f4 = np.float32


def scan(step: Callable[..., Any], **options: Any) -> Any:
    """What the steps give, stacked."""
    return pytensor.scan(step, return_updates=False, **options)


def add_one(x: Any) -> Any:
    return x + 1


def many(*xs: Any) -> Any:
    return [x + 1 for x in xs]


def chain(x: Any, a: Any, b: Any) -> Any:
    return pt.tanh(x * a + b) * pt.sigmoid(x) + pt.exp(-x * x) / 2


def chain_gradient(x: Any, a: Any, b: Any) -> Any:
    return pt.grad(pt.sum(chain(x, a, b)), x)


def gelu(x: Any) -> Any:
    return f4(0.5) * x * (1 + pt.erf(x * f4(math.sqrt(0.5))))


def black_scholes(spot: Any, strike: Any, years: Any) -> Any:
    def number(value: float) -> Any:  # a bare Python float would count as float32
        return np.asarray(value, spot.dtype)

    spread = number(VOLATILITY) * pt.sqrt(years)
    high = (pt.log(spot / strike) + number(INTEREST + VOLATILITY**2 / 2) * years) / spread
    low = high - spread
    root, half = number(math.sqrt(0.5)), number(0.5)
    discount = pt.exp(number(-INTEREST) * years)
    return spot * (half + half * pt.erf(high * root)) - strike * discount * (half + half * pt.erf(low * root))


def rows(x: Any, y: Any) -> Any:
    return pt.sum(pt.square(pt.exp(x - y)), axis=1)


def columns(x: Any, y: Any) -> Any:
    return pt.sum(pt.square(pt.exp(x - y)), axis=0)


def everything(x: Any, y: Any) -> Any:
    return pt.sum(pt.square(pt.exp(x - y)))


def logsumexp(x: Any) -> Any:
    return pt.logsumexp(x, axis=1)


def variance(x: Any) -> Any:
    return pt.var(x)


def loss(logits: Any, labels: Any) -> Any:
    return -pt.mean(pt.special.log_softmax(logits, axis=1)[pt.arange(labels.shape[0]), labels])


def cross_entropy(logits: Any, labels: Any) -> Any:
    value = loss(logits, labels)
    return [value, pt.grad(value, logits)]


def layer_norm(x: Any, gamma: Any, beta: Any, w: Any) -> Any:
    center = x - pt.mean(x, axis=1, keepdims=True)
    spread = pt.sqrt(pt.mean(pt.square(center), axis=1, keepdims=True) + f4(TINY))
    value = pt.sum(w * (center / spread * gamma + beta))
    return [value, *pt.grad(value, [x, gamma, beta])]


def logistic(x: Any, r: Any, n: Any) -> Any:
    return scan(lambda x, r: r * x * (1 - x), outputs_info=x, non_sequences=r, n_steps=n)[-1]


def newton(a: Any) -> Any:
    def step(x: Any, a: Any) -> Any:
        x = 0.5 * (x + a / x)
        return x, until(pt.all(pt.abs(x * x - a) <= np.float64(1e-10) * a))

    return scan(step, outputs_info=a, non_sequences=a, n_steps=1000)[-1]


def collatz(n: Any) -> Any:
    def step(n: Any, steps: Any) -> Any:
        n = pt.switch(pt.eq(n % 2, 0), n // 2, 3 * n + 1)
        return [n, steps + 1], until(pt.eq(n, 1))

    return scan(step, outputs_info=[n, pt.zeros((), "int64")], n_steps=100_000)[1][-1]


def descent(w: Any, x: Any, y: Any, n: Any) -> Any:
    def step(w: Any, x: Any, y: Any) -> Any:
        return w - np.float64(0.01) * pt.grad(pt.square(w * x - y), w)

    return scan(step, outputs_info=w, non_sequences=[x, y], n_steps=n)[-1]


def mandelbrot(re: Any, im: Any) -> Any:
    def step(x: Any, y: Any, count: Any, re: Any, im: Any) -> Any:
        x, y = x * x - y * y + re, f4(2) * x * y + im
        return x, y, count + (x * x + y * y <= 4).astype("int32")

    start = [pt.zeros_like(re), pt.zeros_like(im), pt.zeros_like(re, dtype="int32")]
    return scan(step, outputs_info=start, non_sequences=[re, im], n_steps=TURNS)[2][-1]


def jacobi(u: Any) -> Any:
    def step(u: Any) -> Any:
        return u[1:-1, 1:-1].set(f4(0.25) * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]))

    return scan(step, outputs_info=u, n_steps=SWEEPS)[-1]


def gru(x: Any, kernel: Any, recurrent: Any, bias: Any, recurrent_bias: Any) -> Any:
    units = recurrent.shape[0]

    def step(p: Any, h: Any, recurrent: Any, recurrent_bias: Any) -> Any:
        q = h @ recurrent + recurrent_bias
        z = pt.sigmoid(p[:, :units] + q[:, :units])
        r = pt.sigmoid(p[:, units : 2 * units] + q[:, units : 2 * units])
        return z * h + (1 - z) * pt.tanh(p[:, 2 * units :] + r * q[:, 2 * units :])

    start = pt.zeros((x.shape[1], units))
    weights = [recurrent, recurrent_bias]
    last = scan(step, sequences=x @ kernel + bias, outputs_info=start, non_sequences=weights)[-1]
    value = pt.sum(pt.square(last)) / 2
    return [value, *pt.grad(value, [kernel, recurrent, bias, recurrent_bias])]


def attention(x: Any, wq: Any, wk: Any, wv: Any, wo: Any) -> Any:
    n, places, width = x.shape[0], x.shape[1], x.shape[2]

    def heads(x: Any) -> Any:
        return x.reshape((n, places, HEADS, width // HEADS)).transpose(0, 2, 1, 3)

    q, k, v = heads(x @ wq), heads(x @ wk), heads(x @ wv)
    scores = (q / pt.sqrt((width // HEADS).astype("float32"))) @ k.transpose(0, 1, 3, 2)
    hidden = pt.arange(places)[None, :] > pt.arange(places)[:, None]
    mixed = pt.special.softmax(pt.switch(hidden, f4(-1e30), scores), axis=-1) @ v
    y = mixed.transpose(0, 2, 1, 3).reshape((n, places, width)) @ wo
    value = pt.sum(pt.square(y)) / 2
    return [value, *pt.grad(value, [x, wq, wk, wv, wo])]


def perceptron(weights: Sequence[Any], x: Any) -> Any:
    for w, b in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        x = pt.maximum(x @ w + b, f4(0))
    return x @ weights[-2] + weights[-1]


class Step:
    """A training step: shared variables, and a function that updates them."""

    def __init__(self, state: Sequence[Array], adam: bool) -> None:
        self.weights = [pytensor.shared(w) for w in state]
        x, labels = pt.fmatrix(), pt.lvector()
        value = loss(perceptron(self.weights, x), labels)
        gradients = pt.grad(value, self.weights)
        updates = self.adam(gradients) if adam else self.descent(gradients)
        self.call = pytensor.function([x, labels], value, updates=updates)
        self.call.trust_input = True

    def descent(self, gradients: Sequence[Any]) -> list[Any]:
        return [(w, w - f4(SGD_RATE) * g) for w, g in zip(self.weights, gradients, strict=True)]

    def adam(self, gradients: Sequence[Any]) -> list[Any]:
        t = pytensor.shared(np.float64(0))
        now = t + 1
        rate = (RATE / (1 - BETA_1**now)).astype("float32")
        correction = (1 / pt.sqrt(1 - BETA_2**now)).astype("float32")
        updates: list[Any] = [(t, now)]
        for w, g in zip(self.weights, gradients, strict=True):
            m, v = (pytensor.shared(np.zeros_like(w.get_value())) for _ in range(2))
            new_m = f4(BETA_1) * m + f4(1 - BETA_1) * g
            new_v = f4(BETA_2) * v + f4(1 - BETA_2) * g * g
            new_w = w - rate * new_m / (pt.sqrt(new_v) * correction + f4(EPSILON))
            updates += [(m, new_m), (v, new_v), (w, new_w)]
        return updates

    def __call__(self, x: Any, labels: Any) -> Any:
        return self.call(x, labels)


class Lazy:
    """A program whose inputs get their dtype and number of axes from the first call."""

    def __init__(self, program: Callable[..., Any]) -> None:
        self.program = program
        self.call: Any = None

    def __call__(self, *args: Any) -> Any:
        if self.call is None:
            symbols = [pt.tensor(f"x{k}", dtype=a.dtype, shape=(None,) * a.ndim) for k, a in enumerate(args)]
            self.call = pytensor.function(symbols, self.program(*symbols))
            self.call.trust_input = True
        return self.call(*args)


PROGRAMS = by_name(
    *(add_one, many, chain, chain_gradient, gelu, black_scholes, rows, columns, everything, logsumexp, variance),
    *(cross_entropy, layer_norm, logistic, newton, collatz, descent, mandelbrot, jacobi, gru, attention),
) | {"newton_vector": newton}


class PytensorPeer(Peer):
    """PyTensor on the CPU."""

    variants = ("PyTensor",)

    def build(self, variant: str, program: str, state: Sequence[Array]) -> Callable[..., Any]:
        if program in EAGER:
            raise NotSupported("has no eager mode")
        if program == "cnn":
            raise NotSupported("has no convolution of batches of images with channels")
        if program in ("mlp", "sgd"):
            return Step(state, adam=program == "mlp")
        return Lazy(one_of(program, PROGRAMS))


PEER = PytensorPeer()
