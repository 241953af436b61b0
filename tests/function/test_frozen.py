"""What tracing freezes or loses: leaks into any place, arguments changed in place, prints, clocks, unrolled loops."""

from __future__ import annotations

import builtins
import datetime
import random
import sys
import time
import types
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

import treadle as td

X = td.asarray(2.0)
STORE = {"a": {"b": [[]]}}
module = types.ModuleType("a_module_of_the_test")
COUNT = 0


def line_of(text):
    """The number of the line of this file that ends with a marker."""
    (found,) = [k for k, line in enumerate(Path(__file__).read_text().splitlines(), 1) if line.endswith(f"# {text}")]
    return found


@pytest.fixture(autouse=True)
def restore():
    global COUNT
    yield
    STORE["a"]["b"][0].clear()
    COUNT = 0


class Keeper:
    kept = None
    count = 0

    def __init__(self):
        self.items = []


# Leaks ---------------------------------------------------------------------------------------------------------------
def leaked(function, where, marker):
    """The function raises LeakedTensor, which names the line that made the tensor and the place that holds it."""
    with pytest.raises(td.errors.LeakedTensor) as caught:
        td.function(function)(X)
    text = str(caught.value)
    assert f"into {where};" in text
    assert caught.value.location.line == line_of(marker)
    assert f"line {line_of(marker)}" in text
    assert "td.Variable" in text


def test_deep_inside_a_global():
    def f(v):
        STORE["a"]["b"][0].append(v * 3)  # deep
        return v

    leaked(f, 'global STORE["a"]["b"][0][0]', "deep")


def test_in_an_object_s_list():
    keeper = Keeper()

    def f(v):
        keeper.items.append(v + 1)  # object
        return v

    leaked(f, "closure keeper.items[0]", "object")


def test_on_a_class_and_on_a_module():
    def on_class(v):
        Keeper.kept = v + 1  # class
        return v

    def on_module(v):
        module.kept = {"x": v + 1}  # module
        return v

    try:
        leaked(on_class, "global Keeper.kept", "class")
        leaked(on_module, 'global module.kept["x"]', "module")
    finally:
        Keeper.kept = None
        del module.kept


def test_by_a_callee_and_by_a_closure():
    log, last = [], None

    def helper(v):
        log.append([v * 2])  # callee
        return v

    leaked(lambda v: helper(v), "closure log[0][0]", "callee")

    def f(v):
        nonlocal last
        last = v - 1  # closure
        return v

    leaked(f, "closure last", "closure")


def test_what_nobody_saw_is_told_when_it_is_used():
    def hide(v):
        vars(builtins)["_treadle_hidden"] = v  # no store that the code shows
        return v

    @td.function
    def f(v):
        hide(v * 2)  # hidden
        return v

    f(X)
    try:
        with pytest.raises(td.errors.LeakedTensor, match="(?s)made at.*hide\\(v \\* 2\\).*_treadle_hidden \\+ 1"):
            _ = builtins._treadle_hidden + 1
    finally:
        del builtins._treadle_hidden


# Arguments -----------------------------------------------------------------------------------------------------------
@dataclass
class Batch:
    x: object
    seen: list = field(default_factory=list)


def _adds_an_item(d):
    d["y"] = d["x"] * 2  # dict item


def _replaces_an_item(d):
    d["x"] = d["x"] * 2  # dict other


def _removes_an_item(d):
    d.pop("x")  # dict pop


def _appends(items):
    items.append(3)  # list append


def _sets_a_field(batch):
    batch.x = batch.x + 1  # field


def _inside(batch):
    batch.seen.append("x")  # inside


@pytest.mark.parametrize(
    ("function", "argument", "what", "marker"),
    [
        (_adds_an_item, {"x": X}, 'd["y"] is new', "dict item"),
        (_replaces_an_item, {"x": X}, 'd["x"] is another value', "dict other"),
        (_removes_an_item, {"x": X}, 'd["x"] is gone', "dict pop"),
        (_appends, [1], "items[1] is new", "list append"),
        (_sets_a_field, Batch(X), "batch.x is another value", "field"),
        (_inside, Batch(X), "batch.seen[0] is new", "inside"),
    ],
)
def test_arguments_changed_in_place(function, argument, what, marker):
    with pytest.raises(td.errors.TraceError, match="(?s)changes its argument .* in place.*Work on a copy") as caught:
        td.function(function)(argument)
    assert what in str(caught.value)
    assert caught.value.location.line == line_of(marker)


