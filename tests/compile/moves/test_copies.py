"""Copies of views: transposed ones by strips, large ones in shares, reshaped ones straight to the result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import agree, compiled

import treadle as td


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "bool"])
@pytest.mark.parametrize("shape", [(16, 16), (17, 33), (50, 16), (15, 40), (200, 300)])
def test_transposed(dtype: str, shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    agree(lambda x: (td.transpose(x), td.flatten(td.transpose(x)), td.transpose(x[1:, ::2])), x)


def test_several_axes() -> None:
    x = np.random.default_rng(1).normal(size=(4, 20, 5, 18)).astype(np.float32)
    agree(lambda x: (td.transpose(x), td.transpose(x, (2, 3, 0, 1)), td.transpose(x, (0, 3, 2, 1))), x)


def test_a_transposing_copy_goes_by_strips() -> None:
    x = np.zeros((40, 30), np.float32)
    assert [kernel.name for kernel in compiled(td.transpose, x).kernels] == ["copy_transposed"]


def test_repeats_are_written_once() -> None:
    x = np.random.default_rng(2).normal(size=3000).astype(np.float32)
    program = compiled(lambda x: td.tile(x, 4), x)
    assert len(program.code.text().splitlines()) == 2  # one copy, and the return
    agree(lambda x: (td.tile(x, 4), td.repeat(x, 3), td.tile(x, 2) + 1.0), x)


def test_large_joins_in_shares() -> None:
    x = np.random.default_rng(3).normal(size=(300, 701))
    agree(lambda x: (td.concat([x, x * 2.0]), td.concat([x[:5], x[5:]])), x)


def test_a_transposed_operand_is_read_in_tiles() -> None:
    x = np.random.default_rng(4).normal(size=(70, 33)).astype(np.float32)
    y = np.random.default_rng(5).normal(size=(33, 70)).astype(np.float32)
    z = np.random.default_rng(6).normal(size=(2, 33, 40)).astype(np.float32)
    agree(lambda x, y: td.transpose(x) * 2.0 + y, x, y)
    agree(lambda z: td.transpose(z, (0, 2, 1)) + 1.0 / td.transpose(z, (0, 2, 1)), z)
    (kernel,) = compiled(lambda x, y: td.transpose(x) * 2.0 + y, x, y).kernels
    assert "for square in" in kernel.source


def test_flipped_axes_are_read_backwards() -> None:
    x = np.random.default_rng(7).normal(size=(9, 37)).astype(np.float32)
    agree(lambda x: (td.flip(x), td.flip(x, axis=1) * 2.0, td.sum(td.flip(x, axis=0), axis=0)), x)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_vectors_side_by_side(count: int) -> None:
    x = np.random.default_rng(8).normal(size=(5, 37)).astype(np.float32)
    agree(lambda x: td.stack([x[k] * 2.0 for k in range(count)], axis=-1), x)
    agree(lambda x: td.stack([x[k] for k in range(count)], axis=1), x)


def test_only_what_is_around_a_slice_is_laid() -> None:
    x = np.random.default_rng(9).normal(size=(6, 7, 3)).astype(np.float32)
    for box in (np.s_[1:-1], np.s_[:4], np.s_[2:, 1:5], np.s_[:, 1:5], np.s_[0:1, 2:, :2], np.s_[::2], np.s_[3:3]):
        agree(lambda x, box=box: x.at[box].set(2.0), x)  # type: ignore[misc]
    agree(lambda x: (td.pad(x, 2), td.pad(x, ((1, 0), (0, 0), (0, 0))), td.pad(x, ((0, 0), (1, 2), (0, 0)))), x)
    program = compiled(lambda x: x.at[1:-1].set(x[1:-1] * 2.0), x)
    assert "copy output0 <- input0, 84 bytes" in program.code.text()


def test_parts_of_a_join_are_made_in_their_places() -> None:
    x, y = (np.random.default_rng(k).normal(size=(6, 5)).astype(np.float32) for k in (4, 5))

    def f(x: td.Tensor, y: td.Tensor) -> td.Tensor:
        return td.concat([td.tanh(x), x * y, y], axis=1)

    assert [kernel.name for kernel in compiled(f, x, y).kernels] == ["tanh_multiply", "astype"]  # y alone is copied
    agree(f, x, y)
    whole = lambda x, y: td.concat([x * 2, y + 1])  # noqa: E731
    agree(lambda x, y: (whole(x, y) @ td.transpose(whole(y, x)), td.sum(whole(x, y) * 3), whole(x, x)[2:]), x, y)


def test_parts_of_joins_in_loops_and_branches() -> None:
    x = np.random.default_rng(6).normal(size=(4, 6))

    def f(x: td.Tensor) -> list[td.Tensor]:
        def step(h: td.Tensor, _: td.Tensor) -> tuple[td.Tensor, td.Tensor]:
            new = td.concat([h[:, 3:] * 0.5, td.tanh(h[:, :3]) + h[:, 3:]], axis=1)
            return new, td.concat([new[:2] + 1, new[2:] * 2])

        last, rows = td.scan(step, x, td.zeros((5,)))
        return [last, rows, td.cond(td.sum(x) > 0, lambda: td.concat([x * 2, x + 1]), lambda: td.concat([x, x * x]))]

    agree(f, x)


SQUARE = np.random.default_rng(4).normal(size=(30, 41)).astype(np.float32)


def _relaxed(u: Any) -> Any:
    return u.at[1:-1, 1:-1].set(0.25 * (u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2]))


def test_what_replaces_a_slice_is_made_in_its_place() -> None:
    for f, copies in (
        (_relaxed, 4),
        (lambda u: u.at[3:5].set(td.tanh(u[7:9])), 2),
        (lambda u: u.at[0:0].set(td.tanh(u[7:7])), 1),
        (lambda u: u.at[:].set(td.tanh(u)), 0),
        (lambda u: td.pad(td.tanh(u), 1), 4),
        (lambda u: td.pad(td.tanh(u[0]), (2, 0)), 1),
        (lambda u: td.zeros((30, 41)).at[3:5, 2:].set(td.tanh(u[7:9, 2:])), 3),
    ):
        lines = compiled(f, SQUARE).code.text().splitlines()
        assert sum("copy" in line or "fill" in line or "astype" in line for line in lines) == copies
        agree(f, SQUARE)
        agree(f, SQUARE[:, ::-1])


def test_slices_replaced_one_after_another_or_of_what_is_read_later() -> None:
    agree(lambda u: _relaxed(_relaxed(u)) + u, SQUARE)
    agree(lambda u: u.at[3:5].set(td.tanh(u[7:9])).at[20:, 1:].set(u[20:, 1:] * 2), SQUARE)
    agree(lambda u: (lambda v: (u.at[3:5].set(v), td.sum(v), v @ v.T))(td.tanh(u[7:9])), SQUARE)
    agree(lambda u: (lambda v: u.at[3:5].set(v).at[8:10].set(v))(td.tanh(u[7:9])), SQUARE)
    agree(lambda u: u.at[::2].set(td.tanh(u[::2])), SQUARE)
    agree(lambda u: td.fori_loop(0, 4, lambda k, u: _relaxed(td.exp(-u)), u), SQUARE)
    agree(lambda u: td.fori_loop(0, 4, lambda k, u: td.flip(_relaxed(u), axis=0), u), SQUARE)
    agree(lambda u: td.grad(lambda u: td.sum(_relaxed(u) ** 2))(u).at[2:4].set(u[:2] * 2), SQUARE)


def test_a_slice_that_is_replaced_where_the_whole_lies_is_made_apart() -> None:
    def f(u: Any) -> Any:
        v = u.at[np.array([0, 3, 3])].max(td.sin(u[:3]) * 2)
        return v.at[1:-1, 1:].set(u[2:, 1:] - v[:-2, :-1]), u.at[2:4].set(u[1:3] * 2).at[1:-1].set(td.exp(u[2:]))

    agree(f, SQUARE)
    agree(lambda u: td.fori_loop(0, 3, lambda k, u: f(u)[0], u), SQUARE)
    agree(lambda u: td.cond(u[0, 0] > 0, lambda: f(u)[0], lambda: _relaxed(u)), SQUARE)


def test_a_variable_whose_slice_is_replaced_by_work_on_its_neighbours() -> None:
    v = td.Variable(SQUARE)

    @td.function
    def step() -> Any:
        v.assign(_relaxed(v.value))
        return td.sum(v)

    step()
    np.testing.assert_allclose(v.numpy(), _relaxed(td.asarray(SQUARE)).numpy(), rtol=1e-5, atol=1e-6)
