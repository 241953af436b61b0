"""How much memory the gradient of a compiled loop takes: its stacks and little more; which stacks it keeps."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import treadle as td

_spec = importlib.util.spec_from_file_location(
    "treadle_loop_memory", Path(__file__).parents[2] / "benchmarks" / "loop_memory.py"
)
loop_memory = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = loop_memory  # its dataclass looks itself up
_spec.loader.exec_module(loop_memory)

STEPS, SIZE = 200, 10_000


@pytest.mark.parametrize("every", [None, 10, 20])
def test_the_peak_is_what_the_stacks_need(every):
    found = loop_memory.measure(STEPS, SIZE, np.dtype(np.float32), every, repeats=0)
    assert found.stacks == {None: 200, 10: 30, 20: 30}[every] * SIZE * 4
    # A few rows beside the stacks, and the arena rounded up by at most an eighth.
    assert found.stacks <= found.peak <= (found.stacks + 8 * SIZE * 4) * 1.125


def kinds(f, *args):
    """For each loop of a gradient: the sizes of what it stacks a step, largest first."""
    graph = td.function(lambda *a: td.grad(f)(*a)).trace(*args).graph
    loops = [node for node in graph.walk() if node.op == "while"]
    return [
        sorted((int(np.prod(s.shape[1:])) for s in node.outputs[node.attrs["layout"].carry :]), reverse=True)
        for node in loops
    ]


def test_what_arithmetic_can_make_again_is_not_stacked():
    def f(x, n):
        y = x
        for _ in td.range(n):
            z = td.abs(y) * y + td.where(y > 0.0, y * y, -y)
            y = z / (1.0 + z * z)
        return td.sum(y)

    args = td.asarray(np.linspace(-1, 1, 50)), td.asarray(9)
    assert kinds(f, *args) == [[50], []]
    np.testing.assert_allclose(td.function(td.grad(f))(*args).numpy(), td.grad(f)(*args).numpy(), rtol=1e-10)


def test_costly_functions_are_stacked_rather_than_computed_again():
    def f(x, n):
        y = x
        for _ in td.range(n):
            y = y - td.exp(y) * 0.1 * y
        return td.sum(y)

    assert kinds(f, td.ones((50,)), td.asarray(9)) == [[50, 50], []]


def test_products_are_stacked_and_what_follows_them_is_made_again():
    def f(h, w, n):
        for _ in td.range(n):
            z = h @ w
            h = z * z * (1.0 - z) + h
        return td.sum(h)

    def by_weights(w, h, n):
        return f(h, w, n)

    assert kinds(f, td.ones((4, 5)), td.ones((5, 5)), td.asarray(9)) == [[20], []]  # z; h only matters for w
    assert kinds(by_weights, td.ones((5, 5)), td.ones((4, 5)), td.asarray(9)) == [[20, 20], []]


def test_what_a_step_leaves_is_what_the_next_one_finds():
    """A recurrent cell needs its state before and after: one stack, the other value is passed backwards."""

    def f(w, h, xs):
        for x in xs:
            h = td.tanh(x + h @ w)
        return td.sum(h * h)

    args = [
        td.asarray(np.random.default_rng(k).normal(size=size) / 2) for k, size in enumerate([(5, 5), (4, 5), (6, 5)])
    ]
    assert kinds(f, *args) == [[20], []]
    for k in range(3):
        exact = td.function(td.grad(f, k))(*args)
        np.testing.assert_allclose(exact.numpy(), td.grad(f, k)(*args).numpy(), rtol=1e-10)
    second = lambda w: td.sum(td.grad(f)(w, *args[1:]) ** 2)
    np.testing.assert_allclose(
        td.function(td.grad(second))(args[0]).numpy(), td.grad(second)(args[0]).numpy(), rtol=1e-9
    )


def test_what_decides_is_not_made_again():
    """Another kernel may round otherwise: the largest element, and the branch that ran, are those of the first run."""

    def f(x, a, n):
        y = x
        for _ in td.range(n):
            z = td.sin(y) * a + y * 0.3
            if td.max(z) > 0.4:
                y = z - td.max(z) * 0.5
            else:
                y = z * z
        return td.sum(y * y)

    args = (td.asarray(np.linspace(-1, 1, 7)), td.asarray(np.float64(1.1)), td.asarray(6))
    graph = td.function(td.grad(f)).trace(*args).graph
    for node in graph.walk():
        if node.op == "while" and not node.attrs["reverse"]:
            body = node.attrs["body"]
            decided = [inner.inputs[0] for inner in body.nodes if inner.op == "cond"]
            compared = [inner.inputs[0] for inner in body.nodes if inner.op == "max"]
            assert decided and set(decided + compared) <= set(body.outputs)
    for k in (0, 1):
        np.testing.assert_allclose(
            td.function(td.grad(f, k))(*args).numpy(), td.grad(f, k)(*args).numpy(), rtol=1e-10, atol=1e-12
        )


def test_large_sources_of_small_results_stay_where_they_are():
    def f(x, n):
        s = td.sum(x) * 0.0
        for _ in td.range(n):
            s = td.sin(s * td.sum(td.square(x * s + 1.0)))
        return s

    first, last = kinds(f, td.ones((1000,)), td.asarray(3))
    assert sum(first) <= 2  # s and the sum, not the 1,000 elements: x is at hand
    assert last == []
