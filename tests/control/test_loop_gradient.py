"""Gradients through loops and branches whose lengths only running tells, and of variables that loops write."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle.control.call import interpret_arrays

F8 = td.float64
V = td.Variable(np.float64(2.0), name="v")


def both(f, *args):
    """Eagerly, compiled, and interpreted: alike. Gives the eager result as floats."""
    compiled = td.function(f)
    V.assign(2.0)
    wanted = [np.asarray(t) for t in td.nest.flatten(f(*args))]
    V.assign(2.0)
    got = td.nest.flatten(compiled(*args))
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(np.asarray(a), b, rtol=1e-9)
    (trace,) = compiled.traces
    trace.graph.verify()
    if not trace.writes:
        variables = [ref().numpy() for ref in trace.reads]
        again = interpret_arrays(
            trace.graph, [*(a.numpy() for a in args), *(c.numpy() for c in trace.captures), *variables]
        )
        for a, b in zip(again, wanted, strict=False):
            np.testing.assert_allclose(a, b, rtol=1e-9)
    return [w.tolist() for w in wanted]


X, N = td.asarray(np.float64(1.3)), td.asarray(3)
ROWS = td.asarray(np.array([1.0, 2.0, 3.0, 4.0]))


def left_early(xs):
    s = 0.0
    for r in xs:
        s = s + r * r * s + r
        if s > 3:
            break
    return s


def test_rows_that_a_loop_left_early_has_not_reached():
    """Their gradient is zero, also that of the gradient: fill_rows one way, first_rows the other."""
    assert both(td.grad(left_early), ROWS) == [[5.0, 5.0, 0.0, 0.0]]
    (hessian,) = both(td.hessian(left_early), ROWS)
    assert np.array(hessian)[:2, :2].tolist() == [[0.0, 4.0], [4.0, 2.0]]
    assert not np.array(hessian)[2:].any()
    compiled = td.function(td.hessian(left_early))
    compiled(ROWS)
    ops = {node.op for node in compiled.traces[0].graph.walk()}
    assert {"fill_rows", "first_rows"} <= ops


def powers(x, n):
    y = x
    while n > 0:
        y, n = td.abs(td.sin(y)) * x, n - 1
    return y


called = td.function(powers)


def twice(x, n):
    return called(x, n) * called(x * 2, n + 2) + called(x, n * 0)


def ragged(x, n):
    y = x
    for i in td.range(n):
        for j in td.range(i + 1):
            y = td.sin(y) * x
    return y


def deeper(x, n):
    y = x
    while n > 0:
        m = n
        while m > 0:
            for k in td.range(m):
                y = td.sin(y + x)
            m = m - 1
        n = n - 1
    return y


def in_one_branch(x, n):
    return powers(x, n) if x > 0 else x * x


def in_both_branches(x, n):
    if x > 0:
        y = powers(x, n)
    else:
        y = powers(x * 2, n + 1)
    return y


def branch_in_loop_in_branch(x, n):
    y = x
    if x > 0:
        for i in td.range(n):
            if i > 0:
                y = powers(y, i)
            else:
                y = y * x
    return y


@pytest.mark.parametrize(
    "f", [powers, twice, ragged, deeper, in_one_branch, in_both_branches, branch_in_loop_in_branch]
)
def test_lengths_that_only_running_tells(f):
    for x in (X, -X):
        for n in (0, 1, 3):
            count = td.asarray(n)
            first = both(lambda x, n: td.grad(f)(x, n), x, count)
            h = 1e-6
            numeric = (f(x + h, count) - f(x - h, count)).item() / (2 * h)
            np.testing.assert_allclose(first[0], numeric, rtol=1e-5, atol=1e-7)
    both(lambda x, n: td.grad(td.grad(f))(x, n), X, N)
    both(lambda x, n: td.grad(td.grad(f))(x, n), -X, N)


def test_two_calls_share_no_length():
    @td.function
    def f(x, n):
        with td.GradientTape() as tape:
            tape.watch(x)
            y = called(x, n) * called(x, n + 2)
        return tape.gradient(y, x)

    f(X, N)
    calls = [node for node in f.traces[0].graph.nodes if node.op == "call"]
    lengths = [size for node in calls for s in node.outputs for size in s.shape]
    first, second = ({n.open for n in node.outputs[-1].shape if not isinstance(n, int)} for node in calls[:2])
    assert first
    assert second
    assert not first & second
    assert all(size.open for size in lengths)


def test_a_loop_in_a_loop_prints_once(capsys):
    def f(x, n):
        y = x
        for i in td.range(n):
            for j in td.range(i):
                td.print(i, j)
                y = td.sin(y) * x
        return y

    td.function(lambda x, n: td.grad(f)(x, n))(X, N)
    assert capsys.readouterr().out == "1 0\n2 0\n2 1\n"


# -- variables ---------------------------------------------------------------------------------------------------------


def gradients(f):
    def g(x, n):
        V.assign(2.0)
        with td.GradientTape() as tape:
            tape.watch(x)
            y = f(x, n)
        return y, tape.gradient(y, [V, x], unconnected="zero")

    return g


def scaled_in_loop(x, n):
    y = x * 0
    for i in td.range(n):
        y = y + V * x
        V.assign(V * 3)
    return y


def replaced_in_loop(x, n):
    y = x * 0
    for i in td.range(n):
        y = y + V * x
        V.assign(10.0)
    return y + V


def set_from_x(x, n):
    y = x * 0
    while n > 0:
        V.assign(x * 5)
        y, n = y + V * V, n - 1
    return y


def in_the_test(x, n):
    y = x
    while V < 20:
        V.assign(V * 2)
        y = y * V
    return y


def in_a_branch(x, n):
    y = V * V
    if x > 0:
        V.assign(V * 3 * x)
        y = y + V * x
    else:
        y = y + V
    return y + V * 5


def in_a_branch_in_a_loop(x, n):
    y = x
    for i in td.range(n):
        if i > 0:
            V.assign(V + i)
            y = y * V
        else:
            y = y + V
    return y


assigns = td.function(lambda x: V.assign(x * V * 10).value * V)


def in_a_call(x, n):
    return V * V + assigns(x) + V


def in_a_call_in_a_loop(x, n):
    y = x
    for i in td.range(n):
        y = y + assigns(x)
    return y * V


@pytest.mark.parametrize(
    "f",
    [
        scaled_in_loop, replaced_in_loop, set_from_x, in_the_test, in_a_branch, in_a_branch_in_a_loop, in_a_call,
        in_a_call_in_a_loop,
    ],
)  # fmt: skip
@pytest.mark.parametrize("n", [0, 1, 3])
def test_the_gradient_of_a_variable_is_the_sum_over_its_reads(f, n):
    """Eager tapes count reads; graphs must count the same, wherever the variable is written."""
    both(gradients(f), X, td.asarray(n))
    both(gradients(f), -X, td.asarray(n))
    V.assign(2.0)
    compiled = td.function(f)  # the tape outside
    with_call = gradients(compiled)(X, td.asarray(n))
    V.assign(2.0)
    wanted = gradients(f)(X, td.asarray(n))
    for a, b in zip(td.nest.flatten(with_call), td.nest.flatten(wanted), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


def test_an_assignment_passes_no_gradient_on():
    @td.function
    def f():
        V.assign(2.0)
        with td.GradientTape() as tape:
            a = V * V
            V.assign(10.0)
            b = V * 3
        return tape.gradient([a, b], V)

    assert f().item() == 7.0


# -- other corners -----------------------------------------------------------------------------------------------------


def test_rows_of_a_scan_that_are_the_carry_before_the_step():
    def f(xs):
        return td.scan(lambda c, r: (c * r + r, c), td.asarray(np.float64(1.0)), xs)

    assert both(lambda xs: f(xs)[1], ROWS) == [[1.0, 2.0, 6.0, 21.0]]
    both(td.hessian(lambda xs: td.sum(f(xs)[1] ** 2)), ROWS)


def test_no_trips_leave_the_gradient_of_what_went_in():
    def f(x, xs):
        s = x * 2
        for r in xs:
            s = s * r
        return s

    g = td.grad(f, argnums=(0, 1))
    dx, dxs = td.function(g)(X, td.zeros((0,), dtype=F8))
    assert dx.item() == 2.0
    assert dxs.shape == (0,)


def test_none_is_decided_by_structure():
    """Whichever branch runs: a source that one of them reaches has zeros, one that none reaches has None."""

    @td.function
    def f(x, y, z):
        with td.GradientTape() as tape:
            tape.watch([x, y, z])
            out = td.cond(x > 0, lambda: x * 2, lambda: x * y)
        return tape.gradient(out, [x, y, z])

    dx, dy, dz = f(X, X, X)
    assert (dx.item(), dy.item(), dz) == (2.0, 0.0, None)


def test_integers_carried_beside_floats():
    def f(x, n):
        k, y = 0, x
        while k < n:
            k, y = k + 2, y * x + td.astype(k, F8)
        return y

    both(lambda x, n: td.grad(f)(x, n), X, N)


def test_captured_tensors_and_variables_have_gradients():
    def f(x, n):
        w = td.sin(x)
        with td.GradientTape() as tape:
            tape.watch([x, w])
            y = td.while_loop(lambda k, v: k < n, lambda k, v: (k + 1, v * w + V), (0, x))[1]
        return tape.gradient(y, [x, w, V])

    both(f, X, N)
