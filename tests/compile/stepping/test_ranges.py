"""The numbers that whole scalars of a loop may be: never too few, and few enough to do without checks."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import traced

import treadle as td
from treadle.compile.stepping.ranges import Ranges, indices_of
from treadle.core.graph import Graph, Node
from treadle.optimize.pipeline import optimize


def _loop(f: Any, *arrays: np.ndarray) -> tuple[Graph, Node]:
    graph = optimize(traced(f, arrays)[0])
    (loop,) = [node for node in graph.nodes if node.op == "while"]
    return graph, loop


def _indices(f: Any, *arrays: np.ndarray) -> list[Any]:
    """The bounds of all indices in a function's loop, in order."""
    return [bounds for found in indices_of(_loop(f, *arrays)[1]).values() for bounds in found]


X = np.arange(20.0)


def test_counters_and_what_is_made_of_them():
    def f(x):
        def outer(i, x):
            return td.fori_loop(0, 19 - i, lambda j, x: x.at[j + 1].set(x[2 * j // 2] + x[(i + j) % 20]), x)

        return td.fori_loop(0, 20, outer, x)

    found = _indices(f, X)
    assert (1, 19) in found
    assert all(b is not None and 0 <= b[0] and b[1] <= 19 for b in found)


def test_tests_and_branches_bound():
    @td.function
    def f(x):
        for i in td.range(1, x.shape[0]):
            key = x[i]
            j = i - 1
            while j >= 0 and x[j] > key:
                x = x.at[j + 1].set(x[j])
                j = j - 1
            x = x.at[j + 1].set(key)
        return x

    assert all(0 <= b[0] and b[1] <= 19 for b in _indices(f, X))


def test_a_square_below_a_number():
    @td.function
    def f(x):
        i = td.asarray(2)
        while i * i < x.shape[0]:
            j = i * i
            while j < x.shape[0]:
                x = x.at[j].set(0.0)
                j = j + i
            i = i + 1
        return x

    assert _indices(f, X) == [(4, 19)]


def test_what_may_wrap_is_not_known():
    @td.function
    def f(x):
        k = td.asarray(1)
        for _ in td.range(100):
            k = k * 3
            if k > 0:
                x = x.at[k % 20].add(x[k])
        return x

    (inside, outside), limit = _indices(f, X)[:2], 2**63 - 1
    assert sorted([inside, outside]) == [(0, 19), (1, limit)]


def _run(graph: Graph, values: list[np.ndarray], known: dict[Any, Any]) -> list[np.ndarray]:
    """A graph, node by node; every whole scalar lies within its bounds."""
    env = dict(zip(graph.inputs, values, strict=True))
    for symbol, value in env.items():
        _check(symbol, value, known)
    for node in graph.nodes:
        given = [env[s] for s in node.inputs]
        if node.op == "cond":
            made = _run(node.attrs["true" if given[0] else "false"], given[1:], known)
        elif node.op == "while":
            made = _run_loop(node, given, known)
        else:
            made = node.definition.body(*given, **node.attrs)
            made = list(made) if node.definition.multiple else [np.asarray(made)]
        for symbol, value in zip(node.outputs, made, strict=True):
            _check(symbol, value, known)
            env[symbol] = value
    return [env[s] for s in graph.outputs]


def _run_loop(node: Node, given: list[np.ndarray], known: dict[Any, Any]) -> list[np.ndarray]:
    count, carry, consts, _ = node.attrs["layout"].parts(given)
    limit = int(count) if count is not None else node.attrs["steps"]
    done = 0
    while not isinstance(limit, int) or done < limit:
        test = node.attrs["test"]
        if test is not None and not _run(test, [*carry, *consts], known)[0]:
            break
        carry = _run(node.attrs["body"], [*carry, *consts], known)
        done += 1
    return carry


def _check(symbol: Any, value: np.ndarray, known: dict[Any, Any]) -> None:
    bounds = known.get(symbol)
    if bounds is not None:
        assert bounds[0] <= int(value) <= bounds[1], f"{symbol} is {value}, not within {bounds}"


BINARY = ["add", "subtract", "multiply", "minimum", "maximum", "floor_divide", "remainder"]
COMPARE = ["less", "less_equal", "greater", "greater_equal", "equal", "not_equal"]


class _Program:
    """Random work on whole scalars; whoever traces a body twice finds the same one."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    @staticmethod
    def again(seed: int, *arguments: Any) -> Any:
        return _Program(seed).block(*arguments)

    def made(self, values: list[Any]) -> Any:
        pick = self.random.choice
        other = self.random.randint(-6, 9) if pick([0, 1]) else pick(values)
        return getattr(td, pick(BINARY))(pick(values), other)

    def test(self, values: list[Any]) -> Any:
        pick = self.random.choice
        first = getattr(td, pick(COMPARE))(pick(values), pick([pick(values), self.random.randint(-6, 9)]))
        how = pick(range(4))
        if how == 3:
            return first
        second = self.test(values[:2])
        ways = [td.logical_and, td.logical_or, lambda a, b: td.cond(a, lambda: b, lambda: False)]
        return ways[how](first, td.logical_not(second) if pick([0, 1]) else second)

    def block(self, values: list[Any], depth: int) -> Any:
        for _ in range(self.random.randint(1, 3)):
            kind = self.random.choice(["op", "op", "cond", "count", "test"]) if depth else "op"
            seeds = [self.random.getrandbits(32) for _ in range(2)]
            if kind == "op":
                made = self.made(values)
            elif kind == "cond":
                ways = [lambda v=values, s=s: self.again(s, v, 0) for s in seeds]
                made = td.cond(self.test(values), *ways)
            elif kind == "count":
                count = self.random.choice([self.random.randint(-2, 6), td.minimum(self.made(values), 5)])
                body = lambda i, s, v=values, seed=seeds[0]: self.again(seed, [i, s, *v], depth - 1)  # noqa: E731
                made = td.fori_loop(0, count, body, self.made(values))
            else:
                made = self.loop(values, depth, *seeds)
            values = [*values, made]
        return values[-1]

    def loop(self, values: list[Any], depth: int, *seeds: int) -> Any:
        step = self.random.randint(-3, 4)

        def more(k: Any, i: Any, s: Any) -> Any:
            return td.logical_and(k < 6, _Program(seeds[0]).test([i, s, *values]))

        def body(k: Any, i: Any, s: Any) -> Any:
            return k + 1, i + step, self.again(seeds[1], [i, s, *values], depth - 1)

        return td.while_loop(more, body, (0, self.made(values), values[0]))[self.random.randint(1, 2)]


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.filterwarnings("ignore:divide")
@settings(derandomize=True, deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(-6, 9))
def test_random_loops_stay_within_their_bounds(seed, first):
    def f(a: Any) -> Any:
        return td.fori_loop(0, 5, lambda i, s: _Program(seed).block([i, s, a], 2), td.asarray(1))

    graph = optimize(traced(f, [np.asarray(first)])[0])
    ranges = Ranges(noting=True)
    for loop in graph.nodes:
        if loop.op == "while":  # all may have been folded
            ranges.loop(loop)
    known = {s: b for s, b in ranges.known.items() if not s.shape and s.dtype.kind in "iub"}
    _run(graph, [np.asarray(first)], known)
