"""Each pass by itself, on small programs: what must go goes, what must stay stays, and the numbers are the same."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from programs import B0, F0, F1, F2, I0, I1, Array, assert_same, graph_of, ops, run, td

from treadle.config import config
from treadle.control.call import call
from treadle.core.dim import Dim
from treadle.core.dtypes import float32, float64, int64
from treadle.core.graph import Graph
from treadle.core.spec import Spec
from treadle.core.variable import Variable
from treadle.errors import GraphError
from treadle.ops.searching import take
from treadle.optimize import pipeline
from treadle.optimize.pipeline import optimize, rewrites

RNG = np.random.default_rng(7)


def inputs_for(graph: Graph) -> list[Array]:
    return [
        np.asarray(RNG.normal(size=s.shape)).astype(s.dtype)
        if s.dtype.kind == "f"
        else np.asarray(RNG.integers(1, 4, s.shape)).astype(s.dtype)
        for s in graph.inputs
    ]


def check(f, *specs: Spec, gone=(), stays=(), fired=(), tolerance: float = 0.0, count: int | None = None) -> Graph:
    """Optimise, compare, and look at what is left."""
    graph = graph_of(f, *specs)
    before = str(graph)
    optimized = optimize(graph, verify=True)
    assert str(graph) == before
    assert_same(graph, optimized, inputs_for(graph), tolerance)
    left = ops(optimized)
    assert not set(gone) & set(left), str(optimized)
    assert set(stays) <= set(left), str(optimized)
    assert set(fired) <= set(rewrites(graph)), rewrites(graph)
    if count is not None:
        assert len(left) == count, str(optimized)
    return optimized


# -- inline, prune, merge, fold


def test_calls_are_inlined_recursively() -> None:
    inner = graph_of(lambda x: [td.exp(x), x * 3.0], F1, name="inner")
    middle = graph_of(lambda x: [call(inner, (x,))[0] + call(inner, (x,))[1]], F1, name="middle")
    check(lambda x: [call(middle, (x,))[0]], F1, gone=["call"], fired=["inline"])
    check(
        lambda x, p: [td.cond(p > 1, lambda: call(middle, (x,))[0], lambda: x)], F1, I0, gone=["call"], stays=["cond"]
    )


def test_a_call_with_symbolic_sizes_is_inlined_with_sizes_filled_in() -> None:
    n = Dim.named("n")
    inner = graph_of(lambda x: [td.sum(x) / x.shape[0], td.zeros(x.shape, dtype=float64)], Spec((n,), float64))
    optimized = check(lambda x: list(call(inner, (x,))), F1, gone=["call", "dim"])
    assert optimized.outputs[1].shape == (3,)


def test_custom_gradients_are_inlined() -> None:
    @td.custom_gradient
    def clipped(x):
        return x * 2.0, lambda g: td.clip(g, -1.0, 1.0)

    check(lambda x: [td.grad(lambda x: td.sum(clipped(x) * 7.0))(x)], F1, gone=["custom_gradient", "call"])


def test_dead_code_goes_effects_stay_in_order(capsys) -> None:
    def f(x):
        td.exp(x)
        td.print("first", td.sum(x))
        td.tanh(x)
        td.print("second")
        return [x + 1.0]

    graph = graph_of(f, F1)
    optimized = optimize(graph, verify=True)
    assert "exp" not in ops(optimized)
    assert "tanh" not in ops(optimized)
    assert ops(optimized).count("print") == 2
    run(optimized, [np.ones(3)])
    assert capsys.readouterr().out == "first 3.0\nsecond\n"


def test_equal_effects_are_not_merged(capsys) -> None:
    def f(x):
        td.print("x", x)
        td.print("x", x)
        return [x]

    graph = graph_of(f, F0)
    run(optimize(graph, verify=True), [np.asarray(1.0)])
    assert capsys.readouterr().out == "x 1.0\nx 1.0\n"


def test_a_variables_last_write_stays() -> None:
    v = Variable(np.ones(3))

    def f(x):
        v.assign(v.value + x)
        v.assign(v.value * 2.0)
        return [td.sum(x)]

    graph = graph_of(f, F1)
    optimized = optimize(graph, verify=True)
    assert optimized.state == graph.state
    assert "read" not in ops(optimized)
    assert_same(graph, optimized, [np.arange(3.0), np.ones(3)])
    assert run(optimized, [np.arange(3.0), np.ones(3)])[1].tolist() == [2.0, 4.0, 6.0]


def test_outputs_that_are_inputs_or_repeated() -> None:
    optimized = check(lambda x, y: [x, y, x * 1.0, x + y, y + x, 2.0 * td.ones((), dtype=float64)], F1, F1)
    assert len(optimized.outputs) == 6


def test_common_subexpressions_merge_by_bits() -> None:
    optimized = check(lambda x, y: [td.sin(x * y) + td.sin(y * x)], F1, F1, fired=["merge"])
    assert ops(optimized).count("sin") == 1
    zeros = check(lambda x: [td.full((3,), 0.0, dtype=float64), td.full((3,), -0.0, dtype=float64)], F1)
    assert [np.signbit(y).any() for y in run(zeros, [np.ones(3)])] == [False, True]
    check(lambda x: [x / 0.0, x / -0.0], F1, count=4)


def test_constants_fold() -> None:
    optimized = check(lambda x: [x * (td.exp(td.full((), 1.0, dtype=float64)) + 1.0)], F1, fired=["fold"], count=2)
    assert ops(optimized) == ["constant", "multiply"]
    check(lambda x: [x + td.sum(td.asarray([1.0, 2.0, 3.0], dtype=float64))], F1, count=2)


def test_a_constant_that_raises_is_left_to_the_run() -> None:
    def f(x):
        return [x + take(td.asarray([1.0, 2.0], dtype=float64), td.asarray([5]))[0]]

    graph = graph_of(f, F1)
    optimized = optimize(graph, verify=True)
    with pytest.raises(IndexError):
        run(optimized, [np.ones(3)])


# -- forwarding and broadcasts


@pytest.mark.parametrize(
    ("f", "count"),
    [
        (lambda x: td.stop_gradient(x) + 1.0, 2),
        (lambda x: td.astype(td.astype(x, float64), float64) + 1.0, 2),
        (lambda x: td.reshape(td.reshape(x, (12,)), (3, 4)), 1),
        (lambda x: td.reshape(td.reshape(x, (12,)), (4, 3)), 0),
        (lambda x: td.transpose(td.transpose(x)), 0),
        (lambda x: td.transpose(td.transpose(td.reshape(x, (2, 2, 3)), (2, 0, 1)), (1, 2, 0)), 1),
        (lambda x: td.broadcast_to(td.broadcast_to(x, (2, 4, 3)), (5, 2, 4, 3)), 1),
        (lambda x: td.reshape(td.zeros((4, 3), dtype=float64), (12,)), 1),
        (lambda x: td.transpose(td.ones((4, 3), dtype=float64)), 1),
        (lambda x: td.max(td.reshape(x, (4, 1, 3)), axis=1), 0),
        (lambda x: x * td.ones((4, 3), dtype=float64), 0),
        (lambda x: td.where(td.full((4, 3), True), x, 2.0), 0),
        (lambda x: x + td.broadcast_to(td.reshape(x[0], (1, 3)), (4, 3)), 2),
        (lambda x: td.where(x > 0.0, x, x), 0),
        (lambda x: td.concat([x]), 0),
        (lambda x: td.reshape(td.sum(x, axis=0, keepdims=True), (3,)), 1),
        (lambda x: td.matmul(x, td.transpose(x)) + 0.0, 1),
    ],
)
def test_views_and_identities(f, count: int) -> None:
    check(lambda x: [f(x)], F2, count=count)


def test_casts_through_a_wider_type() -> None:
    f32 = Spec((3,), float32)
    check(lambda x: [td.astype(td.astype(x, float64), float32)], f32, count=0)
    check(lambda x: [td.astype(td.astype(x, float32), float64)], F1, count=2)
    check(lambda x: [td.astype(td.astype(x, float64), int64)], I1, count=2)


def test_transposes_become_flags_of_the_product() -> None:
    optimized = check(
        lambda x, y: [td.matmul(td.transpose(x), y)], F2, F2, gone=["transpose"], fired=["transposed operand"]
    )
    assert optimized.nodes[0].attrs["transpose_a"]
    check(
        lambda x: [td.grad(lambda x: td.sum(td.matmul(x, td.transpose(x))))(x)], F2, gone=["transpose"], tolerance=1e-12
    )


def test_a_transposed_product_turns_around_when_nobody_else_needs_it() -> None:
    optimized = check(lambda x, y: [td.transpose(td.matmul(td.transpose(x), y))], F2, F2, count=1, tolerance=1e-12)
    assert optimized.nodes[0].attrs == {"transpose_a": True, "transpose_b": False}

    def both(x, y):
        product = td.matmul(td.transpose(x), y)
        return [product, td.transpose(product)]

    assert ops(check(both, F2, F2)).count("matmul") == 1


def test_work_is_done_before_spreading() -> None:
    optimized = check(lambda x: [td.exp(td.broadcast_to(x, (4, 3)))], F1, fired=["spread after"])
    assert [node.op for node in optimized.nodes] == ["exp", "broadcast_to"]
    check(lambda x, y: [y + td.broadcast_to(x, (4, 3))], F1, F2, gone=["broadcast_to"], fired=["spread less"])


def test_sum_of_broadcast() -> None:
    for axes in (None, 0, 1, (0, 2), 2):
        for keep in (False, True):
            check(
                lambda x: [td.sum(td.broadcast_to(td.reshape(x, (4, 1, 3)), (4, 5, 3)), axis=axes, keepdims=keep)],
                F2,
                fired=["sum of broadcast"] if axes not in () else (),
                tolerance=1e-14,
            )
    check(lambda x: [td.sum(td.broadcast_to(x, (7, 3)), axis=0)], I1, fired=["sum of broadcast"])
    check(lambda x: [td.sum(td.broadcast_to(x, (0, 3)), axis=0)], F1)


def test_sum_over_axes_of_size_one_keeps_the_sign_of_zero() -> None:
    graph = graph_of(lambda x: [td.sum(x, axis=1)], Spec((3, 1), float64))
    optimized = optimize(graph, verify=True)
    assert "sum" not in ops(optimized)
    assert_same(graph, optimized, [np.array([[-0.0], [1.0], [np.nan]])])


# -- control flow


def test_a_decided_cond_is_its_branch() -> None:
    check(
        lambda x: [td.cond(td.full((), 1.0, dtype=float64) > 0.0, lambda: x * 2.0, lambda: x - 1.0)],
        F1,
        gone=["cond"],
        fired=["cond decided"],
    )


def test_conds_lose_what_nobody_uses() -> None:
    def f(x, y, p):
        a, b, c = td.cond(p, lambda: (td.exp(x), td.tanh(y), y * 1.0), lambda: (x, y, y * 1.0))
        return [a, c]

    optimized = check(f, F1, F1, B0, gone=["tanh"], fired=["prune cond", "around cond"])
    cond = next(node for node in optimized.nodes if node.op == "cond")
    assert len(cond.outputs) == 1
    assert len(cond.inputs) == 2


def test_a_cond_on_not_turns_around() -> None:
    check(
        lambda x, p: [td.cond(td.logical_not(p), lambda: x * 2.0, lambda: x - 1.0)],
        F1,
        B0,
        gone=["logical_not"],
        fired=["cond turned"],
    )


def test_an_effect_keeps_its_cond(capsys) -> None:
    def f(x, p):
        td.cond(p, lambda: (td.print("yes"), x)[1], lambda: x)
        return [x]

    graph = graph_of(f, F1, B0)
    optimized = optimize(graph, verify=True)
    run(optimized, [np.ones(3), np.asarray(True)])
    assert capsys.readouterr().out == "yes\n"


def test_loops_lose_what_nobody_uses() -> None:
    def f(x, y):
        def body(i, a, b, c):
            return i + 1, a * 1.5, b + a, c + b

        return [td.while_loop(lambda i, a, b, c: i < 5, body, (0, x, y, y))[1]]

    optimized = check(f, F1, F1, fired=["prune loop"])
    loop = next(node for node in optimized.nodes if node.op == "while")
    assert len(loop.outputs) == 2


def test_a_carried_value_that_stays_is_a_constant() -> None:
    def f(x, y):
        out = td.while_loop(lambda i, a, b: i < 5, lambda i, a, b: (i + 1, a + b, b), (0, x, y))
        return [out[1], out[2]]

    optimized = check(f, F1, F1, fired=["fixed carry"])
    assert optimized.outputs[1] is optimized.inputs[1]


def test_residuals_that_stay_are_not_stacked() -> None:
    def f(x, y):
        def loss(x, y):
            return td.sum(td.while_loop(lambda i, a, b: i < 5, lambda i, a, b: (i + 1, a * b, b), (0, x, y))[1])

        return list(td.grad(loss, argnums=(0, 1))(x, y))

    check(f, F1, F1, fired=["fixed carry", "fixed x"])


def test_a_loop_of_no_steps_goes() -> None:
    def empty(x):
        carry, ys = td.scan(lambda c, row: (c + row, c * 2.0), x, td.zeros((0, 3), dtype=float64))
        return [carry, ys]

    check(empty, F1, gone=["while"], fired=["loop of no steps"])
    check(lambda x: [td.while_loop(lambda i, a: i < 0, lambda i, a: (i + 1, a * 2.0), (0, x))[1]], F1, gone=["while"])


def test_invariant_work_leaves_the_loop() -> None:
    def f(w, x):
        return [
            td.while_loop(lambda i, a: i < 4, lambda i, a: (i + 1, td.tanh(td.matmul(a, td.matmul(w, w)))), (0, x))[1]
        ]

    optimized = check(f, Spec((3, 3), float64), F2, fired=["hoist"])
    assert [node.op for node in optimized.nodes].count("matmul") == 1
    body = next(node for node in optimized.nodes if node.op == "while").attrs["body"]
    assert [node.op for node in body.nodes].count("matmul") == 1


def test_what_may_fail_stays_in_the_loop() -> None:
    def f(table, k, x):
        return [td.while_loop(lambda i, a: i < 0 * k, lambda i, a: (i + 1, a + table[k + 100]), (0, x))[1]]

    graph = graph_of(f, F1, I0, F0)
    optimized = optimize(graph, verify=True)
    assert run(optimized, [np.ones(3), np.asarray(1), np.asarray(2.0)])[0] == 2.0


def test_constants_go_into_loops() -> None:
    def f(x):
        two = td.exp(td.full((), 0.0, dtype=float64)) + 1.0
        return [td.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, a * two), (0, x))[1]]

    optimized = check(f, F1, fired=["constant inside"])
    assert next(node for node in optimized.nodes if node.op == "while").attrs["layout"].consts == 0


# -- the pipeline


def test_it_is_made_once_and_keeps_places() -> None:
    graph = graph_of(lambda x: [td.exp(x * 1.0)], F1)
    optimized = optimize(graph)
    assert optimize(graph) is optimized
    assert optimize(optimized) is optimized
    assert optimized.nodes[0].location is not None
    assert optimized.nodes[0].location.function == "<lambda>"


def test_symbolic_sizes() -> None:
    n = Dim.named("n")

    def f(x):
        g = td.grad(lambda x: td.mean(td.tanh(x) * td.ones(x.shape, dtype=float64)))(x)
        return [g, td.broadcast_to(td.sum(x), x.shape) + x]

    graph = graph_of(f, Spec((n, 3), float64))
    optimized = optimize(graph, verify=True)
    assert_same(graph, optimized, [RNG.normal(size=(4, 3))], 1e-14)


def test_the_verifier_names_the_pass(monkeypatch) -> None:
    def broken(graph, counts):
        return Graph(graph.name, graph.inputs, graph.nodes[1:], graph.outputs, graph.state)

    monkeypatch.setattr(pipeline, "PASSES", (("broken", broken),))
    with pytest.raises(GraphError, match="broken"):
        optimize(graph_of(lambda x: [td.exp(td.sin(x))], F1), verify=True)


def test_ladder_of_gradients_is_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "unroll_warning", 0)

    def size(stages: int) -> tuple[int, Graph]:
        def f(x, c):
            def ladder(x):
                y = x
                for _ in range(stages):
                    y = (c * y + c * 0.5 * y) + c * 0.5 * y
                return y

            return [td.grad(ladder)(x)]

        graph = graph_of(f, F0, F0)
        return len(optimize(graph, verify=True).nodes), graph

    (few, _), (many, graph) = size(25), size(50)
    assert few < many <= 2 * few
    assert many < 50 * 12
    assert run(optimize(graph), [np.asarray(3.0), np.asarray(0.5)])[0] == 1.0


def test_optimising_is_linear_in_time() -> None:
    def nodes_visited(stages: int) -> int:
        def f(x):
            for k in range(stages):
                x = td.tanh(x * 0.5 + td.sin(x)) - x * float(k)
            return [x]

        graph = graph_of(f, F1)
        calls = 0

        def count(frame, event, argument):
            nonlocal calls
            calls += event == "call"

        sys.setprofile(count)
        try:
            optimize(graph)
        finally:
            sys.setprofile(None)
        return calls

    nodes_visited(4)
    assert nodes_visited(80) < 4.6 * nodes_visited(20)


@pytest.mark.parametrize(
    ("f", "moved"),
    [
        (lambda x: [td.reshape(x * 2, (2, 6)) + 1], 1),
        (lambda x: [td.reshape(td.exp(x) * x + x, (12,)) - 1], 3),  # x is read by several
        (lambda x: [td.reshape((y := x * 2), (2, 6)) + 1, y], 0),  # made anyway
        (lambda x: [td.reshape(x - td.max(x, axis=1, keepdims=True), (2, 6)) + 1], 0),  # belongs to work on rows
        (lambda x: [td.reshape(td.exp(x @ x.T), (16,)) + 1], 0),  # belongs to the product
        (lambda x: [td.reshape(x + td.sum(x), (2, 6)) + 1], 1),  # a number fits any shape
        (lambda x: [td.reshape(td.reshape(x[0, 0], ()) * 2, (1,)) + x[0]], 0),  # and numbers alone have none
    ],
)
def test_work_on_inputs_is_done_after_a_reshape(f, moved):
    graph = graph_of(f, F2)
    made = optimize(graph, verify=True)
    assert rewrites(graph).get("work after reshape", 0) == moved
    assert_same(graph, made, [np.random.default_rng(0).normal(size=(4, 3))], 1e-15)


@pytest.mark.parametrize("shapes", [((7, 1, 5), (7, 5, 1)), ((2, 3, 1, 4), (3, 4, 1)), ((6, 1, 1), (6, 1, 1))])
def test_dot_products_side_by_side_are_rows(shapes: tuple[tuple[int, ...], ...]) -> None:
    specs = [Spec(shape, float64) for shape in shapes]
    check(lambda a, b: [a @ b], *specs, gone=["matmul"], fired=["dot products side by side"], tolerance=1e-12)
    turned = [Spec((*shape[:-2], *shape[:-3:-1]), float64) for shape in shapes]
    check(lambda a, b: [td.matrix_transpose(a) @ td.matrix_transpose(b)], *turned, gone=["matmul"], tolerance=1e-12)
    check(lambda a, b: [td.vecdot(a, b)], *[Spec((4, 3), float64)] * 2, gone=["matmul"], tolerance=1e-12)
