"""Scatters whose updates are computed where they are written: one kernel, the same values, order and errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import agree, compiled, kernels, same, unjitted

import treadle as td
from treadle.compile.fusion import scatters
from treadle.errors import IndexOutOfRange

F = np.float32
RNG = np.random.default_rng(11)
ROWS = RNG.standard_normal((9, 20)).astype(F)
PICKS = np.array([3, 0, -1, 3, 3, 2, -4, 0, 1])


def steps(f: Any, *arrays: np.ndarray) -> list[str]:
    """The kernels and other steps of a function, views left out."""
    return [name for name in kernels(f, *arrays) if name not in ("reshape", "slice", "transpose", "broadcast_to")]


@pytest.mark.parametrize("mode", ["add", "set", "multiply", "min", "max"])
def test_rows(mode: str) -> None:
    table = RNG.standard_normal((4, 20)).astype(F)

    def f(t: Any, i: Any, x: Any) -> Any:
        return getattr(t.at[i], mode)(td.sin(x) * 2 + 1)

    assert steps(f, table, PICKS, ROWS) == ["sin+multiply+add"]
    agree(f, table, PICKS, ROWS)
    agree(f, table[::-1], PICKS.astype(np.int32)[::-1], ROWS[:, ::-1])


def test_the_gradient_of_an_embedding() -> None:
    def loss(table: Any, i: Any, x: Any) -> Any:
        return td.sum(td.tanh(table[i] * x))

    def gradient(table: Any, i: Any, x: Any) -> Any:
        return td.grad(loss)(table, i, x)

    table, rows = RNG.standard_normal((4, 40)).astype(F), RNG.standard_normal((9, 40)).astype(F)
    assert len(steps(lambda *a: [gradient(*a)], table, PICKS, rows)) == 1
    agree(lambda *a: [gradient(*a)], table, PICKS, rows)
    agree(lambda t, i, x: [td.grad(lambda t: td.sum(gradient(t, i, x) ** 2))(t)], table, PICKS, rows)


def test_rows_of_two_indices_and_of_axes_behind_them() -> None:
    x = RNG.standard_normal((9, 4, 18))
    agree(lambda i, x: td.zeros((4, 3, 4, 18), dtype=td.float64).at[i, i % 3].add(x * 2), PICKS, x)
    agree(lambda i, x: td.zeros((9, 4, 18), dtype=td.float64).at[:, i[:4]].add(x * 2), PICKS, x)
    agree(lambda i, x: td.zeros((5, 4, 18), dtype=td.float64).at[i[0]].set(x[0] * 2), PICKS, x)


def test_long_rows_are_shared_out_and_updates_stay_in_order() -> None:
    x = RNG.standard_normal((60, 400)).astype(F)
    i = RNG.integers(0, 7, 60)
    program = compiled(lambda i, x: td.zeros((7, 400)).at[i].set(td.exp(x)), i, x)
    assert "parallel exp_scatter" in program.code.text()
    agree(lambda i, x: td.zeros((7, 400)).at[i].set(td.exp(x)), i, x)
    agree(lambda i, x: td.zeros((7, 400)).at[i].add(td.exp(x)), i, x)


def test_single_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scatters, "SINGLE_UPDATES", 1)
    x, i = RNG.standard_normal(500).astype(F), RNG.integers(-40, 40, 500)

    def histogram(i: Any, x: Any) -> Any:
        return td.zeros(40).at[i].add(x * x)

    assert steps(histogram, i, x) == ["square"]
    agree(histogram, i, x)
    agree(lambda i, x: td.zeros((40, 3)).at[i, 1].max(x * 2), i, x)
    along = i.reshape(20, 25)[:, :3] % 25
    agree(lambda x, i: [td.grad(lambda x: td.sum(td.take_along_axis(x, i, axis=1) ** 2))(x)], x.reshape(20, 25), along)


def test_what_else_reads_updates_keeps_them() -> None:
    def f(i: Any, x: Any) -> Any:
        updates = td.sin(x)
        return td.zeros((4, 20)).at[i].add(updates), td.sum(updates)

    agree(f, PICKS, ROWS)

    def g(i: Any, x: Any) -> Any:
        shared = td.sin(x)
        return td.zeros((4, 20)).at[i].add(shared * 2), shared

    assert len(steps(g, PICKS, ROWS)) == 2
    agree(g, PICKS, ROWS)


@pytest.mark.parametrize("bad", [4, -5, 2**40])
def test_an_index_out_of_range_raises_what_it_raised(bad: int) -> None:
    def f(i: Any, j: Any, x: Any) -> Any:
        return td.zeros((4, 20)).at[i].add(td.sin(x[j]))

    program = compiled(f, PICKS, PICKS, ROWS)
    picks = PICKS.copy()
    picks[2] = bad
    with pytest.raises(IndexOutOfRange, match=rf"index {bad} \(at \[2\] of the indices\) is out of range .* size 4"):
        program.run([picks, PICKS, ROWS])
    picks[2] = 9
    with pytest.raises(IndexOutOfRange, match=r"index 9 \(at \[2\] of the indices\) is out of range .* size 9"):
        program.run([PICKS, picks, ROWS])
    assert program.run([PICKS, PICKS, ROWS])[0].shape == (4, 20)


def test_a_failing_scatter_leaves_variables_as_they_were() -> None:
    v = td.Variable(np.ones((4, 20), F))

    @td.function
    def step(i: Any, x: Any) -> Any:
        v.assign(v.at[i].add(x * 2))
        return td.sum(v)

    with pytest.raises(IndexOutOfRange):
        step(PICKS + 4, ROWS)
    np.testing.assert_array_equal(v.numpy(), np.ones((4, 20), F))
    step(PICKS, ROWS)
    want = np.ones((4, 20), F)
    np.add.at(want, PICKS, ROWS * 2)
    np.testing.assert_allclose(v.numpy(), want, rtol=1e-5)


def test_carried_arrays_are_updated_in_place_unless_their_old_values_are_read() -> None:
    def apart(t: Any, i: Any, x: Any) -> Any:
        return td.fori_loop(0, 3, lambda k, t: t.at[i].add(x * k), t)

    def together(t: Any, i: Any, x: Any) -> Any:
        return td.fori_loop(0, 3, lambda k, t: t.at[i].add(t[i] * x), t)

    table, rows = RNG.standard_normal((4, 40)).astype(F), RNG.standard_normal((9, 40)).astype(F)
    for f in (apart, together):
        agree(f, table, PICKS, rows)
    agree(lambda t, i, x: td.fori_loop(0, 3, lambda k, t: t.at[i].add(t * x), t), rows, PICKS, rows)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(st.integers(1, 4), st.integers(0, 5), st.integers(1, 3))
def test_any_size(places: int, count: int, row: int) -> None:
    x = np.arange(count * row, dtype=F).reshape(count, row)
    i = np.arange(count) * 7 % (2 * places) - places
    want = np.zeros((places, row), F)
    np.add.at(want, i, x * 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scatters, "SHORT_ROW", 1)
        if count:
            same(unjitted(lambda i, x: td.zeros((places, row)).at[i].add(x * 3) * 2, i, x)[0], want * 2)
        else:
            same(agree(lambda i, x: td.zeros((places, row)).at[i].add(x * 3) * 2, i, x)[0], want * 2)
