"""Loops and branches in programs, against the interpreter: scalar kernels, jumps, stacks, interrupts, failed checks."""

from __future__ import annotations

import signal
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import agree, compiled

import treadle as td
from treadle.compile.stepping import scalar_loops
from treadle.control.loop import loop_op
from treadle.core.graph import Graph
from treadle.core.spec import Spec
from treadle.core.tracer import trace
from treadle.errors import AssertionFailed

F = np.float32


def f32(*values: float) -> np.ndarray:
    return np.array(values, F)


def whole_loops(f: Any, *arrays: np.ndarray) -> int:
    """How many of the kernels of a program are whole loops."""
    return sum(k.name == "while_loop" for k in compiled(f, *arrays).kernels)


# -- scalar loops ------------------------------------------------------------------------------------------------------


def test_a_scalar_loop_is_one_kernel() -> None:
    def logistic(x: Any, n: Any) -> Any:
        return td.while_loop(lambda k, x: k < n, lambda k, x: (k + 1, 3.5 * x * (1 - x)), (0, x))[1]

    agree(logistic, np.array(0.3), np.array(40))
    program = compiled(logistic, np.array(0.3), np.array(40))
    assert [k.name for k in program.kernels] == ["while_loop"]
    assert "test_loops.py" in program.kernels[0].source


@pytest.mark.parametrize("n", [0, -3, 1, 5])
def test_counts(n: int) -> None:
    def f(n: Any) -> Any:
        return td.while_loop(lambda k, a, b: k < n, lambda k, a, b: (k + 1, b, a + b), (0, 0, 1))

    agree(f, np.array(n))


def test_swapped_and_rotated_carries() -> None:
    def f(a: Any, b: Any, c: Any) -> Any:
        return td.while_loop(lambda k, a, b, c: k < 5, lambda k, a, b, c: (k + 1, c, a, b), (0, a, b, c))

    agree(f, np.array(1.0), np.array(2.0), np.array(3.0))
    agree(f, f32(1, 2), f32(3, 4), f32(5, 6))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64", "bool", "float32"])
def test_carried_dtypes_wrap_as_arrays_do(dtype: str) -> None:
    def f(x: Any) -> Any:
        step = (lambda x: td.logical_not(x)) if dtype == "bool" else (lambda x: x * 3 + 1)
        return td.while_loop(lambda k, x: k < 11, lambda k, x: (k + 1, step(x)), (0, x))[1]

    agree(f, np.array(1, dtype))
    agree(f, np.array([1, 0, 1], dtype))


def test_stacks_hold_the_values_of_their_step() -> None:
    """A stacked carry is the one from before the step, also where the step changes it."""
    agree(lambda x: td.scan(lambda c, e: (c + e, c), td.asarray(F(0)), x), f32(1, 2, 3))
    agree(lambda x: td.scan(lambda c, e: (c + e, (c, e, c * e)), td.asarray(F(0)), x)[1], f32(1, 2, 3))
    agree(lambda x: td.scan(lambda c, e: (c + e, c), td.zeros((2,)), x), f32(1, 2, 3, 4).reshape(2, 2))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 4])
@pytest.mark.parametrize("inner", [(), (3,), (0,), (2, 2)])
def test_scans_over_any_rows(reverse: bool, rows: int, inner: tuple[int, ...]) -> None:
    x = np.arange(rows * int(np.prod(inner)), dtype=F).reshape(rows, *inner)

    def f(x: Any) -> Any:
        c, y = td.scan(lambda c, e: (c * 2 + e, c - e), td.zeros(inner), x, reverse=reverse)
        return c, y

    agree(f, x)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[::-1],
        lambda x: x[::2],
        lambda x: td.permute_dims(x, (1, 0)),
        lambda x: td.broadcast_to(x[0], (5, 4)),
        lambda x: x[:, 1],
        lambda x: td.permute_dims(x, (1, 0))[::-1, ::2],
    ],
)
def test_scans_over_views(view: Any) -> None:
    x = np.arange(24, dtype=F).reshape(6, 4)

    def f(x: Any) -> Any:
        seen = view(x)
        return td.scan(lambda c, e: (c + td.sum(e), e * 2 + c), td.asarray(F(1)), seen)

    agree(f, x)


