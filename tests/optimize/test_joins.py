"""Sums of parts in zeros as joins, bit for bit; work on a whole that is only read in slices."""

from __future__ import annotations

import operator
from functools import reduce

import numpy as np
import pytest
from programs import Spec, assert_same, float64, graph_of, int64, ops, td

from treadle.ops.arranging import split
from treadle.ops.slicing import pad_slice, slice_axis
from treadle.optimize.pipeline import optimize, rewrites


def padded(x, first, size, axis=1):
    """Zeros of `size` along the axis, with x from `first` on."""
    shape, starts, stops = list(x.shape), [0] * x.ndim, list(x.shape)
    shape[axis], starts[axis], stops[axis] = size, first, first + x.shape[axis]
    return pad_slice(x, tuple(shape), tuple(starts), tuple(stops), (1,) * x.ndim)


PART = Spec((2, 3), float64)
VALUES = [np.array([[0.0, -0.0, np.inf], [1.0, np.nan, -3.0]]) * k for k in (1.0, -1.0, 2.0)]


@pytest.mark.parametrize("places", [(0, 3, 6), (6, 0, 3), (1, 4, 9), (5, 0, 9)])
def test_parts_beside_each_other_are_joined(places):
    graph = graph_of(
        lambda *xs: [reduce(operator.add, [padded(x, p, 12) for x, p in zip(xs, places)])], PART, PART, PART
    )
    better = optimize(graph, verify=True)
    assert "pad_slice" not in ops(better)
    assert ops(better).count("concat") == 1
    assert rewrites(graph)["parts side by side"] == 2
    assert_same(graph, better, VALUES)


def test_whole_numbers_need_no_zero_added():
    graph = graph_of(lambda x, y: [padded(x, 0, 6) + padded(y, 3, 6)], Spec((2, 3), int64), Spec((2, 3), int64))
    better = optimize(graph, verify=True)
    assert ops(better) == ["concat"]
    assert_same(graph, better, [np.arange(6).reshape(2, 3), -np.arange(6).reshape(2, 3)])


@pytest.mark.parametrize(
    "f",
    [
        lambda x, y: padded(x, 0, 6) + padded(y, 2, 6),
        lambda x, y: padded(td.concat([x, x], axis=1), 1, 4, 0) + padded(td.concat([y, y]), 3, 6),
        lambda x, y: padded(x, 0, 6) + td.concat([x, y], axis=1),
    ],
    ids=["they overlap", "along two axes", "a join without a gap"],
)
def test_what_is_no_join(f):
    graph = graph_of(lambda x, y: [f(x, y)], PART, PART)
    assert "parts side by side" not in rewrites(graph)
    assert_same(graph, optimize(graph, verify=True), VALUES[:2])


def test_the_gradient_of_split_is_a_join():
    def loss(x):
        a, b, c = split(x, 3, axis=1)
        return td.sum(a * b * td.tanh(c))

    graph = graph_of(lambda x: [td.grad(loss)(x)], Spec((2, 9), float64))
    better = optimize(graph, verify=True)
    assert "pad_slice" not in ops(better)
    assert_same(graph, better, [np.random.default_rng(1).normal(size=(2, 9))])


def test_work_on_a_whole_moves_behind_the_cut():
    def gates(x, w, b):
        first, second = split(x @ w + b, 2, axis=1)
        return [td.tanh(first) * second]

    graph = graph_of(gates, Spec((2, 3), float64), Spec((3, 8), float64), Spec((8,), float64))
    better = optimize(graph, verify=True)
    assert rewrites(graph)["work behind a cut"] == 2
    made = [node.inputs[0].node for node in better.nodes if node.op == "slice"]
    assert all(node is None or node.op == "matmul" for node in made)
    rng = np.random.default_rng(2)
    assert_same(graph, better, [rng.normal(size=s) for s in ((2, 3), (3, 8), (8,))])


@pytest.mark.parametrize("extra", [lambda y: y, td.tanh], ids=["it comes out", "it is read whole"])
def test_work_that_is_read_whole_stays(extra):
    def f(x, b):
        y = x + b
        return [slice_axis(y, 1, 0, 1), slice_axis(y, 1, 1, 3), extra(y)]

    graph = graph_of(f, PART, Spec((3,), float64))
    assert "work behind a cut" not in rewrites(graph)
