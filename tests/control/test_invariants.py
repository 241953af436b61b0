"""Loop variables that grow, as declared: td.set_shape_invariant, shape_invariants= of td.while_loop, their errors."""

from __future__ import annotations

import numpy as np
import pytest
from treadle_tests_compare import check

import treadle as td
from treadle.control.call import interpret_arrays

CASES = [(np.float64(2.0), np.int64(n)) for n in (0, 1, 4)]


def in_a_while(x, n):
    xs = td.reshape(x, (1,))
    i = 0
    while i < n:
        td.set_shape_invariant(xs, (None,))
        xs = td.concat([xs, td.reshape(x * i, (1,))])
        i = i + 1
    return xs, td.sum(xs)


def in_a_for(x, n):
    m = td.ones((2, 1), dtype=td.float64)
    for i in td.range(n):
        td.set_shape_invariant(m, (2, "columns"))
        m = td.concat([m, m[:, :1] * x + i], axis=1)
    return m


def as_an_argument(x, n):
    def body(i, m):
        return i + 1, td.concat([m, m[:1] * x])

    start = (0, td.ones((1, 2), dtype=td.float64))
    return td.while_loop(lambda i, m: i < n, body, start, shape_invariants=(None, (None, 2)))


@pytest.mark.parametrize("function", [in_a_while, in_a_for, as_an_argument])
def test_growing(function):
    check(function, CASES)


def undeclared(x, n):
    xs = td.reshape(x, (1,))
    for _ in td.range(n):
        xs = td.concat([xs, xs])
    return xs


def declared_otherwise(x, n):
    m = td.ones((1, 2))
    for _ in td.range(n):
        td.set_shape_invariant(m, (1, None))
        m = td.concat([m, m])
    return m


def no_loop_variable(x, n):
    for _ in td.range(n):
        y = td.ones((2,))
        td.set_shape_invariant(y, (None,))
    return x


def misfit(x, n):
    xs = td.ones((2,))
    for _ in td.range(n):
        td.set_shape_invariant(xs, (3,))
        xs = xs * 1
    return xs


@pytest.mark.parametrize(
    ("function", "kind", "text"),
    [
        (undeclared, "ControlFlowError", r"declare it first in the body, td.set_shape_invariant\(x, \(None,\)\)"),
        (declared_otherwise, "ControlFlowError", "the loop variable 'm' changes"),
        (no_loop_variable, "ControlFlowError", "no value that the loop around this line carries"),
        (misfit, "ShapeError", r"the shape invariant \(3,\) does not fit a value of shape \(2,\)"),
    ],
)
def test_errors(function, kind, text):
    with pytest.raises(getattr(td.errors, kind), match=text):
        td.function(function)(td.asarray(2.0), td.asarray(3))


@pytest.mark.parametrize("function", [in_a_while, in_a_for, as_an_argument])
def test_derivatives(function):
    """First and second, reverse and forward, as graphs that are run node by node."""

    def loss(x):
        return td.sum(td.sin(function(x, td.asarray(3))[1]))

    def value(f, x):
        graph = td.function(f).trace(x).graph
        return float(interpret_arrays(graph, [x])[0])

    first, x, step = td.grad(loss), np.float64(0.8), 1e-5

    def slope(f):
        return (value(f, x + step) - value(f, x - step)) / (2 * step)

    def pushed(x):
        return td.jvp(loss, (x,), (td.ones_like(x),))[1]

    assert value(first, x) == pytest.approx(slope(loss), rel=1e-6)
    assert value(pushed, x) == pytest.approx(value(first, x), rel=1e-12)
    assert value(td.grad(lambda x: first(x)), x) == pytest.approx(slope(first), rel=1e-6)


def replaced(x, n):
    xs = td.reshape(x, (1,))
    for i in td.range(n):
        td.set_shape_invariant(xs, (None,))
        xs = td.ones((i.item() if not td.is_traced(i) else 2,), dtype=x.dtype) * x
    return td.sum(xs)


def test_no_gradient_where_nothing_is_handed_on():
    with pytest.raises(td.errors.GradientError, match="append the parts to a list"):
        td.function(td.grad(replaced))(td.asarray(2.0), td.asarray(3))
