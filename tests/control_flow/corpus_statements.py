"""Corpus: statements of every kind, each on tensors."""

from __future__ import annotations

import contextlib

import numpy as np
from corpus_cases import Static, case

import treadle as td

XS = [(1.53,), (-0.77,), (0.26,)]
PAIRS = [(1.53, 0.52), (-0.77, 2.01)]


@case(*XS, second=True)
def if_only(x):
    y = x * 3
    if x > 1:
        y = y * x
    return y


@case(*XS, second=True)
def if_else(x):
    if x > 0:
        y = x * x
    else:
        y = -x * x * x
    return y


@case(*XS)
def elif_chain(x):
    if x > 1:
        y = x * 2
    elif x > 0:
        y = x * 3
    elif x > -0.5:
        y = x * 4
    else:
        y = x * 5
    return y


@case(*XS)
def else_without_change(x):
    if x > 0:
        pass
    else:
        x = -x
    return x * x


@case(*PAIRS)
def two_names_in_a_branch(x, y):
    if x < y:
        x, y = y, x
    return x - 2 * y


@case(*PAIRS)
def augmented(x, y):
    if x > y:
        x += y
        y *= x
        x -= 0.5
        y /= 2.0
    else:
        x **= 2
        y += x
    return x * y


@case(([3.0, -2.0, 0.5],), ([-1.0, -2.0, 4.0],))
def starred_target(v):
    first, *rest = v[0], v[1], v[2]
    if first > 0:
        first, *rest = rest[1], rest[0], first
    return first + 2 * rest[0] + 3 * rest[1]


@case(*PAIRS)
def nested_tuple_target(x, y):
    (a, (b, c)) = x, (y, x * y)
    if a > b:
        (a, (b, c)) = c, (a, b)
    return a + 2 * b + 3 * c


@case(*XS)
def chained_assignment(x):
    a = b = x
    if x > 0:
        a = b = x * 2
    return a * b


@case(*XS)
def walrus(x):
    if (y := x * 2) > 1:
        y = y + 1
    return y * x


@case(*XS)
def walrus_in_while(x):
    n = 0
    while (y := x + n) < 3:
        n += 1
    return y, n


@case(*XS)
def conditional_expression(x):
    return x * 2 if x > 0.5 else -x if x > 0 else x * x


@case(*PAIRS)
def short_circuit_and(x, y):
    if x > 0 and 1 / x < y + 1:
        return x + y
    return x - y


@case(*PAIRS)
def short_circuit_or(x, y):
    if x < 0 or y > 1:
        return x * y
    return x + y


@case(*PAIRS)
def not_and_chain(x, y):
    if not (0 < x < y * 4):
        return x
    return y * 3


@case(*PAIRS)
def chained_three(x, y):
    return 2 * x if -1 < x < y < 3 else y


@case(*XS)
def assert_holds(x):
    assert x > -10, f"too small: {x}"
    y = x * 2
    assert np.abs(y) < 100
    return y


@case((2.0, 3), (1.5, 0))
def assert_in_loop(x, n):
    for i in td.range(n):
        assert i < 10, "too many"
        x = x * 1.5
    return x


@case(*XS)
def with_around(x):
    with contextlib.nullcontext(2.0) as factor:
        if x > 0:
            x = x * factor
    return x


@case(*XS)
def with_inside_branch(x):
    if x > 0:
        with contextlib.nullcontext():
            x = x * 3
    else:
        with contextlib.suppress(KeyError):
            x = x - 1
    return x


@case(*XS)
def return_inside_with(x):
    with contextlib.nullcontext():
        if x > 0:
            return x * 2
    return x * 5


@case(*XS)
def try_finally(x):
    y = x
    try:
        if x > 0:
            y = y * 2
    finally:
        y = y + 1
    return y


@case(*XS)
def try_finally_with_return(x):
    try:
        if x > 0:
            return x * 2
        x = x - 1
    finally:
        x = x * 1
    return x * 3


@case(*XS)
def try_inside_branch(x):
    if x > 0:
        try:
            x = x * 2
        finally:
            x = x + 1
    return x


