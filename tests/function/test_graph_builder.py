"""Graphs built by hand, and pruned ones."""

import numpy as np
import pytest

import treadle as td


def test_t1_t3_strings_feeds_and_names():
    with td.Graph() as g:
        a = g.placeholder((), td.string, "a")
        b = g.placeholder((), td.string, "b")
        c = td.strings.join([a, b], " ")
        d = td.strings.join([a, b], "-")
    assert g.run(c, {a: "hello", b: "world"}) == "hello world"
    assert g.run({"c": c, "d": d}, {"a": "x", "b": "y"}) == {"c": "x y", "d": "x-y"}
    assert (c.name, d.name) == ("join", "join_1")
    assert len({n.name for n in g.nodes}) == 2


def test_t2_a_missing_feed_is_named_with_its_line():
    with td.Graph() as g:
        a = g.placeholder((), td.float32, "first")
        b = g.placeholder((), td.float32, "second")
        c = a + b
    with pytest.raises(
        td.errors.GraphError, match=r"(?s)'second' \(float32\[\]\).*g.placeholder\(\(\), td.float32, \"second\""
    ):
        g.run(c, {a: 1.0})
    assert g.run(a * 1 if False else a, {a: 1.0}).item() == 1.0


def test_t4_training_by_hand():
    rng = np.random.default_rng(0)
    x0, y0 = rng.normal(size=(8, 4)), rng.normal(size=(8, 2))
    start = [rng.normal(size=(4, 5)), rng.normal(size=(5, 2))]
    w1, w2 = (td.Variable(w.astype(np.float32)) for w in start)
    with td.Graph() as g:
        x = g.placeholder((None, 4), name="x")
        y = g.placeholder((None, 2), name="y")
        with td.GradientTape() as tape:
            loss = td.sum((td.maximum(x @ w1, 0.0) @ w2 - y) ** 2)
        g1, g2 = tape.gradient(loss, [w1, w2])
        new_w1, new_w2 = w1.assign(w1 - 1e-3 * g1), w2.assign(w2 - 1e-3 * g2)
    losses = [g.run((loss, new_w1, new_w2), {x: x0, y: y0})[0].item() for _ in range(500)]
    a, b = start
    for k in range(500):
        h = np.maximum(x0 @ a, 0)
        d = 2 * (h @ b - y0)
        if k in (0, 10, 499):
            np.testing.assert_allclose(losses[k], ((h @ b - y0) ** 2).sum(), rtol=1e-3)
        a, b = a - 1e-3 * x0.T @ ((d @ b.T) * (h > 0)), b - 1e-3 * h.T @ d
    np.testing.assert_allclose(w1.numpy(), a, rtol=1e-2, atol=1e-3)
    before = w1.numpy()
    g.run(loss, {x: x0[:3], y: y0[:3]})
    np.testing.assert_array_equal(w1.numpy(), before)


def test_each_fetch_is_evaluated_once(capsys):
    with td.Graph() as g:
        x = g.placeholder((), td.float32, "x")
        y = td.py_function(lambda v: print("called") or v, x, out=td.TensorSpec(()))
        z, w = y + 1, y * 2
    out = g.run((y, z, w, y), {x: 3.0})
    assert [v.item() for v in out] == [3.0, 4.0, 6.0, 3.0]
    assert capsys.readouterr().out == "called\n"


def test_t5_a_variable_without_a_value_is_named():
    v = td.Variable(td.TensorSpec((2,)), name="weights")
    with td.Graph() as g:
        y = v * 2
    with pytest.raises(td.errors.UndefinedVariable, match="weights"):
        g.run(y)
    v.assign([1.0, 2.0])
    assert g.run(y).tolist() == [2.0, 4.0]


def test_everything_runs_where_nothing_is_fetched(capsys):
    v = td.Variable(1.0)
    with td.Graph() as g:
        td.print("before", v)
        v.assign_add(1.0)
        td.print("after", v)
    assert g.run() is None
    assert capsys.readouterr().out == "before 1.0\nafter 2.0\n"
    assert v.numpy() == 2.0


