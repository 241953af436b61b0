"""`td.debug.step`: every node in order, with values and the user's lines, into calls, branches and iterations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td

V = td.Variable(1.0, name="v")


@td.function
def inner(x):
    return td.log(x)


@td.function
def f(x, n):
    y = x
    for i in td.range(n):
        if y > 2.0:
            y = y - inner(y)
        else:
            y = y * 3.0
        V.assign_add(y)
    return {"y": y, "rows": td.sin(y * td.ones((20,))), "k": 3}


FIRST = f.python_function.__code__.co_firstlineno + 1  # the line of `def f`


def test_values_lines_and_places():
    V.assign(1.0)
    s = td.debug.step(f, 1.0, 3)
    log = s.until(op="log")
    assert log.path == ("while[1]", "cond true", "inner")
    assert log.outputs[0].item() == pytest.approx(np.log(3.0))
    assert log.values["x"].item() == 3.0
    assert log.location.line == inner.python_function.__code__.co_firstlineno + 2
    times = s.until(op="multiply")
    assert times.path == ("while[2]", "cond false")
    assert times.location.line == FIRST + 6
    text = str(times)
    assert f"test_stepping.py:{FIRST + 6}" in text and "y = y * 3.0" in text
    assert "while[2] > cond false > multiply: float32[] 5.704163" in text
    assert repr(s) == f"<step f: at {text}>"
    assert V.numpy() == 1.0  # assigned at the end
    with pytest.raises(td.errors.GraphError, match="not come to its end"):
        s.result
    result = s.run()
    stepped = V.numpy().item()
    V.assign(1.0)
    wanted = f(1.0, 3)
    assert result["k"] == 3 and result is not s.result
    np.testing.assert_allclose(result["y"].numpy(), wanted["y"].numpy(), rtol=1e-6)
    np.testing.assert_allclose(result["rows"].numpy(), wanted["rows"].numpy(), rtol=1e-6)
    np.testing.assert_allclose(stepped, V.numpy(), rtol=1e-6)
    assert s.next() is None and repr(s) == "<step f: done>"


def test_stops_by_line_by_condition_and_by_both():
    V.assign(1.0)
    s = td.debug.step(f, 1.0, 3)
    assert s.until(line=FIRST + 7).path == ("while[0]",)
    assert s.until(line=f"test_stepping.py:{FIRST + 7}").path == ("while[1]",)
    assert s.until(lambda node, values: node.op == "add" and values[node.name].item() == 3).path == ("while[2]",)
    V.assign(1.0)
    s = td.debug.step(f, 1.0, 3)
    found = s.until(lambda node, values: values[node.name].item() > 5, line=FIRST + 7)
    assert found.path == ("while[1]",)
    assert s.until(line=1) is None
    assert s.result["k"] == 3


def test_the_first_nan_and_the_first_infinity():
    @td.function
    def g(x, n):
        y = x
        while n > 0:
            y = y - 1.0
            z = td.log(y)
            n = n - 1
        return z

    s = td.debug.step(g, td.asarray(2.0), td.asarray(3))
    found = s.until(td.debug.has_inf)
    assert (found.op, found.path) == ("log", ("while[1]",))
    found = s.until(td.debug.has_nan)
    assert (found.op, found.path) == ("log", ("while[2]",))


def test_iteration_prints_each_step(capsys):
    def g(x):
        y = x + 1.0
        td.print("y is", y)
        return y * 2.0

    s = td.debug.step(g, td.zeros((2, 3)))
    assert [step.op for step in s] == ["add", "print", "multiply"]
    assert capsys.readouterr().out == "y is [[1. 1. 1.]\n [1. 1. 1.]]\n"
    s = td.debug.step(g, td.zeros((2, 4)))
    assert s.run(show=True).tolist() == [[2.0] * 4] * 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("add: float32[2, 4] 1 to 1, mean 1")
    assert lines[-2].endswith("print: done")
    assert [line.split()[0] for line in lines if "test_stepping.py" in line] == ["1", "2", "3"]


def test_gradients_scans_and_checkpoints_are_stepped_into():
    def cell(c, x):
        return td.tanh(c * x), c

    @td.function
    def g(c, xs):
        return td.grad(lambda c: td.sum(td.scan(td.checkpoint(cell), c, xs, reverse=True)[1]))(c)

    xs = td.asarray([0.5, -1.0, 2.0])
    s = td.debug.step(g, 0.7, xs)
    paths = [step.path for step in s if step.op == "tanh"]
    assert [p[0] for p in paths[:3]] == ["while[2]", "while[1]", "while[0]"]
    assert [p[0] for p in paths[3:]] == ["while_1[0]", "while_1[1]", "while_1[2]"]  # run again, backwards
    np.testing.assert_allclose(s.result.numpy(), g(0.7, xs).numpy(), rtol=1e-6)


def test_open_sizes_custom_gradients_and_keywords():
    @td.custom_gradient
    def clipped(x):
        return x * 2.0, lambda g: td.clip(g, -1.0, 1.0)

    @td.function(input_signature=[td.TensorSpec(("n", 2)), td.TensorSpec(("n",))])
    def g(x, w):
        return td.reshape(clipped(x) * w[:, None], (-1,)), x.shape[0] * 2

    x, w = td.ones((3, 2)), td.asarray([1.0, 2.0, 3.0])
    s = td.debug.step(g, x, w=w)
    flat, twice = s.run()
    assert flat.tolist() == [2, 2, 4, 4, 6, 6] and twice == 6
    s = td.debug.step(g, x, w)
    assert s.until(op="multiply").path == ("clipped",)


def test_an_error_names_the_iteration():
    def g(n):
        k = 0
        while k < n:
            k = k + 1
            assert k < 3, "too far"
        return k

    s = td.debug.step(g, td.asarray(5))
    with pytest.raises(td.errors.AssertionFailed, match="too far") as caught:
        s.run()
    assert any("while[2]" in note for note in caught.value.__notes__)


def test_it_steps_with_values_also_inside_a_tape():
    x = td.asarray(2.0)
    with td.GradientTape() as tape:
        tape.watch(x)
        s = td.debug.step(lambda x: x * x, x)
        assert s.run().item() == 4.0
    assert tape.gradient(x * x, x) is None


@settings(derandomize=True, deadline=None, max_examples=20)
@given(x=st.floats(-3, 3, width=32), n=st.integers(0, 6), stop=st.integers(0, 6))
def test_stepping_gives_what_calling_gives(x, n, stop):
    np.testing.assert_allclose(
        td.debug.step(both_ways, x, td.asarray(n), td.asarray(stop)).run().numpy(),
        both_ways(x, td.asarray(n), td.asarray(stop)).numpy(),
        rtol=1e-5,
        atol=1e-6,
    )


@td.function(input_signature=[td.TensorSpec(()), td.TensorSpec((), td.int64), td.TensorSpec((), td.int64)])
def both_ways(x, n, stop):
    y = x
    for i in td.range(n):
        if i == stop:
            break
        for _ in td.range(i):
            y = td.sin(y) + (x if y > 0 else -x)
    return y


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float64(2.5), "float64[] 2.5"),
        (np.array([1, 2]), "int64[2] [1 2]"),
        (np.arange(8) > 3, "bool[8] 4 of 8 true"),
        (np.array([[1.0, np.nan, np.inf, 3.0]] * 2), "float64[2, 4] 1 to 3, mean 2, 2 NaN, 2 infinite"),
        (np.full(9, np.nan, np.float32), "float32[9] no finite value, 9 NaN"),
        (np.full(7, 3 + 4j), "complex128[7] modulus 5 to 5, mean 5"),
        (np.zeros((0, 3), np.float32), "float32[0, 3] []"),
    ],
)
def test_summaries(value, text):
    assert td.debug.summary(td.asarray(value)) == text
