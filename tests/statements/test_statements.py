"""Statements on traced values mean what they mean in Python: loops, exits, with, try, del, targets, assert, raise."""

# ruff: noqa
# These functions are written as people write them.

from __future__ import annotations

import sys

import numpy as np
import pytest

import treadle as td

compare = sys.modules["treadle_tests_compare"]
case = compare.Cases()
I, F = np.int64, np.float64
ints = [(I(n),) for n in (-3, 0, 1, 2, 5, 8)]


def while_else(n):
    k = n * 0
    while k < n:
        if k == 3:
            break
        k = k + 1
    else:
        k = k + 100
    return k


case(while_else, *ints)


def for_else(n):
    s = n * 0
    for i in range(n):
        if i == 4:
            break
        s = s + i
    else:
        s = s + 100
    return s


case(for_else, *ints)


def alternatives(n):
    match {"a": n, "b": [n - 1, 1]}:
        case {"a": 2, "b": [k, 1]} | {"a": k, "b": [4, 1]} if k > 1:
            return k * 10
        case {"a": (5 | 8) as k, "b": [_, 1 | 2]}:
            return k * 100
        case {"a": k, **rest}:
            return k - len(rest)


case(alternatives, *ints)


def nested_return(n):
    for i in range(n):
        for j in range(i):
            if i * j > 5:
                return i * 10 + j
    return n * 0 - 1


case(nested_return, *ints, (I(20),))


def nested_break_continue(n):
    s = n * 0
    for i in range(n):
        if i % 2 == 0:
            continue
        j = i * 0
        while True:
            j = j + 1
            if j > i:
                break
            if j == 2:
                continue
            s = s + j
        s = s + 1000
    return s


case(nested_break_continue, *ints)


def while_return(n):
    while n > 0:
        n = n - 3
        if n == 2:
            return n * 100
    return n


case(while_return, *ints)


def return_in_one_branch(n):
    if n > 1:
        if n > 4:
            return n
        n = n + 1
    return n * 2


case(return_in_one_branch, *ints)


def return_in_else_of_loop(n):
    while n > 3:
        n = n - 2
        if n == 4:
            break
    else:
        return n * 7
    return n


case(return_in_else_of_loop, *ints)


class Ctx:
    def __enter__(self):
        return 5

    def __exit__(self, *a):
        return False


def with_around(n):
    with Ctx() as c:
        if n > 1:
            n = n + c
        while n > 10:
            n = n - 4
    return n


case(with_around, *ints)


def with_return(n):
    with Ctx() as c:
        if n > 1:
            return n * c
        n = n + 1
    return n


case(with_return, *ints)


def with_inside_loop(n):
    s = n * 0
    while n > 0:
        with Ctx() as c:
            s = s + c
            n = n - 1
            if n == 3:
                break
            if n == 2:
                continue
            s = s + 1
    return s


case(with_inside_loop, *ints)


def with_inside_branch(n):
    if n > 1:
        with Ctx() as c, Ctx() as d:
            n = n + c * d
    else:
        with Ctx():
            n = n - 1
    return n


case(with_inside_branch, *ints)


def try_finally_around(n):
    try:
        if n > 1:
            n = n * 3
        while n > 10:
            n = n - 1
    finally:
        n = n + 1
    return n


case(try_finally_around, *ints)


def try_finally_return(n):
    try:
        if n > 1:
            return n * 3
        n = n - 1
    finally:
        n = n + 1
    return n


case(try_finally_return, *ints)


def try_finally_inside(n):
    s = n * 0
    while n > 0:
        try:
            n = n - 1
            if n == 3:
                continue
            if n == 1:
                break
            s = s + n
        finally:
            s = s + 100
    return s


case(try_finally_inside, *ints)


def try_finally_branch(n):
    if n > 2:
        try:
            n = n * 2
        finally:
            n = n + 1
    return n


case(try_finally_branch, *ints)


def try_except_around(n):
    try:
        if n > 1:
            n = n * 2
        y = {"a": 1}["b"]
    except KeyError:
        y = 3
    return n + y


case(try_except_around, *ints)


def try_else(n):
    try:
        m = n + 1
    except ValueError:
        m = n
    else:
        if m > 3:
            m = m * 2
    finally:
        m = m + 1
    return m


case(try_else, *ints)


def delete(n):
    t = n + 1
    if n > 1:
        u = t * 2
        n = u
        del u
    del t
    return n


case(delete, *ints)


def del_in_loop(n):
    s = n * 0
    for i in range(n):
        t = i * 2
        s = s + t
        del t
    return s


case(del_in_loop, *ints)


