"""PyTorch: eager with autograd and torch.optim, and the same programs under `torch.compile`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._higher_order_ops.while_loop import while_loop
from torch.nn import functional as F

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
    NotSupported,
    Peer,
    by_name,
    one_of,
)


def add_one(x: Any) -> Any:
    return x + 1


def many(*xs: Any) -> Any:
    return [x + 1 for x in xs]


def eager_add(x: Any, y: Any) -> Any:
    return x + y


def chain(x: Any, a: Any, b: Any) -> Any:
    return torch.tanh(x * a + b) * torch.sigmoid(x) + torch.exp(-x * x) / 2


def with_gradients(loss: Callable[..., Any], leaves: Sequence[Any]) -> Any:
    """The loss and its gradients by autograd."""
    leaves = [x.detach().requires_grad_() for x in leaves]
    value = loss(*leaves)
    return value.detach(), *torch.autograd.grad(value, leaves)


def chain_gradient(x: Any, a: Any, b: Any) -> Any:
    return torch.func.grad(lambda x: torch.sum(chain(x, a, b)))(x)


def chain_gradient_eager(x: Any, a: Any, b: Any) -> Any:
    return with_gradients(lambda x: torch.sum(chain(x, a, b)), [x])[1]


def gelu(x: Any) -> Any:
    return 0.5 * x * (1 + torch.erf(x * math.sqrt(0.5)))


def gelu_eager(x: Any) -> Any:
    return F.gelu(x)


def black_scholes(spot: Any, strike: Any, years: Any) -> Any:
    spread = VOLATILITY * torch.sqrt(years)
    high = (torch.log(spot / strike) + (INTEREST + VOLATILITY**2 / 2) * years) / spread
    low = high - spread
    half = math.sqrt(0.5)
    return spot * (0.5 + 0.5 * torch.erf(high * half)) - strike * torch.exp(-INTEREST * years) * (
        0.5 + 0.5 * torch.erf(low * half)
    )


def monte_carlo(strike: Any, seed: Any) -> Any:
    return torch.mean(torch.clamp(torch.exp(VOLATILITY * torch.randn_like(strike)) - strike, min=0))


def dropout_loss(x: Any) -> Any:
    return torch.sum(F.dropout(torch.tanh(x), DROPPED, training=True) ** 2)


def dropout(x: Any, seed: Any) -> Any:
    gradient, value = torch.func.grad_and_value(dropout_loss)(x)
    return value, gradient


def dropout_eager(x: Any, seed: Any) -> Any:
    return with_gradients(dropout_loss, [x])


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


def norm_loss(w: Any) -> Callable[..., Any]:
    return lambda x, gamma, beta: torch.sum(w * F.layer_norm(x, x.shape[1:], gamma, beta, TINY))


def layer_norm(x: Any, gamma: Any, beta: Any, w: Any) -> Any:
    gradients, value = torch.func.grad_and_value(norm_loss(w), argnums=(0, 1, 2))(x, gamma, beta)
    return value, *gradients


def layer_norm_eager(x: Any, gamma: Any, beta: Any, w: Any) -> Any:
    return with_gradients(norm_loss(w), [x, gamma, beta])


def logistic_eager(x: Any, r: Any, n: Any) -> Any:
    i = 0
    while i < n:
        x = r * x * (1 - x)
        i += 1
    return x


def newton_eager(a: Any) -> Any:
    x = a
    while (abs(x * x - a) > 1e-10 * a).any():
        x = 0.5 * (x + a / x)
    return x


def collatz_eager(n: Any) -> Any:
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return torch.tensor(steps)


def descent_eager(w: Any, x: Any, y: Any, n: Any) -> Any:
    for _ in range(n):
        leaf = w.detach().requires_grad_()
        w = w - 0.01 * torch.autograd.grad(torch.square(leaf * x - y), leaf)[0]
    return w


def logistic(x: Any, r: Any, n: Any) -> Any:
    start = torch.zeros((), dtype=torch.int64)
    return while_loop(lambda i, x: i < n, lambda i, x: (i + 1, r * x * (1 - x)), (start, x.clone()))[1]


def newton(a: Any) -> Any:
    return while_loop(lambda x: (x * x - a).abs() > 1e-10 * a, lambda x: (0.5 * (x + a / x),), (a.clone(),))[0]


def newton_vector(a: Any) -> Any:
    def far(x: Any) -> Any:
        return ((x * x - a).abs() > 1e-10 * a).any()

    return while_loop(far, lambda x: (0.5 * (x + a / x),), (a.clone(),))[0]


def collatz(n: Any) -> Any:
    def body(n: Any, steps: Any) -> Any:
        return torch.where(n % 2 == 0, n // 2, 3 * n + 1), steps + 1

    start = torch.zeros((), dtype=torch.int64)
    return while_loop(lambda n, steps: n != 1, body, (n.clone(), start))[1]


def descent(w: Any, x: Any, y: Any, n: Any) -> Any:
    """The gradient by hand: `torch.func` does not work inside `while_loop`."""
    start = torch.zeros((), dtype=torch.int64)

    def step(i: Any, w: Any) -> Any:
        return i + 1, w - 0.01 * (2 * (w * x - y) * x)

    return while_loop(lambda i, w: i < n, step, (start, w.clone()))[1]


def mandelbrot(re: Any, im: Any) -> Any:
    x, y, count = torch.zeros_like(re), torch.zeros_like(im), torch.zeros(re.shape, dtype=torch.int32)
    for _ in range(TURNS):
        x, y = x * x - y * y + re, 2 * x * y + im
        count = count + (x * x + y * y <= 4).to(torch.int32)
    return count


def sweep(u: Any) -> Any:
    new = u.clone()
    new[1:-1, 1:-1] = 0.25 * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:])
    return new


def jacobi_eager(u: Any) -> Any:
    for _ in range(SWEEPS):
        u = sweep(u)
    return u


class Jacobi:
    """One compiled sweep, called in a loop: a graph of all sweeps takes minutes to compile."""

    def __init__(self) -> None:
        self.sweep = torch.compile(sweep)

    def __call__(self, u: Any) -> Any:
        for _ in range(SWEEPS):
            u = self.sweep(u)
        return u


def gru_loss(x: Any) -> Callable[..., Any]:
    def loss(kernel: Any, recurrent: Any, bias: Any, recurrent_bias: Any) -> Any:
        h = torch.zeros((x.shape[1], recurrent.shape[0]))
        for row in torch.unbind(x @ kernel + bias):
            a_z, a_r, a_c = torch.chunk(row, 3, dim=1)
            b_z, b_r, b_c = torch.chunk(h @ recurrent + recurrent_bias, 3, dim=1)
            z = torch.sigmoid(a_z + b_z)
            h = z * h + (1 - z) * torch.tanh(a_c + torch.sigmoid(a_r + b_r) * b_c)
        return torch.sum(torch.square(h)) / 2

    return loss


def gru(x: Any, *weights: Any) -> Any:
    gradients, value = torch.func.grad_and_value(gru_loss(x), argnums=(0, 1, 2, 3))(*weights)
    return value, *gradients


def gru_eager(x: Any, *weights: Any) -> Any:
    """By PyTorch's own GRU, whose gates stand in another order."""

    def turned(w: Any) -> Any:
        z, r, c = torch.chunk(w, 3, dim=-1)
        return torch.cat([r, z, c], dim=-1).mT if w.ndim == 2 else torch.cat([r, z, c])

    def loss(*weights: Any) -> Any:
        start = torch.zeros((1, x.shape[1], weights[1].shape[0]))
        last = torch.gru(x, start, [turned(w) for w in weights], True, 1, 0.0, True, False, False)[1]
        return torch.sum(torch.square(last)) / 2

    return with_gradients(loss, weights)


