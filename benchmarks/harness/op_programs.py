"""Cases of `never_slower.py` of five operations or more: the rows of the large table, cut to so many elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from peers import numpy_, treadle_

from harness import cases
from harness.op_inputs import Array, Case, Make, normal, side, square


def _options(dtype: str) -> Make:
    return lambda _, n: [x.astype(dtype) for x in cases.options(n).args]


def _scores(rng: np.random.Generator, n: int) -> list[Array]:
    """Logits of 10 classes (of 1000 where there are many), and labels."""
    classes = 1000 if n >= 100_000 else 10
    return [rng.normal(size=(n // classes, classes)).astype(np.float32), rng.integers(0, classes, n // classes)]


def _norm(rng: np.random.Generator, n: int) -> list[Array]:
    """Rows, scale and shift, and what comes back to the result."""
    rows, width = square(n)
    shapes = ((rows, width), (width,), (width,), (rows, width))
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def _roots(_: np.random.Generator, n: int) -> list[Array]:
    return list(cases.vector(n).args)


def _plane(_: np.random.Generator, n: int) -> list[Array]:
    return list(cases.plane(side(n)).args)


def _sequence(_: np.random.Generator, n: int) -> list[Array]:
    """Steps of 32x64 and the weights of a GRU: one step at least."""
    return list(cases.sequence(max(1, n // 2048)).args)


def _tokens(_: np.random.Generator, n: int) -> list[Array]:
    """Four sentences of tokens of 128 numbers."""
    return list(cases.tokens(max(1, n // 512)).args)


def _program(name: str, make: Make, tolerance: float = 1e-3) -> Case:
    mine, theirs = treadle_.PROGRAMS[name], numpy_.PROGRAMS[name]
    return Case(f"program {name}", make, mine, theirs, program=True, tolerance=tolerance)


def _step(name: str, data: Callable[[int], cases.Data]) -> Case:
    """A training step: both sides begin with the same weights."""

    def sides(n: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
        state: Sequence[Array] = data(n).state
        return treadle_.STEPS[name](state).step, numpy_.STEPS[name](state)

    return Case(f"program {name}", lambda _, n: list(data(n).args), sides=sides, program=True, tolerance=5e-3)


def _layers(n: int) -> cases.Data:
    """A batch of sqrt(n) rows of sqrt(n) numbers, through layers as wide."""
    return cases.perceptron(side(n), side(n), side(n), 10)(side(n))


def _images(n: int) -> cases.Data:
    """As many images of 28 x 28 as n elements make: one at least."""
    return cases.images(max(1, n // 784))


def programs() -> list[Case]:
    """Elementwise chains, rows and columns, losses, norms, loops, training steps."""
    plane, two = normal(1, square), normal(2, square)
    return [
        _program("chain", normal(3)),
        _program("chain_gradient", normal(3)),
        _program("gelu", normal()),
        Case("program black_scholes float32", _options("f4"), *_both("black_scholes"), program=True, tolerance=1e-3),
        Case("program black_scholes float64", _options("f8"), *_both("black_scholes"), program=True),
        _program("rows", two),
        _program("columns", two),
        _program("everything", two),
        _program("logsumexp", plane),
        _program("variance", plane),
        _program("cross_entropy", _scores),
        _program("layer_norm", _norm, 2e-2),
        _program("newton_vector", _roots),
        _program("mandelbrot", _plane),
        _program("jacobi", plane),
        _program("gru", _sequence, 2e-2),
        _program("attention", _tokens, 2e-2),
        _step("mlp", _layers),
        _step("sgd", _layers),
        _step("cnn", _images),
    ]


def _both(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    return treadle_.PROGRAMS[name], numpy_.PROGRAMS[name]
