"""Lists that grow in staged loops and branches: what NumPy on plain Python gives, and derivatives to second order."""

from __future__ import annotations

import types

import numpy as np
import pytest

import treadle as td
from treadle.control.call import interpret_arrays

ControlFlowError = td.errors.ControlFlowError
# The same functions on NumPy: `m` is treadle, or this.
NUMPY = types.SimpleNamespace(range=range, stack=np.stack, sum=np.sum, sin=np.sin, max=np.max, TensorList=list)
X = np.array([0.7, -0.4, 1.3])


def steps_unknown(m, x, n):
    xs = []
    for i in m.range(n):
        x = m.sin(x) * 1.5 + i
        xs.append(x)
    return m.stack(xs)


def steps_known(m, x, n):
    xs = [x]
    for _ in m.range(5):
        xs.append(xs[-1] * 1.1)
    return m.stack(xs), xs[0], xs[-1], len(xs)


def rows_of_a_tensor(m, x, n):
    xs = []
    for v in x:
        xs.append(v * v)
    return m.stack(xs)


def some(m, x, n):
    xs = [x[0]]
    for v in x:
        if v > 0:
            xs.append(v * v)
    return m.sum(m.stack(xs) * 3.0), len(xs)


def one_or_two(m, x, n):
    xs = []
    for v in x:
        if v > 0:
            xs.append(v)
        else:
            xs.append(v * v)
            xs.append(v * 3)
    return m.stack(xs)


def two_at_once(m, x, n):
    xs = []
    y = x[0] * x[0] + 1.0
    while y < 50.0:
        xs.append(y)
        xs.append(y * x[1])
        y = y * y
    return m.stack(xs)


def its_last_elements(m, x, n):
    xs = [x[0], x[1]]
    while m.sum(xs[-1] * xs[-1]) < 500.0:
        if xs[-1] > 2.0:
            xs.append(xs[-1] * 1.5 + xs[0])
        xs.append(xs[-1] + xs[-2] * 0.5 + 1.0)
        xs[-1] = xs[-1] * x[2]
    return m.stack(xs)


def its_last_pair(m, x, n):
    pairs, out = [], []
    for i in m.range(n):
        if len(pairs) > 1:
            a, k = pairs[-2]
            for j in m.range(i):
                pairs.append((a * 0.5 + pairs[-1][0] * j, k + j))
            out.append(a + k)
        pairs.append((x[1] * i, i))
    return m.stack(out)


def until_break(m, x, n):
    xs = []
    for _ in m.range(n + 10):
        x = x * 1.3
        if m.max(x) > 3:
            break
        xs.append(x)
    return m.stack(xs)


def skipping(m, x, n):
    xs = []
    for i in m.range(n):
        if i == 1:
            continue
        xs.append(x * i)
    return m.stack(xs)


def nested(m, x, n):
    xs = []
    for i in m.range(n):
        for v in x:
            xs.append(v * v * i)
    return m.stack(xs)


def rows_of_rows(m, x, n):
    out = []
    for i in m.range(n):
        row = []
        for v in x:
            row.append(v * i)
        out.append(m.stack(row))
    return m.stack(out)


def rows_of_any_number(m, x, n):
    xs, sums = [x], []
    for i in m.range(n):
        xs.append(x * 2)
        row = []
        for j in m.range(i + 1):
            if j != 1:
                xs.append(x * i + j)
            row.append(x * j)
        sums.append(m.sum(m.stack(row)))
    return m.stack(xs), m.stack(sums), len(xs)


def in_a_branch(m, x, n):
    xs = [x]
    if n > 2:
        xs.append(x * x)
        for i in m.range(2):
            xs.append(x * i)
    return m.stack(xs)


def reads_itself(m, x, n):
    xs = [x[0], x[1]]
    for i in m.range(4):
        xs.append(xs[i] * xs[-1])
        if i > 2:
            xs.pop()
    return m.stack(xs)


def counts_itself(m, x, n):
    xs = [x]
    while len(xs) < 6:
        x = x * 2
        xs.append(x)
        if m.sum(x) > 5:
            xs.append(-x)
    return m.stack(xs)


def goes_over_it(m, x, n):
    xs = []
    for i in m.range(n):
        xs.append(x * i)
    s = 0.0
    for v in xs:
        s = s + m.sum(v * v)
    last = xs[-1]
    xs.reverse()
    xs.insert(0, x * 3)
    return s, xs[1], last, xs[-2], xs[0], len(xs)


def a_stack(m, x, n):
    todo = m.TensorList([x[2] * 4], capacity=20) if m is td else [x[2] * 4]
    out = []
    while len(todo) > 0:
        v = todo.pop()
        out.append(v)
        if v > 2.0:
            todo.append(v / 2)
            todo.append(v - 3)
    return m.stack(out)


def made_explicit(m, x, n):
    xs = m.TensorList()
    while n > 0:
        xs.append(x * n)
        n = n - 1
    return m.stack(xs), xs[0]


def slots(m, x, n):
    xs = [x[0], x[1], x[2]]
    for _ in m.range(n):
        xs[0] = xs[0] * xs[1] + 1
        xs[2] += xs[0]
    return m.stack(xs)


