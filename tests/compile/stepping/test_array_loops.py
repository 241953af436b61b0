"""Loops over arrays as one kernel, against the interpreter: blocks, sums, scalars beside arrays, stacks, and limits."""

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
from treadle.compile.llvm import build
from treadle.compile.stepping import array_loop_calls

F = np.float32


def ramp(*shape: int, dtype: Any = F) -> np.ndarray:
    return (np.arange(np.prod(shape), dtype=np.float64).reshape(shape) / 7 - 1).astype(dtype)


def names(f: Any, *arrays: np.ndarray) -> list[str]:
    """The kernels of a program."""
    return [k.name for k in compiled(f, *arrays).kernels]


def test_an_elementwise_loop_is_one_kernel_in_blocks() -> None:
    def f(x: Any, c: Any) -> Any:
        return td.scan(lambda z, _: (z * z + c, ()), x, None, length=9)[0]

    for size in (1, 5, 64, 1000, 40_001):
        x = np.linspace(-0.5, 0.25, size, dtype=F)
        agree(f, x, x[::-1].copy())
        assert names(f, x, x) == ["array_loop"]


def test_another_size_compiles_nothing() -> None:
    def f(x: Any) -> Any:
        return td.scan(lambda z, _: (td.sin(z) * 0.75, ()), x, None, length=50)[0]

    agree(f, ramp(3))
    before = build.counters.kernels_compiled
    for size in (1, 100, 70_000):
        agree(f, ramp(size))
    assert build.counters.kernels_compiled == before


@pytest.mark.parametrize("n", [-2, 0, 1, 7])
def test_counted_loops_with_scalars_beside_arrays(n: int) -> None:
    def f(x: Any, n: Any) -> Any:
        body = lambda k, t, y: (k + 1, t * 0.5 + k, td.where(y > t, y - t, y + k))  # noqa: E731
        return td.while_loop(lambda k, t, y: k < n, body, (0, 1.0, x))

    agree(f, ramp(3, 5), np.array(n))
    assert names(f, ramp(3, 5), np.array(n)) == ["array_loop"]


@pytest.mark.parametrize("size", [10, 5000])
def test_a_test_over_the_arrays_is_in_the_kernel(size: int) -> None:
    def newton(a: Any) -> Any:
        return td.while_loop(lambda x: td.any(abs(x * x - a) > 1e-10 * a), lambda x: (0.5 * (x + a / x),), (a,))[0]

    a = np.linspace(1, 2000, size)
    agree(newton, a)
    assert names(newton, a) == ["array_loop"]


def test_sums_feed_back_through_several_passes() -> None:
    """A power iteration of a diagonal: each step needs sums of what the pass before has made."""

    def f(d: Any, x: Any) -> Any:
        def body(k: Any, x: Any, total: Any) -> Any:
            y = d * x
            y = y / td.sqrt(td.sum(y * y))
            spread = td.max(y) - td.min(y)
            return k + 1, y * spread + x, total + td.sum(x)

        return td.while_loop(lambda k, *_: k < 6, body, (0, x, td.asarray(F(0))))

    agree(f, ramp(50), ramp(50) + 2)
    assert names(f, ramp(50), ramp(50)) == ["array_loop"]


def test_a_nan_ends_or_stays_as_comparisons_say() -> None:
    x = np.array([1, np.nan, 4, 0], F)
    agree(lambda x: td.while_loop(lambda y: td.any(y < 100), lambda y: (y * 2 + 1,), (x,))[0], x)
    agree(lambda x: td.while_loop(lambda y: td.all(y < 100), lambda y: (y * 2 + 1,), (x,))[0], x)
    agree(lambda x: td.scan(lambda y, _: (td.maximum(y, -y) - 1, ()), x, None, length=3)[0], x)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shape", [(4, 6), (1, 3), (5, 300), (0, 3), (3, 0), (2, 3, 4)])
def test_scans_with_rows_and_stacks(shape: tuple[int, ...], reverse: bool) -> None:
    def f(x: Any, s: Any) -> Any:
        def body(c: Any, e: Any) -> Any:
            row, scale = e
            return c * scale + row, (c, row - c, scale + 1)

        return td.scan(body, td.zeros(shape[1:]), (x, s), reverse=reverse)

    agree(lambda x, s: [f(x, s)[0], *f(x, s)[1]], ramp(*shape), ramp(shape[0]))


