"""Reductions of transposed tensors are done on the tensors as they lie; results stay what they were."""

from __future__ import annotations

import numpy as np
import pytest
from programs import graph_of, run

import treadle as td
from treadle.core.spec import Spec
from treadle.optimize.pipeline import optimize, rewrites

X, Z = Spec((5, 3), np.dtype("f8")), Spec((2, 4, 3), np.dtype("f8"))


def turn(z):
    return td.permute_dims(z, (2, 0, 1))


def standard(x, axis):
    return (x - td.mean(x, axis=axis, keepdims=True)) / (td.std(x, axis=axis, keepdims=True) + 1)


CASES = {
    "sum of columns": (lambda x: [td.sum(x.T, axis=0), td.sum(x.T, axis=1), td.sum(x.T)], X),
    "each reduction": (lambda x: [f(x.T, axis=0) for f in (td.max, td.min, td.prod, td.any, td.all)], X),
    "positions": (lambda x: [td.argmax(x.T, axis=0), td.argmin(x.T * 2, axis=1, keepdims=True)], X),
    "kept": (lambda x: [td.sum(x.T, axis=0, keepdims=True), td.max(x.T, axis=1, keepdims=True)], X),
    "work before": (lambda x: [td.sum(td.exp(x.T) + 1, axis=0)], X),
    "lines beside": (lambda x: [td.sum(x.T * td.arange(5.0) + td.arange(3.0)[:, None], axis=1)], X),
    "chosen": (lambda x: [td.sum(td.where(x.T > 0, x.T, td.asarray(2.0)), axis=0)], X),
    "three axes": (lambda z: [td.sum(turn(z), axis=a) for a in (0, 1, 2, (0, 2), (1, 2), (0, 1, 2))], Z),
    "three axes kept": (lambda z: [td.max(turn(z), axis=a, keepdims=True) for a in (0, 1, (0, 2))], Z),
    "standard": (lambda z: [standard(turn(z), 0), standard(turn(z), (1, 2))], Z),
    "soft": (lambda x: [td.nn.softmax(x.T), td.nn.softmax(x.T, axis=0), td.logsumexp(x.T, axis=0)], X),
    "both ways": (lambda x: [(y := td.exp(x.T)), td.sum(y, axis=0), y + td.ones((3, 5)), x.T @ x], X),
    "after": (lambda x: [x.T - td.sum(x.T, axis=0), (x.T - td.max(x.T, axis=1, keepdims=True)) @ x], X),
    "gradient": (lambda x: [td.grad(lambda x: td.sum(td.nn.softmax(x.T * 2)[0]))(x)], X),
}


@pytest.mark.parametrize("name", CASES)
def test_results_stay(name: str) -> None:
    f, spec = CASES[name]
    graph = graph_of(f, spec)
    made = optimize(graph, verify=True)
    assert rewrites(graph)["reduced upright"] == 1
    x = np.random.default_rng(0).normal(size=spec.shape)
    for got, want in zip(run(made, [x]), run(graph, [x]), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: [x.T * 2 + 1],  # nothing is reduced
        lambda x: [td.sum(x.T * td.ones((3, 5)) ** td.arange(15.0).reshape(3, 5), axis=0)],  # one has to be turned
        lambda x: [td.argmax(x.T)],  # a position in row-major order
        lambda x: [td.sum(x.T * td.reshape(x, (3, 5)), axis=0)],
        lambda x: [td.sum(td.cumulative_sum(x.T, axis=0), axis=0)],
    ],
)
def test_what_is_left_as_it_is(f) -> None:
    assert "reduced upright" not in rewrites(graph_of(f, X))


def test_nothing_is_transposed_for_a_sum() -> None:
    ops = [node.op for node in optimize(graph_of(lambda x: [td.var(x.T, axis=0), td.sum(turn(x[None]))], X)).nodes]
    assert "transpose" not in ops
