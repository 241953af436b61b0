"""Custom gradients, hooks and checkpoints: eagerly and traced, of any order, with variables."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import treadle as td

GradientError = td.errors.GradientError
F8 = td.float64
X = td.asarray(np.float64(0.7))
V = td.Variable(np.float64(2.0), name="v")


@pytest.fixture(params=["eager", "traced"])
def run(request):
    return (lambda f, *args: f(*args)) if request.param == "eager" else (lambda f, *args: td.function(f)(*args))


@td.custom_gradient
def by_function(x):
    y = td.exp(x)
    return y, lambda g: g * y


@td.custom_gradient
class ByClass:
    @staticmethod
    def forward(ctx, x):
        y = td.exp(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * y


@pytest.mark.parametrize("f", [by_function, ByClass])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_any_order(run, f, order):
    g = f
    for _ in range(order):
        g = td.grad(g)
    assert run(g, X).item() == pytest.approx(np.exp(0.7), rel=1e-12)


def test_the_rule_is_the_users(run):
    @td.custom_gradient
    def doubled(x, y):
        return x * y, lambda g: (g * 100.0, None)

    (dx, dy) = run(lambda x: td.grad(lambda a, b: doubled(a, b), argnums=(0, 1))(x, x), X)
    assert (dx.item(), dy.item()) == (100.0, 0.0)


def test_nests_and_several_results(run):
    @td.custom_gradient
    def f(pair, scale):
        a, b = pair["a"], pair["b"]
        return (a * scale, [b]), lambda ga, gb: (ga * 2.0, gb * 3.0)

    def g(x):
        return td.grad(lambda x: td.sum(f({"a": x, "b": x * x}, 5)[0]) + f({"a": x, "b": x * x}, 5)[1][0])(x)

    assert run(g, X).item() == pytest.approx(2 + 3 * 2 * 0.7)


def test_variables_inside(run):
    @td.custom_gradient
    def f(x):
        return x * V, lambda g: g * V * 10

    def g(x):
        with td.GradientTape() as tape:
            tape.watch(x)
            y = f(x)
        return y, tape.gradient(y, x)

    assert [t.item() for t in run(g, X)] == pytest.approx([1.4, 20.0])


@pytest.mark.parametrize("nested", [False, True])
def test_assignments_inside_happen_once(run, nested):
    count = td.Variable(0.0, trainable=False)

    @td.custom_gradient
    def f(x):
        count.assign_add(1.0)
        return x * x, lambda g: g * 2 * x

    g = td.grad(td.grad(f)) if nested else td.grad(f)
    assert run(g, X).item() == pytest.approx(2.0 if nested else 1.4)
    assert count.numpy().item() == 1.0


def test_random_numbers_inside_are_drawn_once(run):
    @td.custom_gradient
    def dropped(x):
        mask = td.astype(td.random.uniform((8,)) > 0.5, F8)
        return x * mask, lambda g: td.sum(g * mask * x * x)

    def f(x):
        with td.GradientTape() as outer:
            outer.watch(x)
            with td.GradientTape() as inner:
                inner.watch(x)
                y = dropped(x)
            first = inner.gradient(y, x)
        return y, first, outer.gradient(first, x)

    td.random.seed(3)
    y, first, second = run(f, X)
    kept = (y.numpy() != 0).sum()
    assert 0 < kept < 8
    assert first.item() == pytest.approx(kept * 0.49)
    assert second.item() == pytest.approx(kept * 1.4)


def test_in_loops_and_branches(run):
    def f(x):
        y = x
        for i in td.range(3):
            y = by_function(td.sin(y)) if i > 0 else ByClass(y)
        return y

    plain = lambda x: td.exp(td.sin(td.exp(td.sin(td.exp(x)))))
    for ours, theirs in [(td.grad(f), td.grad(plain)), (td.grad(td.grad(f)), td.grad(td.grad(plain)))]:
        assert run(ours, X).item() == pytest.approx(theirs(X).item(), rel=1e-10)


def test_mistakes_are_named(run):
    def case(f):
        return run(lambda x: td.grad(td.custom_gradient(f))(x), X)

    def no_rule(x):
        return x

    def too_many(x):
        return x * 2, lambda g: (g, g)

    def wrong_shape(x):
        return x * 2, lambda g: td.ones(3, dtype=F8)

    with pytest.raises(GradientError, match=r"no_rule must return \(value, gradient function\)"):
        case(no_rule)
    with pytest.raises(GradientError, match="too_many gave 2 values for 1 tensors"):
        case(too_many)
    with pytest.raises(GradientError, match=r"wrong_shape with respect to tensor 0 has shape \(3,\)"):
        case(wrong_shape)


def test_a_traced_gradient_cannot_assign():
    seen = td.Variable(np.float64(0.0))

    @td.function
    def f(x):
        return td.grad(lambda x: td.gradient_hook(x * 2, lambda g: seen.assign(g).value))(x)

    with pytest.raises(GradientError, match="assigns the variable 'variable'"):
        f(X)


def test_hooks_see_and_replace(run, capsys):
    def f(x):
        def loss(x):
            y = td.gradient_hook(x * 3, lambda g: td.print("flow", g))
            return td.gradient_hook(y * y, lambda g: td.clip(g, -0.5, 0.5))

        return td.grad(loss)(x)

    assert run(f, X).item() == pytest.approx(0.5 * 2 * 2.1 * 3)
    word, flow = capsys.readouterr().out.split()
    assert (word, float(flow)) == ("flow", pytest.approx(2.1))


# -- checkpoints -------------------------------------------------------------------------------------------------------


def layer(x, power=2):
    return td.tanh(td.sin(x) * V) ** power + x


@pytest.mark.parametrize("order", [1, 2])
def test_a_checkpoint_changes_no_gradient(run, order):
    light = td.checkpoint(layer)

    def gradients(f):
        def g(x):
            with td.GradientTape() as outer:
                outer.watch(x)
                with td.GradientTape() as inner:
                    inner.watch(x)
                    y = f(f(x), power=3)
                first = inner.gradient(y, [x, V])
                along = first[0] * first[1]
            return [y, *first] if order == 1 else outer.gradient(along, [x, V])

        return g

    for got, want in zip(run(gradients(light), X), gradients(layer)(X), strict=True):
        assert got.item() == pytest.approx(want.item(), rel=1e-10)
    assert run(lambda x: light(x), X).item() == pytest.approx(layer(X).item(), rel=1e-14)


def test_a_checkpoint_runs_again_and_keeps_nothing():
    runs, inside = [], []

    @td.checkpoint
    def f(x):
        y = td.sin(x)
        runs.append(1)
        inside.append(weakref.ref(y))
        return td.sum(y * y)

    x = td.asarray(np.ones(10))
    with td.GradientTape() as tape:
        tape.watch(x)
        y = f(x)
    gc.collect()
    assert len(runs) == 1
    assert inside[0]() is None
    np.testing.assert_allclose(tape.gradient(y, x).numpy(), 2 * np.sin(1) * np.cos(1))
    assert len(runs) == 2


def test_a_checkpoint_uses_the_values_of_its_first_run(run):
    """Random numbers and variables that change in between: the gradient is that of what was computed."""
    w = td.Variable(np.float64(3.0))

    @td.checkpoint
    def f(x):
        noise = td.random.uniform((), dtype=F8)
        w.assign_add(noise)
        return x * x * noise * w, noise

    def g(x):
        with td.GradientTape() as tape:
            tape.watch(x)
            y, noise = f(x)
            after = w.value
        w.assign(100.0)
        return y, noise, after, tape.gradient(y, [x, w])

    w.assign(3.0)
    td.random.seed(1)
    y, noise, after, (dx, dw) = run(g, X)
    assert after.item() == pytest.approx(3 + noise.item())
    assert dx.item() == pytest.approx(2 * 0.7 * noise.item() * after.item())
    assert dw.item() == pytest.approx(0.49 * noise.item())


def test_a_checkpoint_over_captured_tensors_and_control_flow(run):
    def f(x, w):
        @td.checkpoint
        def inner(x):
            y = x
            for i in td.range(3):
                y = td.sin(y) * w if y > 0 else y * 2
            return {"y": y, "same": x, "text": "kept"}

        out = inner(x)
        assert out["text"] == "kept"
        return out["y"] * out["same"]

    def plain(x, w):
        y = x
        for _ in range(3):
            y = td.sin(y) * w if y > 0 else y * 2
        return y * x

    got = run(lambda x, w: td.grad(f, argnums=(0, 1))(x, w), X, X + 1)
    want = td.grad(plain, argnums=(0, 1))(X, X + 1)
    assert [g.item() for g in got] == pytest.approx([g.item() for g in want], rel=1e-10)


def test_a_checkpoint_prints_once_when_traced(capsys):
    @td.checkpoint
    def f(x):
        td.print("in")
        return td.sin(x) * x

    td.function(lambda x: td.grad(f)(x))(X)
    assert capsys.readouterr().out == "in\n"
