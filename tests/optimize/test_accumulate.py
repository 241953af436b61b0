"""Products that are added to others and to variables: when they are, where the sum is made, and its numbers."""

import numpy as np
import pytest

import treadle as td
from treadle.optimize.pipeline import optimize, rewrites

N = 40


def drawn(*shapes, dtype="float64"):
    rng = np.random.default_rng(3)
    return [td.asarray(rng.standard_normal(shape).astype(dtype)) for shape in shapes]


def added(function, *arguments):
    """The optimized graph of a function's trace, how often products were added, and the results."""
    results = function(*arguments)
    trace = function.traces[-1]
    fired = {name: n for name, n in rewrites(trace.graph).items() if name.startswith("product added")}
    return optimize(trace.graph), fired, results


def close(got, wanted, dtype="float64"):
    bound = 1e-12 if dtype == "float64" else 2e-4
    np.testing.assert_allclose(np.asarray(got), np.asarray(wanted), rtol=bound, atol=bound)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "f",
    [
        lambda a, b, c, d: a @ b + c @ d,
        lambda a, b, c, d: a @ b - c @ d,
        lambda a, b, c, d: a.T @ b - 0.25 * (c @ d.T),
        lambda a, b, c, d: (a @ b) * 3.0 + c @ d,
        lambda a, b, c, d: td.tanh(a @ b + c @ d + a[0]),
    ],
)
def test_a_product_is_added_to_another(f, dtype):
    arguments = drawn(*[(N, N)] * 4, dtype=dtype)
    graph, fired, result = added(td.function(f), *arguments)
    assert fired == {"product added to a product": 1}
    assert [node.op for node in graph.nodes].count("matmul") == 1
    close(result, f(*arguments), dtype)


def test_the_gradient_of_a_weight_used_often_is_one_sum():
    x, w = drawn((N, N), (N, N))

    def loss(w):
        return td.sum(td.tanh(td.tanh(td.tanh(x @ w) @ w) @ w))

    graph, fired, result = added(td.function(td.grad(loss)), w)
    assert fired == {"product added to a product": 2}
    assert "add" not in [node.op for node in graph.nodes]
    close(result, td.grad(loss)(w))


@pytest.mark.parametrize(
    "f",
    [
        lambda a, b: a[:20] @ b + a[20:] @ b,  # too little
        lambda a, b: (lambda p, q: p + q + p * q)(a @ b, b @ a),  # both are read again
        lambda a, b: a @ b + a[0],  # a bias
        lambda a, b: a @ b + td.tanh(a),  # made in the kernel that adds it
        lambda a, b: a @ b + a,  # held by the caller
    ],
)
def test_where_nothing_would_be_saved_sums_stay(f):
    arguments = drawn((N, N), (N, N))
    _, fired, result = added(td.function(lambda a, b: (a.sum(), f(a, b))), *arguments)
    assert not fired
    close(result[1], f(*arguments))


def test_a_variable_takes_a_product_in_its_memory():
    x, g, start = drawn((60, N), (60, N), (N, N))
    w = td.Variable(start)

    @td.function
    def step(x, g):
        w.assign_sub(0.1 * (x.T @ g))
        return td.sum(w)

    _, fired, total = added(step, x, g)
    assert fired == {"product added to a variable": 1}
    assert step.traces[-1].memory.work < 8 * N * N, "no room for the product itself"
    wanted = np.asarray(start) - 0.1 * np.asarray(x).T @ np.asarray(g)
    close(w.value, wanted)
    close(total, wanted.sum())
    held = w.value
    step(x, g)
    close(held, wanted)


def test_a_variable_that_is_read_later_is_not_lost():
    x, g, start = drawn((60, N), (60, N), (N, N))
    w = td.Variable(start)

    @td.function
    def step(x, g):
        before = w + 0.0
        w.assign_add(x.T @ g)
        return before * 2.0, g @ before

    _, fired, (twice, product) = added(step, x, g)
    assert fired
    close(twice, 2 * np.asarray(start))
    close(product, np.asarray(g) @ np.asarray(start))
    close(w.value, np.asarray(start) + np.asarray(x).T @ np.asarray(g))


def test_a_carried_sum_takes_the_product_of_each_step():
    (xs, w) = drawn((5, N, N), (N, N))

    def f(xs, w):
        total = td.zeros((N, N), dtype=xs.dtype)
        for x in xs:
            total = total + td.tanh(x @ total) @ w
        return total

    _, fired, result = added(td.function(f), xs, w)
    assert fired == {"product added to a variable": 1}
    close(result, f(xs, w))


def test_large_products_are_added_by_blas():
    a, b, c, d = drawn((8, 4096), (4096, 1200), (8, 9), (9, 1200))
    _, fired, result = added(td.function(lambda a, b, c, d: c @ d + a @ b), a, b, c, d)
    assert fired
    close(result, a @ b + c @ d)


def test_long_sums_keep_their_accuracy_beside_a_large_matrix():
    rng = np.random.default_rng(5)
    a, b = (rng.random((n, m)).astype("float32") * 1e-3 for n, m in ((N, 2000), (2000, N)))
    start = np.full((N, N), 1000.0, np.float32)
    w = td.Variable(start)

    @td.function
    def step(a, b):
        w.assign_add(a @ b)

    step(td.asarray(a), td.asarray(b))
    wanted = start.astype("f8") + a.astype("f8") @ b.astype("f8")
    assert np.abs(np.asarray(w.value) - wanted).max() < 7 * np.spacing(np.float32(500.0))


def test_batches_of_products():
    a, b, c, d = drawn((3, 20, 30), (3, 30, 20), (3, 20, 4), (3, 4, 20))
    _, fired, result = added(td.function(lambda a, b, c, d: a @ b + c @ d), a, b, c, d)
    assert fired
    close(result, a @ b + c @ d)