def test_a_copy_may_be_changed():
    @td.function
    def f(d):
        d = dict(d)
        d["y"] = d["x"] * 2
        items = [*d.values()]
        items.append(1.0)
        return d, items

    d = {"x": X}
    assert f(d)[0]["y"].item() == 4.0
    assert list(d) == ["x"]


# Frozen values, writes, prints ---------------------------------------------------------------------------------------
def warned(function, *arguments):
    """The lines and texts of the warnings of two calls and of a second trace."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            function(*arguments)
        function(td.asarray([1.0]))
    assert all(w.filename == __file__ for w in caught)
    return [(w.lineno, str(w.message)) for w in caught if w.category is td.errors.TracingWarning]


@pytest.mark.parametrize(
    ("read", "fix"),
    [
        (lambda: random.random(), "td.random"),
        (lambda: np.random.randn(), "td.random"),
        (lambda: np.random.default_rng(0).normal(), "td.random"),
        (lambda: time.time(), "read the clock outside"),
        (lambda: time.perf_counter(), "read the clock outside"),
        (lambda: datetime.datetime.now().second, "read the clock outside"),
    ],
)
def test_frozen_reads_warn_once(read, fix):
    found = warned(td.function(lambda v: v * float(read() is not None)), X)
    assert len(found) == 1
    assert "frozen into the trace" in found[0][1]
    assert fix in found[0][1]


def test_writes_to_outer_values_warn_once_each():
    log, table, keeper = [], {"n": 0}, Keeper()

    @td.function
    def f(v):
        global COUNT
        COUNT += 1  # write global
        log.append(1)  # write list
        table["n"] += 1  # write dict
        keeper.count += 1  # write attribute
        Keeper.count += 1  # write class
        return v

    try:
        found = dict(warned(f, X))
    finally:
        Keeper.count = 0
    wanted = {"write global": "COUNT", "write list": "log", "write dict": "table", "write attribute": "keeper.count"}
    wanted["write class"] = "Keeper.count"
    assert sorted(found) == sorted(line_of(marker) for marker in wanted)
    for marker, name in wanted.items():
        assert f"{name} was changed during tracing" in found[line_of(marker)]
        assert "td.Variable" in found[line_of(marker)]


def test_print_of_a_traced_tensor_warns_once(capsys):
    @td.function
    def f(v):
        print("no tensor", v.shape)
        print("the value", v)  # printed
        text = f"{v.dtype} {str(v)[:7]}"
        return v if text else v

    found = warned(f, X)
    assert [line for line, _ in found] == [line_of("printed")]
    assert "td.print" in found[0][1]
    assert capsys.readouterr().out.count("<traced tensor v") == 2


# Loops that unroll ---------------------------------------------------------------------------------------------------
def test_a_python_loop_of_many_nodes_warns_once():
    @td.function
    def f(v):
        for i in range(200):  # unrolled
            v = v * 0.5 + i
        return v

    found = warned(f, X)
    assert [line for line, _ in found] == [line_of("unrolled")]
    assert "its 200 rounds put" in found[0][1]
    assert "td.range" in found[0][1]


def test_a_python_while_loop_warns_too():
    @td.function
    def f(v):
        k = 0
        while k < 160:  # while
            v = v * 0.5 + k
            k += 1
        return v

    assert [line for line, _ in warned(f, X)] == [line_of("while")]


def test_loops_that_are_small_or_over_objects_or_staged_do_not_warn(monkeypatch):
    layers = [Keeper() for _ in range(60)]

    @td.function
    def f(v):
        for i in range(40):
            v = v * 0.5 + i
        for layer in layers:
            for _ in range(2):
                v = td.tanh(v) * 2 + layer.count
        for i in td.range(1000):
            v = v * 0.5 + i
        return v

    assert warned(f, X) == []
    monkeypatch.setattr(td.config, "unroll_warning", 0)

    @td.function
    def g(v):
        for i in range(200):
            v = v * 0.5 + i
        return v

    assert warned(g, X) == []


# Attributes of what code reaches by other ways -----------------------------------------------------------------------
class Part:
    rate = 1.0


class Whole:
    def __init__(self):
        self.inner = Part()
        self.parts = [Part(), Part()]
        self.table = {"k": Part()}

    @td.function
    def __call__(self, v):
        inner = self.inner
        v = v * inner.rate
        for part in self.parts:
            v = v * part.rate
        return v * self.table["k"].rate


def test_attributes_of_items_and_aliases_are_guarded():
    whole = Whole()
    one = td.asarray(1.0)
    assert whole(one).item() == 1.0
    whole.inner.rate = 2.0
    assert whole(one).item() == 2.0
    whole.parts[1].rate = 3.0
    assert whole(one).item() == 6.0
    whole.table["k"].rate = 5.0
    assert whole(one).item() == whole(one).item() == 30.0
    traces = whole.__call__.traces
    assert [t.reason.splitlines()[0] for t in traces[1:]] == [
        "self.inner.rate: 1.0 -> 2.0",
        "self.parts[1].rate: 1.0 -> 3.0",
        'self.table["k"].rate: 1.0 -> 5.0',
    ]


def test_guards_hold_no_object_alive():
    part = Part()
    count = sys.getrefcount(part)
    parts = [part]
    f = td.function(lambda v: sum(v * p.rate for p in parts))
    assert f(X).item() == 2.0
    assert f.trace_count == 1
    parts.clear()
    assert sys.getrefcount(part) == count


ARRAY, MATRIX, RNG = np.zeros(4), np.zeros((2, 2)), np.random.default_rng(0)


class Holder:
    def __init__(self):
        self.rate, self.table, self.kept = 0.5, np.zeros(3), None


HOLDER = Holder()


def stores_an_item(x):
    ARRAY[0] = 1.0
    return x


def stores_through_a_view(x):
    part = ARRAY[1:].reshape(3, 1)
    part[0] = 1.0
    return x


def stores_flat(x):
    ARRAY.flat[0] = 1.0
    return x


def shuffles(x):
    RNG.shuffle(ARRAY)
    return x


def puts(x):
    ARRAY.put([0], [1.0])
    return x


def copies_into(x):
    np.copyto(MATRIX, np.ones(2))
    return x


def adds_into(x):
    np.add(ARRAY, 1, out=ARRAY)
    return x


def stores_in_an_objects_array(x):
    HOLDER.table[1] = 2.0
    return x


def stores_an_attribute(x):
    HOLDER.rate = HOLDER.kept = 0.25
    return x


@pytest.mark.parametrize(
    ("f", "label"),
    [
        (stores_an_item, "global ARRAY"),
        (stores_through_a_view, "global ARRAY"),
        (stores_flat, "global ARRAY"),
        (shuffles, "global ARRAY"),
        (puts, "global ARRAY"),
        (copies_into, "global MATRIX"),
        (adds_into, "global ARRAY"),
        (stores_in_an_objects_array, "global HOLDER.table"),
        (stores_an_attribute, "global HOLDER.rate"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_writes_to_outer_arrays_and_attributes_name_their_line(f, label):
    line = f.__code__.co_firstlineno + (2 if f is stores_through_a_view else 1)
    traced = td.function(f)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        traced(td.asarray(1.0))
        traced(td.asarray([1.0]))  # told once
    found = [w for w in caught if "was changed during tracing" in str(w.message)]
    (one,) = found
    assert str(one.message).startswith(f"{label} was changed") and (one.filename, one.lineno) == (__file__, line)


def test_writes_to_own_arrays_are_nobodys_business():
    @td.function
    def f(x):
        own = np.zeros(3)
        own[0] = 1.0
        own.sort()
        return x + own[2]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert f(td.asarray(1.0)) == 2.0


def test_shuffling_an_array_in_a_branch_is_refused():
    @td.function
    def f(x):
        if x > 0:
            RNG.shuffle(ARRAY)
        return x

    with pytest.raises(td.errors.ControlFlowError, match=r"shuffle\(\) changes a NumPy array in a branch"):
        f(td.asarray(1.0))
