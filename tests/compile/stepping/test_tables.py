"""Loops that read and replace elements of arrays: one kernel, the arrays updated where they lie."""

from __future__ import annotations

import signal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import agree, compiled

import treadle as td


def one_kernel(f: Any, *arrays: np.ndarray) -> None:
    """The program of `f` runs its loop in one kernel, and gives what the interpreter gives."""
    before = [a.copy() for a in arrays]
    text = compiled(f, *arrays).code.text()
    assert "while_loop" in text, text
    assert "jump" not in text, text
    agree(f, *arrays)
    assert [a.tobytes() for a in arrays] == [b.tobytes() for b in before]


def test_a_recurrence_over_an_array():
    @td.function
    def f(x):
        out = td.zeros(x.shape, dtype=x.dtype)
        out = out.at[0].set(x[0])
        for i in td.range(1, x.shape[0]):
            out = out.at[i].set(0.5 * out[i - 1] + x[i])
        return out

    one_kernel(f, np.arange(20.0))


def test_a_table_of_two_axes_filled_by_two_loops():
    @td.function
    def f(a, b):
        n, m = a.shape[0], b.shape[0]
        t = td.zeros((n + 1, m + 1), dtype=td.int64)
        for i in td.range(n):
            t = t.at[i + 1, 0].set(i + 1)
        for j in td.range(m):
            t = t.at[0, j + 1].set(j + 1)
        for i in td.range(n):
            for j in td.range(m):
                other = (a[i] != b[j]).astype(td.int64)
                t = t.at[i + 1, j + 1].set(min(t[i, j + 1] + 1, t[i + 1, j] + 1, t[i, j] + other))
        return t

    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3, 17), rng.integers(0, 3, 19)
    one_kernel(f, a, b)
    table = np.zeros((18, 20), int)
    table[:, 0], table[0] = np.arange(18), np.arange(20)
    for i in range(17):
        for j in range(19):
            table[i + 1, j + 1] = min(table[i, j + 1] + 1, table[i + 1, j] + 1, table[i, j] + (a[i] != b[j]))
    assert td.function(f)(a, b).tolist() == table.tolist()


def test_branches_that_replace_and_branches_that_do_not():
    @td.function
    def f(x, y):
        swaps = 0
        for i in td.range(x.shape[0] - 1):
            if x[i] > x[i + 1]:
                left, right = x[i], x[i + 1]
                x = x.at[i].set(right)
                x = x.at[i + 1].set(left)
                swaps += 1
            elif y[i] > 0:
                x = x.at[i].add(y[i])
        return x, swaps

    rng = np.random.default_rng(1)
    one_kernel(f, rng.normal(size=40), rng.normal(size=40))


def test_the_old_array_is_still_wanted():
    """Where it is read after the update, it must not have been updated where it lies."""

    @td.function
    def f(x):
        total = x[0]
        for i in td.range(1, x.shape[0]):
            y = x.at[i].set(-1.0)
            total = total + x[i]
            x = y
        return x, total

    agree(f, np.arange(20.0))

    @td.function
    def g(x):
        best = x
        for i in td.range(x.shape[0]):
            x = x.at[i].multiply(2.0)
            if x[i] > 20:
                best = x
        return x, best

    agree(g, np.arange(20.0))

    @td.function
    def thrown_away(x):
        total = td.zeros((), dtype=x.dtype)
        for i in td.range(x.shape[0]):
            if x[i] > 3:
                total = total + x.at[i].set(100.0)[i]
        return x, total

    agree(thrown_away, np.arange(20.0))

    @td.function
    def two_names(x):
        y = x
        for i in td.range(x.shape[0]):
            x = x.at[i].set(y[-1 - i] + 1)
        return x, y

    one_kernel(two_names, np.arange(20.0))

    @td.function
    def exchanged(x, y):
        for i in td.range(x.shape[0]):
            x, y = y.at[i].add(1.0), x
        return x, y

    agree(exchanged, np.arange(20.0), np.ones(20))


