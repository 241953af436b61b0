"""Gradients of elements that loops read, set and append: updates of what is carried, not sums of whole arrays."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle.control.call import interpret_arrays
from treadle.optimize.pipeline import optimize

X = np.linspace(-1.0, 1.0, 15).reshape(5, 3)


def read(v):
    s = 0.0
    for i in td.range(1, 5):
        s = s + td.sum(td.sin(v[i]) * v[i - 1] * v[2])
    return s


def read_twice(v):
    s = 0.0
    for i in td.range(5):
        s = s + td.sum(v[i] * v[td.asarray(0)]) + v[i, 1] * v[2, i - 3] * v[-1, 0]
    return s


def store(v):
    for i in td.range(1, 5):
        v = v.at[i].set(td.sin(v[i - 1]) + v[i] * v[i - 1])
    return td.sum(v * v)


def store_and_read_again(v):
    for i in td.range(1, 5):
        v = v.at[i].set(v[i - 1] * v[i])
        v = v.at[i - 1].add(v[i] * v[0])
    return td.sum(v * v)


def append_and_read(v):
    rows = [v[0], v[1]]
    for i in td.range(4):
        rows.append(td.sin(rows[i]) * rows[i + 1])
    return td.sum(td.stack(rows) ** 2)


FUNCTIONS = [read, read_twice, store, store_and_read_again, append_and_read]


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
def test_the_gradient_is_right_and_adds_no_whole_arrays(f):
    trace = td.function(td.grad(td.autograph.convert(f))).trace(td.asarray(X))
    compiled = trace(td.asarray(X)).numpy()
    (plain,) = interpret_arrays(trace.graph, [X])
    np.testing.assert_allclose(compiled, plain, rtol=1e-12)
    np.testing.assert_allclose(compiled, td.grad(f)(td.asarray(X)).numpy(), rtol=1e-9)  # eagerly, step by step
    loop = [node for node in optimize(trace.graph).nodes if node.op == "while"][-1]
    whole = [n.op for n in loop.attrs["body"].nodes if n.op in ("add", "full") and n.outputs[0].spec.size >= X.size]
    assert whole == []
