"""PyTorch: eager with autograd and torch.optim, and the same programs under `torch.compile`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._higher_order_ops.while_loop import while_loop
from torch.nn import functional as F

from peers.base import Array, Peer, by_name, one_of
from peers.numpy_ import BETA_1, BETA_2, EPSILON, RATE


def add_one(x: Any) -> Any:
    return x + 1


def many(*xs: Any) -> Any:
    return [x + 1 for x in xs]


def chain(x: Any, a: Any, b: Any) -> Any:
    return torch.tanh(x * a + b) * torch.sigmoid(x) + torch.exp(-x * x) / 2


def rows(x: Any, y: Any) -> Any:
    return torch.sum(torch.square(torch.exp(x - y)), dim=1)


def columns(x: Any, y: Any) -> Any:
    return torch.sum(torch.square(torch.exp(x - y)), dim=0)


def everything(x: Any, y: Any) -> Any:
    return torch.sum(torch.square(torch.exp(x - y)))


def logsumexp(x: Any) -> Any:
    return torch.logsumexp(x, dim=1)


def variance(x: Any) -> Any:
    return torch.var(x, correction=0)


def cross_entropy(logits: Any, labels: Any) -> Any:
    gradient, loss = torch.func.grad_and_value(F.cross_entropy)(logits, labels)
    return loss, gradient


def cross_entropy_eager(logits: Any, labels: Any) -> Any:
    leaf = logits.detach().requires_grad_()
    loss = F.cross_entropy(leaf, labels)
    return loss.detach(), torch.autograd.grad(loss, leaf)[0]


def logistic_eager(x: Any, r: Any, n: Any) -> Any:
    i = 0
    while i < n:
        x = r * x * (1 - x)
        i += 1
    return x


def newton_eager(a: Any) -> Any:
    x = a
    while abs(x * x - a) > 1e-10 * a:
        x = 0.5 * (x + a / x)
    return x


def collatz_eager(n: Any) -> Any:
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return torch.tensor(steps)


def logistic(x: Any, r: Any, n: Any) -> Any:
    start = torch.zeros((), dtype=torch.int64)
    return while_loop(lambda i, x: i < n, lambda i, x: (i + 1, r * x * (1 - x)), (start, x.clone()))[1]


def newton(a: Any) -> Any:
    return while_loop(lambda x: (x * x - a).abs() > 1e-10 * a, lambda x: (0.5 * (x + a / x),), (a.clone(),))[0]


def collatz(n: Any) -> Any:
    def body(n: Any, steps: Any) -> Any:
        return torch.where(n % 2 == 0, n // 2, 3 * n + 1), steps + 1

    start = torch.zeros((), dtype=torch.int64)
    return while_loop(lambda n, steps: n != 1, body, (n.clone(), start))[1]


def mlp_loss(weights: Any, x: Any, labels: Any) -> Any:
    w1, b1, w2, b2, w3, b3 = weights
    h1 = torch.relu(x @ w1 + b1)
    h2 = torch.relu(h1 @ w2 + b2)
    return F.cross_entropy(h2 @ w3 + b3, labels)


class EagerMlpStep:
    """Autograd and torch.optim.Adam."""

    def __init__(self, state: Sequence[Array]) -> None:
        self.weights = [torch.tensor(w, requires_grad=True) for w in state]
        self.optimizer = torch.optim.Adam(self.weights, RATE, (BETA_1, BETA_2), EPSILON)

    def __call__(self, x: Any, labels: Any) -> Any:
        self.optimizer.zero_grad()
        loss = mlp_loss(self.weights, x, labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def mlp_step(weights: Any, first: Any, second: Any, t: Any, x: Any, labels: Any) -> Any:
    """Gradients and Adam in one graph; changes its state in place."""
    gradients, loss = torch.func.grad_and_value(mlp_loss)(weights, x, labels)
    t += 1
    rate = RATE / (1 - BETA_1**t)
    correction = 1 / torch.sqrt(1 - BETA_2**t)
    for w, m, v, g in zip(weights, first, second, gradients, strict=True):
        m.mul_(BETA_1).add_((1 - BETA_1) * g)
        v.mul_(BETA_2).add_((1 - BETA_2) * g * g)
        w.sub_(rate * m / (torch.sqrt(v) * correction + EPSILON))
    return loss


class CompiledMlpStep:
    """Keeps the state of the compiled step."""

    def __init__(self, state: Sequence[Array]) -> None:
        self.weights = tuple(torch.tensor(w) for w in state)
        self.first = tuple(torch.zeros_like(w) for w in self.weights)
        self.second = tuple(torch.zeros_like(w) for w in self.weights)
        self.t = torch.zeros((), dtype=torch.float64)
        self.step = torch.compile(mlp_step)

    def __call__(self, x: Any, labels: Any) -> Any:
        return self.step(self.weights, self.first, self.second, self.t, x, labels)


SHARED = (add_one, many, chain, rows, columns, everything, logsumexp, variance)
COMPILED = by_name(*SHARED, cross_entropy, logistic, newton, collatz)
EAGER = by_name(*SHARED) | {
    "cross_entropy": cross_entropy_eager,
    "logistic": logistic_eager,
    "newton": newton_eager,
    "collatz": collatz_eager,
}


class TorchPeer(Peer):
    """PyTorch on the CPU."""

    variants = ("PyTorch", "torch.compile")

    def build(self, variant: str, program: str, state: Sequence[Array]) -> Callable[..., Any]:
        if variant == "PyTorch":
            return EagerMlpStep(state) if program == "mlp" else one_of(program, EAGER)
        if program == "mlp":
            return CompiledMlpStep(state)
        compiled: Callable[..., Any] = torch.compile(one_of(program, COMPILED))
        return compiled

    def place(self, args: Sequence[Array]) -> list[Any]:
        return [torch.tensor(x) for x in args]


PEER = TorchPeer()
