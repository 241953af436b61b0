"""Loops over small tensors: each element in a register, the whole loop one kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import agree, compiled

import treadle as td
from treadle.compile.stepping import lanes


def one_kernel(f: Any, *arrays: np.ndarray) -> None:
    """The program of `f` is one kernel, and gives what the interpreter gives."""
    program = compiled(f, *arrays)
    assert [k.name for k in program.kernels][-1] == "while_loop", program.code.text()
    assert "jump" not in program.code.text()
    agree(f, *arrays)


def test_a_trajectory_of_three_numbers():
    def rates(s):
        x, y, z = s[0], s[1], s[2]
        return td.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])

    def body(s):
        a = rates(s)
        b = rates(s + 0.005 * a)
        return s + 0.01 * b

    one_kernel(lambda s: td.scan(lambda s, _: (body(s), s), s, None, length=20), np.array([1.0, 2.0, 3.0]))


def test_a_filter_with_small_matrices():
    a = np.array([[1.0, 0.1], [0.0, 1.0]])
    zs = np.linspace(0, 1, 24).reshape(12, 2)

    def f(zs, a, x, p):
        def step(carry, z):
            x, p = carry
            x, p = a @ x, a @ p @ a.T + 0.01 * td.eye(2, dtype=td.float64)
            k = p / (td.sum(td.abs(p), axis=1, keepdims=True) + 1)
            x = x + k @ (z - x)
            return (x, (td.eye(2, dtype=td.float64) - k) @ p), (x, td.max(p, axis=0))

        return td.nest.flatten(td.scan(step, (x, p), zs))

    one_kernel(f, zs, a, np.zeros(2), np.eye(2))


def test_conditions_loops_and_stops_inside():
    def f(x, eps):
        def test(x, n):
            return td.all(td.sum(x * x) > eps) & (n < 1000)

        def body(x, n):
            half = td.cond(x[0] > x[1], lambda: td.concat([x[1:], x[:1]]), lambda: x * 0.5)
            inner = td.fori_loop(0, 3, lambda i, y: y * 0.9 + 0.01 * td.flip(y, axis=0), half)
            return inner, n + 1

        return td.while_loop(test, body, (x, td.asarray(0)))

    one_kernel(f, np.array([3.0, 1.0, 2.0]), np.array(0.5))


@pytest.mark.parametrize("dtype", [np.float32, np.int32, bool])
@pytest.mark.parametrize("op", ["sum", "prod", "max", "min", "any", "all"])
def test_reductions_keep_the_order_and_the_special_values(op, dtype):
    if (op in ("any", "all")) != (dtype is bool):
        return
    reduce = getattr(td, op)
    start = np.arange(6).reshape(2, 3).astype(dtype)
    if dtype is np.float32:
        start[0, 1], start[1, 2] = np.nan, -0.0

    def f(x, y):
        def body(i, state):
            x, y = state
            row = reduce(x, axis=0)
            if dtype is bool:
                return ~x, y ^ row
            return x + 1, y + row.astype(x.dtype)

        return td.fori_loop(0, 4, body, (x, y))

    agree(f, start, np.zeros(3, dtype))


def test_steps_backwards_and_gradients():
    def f(w, xs):
        def loss(w):
            def step(h, x):
                h = td.tanh(w @ h + x)
                return h, td.sum(h * h)

            _, losses = td.scan(step, td.zeros(2, dtype=td.float64), xs)
            return td.sum(losses)

        return td.grad(loss)(w)

    agree(f, np.array([[0.5, -0.3], [0.2, 0.7]]), np.linspace(-1, 1, 10).reshape(5, 2))


def test_views_that_are_not_in_row_order_come_in():
    def f(m, xs):
        return td.scan(lambda s, x: (s @ m.T * 0.5 + x, s[0]), td.zeros(2, dtype=td.float64), xs.T)

    one_kernel(f, np.array([[1.0, 2.0], [3.0, 4.0]]), np.arange(8.0).reshape(2, 4))


def test_pads_fills_and_constants():
    def f(x):
        def body(i, x):
            y = td.full((4,), 3.0, dtype=td.float64).at[1:3].set(x)
            return (y * td.asarray([1.0, 2.0, 3.0, 4.0], dtype=td.float64))[1:3] * 0.125

        return td.fori_loop(0, 5, body, x), td.grad(lambda x: td.sum(td.fori_loop(0, 3, body, x)))(x)

    agree(f, np.array([1.0, -2.0]))


def test_stops_and_goes_on(monkeypatch):
    from treadle.compile.stepping import scalar_loops

    monkeypatch.setattr(scalar_loops, "BUDGET", 7)

    def f(x, n):
        return td.scan(lambda s, x: (td.flip(s, axis=0) + x, s), td.zeros(2, dtype=td.float64), x), td.fori_loop(
            0, n, lambda i, s: td.stack([s[1], s[0] + 1]), td.zeros(2, dtype=td.int64)
        )

    agree(lambda x, n: td.nest.flatten(f(x, n)), np.arange(46.0).reshape(23, 2), np.array(40))


def test_too_much_work_is_not_written_out():
    def f(x):
        def body(i, x):
            for _ in range(lanes.LINES // 9 + 1):
                x = x @ x * 0.1
            return x

        return td.fori_loop(0, 3, body, x)

    program = compiled(f, np.eye(3))
    assert "while_loop" not in [k.name for k in program.kernels]


VALUES = st.lists(st.sampled_from([0.0, -0.0, 1.5, -2.25, 1e300, np.inf, np.nan]), min_size=3, max_size=3)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(VALUES, VALUES)
def test_special_values(first, second):
    def f(x, y):
        def body(i, state):
            x, y = state
            return td.where(x > y, y, x * 0.5), td.maximum(x, y) - td.min(x) + x[2]

        return td.fori_loop(0, 3, body, (x, y))

    with np.errstate(all="ignore"):
        agree(f, np.array(first), np.array(second))
