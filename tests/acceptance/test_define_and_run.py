"""Define and run, rows T1 to T5: graphs built by hand with placeholders, fetched and fed."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td


def test_T1_hello_world_by_define_and_run():
    with td.Graph() as g:
        first = g.placeholder((), td.string, "first")
        second = g.placeholder((), td.string, "second")
        text = td.strings.join([first, second], " ")
    assert g.run(text, {first: "hello", second: "world"}) == "hello world"
    assert g.run([text, first], {first: "good", second: "morning"}) == ["good morning", "good"]


def test_T2_a_missing_feed_is_named_with_its_line():
    with td.Graph() as g:
        here = g.placeholder((), td.float32, "here")
        missing = g.placeholder((), td.float32, "missing")  # the line of the placeholder
        total = here + missing
    with pytest.raises(td.TreadleError) as caught:
        g.run(total, {here: 1.0})
    assert "'missing'" in str(caught.value)
    assert "test_define_and_run.py" in str(caught.value)
    assert "# the line of the placeholder" in str(caught.value)
    assert g.run(here, {here: 1.0}).item() == 1.0  # what does not need it runs without it
    assert g.run(total, {here: 1.0, missing: 2.0}).item() == 3.0


def test_T3_names_are_readable_and_unique():
    with td.Graph() as g:
        a = g.placeholder((), td.string, "a")
        b = g.placeholder((), td.string, "b")
        again = g.placeholder((), td.string, "a")
        unnamed = g.placeholder((), td.string)
        first = td.strings.join([a, b], " ")
        second = td.strings.join([first, b], "-")
    assert [node.name for node in g.nodes] == ["join", "join_1"]
    assert [x.name for x in (a, b, again, unnamed)] == ["a", "b", "a_1", "placeholder"]
    assert "join_1" in repr(second)
    assert "join_1" in str(g)
    assert g.run("join_1", {"a": "x", "b": "y"}) == "x y-y"


def test_T4_two_layer_net_by_define_and_run(curve):
    evaluated = []

    def note(loss):
        evaluated.append(float(loss))
        return loss

    w1 = td.Variable(curve.w1, name="w1")
    w2 = td.Variable(curve.w2, name="w2")
    with td.Graph() as g:
        x = g.placeholder((None, 1000), curve.dtype, "x")
        y = g.placeholder((None, 10), curve.dtype, "y")
        with td.GradientTape() as tape:
            prediction = td.maximum(x @ w1, 0.0) @ w2
            loss = td.sum((prediction - y) ** 2)
        g1, g2 = tape.gradient(loss, (w1, w2))
        loss = td.py_function(note, loss, out=td.TensorSpec((), curve.dtype))
        w1.assign(w1 - curve.rate * g1)
        w2.assign(w2 - curve.rate * g2)
    losses = []
    for step in range(500):
        loss_value, new_w1, new_w2 = g.run((loss, w1, w2), {x: curve.x, y: curve.y})
        if step % 100 == 0:
            losses.append(loss_value)
            np.testing.assert_array_equal(new_w1.numpy(), w1.numpy())
            np.testing.assert_array_equal(new_w2.numpy(), w2.numpy())
    assert len(evaluated) == 500  # each fetch was evaluated once a run
    curve.check(losses)
    # the open size serves another batch
    assert g.run(prediction, {x: curve.x[:7]}).shape == (7, 10)


def test_T5_a_variable_without_a_value_is_named(run):
    empty = td.Variable(td.TensorSpec((2,), td.float32), name="weights")

    @run
    def double():
        return empty * 2

    with pytest.raises(td.errors.UndefinedVariable, match="'weights'"):
        double()
    with td.Graph() as g:
        doubled = empty * 2
    with pytest.raises(td.errors.UndefinedVariable, match="'weights'"):
        g.run(doubled)
    empty.assign([1.0, 2.0])
    assert double().tolist() == [2, 4]
    assert g.run(doubled).tolist() == [2, 4]