def test_a_carry_that_is_also_a_constant() -> None:
    def f(x: Any, y: Any) -> Any:
        return td.while_loop(lambda k, a, b: k < 4, lambda k, a, b: (k + 1, a + x, x - b), (0, x, x)), x + y

    agree(lambda x, y: [*f(x, y)[0], f(x, y)[1]], f32(1, 2, 3), f32(4, 5, 6))
    agree(lambda x, y: [*f(x, y)[0], f(x, y)[1]], np.array(1.0), np.array(2.0))


def test_carries_as_views_of_each_other() -> None:
    x = np.arange(9, dtype=F).reshape(3, 3)

    def f(x: Any) -> Any:
        def body(k: Any, a: Any, b: Any) -> Any:
            return k + 1, td.permute_dims(b, (1, 0)), a[::-1]

        return td.while_loop(lambda k, a, b: k < 5, body, (0, x, x * 2))

    agree(f, x)


def test_loops_in_loops() -> None:
    def f(n: Any) -> Any:
        def outer(i: Any, total: Any) -> Any:
            def halve(k: Any, steps: Any) -> Any:
                return td.where(k % 2 == 0, k // 2, 3 * k + 1), steps + 1

            return i + 1, total + td.while_loop(lambda k, s: k != 1, halve, (i, 0))[1]

        return td.while_loop(lambda i, t: i < n, outer, (1, 0))[1]

    agree(f, np.array(30))

    def short(x: Any) -> Any:
        def outer(c: Any, e: Any) -> Any:
            inner = td.scan(lambda a, _: (a * 0.5 + e, ()), c, None, length=3)[0]
            return inner, inner + 1

        return td.scan(outer, td.asarray(F(0)), x)

    agree(short, f32(1, 2, 3))


@pytest.mark.parametrize("budget", [1, 2, 3, 7, 1 << 20])
def test_scalar_loops_of_any_length_in_scalar_loops_are_one_kernel(
    budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left half-way, at any place, and entered again, they give what they give at one go."""
    monkeypatch.setattr(scalar_loops, "BUDGET", budget)

    def f(x: Any, n: Any) -> Any:
        def middle(i: Any) -> Any:
            def body(k: Any, a: Any) -> Any:
                a = td.while_loop(lambda j, a: j < k, lambda j, a: (j + 1, a * 0.5 + i), (0, a))[1]
                a = td.cond(
                    k % 2 == 0, lambda: td.while_loop(lambda a: a > 1, lambda a: (a * 0.3,), (a,))[0], lambda: a + 1
                )
                return k + 1, a + td.while_loop(lambda j, b: j < 3, lambda j, b: (j + 1, b * 0.5 + i), (0, a))[1]

            return body

        def outer(i: Any, total: Any, x: Any) -> Any:
            m = td.while_loop(lambda k, a: k < i, middle(i), (0, x))[1]
            e = td.while_loop(lambda a: abs(a) > 2, lambda a: (a * 0.7,), (m,))[0]
            return i + 1, total + e, e

        return td.while_loop(lambda i, *_: i < n, outer, (0, 0.0, x))

    for n in (0, 1, 5):
        agree(f, np.array(1.5), np.array(n))
    assert [k.name for k in compiled(f, np.array(1.5), np.array(5)).kernels] == ["while_loop"]


def test_a_failed_check_in_a_nested_loop_names_line_and_iteration() -> None:
    @td.function
    def f(n: Any) -> Any:
        total = td.asarray(0)
        i = td.asarray(0)
        while i < n:
            k = i
            while k > 0:
                assert k != 6, "six"
                k = k - 2
                total = total + 1
            i = i + 1
        return total

    assert f(td.asarray(5)).item() == 6
    with pytest.raises(AssertionFailed, match="six") as caught:
        f(td.asarray(9))
    told = str(caught.value) + "".join(caught.value.__notes__)
    assert "iteration 6" in told
    assert "test_loops.py" in told


@pytest.mark.parametrize("steps", [0, 1, 2, 5, None])
def test_stencils_take_turns_between_two_places(steps: int | None) -> None:
    """A step of Jacobi's method is one kernel, and copies nothing."""

    def f(u: Any, n: Any) -> Any:
        for _ in td.range(n if steps is None else steps):
            u = u.at[1:-1, 1:-1].set(0.25 * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]))
        return u

    staged = td.function(f)
    u = np.random.default_rng(0).standard_normal((40, 50)).astype(F)
    for n in (0, 1, 4) if steps is None else (steps,):
        agree(lambda u, n: staged(u, n), u, np.array(n))
    lines = compiled(lambda u, n: staged(u, n), u, np.array(3)).code.text().splitlines()
    if "L0:" in lines:
        loop = lines[lines.index("L0:") : lines.index("L1:")]
        assert sum(" call " in line or " parallel " in line for line in loop) == 1
        assert not any(" copy " in line for line in loop)
    else:
        assert steps in (0, 1)


