"""Reductions of stacked tensors are done without the stack."""

from __future__ import annotations

import numpy as np
import pytest
from programs import F2, assert_same, graph_of

import treadle as td
from treadle.optimize.pipeline import optimize, rewrites

STACKS = [
    (lambda x, y: [td.sum(td.stack([x, y, x * y]), axis=0)], 1),
    (lambda x, y: [td.max(td.stack([x, y], axis=-1), axis=-1, keepdims=True)], 1),
    (lambda x, y: [td.prod(td.stack([x, y], axis=1), axis=(1, 2))], 1),
    (lambda x, y: [td.any(td.stack([x > 0, y > 1, x > y]), axis=0), td.all(td.stack([x > 0, y > 1]))], 2),
    (lambda x, y: [td.mean(td.stack([x[k : k + 2] for k in range(3)]), axis=0)], 1),
    (lambda x, y: [td.sum(td.stack([x, y]), axis=1)], 0),  # along another axis
    (lambda x, y: [td.sum(td.concat([x, y]), axis=0)], 0),  # several elements each
    (lambda x, y: [td.sum(s := td.stack([x, y]), axis=0), s], 0),  # made anyway
    (lambda x, y: [td.sum(td.stack([x] * 13), axis=0)], 0),  # too many
]


@pytest.mark.parametrize(("f", "count"), STACKS)
def test_a_stack_that_is_reduced_is_not_made(f, count: int) -> None:
    graph = graph_of(f, F2, F2)
    made = optimize(graph, verify=True)
    assert rewrites(graph).get("reduced stack", 0) == count
    rng = np.random.default_rng(0)
    x, y = (rng.choice([0.0, -0.0, 1.5, -2.0, np.nan, np.inf], (4, 3)) for _ in range(2))
    assert_same(graph, made, [x, y], 1e-15)
