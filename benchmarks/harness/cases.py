"""What is measured: each case is a program's name, its data, and how closely its result must agree with NumPy's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from peers.numpy_ import PROGRAMS, STEPS

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Data:
    """Arguments of each call, and the first values of what the program trains (empty for most)."""

    args: tuple[Array, ...]
    state: tuple[Array, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the table: `make(size)` gives its data, the same in every process; `calls` results are checked.

    few: the share of elements that may disagree (counts of turns, where rounding decides at the edge of a set; what
        chance drops, where every library draws its own numbers).
    """

    name: str
    program: str
    make: Callable[[int], Data]
    size: int
    rtol: float = 1e-5
    atol: float = 1e-6
    calls: int = 1
    few: float = 0.0

    def data(self) -> Data:
        """The data of this case."""
        return self.make(self.size)

    def reference(self, data: Data) -> list[list[Array]]:
        """The results of the first calls, by NumPy in float64."""
        args = [_widened(x) for x in data.args]
        steps = STEPS.get(self.program)
        call = steps([_widened(w) for w in data.state]) if steps else PROGRAMS[self.program]
        results = [call(*args) for _ in range(self.calls)]
        return [[np.asarray(x) for x in (r if isinstance(r, (tuple, list)) else [r])] for r in results]


def _widened(x: Array) -> Array:
    return x.astype(np.float64) if x.dtype.kind == "f" else x


def _rng() -> np.random.Generator:
    return np.random.default_rng(20)


def _normal(*shape: int) -> Array:
    return _rng().standard_normal(shape).astype(np.float32)


def few(size: int) -> Data:
    """One array."""
    return Data((_normal(size),))


def drawn(size: int) -> Data:
    """One array, and a seed for those that want one."""
    return Data((_normal(size), np.array(5)))


def many(count: int) -> Data:
    """Many small arrays."""
    return Data(tuple(_normal(count, 4)))


def triple(size: int) -> Data:
    """x, a and b of one length."""
    return Data(tuple(_normal(3, size)))


def options(size: int) -> Data:
    """Prices, strikes and years, float64."""
    rng = _rng()
    return Data((rng.uniform(50, 150, size), rng.uniform(50, 150, size), rng.uniform(0.1, 2, size)))


def narrow(make: Callable[[int], Data]) -> Callable[[int], Data]:
    """The same data in float32."""
    return lambda size: Data(tuple(x.astype(np.float32) for x in make(size).args))


def square(side: int) -> Data:
    """One matrix."""
    return Data((_normal(side, side),))


def pair(side: int) -> Data:
    """Two matrices."""
    return Data(tuple(_normal(2, side, side)))


def two(size: int) -> Data:
    """Two arrays."""
    return Data(tuple(_normal(2, size)))


def scores(batch: int) -> Data:
    """Logits of 1000 classes, and labels."""
    return Data((_normal(batch, 1000), _rng().integers(0, 1000, batch)))


def norm(rows: int) -> Data:
    """Rows of 1024, scale and shift, and what comes back to the result."""
    x, w = _normal(2, rows, 1024)
    gamma, beta = _normal(2, 1024)
    return Data((x, 1 + gamma / 4, beta, w))


def perceptron(*widths: int) -> Callable[[int], Data]:
    """A batch in 10 classes, and weights and biases of layers of these widths."""

    def make(batch: int) -> Data:
        state: list[Array] = []
        for before, after in pairwise(widths):
            state += [_normal(before, after) / np.float32(before**0.5), np.zeros(after, np.float32)]
        return Data((_normal(batch, widths[0]), _rng().integers(0, widths[-1], batch)), tuple(state))

    return make


def together(make: Callable[[int], Data]) -> Callable[[int], Data]:
    """What is trained as further arguments."""

    def joined(size: int) -> Data:
        data = make(size)
        return Data((*data.args, *data.state))

    return joined


def images(batch: int) -> Data:
    """Images of 28x28 in 10 classes, and the weights of two convolutions and a dense layer."""
    shapes = ((3, 3, 1, 8), (8,), (3, 3, 8, 16), (16,), (400, 10), (10,))
    state = [
        _normal(*s) / np.float32(np.prod(s[:-1]) ** 0.5) if len(s) > 1 else np.zeros(s, np.float32) for s in shapes
    ]
    return Data((_normal(batch, 28, 28, 1), _rng().integers(0, 10, batch)), tuple(state))


def sequence(times: int) -> Data:
    """(time, 32, 64) and the weights of a GRU of 64 units."""
    kernel, recurrent = _normal(2, 64, 192) / np.float32(8)
    bias, recurrent_bias = _normal(2, 192) / np.float32(8)
    return Data((_normal(times, 32, 64), kernel, recurrent, bias, recurrent_bias))


def tokens(places: int) -> Data:
    """(4, places, 128) and four weights of attention."""
    return Data((_normal(4, places, 128), *(_normal(4, 128, 128) / np.float32(128**0.5))))


def plane(side: int) -> Data:
    """Points of the complex plane around the Mandelbrot set."""
    re, im = np.meshgrid(np.linspace(-2, 0.5, side), np.linspace(-1.25, 1.25, side))
    return Data((re.astype(np.float32), im.astype(np.float32)))


def logistic(steps: int) -> Data:
    """Start, rate and number of steps; at this rate the orbit has period 4, so that rounding does not grow."""
    return Data((np.array(0.3), np.array(3.5), np.array(steps)))


def descent(steps: int) -> Data:
    """Start, x, y and number of steps."""
    return Data((np.array(0.1), np.array(0.7), np.array(1.3), np.array(steps)))