def _heads(x: Any) -> Any:
    n, places, width = x.shape
    return x.reshape(n, places, HEADS, width // HEADS).transpose(1, 2)


def attention_loss(x: Any, wq: Any, wk: Any, wv: Any, wo: Any) -> Any:
    q, k, v = _heads(x @ wq), _heads(x @ wk), _heads(x @ wv)
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return torch.sum(torch.square(mixed.transpose(1, 2).reshape(x.shape) @ wo)) / 2


def attention(*args: Any) -> Any:
    gradients, value = torch.func.grad_and_value(attention_loss, argnums=(0, 1, 2, 3, 4))(*args)
    return value, *gradients


def attention_eager(*args: Any) -> Any:
    return with_gradients(attention_loss, args)


def perceptron(weights: Any, x: Any) -> Any:
    for w, b in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        x = torch.relu(x @ w + b)
    return x @ weights[-2] + weights[-1]


def mlp_loss(weights: Any, x: Any, labels: Any) -> Any:
    return F.cross_entropy(perceptron(weights, x), labels)


def cnn_loss(weights: Any, x: Any, labels: Any) -> Any:
    """Images and kernels in PyTorch's order; in memory the channels stay last."""
    k1, b1, k2, b2, w, b = weights
    x = F.max_pool2d(torch.relu(F.conv2d(x.permute(0, 3, 1, 2), k1, b1)), 2)
    x = F.max_pool2d(torch.relu(F.conv2d(x, k2, b2)), 2)
    return F.cross_entropy(x.permute(0, 2, 3, 1).reshape(len(x), -1) @ w + b, labels)


def eager_mlp(x: Any, labels: Any, *weights: Any) -> Any:
    return with_gradients(lambda *ws: mlp_loss(ws, x, labels), weights)


def _leaf(w: Array) -> Any:
    return torch.tensor(w.transpose(3, 2, 0, 1) if w.ndim == 4 else w)


class EagerStep:
    """Autograd and an optimizer of torch.optim."""

    def __init__(self, state: Sequence[Array], loss: Callable[..., Any], adam: bool = False) -> None:
        self.weights = [_leaf(w).requires_grad_() for w in state]
        self.loss = loss
        self.optimizer = (
            torch.optim.Adam(self.weights, RATE, (BETA_1, BETA_2), EPSILON)
            if adam
            else torch.optim.SGD(self.weights, SGD_RATE)
        )

    def __call__(self, x: Any, labels: Any) -> Any:
        self.optimizer.zero_grad()
        loss = self.loss(self.weights, x, labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def adam_step(weights: Any, first: Any, second: Any, t: Any, x: Any, labels: Any) -> Any:
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


class CompiledAdam:
    """Keeps the state of the compiled step."""

    def __init__(self, state: Sequence[Array]) -> None:
        self.weights = tuple(torch.tensor(w) for w in state)
        self.first = tuple(torch.zeros_like(w) for w in self.weights)
        self.second = tuple(torch.zeros_like(w) for w in self.weights)
        self.t = torch.zeros((), dtype=torch.float64)
        self.step = torch.compile(adam_step)

    def __call__(self, x: Any, labels: Any) -> Any:
        return self.step(self.weights, self.first, self.second, self.t, x, labels)


class CompiledDescent:
    """Gradients and descent in one graph; changes its weights in place."""

    def __init__(self, state: Sequence[Array], loss: Callable[..., Any]) -> None:
        self.weights = tuple(_leaf(w) for w in state)

        def step(weights: Any, x: Any, labels: Any) -> Any:
            gradients, value = torch.func.grad_and_value(loss)(weights, x, labels)
            for w, g in zip(weights, gradients, strict=True):
                w.sub_(SGD_RATE * g)
            return value

        self.step = torch.compile(step)

    def __call__(self, x: Any, labels: Any) -> Any:
        return self.step(self.weights, x, labels)


EAGER_STEPS: dict[str, Callable[..., Any]] = {
    "mlp": lambda state: EagerStep(state, mlp_loss, adam=True),
    "sgd": lambda state: EagerStep(state, mlp_loss),
    "cnn": lambda state: EagerStep(state, cnn_loss),
}
STEPS: dict[str, Callable[..., Any]] = {
    "mlp": CompiledAdam,
    "sgd": lambda state: CompiledDescent(state, mlp_loss),
    "cnn": lambda state: CompiledDescent(state, cnn_loss),
}
SHARED = (add_one, many, chain, black_scholes, rows, columns, everything, logsumexp, variance, mandelbrot, monte_carlo)
COMPILED = by_name(
    *(*SHARED, chain_gradient, gelu, cross_entropy, layer_norm, logistic, newton, newton_vector, collatz, descent),
    *(gru, attention, dropout),
)
OP_BY_OP = by_name(*SHARED, eager_add, eager_mlp) | {
    "chain_gradient": chain_gradient_eager,
    "gelu": gelu_eager,
    "dropout": dropout_eager,
    "cross_entropy": cross_entropy_eager,
    "layer_norm": layer_norm_eager,
    "logistic": logistic_eager,
    "newton": newton_eager,
    "newton_vector": newton_eager,
    "collatz": collatz_eager,
    "descent": descent_eager,
    "jacobi": jacobi_eager,
    "gru": gru_eager,
    "attention": attention_eager,
}


class TorchPeer(Peer):
    """PyTorch on the CPU."""

    variants = ("PyTorch", "torch.compile")

    def build(self, variant: str, program: str, state: Sequence[Array]) -> Callable[..., Any]:
        if variant == "PyTorch":
            return EAGER_STEPS[program](state) if program in EAGER_STEPS else one_of(program, OP_BY_OP)
        if program in EAGER:
            raise NotSupported("this row is eager")
        if program == "jacobi":
            return Jacobi()
        if program in STEPS:
            step: Callable[..., Any] = STEPS[program](state)
            return step
        compiled: Callable[..., Any] = torch.compile(one_of(program, COMPILED))
        return compiled

    def place(self, args: Sequence[Array]) -> list[Any]:
        return [torch.tensor(x) for x in args]


PEER = TorchPeer()
