"""Random programs, with gradients, branches and loops: optimised and not, the interpreter gives the same bits."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import F0, F1, F2, I1, assert_same, graph_of, td

from treadle.core.spec import Spec
from treadle.optimize.pipeline import optimize, rewrites

# These hold within a tolerance only: see where they are declared.
INEXACT = {"sum of broadcast", "x ** 2", "x ** -1", "transposed product"}

UNARY = {
    "neg": lambda x: -x,
    "tanh": lambda x: td.tanh(x),
    "exp": lambda x: td.exp(x),
    "square": lambda x: td.square(x),
    "abs": lambda x: td.abs(x),
    "one": lambda x: x * 1.0,
    "zero": lambda x: x + 0.0,
    "minus zero": lambda x: x - 0.0,
    "times zero": lambda x: x * 0.0,
    "quarter": lambda x: x / 4.0,
    "third": lambda x: x / 3.0,
    "cube": lambda x: x**3,
    "power": lambda x: td.pow(x, td.full((), 1.0, dtype=x.dtype)),
    "total": lambda x: td.sum(x),
    "rows": lambda x: td.sum(x, axis=-1, keepdims=True) if x.ndim else x,
    "largest": lambda x: td.max(x, axis=0) if x.ndim else x,
    "turn": lambda x: td.transpose(x),
    "flat": lambda x: td.reshape(x, (-1,)),
    "front": lambda x: td.reshape(x, (1, *x.shape)),
    "stop": lambda x: td.stop_gradient(x),
    "wide": lambda x: td.astype(td.astype(x, np.dtype("f8")), x.dtype),
    "ones": lambda x: td.ones(x.shape, dtype=x.dtype),
    "zeros": lambda x: td.zeros(x.shape, dtype=x.dtype),
    "lse": lambda x: td.logsumexp(x, axis=0) if x.ndim else x,
    "gram": lambda x: td.matmul(x, td.transpose(x)) if x.ndim == 2 else x,
}
BINARY = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y,
    "minus": lambda x, y: x + -y,
    "larger": lambda x, y: td.maximum(x, y),
    "choose": lambda x, y: td.where(x > y, x, y),
    "choose not": lambda x, y: td.where(td.logical_not(x > y), x, td.where(x > y, y, x)),
}
CONTROL = {
    "cond": lambda x, f, g: td.cond(td.sum(x) > 0.0, lambda: same(f, x), lambda: same(g, x)),
    "known": lambda x, f, g: td.cond(td.full((), True), lambda: same(f, x), lambda: same(g, x)),
    "while": lambda x, f, g: td.while_loop(
        lambda i, y, z: (i < 3) & (td.sum(y) < 50.0), lambda i, y, z: (i + 1, same(f, y) + z * 0.5, z), (0, x, x)
    )[1],
    "scan": lambda x, f, g: td.scan(lambda c, row: (c + same(g, row), c), x[0] if x.ndim else x, rows(x))[1],
    "call": lambda x, f, g: td.custom_gradient(lambda v: (v * 2.0, lambda d: d * 2.0))(x),
}


def rows(x):
    return x if x.ndim else td.reshape(x, (1,))


def same(f, x):
    """`f(x)` where it keeps the shape, else something that does."""
    y = f(x)
    return y if y.shape == x.shape else x * 0.5


def bounded(x):
    """Numbers that do not overflow however long the program is; NaN may still come out of divisions."""
    return td.maximum(td.minimum(x, 1e3), -1e3)


@st.composite
def programs(draw: st.DrawFn):
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(sorted(UNARY) + sorted(BINARY) * 3 + sorted(CONTROL) * 2),
                st.integers(0, 30),
                st.integers(0, 30),
                st.sampled_from(sorted(UNARY)),
                st.sampled_from(sorted(UNARY)),
            ),
            min_size=1,
            max_size=10,
        )
    )

    def program(*inputs):
        values = list(inputs)
        for name, i, j, first, second in steps:
            x, y = values[i % len(values)], values[j % len(values)]
            if name in UNARY:
                values.append(UNARY[name](x))
            elif name in CONTROL:
                values.append(CONTROL[name](x, UNARY[first], UNARY[second]))
            elif fits(x.shape, y.shape):
                values.append(BINARY[name](x, y))
            values[-1] = bounded(values[-1])
            if len(values[-1].shape) > 3:
                values.pop()
        return values[len(inputs) :] or values

    return program


def fits(a, b) -> bool:
    return all(x == y or 1 in (x, y) for x, y in zip(a[::-1], b[::-1]))


def check(graph, seed: int) -> None:
    optimized = optimize(graph, verify=True)
    assert len(list(optimized.walk())) <= 1.5 * len(list(graph.walk())) + 20
    rng = np.random.default_rng(seed)
    for scale in (1.0, 0.0):
        inputs = [np.asarray(np.round(rng.normal(size=s.shape) * 2) * scale, s.dtype) for s in graph.inputs]
        assert_same(graph, optimized, inputs, 1e-9 if INEXACT & set(rewrites(graph)) else 0.0)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(program=programs(), seed=st.integers(0, 99))
def test_programs(program, seed: int) -> None:
    check(graph_of(program, F2, F1, F0), seed)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(program=programs(), seed=st.integers(0, 99))
def test_gradients(program, seed: int) -> None:
    def loss(*xs):
        total = td.zeros((), dtype=np.dtype("f8"))
        for y in program(*xs):
            total = total + td.sum(td.where(y == y, y, 0.0))
        return total

    check(graph_of(lambda *xs: list(td.grad(loss, argnums=(0, 1, 2))(*xs)), F2, F1, F0), seed)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    steps=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 9), st.integers(0, 9)), max_size=12),
    seed=st.integers(0, 9),
)
def test_integer_programs(steps, seed: int) -> None:
    rules = [
        lambda a, b: a + b * 1,
        lambda a, b: a - b,
        lambda a, b: a * 0 + b,
        lambda a, b: td.where(a > b, a - a, -(-b)),
        lambda a, b: (a + 0) * -b,
        lambda a, b: td.maximum(a, b) ** 2,
        lambda a, b: (
            td.astype(td.astype(a, np.dtype("i4")), np.dtype("i8")) + td.sum(td.broadcast_to(b, (4, 3)), axis=0)
        ),
        lambda a, b: td.while_loop(lambda i, c: i < 3, lambda i, c: (i + 1, c + b * b), (0, a))[1],
    ]

    def program(*inputs):
        values = list(inputs)
        for k, i, j in steps:
            values.append(rules[k](values[i % len(values)], values[j % len(values)]))
        return values

    graph = graph_of(program, I1, I1, Spec((3,), np.dtype("i8")))
    optimized = optimize(graph, verify=True)
    inputs = [np.random.default_rng(seed + k).integers(-9, 9, 3) for k in range(3)]
    assert_same(graph, optimized, inputs)
