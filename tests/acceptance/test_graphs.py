"""Graphs, rows G1 to G10: what a graph holds, how derivatives pass through it, and what may be cut."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td
from treadle.optimize.pipeline import optimize


def edges(dot: str) -> set[tuple[str, str]]:
    """The solid edges of a drawn graph."""
    return {(a, b) for a, b, style in re.findall(r'"([^"]+)" -> "([^"]+)"( \[style=dashed\])?;', dot) if not style}


def dashed(dot: str) -> list[tuple[str, str]]:
    """The dashed edges of a drawn graph, in order."""
    return re.findall(r'"([^"]+)" -> "([^"]+)" \[style=dashed\];', dot)


def ops(graph) -> list[str]:
    return [node.op for node in graph.nodes]


# -- G1 ----------------------------------------------------------------------------------------------------------------


def diamond(a, b):
    c = a + b
    d = b + 1
    return c * d


def test_G1_reverse_mode_gives_all_derivatives_in_one_pass(run):
    @run
    def both(a, b):
        with td.GradientTape() as tape:
            tape.watch((a, b))
            e = diamond(a, b)
        return e, tape.gradient(e, (a, b))

    e, (da, db) = both(td.asarray(2.0), td.asarray(1.0))
    assert e.item() == 6
    assert da.item() == 2
    assert db.item() == 5


def test_G1_graph_view_lists_three_ops_and_their_edges():
    graph = td.function(diamond).trace(td.TensorSpec(()), td.TensorSpec(())).graph
    listed = [line for line in str(graph).splitlines() if " = " in line]
    assert [re.search(r"= (\w+)\(", line).group(1) for line in listed] == ["add", "add", "multiply"]
    c, d, e = "add", "add_1", "multiply"
    drawn = {(x, y) for x, y in edges(graph.to_dot()) if not y.startswith("output")}
    assert drawn == {("a", c), ("b", c), ("b", d), (c, e), (d, e)}


# -- G2, G3 ------------------------------------------------------------------------------------------------------------


def test_G2_forward_mode_propagates_one_input_a_pass(run, tally):
    def counted(a, b):
        tally()
        return diamond(a, b)

    @run
    def along(a, b, ta, tb):
        return td.jvp(counted, (a, b), (ta, tb))

    a, b, one, zero = td.asarray(2.0), td.asarray(1.0), td.asarray(1.0), td.asarray(0.0)
    value, tangent = along(a, b, zero, one)
    assert (value.item(), tangent.item()) == (6, 5)
    assert tally.count == 1
    value, tangent = along(a, b, one, zero)
    assert (value.item(), tangent.item()) == (6, 2)
    assert tally.count == (1 if run.traced else 2)


def test_G3_dual_numbers(run):
    @run
    def dual(x):
        return td.jvp(lambda x: x**3, (x,), (1.0,))

    value, tangent = dual(td.asarray(2.0))
    assert (value.item(), tangent.item()) == (8, 12)
    value, tangent = td.jvp(lambda x: x**3, (2.0,), (1.0,))
    assert (value.item(), tangent.item()) == (8, 12)


# -- G4, G5 ------------------------------------------------------------------------------------------------------------


def ladder(y, stages):
    for _ in range(stages):
        y = (0.5 * y + 0.25 * y) + 0.25 * y
    return y


def test_G4_three_to_the_fiftieth_paths_cost_fifty_stages(run):
    @run
    def slope(x):
        return td.grad(lambda x: ladder(x, 50))(x)

    assert slope(td.asarray(1.0)).item() == 1.0


def test_G4_the_backward_pass_is_linear_in_the_stages():
    def size(stages):
        return len(td.function(td.grad(lambda x: ladder(x, stages))).trace(td.TensorSpec(())).graph.nodes)

    sizes = [size(stages) for stages in (20, 30, 40, 50)]
    steps = np.diff(sizes)
    assert len(set(steps.tolist())) == 1
    assert 0 < steps[0] <= 10 * 20


def test_G5_reverse_mode_with_a_million_inputs(run, tally):
    def loss(x):
        tally()
        return td.sum(x * x)

    slope = run(td.grad(loss))
    x = td.asarray(np.linspace(-1, 1, 1_000_000, dtype=np.float32))
    np.testing.assert_array_equal(slope(x).numpy(), 2 * x.numpy())
    assert tally.count == 1
    if run.traced:
        graph = slope.traces[0].graph
        assert len(graph.nodes) < 20
        assert not {"while", "cond"} & {node.op for node in graph.walk()}


# -- G6, G7 ------------------------------------------------------------------------------------------------------------


def test_G6_numeric_derivatives_as_oracle():
    def f(x, w):
        return td.sum(td.tanh(x @ w) * td.exp(-x[:, :1]))

    rng = np.random.default_rng(1)
    args = td.asarray(rng.normal(size=(3, 2))), td.asarray(rng.normal(size=(2, 4)))
    td.testing.check_grads(f, args)
    td.testing.check_grads(td.function(f), args)

    @td.custom_gradient
    def wrong(x):
        return x * x, lambda g: g * 2.001 * x

    with pytest.raises(AssertionError):
        td.testing.check_grads(lambda x: td.sum(wrong(x)), (td.asarray([1.0, 2.0], dtype=td.float64),))
    with pytest.raises(AssertionError):  # the oracle itself drowns in rounding when its step is too small
        td.testing.check_grads(f, args, step=1e-11)


def test_G6_too_small_a_step_shows_rounding_errors(run):
    f = run(lambda x: td.exp(td.sin(x)))
    x = td.asarray(1.0, dtype=td.float64)
    exact = td.grad(lambda x: td.exp(td.sin(x)))(x).item()

    def error(h):
        return abs((f(x + h) - f(x - h)).item() / (2 * h) - exact)

    assert error(1e-5) < 1e-9
    errors = [error(h) for h in (1e-8, 1e-10, 1e-12, 1e-14)]
    assert errors[0] < errors[1] < errors[2] < errors[3]


UNARY = (td.sin, td.tanh, td.exp, lambda x: x * x, lambda x: x**3, lambda x: td.log(x * x + 1.0))
unary = st.sampled_from(UNARY)
point = st.floats(-2, 2, allow_nan=False).map(lambda v: td.asarray(v, dtype=td.float64))


def check_rules(way, f, g, x):
    d = td.grad

    def slope(h):
        return way(d(h))(x).item()

    df, dg = d(f)(x).item(), d(g)(x).item()
    close = {"rel": 1e-12, "abs": 1e-12}
    assert slope(lambda x: f(x) + g(x)) == pytest.approx(df + dg, **close)
    assert slope(lambda x: f(x) * g(x)) == pytest.approx(df * g(x).item() + f(x).item() * dg, **close)
    assert slope(lambda x: f(g(x))) == pytest.approx(d(f)(g(x)).item() * dg, **close)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(unary, unary, point)
def test_G7_rules_of_sum_product_and_chain_eager(f, g, x):
    check_rules(lambda h: h, f, g, x)


@settings(derandomize=True, deadline=None, max_examples=10)
@given(unary, unary, point)
def test_G7_rules_of_sum_product_and_chain_traced(f, g, x):
    check_rules(td.function, f, g, x)


# -- G8, G9 ------------------------------------------------------------------------------------------------------------


def test_G8_effects_are_chained_by_dashed_edges_and_variables_are_named_ends():
    total = td.Variable(1.0, name="total")

    @td.function
    def f(x):
        td.print("before", total)
        assert x > 0
        total.assign_add(x)
        seen = td.py_function(lambda v: v, total, out=td.TensorSpec(()))
        td.print("after", seen)
        return x * 2

    dot = f.trace(td.TensorSpec(())).graph.to_dot()
    chain = dashed(dot)
    kinds = [name.rpartition("/")[2].rstrip("_0123456789") for name in [chain[0][0], *(b for _, b in chain)]]
    assert kinds == ["print", "assert", "py_function", "print"]
    assert all(a == b for (_, a), (b, _) in zip(chain, chain[1:]))
    # data goes along solid edges, from the variable's first value and to its last
    solid = edges(dot)
    assert ("x", "multiply") in solid
    assert any(a == "total" for a, _ in solid)
    assert re.search(r'"total" \[[^\]]*label="total', dot)
    assert re.search(r'label="total \(new value\)"', dot)


def test_G9_dead_computations_are_cut_and_effects_stay(printed):
    last = td.Variable(0.0, name="last")

    @td.function
    def f(x):
        td.tanh(x)
        unused = td.exp(x) @ td.ones((2,))
        td.print("seen", unused > 1e9)
        last.assign(1.0)
        last.assign(td.sum(x))
        return x + 1

    x = td.asarray([1.0, 2.0])
    assert f(x).tolist() == [2, 3]
    assert printed() == ["seen False"]
    assert last.numpy() == 3
    kept = [node.op for node in optimize(f.traces[0].graph).walk()]
    assert "tanh" not in kept
    assert kept.count("print") == 1
    assert kept.count("sum") == 1


# -- G10 ---------------------------------------------------------------------------------------------------------------

PAGE = {
    "diamond": (diamond, [2.0, 1.0]),
    "cube": (lambda x: x**3, [2.0]),
    "cube slope": (td.grad(lambda x: x**3), [2.0]),
    "ladder": (lambda x: ladder(x, 50), [3.0]),
    "ladder slope": (td.grad(lambda x: ladder(x, 50)), [3.0]),
    "dual": (lambda x: td.jvp(lambda x: x**3, (x,), (1.0,))[1], [2.0]),
    "quadratic": (lambda x: x * x - 2.0 * x + 1.0, [[[0.0, 0.0], [1.0, 2.0]]]),
    "square of sum": (lambda x: td.sum(x) ** 2, [[[1.0, 1.0], [1.0, 1.0]]]),
    "layer": (lambda x, y, b: x @ y + b, [[[1.0, 2.0]], [[2.0], [3.0]], 4.0]),
    "net": (lambda x, w, b: td.sum(td.maximum(x @ w + b, 0.0)), [[[-1.0, -1.0], [1.0, 1.0]], [[3.0], [1.0]], 3.0]),
    "net slope": (
        td.grad(lambda w, x: td.mean((td.maximum(x @ w, 0.0) - 2.0) ** 2)),
        [[[3.0], [1.0]], [[-1.0, -1.0], [1.0, 1.0]]],
    ),
    "hook": (td.grad(lambda x: td.gradient_hook(x + 1, lambda g: g * 2) ** 2), [3.0]),
    "softmax": (lambda x: td.exp(x - td.logsumexp(x, axis=-1, keepdims=True)), [[[0.0, 1.0, 2.0]]]),
    "branch": (lambda x: td.cond(x > 0, lambda x: x * 2, lambda x: -x, x), [-3.0]),
    "loop": (lambda x: td.while_loop(lambda x: x < 100, lambda x: (x * 2,), (x,))[0], [3.0]),
}


@pytest.mark.parametrize("name", PAGE)
def test_G10_eager_traced_and_by_hand_are_equal(name):
    f, values = PAGE[name]
    args = [td.asarray(v) for v in values]
    eager = f(*args)
    traced = td.function(f)(*args)
    with td.Graph() as g:
        places = [g.placeholder(x.shape, x.dtype, f"x{k}") for k, x in enumerate(args)]
        result = f(*places)
    by_hand = g.run(result, dict(zip(places, args, strict=True)))
    assert traced.dtype == by_hand.dtype == eager.dtype
    np.testing.assert_allclose(traced.numpy(), eager.numpy(), rtol=1e-6)  # to float32 rounding of two or three steps
    np.testing.assert_array_equal(by_hand.numpy(), traced.numpy())