def test_the_gradient_of_an_elementwise_loop_is_kernels_too() -> None:
    def loss(x: Any, w: Any) -> Any:
        y = td.scan(lambda y, _: (td.sin(y * w) + x, ()), x, None, length=20)[0]
        return td.sum(y * y)

    f = lambda x, w: list(td.grad(loss, argnums=(0, 1))(x, w))  # noqa: E731
    agree(f, ramp(33), ramp(33))
    assert names(f, ramp(33), ramp(33)).count("array_loop") == 2


def test_operands_that_are_stretched_transposed_or_constant() -> None:
    table = ramp(4)

    def f(x: Any, row: Any, column: Any) -> Any:
        turned = td.permute_dims(x, (1, 0))

        def body(a: Any, b: Any) -> Any:
            return td.where(a > column, a - row, b * td.asarray(table)), a + td.broadcast_to(row, (3, 4)) + 0.25

        out = td.scan(lambda c, _: (body(*c), ()), (turned, td.full((3, 4), 2.5)), None, length=5)[0]
        return [*out, turned]

    agree(f, ramp(4, 3), ramp(4), ramp(3, 1))
    assert "array_loop" in names(f, ramp(4, 3), ramp(4), ramp(3, 1))


@settings(derandomize=True, deadline=None, max_examples=12, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_bodies(data: Any) -> None:
    """Carries of arrays and scalars, mixed in passes with sums, in one call or many."""
    dtype = data.draw(st.sampled_from(["float32", "float64", "int64", "int8"]))
    shape = data.draw(st.sampled_from([(7,), (2, 3), (200,)]))
    arrays, scalars = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 2))
    total = arrays + scalars
    steps = data.draw(st.integers(0, 4))
    how = data.draw(st.sampled_from(["count", "length", "sum"]))
    picks = [tuple(data.draw(st.integers(0, 7)) for _ in range(3)) for _ in range(total)]

    def made(values: list[Any], pick: tuple[int, ...], to_scalar: bool) -> Any:
        kind, i, j = pick
        a, b = values[i % len(values)], values[j % len(values)]
        value = [a, a + b, a * 2 - b, td.where(a > b, a, b), td.maximum(a, b) - 1, a - td.max(b), td.min(a) + b, -b][
            kind
        ]
        if to_scalar:
            return td.sum(value, dtype=dtype) if value.shape and kind % 2 else td.max(value)
        return td.broadcast_to(value, shape)

    def f(x: Any, c: Any, n: Any) -> Any:
        def body(k: Any, *carry: Any) -> Any:
            values = [*carry, c]
            new = [td.astype(made(values, p, m >= arrays), dtype) for m, p in enumerate(picks)]
            return k + 1, *new

        def test(k: Any, *carry: Any) -> Any:
            if how == "sum":
                return td.logical_and(td.any(carry[0] == carry[0]), k < n)
            return k < (n if how == "count" else steps)

        first = [x * (m + 2) for m in range(arrays)] + [td.asarray(np.array(m, dtype)) for m in range(scalars)]
        return td.while_loop(test, body, (0, *first))

    given_arrays = ramp(*shape, dtype=dtype), ramp(*shape, dtype=dtype) * 2, np.array(steps)
    agree(f, *given_arrays)


def test_many_calls_take_up_where_the_last_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_loop_calls, "chunk_of", lambda loop: 3)

    def f(x: Any, n: Any) -> Any:
        body = lambda k, t, u, y: (k + 1, u, t + k, td.where(y > t, y - u, y + k))  # noqa: E731
        return td.while_loop(lambda k, *_: k < n, body, (0, 1.0, 2.0, x))

    def g(x: Any) -> Any:
        return td.scan(lambda c, e: (c + e, c * 2), td.zeros((3,)), x)

    for n in range(8):
        agree(f, ramp(700), np.array(n))
        agree(lambda x: [g(x)[0], g(x)[1]], ramp(n, 3))


def test_a_long_loop_can_be_interrupted() -> None:
    @td.function
    def f(x: Any, n: Any) -> Any:
        return td.while_loop(lambda k, x: k < n, lambda k, x: (k + 1, x * 0.5 + 1), (0, x))[1]

    f(td.ones((100,)), td.asarray(3))
    timer = threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            f(td.ones((100,)), td.asarray(10**15))
    finally:
        timer.cancel()
        timer.join()


def test_loops_that_need_all_elements_of_many_stay_kernels_of_a_step() -> None:
    def f(x: Any) -> Any:
        return td.while_loop(lambda x: td.max(x) > 0.5, lambda x: (x * 0.5,), (x,))[0]

    agree(f, np.linspace(0, 3, 50_000, dtype=F))
    assert "array_loop" not in names(f, np.linspace(0, 3, 50_000, dtype=F))
