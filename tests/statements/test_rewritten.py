"""Walruses, comprehensions that hold lambdas, `match` that takes apart and compares, powers of three arguments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from treadle_tests_compare import check

import treadle as td


@dataclass
class P:
    x: object
    y: object


def seq(x):
    p = (x, 2.0)
    match p:
        case [0.0, y]:
            return y
        case [1.0 | 2.0 as z, y] if y > 1:
            return z + y
        case (a, *r) if a > 3:
            return a * 10 + r[0]
        case _:
            return x * 0 - 1


def mp(x):
    y = 5.0
    match {"k": x, "m": 1.0}:
        case {"k": 3.0, "m": y}:
            s = y
        case {"k": 0.0, **rest}:
            s = rest["m"] + 1
        case {"k": v} if v > 1:
            s = v
        case _:
            s = y
    return s


def cl(x):
    match P(x, x + 1):
        case P(x=0.0, y=b):
            return b
        case P(x=a, y=2.0):
            return a + 100
        case P(a, b) if a < b:
            return a * b
    return x


def py(x, k):
    match k:
        case [1, 2]:
            return x
        case {"a": [1, v]}:
            return x + v
        case P(1, y):
            return x * y
        case "s":
            return -x
        case _:
            return x * 0


NUMBERS = [(np.float64(v),) for v in (-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0)]


@pytest.mark.parametrize("function", [seq, mp, cl])
def test_patterns_that_take_apart_and_compare(function):
    check(function, NUMBERS)


@pytest.mark.parametrize("k", [[1, 2], [1, 3], {"a": [1, 7]}, {"a": [2, 7]}, "s", 3, None])
def test_patterns_on_python_values(k):
    check(py, [(np.float64(1.5), k)])


def w1(x):
    if x > 3 or (b := x * 2) > 3:
        return x + 1
    return b


def w2(x):
    y = (x > 1 and (_b := x + 1) > 3) or x < 0
    return y


def w3(x):
    b = 0.0
    y = (b := x * 2) if x > 1 else (b := x - 1)
    return y + b


def w4(x):
    b = x
    r = 0 < x < (b := x + 1) < 4
    return r, b


def w5(x):
    n = 0
    b = x
    while b < 10 or (b := b - 5) > 7:
        n += 1
        b = b + 3
    return n, b


def w6(xs):
    r = [y for v in xs if (y := v * v) > 1]
    return sum(r)


def w7(xs):
    return sum([last := v + 1 for v in xs]), last


def w8(xs, v):
    r = [
        td.cond(v > 0, lambda: v * 2, lambda: -v) if not isinstance(v, np.generic) else (v * 2 if v > 0 else -v)
        for v in xs
    ]
    return sum(r) + v


def w9(xs):
    fs = [lambda: i for i in range(3)]
    return xs * fs[0]()


def w10(x):
    if x > 1 and (b := x * 2) > 3:
        r = b
    else:
        r = x
        r = r + 1
        r = r + 1
        r = r + 1
        r = r + 1
        r = r + 1
    return r


def w11(x):
    return not (x > 1 or (_b := x) > 0)


@pytest.mark.parametrize("function", [w1, w2, w3, w4, w5, w10, w11])
def test_walruses_that_are_reached_or_not(function):
    check(function, NUMBERS)


@pytest.mark.parametrize("function", [w6, w7, w9])
def test_comprehensions(function):
    check(function, [(np.array([1.0, -2.0, 3.0, 0.5]),)])


def test_a_comprehension_that_holds_lambdas():
    check(w8, [(np.array([1.0, -2.0, 3.0, 0.5]), np.float64(1.0))], nodes=["while"])


@td.function
def power(a, b, m):
    return pow(a, b, m)


@pytest.mark.parametrize(
    "numbers", [(3, 200, 13), (2, 0, 7), (-5, 3, 7), (10, 9, 1), (123456789, 987654321, 2**31 - 1)]
)
def test_powers_of_three_arguments(numbers):
    assert int(power(*map(td.asarray, numbers))) == pow(*numbers)


def test_powers_that_are_none():
    with pytest.raises(td.errors.AssertionFailed, match="exponents >= 0"):
        power(*map(td.asarray, (2, -1, 7)))
    with pytest.raises(TypeError, match="all arguments are integers"):
        power(td.asarray(2.0), td.asarray(1), 7)


def keyed_by_tensors(x):
    return {v: 1 for v in x}


def a_set_of_tensors(x):
    return len({v for v in x})


def a_condition_in_a_dict(x):
    return {k: v for k, v in enumerate(x) if v > 1}


def a_walrus_in_a_lambda(x):
    f = lambda: x[0] > 1 and (_b := x[1]) > 2  # noqa: E731
    return f()


def a_generator(x):
    def large():
        for v in x:
            if v > 1:
                yield v

    return sum(large())


class Entered:
    def __init__(self, v):
        self.v = v

    def __enter__(self):
        return self.v if self.v > 1 else -self.v

    def __exit__(self, *_):
        pass


def an_entered_object(x):
    with Entered(x[0]) as v:
        return v


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (keyed_by_tensors, "a traced tensor as a key of a dict"),
        (a_set_of_tensors, "an item of a set"),
        (a_condition_in_a_dict, "a dict comprehension is Python's own"),
        (a_walrus_in_a_lambda, "`:=` stands here"),
        (a_generator, r"large is not converted, because it holds `yield` \(line \d+\)"),
        (an_entered_object, "'__enter__' is called by Python itself"),
    ],
)
def test_what_stays_pythons_own_says_so(function, text):
    with pytest.raises(td.errors.TreadleError, match=text):
        td.function(function)(td.asarray([2.0, 3.0]))


async def a_coroutine(x):
    return x


async def an_awaiting_coroutine(x):
    return await x


def a_generator_itself(x):
    yield x


@pytest.mark.parametrize(
    ("function", "text"),
    [(a_coroutine, "`async def`"), (an_awaiting_coroutine, "`await`"), (a_generator_itself, "`yield`")],
)
def test_generators_and_coroutines_are_named(function, text):
    with pytest.raises(td.errors.TraceError, match=rf"{text} \(line \d+\); decorate the functions that it calls"):
        td.function(function)(td.asarray(1.0))
