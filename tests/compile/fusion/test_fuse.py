"""Grouping: what becomes one kernel; data and effects keep their order; memory is not given back too early."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import agree, compiled, graph_of

import treadle as td
from treadle.compile.arena_plan import ALIGN, ArenaPlan
from treadle.compile.fusion import fuse as fuse_module
from treadle.compile.fusion.fuse import fuse
from treadle.compile.fusion.items import Group, makes, reads
from treadle.core.graph import Graph
from treadle.optimize.pipeline import optimize

F = np.float32
X = np.arange(12, dtype=F).reshape(3, 4)


def groups(f: Any, *arrays: np.ndarray) -> list[list[str]]:
    """The ops of each kernel, in the order in which they run."""
    items = fuse(optimize(graph_of(f, arrays)))
    return [[node.op for node in item.nodes] for item in items if isinstance(item, Group)]


def check_order(graph: Graph) -> None:
    """Everything comes after what it needs, once; effects in program order."""
    items = fuse(graph)
    known = set(graph.inputs) | {s for node in graph.nodes if node.op == "constant" for s in node.outputs}
    for item in items:
        assert set(reads(item)) <= known
        known |= set(makes(item))
    assert all(s in known for s in graph.outputs)
    singles = [item.node for item in items if not isinstance(item, Group)]
    effects = [node for node in graph.nodes if node.effect]
    assert [node for node in singles if node.effect] == effects


def test_elementwise_work_and_its_reduction_are_one_kernel() -> None:
    assert groups(lambda x: td.sum(td.tanh(x) * x, axis=1), X) == [["tanh", "multiply", "sum"]]
    assert groups(lambda x: (td.tanh(x), td.exp(x) + td.tanh(x)), X) == [["tanh", "exp", "add"]]


def test_what_reads_a_reduction_of_rows_shares_its_kernel() -> None:
    assert groups(lambda x: x - td.sum(x, axis=1, keepdims=True), X) == [["sum", "subtract"]]
    assert groups(lambda x: (x - td.sum(x, axis=1)[:, None]) * 2, X) == [["sum", "reshape", "subtract", "multiply"]]
    assert groups(lambda x: td.log(td.sum(x, axis=1)) + 1, X) == [["sum", "log", "add"]]


def test_what_reads_a_sum_across_rows_comes_after_it() -> None:
    assert groups(lambda x: x / td.sum(x), X) == [["sum"], ["divide"]]
    assert groups(lambda x: (td.sum(x, axis=0), td.sum(x, axis=1)), X) == [["sum", "sum"]]
    assert len(groups(lambda x: (x - td.sum(x, axis=0), td.sum(x, axis=1)), X)) == 1


def test_columns_whose_sums_are_read_again_are_rows_too() -> None:
    assert groups(lambda x: x - td.sum(x, axis=0), X) == [["sum", "subtract"]]
    assert len(groups(lambda x: td.exp(x) / td.sqrt(td.sum(td.exp(x), axis=0) + 1), X)) == 1
    assert groups(lambda x: td.sum(x, axis=0) + 1, X) == [["sum"], ["add"]]


def test_row_values_are_taken_for_what_they_are() -> None:
    """A square makes (n,) and (1, n) look alike: only a column of numbers goes with the rows."""
    square = X[:, :3].copy()
    assert groups(lambda x: x - td.sum(x, axis=1), square) == [["sum"], ["subtract"]]
    assert groups(lambda x: x - td.sum(x, axis=0)[:, None], square) == [["sum"], ["subtract"]]
    assert groups(lambda x: x - td.sum(x, axis=1)[:, None], square) == [["sum", "reshape", "subtract"]]
    agree(lambda x: (x - td.sum(x, axis=1), x * td.sum(x, axis=1)[:, None]), square)


def test_sums_of_rows_and_across_rows_share_a_kernel() -> None:
    assert len(groups(lambda x: (td.sum(x * 3, axis=0), td.sum(x * 3, axis=1)), X)) == 1
    assert len(groups(lambda x: (td.sum(x * 3, axis=0), td.max(x * 3, axis=0), td.sum(x * 3)), X)) == 1
    assert len(groups(lambda x: td.mean(td.log(td.sum(x, axis=1))), X)) == 2  # the division by n comes after


def test_a_path_out_and_back_in_is_no_circle() -> None:
    """a feeds b through a product, and both feed c: they cannot all be one kernel."""

    def f(x: Any) -> Any:
        a = td.tanh(x)
        b = a @ a
        return a + b, td.exp(a) * td.sum(b, axis=0)

    square = X[:, :3].copy()
    check_order(optimize(graph_of(f, [square])))
    agree(f, square)


def test_kernels_stay_small() -> None:
    def f(x: Any) -> Any:
        for k in range(3 * fuse_module.MAX_NODES):
            x = td.sin(x) + k
        return x

    found = groups(f, X)
    assert len(found) > 1
    assert max(map(len, found)) <= fuse_module.MAX_NODES
    agree(lambda *xs: sum(xs[1:], xs[0]), *[X + k for k in range(2 * fuse_module.MAX_OPERANDS)])


def test_effects_keep_their_order(capsys: Any) -> None:
    def f(x: Any) -> Any:
        td.print("first", td.sum(x))
        y = td.tanh(x)
        td.print("second", td.max(y) > 2)
        return y

    program = compiled(f, X)
    program.run([X])
    assert capsys.readouterr().out == "first 66.0\nsecond False\n"


@settings(derandomize=True, deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 99), st.integers(0, 99)), min_size=3, max_size=25), st.data()
)
def test_random_nets_of_work(steps: list[tuple[int, int, int]], data: Any) -> None:
    """Many values of one shape that meet again and again, with products, reductions and views on the way."""

    def f(x: Any, y: Any) -> Any:
        values = [x, y]
        for how, i, j in steps:
            a, b = values[i % len(values)], values[j % len(values)]
            values.append(
                [
                    lambda a, b: a + b,
                    lambda a, b: td.maximum(a, b),
                    lambda a, b: (a @ b) * 0.1,
                    lambda a, b: a - td.max(b, axis=0),
                    lambda a, b: b + td.min(a, axis=1, keepdims=True),
                    lambda a, b: td.permute_dims(a, (1, 0)),
                    lambda a, b: td.reshape(td.reshape(a, (16,))[::-1], (4, 4)) + b[::-1] * 0.5,
                ][how](a, b)
            )
        return [values[k] for k in outputs]

    outputs = [*data.draw(st.lists(st.integers(2, len(steps) + 1), min_size=1, max_size=3)), len(steps) + 1]
    x = np.arange(16, dtype=F).reshape(4, 4) % 5 - 2
    check_order(optimize(graph_of(f, [x, x.T.copy()])))
    wanted = f(td.asarray(x), td.asarray(x.T.copy()))
    got = compiled(f, x, x.T.copy()).run([x, x.T.copy()])
    for mine, want in zip(got, wanted, strict=True):
        scale = max(1.0, float(np.abs(want.numpy()).max()))
        np.testing.assert_allclose(mine, want.numpy(), atol=2e-4 * scale)


# -- the arena ---------------------------------------------------------------------------------------------------------


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 500), st.integers(0, 20)), max_size=40))
def test_ranges_that_are_taken_never_overlap(steps: list[tuple[bool, int, int]]) -> None:
    plan = ArenaPlan()
    held: list[tuple[int, int]] = []
    for take, nbytes, which in steps:
        if take or not held:
            offset = plan.take(nbytes)
            assert offset % ALIGN == 0
            assert all(offset + nbytes <= start or offset >= start + size for start, size in held)
            assert offset + nbytes <= plan.peak
            held.append((offset, max(nbytes, 1)))
        else:
            plan.give(held.pop(which % len(held))[0])
    for offset, _ in held:
        plan.give(offset)
    assert plan.take(plan.peak) == 0


def test_memory_is_used_again() -> None:
    def f(x: Any) -> Any:
        for _ in range(30):
            x = td.tanh(x) @ x
        return x

    program = compiled(f, np.eye(8, dtype=F))
    assert program.code.layout.arena_bytes <= 4 * 8 * 8 * 4
    agree(f, np.eye(8, dtype=F) * F(0.5))


# -- outputs -----------------------------------------------------------------------------------------------------------


def test_outputs_of_every_kind() -> None:
    """Inputs, constants, duplicates, views of each other, reshapes that are also read."""

    def f(x: Any, y: Any) -> Any:
        s = x + y
        flat = td.reshape(s, (12,))
        return (
            x,
            x,
            s,
            s,
            flat,
            flat[::-1],
            td.permute_dims(s, (1, 0)),
            td.asarray(F(3)),
            td.ones((2, 2)),
            td.sum(flat),
            s * 2,
        )

    agree(f, X, X * 2)
    agree(lambda x: (td.reshape(td.permute_dims(x, (1, 0)), (12,)), td.reshape(x, (2, 6))), X)
    agree(lambda x: [td.reshape(x, (0, 5)), x + 1, td.sum(x, axis=0)], np.ones((5, 0), F))
    agree(lambda x: [x, x * 2, td.reshape(x, (1, 1)), td.sum(x)], np.array(2.0, F))