def test_rows_and_small_arrays():
    @td.function
    def f(path, v):
        for i in td.range(path.shape[0] - 1):
            v = v * 0.9
            path = path.at[i + 1].set(path[i] + 0.1 * v)
        return path, v

    one_kernel(f, np.zeros((30, 3)), np.array([1.0, 2.0, 3.0]))

    @td.function
    def counts(x):
        n = td.zeros(4, dtype=td.int32)  # small, but its elements are found while running
        for k in td.range(x.shape[0]):
            n = n.at[x[k]].add(1)
        return n

    one_kernel(counts, np.array([0, 1, 3, 3, 2, 0, -1, -4] * 3))


def test_windows_that_move():
    @td.function
    def f(x, y):
        for k in td.range(1, x.shape[0] - 2):
            part = x[k - 1 : k + 3]
            x = x.at[k : k + 2].set(td.max(part) - part[1:3] * 0.5)
            y = y.at[k : k + 2, k - 1 : k + 1].add(part[None, :2])
        return x, y

    one_kernel(f, np.sin(np.arange(11.0)), np.cos(np.arange(143.0)).reshape(11, 13))


@pytest.mark.parametrize(("ahead", "words"), [(-2, "3 elements from -2"), (3, "3 elements from 8 do not lie")])
def test_a_window_that_leaves_the_array_names_the_line_and_the_step(ahead, words):
    @td.function
    def f(x):
        total = 0.0
        for k in td.range(8):
            total = total + td.max(x[k + ahead : k + ahead + 3])
        return total

    with pytest.raises(td.errors.IndexOutOfRange, match=words) as caught:
        f(td.asarray(np.arange(10.0)))
    assert "x[k + ahead : k + ahead + 3]" in str(caught.value)
    assert f"iteration {0 if ahead < 0 else 5}" in "".join(caught.value.__notes__) + str(caught.value)


