"""Functions, comprehensions, match, classes and builtins on traced values mean what they mean in Python."""

# ruff: noqa
# These functions are written as people write them.

from __future__ import annotations

import contextlib
import functools
import sys

import numpy as np
import pytest

import treadle as td

compare = sys.modules["treadle_tests_compare"]
case = compare.Cases()
I, F = np.int64, np.float64
ints = [(I(n),) for n in (-3, 0, 1, 2, 5, 8)]
vecs = [(np.array([1.0, 2.0, 3.0]),), (np.array([-1.0, 5.0, 0.5]),)]
ivecs = [(np.array([1, 2, 3]),), (np.array([4, -5, 6]),)]


def nested_fn(n):
    def inner(k, *, step=2):
        if k > 3:
            return k - step
        return k + step

    return inner(n) + inner(n, step=1)


case(nested_fn, *ints)


def closure_nonlocal(n):
    c = n * 0

    def bump(k):
        nonlocal c
        if k > 1:
            c = c + k

    bump(n)
    bump(n + 1)
    return c


case(closure_nonlocal, *ints)


def lambdas_on_line(n):
    f, g, h = (
        lambda a: a + 1 if a > 0 else a - 1,
        lambda a: a * 2 if a > 1 else a,
        lambda a, b=3: (a and b) if a > b else b,
    )
    return f(n), g(n), h(n), h(n, b=1)


case(lambdas_on_line, *ints)


def comp(n):
    v = [n + k if n > k else n - k for k in (1, 2, 3)]
    return v


case(comp, *ints)


def comp_tensor(x):
    return [v * v + 1 for v in x]


case(comp_tensor, *vecs)


def comp_tensor_branch(x):
    return [v * 2 if v > 1 else -v for v in x]


case(comp_tensor_branch, *vecs)


def comp_range(n):
    v = [i * i for i in range(n)]
    return sum(v)


case(comp_range, *ints)


def gen_sum(x):
    return sum(v * v for v in x)


case(gen_sum, *vecs)


def gen_sum_range(n):
    return sum(i * i for i in range(n))


case(gen_sum_range, *ints)


def gen_sum_if(x):
    return sum(v for v in x if v > 1)


case(gen_sum_if, *vecs)


def gen_max(x):
    return max(v * v for v in x), min(v + 1 for v in x)


case(gen_max, *vecs)


def gen_any(x):
    return any(v > 4 for v in x), all(v > 0 for v in x)


case(gen_any, *vecs)


def gen_any_range(n):
    return any(i == 4 for i in range(n)), all(i < 3 for i in range(n))


case(gen_any_range, *ints)


def prime(n):
    return n > 1 and all(n % d != 0 for d in range(2, n))


case(prime, *ints)


def comp_two(x):
    return sum(a * b for a in x for b in x)


case(comp_two, *vecs)


def comp_if_list(x):
    return sum([v for v in x if v > 1])


case(comp_if_list, *vecs)


def dict_comp(x):
    return {k: v * 2 for k, v in zip("abc", x)}


case(dict_comp, *vecs)


def match_py(n, mode="add"):
    match mode:
        case "add":
            return n + 1
        case "mul":
            if n > 1:
                return n * 2
            return n
        case _:
            raise ValueError(mode)


case(match_py, *ints, (I(3), "mul"))


def match_seq(n):
    pair = ("x", n)
    match pair:
        case ("x", v) if True:
            y = v * 2
        case [a, b]:
            y = b
    while y > 3:
        y = y - 1
    return y


case(match_seq, *ints)


def match_guard_tensor(n):
    match n:
        case v if v > 3:
            return v * 2
        case v:
            return v


case(match_guard_tensor, *ints)


def match_const_tensor(n):
    match n:
        case 1:
            return n * 100
        case 2 | 5:
            return n * 10
        case _:
            return n


case(match_const_tensor, *ints)


def logged(f):
    @functools.wraps(f)
    def wrapper(*args, **kwargs):
        if args[0] > 2:
            return f(*args, **kwargs) + 1
        return f(*args, **kwargs)

    return wrapper


@logged
def decorated_callee(n, k=1):
    if n > 4:
        return n * k
    return n


def uses_decorated(n):
    return decorated_callee(n, k=3)


case(uses_decorated, *ints)
case(decorated_callee, *ints)


@contextlib.contextmanager
def doubled():
    yield 2


def with_gen_ctx(n):
    with doubled() as k:
        if n > 1:
            n = n * k
    return n


case(with_gen_ctx, *ints)


class A:
    scale = 3

    def __init__(self):
        self.b = 2

    def step(self, n):
        if n > 1:
            return n * self.b
        return n

    @property
    def prop(self):
        return self.b + 1

    @classmethod
    def cm(cls, n):
        if n > 2:
            return n * cls.scale
        return n

    @staticmethod
    def sm(n):
        if n > 2:
            return n - 1
        return n

    def __call__(self, n):
        while n > 3:
            n = n - self.prop
        return n

    def __getitem__(self, n):
        if n > 3:
            return n * 2
        return n

    def __add__(self, n):
        if n > 3:
            return n * 2
        return n