def del_item(n):
    d = {"a": n, "b": n + 1}
    del d["b"]
    lst = [n, n * 2, n * 3]
    del lst[0]
    if n > 1:
        n = lst[0]
    return n + d["a"] + len(lst)


case(del_item, *ints)


def aug(n):
    s = n * 0
    while n > 0:
        s += n
        n -= 1
        s *= 2
        s //= 1
        s %= 1000
    return s


case(aug, *ints)


class Box:
    def __init__(self, v):
        self.v = v


def aug_attr(n):
    b = Box(n)
    b.v += 3
    if n > 1:
        n = b.v * 2
    return n + b.v


case(aug_attr, *ints)


def aug_subscript(n):
    b = [n, n + 1]
    b[0] += 3
    d = {"k": n}
    d["k"] -= 1
    return b[0] + d["k"]


case(aug_subscript, *ints)


def targets(n):
    a, (b, c) = n, (n + 1, n + 2)
    first, *rest = [n, n * 2, n * 3]
    *init, last = (n, n + 5)
    if n > 1:
        a, b = b, a
        c, *q = rest
        c = c + q[0]
    return a, b, c, first, rest[0], rest[1], init[0], last


case(targets, *ints)


def chain_assign(n):
    a = b = n + 1
    if n > 1:
        a = b = a + b
    return a, b


case(chain_assign, *ints)


def walrus(n):
    if (m := n * 2) > 4:
        n = m + 1
    while (k := n - 3) > 0:
        n = k
    return n, m, k


case(walrus, *ints)


def walrus_comp(n):
    vals = [y := n, y**2, y + 1]
    return vals[0] + vals[1] + vals[2] + y


case(walrus_comp, *ints)


def asserts(n):
    assert n > 0, f"n is {n}, twice {n * 2}"
    return n


case(asserts, *ints)


def assert_fmt(n):
    x = n * 1.5
    assert n > 0, f"x is {x:.3f} and {n:>4d}!"
    return n


case(assert_fmt, *ints)


def assert_fn(n):
    assert n > 0, "n was " + str(n)
    return n


case(assert_fn, *ints)


def assert_in_loop(n):
    for i in range(n):
        assert i < 4, f"i={i}"
    return n


case(assert_in_loop, *ints)


def assert_format(n):
    assert n > 0, "n was {} of {:03d}".format(n, n)
    return n


case(assert_format, *ints)


def assert_pct(n):
    assert n > 0, "n was %d" % n
    return n


case(assert_pct, *ints)


def raise_branch(n):
    if n < 0:
        raise ValueError(f"n must not be negative, got {n}")
    return n * 2


case(raise_branch, *ints)


def raise_else(n):
    if n > 0:
        y = n
    else:
        raise KeyError("nope")
    return y


case(raise_else, *ints)


def raise_class(n):
    if n == 5:
        raise ValueError
    return n


case(raise_class, *ints)


def raise_loop(n):
    s = n * 0
    while n > 0:
        if n == 2:
            raise RuntimeError(f"at {n} with {s}")
        s = s + n
        n = n - 4
    return s


case(raise_loop, *ints)


def raise_chain(n):
    if n == 1:
        raise ValueError("one")
    elif n == 2:
        raise TypeError("two")
    elif n > 4:
        raise RuntimeError("many")
    return n


case(raise_chain, *ints)


def raise_from(n):
    if n == 1:
        raise ValueError("one") from KeyError("k")
    return n


case(raise_from, *ints)


def raise_return(n):
    if n > 1:
        return n * 2
    if n > 0:
        raise ValueError("positive")
    return n


case(raise_return, *ints)


def raise_all(n):
    if n > 1:
        return n
    raise ValueError(f"too small: {n}")


case(raise_all, *ints)


def both_raise(n):
    if n > 1:
        raise ValueError("big")
    else:
        raise TypeError("small")


case(both_raise, *ints)


def passes(n):
    if n > 1:
        pass
    else:
        n = n + 1
    while n > 100:
        pass
    return n


case(passes, *ints)


def walrus_and(n):
    if n > 1 and (m := n * 2) > 4 and (k := m + 1) < 16:
        return m + k
    return n


case(walrus_and, *ints)


def walrus_and_else(n):
    if n > 1 and (m := n * 2) > 4:
        y = m
    elif n < 0:
        y = n - 1
    else:
        y = n
    return y


case(walrus_and_else, *ints)


@pytest.mark.parametrize(("function", "cases", "nodes"), case, ids=case.names)
def test_as_python(function, cases, nodes):
    compare.check(function, cases, nodes)
