"""Tapes: each sentence of what they promise, eagerly and inside a function."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import treadle as td

GradientError = td.errors.GradientError
F8 = td.float64


@pytest.fixture(params=["eager", "traced"])
def run(request):
    return (lambda f, *args: f(*args)) if request.param == "eager" else (lambda f, *args: td.function(f)(*args))


X = td.asarray(np.float64(3.0))


def test_sources_are_any_nest(run):
    v = td.Variable(np.float64(2.0))

    def f(x):
        with td.GradientTape() as tape:
            tape.watch({"a": x})
            z = x * x
            y = z * v
        return tape.gradient(y, {"x": x, "rest": [v, (z,)]})

    got = run(f, X)
    assert got["x"].item() == 12.0
    assert got["rest"][0].item() == 9.0
    assert got["rest"][1][0].item() == 2.0


def test_a_variable_is_watched_when_it_is_read(run):
    v, frozen = td.Variable(2.0), td.Variable(2.0, trainable=False)

    def f():
        with td.GradientTape() as tape:
            y = v * v * frozen
        return tape.gradient(y, [v, frozen]), [w is v for w in tape.watched_variables()]

    (dv, df), watched = run(f)
    assert (dv.item(), df) == (8.0, None)
    assert watched == [True]


def test_watching_can_be_left_to_the_user(run):
    v, w = td.Variable(2.0), td.Variable(3.0, trainable=False)

    def f():
        with td.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(w)
            y = v * w
        return tape.gradient(y, [v, w])

    dv, dw = run(f)
    assert (dv, dw.item()) == (None, 2.0)


def test_reads_before_the_tape_do_not_count(run):
    v = td.Variable(2.0)

    def f():
        early = v * v
        with td.GradientTape() as tape:
            y = early + v
        return tape.gradient(y, v)

    assert run(f).item() == 1.0


def test_reset_forgets(run):
    def f(x):
        with td.GradientTape() as tape:
            tape.watch(x)
            y = x * x
            tape.reset()
            tape.watch(x)
            z = x * 5
        return tape.gradient([y, z], x), tape.watched_variables()

    got, watched = run(f, X)
    assert got.item() == 5.0
    assert watched == ()


def test_reset_makes_a_tape_usable_again(run):
    def f(x):
        tape = td.GradientTape()
        results = []
        for factor in (2.0, 3.0):
            with tape:
                tape.watch(x)
                y = x * factor
            results.append(tape.gradient(y, x))
            tape.reset()
        return results

    assert [g.item() for g in run(f, X)] == [2.0, 3.0]


def test_unconnected(run):
    def f(x, other):
        with td.GradientTape(persistent=True) as tape:
            tape.watch([x, other])
            y = x * 2
        return tape.gradient(y, [other]), tape.gradient(y, [other], unconnected="zero"), tape.jacobian(y, other)

    none, zero, jacobian = run(f, X, td.ones((2, 3)))
    assert none == [None]
    assert zero[0].shape == (2, 3)
    assert not zero[0].numpy().any()
    assert jacobian is None
    with pytest.raises(GradientError, match=r'unconnected must be "none" or "zero", got \'zeros\''):
        td.GradientTape().gradient(X, X, unconnected="zeros")


def test_integer_sources_and_targets(run):
    def f(x, k):
        with td.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = x * k
            rounded = td.astype(y, td.int64)
        return tape.gradient(y, [x, k]), tape.gradient(rounded, x), tape.gradient([y, rounded], x)

    (dx, dk), none, mixed = run(f, X, td.asarray(4))
    assert (dx.item(), dk, none, mixed.item()) == (4.0, None, None, 4.0)
    with pytest.raises(GradientError, match="watch: gradients flow through floating tensors only, got int64"):
        td.GradientTape().watch(td.asarray(1))


def test_output_gradients(run):
    def f(x, seed):
        with td.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y, z = x * x, x * 3
        return tape.gradient([y, z], x, output_gradients=[seed, seed * 10])

    assert run(f, td.asarray([1.0, 2.0]), td.asarray([1.0, -1.0])).tolist() == [32.0, -34.0]
    with td.GradientTape() as tape:
        tape.watch(X)
        y = X * X
    with pytest.raises(td.errors.ShapeError, match=r"output_gradients has shape \(2,\), the target \(\)"):
        tape.gradient(y, X, output_gradients=td.ones(2))
    with pytest.raises(GradientError, match="1 output_gradients for 2 targets"):
        tape.gradient([y, y], X, output_gradients=[td.ones(())])
    assert tape.gradient(y, X).item() == 6.0  # a question that failed is none


def test_one_tensor_twice(run):
    def f(x):
        with td.GradientTape() as tape:
            tape.watch(x)
            y = x * x
        return tape.gradient([y, y], [x, x])

    assert [g.item() for g in run(f, X)] == [12.0, 12.0]


def test_target_that_is_the_source(run):
    def f(x, other):
        with td.GradientTape(persistent=True) as tape:
            tape.watch(x)
        return tape.gradient(x, x), tape.gradient(x, other)

    one, none = run(f, X, X * 2)
    assert one.item() == 1.0
    assert none is None


def test_third_order_by_nested_tapes(run):
    def f(x):
        with td.GradientTape() as a:
            a.watch(x)
            with td.GradientTape() as b:
                b.watch(x)
                with td.GradientTape() as c:
                    c.watch(x)
                    y = x**4 + td.sin(x)
                first = c.gradient(y, x)
            second = b.gradient(first, x)
        return first, second, a.gradient(second, x)

    x = 3.0
    wanted = [4 * x**3 + np.cos(x), 12 * x**2 - np.sin(x), 24 * x - np.cos(x)]
    np.testing.assert_allclose([g.item() for g in run(f, X)], wanted, rtol=1e-12)


def test_an_outer_tape_sees_only_what_it_watches(run):
    """No confusion between tapes: d/dx (x * d/dy (x + y)) is 1."""

    def f(x):
        return td.grad(lambda x: x * td.grad(lambda y: x + y)(td.asarray(np.float64(1.0))))(x)

    assert run(f, X).item() == 1.0


def test_a_persistent_tape_across_functions():
    double = td.function(lambda x: x * 2)
    v = td.Variable(3.0)
    read = td.function(lambda: v * v)
    with td.GradientTape(persistent=True) as tape:
        tape.watch(X)
        y = double(double(X)) * double(X)
        z = read() * 2
    for _ in range(2):
        assert tape.gradient(y, X).item() == 48.0
        assert tape.gradient(z, v).item() == 12.0
    jacobian = tape.jacobian(td.asarray(1.0), X)
    assert jacobian is None


def test_jacobian(run):
    def f(x):
        with td.GradientTape() as tape:
            tape.watch(x)
            y = td.stack([td.sum(x * x), x[0] * x[1]])
        return tape.jacobian(y, x)

    assert run(f, td.asarray([2.0, 5.0])).tolist() == [[4.0, 10.0], [5.0, 2.0]]


def test_stop_recording_resumes(run):
    def f(x):
        with td.GradientTape() as tape:
            tape.watch(x)
            with tape.stop_recording():
                with tape.stop_recording():
                    hidden = x * 100
                hidden = hidden + x
            y = x * x + hidden
        return tape.gradient(y, x)

    assert run(f, X).item() == 6.0


# -- misuse ------------------------------------------------------------------------------------------------------------


def test_asked_twice():
    with td.GradientTape() as tape:
        tape.watch(X)
        y = X * X
    tape.gradient(y, X)
    for ask in (tape.gradient, tape.jacobian):
        with pytest.raises(GradientError, match="persistent=True"):
            ask(y, X)


def test_entered_twice():
    tape = td.GradientTape()
    with tape:
        with pytest.raises(GradientError, match="already recording"):
            tape.__enter__()
    with tape:  # one after the other is fine
        tape.watch(X)
        y = X * 2
    assert tape.gradient(y, X).item() == 2.0


def test_asked_inside_a_function_that_it_was_entered_around():
    with td.GradientTape() as tape:
        tape.watch(X)
        y = X * X

        @td.function
        def f():
            return tape.gradient(y, X)

        with pytest.raises(GradientError, match="entered outside the function that is being traced"):
            f()
    assert tape.gradient(y, X).item() == 6.0


def test_watching_inside_what_is_one_operation():
    with td.GradientTape() as tape:

        @td.function
        def f(x):
            tape.watch(x)
            return x * x

        with pytest.raises(GradientError, match="watch it|watch the tensor outside"):
            f(X)


def test_asked_inside_a_branch_for_what_the_branch_made():
    @td.function
    def f(x):
        with td.GradientTape() as tape:
            tape.watch(x)
            if x > 0:
                y = x * x
                g = tape.gradient(y, x)
            else:
                g = x
        return g

    with pytest.raises(GradientError, match="made inside a branch or a loop body"):
        f(X)


def test_a_tape_inside_a_branch(run):
    def f(x):
        if x > 0:
            with td.GradientTape() as tape:
                tape.watch(x)
                y = x * x
            g = tape.gradient(y, x)
        else:
            g = x
        return g

    assert run(f, X).item() == 6.0
    assert run(f, -X).item() == -3.0


def test_asked_inside_a_branch_for_what_was_made_outside(run):
    def f(x):
        with td.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = x * x
        if x > 0:
            g = tape.gradient(y, x)
        else:
            g = x
        return g

    assert run(f, X).item() == 6.0


def test_wrong_kinds():
    tape = td.GradientTape()
    with pytest.raises(GradientError, match="watch: takes tensors and variables, got float"):
        tape.watch([1.0])
    with pytest.raises(
        GradientError, match="a source must be a tensor or a Variable, got float; make it with td.asarray"
    ):
        tape.gradient(X, 1.0)


# -- what it keeps -----------------------------------------------------------------------------------------------------


def test_a_tape_that_has_given_its_gradient_keeps_no_tensor():
    x = td.asarray(np.ones(1000))
    with td.GradientTape() as tape:
        tape.watch(x)
        middle = td.sin(x)
        y = td.sum(middle * middle)
    refs = [weakref.ref(t) for t in (x, middle, y)]
    assert tape.gradient(y, x).shape == (1000,)
    del x, middle, y
    gc.collect()
    assert [r() for r in refs] == [None] * 3
    assert "GradientTape" in repr(tape)


def test_addresses_are_not_mistaken_for_tensors():
    """Tensors that died while the tape recorded: a new one at the same address is a new one."""
    with td.GradientTape() as tape:
        tape.watch(X)
        for _ in range(50):
            X * 2
        fresh = [td.asarray(np.float64(k)) for k in range(200)]
        y = X * 3
        total = fresh[0]
        for t in fresh:
            total = total + t
    assert tape.gradient([y, total], [X, fresh[7]])[0].item() == 3.0


# -- explain -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [False, True], ids=["before", "after"])
def test_explain(run, asked):
    """The same answers before and after the gradient was taken."""
    v, unread, still = td.Variable(2.0), td.Variable(1.0), td.Variable(1.0, trainable=False)

    def f(x, k):
        outside = x * 3
        with td.GradientTape() as tape:
            tape.watch(x)
            y = x * td.astype(v * still, F8)
            stopped = td.stop_gradient(x) * 2
            whole = td.astype(x, td.int64)
            apart = td.astype(v, F8) * 5
        if asked:
            tape.gradient(y, x)
        pairs = [
            (y, x), (y, v), (y, k), (whole, x), (y, unread), (y, still), (stopped, x), (outside, x), (apart, x), (x, x),
        ]  # fmt: skip
        return [tape.explain(*pair) for pair in pairs]

    texts = run(f, X, td.asarray(2))
    parts = [
        "not None: a recorded path leads from the source",
        "not None: a recorded path leads from 'variable'",
        "the source is int64",
        "the target is int64",
        "it was not read",
        "not trainable",
        "stop_gradient",
        "None:",
        "None:",
        "the same tensor",
    ]
    for text, part in zip(texts, parts, strict=True):
        assert part in text, text
    assert sum(text.startswith("not None") for text in texts) == 3


# -- functions over functions ------------------------------------------------------------------------------------------


def test_argnums_and_aux(run):
    def f(a, b, c):
        return td.sum(a["x"] * b) + c, "aux"

    def g(x, b, c):
        a = {"x": x}
        return (
            td.grad(f, argnums=(0, 1), has_aux=True)(a, b, c),
            td.value_and_grad(f, argnums=-1, has_aux=True)(a, b, c),
            td.grad(lambda p: p[0] * p[1])((b, c)),
        )

    ((da, db), aux), ((value, aux2), dc), (p, q) = run(g, X, X + 1, X + 2)
    assert (da["x"].item(), db.item(), aux, aux2) == (4.0, 3.0, "aux", "aux")
    assert (value.item(), dc.item()) == (17.0, 1.0)
    assert (p.item(), q.item()) == (5.0, 4.0)


def test_one_tensor_as_two_arguments(run):
    assert [g.item() for g in run(lambda x: td.grad(lambda a, b: a * b * b, argnums=(0, 1))(x, x), X)] == [9.0, 18.0]


def test_grad_of_what_is_no_scalar():
    with pytest.raises(GradientError, match=r"floating scalar, it returned shape \(2,\).*td.jacobian"):
        td.grad(lambda x: td.stack([x, x]))(X)
    with pytest.raises(GradientError, match="floating arguments, got int64; convert it with td.astype"):
        td.grad(lambda x: x)(1)
    with pytest.raises(GradientError, match="argnums names argument 2, the function was given 1"):
        td.grad(lambda x: x, argnums=2)(X)


def test_vjp_and_jvp(run):
    def f(x, y):
        return {"product": x * y, "sum": x + y}

    def g(x, y):
        value, pullback = td.vjp(f, x, y)
        _, tangent = td.jvp(f, (x, y), (1.0, 2.0))
        return value, pullback({"product": y, "sum": x}), pullback({"product": x, "sum": x}), tangent

    value, (dx, dy), _, tangent = run(g, X, X + 2)
    assert value["product"].item() == 15.0
    assert (dx.item(), dy.item()) == (28.0, 18.0)
    assert (tangent["product"].item(), tangent["sum"].item()) == (11.0, 3.0)
    with pytest.raises(GradientError, match="jvp: 1 primals and 2 tangents"):
        td.jvp(f, (X,), (1.0, 2.0))


def test_hessian_and_jacobian_of_jacobian(run):
    x = td.asarray([1.0, 2.0])
    f = lambda x: x[0] ** 2 * x[1] ** 3
    wanted = [[16.0, 24.0], [24.0, 12.0]]
    assert run(lambda x: td.hessian(f)(x), x).tolist() == wanted
    assert run(lambda x: td.jacobian(td.jacobian(f))(x), x).tolist() == wanted


def test_jacobian_of_what_does_not_depend(run):
    got = run(lambda x: td.jacobian(lambda a, b: a * 2, argnums=(0, 1))(x, td.ones(2)), td.ones(3))
    assert got[0].tolist() == np.diag([2.0] * 3).tolist()
    assert got[1].shape == (3, 2)
    assert not got[1].numpy().any()


# -- forward mode ------------------------------------------------------------------------------------------------------


def test_forward_accumulator(run):
    v = td.Variable(np.float64(2.0))

    def f(x):
        with td.ForwardAccumulator([x, v], [td.ones_like(x), td.ones_like(x) * 10]) as acc:
            y = x * x * v
            z = td.ones_like(x)
        return acc.jvp([y, {"z": z}]), acc.jvp(z, unconnected="zero"), acc.jvp(v)

    (dy, rest), zero, dv = run(f, X)
    assert dy.item() == 2 * 3 * 2 + 9 * 10
    assert rest == {"z": None}
    assert (zero.item(), dv.item()) == (0.0, 10.0)


def test_forward_over_forward(run):
    def f(x):
        one = td.ones_like(x)
        with td.ForwardAccumulator(x, one) as outer:
            with td.ForwardAccumulator(x, one) as inner:
                y = x**3
            first = inner.jvp(y)
        return first, outer.jvp(first), outer.jvp(y)

    assert [t.item() for t in run(f, X)] == [27.0, 18.0, 27.0]


def test_forward_misuse():
    acc = td.ForwardAccumulator(X, X)
    with acc:
        with pytest.raises(GradientError, match="already recording"):
            acc.__enter__()

        @td.function
        def f(x):
            return acc.jvp(x * x)

        with pytest.raises(GradientError, match="one operation to this accumulator"):
            f(X)
    with pytest.raises(GradientError, match=r"a tangent has shape \(2,\), its primal \(\)"):
        td.ForwardAccumulator(X, td.ones(2))
    with pytest.raises(GradientError, match="differ in structure"):
        td.ForwardAccumulator([X], X)
    with pytest.raises(GradientError, match="must be floating"):
        td.ForwardAccumulator(td.asarray(1), td.asarray(1))
    with pytest.raises(GradientError, match='unconnected must be "none" or "zero"'):
        acc.jvp(X, unconnected="nothing")


def test_assignments_pass_no_tangent_as_they_pass_no_gradient(run):
    v = td.Variable(np.float64(2.0))

    def f(x):
        v.assign(2.0)
        with td.ForwardAccumulator(x, td.ones_like(x)) as of_x:
            v.assign(x * x)
            y = v * x
        v.assign(2.0)
        with td.ForwardAccumulator(v, td.ones_like(x)) as of_v:
            a = v * v
            v.assign(10.0)
            b = v * 3
        return of_x.jvp(y), of_v.jvp(a) + of_v.jvp(b)

    assert [t.item() for t in run(f, X)] == [9.0, 7.0]


def test_a_traced_source_is_another_tensor_than_what_it_was_made_of():
    """In a trace a source is another name for a value, with no node of its own: branches and results see the value."""

    @td.function
    def f(x):
        outer = td.grad(lambda a: td.sum(a * x))(x)
        branch = td.grad(lambda a: td.cond(a[0] > 0, lambda: td.sum(a * a * x), lambda: td.sum(a)))(x)
        twice = td.grad(lambda a: td.grad(lambda b: td.sum(b * b * a))(a)[0] * a[1])(x)
        _, given = td.value_and_grad(lambda a: (td.sum(a), a), has_aux=True)(x)[0]
        return outer, branch, twice, given

    x = td.asarray([1.0, 2.0])
    assert [t.tolist() for t in f(x)] == [[1, 2], [2, 8], [8, 2], [1, 2]]
