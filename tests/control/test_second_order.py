"""Gradients through every loop construct, to second order: compiled and interpreted, against central differences."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle.control.call import interpret_arrays

F8 = np.float64


def unknown_trips(x, n):
    y = x[0]
    while td.abs(y) > 0.2:
        y = y * td.sin(x[1]) * 0.7
    return y * x[2]


def leaves_by_break(x, n):
    y = x[0]
    for i in td.range(n):
        y = y * x[1] + td.sin(x[2] * y)
        if y > 1.2:
            y = y * y
            break
    return y


def skips_by_continue(x, n):
    y = x[0] * 0.0
    for i in td.range(n):
        if i % 2 == 1:
            continue
        y = td.sin(y + x[1] * x[0]) + y * x[2]
    return y


def returns_early(x, n):
    y = x[0]
    for i in td.range(n):
        y = y + td.cos(y * x[1])
        if y > 1.5:
            return y * y * x[2]
    return y * x[1]


def returns_from_the_inner_loop(x, n):
    y = x[0]
    for i in td.range(n):
        for j in td.range(i + 1):
            y = y + 0.3 * td.sin(y * x[1])
            if y > 1.4:
                return y * x[2]
    return y


def nested(x, n):
    y = x[0]
    i = 0
    while i < n:
        k = 0
        while td.abs(y) < 2.0 and k < i + 1:
            y = y * x[1] * 1.2 + 0.1
            k += 1
        y = td.sin(y) * x[2]
        i += 1
    return y


def has_an_else(x, n):
    y = x[0]
    for i in td.range(n):
        y = td.sin(y * x[1])
        if y > 5.0:
            break
    else:
        y = y * y * x[2]
    return y


def over_rows(x, n):
    y = td.asarray(F8(1.0))
    for row in td.reshape(x, (3, 1)) * x[None, :]:
        y = y * td.sum(td.cos(row)) * 0.4
    return y


def safe_where(x, n):
    """Where the square root has no slope, the argument is replaced first."""
    y = x[0] - x[0]
    for i in td.range(n):
        safe = td.where(y > 0.0, y, 1.0)
        y = td.where(y > 0.0, td.sqrt(safe) * x[1], x[2] * x[0] * (i - 1.0))
    return y


def branches(x, n):
    y = x[0]
    for i in td.range(n):
        if y > x[1]:
            y = y - x[1] * x[1]
        elif i > 1:
            y = y * x[2] + 1.0
        else:
            y = td.exp(-y)
    return y


def with_matrices(x, n):
    h = x[:, None] * x[None, :]
    w = td.sin(h + 1.0)
    for i in td.range(n):
        h = td.tanh(h @ w + x)
    return td.sum(h * h)


def scanned_and_mapped(x, n):
    carry, ys = td.scan(lambda c, r: (td.sin(c * r) + r, c * c), x[0], x)
    return carry * td.sum(td.map(lambda r: r * td.sin(r), ys))


def in_checkpointed_chunks(x, n):
    return td.fori_loop(0, n, lambda i, y: td.sin(y * x[1]) + x[2] * y, x[0], checkpoint_every=2)


@td.checkpoint
def cell(y, x):
    return td.tanh(y * x[1]) + x[2]


def checkpointed_body(x, n):
    y = x[0]
    while n > 0:
        y, n = cell(y, x), n - 1
    return y


CONSTRUCTS = [
    unknown_trips, leaves_by_break, skips_by_continue, returns_early, returns_from_the_inner_loop, nested, has_an_else,
    over_rows, safe_where, branches, with_matrices, scanned_and_mapped, in_checkpointed_chunks, checkpointed_body,
]  # fmt: skip
POINTS = [np.array([0.5, 0.9, 0.7]), np.array([0.8, 1.3, 0.4])]


def numeric(f, x, h=1e-5):
    """The gradient by central differences."""
    steps = np.eye(len(x)) * h
    return np.array([(f(x + s) - f(x - s)) / (2 * h) for s in steps])


DIRECTION = np.array([0.3, -0.5, 0.2])


@pytest.mark.parametrize("f", CONSTRUCTS, ids=lambda f: f.__name__)
def test_first_and_second_order(f):
    """Also by forward mode: the tangent of the value, and of the gradient."""

    @td.function
    def derivatives(x, n):
        along = lambda x: td.sum(td.grad(f)(x, n) * DIRECTION)
        value, gradient = td.value_and_grad(f)(x, n)
        return value, gradient, td.grad(along)(x), td.jvp(lambda x: f(x, n), (x,), (td.asarray(DIRECTION),))[1]

    n = td.asarray(5)
    for point in POINTS:
        value, gradient, second, tangent = (t.numpy() for t in derivatives(td.asarray(point), n))
        np.testing.assert_allclose(value, f(td.asarray(point), n).numpy(), rtol=1e-9)
        by_steps = numeric(lambda p: derivatives(td.asarray(p), n)[0].item(), point)
        np.testing.assert_allclose(gradient, by_steps, rtol=2e-6, atol=1e-7)
        np.testing.assert_allclose(tangent, gradient @ DIRECTION, rtol=1e-8, atol=1e-12)
        by_steps = numeric(lambda p: derivatives(td.asarray(p), n)[1].numpy() @ DIRECTION, point)
        np.testing.assert_allclose(second, by_steps, rtol=2e-6, atol=1e-6)
    (trace,) = derivatives.traces
    again = interpret_arrays(trace.graph, [point, np.asarray(5), *(c.numpy() for c in trace.captures)])
    for a, b in zip(again, (value, gradient, second, tangent), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)


def test_a_row_reduction_beside_its_source():
    """What a row kernel keeps for a later pass is told by identity, as tensors compare by value."""

    def f(x, n):
        c = a = x
        for i in td.range(n):
            c = td.sin(c) * 0.5
            a = td.min(c, axis=1, keepdims=True) + c * 0.5
        return td.sum(a * c)

    x, n = td.asarray(np.linspace(-1, 1, 9).reshape(3, 3)), td.asarray(3)
    found = td.function(lambda x, n: td.grad(f)(x, n))(x, n)
    np.testing.assert_allclose(found.numpy(), td.grad(f)(x, n).numpy(), rtol=1e-10)


def test_a_loop_of_no_steps_hands_the_gradient_on_where_its_body_overwrites():
    def f(x, n):
        a, k = x, 0
        while k < n:
            a = 0.0
            k += 1
        return a * 2

    for n, wanted in ((0, 2.0), (2, 0.0)):
        args = td.asarray(3.0), td.asarray(n)
        assert float(td.grad(td.function(f))(*args)) == wanted
        assert float(td.function(lambda x, n: td.grad(lambda y: f(y, n))(x))(*args)) == wanted
        assert float(td.jvp(lambda x, n=args[1]: td.function(f)(x, n), (args[0],), (td.asarray(1.0),))[1]) == wanted