def slots_by_tensor(m, x, n):
    xs = []
    for v in x:
        xs.append(v)
    for i in m.range(n - 1):
        xs[i] = xs[i] * xs[0]
    return m.stack(xs)


def extended(m, x, n):
    xs = []
    for i in m.range(n):
        xs.extend([x * i, x + i])
        xs += [x]
    return m.stack(xs)


def bound_anew(m, x, n):
    xs = [x]
    before = xs
    for i in m.range(n):
        xs = xs + [x * i]
    return m.stack(xs), m.stack(before)


def held_elsewhere(m, x, n):
    d = {"rows": [], "more": ([], 1)}
    alias = d["rows"]
    for i in m.range(n):
        d["rows"].append(x * i)
        d["more"][0].append(x)
    return m.stack(alias), m.stack(d["more"][0])


def by_a_callee(m, x, n):
    def add(xs, v):
        xs.append(v)
        xs.append(v * 2)

    xs = []
    for i in m.range(n):
        add(xs, x * i)
    return m.stack(xs)


FUNCTIONS = [
    *(steps_unknown, steps_known, its_last_elements, its_last_pair, rows_of_a_tensor, some, one_or_two),
    *(two_at_once, until_break, skipping, nested),
    *(rows_of_rows, rows_of_any_number, in_a_branch, reads_itself, counts_itself, goes_over_it, a_stack),
    *(made_explicit, slots, slots_by_tensor, extended, bound_anew, held_elsewhere, by_a_callee),
]


def leaves(result):
    return [np.asarray(leaf) for leaf in td.nest.flatten(result)]


def agree(found, wanted):
    found, wanted = leaves(found), leaves(wanted)
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
def test_as_numpy(f):
    wanted = f(NUMPY, X.copy(), 4)
    agree(f(td, td.asarray(X), 4), wanted)
    made = td.function(f)
    agree(made(td, td.asarray(X), td.asarray(4)), wanted)
    agree(made(td, td.asarray(X), td.asarray(4)), wanted)
    assert made.trace_count == 1
    agree(made(td, td.asarray(X), 4), wanted)


# Functions whose results are tensors in any case, so that the graph's outputs are the result.
TENSORS_ONLY = [f for f in FUNCTIONS if f not in (steps_known, some, rows_of_any_number, goes_over_it)]


@pytest.mark.parametrize("f", TENSORS_ONLY, ids=lambda f: f.__name__)
def test_interpreted(f):
    trace = td.function(f).trace(td, td.asarray(X), td.asarray(4))
    outputs = interpret_arrays(trace.graph, [X, np.asarray(4), *(c.array for c in trace.captures)])
    agree(outputs, leaves(f(NUMPY, X.copy(), 4)))


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
def test_derivatives(f):
    made = td.function(f)

    def first(x):
        return td.sum(td.sin(td.nest.flatten(made(td, x, td.asarray(4)))[0]))

    td.testing.check_grads(first, (td.asarray(X),), order=1)
    plain = td.grad(lambda x: td.sum(td.sin(td.nest.flatten(f(td, x, 4))[0])))(td.asarray(X))
    inside = td.function(td.grad(first))(td.asarray(X))
    np.testing.assert_allclose(inside.numpy(), plain.numpy(), rtol=1e-9)


TWICE = [
    steps_unknown,
    its_last_elements,
    its_last_pair,
    some,
    one_or_two,
    two_at_once,
    rows_of_any_number,
    reads_itself,
    slots,
]


@pytest.mark.parametrize("f", TWICE, ids=lambda f: f.__name__)
def test_second_derivatives(f):
    made = td.function(f)
    td.testing.check_grads(
        lambda x: td.sum(td.sin(td.nest.flatten(made(td, x, td.asarray(4)))[0])), (td.asarray(X),), order=2
    )


def test_a_list_comes_back_as_a_list():
    @td.function
    def f(x, n):
        xs = []
        pairs = td.TensorList()
        for i in td.range(n):
            xs.append(x * i)
            pairs.append((x, i))
        return {"xs": xs, "pairs": pairs}

    found = f(td.asarray([1.0, 2.0]), td.asarray(3))
    assert type(found["xs"]) is list
    assert [x.tolist() for x in found["xs"]] == [[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]]
    assert type(found["pairs"]) is td.TensorList
    assert [int(i) for _, i in found["pairs"]] == [0, 1, 2]


def test_a_list_of_an_inner_function_goes_on_growing():
    @td.function
    def inner(x, n):
        xs = []
        for i in td.range(n):
            xs.append(x * i)
        return xs

    @td.function
    def outer(x, n):
        xs = inner(x, n)
        for _ in td.range(2):
            xs.append(x)
        return td.stack(xs)

    assert outer(td.asarray(2.0), td.asarray(3)).tolist() == [0.0, 2.0, 4.0, 2.0, 2.0]


def test_lists_without_staged_growth_are_plain():
    @td.function
    def f(x):
        xs = []
        for k in range(3):
            xs.append(x * k)
        xs.insert(0, x)
        xs.reverse()
        return xs, xs == xs, x in ()

    found, same, inside = f(td.asarray(2.0))
    assert [float(x) for x in found] == [4.0, 2.0, 0.0, 2.0]
    assert (same, inside) == (True, False)


