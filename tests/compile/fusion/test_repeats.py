"""Groups of one structure share their plan: the program is, word for word, the one that planning each anew gives."""

from __future__ import annotations

import re
import types
from collections import Counter

import numpy as np
import pytest

import treadle as td
from treadle.compile.fusion import rules
from treadle.compile.fusion.repeats import Call, Known, Steps
from treadle.compile.lower import Lowered, Lowerer
from treadle.core.graph import Node
from treadle.optimize.pipeline import optimize

X = td.asarray(np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4))


class _Never(Known):
    """Remembers nothing."""

    def __setitem__(self, key: object, value: object) -> None:
        pass


def _lowered(function, *args, remember: bool = True) -> tuple[Lowered, Lowerer]:
    graph = optimize(td.function(function).trace(*args).graph)
    lowerer = Lowerer(graph, {})
    lowerer.repeats = Known() if remember else _Never()
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


@pytest.mark.parametrize("function", [_network, _softmaxes, _sums, _updates])
def test_a_second_program_takes_over_the_groups_of_the_first(function):
    first, lowerer = _lowered(function, X)
    planned = dict(lowerer.repeats)
    graph = optimize(td.function(function).trace(X).graph)
    again = Lowerer(graph, {})
    again.repeats = lowerer.repeats
    before = Counter(rules.counts)
    second = again.run(lambda sources: [types.SimpleNamespace(address=k + 1) for k in range(len(sources))])
    assert dict(again.repeats) == planned
    assert again.spare.keys() == lowerer.spare.keys()
    texts = [re.sub(r"constant\d+", "constant", made.code.text()) for made in (first, second)]
    assert texts[0] == texts[1]
    assert [k.source for k in first.kernels] == [k.source for k in second.kernels]
    assert [k.provenance for k in first.kernels] == [k.provenance for k in second.kernels]
    if function is _softmaxes:
        assert rules.counts - before  # rules count where they are made use of again
    assert not any(isinstance(line[1], Node) for steps in planned.values() for line in _lines(steps))


def _lines(steps: Steps) -> list[tuple[str, object]]:
    return [line for step in steps.steps if isinstance(step, Call) for line in step.template.lines]


def test_another_function_of_the_same_structure_shows_its_own_lines():
    def one(x):
        return td.sin(x * 1.75) + x

    def other(y):
        return td.sin(y * 1.75) + y

    known = Known()
    shown = []
    for function in (one, other):
        lowerer = Lowerer(optimize(td.function(function).trace(X).graph), {})
        lowerer.repeats = known
        made = lowerer.run(lambda sources: [types.SimpleNamespace(address=1) for _ in sources])
        shown.append(made.kernels[0])
    assert len(known) == 1
    assert shown[0].key == shown[1].key
    lines = [f.__code__.co_firstlineno + 1 for f in (one, other)]
    assert [k.provenance for k in shown] == [(f"test_repeats.py:{line}",) for line in lines]


def test_what_is_known_is_bounded_and_the_oldest_goes_first():
    known = Known(2)
    for k in range(4):
        known[k] = Steps((), {})
    assert list(known) == [2, 3]


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
