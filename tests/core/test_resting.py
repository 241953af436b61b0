"""Graphs at rest: made again they are what they were, nobody's symbols go stale, and programs run on meanwhile."""

import gc
import threading
from typing import Any

import numpy as np
import pytest

import treadle as td
from treadle.core import resting
from treadle.core.graph import Graph

OUTER = td.asarray([1.0, 2.0, 3.0])
X = td.asarray([0.5, -1.5, 2.5])


def straight(x: Any) -> Any:
    with td.GradientTape() as tape:
        tape.watch(x)
        y = td.sum(td.tanh(x * OUTER) / 2.0)
    return y, tape.gradient(y, x), x.shape[0]


def branches(x: Any) -> Any:
    for i in td.range(3):
        if td.sum(x) > i:
            x = x * 0.5
        else:
            x = x + 1
    return x


def several(x: Any) -> Any:
    values, places = td.sort(x), td.argsort(x)
    q, r = td.linalg.qr(x[:, None] * x)
    return {"values": values, "places": places, "q": q @ r, "text": td.asarray("a")}


def zeros(x: Any) -> Any:
    return td.where(x > 0, 0.0, -0.0), td.full((3,), -0.0) + x * 0, td.full((3,), 0.0) + x * 0


def inner(x: Any) -> Any:
    return td.function(branches)(x) + td.function(branches)(x * 2)


PROGRAMS = [straight, branches, several, zeros, inner]


def rests(graph: Graph) -> bool:
    return "nodes" not in graph.__dict__


def lay(graph: Graph) -> bool:
    """Lay a graph to rest once what its compilation left in cycles is gone."""
    gc.collect()
    return resting.rest(graph)


def laid(f: Any, *args: Any) -> tuple[Any, Graph, str]:
    """A function with a trace that has run, its graph, and the graph's text."""
    made = td.function(f)
    made(*args)
    graph = made.traces[0].graph
    text = str(graph) + str(graph.derived["optimized"])
    return made, graph, text


@pytest.mark.parametrize("f", PROGRAMS)
def test_graphs_come_back_as_they_were(f: Any) -> None:
    made, graph, text = laid(f, X)
    before = repr(made(X))
    lying = lay(graph)
    assert lying or f in (several, inner, branches)  # steps of Python and checks hold nodes of their own
    assert rests(graph) is lying
    assert repr(made(X)) == before
    assert rests(graph) is lying  # calls do not look at nodes
    assert str(graph) + str(graph.derived["optimized"]) == text
    assert not rests(graph)
    graph.verify()
    assert repr(made(X)) == before
    assert lay(graph) is lying  # and once more


def test_kernels_memory_and_pruning_of_a_graph_at_rest() -> None:
    made, graph, _ = laid(straight, X)
    trace = made.traces[0]
    source, places = [(k.source, k.provenance) for k in trace.kernels], trace.memory
    assert all(p for _, p in source)
    for look in (lambda: [(k.source, k.provenance) for k in trace.kernels] == source, lambda: trace.memory == places):
        assert lay(graph)
        assert look()
    assert lay(graph)
    y = graph.prune("x", "tanh")(X)
    np.testing.assert_allclose(y.numpy(), np.tanh(X.numpy() * OUTER.numpy()), rtol=1e-6)


def test_a_graph_of_which_somebody_holds_a_part_stays() -> None:
    made, graph, _ = laid(straight, X)
    for hold in (
        lambda: graph.nodes[3],
        lambda: graph.nodes[3].inputs,
        lambda: graph.nodes[3].outputs[0],
        lambda: graph.inputs,
        lambda: graph.derived["optimized"].nodes,
        lambda: iter(graph.outputs),
    ):
        held: Any = hold()
        assert not lay(graph)
        assert not rests(graph)
        del held
    assert lay(graph)


def test_attributes_that_are_equal_but_not_the_same() -> None:
    texts = []
    graphs = []
    for value in (0.0, -0.0, 1.0, True, 1):
        _, graph, text = laid(lambda x, v=value: td.full((3,), v, dtype=td.float32) + x * td.asarray(v), X)
        texts.append(text)
        graphs.append(graph)
        assert lay(graph)
    assert [str(g) + str(g.derived["optimized"]) for g in graphs] == texts


def test_sizes_share_a_plan() -> None:
    f = td.function(lambda x: td.sum(td.tanh(x) * 2.0, axis=0), reduce_retracing=False)
    for n in (5, 6, 7):
        f(td.ones((n, 3)))
    graphs = [t.graph for t in f.traces]
    texts = list(map(str, graphs))
    assert all(map(lay, graphs))
    assert len({id(g.__dict__["resting"][0].plan) for g in graphs}) == 1
    assert list(map(str, graphs)) == texts


def test_the_oldest_of_many_are_laid_to_rest(monkeypatch: Any) -> None:
    monkeypatch.setattr(td.config, "retrace_warning", 0)
    monkeypatch.setattr(resting, "AWAKE", 3)
    f = td.function(lambda x, k: td.sum(x * k))
    for k in range(8):
        assert float(f(X, k)) == float(td.sum(X * k))
    assert [rests(t.graph) for t in f.traces] == [True] * 5 + [False] * 3
    with td.GradientTape() as tape:  # a gradient looks at the nodes of the trace that it goes through
        tape.watch(X)
        y = f(X, 2)
    assert tape.gradient(y, X).tolist() == [2.0, 2.0, 2.0]
    assert not rests(f.traces[2].graph)


def test_many_threads_look_while_graphs_are_laid_to_rest() -> None:
    _, graph, text = laid(straight, X)
    wrong: list[Any] = []

    def look() -> None:
        for _ in range(100):
            known = set(graph.inputs)
            for node in graph.nodes:
                known |= set(node.outputs)
            if not known.issuperset(graph.outputs) and str(graph) not in text:
                wrong.append(known)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads):
        resting.rest(graph)
    assert not wrong
    assert str(graph) + str(graph.derived["optimized"]) == text


def test_checks_keep_a_node_of_their_own() -> None:
    made, graph, _ = laid(lambda x, i: td.sum(td.tanh(td.take(x, i)) * 2.0), X, td.asarray([0, 2]))
    assert lay(graph)
    with pytest.raises(td.errors.IndexOutOfRange, match="take"):
        made(X, td.asarray([0, 9]))
    assert rests(graph)


def test_graphs_of_loops_rest() -> None:
    def f(x: Any) -> Any:
        k = 0
        while td.sum(x) < 100.0:
            x = x * 1.5 + x[k]
            k = (k + 1) % 3
        return x

    made, graph, text = laid(f, abs(X))
    inner = [g for node in graph.derived["optimized"].nodes for _, g in node.graphs()]
    assert inner
    before = made(abs(X)).tolist()
    assert lay(graph)
    assert made(abs(X)).tolist() == before
    assert str(graph) + str(graph.derived["optimized"]) == text
