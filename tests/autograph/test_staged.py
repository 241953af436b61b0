"""On traced tensors: the corpus as graphs, run by the interpreter, gives what Python gives on numbers."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import treadle as td
from treadle import nest
from treadle.autograph import convert_function
from treadle.control.call import interpret_arrays
from treadle.control.staging import Range
from treadle.core.dtypes import float64, int64
from treadle.core.spec import Spec
from treadle.core.tensor import Tensor
from treadle.core.tracer import trace
from treadle.core.variable import Variable
from treadle.errors import AssertionFailed, ControlFlowError, UndefinedVariable
from treadle.ops.convert import as_tensor

CORPUS = sys.modules["treadle_tests_corpus"]


def graph_of(function, *specs):
    """The graph of the converted function and a way to rebuild its result from the graph's outputs."""
    twin = convert_function(function).function
    shape = []

    def flat(*symbols):
        leaves, structure = nest.flatten_with_structure(twin(*symbols))
        shape.append(structure)
        return [as_tensor(x) for x in leaves]

    traced = trace(flat, specs or [Spec((), int64)] * twin.__code__.co_argcount, function.__name__)
    return traced, shape[0]


def run(function, *arguments, specs=()):
    tensors = [Tensor(np.asarray(a)) for a in arguments]
    traced, shape = graph_of(function, *(specs or [t.spec for t in tensors]))
    given = [*tensors, *traced.captures, *(v.value for v in traced.reads)]
    outputs = interpret_arrays(traced.graph, [t.array for t in given])
    return nest.unflatten(shape, [x.tolist() for x in outputs[: shape.count]])


def kinds(graph):
    """The names of the control flow nodes in a graph, outermost only."""
    return [node.op for node in graph.nodes if node.op in ("cond", "while")]


@pytest.mark.parametrize(("function", "arguments"), CORPUS.STAGEABLE, ids=[f.__name__ for f, _ in CORPUS.STAGEABLE])
def test_corpus(function, arguments):
    count = len(arguments[0])
    twin_graph, shape = graph_of(function, *[Spec((), int64)] * count)
    for values in arguments:
        inputs = [np.asarray(v, np.int64) for v in values]
        outputs = interpret_arrays(twin_graph.graph, [*inputs, *(t.array for t in twin_graph.captures)])
        got = nest.unflatten(shape, [x.item() for x in outputs[: shape.count]])
        assert got == function(*values)


def newton(x, tolerance):
    guess = x
    while abs(guess * guess - x) > tolerance:
        guess = (guess + x / guess) / 2.0
    return guess


def test_while_is_one_node():
    traced, _ = graph_of(newton, Spec((), float64), Spec((), float64))
    assert kinds(traced.graph) == ["while"]
    assert run(newton, 2.0, 1e-12) == pytest.approx(2**0.5)


def test_for_over_range_is_one_node():
    def f(x):
        for i in Range(3):
            x = x * 2 + i
        return x

    traced, _ = graph_of(f, Spec((), int64))
    assert kinds(traced.graph) == ["while"]
    assert run(f, 1) == 12


def test_range_of_a_traced_number():
    def f(n):
        s = 0
        for i in range(1, n):
            s += i
        for i in range(2):
            s += 100
        return s

    assert [run(f, n) for n in (1, 2, 5)] == [200, 201, 210]


def test_for_over_the_first_axis():
    def f(x):
        total = 0.0
        for row in x:
            if row[0] > 2.0:
                break
            total = total + row[1]
        return total

    assert run(f, [[1.0, 5.0], [2.0, 6.0], [3.0, 7.0]]) == 11.0


def test_python_loop_with_traced_break():
    def f(x):
        log = 0
        for step in [1, 2, 3]:
            if x > 10:
                break
            x = x + step
            log = log + 1
        else:
            log = log + 100
        return x, log

    assert [run(f, v) for v in (0, 9, 11)] == [(6, 103), (10 + 2, 2), (11, 0)]


def test_while_becomes_traced_after_an_iteration():
    def f(x):
        n = 0
        go = True
        while go:
            n = n + 1
            go = n < x
        return n

    assert [run(f, v) for v in (-1, 1, 4)] == [1, 1, 4]


def test_short_circuit_is_kept_at_run_time():
    def f(x, y):
        if y != 0 and x // y > 1:
            return 1
        return 0

    assert [run(f, *v) for v in [(4, 2), (4, 0), (1, 2)]] == [1, 0, 0]
    traced, _ = graph_of(f, Spec((), int64), Spec((), int64))
    assert kinds(traced.graph) == ["cond", "cond"]


