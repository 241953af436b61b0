"""One structure has one text, wherever its symbols lie in memory: a new shape, and a new process, compile nothing."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

import treadle as td
from treadle.compile.fusion import repeats
from treadle.compile.llvm.build import Entry
from treadle.compile.lower import Lowerer
from treadle.core.spec import Spec
from treadle.core.tensor import Scope, Symbol
from treadle.optimize.pipeline import optimize

F = np.float32


def _loss(x: Any, w: Any) -> Any:
    return -td.mean(td.sum(td.nn.log_softmax(td.nn.relu(x @ w) @ w) * x, axis=-1))


def classifier(x: Any, w: Any) -> Any:
    with td.GradientTape() as tape:
        tape.watch(w)
        y = _loss(x, w)
    return y, tape.gradient(y, w)


def columns(x: Any, w: Any) -> Any:
    p = td.nn.softmax(x @ w, axis=0) * td.nn.log_softmax(x, axis=0)
    return td.nn.layer_norm(p), td.sum(p, axis=0), td.var(x, axis=1), td.logsumexp(x, axis=0)


def joins(x: Any, w: Any) -> Any:
    parts = [td.exp(x[:, :3]), x[:, 3:6] * 2.0, x[:, 6:] + td.sum(w)]
    return td.concat(parts, axis=1), td.stack([x, x * x, td.tanh(x)]), td.roll(x, 1, axis=0) + x


def texts(f: Any, rows: int) -> list[str]:
    """The texts of a function's kernels, planned anew, and its program."""
    repeats.known.clear()
    found: list[str] = []

    def load(sources: Any) -> list[Entry]:
        found.extend(source.text for source in sources)
        return [Entry(0, source) for source in sources]

    trace = td.function(f).trace(td.TensorSpec((rows, 10)), td.TensorSpec((10, 10)))
    lowered = Lowerer(optimize(trace.graph), {}).run(load)
    return [*found, str(lowered.code.layout.arena_bytes)]


@pytest.mark.parametrize("f", [classifier, columns, joins])
def test_texts_do_not_hang_on_addresses(f: Any) -> None:
    rng, spec, scope = random.Random(0), Spec((), np.dtype(F)), Scope("elsewhere", None)
    first = texts(f, 30)
    for _ in range(6):
        held = [Symbol(spec, scope, "x") for _ in range(400)]
        rng.shuffle(held)
        del held[200:]  # the next symbols lie in the gaps
        assert texts(f, 30) == first
        del held
    assert set(texts(f, 40)[:-1]) == set(first[:-1])
