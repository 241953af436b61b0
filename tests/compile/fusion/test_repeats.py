"""Groups of one structure share their plan: the program is, word for word, the one that planning each anew gives."""

from __future__ import annotations

import re
import types

import numpy as np
import pytest

import treadle as td
from treadle.compile.lower import Lowered, Lowerer
from treadle.optimize.pipeline import optimize

X = td.asarray(np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4))


class _Never(dict):  # type: ignore[type-arg]
    """Remembers nothing."""

    def __setitem__(self, key: object, value: object) -> None:
        pass


def _lowered(function, *args, remember: bool = True) -> tuple[Lowered, Lowerer]:
    graph = optimize(td.function(function).trace(*args).graph)
    lowerer = Lowerer(graph, {})
    if not remember:
        lowerer.repeats = _Never()
    made = lowerer.run(lambda sources: [types.SimpleNamespace(address=k + 1) for k in range(len(sources))])
    return made, lowerer


def _network(x):
    weights = [(td.full((4, 4), 0.25), td.zeros((4,))) for _ in range(6)]
    with td.GradientTape() as tape:
        tape.watch(weights)
        y = x
        for w, b in weights:
            y = td.tanh(y @ w + b)
        loss = td.sum(y * y)
    return tape.gradient(loss, weights)


def _softmaxes(x):
    for _ in range(4):
        x = td.nn.softmax(x @ x.T @ x)
    return x


def _sums(x):
    return [td.sum(td.sin(x * (k + 3.5)), axis=axis) for k in range(5) for axis in (0, 1, None)]


def _updates(x):
    parts = [td.cos(x[k]) for k in range(3)]
    return [p * 2.5 - td.exp(p) for p in parts]


@pytest.mark.parametrize("function", [_network, _softmaxes, _sums, _updates])
def test_the_program_is_the_one_that_planning_each_group_gives(function):
    anew, _ = _lowered(function, X, remember=False)
    shared, lowerer = _lowered(function, X)
    assert lowerer.repeats
    # A number that is passed is kept once for all groups of a structure.
    texts = [re.sub(r"constant\d+", "constant", made.code.text()) for made in (anew, shared)]
    assert texts[0] == texts[1]
    for name in ("code", "patches"):
        assert np.array_equal(getattr(anew.code.layout, name), getattr(shared.code.layout, name))
    assert [k.source for k in anew.kernels] == [k.source for k in shared.kernels]
    for have, want in zip(td.function(function)(X), function(X), strict=True):
        td.nest.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), have, want)
    assert [k.provenance for k in anew.kernels] == [k.provenance for k in shared.kernels]


def test_layers_of_one_structure_are_planned_once():
    _, lowerer = _lowered(_network, X)
    assert len(lowerer.repeats) <= 5  # of eleven or more groups


def _products(x, y):
    a, b = td.sin(x), td.sin(y)
    first = td.matmul(td.matmul(a, b.T), a)
    return td.exp(a) * b, td.exp(a) * a, td.exp(b) * a, first


def test_which_operands_are_one_array_tells_groups_apart():
    y = X + 1
    got = td.function(_products)(X, y)
    for have, want in zip(got, _products(X, y), strict=True):
        np.testing.assert_allclose(have.numpy(), want.numpy(), rtol=1e-5)


def test_shapes_strides_and_numbers_tell_groups_apart():
    def work(x):
        wide = x @ td.ones((4, 4))
        tall = wide.T @ td.ones((3, 3))
        return [td.tanh(v * c) for v in (wide, wide.T, tall, tall.T) for c in (3.25, 4.75)]

    for have, want in zip(td.function(work)(X), work(X), strict=True):
        np.testing.assert_allclose(have.numpy(), want.numpy(), rtol=1e-5)