@pytest.mark.parametrize("mode", ["set", "add", "multiply", "min", "max"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
def test_ways_of_updating(mode, dtype):
    def f(x, index, values):
        def body(i, x):
            return getattr(x.at[index[i]], mode)(values[i])

        return td.fori_loop(0, index.shape[0], body, x)

    rng = np.random.default_rng(2)
    values = rng.normal(size=25) * 4
    if np.dtype(dtype).kind == "f":
        values[3], values[7], values[11] = np.nan, -0.0, np.inf
    with np.errstate(all="ignore"):
        one_kernel(f, (rng.normal(size=18) * 4).astype(dtype), rng.integers(-18, 18, 25), values.astype(dtype))


@pytest.mark.parametrize("bad", [20, -21])
def test_an_index_outside_names_the_line_and_the_step(bad):
    @td.function
    def f(x, index):
        for k in td.range(index.shape[0]):
            x = x.at[index[k]].set(x[index[k] * 1] + 1)  # bad
        return x

    x, index = np.arange(20.0), np.array([1, -20, 19, bad, 0])
    assert f(x, np.array([1, -20, 19, 0, 0])).shape == (20,)
    with pytest.raises(td.errors.IndexOutOfRange) as caught:
        f(x, index)
    message = str(caught.value)
    assert f"index {bad} is out of range for axis 0 of size 20" in message
    assert "# bad" in message
    assert any("iteration 3" in note for note in caught.value.__notes__)
    assert x.tolist() == list(range(20))


def test_stops_and_goes_on(monkeypatch):
    from treadle.compile.stepping import scalar_loops

    monkeypatch.setattr(scalar_loops, "BUDGET", 11)

    def f(x, n):
        def body(i, state):
            x, total = state
            x = td.fori_loop(0, 3, lambda j, x: x.at[j].add(x[i % 20]), x)
            total = total + x[3]
            return x.at[i % 20].set(total), total

        return td.fori_loop(0, n, body, (x, td.asarray(0.0, dtype=td.float64)))

    one_kernel(f, np.arange(20.0) / 100, np.array(50))


def test_other_sizes_compile_nothing():
    def f(x):
        return td.fori_loop(1, x.shape[0], lambda i, x: x.at[i].add(x[i - 1] * 0.5 + x[-1]), td.asarray(x))

    g = td.function(f)
    g(np.arange(30.0))
    before = td.stats()["kernels_compiled"]
    for n in (31, 100, 57):
        assert np.allclose(g(np.arange(float(n))), f(np.arange(float(n))).numpy())
    assert td.stats()["kernels_compiled"] == before


def test_stacks_steps_and_gradients():
    def f(x, w):
        def loss(w):
            def step(memory, z):
                k = (z[0] * 10).astype(td.int32)
                memory = memory.at[k].add(td.sum(z * w))
                return memory, memory[0]

            memory, firsts = td.scan(step, td.zeros(20, dtype=td.float64), x)
            return td.sum(memory**2) + td.sum(firsts)

        return loss(w), td.grad(loss)(w)

    rng = np.random.default_rng(3)
    agree(f, rng.random((15, 2)), np.array([0.3, -0.7]))


@settings(derandomize=True, deadline=None, max_examples=25)
@given(st.data())
def test_random_bodies(data):
    """Random uses of two arrays, in random order: updated in place or not, the results are right."""
    steps = data.draw(
        st.lists(
            st.tuples(st.integers(0, 1), st.sampled_from(["read", "set", "add", "branch", "old", "swap"])), max_size=5
        )
    )

    def f(x, y):
        def body(i, state):
            both, s = list(state[:2]), state[2]
            old = both[0]
            for which, what in steps:
                a = both[which]
                if what == "read":
                    s = s * 0.5 + a[(i * 3) % 18]
                elif what == "set":
                    both[which] = a.at[(i + 1) % 18].set(s)
                elif what == "add":
                    both[which] = a.at[(i * 7) % 18].add(0.25)
                elif what == "branch":
                    both[which] = td.cond(s > a[i % 18], lambda a=a, s=s: a.at[i % 18].set(s), lambda a=a: a)
                elif what == "old":
                    s = s + old[(i + 1) % 18]
                else:
                    both.reverse()
            return both[0], both[1], s

        return td.fori_loop(0, 25, body, (x, y, td.asarray(1.0, dtype=td.float64)))

    agree(f, np.linspace(-1, 1, 18), np.linspace(2, 0, 18))


def test_loops_of_unknown_length_inside_write_arrays():
    def sorted_by_insertion(x):
        for i in td.range(1, x.shape[0]):
            key = x[i]
            j = i - 1
            while j >= 0 and x[j] > key:
                x = x.at[j + 1].set(x[j])
                j = j - 1
            x = x.at[j + 1].set(key)
        return x

    def distances(start, to):
        distance = td.full((start.shape[0] - 1,), -1, dtype=td.int64).at[0].set(0)
        queue = td.zeros(distance.shape, dtype=td.int64)
        head, tail = td.asarray(0), td.asarray(1)
        while head < tail:
            u = queue[head]
            head = head + 1
            for k in td.range(start[u], start[u + 1]):
                if distance[to[k]] < 0:
                    distance = distance.at[to[k]].set(distance[u] + 1)
                    queue = queue.at[tail].set(to[k])
                    tail = tail + 1
        return distance, queue

    rng = np.random.default_rng(5)
    one_kernel(td.function(sorted_by_insertion), rng.random(23))
    ends = np.concatenate([[0], np.cumsum(rng.integers(0, 4, 30))])
    one_kernel(td.function(distances), ends, rng.integers(0, 30, ends[-1]))


def test_asks_for_signals_and_goes_on(monkeypatch):
    from treadle.compile.stepping import scalar_loops

    monkeypatch.setattr(scalar_loops, "BUDGET", 7)
    monkeypatch.setattr(scalar_loops, "CHUNK", 3)

    def f(x, n):
        def body(i, x):
            x = td.fori_loop(0, i, lambda j, x: x.at[j].add(x[i]), x)
            return td.while_loop(lambda x: x[0] < 100.0 * i, lambda x: x.at[0].add(x[i] + 30), (x,))[0]

        return td.fori_loop(1, n, body, x)

    one_kernel(f, np.arange(20.0) / 100, np.array(20))


def test_what_a_signal_raises_inside_a_loop_comes_out_and_nothing_has_changed():
    @td.function
    def f(v, x):
        for _ in td.range(2):
            while x[0] < 1.0:
                x = x.at[1].add(1.0)
        v.assign_add(x[1])
        return x

    def handler(*_):
        raise RuntimeError("enough")

    v, x = td.Variable(3.0, dtype=td.float64), td.asarray(np.zeros(20))
    f(v, td.asarray(np.ones(20)))
    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(RuntimeError, match="enough"):
            f(v, x)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert v.numpy() == 4.0
    assert not x.numpy().any()