def test_large_carries_that_are_still_read_take_turns() -> None:
    x = np.random.default_rng(0).standard_normal((40, 40)).astype(F)

    def f(x: Any, n: Any) -> Any:
        body = lambda k, x, y, z: (k + 1, td.permute_dims(x, (1, 0)) * 0.5 + x, x, y[::-1])  # noqa: E731
        return td.while_loop(lambda k, *_: k < n, body, (0, x, x * 2, x + 1))

    for n in range(5):
        agree(f, x, np.array(n))


def test_stacks_of_a_loop_inside_another_begin_anew() -> None:
    """The gradient of a loop whose count depends on data keeps a stack, which is made again at each outer step."""

    def inner(x: Any, n: Any) -> Any:
        return td.while_loop(lambda k, v: k < n, lambda k, v: (k + 1, td.sin(v) * x), (0, x))[1]

    def f(x: Any) -> Any:
        def body(c: Any, n: Any) -> Any:
            g = td.grad(lambda v: td.sum(inner(v, n)))(x)
            return c + g, g

        return td.scan(body, td.zeros((3,)), td.asarray(np.array([2, 0, 100, 1])))

    agree(f, f32(0.5, 1.0, 1.5))


def test_branches() -> None:
    def f(p: Any, x: Any) -> Any:
        a, b = td.cond(p, lambda: (x, x[::-1]), lambda: (x * 2, x))
        return a, b, a + b, td.cond(p, lambda: td.asarray(F(1)), lambda: td.asarray(F(2)))

    for p in (True, False):
        agree(f, np.array(p), f32(1, 2, 3))


def test_branches_inside_scalar_loops() -> None:
    def f(x: Any, n: Any) -> Any:
        def body(k: Any, a: Any, b: Any) -> Any:
            a, b = td.cond(k % 2 == 0, lambda: (b, a), lambda: (a + k, td.cond(b > 3, lambda: b - 3, lambda: b + 1)))
            return k + 1, a, b

        return td.while_loop(lambda k, a, b: k < n, body, (0, x, x + 1))

    agree(f, np.array(2), np.array(9))
    assert whole_loops(f, np.array(2), np.array(9)) == 1


def test_strings_inside_loops_and_branches() -> None:
    @td.function
    def f(p: Any, n: Any) -> Any:
        word = td.asarray("a")
        for _ in td.range(n):
            word = word + td.asarray("b")
        return td.cond(p, lambda: word + "!", lambda: word)

    assert f(td.asarray(True), td.asarray(3)).numpy().item() == "abbb!"
    assert f(td.asarray(False), td.asarray(0)).numpy().item() == "a"


