"""Tensors decide in special methods and properties of the user's classes: Python's meaning; other code stays plain."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from treadle_tests_compare import check

import treadle as td


class V:
    def __init__(self, v):
        self.v = v

    def __add__(self, o):
        s = self.v + o.v
        if self.v > 2:
            s = self.v * 10
        return V(s)

    def __getitem__(self, k):
        if self.v > k:
            return self.v
        return -self.v

    @property
    def size(self):
        if self.v > 1:
            return self.v
        return self.v * 100

    def __lt__(self, o):
        if o.v > 3:
            return self.v < o.v
        return o.v < self.v

    def __neg__(self):
        return V(-self.v if self.v > 0 else self.v)

    def __iadd__(self, o):
        if o.v > 0:
            self.v = self.v + o.v
        return self

    def __rmul__(self, k):
        return V(self.v * k if self.v > 0 else self.v)

    def __contains__(self, k):
        return True if k > 1 else False

    def __setitem__(self, k, v):
        if v > k:
            self.v = v

    def __call__(self, x):
        return x if self.v > x else self.v

    @functools.cached_property
    def kept(self):
        return self.v if self.v > 0 else -self.v


def operators(x):
    a, b = V(x), V(x * 2)
    c = a + b
    d = -c
    a += b
    e = 3 * a
    s = e.size if a < b else a.size
    return c.v, d.v, a.v, e.v, s, a[2], c.size


def the_rest(x):
    a = V(x)
    a[1] = x * 3
    return a.v, a(x * 0 + 1), a.kept + a.kept, 2 in a, a.v + a.size


class Base:
    def __init__(self, v):
        self.v = v

    def __sub__(self, other):
        return NotImplemented


class Derived(Base):
    def __rsub__(self, other):
        return Derived(other.v - self.v if self.v > 1 else self.v)


def reflected(x):
    return (Base(x * 2) - Derived(x)).v


def counting(x):
    total = V(x * 0)
    for i in td.range(4):
        total += V(x + i)
    return total.size


NUMBERS = [(np.float64(v),) for v in (-1.0, 0.5, 1.5, 2.5)]


def test_operators_and_properties():
    check(operators, NUMBERS)


def test_items_calls_and_cached_properties():
    check(the_rest, NUMBERS)


def test_pythons_order_of_reflected_methods():
    check(reflected, NUMBERS)


def test_in_a_staged_loop():
    check(counting, NUMBERS)


def scaled(x):
    return x.shapely * x if hasattr(x, "shapely") else x @ x + x[0]


def test_other_code_is_left_as_it_is():
    assert "x @ x" in td.function(scaled).converted_source


class Odd:
    def __init__(self, v):
        self.v = v

    def __iter__(self):
        if self.v > 0:
            return iter([self.v])
        return iter([])


def test_what_cannot_be_called_is_named():
    with pytest.raises(td.errors.TraceError, match="'__iter__' is called by Python itself"):
        td.function(lambda x: sum(Odd(x)))(td.asarray(1.0))
