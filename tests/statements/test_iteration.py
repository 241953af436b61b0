"""What a `for` runs over: tensors, ranges, zip, enumerate, reversed, map, filter, dicts and lists of tensors."""

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
vecs = [(np.array([1.0, 2.0, 3.0]),), (np.array([-1.0, 5.0, 0.5]),)]


def for_tuple(x):
    s = 0.0
    for a, b in x:
        s = s + a * b
    return s


case(for_tuple, (np.array([[1.0, 2.0], [3.0, 4.0]]),))


def for_star(x):
    s = 0.0
    for a, *b in x:
        s = s + a * b[1]
    return s


case(for_star, (np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]]),))


def f_enum(x):
    s = 0.0
    for i, v in enumerate(x):
        s = s + i * v
    return s


case(f_enum, *vecs, nodes=["while"])


def f_enum_start(x):
    s = 0.0
    for i, v in enumerate(x, 1):
        if i == 3:
            break
        s = s + i * v
    return s


case(f_enum_start, *vecs, nodes=["while"])


def f_zip(x):
    s = 0.0
    for v, w in zip(x, x * 2):
        s = s + v * w
    return s


case(f_zip, *vecs, nodes=["while"])


def f_zip_uneven(x):
    s = 0.0
    for v, w in zip(x, x[1:]):
        s = s + v * w
    return s


case(f_zip_uneven, *vecs, nodes=["while"])


def f_zip_range(x):
    s = 0.0
    for i, w in zip(range(len(x)), x):
        s = s + i * w
    return s


case(f_zip_range, *vecs, nodes=["while"])


def f_zip_list(x):
    s = 0.0
    for i, w in zip([1, 2, 3], x):
        s = s + i * w
    return s


case(f_zip_list, *vecs)


def f_rev(x):
    s = 0.0
    for v in reversed(x):
        s = s * 2 + v
    return s


case(f_rev, *vecs, nodes=["while"])


def f_rev_range(n):
    s = 0
    for v in reversed(range(n)):
        s = s * 2 + v
    return s


case(f_rev_range, *ints, nodes=["while"])


def f_map(x):
    s = 0.0
    for v in map(lambda a: a * 2 if a > 1 else a, x):
        s = s + v
    return s


case(f_map, *vecs, nodes=["while"])


def f_filter(x):
    s = 0.0
    for v in filter(lambda a: a > 1, x):
        s = s + v
    return s


case(f_filter, *vecs)


def f_list(x):
    s = 0.0
    for v in [x[0], x[1], x[2]]:
        if v > 1:
            s = s + v
    return s


case(f_list, *vecs)


def f_dict(x):
    s = 0.0
    d = {"a": x[0], "b": x[1]}
    for k, v in d.items():
        if v > 1:
            s = s + v
    for k in d:
        s = s + d[k]
    for v in d.values():
        s = s - v * 2
    return s


case(f_dict, *vecs)


def f_range3(n):
    s = n * 0
    for i in range(10, n, -2):
        s = s + i
    return s


case(f_range3, *ints)


def f_enum_zip(x):
    s = 0.0
    for i, (v, w) in enumerate(zip(x, x * 3)):
        s = s + i * v + w
    return s


case(f_enum_zip, *vecs, nodes=["while"])


def f_for_2d(x):
    s = 0.0
    for row in x:
        for v in row:
            if v > 3:
                break
            s = s + v
    return s


case(f_for_2d, (np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]]),), nodes=["while"])


@pytest.mark.parametrize(("function", "cases", "nodes"), case, ids=case.names)
def test_as_python(function, cases, nodes):
    compare.check(function, cases, nodes)


def squares(x):
    return sum(v * v for v in x)


def zipped(x):
    s = td.sum(x) * 0
    for i, (v, w) in enumerate(zip(x, x * 2)):
        if i == 2:
            break
        s = s + v * w * w
    return s


def backwards(x):
    s = td.sum(x) * 0
    for v in reversed(x):
        s = s * 0.5 + v * v * v
    return s


def kept(x):
    return sum(v**3 for v in x if v > 1)


def listed(x):
    return td.sum(td.stack([v * v * v for v in x]))


def largest(x):
    return max(v * v for v in x)


@pytest.mark.parametrize("function", [squares, zipped, backwards, kept, listed, largest])
def test_gradients_to_second_order(function):
    compare.check_gradients(function, td.asarray([0.5, 3.0, -2.0, 1.5]))


def test_lengths_that_only_running_tells():
    def f(x, n):
        s = 0.0
        for i, v in zip(range(n), x):
            s = s + i * v
        return s + sum(i * 1.0 for i in range(n))

    for n in (0, 2, 3):
        compare.check(f, [(np.array([1.0, 2.0, 3.0]), I(n))])
