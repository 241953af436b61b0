"""Host steps that write straight to a value's place give what the op's body gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import treadle as td
from treadle.compile.moves.straight import into

X = np.random.default_rng(0).normal(size=(5, 7))


@pytest.mark.parametrize(
    ("f", "x", "straight"),
    [
        (lambda x: td.sort(x, axis=0), X, True),
        (lambda x: td.sort(x, axis=1, descending=True), X, False),
        (lambda x: x * x, X + 1j, True),
        (lambda x: td.exp(x), X + 1j, True),
        (lambda x: td.cumsum(x, 1), X + 1j, True),
        (lambda x: td.cumprod(x, 0), X > 0, True),
        (lambda x: td.cummax(x, 1), X > 0, True),
        (lambda x: td.argsort(x), X, False),
        (lambda x: td.nextafter(x, 0.0), X, True),
    ],
)
def test_host_steps(f: Any, x: np.ndarray, straight: bool) -> None:
    traced = td.function(f)
    for _ in range(2):
        have, want = traced(td.asarray(x)).numpy(), f(td.asarray(x)).numpy()
        # Whether NumPy rounds a complex product once or twice depends on where in memory its operands lie.
        np.testing.assert_allclose(have, want, rtol=4e-16 if have.dtype.kind == "c" else 0, atol=0)
    ways = [into(node) for node in traced.traces[0].graph.nodes if node.op != "astype"]
    assert any(way is not None for way in ways) == straight


def test_a_result_is_not_the_argument_sorted() -> None:
    x = td.asarray([3.0, 1.0, 2.0])
    assert td.function(td.sort)(x).tolist() == [1.0, 2.0, 3.0]
    assert x.tolist() == [3.0, 1.0, 2.0]
