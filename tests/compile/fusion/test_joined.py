"""Joins, rolls and pads that kernels read piece by piece: no copies, and the same values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import agree, compiled, kernels, same, traced, unjitted

import treadle as td
from treadle.compile.fusion import joined
from treadle.control.call import interpret_arrays

F = np.float32
RNG = np.random.default_rng(7)
LINE, SQUARE = RNG.standard_normal(500).astype(F), RNG.standard_normal((20, 31)).astype(F)


def periodic(u: Any) -> Any:
    axes = range(len(u.shape))
    return sum((td.roll(u, by, axis=k) for k in axes for by in (1, -1)), start=-2 * len(axes) * u)


def frozen(u: Any) -> Any:
    p = td.pad(u, (1, 1))
    inside = (slice(1, -1),) * len(u.shape)
    near = [
        p[(*inside[:k], ends, *inside[k + 1 :])] for k in range(len(u.shape)) for ends in (slice(2, None), slice(-2))
    ]
    return sum(near, start=-4 * u)


@pytest.mark.parametrize("f", [periodic, frozen])
@pytest.mark.parametrize("u", [LINE, SQUARE, RNG.standard_normal((3, 4, 20)), LINE[::-2], SQUARE.T, SQUARE[::2, ::-1]])
def test_a_stencil_is_one_kernel(f: Any, u: np.ndarray) -> None:
    assert len([name for name in kernels(f, u) if name != "slice"]) == 1
    agree(f, u)


def test_stencils_by_slices_copy_nothing() -> None:
    def by_slices(u: Any) -> Any:
        return u[2:] + u[:-2] - 2 * u[1:-1]

    assert [name for name in kernels(by_slices, LINE) if name != "slice"] == ["add+multiply+subtract"]
    agree(by_slices, LINE)


def test_several_axes_reductions_and_numbers_around() -> None:
    for f in (
        lambda u: td.roll(u, (1, 2), axis=(0, 1)) * 2 + u,
        lambda u: td.sum((td.roll(u, 1, axis=0) - td.roll(u, 2, axis=1)) ** 2),
        lambda u: td.max(td.roll(td.pad(u, 1), 1, axis=1) * 2),
        lambda u: td.pad(u, 1, constant_values=3.0) * 2,
        lambda u: td.stack([u, u + 1, td.flip(u, axis=0)]) * u,
        lambda u: td.concat([u[:5], td.flip(u, axis=1)[:2], u[-3:]]) - 1,
        lambda u: td.roll(td.abs(u), 3, axis=0) > 0.5,
    ):
        assert "concat" not in kernels(f, SQUARE)
        assert "pad_slice" not in kernels(f, SQUARE)
        agree(f, SQUARE)


def test_gradients() -> None:
    def loss(u: Any) -> Any:
        return td.sum((td.roll(u, 1, axis=0) * td.pad(u, ((0, 0), (1, 0)))[:, 1:] - td.roll(u, -2, axis=1)) ** 2)

    agree(lambda u: [td.grad(loss)(u)], SQUARE)
    assert "pad_slice" not in kernels(lambda u: [td.grad(loss)(u)], SQUARE)


def test_pieces_that_lie_otherwise_are_copied() -> None:
    for f in (
        lambda u: td.concat([u, td.flip(u, axis=1)], axis=1) * 2,
        lambda u: td.pad(td.flip(u, axis=1), 1) * 2,
        lambda u: td.stack([u, -u], axis=2) + 1,
        lambda u: td.roll(u, 1, axis=0)[::2] + 1,
    ):
        agree(f, SQUARE)


def test_what_else_reads_a_join_has_it_whole() -> None:
    def f(u: Any) -> Any:
        moved = td.roll(u, 1)
        return moved, moved * 2

    assert "concat" in kernels(f, LINE)
    agree(f, LINE)


def test_a_carried_array_is_not_overwritten_before_its_neighbours_are_read() -> None:
    def steps(u: Any) -> Any:
        return td.fori_loop(0, 5, lambda k, u: u + 0.1 * periodic(u), u)

    agree(steps, LINE)
    agree(lambda u: td.fori_loop(0, 3, lambda k, u: td.concat([u[10:], u[:10]]) + u, u), LINE)


def test_a_variable_is_not_overwritten_before_its_neighbours_are_read() -> None:
    v = td.Variable(LINE)

    @td.function
    def step() -> Any:
        v.assign(v + td.roll(v, 1) - td.pad(v, (0, 1))[1:])
        return td.sum(v)

    step()
    want = LINE + np.roll(LINE, 1) - np.pad(LINE, (0, 1))[1:]
    np.testing.assert_allclose(v.numpy(), want, rtol=1e-5, atol=1e-6)


def test_other_lengths_and_shifts_compile_nothing() -> None:
    def f(u: Any, by: int) -> Any:
        return td.roll(u, by) * 3 - u

    compiled(lambda u: f(u, 1), LINE)
    before = td.stats()["kernels_compiled"]
    compiled(lambda u: f(u, 7), RNG.standard_normal(90_000).astype(F))
    assert td.stats()["kernels_compiled"] == before


@st.composite
def chains(draw: Any) -> tuple[tuple[int, ...], list[tuple[str, int, int]]]:
    """A shape, and steps on it: an op, an axis and a number."""
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    steps = st.tuples(
        st.sampled_from(["roll", "before", "behind", "slice", "twice"]), st.integers(0, 2), st.integers(0, 4)
    )
    return tuple(shape), draw(st.lists(steps, min_size=1, max_size=4))


def moved(m: Any, x: Any, steps: list[tuple[str, int, int]]) -> Any:
    """What the steps make of an array."""
    for op, axis, by in steps:
        axis %= len(x.shape)
        if op == "roll":
            x = m.roll(x, by, axis=axis)
        elif op == "slice":
            x = x[(slice(None),) * axis + (slice(min(by, x.shape[axis] - 1), None),)]
        elif op == "twice":
            x = m.concat([x, x], axis=axis)
        else:
            x = m.pad(x, [(0, 0) if k != axis else (by, 0) if op == "before" else (0, by) for k in range(len(x.shape))])
    return x


@settings(derandomize=True, deadline=None, max_examples=60)
@given(chains())
def test_any_pieces(chain: tuple[tuple[int, ...], list[tuple[str, int, int]]]) -> None:
    shape, steps = chain
    x = np.arange(1, 1 + np.prod(shape, dtype=int)).reshape(shape).astype(F)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joined, "SHORT_STRETCH", 1)
        patch.setattr(joined, "MOST_PIECES", 99)  # a whole that is made apart is copied, and copies are no kernels
        (got,) = unjitted(lambda x: moved(td, x, steps) * 2, x)
    same(got, moved(np, x, steps) * 2)


def test_nothing_joined_and_single_elements() -> None:
    for shape in [(0,), (1,), (1, 0), (1, 1)]:
        x = np.ones(shape, F)
        f = lambda x: td.roll(x, 1) * 2 + td.sum(td.pad(x, 1))  # noqa: E731
        graph, arrays = traced(f, [x])
        same(agree(f, x)[0], interpret_arrays(graph, arrays)[0])