@settings(derandomize=True, deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_bodies_that_pass_values_around(data: Any) -> None:
    """Each new carry is drawn from the old ones, constants, views of them, and what is computed from several."""
    shape = data.draw(st.sampled_from([(), (3, 3)]))
    count = data.draw(st.integers(1, 4))
    picks = [
        (data.draw(st.integers(0, 5)), data.draw(st.integers(0, count)), data.draw(st.integers(0, count)))
        for _ in range(count)
    ]
    steps = data.draw(st.integers(0, 3))

    def made(values: list[Any], pick: tuple[int, int, int]) -> Any:
        how, i, j = pick
        a, b = values[i], values[j]
        if how == 0 or not shape:
            return a if how < 3 else a - b
        return [
            a,
            td.permute_dims(a, (1, 0)),
            a[::-1],
            a + b,
            a * 2 - td.permute_dims(b, (1, 0)),
            td.sum(a, axis=0) + b,
        ][how]

    def f(x: Any) -> Any:
        def body(k: Any, *carry: Any) -> Any:
            values = [*carry, x]
            return k + 1, *(made(values, pick) for pick in picks)

        return td.while_loop(lambda k, *_: k < steps, body, (0, *(x * (i + 2) for i in range(count))))[1:]

    agree(f, np.arange(int(np.prod(shape)), dtype=F).reshape(shape) + 1)


# -- interrupts and checks ---------------------------------------------------------------------------------------------


def _interrupted(call: Any) -> None:
    """Call with Ctrl-C on its way."""
    timer = threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            call()
    finally:
        timer.cancel()
        timer.join()


@pytest.mark.parametrize("kind", ["scalar", "nested", "general", "in place at the end"])
def test_a_loop_of_any_length_can_be_interrupted(kind: str) -> None:
    v = td.Variable(np.ones(3, F))

    def scalar(n: Any) -> Any:
        return td.while_loop(lambda k: k < n, lambda k: (k + 2,), (td.asarray(1),))[0]

    def nested(n: Any) -> Any:
        turn = lambda k: td.while_loop(lambda i: i > 0, lambda i: (td.where(i > 99, 1, i + 1),), (k + 1,))[0]  # noqa: E731
        return td.while_loop(lambda k: k < n, lambda k: (k + turn(k),), (td.asarray(1),))[0]

    def general(n: Any) -> Any:
        body = lambda k, x: (k + 1, td.tanh(x) * 1.5)  # noqa: E731
        return td.sum(td.while_loop(lambda k, x: k < n, body, (0, v.value))[1]) > 0

    @td.function
    def f(n: Any) -> Any:
        v.assign(v.value + 1)
        result = {"nested": nested, "general": general}.get(kind, scalar)(n)
        v.assign(v.value + td.astype(result, td.float32))
        return result

    f.compile(td.asarray(10)) if hasattr(f, "compile") else None
    _interrupted(lambda: f(td.asarray(10**15)))
    np.testing.assert_array_equal(v.numpy(), [1, 1, 1])


def test_a_failed_check_in_a_scalar_loop_names_line_and_iteration() -> None:
    v = td.Variable(F(1))

    @td.function
    def f(n: Any) -> Any:
        v.assign(v.value + 1)
        k = td.asarray(0)
        while k < n:
            assert k != 7, "seven"
            k = k + 1
        v.assign(v.value + 1)
        return k

    assert f(td.asarray(5)).item() == 5
    with pytest.raises(AssertionFailed, match="seven") as caught:
        f(td.asarray(9))
    told = str(caught.value) + "".join(caught.value.__notes__)
    assert "iteration 7" in told
    assert "test_loops.py" in told
    assert v.numpy() == 3
    assert f(td.asarray(2)).item() == 2


def test_a_failed_check_in_a_general_loop_names_line_and_iteration() -> None:
    @td.function
    def f(x: Any, n: Any) -> Any:
        k = td.asarray(0)
        while k < n:
            assert td.sum(x) < 10, "too large"
            x = x + 1
            k = k + 1
        return x

    assert f(td.zeros((2,)), td.asarray(3)).tolist() == [3, 3]
    with pytest.raises(AssertionFailed, match="too large") as caught:
        f(td.zeros((2,)), td.asarray(30))
    told = str(caught.value) + "".join(caught.value.__notes__)
    assert "iteration 5" in told
    assert "test_loops.py" in told


# -- hand-made loops ---------------------------------------------------------------------------------------------------


def _loop(graph: Graph) -> Any:
    return next(node for node in graph.walk() if node.definition is loop_op)


def test_a_static_loop_is_known_to_end() -> None:
    """A `for` of known length has no test; its stacks are arrays of that length."""
    graph = trace(lambda x: td.scan(lambda c, e: (c + e, c), td.zeros((2,)), x), [Spec((4, 2), np.dtype(F))], "f").graph
    assert _loop(graph).attrs["test"] is None
    assert _loop(graph).attrs["steps"] == 4


def test_new_carries_go_straight_to_their_places() -> None:
    """No copy at each step where nothing reads the old value any more; one where something does."""

    given = np.array(3), np.ones((7, 7), F), np.ones((7, 7), F)

    def copies(body: Any) -> int:
        def f(n: Any, x: Any, y: Any) -> Any:
            return td.while_loop(lambda k, x, y: k < n, lambda k, x, y: (k + 1, *body(x, y)), (0, x, y))

        agree(f, *given)
        lines = compiled(f, *given).code.text().splitlines()
        loop = next(k for k, line in enumerate(lines) if line.startswith("L0"))
        return sum(" copy " in line for line in lines[loop:])

    assert copies(lambda x, y: (td.tanh(x) @ y, y + 1)) == 0
    assert copies(lambda x, y: (x + 1, y @ y)) == 1
    assert copies(lambda x, y: (td.permute_dims(x, (1, 0)) + x, y + 1)) == 1
    assert copies(lambda x, y: (y[::-1], x[::-1])) == 2
