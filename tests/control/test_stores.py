"""Stores on attributes, dictionaries and lists in staged blocks, None until set, effects in order: Python's meaning."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest

import treadle as td

ControlFlowError = td.errors.ControlFlowError
X = np.array([0.7, -0.4, 1.3])


class Totals:
    """An object with methods that store."""

    def __init__(self):
        self.total = 0.0
        self.steps = 0
        self._last = None

    def add(self, v):
        self.total = self.total + v
        self.steps += 1

    @property
    def last(self):
        return self._last

    @last.setter
    def last(self, v):
        self._last = v


class Pair(NamedTuple):
    a: object
    b: object


@dataclasses.dataclass
class Record:
    value: object
    count: int = 0


def attributes(x, n):
    t = Totals()
    for i in td.range(n):
        t.add(x[0] * i)
        if i > 1:
            t.add(x[1])
    return t.total, t.steps


def a_property(x, n):
    t = Totals()
    t.last = x
    for i in td.range(n):
        t.last = t.last * x + i
    return t.last


def dictionary(x, n):
    d = {"k": x, "n": 1}
    for i in td.range(n):
        d["k"] = d["k"] * x
        d["n"] += 2
        d["new"] = x * i
    return d


def in_both_branches(x, n):
    d = {}
    if n > 2:
        d["k"], d["m"] = x, x * 2
    else:
        d["k"], d["m"] = x * 3, x
    d["k"] -= 0.5
    return d


def in_one_branch(x, n):
    d = {"k": x}
    if n > 2:
        d["k"] = d["k"] * x
    return d["k"]


def own_objects(x, n):
    s = x
    for i in td.range(n):
        d = {"v": s}
        d["v"] = d["v"] * 0.5
        r = Record(x)
        r.value = r.value + i
        s = d["v"] + r.value
    return s


def own_objects_of_a_branch(x, n):
    if n > 2:
        d = {"v": x}
        d["w"] = x * 2
    else:
        d = {"v": x * 3}
        d["w"] = x
    return d


def nested_objects(x, n):
    inner = Record(x)
    outer = {"r": inner, "p": [1.0, 2.0]}
    while n > 0:
        outer["r"].value = outer["r"].value * x
        outer["r"].count += 1
        outer["p"][1] = outer["p"][1] + n
        n = n - 1
    return inner.value, inner.count, outer["p"]


def nests(x, n):
    state = {"p": Pair(x, 0), "l": [x, (x, 0.0)], "r": Record(x)}
    for i in td.range(n):
        r = state["r"]
        state = {
            "p": Pair(state["p"].a * 2, state["p"].b + 1),
            "l": [state["l"][0] + 1, (x, state["l"][1][1] + x[0])],
            "r": Record(r.value + i, r.count + 1),
        }
    return state["p"].a, state["p"].b, state["l"], state["r"].value, state["r"].count


def best(x, n):
    found = None
    for v in x:
        if found is None or v > found:
            found = v * v
    return found


def best_with_place(x, n):
    found = place = None
    for k in td.range(3):
        if found is None:
            found, place = x[k], k
        elif x[k] > found:
            found, place = x[k], k
    return found, place


def in_a_callee(x, n):
    def better(held, v):
        return v if held is None or v < held else held

    found = None
    for v in x:
        found = better(found, v)
    return found


def made_and_read_in_a_branch(x, n):
    y = x
    if n > 1:
        a = x * 2
        b = a + 1
        y = a * b
    return y


FUNCTIONS = [
    *(attributes, a_property, dictionary, in_both_branches, in_one_branch, own_objects, own_objects_of_a_branch),
    *(nested_objects, nests, best, best_with_place, in_a_callee, made_and_read_in_a_branch),
]


def leaves(result):
    return [np.asarray(leaf) for leaf in td.nest.flatten(result)]


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("n", [1, 4])
def test_as_python(f, n):
    wanted = f(td.asarray(X), n)
    made = td.function(f)
    found = made(td.asarray(X), td.asarray(n))
    for a, b in zip(leaves(found), leaves(wanted), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
def test_derivatives(f):
    made = td.function(f)
    order = 2 if f in (attributes, dictionary, best, nested_objects) else 1

    def first(x):
        return [y for y in td.nest.flatten(made(x, td.asarray(4))) if y.dtype == td.float64]

    td.testing.check_grads(first, (td.asarray(X),), order=order)


def test_none_comes_back_as_none():
    @td.function
    def f(x, n):
        found = None
        for i in td.range(n):
            if i > 2:
                found = x * i
        if found is None:
            x = x + 100.0
        return found, x

    assert f(td.asarray(2.0), td.asarray(2))[0] is None
    assert f(td.asarray(2.0), td.asarray(2))[1].item() == 102.0
    assert [v.item() for v in f(td.asarray(2.0), td.asarray(5))] == [8.0, 2.0]
    assert f.trace_count == 1


def test_none_of_an_inner_function():
    @td.function
    def inner(x):
        if x > 0:
            return x

    @td.function
    def outer(x):
        found = inner(x)
        if found is not None:
            return found * 2
        return x - 1

    assert outer(td.asarray(3.0)).item() == 6.0
    assert outer(td.asarray(-3.0)).item() == -4.0


def test_an_attribute_of_self_made_in_the_function():
    class Model:
        def run(self, x, n):
            held = Totals()
            while n > 0:
                held.add(x)
                n = n - 1
            return held.total

    assert td.function(Model().run)(td.asarray(2.0), td.asarray(3)).item() == 6.0


def test_numbers_keep_pythons_precision_until_they_meet_a_tensor():
    @td.function
    def f(x, y, n):
        s = 0.0
        for _ in td.range(n):
            s = s + 0.1
        return s * x, s * y, s

    x, y, s = f(td.asarray(np.float64(1.0)), td.asarray(1.0), td.asarray(3))
    assert x.item() == 0.1 + 0.1 + 0.1
    assert (x.dtype, y.dtype, s.dtype) == (td.float64, td.float32, td.float32)


def test_effects_stay_in_order(capsys):
    v = td.Variable(1.0)

    @td.function
    def f(x, n):
        held = {"t": x}
        for i in td.range(n):
            td.print("a", v)
            v.assign_add(1.0)
            if i > 0:
                td.print("b", held["t"])
                held["t"] = held["t"] + v
            else:
                v.assign(10.0)
            td.print("c", v)
        return held["t"]

    assert f(td.asarray(0.5), td.asarray(2)).item() == 11.5
    assert capsys.readouterr().out.split() == ["a", "1.0", "c", "10.0", "a", "10.0", "b", "0.5", "c", "11.0"]


def test_random_numbers_in_branches_are_drawn_in_order():
    def draws(n):
        out = []
        for i in range(n):
            if i != 1:
                out.append(td.random.uniform((2,)))
        return td.stack(out)

    @td.function
    def f(n):
        out = []
        for i in td.range(n):
            if i != 1:
                out.append(td.random.uniform((2,)))
        return td.stack(out)

    td.random.seed(3)
    wanted = draws(4)
    td.random.seed(3)
    np.testing.assert_array_equal(f(td.asarray(4)).numpy(), wanted.numpy())


def test_a_failed_call_changes_nothing():
    v = td.Variable(1.0)

    @td.function
    def f(x, n):
        xs = td.TensorList([x], capacity=3)
        while n > 0:
            v.assign_add(1.0)
            xs.append(xs[-1] + v)
            n = n - 1
        return xs.stack()

    with pytest.raises(td.errors.IndexOutOfRange):
        f(td.asarray(1.0), td.asarray(5))
    assert v.numpy() == 1.0
    assert f(td.asarray(1.0), td.asarray(2)).tolist() == [1.0, 3.0, 6.0]


def test_a_failed_trace_takes_stores_back():
    held = {"k": 1}

    @td.function
    def f(x):
        if x > 0:
            held["k"] = 2
            raise_here()
        return x

    def raise_here():
        return undefined_name  # noqa: F821

    with pytest.raises(NameError):
        f(td.asarray(1.0))
    assert held == {"k": 1}


# -- errors ------------------------------------------------------------------------------------------------------------


def other_shape(x, n):
    d = {"k": x}
    for _ in td.range(n):
        d["k"] = td.concat([d["k"], x])
    return d


def other_kind(x, n):
    d = {"k": x}
    if n > 0:
        d["k"] = "text"
    return d


def one_branch_only(x, n):
    if n > 0:
        y = x
    else:
        z = x  # noqa: F841
    return y


@pytest.mark.parametrize(
    ("f", "kind", "words"),
    [
        (other_shape, ControlFlowError, [r"d\['k'\]", r"shape \(3,\)", r"shape \(6,\)", "append the parts"]),
        (other_kind, ControlFlowError, [r"d\['k'\]", "'text'"]),
        (one_branch_only, td.errors.UndefinedVariable, ["'y'", "when true", "when false", "test_stores.py"]),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_errors_name_the_store(f, kind, words):
    with pytest.raises(kind) as caught:
        td.function(f)(td.asarray(X), td.asarray(3))
    for word in words:
        assert caught.match(word)


@dataclasses.dataclass
class Couple:
    p: object
    q: object


def _rebound_record(x):
    r, t = Couple(x, x * 3), Couple(x * 4, x * 5)
    if x > 0:
        r.q = x * 50
        r, t = t, r
    else:
        t.p = x * 7
    return r.p, r.q, t.p, t.q


def _rebound_dictionary(x):
    d = {"a": x, "b": x * 2}
    e = d
    if x > 0:
        d["a"] = x * 3
        d = {"a": d["b"], "b": d["a"]}
    else:
        d["b"] = x * 7
    return d["a"], d["b"], e["a"], e["b"]


def _rebound_list(x):
    xs = [x, x * 2]
    if x > 0:
        xs[0] = x * 5
    else:
        xs = [x * 9, x]
    return xs[0], xs[1]


def _rebound_inside(x):
    r = Couple(Couple(x, x * 2), x * 3)
    s = (r, 1)
    if x > 0:
        r.p.q = x * 50
        s = (r, 2)
    else:
        r = Couple(Couple(x, x), x)
    return r.p.p, r.p.q, r.q, s[0].p.q, s[1]


def _rebound_in_a_loop(x):
    r = Couple(x, x * 0)
    for _ in td.range(3):
        r.p = r.p + 1
        if r.p > 1.0:
            r = Couple(r.p * 2, r.q + 1)
        else:
            r.q = r.q - 1
    return r.p, r.q


@pytest.mark.parametrize(
    "f", [_rebound_record, _rebound_dictionary, _rebound_list, _rebound_inside, _rebound_in_a_loop]
)
@pytest.mark.parametrize("x", [0.6, -0.7])
def test_a_branch_stores_where_the_other_binds_the_name_anew(f, x):
    got = td.function(f)(td.asarray(x, dtype=td.float64))
    np.testing.assert_allclose([float(v) for v in got], [float(v) for v in f(np.float64(x))], rtol=1e-12)
