"""The programs without weights in plain NumPy: elementwise work, reductions, loops, stencils."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from peers.base import DROPPED, INTEREST, SWEEPS, TINY, TURNS, VOLATILITY, Array, by_name

try:
    from scipy.special import erf
except ImportError:  # not every peer's environment has it, and each checks its results there

    def erf(x: Array) -> Array:
        return np.vectorize(math.erf, otypes=[np.float64])(x)


def add_one(x: Array) -> Any:
    return x + 1


def many(*xs: Array) -> Any:
    return [x + 1 for x in xs]


def eager_add(x: Array, y: Array) -> Any:
    return x + y


def chain(x: Array, a: Array, b: Array) -> Any:
    return np.tanh(x * a + b) * (1 / (1 + np.exp(-x))) + np.exp(-x * x) / 2


def chain_gradient(x: Array, a: Array, b: Array) -> Any:
    """The derivative of the chain with respect to x."""
    t, s = np.tanh(x * a + b), 1 / (1 + np.exp(-x))
    return (1 - t * t) * a * s + t * s * (1 - s) - x * np.exp(-x * x)


def gelu(x: Array) -> Any:
    return 0.5 * x * (1 + erf(x * math.sqrt(0.5)))


def black_scholes(spot: Array, strike: Array, years: Array) -> Any:
    """Prices of calls."""
    spread = VOLATILITY * np.sqrt(years)
    high = (np.log(spot / strike) + (INTEREST + VOLATILITY**2 / 2) * years) / spread
    low = high - spread
    half = math.sqrt(0.5)
    return spot * (0.5 + 0.5 * erf(high * half)) - strike * np.exp(-INTEREST * years) * (0.5 + 0.5 * erf(low * half))


def monte_carlo(strike: Array, seed: Array) -> Any:
    """The mean worth of claims on what is drawn."""
    drawn = np.random.default_rng(int(seed)).standard_normal(strike.shape, np.float32)
    return np.mean(np.maximum(np.exp(VOLATILITY * drawn) - strike, 0))


def dropout(x: Array, seed: Array) -> Any:
    """A loss behind dropout, and its gradient."""
    kept = np.random.default_rng(int(seed)).random(x.shape, np.float32) >= DROPPED
    t = np.tanh(x)
    y = np.where(kept, t / (1 - DROPPED), 0)
    return np.sum(y * y), np.where(kept, 2 * y * (1 - t * t) / (1 - DROPPED), 0)


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


def layer_norm(x: Array, gamma: Array, beta: Array, w: Array) -> Any:
    """sum(w * layer_norm(x)) and its gradients with respect to x, gamma and beta."""
    center = x - x.mean(1, keepdims=True)
    factor = 1 / np.sqrt((center * center).mean(1, keepdims=True) + TINY)
    unit = center * factor
    g = w * gamma
    gx = factor * (g - g.mean(1, keepdims=True) - unit * (g * unit).mean(1, keepdims=True))
    return np.sum(w * (unit * gamma + beta)), gx, (w * unit).sum(0), w.sum(0)


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


def newton_vector(a: Array) -> Any:
    x = a
    while np.any(np.abs(x * x - a) > 1e-10 * a):
        x = 0.5 * (x + a / x)
    return x


def collatz(n: Array) -> Any:
    value, steps = n[()], 0
    while value != 1:
        value = value // 2 if value % 2 == 0 else 3 * value + 1
        steps += 1
    return steps


def descent(w: Array, x: Array, y: Array, n: Array) -> Any:
    """n steps of gradient descent on (w x - y)^2."""
    value, x, y = w[()], x[()], y[()]
    for _ in range(n[()]):
        value = value - 0.01 * (2 * (value * x - y) * x)
    return value


def mandelbrot(re: Array, im: Array) -> Any:
    """After how many turns each point is still near."""
    x, y, count = np.zeros_like(re), np.zeros_like(im), np.zeros(re.shape, np.int32)
    with np.errstate(all="ignore"):
        for _ in range(TURNS):
            x, y = x * x - y * y + re, 2 * x * y + im
            count += x * x + y * y <= 4
    return count


def jacobi(u: Array) -> Any:
    """Sweeps of the mean of the four neighbours, with a fixed edge."""
    for _ in range(SWEEPS):
        new = u.copy()
        new[1:-1, 1:-1] = 0.25 * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:])
        u = new
    return u


PROGRAMS = by_name(
    *(add_one, many, eager_add, chain, chain_gradient, gelu, black_scholes, rows, columns, everything, logsumexp),
    *(variance, cross_entropy, layer_norm, logistic, newton, newton_vector, collatz, descent, mandelbrot, jacobi),
    *(monte_carlo, dropout),
)
