"""Work on tables moves behind the look-up: exact, and only where it is less work."""

from __future__ import annotations

import numpy as np
import pytest
from programs import Spec, assert_same, float64, graph_of, int64

import treadle as td
from treadle.errors import IndexOutOfRange
from treadle.optimize.pipeline import optimize, rewrites

TABLE, FEW = Spec((6, 4), float64), Spec((3,), int64)
RULE = "work on what is looked up"
NUMBERS = np.random.default_rng(0).normal(size=(6, 4))


def looked_up(graph):
    better = optimize(graph, verify=True)
    assert rewrites(graph)[RULE]
    tables = {graph.inputs[0], better.inputs[0]}
    return all(node.inputs[0] in tables for node in better.nodes if node.op in ("gather", "take_along_axis"))


@pytest.mark.parametrize(
    "f",
    [
        lambda t, i: td.tanh(t * 2)[i],
        lambda t, i: td.maximum(t, 0.5)[:, i],
        lambda t, i: td.take_along_axis(td.exp(t), i[:, None] * td.ones((1, 4), dtype=td.int64), axis=0),
        lambda t, i: td.exp(t)[i, i],
        lambda t, i: td.astype(t, td.float32)[i[0]] * 3,
    ],
)
def test_only_what_is_looked_up_is_worked_out(f):
    graph = graph_of(lambda t, i: [f(t, i)], TABLE, FEW)
    assert looked_up(graph)
    assert_same(graph, optimize(graph), [NUMBERS, np.array([2, -1, 0])])


def test_two_tables():
    graph = graph_of(lambda t, u, i: [(t * u)[i]], TABLE, TABLE, FEW)
    assert RULE in rewrites(graph)
    assert_same(graph, optimize(graph, verify=True), [NUMBERS, NUMBERS + 1, np.array([2, -1, 0])])


@pytest.mark.parametrize(
    "f",
    [
        lambda t, i: [td.tanh(t)[td.concat([i, i, i])]],
        lambda t, i: [(t * (t + 1))[td.concat([i, i])]],
        lambda t, i: (lambda y: [y[i], td.sum(y)])(td.tanh(t)),
        lambda t, i: (lambda y: [y[i], y])(td.tanh(t)),
        lambda t, i: [(t + td.sum(t, axis=0))[i]],
    ],
    ids=["more is looked up", "more in sum", "it is read whole", "it comes out", "rows are spread"],
)
def test_what_stays(f):
    graph = graph_of(f, TABLE, FEW)
    assert RULE not in rewrites(graph)
    assert_same(graph, optimize(graph, verify=True), [NUMBERS, np.array([2, -1, 0])])


def test_gradients_and_errors():
    def gradient(t, i):
        return [td.grad(lambda t: td.sum(td.square(t)[i]))(t)]

    graph = graph_of(gradient, TABLE, FEW)
    assert_same(graph, optimize(graph, verify=True), [NUMBERS, np.array([2, 2, 0])])
    with pytest.raises(IndexOutOfRange, match=r"index 6 \(at \[1\] of the indices\) is out of range"):
        td.function(lambda t, i: td.tanh(t)[i])(NUMBERS, np.array([0, 6, 1]))
