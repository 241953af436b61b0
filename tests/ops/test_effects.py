"""print, assert and py_function: at once when eager, at each run of a graph, in program order."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle.autodiff.functional import grad
from treadle.core.interpret import interpret
from treadle.core.tracer import trace
from treadle.errors import AssertionFailed, DTypeError, ShapeError, TraceError
from treadle.ops.effects import assert_


def run(f, *tensors):
    """Trace f and run the graph; a function gives the results, so that a test can run it again."""
    made = trace(lambda *xs: f(*xs) or [], [x.spec for x in tensors], "f")
    made.graph.verify()

    def again():
        return interpret(made.graph, [*tensors, *made.captures, *(v.value for v in made.reads)])

    return made.graph, again


def test_print_shows_values_as_str_does(capsys):
    td.print("x", td.asarray([1.0, 2.5]), 3, td.asarray(2.0), td.asarray("hello world"), td.asarray(["a", "b"]))
    assert capsys.readouterr().out == "x [1.  2.5] 3 2.0 hello world [a b]\n"
    td.print(1, td.asarray(2), sep="|", end="!")
    assert capsys.readouterr().out == "1|2!"
    td.print([td.asarray(1), "a"], (td.asarray(2),), {"k": td.asarray(True)}, {}, td.Variable(7))
    assert capsys.readouterr().out == "[1, 'a'] (2,) {'k': True} {} 7\n"
    td.print()
    assert capsys.readouterr().out == "\n"


def test_print_runs_when_the_graph_runs(capsys):
    v = td.Variable(1.0)

    def f(x):
        td.print("before", v)
        v.assign(x * 2)
        td.print("after", v, x.shape)
        return [x]

    graph, again = run(f, td.asarray(5.0))
    assert capsys.readouterr().out == ""
    assert [node.op for node in graph.nodes if node.definition.effect] == ["print", "print"]
    again()
    again()
    assert capsys.readouterr().out == "before 1.0\nafter 10.0 ()\n" * 2


def test_assert():
    assert_(td.asarray(True))
    assert_(td.asarray(3.0), "not shown")
    assert_(td.asarray([True]))
    with pytest.raises(AssertionFailed, match="x is 2.0") as caught:
        assert_(td.asarray(2.0) > 3, lambda: f"x is {2.0}")
    assert caught.value.location.file == __file__
    assert "assert_(td.asarray(2.0) > 3" in str(caught.value)
    assert isinstance(caught.value, AssertionError)
    with pytest.raises(ShapeError, match="td.all or td.any"):
        assert_(td.asarray([True, True]))


def test_assert_in_a_graph_names_the_line_that_was_traced():
    def f(x):
        assert_(x > 0, ["x must be positive, got", x])  # the line
        return [x]

    _, again = run(f, td.asarray(1.0))
    again()
    _, again = run(f, td.asarray(-1.0))
    with pytest.raises(AssertionFailed, match=r"x must be positive, got', -1.0") as caught:
        again()
    assert caught.value.location.source.endswith("# the line")


def test_py_function_gets_values_and_gives_a_nest():
    seen = []

    def f(x, options):
        seen.append((x.numpy().copy(), options["scale"]))
        return {"double": x.numpy() * 2, "count": 3}

    out = {"double": td.TensorSpec((2,), td.float32), "count": td.TensorSpec((), td.int64)}
    g = lambda x: td.py_function(f, x, {"scale": 4, "other": [x]}, out=out)
    eager = g(td.asarray([1.0, 2.0]))
    assert eager["double"].tolist() == [2.0, 4.0]
    assert eager["count"].dtype == td.int64
    _, again = run(lambda x: list(g(x).values()), td.asarray([1.0, 2.0]))
    assert len(seen) == 1
    assert again()[0].tolist() in ([2.0, 4.0], 3)
    again()
    assert [scale for _, scale in seen] == [4, 4, 4]
    assert td.py_function(lambda: 5) is None


def test_py_function_sees_variables_at_their_value_there():
    v, seen = td.Variable(1.0), []

    def f(x):
        td.py_function(lambda: seen.append(v.value.item()))
        v.assign(x)
        td.py_function(lambda: seen.append((v * 2).item()))
        return [x]

    _, again = run(f, td.asarray(5.0))
    again()
    assert seen == [1.0, 10.0]
    assert v.value.item() == 1.0  # a graph's writes are outputs; who runs it commits them


def test_py_function_may_not_assign():
    v = td.Variable(1.0)

    def careless():
        v.assign(2.0)

    with pytest.raises(TraceError, match="careless assigns the variable 'variable'"):
        td.py_function(careless)
    _, again = run(lambda x: [td.py_function(careless), x][1:], td.asarray(1.0))
    with pytest.raises(TraceError, match="assigns the variable"):
        again()
    assert v.value.item() == 1.0


def test_an_exception_arrives_as_the_same_object_with_the_line():
    error = KeyError("mine")

    def fails(x):
        raise error

    def f(x):
        td.py_function(fails, x)  # called here
        return [x]

    for call in (lambda: f(td.asarray(1.0)), run(f, td.asarray(1.0))[1]):
        error.__notes__ = []
        with pytest.raises(KeyError) as caught:
            call()
        assert caught.value is error
        assert "# called here" in error.__notes__[0]
        assert "py_function fails" in error.__notes__[0]


@pytest.mark.parametrize(
    ("result", "out", "error", "says"),
    [
        (lambda: np.zeros(2), td.TensorSpec((2,), td.float32), DTypeError, "returned float64, out says float32"),
        (lambda: [0.0], td.TensorSpec((2,), td.float32), ShapeError, "returned the nest"),
        (lambda: np.zeros(3), td.TensorSpec((2,), td.float64), ShapeError, r"returned shape \(3,\), out says \(2,\)"),
        (lambda: 0, td.TensorSpec((None,)), ShapeError, "must name its sizes"),
        (lambda: 0, "float32", DTypeError, "out takes td.TensorSpec"),
    ],
)
def test_results_that_do_not_fit(result, out, error, says):
    with pytest.raises(error, match=says):
        td.py_function(result, out=out)


def test_a_callback_passes_no_gradient():
    def f(x):
        return x * td.py_function(lambda x: x * x, x, out=td.TensorSpec(()))

    assert grad(f)(td.asarray(3.0)).item() == 9.0


def test_named_sizes_of_results():
    spec = td.TensorSpec(("n",)).to_spec("_")
    made = trace(lambda x: [td.py_function(lambda x: x, x, out=td.TensorSpec(("n",)))], [spec], "f")
    assert made.graph.outputs[0].shape == spec.shape
    assert interpret(made.graph, [td.asarray([1.0, 2.0])])[0].tolist() == [1.0, 2.0]
