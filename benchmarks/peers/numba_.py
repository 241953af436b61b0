"""Hand-written Numba: explicit loops, threads where they pay, and a polynomial for exp, since Numba's is a scalar call.

This is what somebody who knows Numba well writes for each program by hand; compiled code is kept by `cache=True`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numba import njit, prange

from peers.base import (
    BETA_1,
    BETA_2,
    EAGER,
    EPSILON,
    RATE,
    SGD_RATE,
    SWEEPS,
    TURNS,
    Array,
    NotSupported,
    Peer,
    by_name,
    one_of,
)

f4 = np.float32
fast = {"contract", "reassoc", "nsz"}
jit: Any = njit(cache=True, fastmath=fast, error_model="numpy")
threaded: Any = njit(cache=True, fastmath=fast, error_model="numpy", parallel=True)
# Helpers are forced inline: what is not inlined is not vectorised.
helper: Any = njit(cache=True, fastmath={"contract"}, error_model="numpy", forceinline=True)
SMALL = 8192  # elements below which starting threads costs more than it saves


@helper  # reassociation would undo the rounding by a large constant
def exp(x: Any) -> Any:
    """float32 exp for finite x: x = n ln 2 + r, a polynomial in r, and 2**n by its bits."""
    x = min(max(x, f4(-87.0)), f4(88.0))
    t = x * f4(1.44269504) + f4(12582912.0)
    n = f4(t).view(np.int32) - np.int32(0x4B400000)
    k = t - f4(12582912.0)
    r = x - k * f4(0.693145752) - k * f4(1.42860677e-6)
    y = f4(1.9875691e-4)
    y = y * r + f4(1.3981999e-3)
    y = y * r + f4(8.3334519e-3)
    y = y * r + f4(4.1665796e-2)
    y = y * r + f4(1.6666665e-1)
    y = y * r + f4(0.5)
    y = y * r * r + r + f4(1.0)
    return y * np.int32((n + 127) << 23).view(np.float32)


@helper
def chain_element(x: Any, a: Any, b: Any) -> Any:
    one, two = f4(1.0), f4(2.0)
    tanh = one - two / (exp(two * (x * a + b)) + one)
    return tanh / (one + exp(-x)) + exp(-x * x) * f4(0.5)


@helper
def gradient_element(x: Any, a: Any, b: Any) -> Any:
    one, two = f4(1.0), f4(2.0)
    t = one - two / (exp(two * (x * a + b)) + one)
    s = one / (one + exp(-x))
    return (one - t * t) * a * s + t * s * (one - s) - x * exp(-x * x)


@jit
def add_one(x: Any) -> Any:
    out = np.empty_like(x)
    for i in range(x.size):
        out[i] = x[i] + f4(1.0)
    return out


@jit
def many(*xs: Any) -> Any:
    return [add_one(x) for x in xs]


@jit
def chain_serial(x: Any, a: Any, b: Any) -> Any:
    out = np.empty_like(x)
    for i in range(x.size):
        out[i] = chain_element(x[i], a[i], b[i])
    return out


@threaded
def chain_threads(x: Any, a: Any, b: Any) -> Any:
    out = np.empty_like(x)
    for i in prange(x.size):
        out[i] = chain_element(x[i], a[i], b[i])
    return out


@threaded
def chain_gradient(x: Any, a: Any, b: Any) -> Any:
    out = np.empty_like(x)
    for i in prange(x.size):
        out[i] = gradient_element(x[i], a[i], b[i])
    return out


def chain(x: Array, a: Array, b: Array) -> Any:
    return chain_serial(x, a, b) if x.size < SMALL else chain_threads(x, a, b)


@threaded
def rows(x: Any, y: Any) -> Any:
    out = np.empty(x.shape[0], x.dtype)
    for i in prange(x.shape[0]):
        total = f4(0.0)
        for j in range(x.shape[1]):
            e = exp(x[i, j] - y[i, j])
            total += e * e
        out[i] = total
    return out


@threaded
def partial_columns(x: Any, y: Any, parts: int) -> Any:
    out = np.zeros((parts, x.shape[1]), x.dtype)
    for p in prange(parts):
        for i in range(x.shape[0] * p // parts, x.shape[0] * (p + 1) // parts):
            for j in range(x.shape[1]):
                e = exp(x[i, j] - y[i, j])
                out[p, j] += e * e
    return out


def columns(x: Array, y: Array) -> Any:
    return partial_columns(x, y, 8).sum(0)


def everything(x: Array, y: Array) -> Any:
    return rows(x, y).sum()


@threaded
def logsumexp(x: Any) -> Any:
    out = np.empty(x.shape[0], x.dtype)
    for i in prange(x.shape[0]):
        top = x[i, 0]
        for j in range(x.shape[1]):
            top = x[i, j] if x[i, j] > top else top
        total = f4(0.0)
        for j in range(x.shape[1]):
            total += exp(x[i, j] - top)
        out[i] = top + np.log(total)
    return out


@threaded
def row_moments(x: Any) -> Any:
    """Sum of each row, and of the squared distances from that row's mean."""
    out = np.empty((2, x.shape[0]), np.float64)
    for i in prange(x.shape[0]):
        total = f4(0.0)
        for j in range(x.shape[1]):
            total += x[i, j]
        mean = total / f4(x.shape[1])
        squares = f4(0.0)
        for j in range(x.shape[1]):
            squares += (x[i, j] - mean) * (x[i, j] - mean)
        out[0, i], out[1, i] = total, squares
    return out


