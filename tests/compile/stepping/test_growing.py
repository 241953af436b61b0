"""Loops whose tests tell how long their stacks become, and loops over rows of a number that only running tells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import agree, compiled

import treadle as td


def kernels_of(f: Any, *arrays: np.ndarray) -> str:
    """The program of `f`, which calls no kernel but those of loops, and gives what the interpreter gives."""
    text = compiled(f, *arrays).code.text()
    assert "while_loop" in text
    agree(f, *arrays)
    return text


@pytest.mark.parametrize("steps", [0, 1, 63, 64, 65, 300])
def test_the_gradient_of_a_loop_with_a_test(steps):
    def f(x, n):
        def loss(x):
            body = lambda k, y, s: (k + 1, y * 0.99 + td.sin(y) * 0.02, s + y)  # noqa: E731
            _, y, s = td.while_loop(lambda k, y, s: k < n, body, (0, x, x * 0))
            return y * s

        return loss(x), td.grad(loss)(x)

    text = kernels_of(f, np.array(1.5), np.array(steps))
    assert text.count("while_loop") == 3  # the loss alone, with stacks, and back


def test_small_vectors_and_the_budget(monkeypatch):
    from treadle.compile.stepping import scalar_loops

    monkeypatch.setattr(scalar_loops, "BUDGET", 7)

    def f(x):
        def loss(x):
            body = lambda k, y: (k + 1, td.tanh(y @ x) + y)  # noqa: E731
            _, y = td.while_loop(lambda k, y: td.sum(y * y) < 900.0, body, (0, x[0]))
            return td.sum(y)

        return td.grad(loss)(x)

    kernels_of(f, np.array([[0.3, 0.1, 0.0], [0.0, 0.3, 0.1], [0.1, 0.0, 0.3]]))


def test_a_second_run_needs_more_and_a_third_less():
    @td.function
    def f(x, n):
        with td.GradientTape() as tape:
            tape.watch(x)
            y, k = x, td.asarray(0)
            while k < n:
                y = y * 1.001
                k = k + 1
        return tape.gradient(y, x)

    for n in (10, 500, 3, 70, 0):
        np.testing.assert_allclose(f(td.asarray(np.array(2.0)), td.asarray(n)).numpy(), 1.001**n, rtol=1e-12)


def test_rows_of_open_number_and_large_rows_read_by_index():
    @td.function(input_signature=[td.TensorSpec((None, 20), td.float64), td.TensorSpec((None,), td.int64)])
    def f(rows, places):
        total = td.asarray(0.0, dtype=td.float64)
        for row, k in zip(rows, places):
            total = total * 0.5 + row[k] - row[k - 1]
        return total

    rng = np.random.default_rng(2)
    for n in (5, 0, 9):
        rows, places = rng.normal(size=(n, 20)), rng.integers(-19, 20, n)
        want = 0.0
        for row, k in zip(rows, places, strict=True):
            want = want * 0.5 + row[k] - row[k - 1]
        assert np.isclose(f(rows, places).numpy(), want)
    with pytest.raises(td.errors.IndexOutOfRange, match="index 20"):
        f(rows, np.full(9, 20))


def test_a_row_of_other_axes():
    def f(table, places):
        step = lambda a, k: ((a * 0.9 + table[:, k, 1]), td.sum(table[2, :, k]))  # noqa: E731
        return td.scan(step, td.zeros(3, dtype=td.float64), places)

    rng = np.random.default_rng(3)
    text = kernels_of(f, rng.normal(size=(3, 4, 5)), rng.integers(-4, 4, 11))
    assert "gather" not in text


def test_indices_into_small_tensors_and_vectors_of_indices():
    def f(x, places):
        def step(state, k):
            a, b = state
            made = td.stack([a[0] + 1.0, a[1] * 0.5, td.sum(a) * 0.1])
            picked = made[k % 3] + x[td.stack([k, k - 1])] @ b
            a = made.at[k % 3].add(picked * 0.1).at[-1].set(x[k])
            b = b.at[td.stack([k % 2, k % 2])].add(td.stack([0.25, a[k % 3] * 0.01]))
            return (a, b), td.permute_dims(td.stack([a, a]), (1, 0))[k % 3, k % 2]

        start = (td.zeros(3, dtype=td.float64), td.ones(2, dtype=td.float64))
        (a, b), found = td.scan(step, start, places)
        return a, b, found

    rng = np.random.default_rng(4)
    x, places = rng.normal(size=20), rng.integers(-19, 20, 11)
    kernels_of(f, x, places)
    with pytest.raises(td.errors.IndexOutOfRange, match="index 20"):
        td.function(f)(x, np.where(places == places[3], 20, places))


@pytest.mark.parametrize("mode", ["set", "add", "multiply", "min", "max"])
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_ways_of_updating_a_small_tensor(mode, dtype):
    def f(x, values):
        def step(x, v):
            x = getattr((x * 2).at[x[0].astype(td.int32) % 4], mode)(v)
            return x, x[3]

        return td.scan(step, x, values)

    rng = np.random.default_rng(2)
    kernels_of(f, (rng.normal(size=4) * 4).astype(dtype), (rng.normal(size=9) * 4).astype(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_the_best_path_through_states(dtype):
    def f(table, seen, places):
        def step(scores, k):
            totals = scores[:, None] + table
            scores = td.max(totals, axis=0) + seen[:, k]
            return scores, (td.argmax(totals, axis=0), td.argmin(totals))

        return td.scan(step, seen[:, 0], places)[1]

    rng = np.random.default_rng(6)
    table, seen = (rng.normal(size=(3, 3)) * 9).astype(dtype), (rng.normal(size=(3, 4)) * 9).astype(dtype)
    if dtype is np.float32:
        seen[1, 3] = np.nan
    kernels_of(f, table, seen, np.array([0, 1, 1, 2, 0, 1, 3, 2, 2]))


def test_loops_inside_over_rows_of_an_array():
    @td.function
    def f(x, w):
        total = td.asarray(0.0, dtype=td.float64)
        for row in x:
            best = row[0]
            for v in row:
                if v > best:
                    best = v
            for a in w:
                if total > 3.0:
                    break
                total = total + a * best
        return total

    rng = np.random.default_rng(7)
    text = compiled(f, rng.normal(size=(9, 20)), np.array([0.1, 0.2, 0.3])).code.text()
    assert "jump" not in text
    agree(f, rng.normal(size=(9, 20)), np.array([0.1, 0.2, 0.3]))
    g = lambda x: td.scan(
        lambda c, row: (td.scan(lambda c, v: (c * 0.5 + v, ()), c, row, reverse=True)[0], ()), x[0, 0], x
    )[0]  # noqa: E731
    kernels_of(g, rng.normal(size=(4, 20)))