class B(A):
    def step(self, n):
        if n > 0:
            return super().step(n) + 1
        return super().step(n) - 1

    @property
    def lazy(self):
        return self.b


def methods(n):
    a, b = A(), B()
    return a.step(n), b.step(n), a.cm(n), B.sm(n), a(n), b(n), a.prop * n


case(methods, *ints)


class InitBranch:
    def __init__(self, n):
        if n > 1:
            self.n = n * 2
        else:
            self.n = n


def init_branch(n):
    return InitBranch(n).n


case(init_branch, *ints)


def rec(n, depth):
    if depth == 0:
        return n
    if n > 2:
        return rec(n - 1, depth - 1)
    return rec(n + 3, depth - 1)


def recursion_py(n):
    return rec(n, 4)


case(recursion_py, *ints)


def b_abs(x):
    return abs(x)


case(b_abs, *vecs, *ints)


def b_minmax(n):
    return min(n, 3), max(n, 3), max(n, n * 2, 1), min((n, 2)), max([n, -n])


case(b_minmax, *ints)


def b_max1(x):
    return max(x), min(x), sum(x), sum(x, 10.0)


case(b_max1, *vecs, *ivecs)


def b_key(x):
    return max(x, key=lambda v: -v), min(x, default=3)


case(b_key, *vecs)


def b_anyall(x):
    return any(x > 2), all(x > 0), any([x[0] > 2, x[1] > 0]), all((x[0] > 0, x[1] > 1))


case(b_anyall, *vecs)


def b_cast(n):
    return int(n), float(n), bool(n), int(n * 1.7), float(n) / 2


case(b_cast, *ints)


def b_cast2(x):
    return int(x), bool(x), float(x)


case(b_cast2, (F(2.7),), (F(-2.7),), (F(0.0),))


def b_len(x):
    return len(x), len([x, x])


case(b_len, *vecs)


def b_round(x):
    return round(x), round(x, 1)


case(b_round, (F(2.74),), (F(-2.5),), (F(3.5),))


def b_pow(n):
    return pow(n, 2), divmod(n, 3)


case(b_pow, *ints)


def b_sorted(x):
    return sorted(x)


case(b_sorted, *vecs, *ivecs)


def b_sorted_rev(x):
    return sorted(x, reverse=True)


case(b_sorted_rev, *vecs, *ivecs)


def b_sorted_list(n):
    return sorted([n, 3, n * 2])


case(b_sorted_list, *ints)


def b_sorted_key(x):
    return sorted(x, key=lambda v: -v)


case(b_sorted_key, *vecs)


def is_none(n, bias=None):
    if bias is None:
        bias = n * 2
    if bias is not None and n > 1:
        n = n + bias
    return n


case(is_none, *ints, (I(2), I(7)))


def in_(x):
    return 2.0 in x, 7.0 in x, 2.0 not in x


case(in_, *vecs)


def in_list(n):
    return n in [1, 2, 3], n not in (2, 5), n in range(1, 6)


case(in_list, *ints)


def in_if(n):
    if n in (1, 5):
        return n * 10
    return n


case(in_if, *ints)


def chained(n):
    return 0 < n < 5, 1 <= n != 2


case(chained, *ints)


def ternary(n):
    return n * 2 if n > 1 else (n - 1 if n < 0 else 7)


case(ternary, *ints)


def booleans(n):
    return (n > 1) and (n < 6), n > 1 or n < 0, not n > 1


case(booleans, *ints)


def m_or(n):
    match n:
        case 1 | 2:
            y = n * 10
        case 5 if n > 3:
            y = n * 100
        case -3:
            y = n
        case None:
            y = n * 0
        case k if k > 6:
            y = k * 7
        case _:
            y = n + 1
    return y


case(m_or, *ints)


def m_str(n, mode="b"):
    match mode:
        case "a":
            return n
        case "b":
            match n:
                case 0:
                    return n - 1
            return n * 2


case(m_str, *ints)


def nonlocal_loop(n):
    c = n * 0

    def bump():
        nonlocal c
        c = c + 1

    for i in range(n):
        bump()
    return c


case(nonlocal_loop, *ints)


def nonlocal_branch(n):
    c = n * 0

    def bump(k):
        nonlocal c
        c = c + k

    if n > 1:
        bump(n)
        if n > 4:
            bump(1)
    else:
        bump(n * 2)
    while c > 3:
        bump(-1)
    return c


case(nonlocal_branch, *ints)


@pytest.mark.parametrize(("function", "cases", "nodes"), case, ids=case.names)
def test_as_python(function, cases, nodes):
    compare.check(function, cases, nodes)