def variance(x: Array) -> Any:
    totals, squares = row_moments(x)
    means = totals / x.shape[1]
    return f4((squares.sum() + x.shape[1] * np.square(means - means.mean()).sum()) / x.size)


@jit
def cross_entropy(logits: Any, labels: Any) -> Any:
    count, classes = logits.shape
    gradient = np.empty_like(logits)
    scale, loss = f4(1.0) / f4(count), 0.0
    for i in range(count):
        top = logits[i, 0]
        for j in range(classes):
            top = logits[i, j] if logits[i, j] > top else top
        total = f4(0.0)
        for j in range(classes):
            e = exp(logits[i, j] - top)
            gradient[i, j] = e
            total += e
        factor = scale / total
        for j in range(classes):
            gradient[i, j] *= factor
        label = labels[i]
        loss += np.log(total) + top - logits[i, label]
        gradient[i, label] -= scale
    return f4(loss / count), gradient


@jit
def logistic(x: Any, r: Any, n: Any) -> Any:
    i = 0
    while i < n:
        x = r * x * (1 - x)
        i += 1
    return x


@jit
def newton(a: Any) -> Any:
    x = a
    while abs(x * x - a) > 1e-10 * a:
        x = 0.5 * (x + a / x)
    return x


@jit
def newton_vector(a: Any) -> Any:
    x = a.copy()
    far = True
    while far:
        far = False
        for i in range(a.size):
            far |= abs(x[i] * x[i] - a[i]) > 1e-10 * a[i]
        if far:
            for i in range(a.size):
                x[i] = 0.5 * (x[i] + a[i] / x[i])
    return x


@jit
def descent(w: Any, x: Any, y: Any, n: Any) -> Any:
    for _ in range(n):
        w = w - 0.01 * (2 * (w * x - y) * x)
    return w


# Not reassociated, no signed zeros forgotten: how soon a point is far away depends on the last bits.
@njit(cache=True, error_model="numpy", parallel=True)  # type: ignore[untyped-decorator]
def mandelbrot(re: Any, im: Any) -> Any:
    out = np.empty(re.shape, np.int32)
    rows, columns = re.shape
    for i in prange(rows):
        x, y = np.zeros(columns, np.float32), np.zeros(columns, np.float32)
        count = np.zeros(columns, np.int32)
        for _ in range(TURNS):
            for j in range(columns):
                u = x[j] * x[j] - y[j] * y[j] + re[i, j]
                y[j] = f4(2.0) * x[j] * y[j] + im[i, j]
                x[j] = u
                count[j] += u * u + y[j] * y[j] <= f4(4.0)
        out[i] = count
    return out


@threaded
def jacobi(u: Any) -> Any:
    old, new = u.copy(), u.copy()
    for _ in range(SWEEPS):
        for i in prange(1, u.shape[0] - 1):
            for j in range(1, u.shape[1] - 1):
                new[i, j] = f4(0.25) * (old[i - 1, j] + old[i + 1, j] + old[i, j - 1] + old[i, j + 1])
        old, new = new, old
    return old


@jit
def collatz(n: Any) -> Any:
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps


@jit
def bias_relu(h: Any, bias: Any) -> None:
    for i in range(h.shape[0]):
        for j in range(h.shape[1]):
            h[i, j] = max(h[i, j] + bias[j], f4(0.0))