def positive(number: int) -> Data:
    """A float64 scalar."""
    return Data((np.array(float(number)),))


def vector(size: int) -> Data:
    """A small float64 vector of positive numbers."""
    return Data((np.linspace(1.0, 2000.0, size),))


def integer(number: int) -> Data:
    """An int64 scalar."""
    return Data((np.array(number),))


SMALL_MLP = perceptron(784, 100, 100, 10)


def steady_cases(quick: bool) -> list[Case]:
    """The cases that are timed call after call; `quick` ones are small."""
    return [*_flat_cases(quick), *_model_cases(quick), *_loop_cases(quick), *_eager_cases()]


def _flat_cases(quick: bool) -> list[Case]:
    side, million = (200, 10_000) if quick else (2000, 1_000_000)
    sizes = (1000, 100_000) if quick else (1000, 10_000, 100_000, 1_000_000, 10_000_000)
    loose = 2e-4  # long float32 sums
    return [
        Case("call: x + 1, 4 elements", "add_one", few, 4),
        Case("call: 32 arrays in, 32 out", "many", many, 32),
        *(Case(f"elementwise chain, {_power(n)}", "chain", triple, n) for n in sizes),
        Case(f"gradient of the chain, {_power(million)}", "chain_gradient", triple, million, rtol=1e-4, atol=1e-5),
        Case(f"gelu with erf, {_power(million)}", "gelu", few, million),
        Case(f"Black-Scholes float32, {_power(million)}", "black_scholes", narrow(options), million, 1e-4, 1e-4),
        Case(f"Black-Scholes float64, {_power(million)}", "black_scholes", options, million, 1e-9, 1e-9),
        Case(f"mean of drawn claims, {_power(million)}", "monte_carlo", drawn, million, rtol=0.02),
        Case(f"dropout and gradient, {_power(million)}", "dropout", drawn, million, rtol=0.03, few=0.2),
        Case("cross-entropy and gradient, 128x1000", "cross_entropy", scores, 128, rtol=1e-4),
        Case("layer norm and gradients, 256x1024", "layer_norm", norm, 256, rtol=1e-3, atol=5e-3),
        Case(f"sum exp(x-y)^2 over rows, {side}^2", "rows", pair, side, rtol=loose),
        Case(f"sum exp(x-y)^2 over columns, {side}^2", "columns", pair, side, rtol=loose),
        Case(f"sum exp(x-y)^2 of all, {side}^2", "everything", pair, side, rtol=loose),
        Case(f"logsumexp over rows, {side}^2", "logsumexp", square, side),
        Case(f"variance of all, {side}^2", "variance", square, side, rtol=loose),
    ]


def _model_cases(quick: bool) -> list[Case]:
    wide = perceptron(*((64, 64, 64, 10) if quick else (1024, 1024, 1024, 10)))
    times, places = (5, 16) if quick else (50, 64)
    return [
        Case("MLP step with Adam, batch 100", "mlp", SMALL_MLP, 100, rtol=2e-3, calls=3),
        Case(
            f"wide MLP step with Adam, batch {16 if quick else 256}", "mlp", wide, 16 if quick else 256, 2e-3, calls=3
        ),
        Case("two-layer step with SGD, batch 60", "sgd", perceptron(1000, 100, 10), 60, rtol=1e-3, calls=3),
        Case(f"GRU {times}x32x64 and gradients", "gru", sequence, times, rtol=1e-3, atol=1e-3),
        Case("small CNN step, batch 32", "cnn", images, 32, rtol=1e-3, calls=3),
        Case(f"causal attention 4x{places}x128 and gradients", "attention", tokens, places, rtol=1e-3, atol=2e-3),
    ]


def _loop_cases(quick: bool) -> list[Case]:
    steps, side, grid = (1000, 50, 50) if quick else (100_000, 200, 500)
    return [
        Case(f"loop: logistic map, {steps} steps", "logistic", logistic, steps, rtol=1e-9),
        Case("loop: Newton, 10 elements", "newton_vector", vector, 10, rtol=1e-9),
        Case("loop: Newton, scalar", "newton", positive, 1234, rtol=1e-9),
        Case("loop: 1000 SGD steps", "descent", descent, 1000, rtol=1e-9),
        Case("loop: Collatz, 837799", "collatz", integer, 837_799, rtol=0.0, atol=0.0),
        Case(f"loop: Mandelbrot, {side}^2 x 50", "mandelbrot", plane, side, rtol=0.0, atol=0.0, few=0.005),
        Case(f"loop: Jacobi, {grid}^2 x 100", "jacobi", square, grid, rtol=1e-4, atol=1e-5),
    ]


def _eager_cases() -> list[Case]:
    return [
        Case("eager: x + y, 4 elements", "eager_add", two, 4),
        Case("eager: MLP forward and backward", "eager_mlp", together(SMALL_MLP), 100, rtol=1e-3, atol=1e-5),
    ]


def _power(n: int) -> str:
    return f"10^{len(str(n)) - 1}"


@dataclass(frozen=True, slots=True)
class ColdCase:
    """A program that is run once in a fresh process, then with a new shape."""

    name: str
    case: Case
    other_size: int


def cold_cases() -> Sequence[ColdCase]:
    """The programs whose first call, retrace and warm start are timed."""
    chain = Case("chain", "chain", triple, 100_000)
    step = Case("MLP step", "mlp", SMALL_MLP, 100, rtol=2e-3)
    gru = Case("GRU", "gru", sequence, 50, rtol=1e-3, atol=1e-3)
    return (
        ColdCase("elementwise chain", chain, 70_000),
        ColdCase("MLP step", step, 60),
        ColdCase("GRU", gru, 40),
    )
