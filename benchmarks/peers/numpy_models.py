"""The programs with weights in plain NumPy, their gradients by hand: perceptrons, GRU, convolution, attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from peers.base import BETA_1, BETA_2, EPSILON, HEADS, RATE, SGD_RATE, Array, by_name
from peers.numpy_programs import cross_entropy


def mlp_gradient(weights: Sequence[Array], x: Array, labels: Array) -> tuple[Any, list[Array]]:
    """The loss of a perceptron of any depth, and the gradients of its weights and biases."""
    held = [x]
    last = len(weights) // 2 - 1
    for k in range(last + 1):
        h = held[-1] @ weights[2 * k] + weights[2 * k + 1]
        held.append(h if k == last else np.maximum(h, 0))
    loss, d = cross_entropy(held[-1], labels)
    gradients: list[Array] = []
    for k in range(last, -1, -1):
        gradients[:0] = [held[k].T @ d, d.sum(0)]
        if k:
            d = (d @ weights[2 * k].T) * (held[k] > 0)
    return loss, gradients


def eager_mlp(x: Array, labels: Array, *weights: Array) -> Any:
    loss, gradients = mlp_gradient(weights, x, labels)
    return loss, *gradients


class MlpStep:
    """One step of Adam; gives the loss before the step."""

    def __init__(self, state: Sequence[Array]) -> None:
        self.weights = [np.array(w) for w in state]
        self.first = [np.zeros_like(w) for w in self.weights]
        self.second = [np.zeros_like(w) for w in self.weights]
        self.t = 0

    def __call__(self, x: Array, labels: Array) -> Any:
        loss, gradients = mlp_gradient(self.weights, x, labels)
        self.t += 1
        rate = RATE / (1 - BETA_1**self.t)
        correction = 1 / (1 - BETA_2**self.t) ** 0.5
        for w, m, v, g in zip(self.weights, self.first, self.second, gradients, strict=True):
            m *= BETA_1
            m += (1 - BETA_1) * g
            v *= BETA_2
            v += (1 - BETA_2) * g * g
            w -= rate * m / (np.sqrt(v) * correction + EPSILON)
        return loss


class SgdStep:
    """One step of gradient descent on a perceptron; gives the loss before the step."""

    gradient = staticmethod(mlp_gradient)

    def __init__(self, state: Sequence[Array]) -> None:
        self.weights = [np.array(w) for w in state]

    def __call__(self, x: Array, labels: Array) -> Any:
        loss, gradients = self.gradient(self.weights, x, labels)
        for w, g in zip(self.weights, gradients, strict=True):
            w -= SGD_RATE * g
        return loss


def _windows(x: Array) -> Array:
    """All 3x3 windows: (n, rows, columns, channels, 3, 3)."""
    return np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))


def _convolve(x: Array, kernel: Array) -> Array:
    return np.tensordot(_windows(x), kernel.transpose(2, 0, 1, 3), 3)


def _pool(x: Array) -> tuple[Array, Array]:
    """The largest of each 2x2 window, and each element's share in it (ties share)."""
    n, rows, columns, channels = x.shape
    cut = x[:, : rows // 2 * 2, : columns // 2 * 2].reshape(n, rows // 2, 2, columns // 2, 2, channels)
    top = cut.max((2, 4), keepdims=True)
    hit = (cut == top).astype(x.dtype)
    return top[:, :, 0, :, 0], hit / hit.sum((2, 4), keepdims=True)


def _unpool(g: Array, share: Array, shape: tuple[int, ...]) -> Array:
    out = np.zeros(shape, g.dtype)
    found = g[:, :, None, :, None] * share
    n, rows, _, columns, _, channels = share.shape
    out[:, : 2 * rows, : 2 * columns] = found.reshape(n, 2 * rows, 2 * columns, channels)
    return out


def cnn_gradient(weights: Sequence[Array], x: Array, labels: Array) -> tuple[Any, list[Array]]:
    """conv 3x3 - relu - pool - conv 3x3 - relu - pool - dense: the loss and its gradients."""
    k1, b1, k2, b2, w, b = weights
    c1 = np.maximum(_convolve(x, k1) + b1, 0)
    p1, share1 = _pool(c1)
    c2 = np.maximum(_convolve(p1, k2) + b2, 0)
    p2, share2 = _pool(c2)
    flat = p2.reshape(len(x), -1)
    loss, d = cross_entropy(flat @ w + b, labels)
    d2 = _unpool((d @ w.T).reshape(p2.shape), share2, c2.shape) * (c2 > 0)
    dp = _convolve(np.pad(d2, [(0, 0), (2, 2), (2, 2), (0, 0)]), k2[::-1, ::-1].transpose(0, 1, 3, 2))
    d1 = _unpool(dp, share1, c1.shape) * (c1 > 0)
    kernels = [
        np.tensordot(_windows(a), g, ([0, 1, 2], [0, 1, 2])).transpose(1, 2, 0, 3) for a, g in ((x, d1), (p1, d2))
    ]
    return loss, [kernels[0], d1.sum((0, 1, 2)), kernels[1], d2.sum((0, 1, 2)), flat.T @ d, d.sum(0)]


class CnnStep(SgdStep):
    """One step of gradient descent on a small convolutional network; gives the loss before the step."""

    gradient = staticmethod(cnn_gradient)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def gru(x: Array, kernel: Array, recurrent: Array, bias: Array, recurrent_bias: Array) -> Any:
    """sum(h^2) / 2 of the last state of a GRU over (time, n, features), and the gradients of its weights."""
    n, units = x.shape[1], recurrent.shape[0]
    h = np.zeros((n, units), x.dtype)
    kept = []
    for row in x @ kernel + bias:
        a_z, a_r, a_c = np.split(row, 3, 1)
        b_z, b_r, b_c = np.split(h @ recurrent + recurrent_bias, 3, 1)
        z, r = _sigmoid(a_z + b_z), _sigmoid(a_r + b_r)
        c = np.tanh(a_c + r * b_c)
        kept.append((h, z, r, c, b_c))
        h = z * h + (1 - z) * c
    loss, g = np.sum(h * h) / 2, h
    totals = [np.zeros_like(p) for p in (kernel, recurrent, bias, recurrent_bias)]
    for row, (before, z, r, c, b_c) in zip(x[::-1], kept[::-1], strict=True):
        d_c = g * (1 - z) * (1 - c * c)
        d_z, d_r = g * (before - c) * z * (1 - z), d_c * b_c * r * (1 - r)
        d_a, d_b = np.concatenate([d_z, d_r, d_c], 1), np.concatenate([d_z, d_r, d_c * r], 1)
        for total, part in zip(totals, (row.T @ d_a, before.T @ d_b, d_a.sum(0), d_b.sum(0)), strict=True):
            total += part
        g = g * z + d_b @ recurrent.T
    return loss, *totals


def _heads(x: Array) -> Array:
    n, places, width = x.shape
    return x.reshape(n, places, HEADS, width // HEADS).transpose(0, 2, 1, 3)


def _joined(x: Array) -> Array:
    n, heads, places, size = x.shape
    return x.transpose(0, 2, 1, 3).reshape(n, places, heads * size)


def _product(x: Array, y: Array) -> Array:
    return np.tensordot(x, y, ([0, 1], [0, 1]))


def attention(x: Array, wq: Array, wk: Array, wv: Array, wo: Array) -> Any:
    """sum(y^2) / 2 of causal attention over (n, places, features), and the gradients of input and weights."""
    q, k, v = (_heads(x @ w) for w in (wq, wk, wv))
    scale = 1 / math.sqrt(q.shape[-1])
    scores = np.where(np.tri(x.shape[1], dtype=bool), (q * scale) @ k.swapaxes(-1, -2), -np.inf)
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    share = raised / raised.sum(-1, keepdims=True)
    mixed = _joined(share @ v)
    y = mixed @ wo
    d = _heads(y @ wo.T)
    d_share = d @ v.swapaxes(-1, -2)
    d_scores = share * (d_share - (d_share * share).sum(-1, keepdims=True))
    back = [
        _joined(g) for g in (d_scores @ k * scale, d_scores.swapaxes(-1, -2) @ q * scale, share.swapaxes(-1, -2) @ d)
    ]
    d_x = sum(g @ w.T for g, w in zip(back, (wq, wk, wv), strict=True))
    return np.sum(y * y) / 2, d_x, *[_product(x, g) for g in back], _product(mixed, y)


PROGRAMS = by_name(eager_mlp, gru, attention)
STEPS = {"mlp": MlpStep, "sgd": SgdStep, "cnn": CnnStep}
