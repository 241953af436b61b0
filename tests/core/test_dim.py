"""Symbolic sizes: arithmetic means what arithmetic on numbers means, and comparisons are decided where they can be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td
from treadle.core.dim import Dim, evaluate

NAMES = ("n", "m")
quick = settings(derandomize=True, deadline=None, max_examples=80)


@st.composite
def sizes(draw: Any, depth: int = 2) -> Any:
    """An expression over n and m, and a function that computes it from numbers."""
    inner = ["+", "-", "*", "//", "%", "**"] if depth else []
    kind = draw(st.sampled_from(["name", "number", *inner]))
    if kind == "name":
        name = draw(st.sampled_from(NAMES))
        return Dim.named(name), lambda env: env[name]
    if kind == "number":
        k = draw(st.integers(-3, 5))
        return k, lambda env: k
    left, f = draw(sizes(depth - 1))
    if kind == "**":
        k = draw(st.integers(0, 2))
        return left**k, lambda env: f(env) ** k
    right, g = draw(sizes(depth - 1))
    table = {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "//": lambda a, b: a // b,
        "%": lambda a, b: a % b,
    }
    if kind in ("//", "%") and isinstance(right, int) and right == 0:
        right, g = 2, lambda env: 2
    op = table[kind]
    return op(left, right), lambda env: op(f(env), g(env))


environments = st.fixed_dictionaries({name: st.integers(1, 9) for name in NAMES})


@quick
@given(sizes(), environments)
def test_evaluation_is_arithmetic(pair, env):
    size, f = pair
    try:
        wanted = f(env)
    except ZeroDivisionError:
        return
    try:
        got = evaluate(size, env)
    except ZeroDivisionError:  # x * (1 // (n - n)): the polynomial is undefined where the numbers are
        return
    assert got == wanted
    if isinstance(size, Dim):
        assert evaluate(evaluate(size, {"n": env["n"]}), env) == wanted  # one name after the other
        assert size.names() <= set(NAMES)


@quick
@given(sizes(), sizes(), environments)
def test_equal_forms_are_equal_and_hash_alike(a, b, env):
    x, y = a[0], b[0]
    if isinstance(x, Dim) and isinstance(y, Dim) and x == y:
        assert hash(x) == hash(y)
        assert a[1](env) == b[1](env)
    total, swapped = x + y, y + x
    assert total == swapped
    assert hash(total) == hash(swapped)
    assert x * y == y * x
    assert (x + y) - y == x


@quick
@given(sizes(), sizes(), environments)
def test_bounds_hold_and_decided_comparisons_are_right(a, b, env):
    (x, f), (y, g) = a, b
    try:
        left, right = f(env), g(env)
    except ZeroDivisionError:
        return
    difference = x - y
    if isinstance(difference, Dim):
        low, high = difference.bounds()
        assert low <= left - right <= high
    for compare, wanted in [
        (lambda: x < y, left < right),
        (lambda: x <= y, left <= right),
        (lambda: x > y, left > right),
        (lambda: x >= y, left >= right),
    ]:
        try:
            decided = compare()
        except td.errors.TraceError:
            continue  # not decided: it would be traced
        assert decided == wanted


def test_numpy_integers_are_sizes():
    n = Dim.named("n")
    assert n + np.int64(2) == np.int64(2) + n == n + 2
    assert n * np.int32(3) == np.int32(3) * n == 3 * n
    assert (4 * n) // np.int64(2) == 2 * n
    assert (7 - n).evaluate({"n": np.int64(3)}) == 4


def test_fresh_sizes_equal_no_other():
    a, b = Dim.fresh("steps"), Dim.fresh("steps")
    assert a != b
    assert a.open is not None
    assert Dim.named("n").open is None
    assert (a + 1).open is None


def test_a_size_has_no_number_while_tracing():
    @td.function(input_signature=[td.TensorSpec((None,), td.float32, name="x")])
    def f(x):
        return x * int(x.shape[0])

    with pytest.raises(td.errors.TraceError, match="has no int"):
        f(td.ones(3))


def test_division_by_zero_names_the_size():
    with pytest.raises(ZeroDivisionError, match="the symbolic size n is divided by zero"):
        Dim.named("n") // 0


def three_or_not(x):
    if x.shape[0] == 3:
        return x + 100
    return x


def not_three(x):
    return x + 100 if x.shape[0] != 3 else x


def at_least(x):
    if 2 * x.shape[0] > 5 and x.shape[0] // 2 >= 0:
        return x + 100
    return x


@pytest.mark.parametrize("f", [three_or_not, not_three, at_least])
@pytest.mark.parametrize("length", [0, 2, 3, 4])
def test_comparisons_that_only_a_run_decides_are_traced(f, length):
    symbolic = td.function(f, input_signature=[td.TensorSpec((None,), td.float64)])
    x = td.asarray(np.arange(float(length)))
    assert symbolic(x).tolist() == f(x).tolist()


def test_a_shape_is_not_silently_unequal():
    @td.function(input_signature=[td.TensorSpec((None,), td.float64)])
    def f(x):
        if x.shape == (3,):
            return x + 100
        return x

    with pytest.raises(td.errors.TraceError, match="no value yet"):
        f(td.asarray(np.zeros(3)))


def test_sizes_compute_and_index():
    @td.function(input_signature=[td.TensorSpec(("n", 2), td.float64), td.TensorSpec(("n",), td.float64)])
    def f(x, y):
        n = x.shape[0]
        return td.reshape(x, (2 * n,)), x[: n // 2], y * (n / 2), td.asarray(n % 3), td.zeros((n + 1,))

    for n in (1, 4, 5):
        x, y = td.ones((n, 2), dtype=td.float64), td.ones(n, dtype=td.float64)
        flat, half, scaled, rest, more = f(x, y)
        assert flat.shape == (2 * n,)
        assert half.shape == (n // 2, 2)
        assert scaled.tolist() == [n / 2] * n
        assert rest.item() == n % 3
        assert more.shape == (n + 1,)
    with pytest.raises(td.TreadleError):
        f(td.ones((2, 2), dtype=td.float64), td.ones(3, dtype=td.float64))


@pytest.mark.parametrize("shape", [("",), ("a#1",), (-1,), ("n", 2.5), "n", 3])
def test_specs_that_make_no_sense(shape):
    with pytest.raises(td.errors.ShapeError, match="TensorSpec"):
        td.TensorSpec(shape)