@case(*XS)
def try_except_on_python_values(x):
    table = {"a": 2.0}
    try:
        factor = table["b"]
    except KeyError:
        factor = 3.0
    if x > 0:
        x = x * factor
    return x


@case(*XS)
def del_a_name(x):
    t = x * 2
    if x > 0:
        x = t
    del t
    return x


@case(*XS)
def del_inside_a_branch(x):
    if x > 0:
        t = x * 2
        x = t + 1
        del t
    return x


@case(*XS)
def pass_everywhere(x):
    if x > 0:
        pass
    for _ in td.range(2):
        pass
    return x


@case(*XS)
def match_on_a_python_value(x):
    mode = "square"
    match mode:
        case "square":
            if x > 0:
                x = x * x
        case _:
            x = x * 0
    return x


@case((1.5, Static("double")), (1.5, Static(("scale", 3.0))), (-1.0, Static(None)))
def match_on_a_static_argument(x, how):
    match how:
        case "double":
            factor = 2.0
        case ("scale", factor):
            pass
        case _:
            factor = 1.0
    return x * factor if x > 0 else x - factor


@case(*XS)
def lambda_with_a_condition(x):
    f, g = (lambda t: t * 2 if t > 0 else -t), (lambda t: t + 1 if t < 1 else t)
    return f(x) + g(x)


@case(*XS)
def nested_function(x):
    def inner(t, k=2.0, *, shift=1.0):
        if t > k:
            return t - shift
        return t * k

    return inner(x) + inner(x, 0.5) + inner(x, shift=2.0)


@case(*XS)
def function_defined_in_a_branch(x):
    if x > 0:

        def twice(t):
            return t * 2

        y = twice(x)
    else:
        y = x
    return y


@case(*XS)
def nonlocal_in_a_branch(x):
    total = x * 0

    def add(t):
        nonlocal total
        if t > 0:
            total = total + t
        else:
            total = total - 2 * t

    add(x)
    add(x * 2)
    return total


@case(*XS)
def ternary_in_arguments(x):
    return np.maximum(x if x > 0 else -x, 0.5 if x > 1 else 0.25)


@case((1.5, 2), (-0.5, 0), (0.5, -3))
def integers_and_floats(x, n):
    if n > 0:
        y = x * n
    elif n == 0:
        y = x
    else:
        y = x / n
    return y, n * 2


@case(*XS)
def python_number_in_one_branch(x):
    if x > 0:
        y = 1.0
    else:
        y = x
    return y * 2


@case(*XS)
def python_condition_costs_nothing(x):
    deep = 3
    if deep > 2:
        x = x * 2
    for _ in range(deep):
        if deep == 3:
            x = x + 1
    return x


@case(([1.0, -2.0, 3.0],), ([-1.0, -2.0, -3.0],))
def any_and_all(v):
    if np.any(v > 2):
        v = v * 2
    if np.all(v < 0):
        v = -v
    return v


@case((2.0,), (-3.0,))
def builtin_abs_and_pow(x):
    y = abs(x)
    if pow(y, 2) > 5:
        y = y - 1
    return y


@case(*PAIRS)
def builtin_min_max(x, y):
    return max(x, y) * 2 + min(x, y, 1.0)


@case((7, 3), (-7, 3), gradient=False)
def builtin_divmod(n, m):
    q, r = divmod(n, m)
    if r > 1:
        q = q + 10
    return q, r


@case(*XS, gradient=False)
def in_a_python_container(x):
    name = "b"
    if name in ("a", "b"):
        x = x + 1
    return x if "c" not in {"a": 1} else x * 0


@case(*XS)
def set_in_both_branches_first(x):
    if x > 0:
        first, second = x, x * 2
    else:
        second, first = x, x * 3
    return first - second * 2


@case(*XS)
def set_in_one_and_used_there(x):
    if x > 0:
        only = x * 3
        x = only + 1
    return x


@case(*XS)
def deep_ifs(x):
    if x > -1:
        if x > 0:
            if x > 1:
                y = x * 4
            else:
                y = x * 3
        else:
            y = x * 2
    else:
        y = x
    return y
