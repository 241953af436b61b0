"""Every rule of algebra by itself: both sides give the same bits on drawn values, special ones included."""

from __future__ import annotations

import numpy as np
import pytest
from programs import Array, assert_same, graph_of, ops, run, td

from treadle.core.dtypes import bool_
from treadle.core.graph import Graph
from treadle.core.interpret import interpret
from treadle.core.spec import Spec
from treadle.optimize.algebra import RULES
from treadle.optimize.match import Rule
from treadle.optimize.pipeline import optimize, rewrites

DTYPES = {"b": "?", "i": "i1 i4 i8", "u": "u1 u4", "f": "f4 f8", "c": "c8"}
SIZE = 48
SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.0, np.inf, -np.inf, np.nan, 1e-45, -1e-310, 1e38, -1e300, 0.5, 3.0]


def values(rng: np.random.Generator, dtype: np.dtype, size: int) -> Array:
    """Drawn numbers of a dtype, about half of them special."""
    if dtype.kind == "b":
        return rng.integers(0, 2, size).astype(bool)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        special, common = [0, 1, info.min, info.max], rng.integers(info.min, info.max, size, dtype, endpoint=True)
    else:
        special, common = SPECIAL, np.asarray(rng.normal(size=size) * 10.0 ** rng.integers(-40, 38, size))
        if dtype.kind == "c":
            common = common + 1j * rng.normal(size=size)
    with np.errstate(all="ignore"):
        return np.where(rng.random(size) < 0.5, rng.choice(special, size), common).astype(dtype)


CASES = [
    pytest.param(rule, np.dtype(name), id=f"{rule.name} [{name}]")
    for rule in RULES
    for kind in (rule.kinds if any(p[0] != "c" for p in rule.parameters) else "b")
    for name in DTYPES[kind].split()
]


@pytest.mark.parametrize(("rule", "dtype"), CASES)
def test_both_sides_agree(rule: Rule, dtype: np.dtype) -> None:
    tolerance = rule.tolerance * np.finfo(dtype).eps if dtype.kind == "f" else 0.0
    traced: dict[tuple[Spec, ...], list[Graph]] = {}
    for seed in range(6):
        rng = np.random.default_rng(seed)
        inputs = []
        for k, name in enumerate(rule.parameters):
            array = values(rng, bool_ if name[0] == "c" else dtype, 1 if name[0] == "k" else SIZE)
            inputs.append(rule.drawn(array) if rule.drawn is not None and k == 0 else array)
        specs = tuple([Spec(x.shape, x.dtype) for x in inputs])
        if specs not in traced:
            shape = np.broadcast_shapes(*[x.shape for x in inputs])
            sides = [rule.graph(side, dtype) for side in ("pattern", "replacement")]
            assert sides[0].nodes[-1].op == rule.op
            traced[specs] = [graph_of(spread(graph, shape), *specs) for graph in sides]
        assert_same(*traced[specs], inputs, tolerance)


def spread(graph, shape):
    """The graph as a function on arrays of any shape, its result spread out to `shape`."""
    return lambda *xs: [td.broadcast_to(interpret(graph, xs)[0], shape)]


def example_constant(rule: Rule) -> float:
    return 4.0 if rule.kinds == "f" else 3


@pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
def test_each_rule_fires(rule: Rule) -> None:
    dtype = np.dtype({"b": "?", "i": "i8", "u": "u1", "f": "f4", "c": "c8"}[rule.kinds[0]])
    free = [name for name in rule.parameters if name[0] != "k"]
    specs = [Spec((3,), bool_ if name[0] == "c" else dtype) for name in free]
    guarded = rule.guard is not None and free == list(rule.parameters)

    def program(*xs):
        given = dict(zip(free, xs, strict=True))
        if guarded:
            given[free[0]] = td.exp(given[free[0]])
        full = [given[name] if name in given else example_constant(rule) for name in rule.parameters]
        return [td.broadcast_to(rule.pattern(*full), (3,)) if free else rule.pattern(*full)]

    graph = graph_of(program, *specs)
    optimized = optimize(graph, verify=True)
    assert rewrites(graph).get(rule.name, 0) >= 1, (ops(graph), ops(optimized), rewrites(graph))
    rng = np.random.default_rng(0)
    inputs = [
        rng.integers(0, 2, 3).astype(s.dtype) if s.dtype.kind in "biu" else np.array([1.5, -2.0, 0.0], s.dtype)
        for s in specs
    ]
    assert_same(graph, optimized, inputs, rule.tolerance * 1e-6)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x * 0.0,
        lambda x: x - x,
        lambda x: x + 0.0,
        lambda x: td.exp(td.log(x)),
        lambda x: (x * 0.1) * 10.0,
        lambda x: x / x,
    ],
)
def test_what_is_no_rule(f) -> None:
    graph = graph_of(lambda x: [f(x)], Spec((4,), np.dtype("f8")))
    optimized = optimize(graph, verify=True)
    assert sorted(ops(optimized)) == sorted(ops(graph))
    assert_same(graph, optimized, [np.array([-0.0, np.nan, np.inf, 3.0])])


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 3), (3, 1, 2), (4, 9, 1), (8, 33, 17), (2, 0, 2)])
def test_products_are_never_negative_zero(shape) -> None:
    """What `never_negative_zero` takes for granted of sums and products."""
    m, k, n = shape
    for dtype in ("f4", "f8"):
        zeros, ones = -np.zeros((m, k), dtype), np.ones((k, n), dtype)
        graph = graph_of(lambda x, y: [td.matmul(x, y), td.sum(x)], *[Spec(a.shape, a.dtype) for a in (zeros, ones)])
        assert not any(np.signbit(y).any() for y in run(graph, [zeros, ones]))
