"""Corpus: loops over everything, carried values of every kind, loops inside loops."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from corpus_cases import Static, case

import treadle as td

XN = [(1.53, 3), (-0.52, 0), (0.31, 5)]
VS = [([0.5, 1.0, 2.0],), ([-1.0, 0.25, 0.5],)]
VW = [([0.5, 1.0, 2.0], [1.0, -1.0, 0.5])]
MS = [([[0.5, 1.0], [2.0, -1.0], [0.25, 0.75]],)]


@case(*XN, second=True)
def for_range(x, n):
    for i in td.range(n):
        x = x * 0.5 + i
    return x


@case(*XN)
def for_range_with_bounds(x, n):
    for i in td.range(1, n + 2):
        x = x + i
    for i in td.range(6, 0, -2):
        x = x * 0.5 + i
    return x


@case(*XN)
def for_python_range_of_a_tensor(x, n):
    for i in range(n):
        x = x + i * 0.5
    return x


@case((0.5, 1, 6, 2), (0.5, 6, -1, -3))
def for_range_of_three_tensors(x, start, stop, step):
    for i in td.range(start, stop, step):
        x = x * 0.5 + i
    return x


@case(*XN)
def for_range_not_taken(x, n):
    y = x
    for i in td.range(n - n):
        y = y * i
    return y + x


@case(*XN, second=True)
def while_count(x, n):
    i = 0
    while i < n:
        x = np.tanh(x) + 0.25
        i = i + 1
    return x


@case((0.3,), (5.0,), (-2.0,), second=True)
def while_value(x):
    while x < 4:
        x = x * x + 1
    return x


@case(([0.3, 0.5, 2.0],))
def while_vector(v):
    while np.sum(v) < 20:
        v = v * 1.5 + 0.25
    return v


@case(*VS, second=True)
def over_a_vector(v):
    total = 0.0
    for x in v:
        total = total + x * x
    return total


@case(*MS)
def over_rows(m):
    s = m[0] * 0
    for row in m:
        s = s * 0.5 + row
    return s


@case(*MS)
def over_rows_and_elements(m):
    s = 0.0
    for row in m:
        for x in row:
            if x > 0:
                s = s + x * x
    return s


@case(*VW)
def over_zip(v, w):
    s = 0.0
    for x, y in zip(v, w):
        s = s * 0.5 + x * y
    return s


@case(*VS)
def over_enumerate(v):
    s = 0.0
    for i, x in enumerate(v):
        s = s + i * x
    return s


@case(*VS)
def over_enumerate_from(v):
    s = 0.0
    for i, x in enumerate(v, start=2):
        if i > 2:
            s = s + i * x
    return s


@case(*VS)
def over_reversed(v):
    s = 0.0
    for x in reversed(v):
        s = s * 0.5 + x
    return s


@case(*VW)
def over_enumerate_zip(v, w):
    s = 0.0
    for i, (x, y) in enumerate(zip(v, w)):
        s = s + i * x - y
    return s


@case(*VS)
def over_map(v):
    s = 0.0
    for y in map(lambda x: x * x, v):
        s = s * 0.5 + y
    return s


@case(*VS)
def over_a_list_of_tensors(v):
    s = 0.0
    for x in [v[0], v[1] * 2, v[2]]:
        if x > 0.6:
            s = s + x
    return s


@case(*VS)
def over_a_dict_of_tensors(v):
    parts = {"a": v[0], "b": v[1]}
    s = v[2]
    for name, x in parts.items():
        if x > 0.3:
            s = s * x if name == "a" else s + x
    return s


@case(*VS)
def over_numpy_constants(v):
    s = v[0]
    for c in np.array([1.0, 2.0]):
        s = s * c + v[1]
    return s


@case(*XN)
def python_loop_around_a_staged_one(x, n):
    for scale in (1.0, 0.5):
        for i in td.range(n):
            x = x * 0.9 + scale * i
    return x


@case(*XN, second=True)
def nested_ranges(x, n):
    for i in td.range(n):
        for j in td.range(i):
            x = x * 0.9 + 0.1 * j
    return x


@case(*XN)
def nested_three_deep(x, n):
    for i in td.range(2):
        for j in td.range(n):
            k = 0
            while k < j:
                x = x * 0.9 + 0.1 * (i + k)
                k += 1
    return x


@case(*XN)
def while_in_for_in_if(x, n):
    if x > 0:
        for i in td.range(n):
            while x < i:
                x = x + 0.75
            x = x * 0.5
    return x


@case(*XN)
def two_loops_in_a_row(x, n):
    for i in td.range(n):
        x = x + i
    for i in td.range(2):
        x = x * 0.5
    return x, i


@case(*XN)
def carried_tuple(x, n):
    pair = (x, x * 2)
    for _ in td.range(n):
        pair = (pair[1], pair[0] * 0.5)
    return pair


@case(*XN)
def carried_dict(x, n):
    d = {"a": x, "b": {"c": x * 2}}
    for i in td.range(n):
        d = {"a": d["b"]["c"], "b": {"c": d["a"] * 0.5 + i}}
    return d


class Point(NamedTuple):
    x: object
    y: object


@case(*XN)
def carried_namedtuple(x, n):
    p = Point(x, x * 2)
    for _ in td.range(n):
        p = p._replace(x=p.y * 0.5, y=p.x)
    return p


@case(*XN)
def carried_python_numbers(x, n):
    count, total, product, flag = 0, 0.0, 1, True
    for i in td.range(n):
        count += 1
        total += x
        product = product * 2
        flag = not flag
    return count, total, product, flag


@case(*XN)
def python_int_that_becomes_a_float(x, n):
    s = 0
    for _ in td.range(n):
        s = s + x
    return s + x * 0


@case(*XN)
def unchanged_python_values(x, n):
    name, table = "double", {"double": 2.0}
    for _ in td.range(n):
        if name == "double":
            x = x * 0.5 * table[name]
    return x


@case(*XN)
def first_set_in_the_loop(x, n):
    last = x
    for i in td.range(n):
        square = x * x * i
        last = last + square
    return last


@case(([1.0, 2.0, 4.0], 2), ([1.0, 2.0, 4.0], 0))
def index_by_the_counter(v, n):
    s = v[0]
    for i in td.range(n):
        s = s + v[i + 1] * i
    return s


@case(([1.0, 2.0, 4.0],))
def set_by_at(v):
    out = td.zeros_like(v)
    for i in td.range(3):
        out = out.at[i].set(v[i] * i)
    return out


@case((2.0,))
def counter_after_the_loop(x):
    for i in td.range(4):
        x = x * 0.5 + i
    return x * i


@case((0.5, Static(3)))
def static_trip_count(x, n):
    for i in td.range(n):
        x = x * x + 0.1 * i
    return x


@case((0.5, Static(3)))
def unrolled_python_range(x, n):
    for i in range(n):
        if x > i:
            x = x * 0.5
        else:
            x = x + i
    return x


@case(*XN)
def condition_with_and(x, n):
    i = 0
    while i < n and x < 3:
        x = x + 1
        i += 1
    return x, i


@case(*XN)
def branch_in_loop(x, n):
    for i in td.range(n):
        if i % 2 == 0:
            x = x + 1
        elif x > 1:
            x = x * 0.5
        else:
            x = x - 1
    return x


@case(*XN)
def conditional_expression_in_loop(x, n):
    s = x
    for i in td.range(n):
        s = s + (i * x if s > 0 else -x)
    return s


@case(*XN)
def loop_in_a_helper(x, n):
    def power(t, k):
        result = t * 0 + 1
        for _ in td.range(k):
            result = result * t
        return result

    return power(x, n) + power(x * 0.5, 2)


@case(*XN)
def loop_in_both_branches(x, n):
    if x > 1:
        for i in td.range(n):
            x = x + i
    else:
        while x < 1:
            x = x + 0.75
    return x


@case(([[1.0, 2.0], [0.5, 1.5]], 3))
def matrix_power(m, n):
    p = np.eye(2)
    for _ in td.range(n):
        p = p @ m * 0.5
    return p


@case(*XN)
def while_over_a_tuple_swap(x, n):
    a, b = x, x + 1
    while n > 0:
        a, b, n = b * 0.5, a, n - 1
    return a, b


@case((1.5, 4), (0.5, 1))
def scan_by_hand(x, n):
    history = td.zeros((5,), dtype=td.float64)
    for i in td.range(n):
        x = x * 0.75
        history = history.at[i].set(x)
    return history


@case(*VS)
def td_scan(v):
    def step(carry, x):
        if x > 0.6:
            carry = carry + x
        return carry, carry * 2

    return td.scan(step, v[0], v)


@case(*XN)
def td_while_loop(x, n):
    return td.while_loop(lambda i, x: i < n, lambda i, x: (i + 1, x * 0.5 if x > 0 else x), (0, x))[1]


@case(*XN)
def td_cond(x, n):
    return td.cond(x > 0, lambda t: t * n, lambda t: -t if t < -1 else t, x)


def grown(whole, part):
    return td.concat([td.asarray(whole), td.reshape(td.asarray(part), (1,))])


@case((1.3, 3), (0.7, 0), second=True, numeric=False)
def declared_shape_grows_in_a_branch(x, n):
    xs = td.reshape(td.asarray(x), (1,))
    for i in td.range(n):
        td.set_shape_invariant(xs, (None,))
        if td.sum(xs) < 10 and i != 1:
            xs = grown(xs, xs[0] * x)
    return td.sum(xs * xs)


@case(([0.5, 1.0, -1.0, 2.0, 0.25], 3), ([0.5, 1.0], 0), second=True, numeric=False)
def declared_shape_shrinks(v, n):
    v = td.asarray(v)
    for _ in td.range(n):
        td.set_shape_invariant(v, (None,))
        v = v[1:] * v[0]
    return td.sum(v * v)