def test_python_values_leave_no_trace():
    def f(x, flag=True, mode="a"):
        if flag and mode == "a" and not mode > "b":
            x = x + 1
        return x if 1 < len(mode) + 1 < 3 else -x

    traced = trace(lambda x: [convert_function(f).function(x)], [Spec((), int64)], "f")
    assert [node.op for node in traced.graph.nodes if node.op != "constant"] == ["add"]


def test_assert_is_checked_at_run_time():
    def f(x):
        assert x > 0, "must be positive"
        return x

    assert run(f, 3) == 3
    with pytest.raises(AssertionFailed, match="must be positive") as caught:
        run(f, -3)
    assert f"line {f.__code__.co_firstlineno + 1}" in str(caught.value)


def test_variables_in_branches_and_loops():
    v = Variable(np.asarray(1, np.int64))

    def f(x):
        if x > 0:
            v.assign(v + 1)
        while v < x:
            v.assign(v * 2)
        return v + 0

    traced, _ = graph_of(f, Spec((), int64))
    for x, wanted in [(-1, 1), (1, 2), (9, 16)]:
        v.assign(np.asarray(1, np.int64))
        outputs = interpret_arrays(traced.graph, [np.asarray(x), *(w.value.array for w in traced.reads)])
        assert outputs[0].item() == wanted
        assert outputs[1].item() == wanted


def test_variable_as_condition():
    v = Variable(np.asarray(True))

    def f(x):
        if v:
            return x
        return -x

    traced, _ = graph_of(f, Spec((), int64))
    assert kinds(traced.graph) == ["cond"]


def test_callees_are_converted():
    def f(x):
        return CORPUS.collatz(x) + sum(map(int, [1, 2]))

    assert run(f, 7) == CORPUS.collatz(7) + 3


def test_captured_names_in_branches():
    def f(x):
        k = 1

        def scaled():
            return x * k

        if x > 2:
            k = 3
            first = scaled()
        else:
            first = 0
        return first, scaled()

    assert [run(f, v) for v in (1, 4)] == [f(1), f(4)]


def all_nodes(graph):
    for node in graph.nodes:
        yield node
        for held in node.attrs.values():
            if isinstance(held, type(graph)):
                yield from all_nodes(held)


def test_nodes_know_the_users_lines():
    def f(x):
        while x < 5:
            x = x + 1
            if x > 3:
                x = x * 2
        return x

    first = f.__code__.co_firstlineno
    traced, _ = graph_of(f, Spec((), int64))
    lines = {}
    for node in all_nodes(traced.graph):
        assert node.location.file == __file__
        assert node.location.function == "f"
        lines.setdefault(node.op, node.location.line - first)
    assert lines["less"] == lines["while"] == 1
    assert (lines["add"], lines["cond"], lines["multiply"]) == (2, 3, 4)


# Errors ------------------------------------------------------------------------------------------------------
def line_in(error, function, offset):
    return f"line {function.__code__.co_firstlineno + offset}" in str(error.value)


def test_branches_disagree():
    def f(x):
        if x > 0:
            y = x
        else:
            y = x * 1.5
        return y

    with pytest.raises(ControlFlowError, match="'y'") as caught:
        graph_of(f, Spec((), int64))
    assert line_in(caught, f, 1)


def test_loop_variable_changes_shape():
    def f(x):
        y = x
        while y.sum() < 10:
            y = y[None]
        return y

    with pytest.raises(ControlFlowError, match="'y'") as caught:
        graph_of(f, Spec((3,), int64))
    assert line_in(caught, f, 2)


def test_name_set_in_one_branch_is_an_error_when_used():
    def unused(x):
        if x > 0:
            y = x
            x = y + 1
        return x

    def used(x):
        if x > 0:
            y = x
        x = x + 1
        return y

    assert run(unused, 3) == 4
    with pytest.raises(UndefinedVariable, match="'y'.*only when true .*not when false") as caught:
        graph_of(used, Spec((), int64))
    assert line_in(caught, used, 4)


def test_none_against_a_tensor():
    def f(x):
        if x > 0:
            return x

    made = td.function(f)
    assert made(td.asarray(2)).item() == 2
    assert made(td.asarray(-2)) is None
    assert made.trace_count == 1