def test_g1_the_graph_of_two_sums():
    @td.function
    def f(a, b):
        c = a + b
        d = b + 1.0
        return c * d

    a, b = td.asarray(2.0), td.asarray(1.0)
    assert f(a, b).item() == 6.0
    assert [g.item() for g in td.grad(f, argnums=(0, 1))(a, b)] == [2.0, 5.0]
    graph = f.traces[0].graph
    c, d, e = [n for n in graph.nodes if n.op != "constant"]
    assert [n.op for n in (c, d, e)] == ["add", "add", "multiply"]
    assert c.inputs == graph.inputs
    assert d.inputs[0] is graph.inputs[1]
    assert e.inputs == (*c.outputs, *d.outputs)


def test_g8_effects_are_joined_by_dashed_edges():
    v = td.Variable(1.0, name="total")

    @td.function
    def f(x):
        td.print("a", x)
        v.assign_add(x)
        td.print("b", v)
        assert x > 0
        return x

    dot = f.trace(td.TensorSpec(())).graph.to_dot()
    assert dot.count("style=dashed") == 2
    assert 'shape=cylinder, label="total' in dot
    assert "total (new value)" in dot


def test_g9_dead_computations_are_cut_and_effects_stay(capsys):
    from treadle.optimize.pipeline import optimize

    v = td.Variable(1.0)

    @td.function
    def f(x):
        td.exp(x)
        td.print("shown")
        v.assign(x)
        v.assign(x + 1)
        return x

    f(td.asarray(1.0))
    ops = [n.op for n in optimize(f.traces[0].graph).nodes]
    assert "exp" not in ops
    assert "print" in ops
    assert v.numpy() == 2.0
    assert capsys.readouterr().out == "shown\n"


def test_g10_by_hand_and_by_running_agree():
    def f(a, b):
        return (a + b) * (b + 1)

    a, b = td.asarray([1.0, 2.0]), td.asarray(3.0)
    with td.Graph() as g:
        p, q = g.placeholder((None,)), g.placeholder(())
        r = f(p, q)
    assert g.run(r, {p: a, q: b}).tolist() == f(a, b).tolist() == td.function(f)(a, b).tolist()


def test_prune_takes_any_inner_tensor(capsys):
    w = td.asarray(10.0)
    v = td.Variable(2.0)

    @td.function
    def f(x):
        y = x + 1
        td.print("effect")
        z = y * w
        return z - v

    graph = f.trace(td.asarray(1.0)).graph
    by_op = {n.op: n.outputs[0] for n in graph.nodes if n.outputs}
    inner = graph.prune([by_op["add"]], {"z": by_op["multiply"], "out": graph.outputs[0]})
    result = inner(5.0)
    assert (result["z"].item(), result["out"].item()) == (50.0, 48.0)
    assert graph.prune(graph.inputs[0], by_op["add"])(4.0).item() == 5.0
    assert capsys.readouterr().out == ""
    with pytest.raises(td.errors.GraphError, match="needed and not fed"):
        graph.prune([], by_op["add"])
    with pytest.raises(td.errors.GraphError, match="another graph"):
        f.trace(td.asarray([1.0])).graph.prune([], by_op["add"])


def test_feeds_are_checked():
    with td.Graph() as g:
        x = g.placeholder(("n", 2), td.float32, "x")
        y = x * 2
    assert g.run(y, {x: [[1, 2]]}).tolist() == [[2.0, 4.0]]
    assert g.run(y, {x: np.ones((3, 2))}).dtype == td.float32
    with pytest.raises(td.errors.GraphError, match=r"'x' is float32\[None, 2\], the value fed to it is float32\[3\]"):
        g.run(y, {x: np.ones(3, np.float32)})
    with pytest.raises(td.errors.GraphError, match="got float|is called 'nobody'|a feed or fetch"):
        g.run("nobody", {})
    with pytest.raises(td.errors.LeakedTensor):
        _ = y + 1
