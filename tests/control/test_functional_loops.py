"""`td.fori_loop`, `td.map`, `td.while_loop`, `td.scan`: the same eagerly, traced, differentiated, and in chunks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td

X = td.asarray(np.float64(0.7))
ROWS = td.asarray(np.array([0.3, -0.5, 0.9, 0.2, -0.1, 0.4, 0.8]))


def close(a, b, rtol=1e-9):
    for p, q in zip(td.nest.flatten(a), td.nest.flatten(b), strict=True):
        np.testing.assert_allclose(np.asarray(p), np.asarray(q), rtol=rtol, atol=1e-12)


def everywhere(f, *args):
    """f and its gradients to second order, eagerly and traced; gives them."""
    wanted = [f(*args), td.grad(f)(*args), td.grad(lambda *a: td.sum(td.grad(f)(*a)))(*args)]
    got = td.function(lambda *a: [f(*a), td.grad(f)(*a), td.grad(lambda *a: td.sum(td.grad(f)(*a)))(*a)])(*args)
    close(got, wanted)
    forward = td.function(lambda *a: td.jvp(lambda x: f(x, *a[1:]), (a[0],), (td.ones_like(a[0]),))[1])(*args)
    close(forward, td.sum(wanted[1]))
    return wanted


# -- each loop, in chunks of every size ---------------------------------------------------------------------


def fori(every, upper=7):
    return lambda x, *n: td.fori_loop(
        2, n[0] if n else upper, lambda i, v: td.sin(v) * x + i * 0.1, x, checkpoint_every=every
    )


def whiles(every, limit=None):
    def f(x):
        step = lambda k, v: (k + 1, td.sin(v) * x + 0.3)
        return td.while_loop(lambda k, v: (k < 9) & (v < 5), step, (0, x), limit, checkpoint_every=every)[1]

    return f


def scans(every, reverse=False):
    def f(xs):
        carry, ys = td.scan(
            lambda c, x: (td.sin(c) * x + c, {"y": c * x}), td.sum(xs), xs, reverse=reverse, checkpoint_every=every
        )
        return carry * td.sum(ys["y"] * td.arange(7, dtype=td.float64))

    return f


LOOPS = {
    "fori": (fori, (X,)),
    "fori to n": (fori, (X, td.asarray(9))),
    "while": (whiles, (X,)),
    "while at most": (lambda every: whiles(every, 6), (X,)),
    "while at most a tensor": (lambda every: whiles(every, td.asarray(5)), (X,)),
    "scan": (scans, (ROWS,)),
    "scan in reverse": (lambda every: scans(every, True), (ROWS,)),
}


@pytest.mark.parametrize("name", LOOPS)
def test_chunks_change_nothing(name):
    make, args = LOOPS[name]
    wanted = everywhere(make(None), *args)
    close(everywhere(make(3), *args), wanted)
    close(td.function(td.value_and_grad(make(20)))(*args), wanted[:2])
    close(td.value_and_grad(make(1))(*args), wanted[:2])


def test_few_steps():
    to_n = td.function(td.value_and_grad(fori(2)))
    for upper in (2, 3, 4, 8):
        wanted = td.value_and_grad(fori(None, upper))(X)
        close(td.function(td.value_and_grad(fori(2, upper)))(X), wanted)
        close(to_n(X, td.asarray(upper)), wanted)


def stacked(f, *args):
    """How long the stacks are that the loops of a gradient fill with floating values."""
    g = td.function(lambda *a: td.grad(f)(*a))
    graph = g.trace(*args).graph
    found = []
    for node in graph.walk():
        if node.op == "while":
            rows = node.outputs[node.attrs["layout"].carry :]
            found += [s.shape[0] for s in rows if s.dtype.kind == "f"]
    return found


def test_what_is_stored():
    """Chunks of 10: the state of each chunk, and of each step of one chunk."""
    long = lambda every: lambda x: td.fori_loop(0, 100, lambda i, v: td.sin(v) * 0.9, x, checkpoint_every=every)
    assert stacked(long(None), X) == [100]
    assert stacked(long(10), X) == [10, 10]
    assert stacked(long(25), X) == [4, 25]
    rows = td.ones((60,), dtype=td.float64)
    assert sorted(stacked(scan_sum(None), rows)) == [60, 60]  # the state, and the gradient of xs
    assert sorted(stacked(scan_sum(20), rows)) == [3, 3, 20, 20]


def scan_sum(every):
    return lambda xs: td.scan(lambda c, x: (c * c * x, None), 1.0, xs, checkpoint_every=every)[0]


def test_forward_mode_stacks_nothing():
    def f(x, n):
        y = x
        while n > 0:
            y, n = td.sin(y) * x, n - 1
        return y

    g = td.function(lambda x, n: td.jvp(lambda x: f(x, n), (x,), (td.ones_like(x),)))
    value, tangent = g(X, td.asarray(5))
    np.testing.assert_allclose(tangent.numpy(), td.grad(f)(X, td.asarray(5)).numpy(), rtol=1e-12)
    loops = [node for node in g.traces[0].graph.walk() if node.op == "while"]
    assert loops and all(len(node.outputs) == node.attrs["layout"].carry for node in loops)


# -- meaning -----------------------------------------------------------------------------------------------------------


def test_fori_loop_carries_nests_and_numbers():
    def f(n):
        return td.fori_loop(0, n, lambda i, v: {"s": v["s"] + i, "f": (v["f"][0] * 0.5 + i,)}, {"s": 0, "f": (1.0,)})

    eager, traced = f(4), td.function(f)(td.asarray(4))
    close(traced, eager, 1e-6)
    assert eager["s"].item() == 6
    assert td.function(lambda: f(0))()["s"].item() == 0


def test_map():
    def row(x):
        if td.sum(x["a"]) > 0:
            y = x["a"] * x["b"]
        else:
            y = x["a"] * 0.0
        return y, td.sum(y)

    xs = {"a": td.asarray([[1.0, 2.0], [-3.0, 1.0]]), "b": td.asarray([2.0, 5.0])}
    eager, traced = td.map(row, xs), td.function(lambda xs: td.map(row, xs))(xs)
    close(traced, eager)
    assert eager[0].tolist() == [[2.0, 4.0], [-0.0, 0.0]] and eager[1].tolist() == [6.0, 0.0]
    g = td.function(td.grad(lambda xs: td.sum(td.map(row, xs)[1])))(xs)
    assert g["a"].tolist() == [[2.0, 2.0], [0.0, 0.0]] and g["b"].tolist() == [3.0, 0.0]
    assert td.map(lambda x: x + 1, td.zeros((0, 2))).shape == (0, 2)


def test_a_scan_may_give_nothing():
    for run in (lambda f: f, td.function):
        carry, ys = run(lambda xs: td.scan(lambda c, x: (c + x, (None, {"a": x * 2})), 0.0, xs))(ROWS)
        np.testing.assert_allclose(carry.numpy(), ROWS.numpy().sum())
        assert ys[0] is None and ys[1]["a"].shape == (7,)
        assert run(lambda xs: td.scan(lambda c, x: (c, None), 1.0, xs[:0]))(ROWS)[1] is None


def test_max_iterations():
    f = lambda limit: td.while_loop(lambda x: x < 100.0, lambda x: (x * 2.0,), (td.asarray(1.0),), limit)[0]
    assert [f(n).item() for n in (0, 3, 50)] == [1.0, 8.0, 128.0]
    traced = td.function(f)
    assert [traced(td.asarray(n)).item() for n in (0, 3, 50)] == [1.0, 8.0, 128.0]
    assert traced(3).item() == 8.0


def test_variables_in_chunks():
    v = td.Variable(np.float64(0.5), name="v")

    def f(x):
        def step(i, y):
            v.assign(v * 1.5)
            return td.sin(y) * v + x

        return td.fori_loop(0, 6, step, x, checkpoint_every=4)

    def both(x):
        v.assign(0.5)
        with td.GradientTape() as tape:
            tape.watch(x)
            y = f(x)
        return [y, *tape.gradient(y, [x, v])]

    eager = both(X)
    after = v.numpy()
    close(td.function(both)(X), eager)
    np.testing.assert_allclose(v.numpy(), after)
    np.testing.assert_allclose(after, 0.5 * 1.5**6)


def test_random_numbers_are_drawn_once():
    def f(x):
        return td.fori_loop(0, 5, lambda i, y: y * x + td.random.normal((), dtype=td.float64), x, checkpoint_every=2)

    def with_gradient(x):
        return td.value_and_grad(f)(x)

    def plain(x):
        return td.value_and_grad(
            lambda x: td.fori_loop(0, 5, lambda i, y: y * x + td.random.normal((), dtype=td.float64), x)
        )(x)

    found = []
    for g in (plain, with_gradient, td.function(with_gradient)):
        td.random.seed(3)
        found.append([t.item() for t in g(X)] + [td.random.uniform(()).item()])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-6)


def test_prints_happen_once(capsys):
    def f(x):
        def step(i, y):
            td.print(i)
            return td.sin(y) * x

        return td.fori_loop(0, 4, step, x, checkpoint_every=2)

    td.function(td.grad(f))(X)
    assert capsys.readouterr().out.split() == ["0", "1", "2", "3"]


@pytest.mark.parametrize("every", [0, -1, 1.5, True])
def test_a_bad_number_of_steps(every):
    with pytest.raises(ValueError, match="checkpoint_every takes"):
        td.fori_loop(0, 3, lambda i, v: v, 1.0, checkpoint_every=every)


def test_chunks_of_rows_need_a_known_number():
    @td.function(input_signature=[td.TensorSpec(("n",))])
    def f(xs):
        return td.scan(lambda c, x: (c * x, None), 1.0, xs, checkpoint_every=2)[0]

    with pytest.raises(td.errors.ShapeError, match="known when tracing"):
        f(td.ones((4,)))


@settings(derandomize=True, deadline=None, max_examples=12)
@given(
    n=st.integers(0, 9), every=st.integers(1, 5), x=st.floats(-2, 2), stop=st.floats(0.1, 3), limit=st.integers(0, 9)
)
def test_random_chunks(n, every, x, stop, limit):
    def f(x, n, every):
        return td.while_loop(
            lambda k, v: (k < n) & (td.abs(v) < stop),
            lambda k, v: (k + 1, v * 1.3 + td.sin(v * x)),
            (0, x),
            limit,
            checkpoint_every=every,
        )[1]

    at = td.asarray(np.float64(x))
    close(td.value_and_grad(f)(at, n, every), td.value_and_grad(f)(at, n, None))
    close(
        CHUNKED(at, td.asarray(n), td.asarray(np.float64(stop)), td.asarray(limit)), td.value_and_grad(f)(at, n, None)
    )


@td.function
def CHUNKED(x, n, stop, limit):
    def f(x):
        return td.while_loop(
            lambda k, v: (k < n) & (td.abs(v) < stop),
            lambda k, v: (k + 1, v * 1.3 + td.sin(v * x)),
            (0, x),
            limit,
            checkpoint_every=3,
        )[1]

    return td.value_and_grad(f)(x)