def test_numbers_in_a_list_become_tensors_of_the_default_dtype():
    @td.function
    def f(n):
        xs = []
        for _ in td.range(n):
            xs.append(0.5)
        return td.stack(xs)

    assert f(td.asarray(2)).dtype == td.float32
    assert f(td.asarray(2)).tolist() == [0.5, 0.5]


def test_a_grown_list_is_joined():
    @td.function
    def f(x, n):
        parts = [x]
        for i in td.range(n):
            parts.append(x * i)
        return td.concat(parts)

    assert f(td.asarray([1.0, 2.0]), td.asarray(2)).tolist() == [1.0, 2.0, 0.0, 0.0, 1.0, 2.0]
    td.testing.check_grads(lambda x: td.sin(f(x, td.asarray(2))), (td.asarray([1.0, 2.0]),))


# -- errors ------------------------------------------------------------------------------------------------------------


def uneven(x, n):
    xs = []
    for _ in td.range(n):
        xs.append(x)
        xs.append(td.stack([x, x]))  # the line
    return xs


def uneven_branches(x, n):
    xs = []
    if n > 0:
        xs.append(x)
    else:
        xs.append(td.stack([x, x]))
        xs.append(x)
    return xs


def given(xs, n):
    for i in td.range(n):
        xs.append(i)
    return xs


def compared_by_size(x, n):
    xs = []
    for i in td.range(n):
        xs.append(x * i)
    return xs < [x]


def backwards(x, n):
    xs = []
    for i in td.range(n):
        xs.append(x * i)
    total, seen = 0.0, [x]
    for y in reversed(xs):
        total = total * 2 + y
        seen.append(y)
    return total, td.stack(seen)


@pytest.mark.parametrize("n", [4, td.asarray(4), td.asarray(0)], ids=["known", "unknown", "none"])
def test_a_grown_list_is_read_backwards(n):
    total, seen = td.function(backwards)(td.asarray(1.5), n)
    wanted = [1.5 * i for i in range(int(n))][::-1]
    assert total == sum(y * 2 ** (len(wanted) - 1 - k) for k, y in enumerate(wanted))
    assert seen.tolist() == [1.5, *wanted]


@pytest.mark.parametrize("use", ["xs < [x]", "xs >= xs", "xs * x", "xs.index(x, 1)", "x in xs"])
def test_methods_that_would_see_only_what_a_list_held_before_are_refused(use):
    space = {"td": td}

    def grown(x):
        xs = []
        for i in td.range(4):
            xs.append(x * i)
        return eval(use, space, {"xs": xs, "x": x})

    with pytest.raises(ControlFlowError, match="is not possible on xs"):
        td.function(grown)(td.asarray(1.0))


def test_a_copy_of_a_grown_list_grows_alone():
    @td.function
    def f(x):
        xs = []
        for i in td.range(3):
            xs.append(x * i)
        ys = xs.copy()
        ys.append(x)
        return td.stack(xs), td.stack(ys)

    xs, ys = f(td.asarray(1.0))
    assert xs.tolist() == [0.0, 1.0, 2.0] and ys.tolist() == [0.0, 1.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("f", "first", "words"),
    [
        (uneven, 1.0, [r"elements of xs must have one shape: \(\) first, \(2,\)", "# the line"]),
        (uneven_branches, 1.0, ["xs", r"\(2,\)"]),
        (given, [1, 2], ["the list .*grows in a loop", r"\[\*"]),
        (compared_by_size, 1.0, ["__lt__ is not possible on xs"]),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_errors_name_the_list_and_the_fix(f, first, words):
    value = first if isinstance(first, list) else td.asarray(first)
    with pytest.raises(ControlFlowError) as caught:
        td.function(f)(value, td.asarray(3))
    for word in words:
        assert caught.match(word)


def test_room_that_runs_out_is_told_when_it_runs():
    @td.function
    def f(x):
        xs = td.TensorList([x], capacity=3)
        while x < 100.0:
            x = x + xs[-1]
            xs.append(x)
        return xs.stack()

    with pytest.raises(td.errors.IndexOutOfRange):
        f(td.asarray(1.0))
    assert f(td.asarray(60.0)).tolist() == [60.0, 120.0]


def _sorted_while_it_grows(x):
    out, a = [x], x
    while a < 5.0:
        a = sorted(out)[-1] + 1
        out.append(a)
    return out[-1], td.stack(out)


def _copied_while_it_grows(x):
    out, a = [x], x
    while a < 5.0:
        c = out.copy()
        c.append(a + 1)
        c.reverse()
        a = c[0] + 0.5
        out.append(a)
    return a, td.stack(out)


@pytest.mark.parametrize("f", [_sorted_while_it_grows, _copied_while_it_grows])
def test_copies_of_a_list_that_the_loop_grows(f):
    x = td.asarray(0.3, dtype=td.float64)
    for got, expected in zip(td.function(f)(x), f(x), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)
