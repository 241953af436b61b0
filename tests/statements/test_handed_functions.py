"""`raise` and `assert` in functions handed to td.cond, td.while_loop and their kin: when the program reaches them."""

from __future__ import annotations

import numpy as np
import pytest
from treadle_tests_compare import check

import treadle as td


def while_loop(n):
    def body(i, s):
        if i > 2:
            raise ValueError(f"too big: {i}")
        return i + 1, s + i

    return td.while_loop(lambda i, s: i < n, body, (0, 0))


def raised_in_each_round(n):
    def body(i):
        raise ValueError(f"at {i}")

    return td.while_loop(lambda i: i < n, body, (2,))


def raised_by_the_test(n):
    def test(i):
        assert i < 2, f"i is {i}"
        return i < n

    return td.while_loop(test, lambda i: (i + 1,), (0,))


def fori_loop(n):
    def body(i, v):
        assert v < 5, f"v is {v}"
        return v + i

    return td.fori_loop(0, n, body, 1)


def scan(n):
    def step(carry, x):
        if x > 3:
            raise KeyError("x")
        return carry + x, x * 2

    return td.scan(step, 0, td.asarray([1, 2]) + n)


def map(n):
    def row(x):
        assert x < 4, "a large one"
        return x * 2

    return td.map(row, td.asarray([1, 2]) + n)


def cond(n):
    def large(x):
        assert x < 5, "five"
        return x

    def never(x):
        raise ValueError("never")

    return td.cond(n > 1, large, lambda x: x + 1, n) + td.cond(n > 3, never, lambda x: x, n)


@pytest.mark.parametrize("function", [while_loop, raised_in_each_round, raised_by_the_test, fori_loop, scan, map, cond])
def test_when_it_is_reached(function):
    check(function, [(np.int64(n),) for n in (0, 1, 2, 5)])
