"""Loops that take no step: what Python would not reach need not be traceable."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td

X = np.arange(3.0)


def test_a_window_larger_than_the_array():
    @td.function
    def f(x):
        total = 7.0
        for i in td.range(x.shape[0] - 5):
            total = total + td.sum(x[i : i + 5])
        return total

    assert f(X) == 7.0
    assert f(np.arange(6.0)).numpy() == 17.0


@pytest.mark.parametrize("kind", ["range", "rows", "fori", "while", "while_loop"])
def test_a_body_that_cannot_be_traced(kind):
    @td.function
    def f(x):
        s = x[0] + 4
        k = td.asarray(5)
        if kind == "range":
            for _ in td.range(0):
                s = s + x[5]
        elif kind == "rows":
            for row in td.zeros((0, 3), dtype=td.float64):
                s = s + row[7]
        elif kind == "fori":
            s = td.fori_loop(2, 1, lambda i, s: s + x[5], s)
        elif kind == "while":
            while k < 3:
                k = k + x[5]
        else:
            (k,) = td.while_loop(lambda k: k < 3, lambda k: (x[5],), (k,))
        return s + k

    assert f(X).numpy() == 9.0


def test_what_it_would_have_stored_is_not_there():
    @td.function
    def f(x):
        found = [x[0]]
        for _ in td.range(x.shape[0] - 3):
            found.append(x[1])
            found.append(x[8])
        return found

    assert [float(y) for y in f(X)] == [0.0]
    with pytest.raises(td.errors.IndexOutOfRange):
        f(np.arange(4.0))


def test_where_the_length_is_not_known_the_body_is_traced():
    @td.function
    def f(x, n):
        s = x[0]
        while s < n:
            s = s + x[5]
        return s

    with pytest.raises(td.errors.IndexOutOfRange, match="index 5"):
        f(X, np.array(-1.0))