@jit
def relu_gradient(d: Any, h: Any) -> None:
    for i in range(d.shape[0]):
        for j in range(d.shape[1]):
            d[i, j] = d[i, j] if h[i, j] > f4(0.0) else f4(0.0)


@jit
def sum_rows(d: Any) -> Any:
    out = np.zeros(d.shape[1], d.dtype)
    for i in range(d.shape[0]):
        for j in range(d.shape[1]):
            out[j] += d[i, j]
    return out


@jit
def adam(w: Any, m: Any, v: Any, g: Any, rate: Any, correction: Any) -> None:
    w, m, v, g = w.reshape(-1), m.reshape(-1), v.reshape(-1), g.reshape(-1)
    for i in range(w.size):
        m[i] = f4(BETA_1) * m[i] + f4(1 - BETA_1) * g[i]
        v[i] = f4(BETA_2) * v[i] + f4(1 - BETA_2) * g[i] * g[i]
        w[i] -= rate * m[i] / (np.sqrt(v[i]) * correction + f4(EPSILON))


@jit
def descend(w: Any, g: Any) -> None:
    w, g = w.reshape(-1), g.reshape(-1)
    for i in range(w.size):
        w[i] -= f4(SGD_RATE) * g[i]


def gradient(weights: Sequence[Array], x: Array, labels: Array) -> tuple[Any, list[Array]]:
    """By hand: NumPy's matrix products, compiled loops around them."""
    held = [x]
    last = len(weights) // 2 - 1
    for k in range(last):
        h = held[-1] @ weights[2 * k]
        bias_relu(h, weights[2 * k + 1])
        held.append(h)
    loss, d = cross_entropy(held[-1] @ weights[-2] + weights[-1], labels)
    gradients: list[Array] = []
    for k in range(last, -1, -1):
        gradients[:0] = [held[k].T @ d, sum_rows(d)]
        if k:
            d = d @ weights[2 * k].T
            relu_gradient(d, held[k])
    return loss, gradients


class SgdStep:
    """Plain descent."""

    def __init__(self, state: Sequence[Array]) -> None:
        self.weights = [np.array(w) for w in state]

    def __call__(self, x: Array, labels: Array) -> Any:
        loss, gradients = gradient(self.weights, x, labels)
        for w, g in zip(self.weights, gradients, strict=True):
            descend(w, g)
        return loss


class MlpStep(SgdStep):
    """Adam."""

    def __init__(self, state: Sequence[Array]) -> None:
        super().__init__(state)
        self.first = [np.zeros_like(w) for w in self.weights]
        self.second = [np.zeros_like(w) for w in self.weights]
        self.t = 0

    def __call__(self, x: Array, labels: Array) -> Any:
        loss, gradients = gradient(self.weights, x, labels)
        self.t += 1
        rate, correction = f4(RATE / (1 - BETA_1**self.t)), f4(1 / (1 - BETA_2**self.t) ** 0.5)
        for w, m, v, g in zip(self.weights, self.first, self.second, gradients, strict=True):
            adam(w, m, v, g, rate, correction)
        return loss


STEPS = {"mlp": MlpStep, "sgd": SgdStep}
WITHOUT = {
    **dict.fromkeys(
        ("gelu", "black_scholes"), "its erf and log would be scalar calls without vector math of one's own"
    ),
    **dict.fromkeys(("layer_norm", "gru", "cnn", "attention"), "its gradients by hand are not written"),
    **dict.fromkeys(EAGER, "has no eager mode"),
}
PROGRAMS = by_name(
    *(add_one, many, chain, chain_gradient, rows, columns, everything, logsumexp, variance, cross_entropy),
    *(logistic, newton, newton_vector, descent, mandelbrot, jacobi, collatz),
)


class NumbaPeer(Peer):
    """Numba with all the threads it has."""

    variants = ("Numba",)

    def build(self, variant: str, program: str, state: Sequence[Array]) -> Callable[..., Any]:
        if program in WITHOUT:
            raise NotSupported(WITHOUT[program])
        return STEPS[program](state) if program in STEPS else one_of(program, PROGRAMS)

    def place(self, args: Sequence[Array]) -> list[Any]:
        return [x[()] if x.ndim == 0 else x for x in args]  # Numba takes scalars as they are


PEER = NumbaPeer()
