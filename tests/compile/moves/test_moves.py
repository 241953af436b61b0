"""Gathers and scatters as kernels against the interpreter: duplicates, negative and bad indices, all dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import agree, compiled

import treadle as td
from treadle.errors import IndexOutOfRange

DTYPES = ["float32", "float64", "int8", "int32", "int64", "uint8", "bool"]


def numbers(rng: np.random.Generator, shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    return rng.integers(0, 9, shape).astype(dtype) if dtype != "bool" else rng.random(shape) < 0.5


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype(dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, i = numbers(rng, (5, 3), dtype), np.array([4, 0, -1, 4, 2, 2])
    program = compiled(lambda x, i: td.take(x, i, axis=0), x, i)
    assert not program.hosts
    agree(lambda x, i: td.take(x, i, axis=0), x, i)
    v = numbers(rng, (6, 3), dtype)
    for mode in ("set", "add", "multiply", "min", "max"):
        assert not compiled(lambda x, i, v, mode=mode: getattr(x.at[i], mode)(v), x, i, v).hosts
        agree(lambda x, i, v, mode=mode: getattr(x.at[i], mode)(v), x, i, v)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.data())
def test_gathers_and_scatters_of_drawn_shapes(data: st.DataObject) -> None:
    sizes = st.sampled_from([0, 1, 3, 4])
    shape = tuple(data.draw(st.lists(sizes, min_size=1, max_size=3)))
    axis = data.draw(st.integers(0, len(shape) - 1))
    picked = tuple(data.draw(st.lists(sizes, max_size=2)))
    n = shape[axis]
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    i = rng.integers(-n, n, picked) if n else np.zeros((*picked, 0), np.int64)
    i = i.astype(data.draw(st.sampled_from(["int32", "int64"])))
    x = numbers(rng, shape)
    key: Any = (slice(None),) * axis
    agree(lambda x, i: td.take(x, i, axis=axis), x, i)
    v = numbers(rng, (*shape[:axis], *i.shape, *shape[axis + 1 :]))
    agree(lambda x, i, v: x.at[(*key, i)].add(v), x, i, v)
    agree(lambda x, i, v: x.at[(*key, i)].set(v), x, i, v)


def test_several_indexed_axes_and_views() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4, 5, 6)).astype(np.float32)
    i, j = rng.integers(-4, 4, (3, 1)), rng.integers(-5, 5, (1, 2))
    agree(lambda x, i, j: (x[i, j], x[:, j[0], i[:, 0][:2]], x[i[:, 0], :, j[0, 0]]), x, i, j)
    agree(lambda x, i, j: (x.T[i, j], x[::-1, ::2][i, 0 * j]), x, i, j)
    agree(lambda x, i, j: (x.at[i, j].add(1.0), x.at[i, j, 2].set(7.0), x.at[:, j[0], 1:4].max(0.5)), x, i, j)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_along_an_axis(axis: int) -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(3, 4, 5)).astype(np.float32)
    shape = tuple(7 if k == axis else size for k, size in enumerate(x.shape))
    i = rng.integers(-x.shape[axis], x.shape[axis], shape)
    assert not compiled(lambda x, i: td.take_along_axis(x, i, axis=axis), x, i).hosts
    agree(lambda x, i: td.take_along_axis(x, i, axis=axis), x, i)
    agree(lambda x, i: td.take_along_axis(x, td.argsort(x, axis=axis), axis=axis), x, i)

    def slope(x: td.Tensor, i: td.Tensor) -> td.Tensor:
        return td.grad(lambda x: td.sum(td.take_along_axis(x, i, axis=axis) ** 2))(x)

    agree(slope, x, i)


def test_labels_of_rows() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(6, 4)).astype(np.float32), rng.integers(0, 4, 6)
    agree(lambda x, y: td.take_along_axis(x, y[:, None], axis=1)[:, 0], x, y)


@pytest.mark.parametrize("bad", [5, -6, 2**62, -(2**62)])
def test_a_bad_index_is_reported_at_the_users_line(bad: int) -> None:
    @td.function
    def f(x: td.Tensor, i: td.Tensor) -> td.Tensor:
        return td.take(x, i, axis=0)  # the line

    @td.function
    def g(x: td.Tensor, i: td.Tensor) -> td.Tensor:
        return x.at[i].add(1.0)  # the other line

    x = td.ones((5, 3))
    for function, line in ((f, "# the line"), (g, "# the other line")):
        assert function(x, td.asarray([0, 4, -5])).shape[1] == 3
        with pytest.raises(IndexOutOfRange, match=rf"(?s)index {bad} .*axis 0 of size 5.*{line}"):
            function(x, td.asarray([0, bad, 1]))
        assert function(x, td.asarray([0, 1, 2])).shape[1] == 3  # the next call is fine


def test_a_bad_index_in_a_loop_names_the_iteration() -> None:
    @td.function
    def f(x: td.Tensor) -> td.Tensor:
        total = td.zeros((2,))
        for k in td.range(9):
            total = total + td.take(x, k, axis=0) * td.ones((2,))
        return total

    with pytest.raises(IndexOutOfRange) as caught:
        f(td.ones((4, 2)))
    assert any(note.startswith("in iteration 4 of the loop at test_moves.py:") for note in caught.value.__notes__)


def test_a_failed_call_leaves_variables_as_they_were() -> None:
    table, count = td.Variable(np.zeros((3, 2), np.float32)), td.Variable(np.int64(0))

    @td.function
    def f(i: td.Tensor) -> td.Tensor:
        count.assign_add(1)
        table.assign((table + 0.0).at[i].add(1.0))
        return td.sum(table)

    assert f(td.asarray([0, 0, 2])).item() == 6
    with pytest.raises(IndexOutOfRange):
        f(td.asarray([1, 3, 1]))
    assert (count.numpy().item(), table.numpy().tolist()) == (1, [[2, 2], [0, 0], [1, 1]])


def test_updates_of_a_carried_value_are_made_in_place() -> None:
    x = np.arange(12, dtype=np.float32).reshape(6, 2)

    def f(x: td.Tensor) -> td.Tensor:
        def body(k: td.Tensor, x: td.Tensor) -> tuple[td.Tensor, td.Tensor]:
            return k + 1, x.at[k].set(x[k] * 2.0 + 1.0)

        return td.while_loop(lambda k, x: k < 6, body, (td.asarray(0), x))[1]

    (got,) = agree(f, x)
    np.testing.assert_array_equal(got, 2 * x + 1)


def test_slices_found_while_running() -> None:
    x, v = np.arange(30, dtype=np.float64).reshape(5, 6), np.ones((2, 3))
    for start in ([0, 0], [3, 3], [1, 2]):
        agree(lambda x, s: td.dynamic_slice(x, s, (2, 3)), x, np.array(start))
        agree(lambda x, v, s: td.dynamic_update_slice(x, v, s), x, v, np.array(start))
    f = td.function(lambda x, s: td.dynamic_slice(x, s, (2, 3)))
    g = td.function(lambda x, v, s: td.dynamic_update_slice(x, v, s))
    for bad in ([4, 0], [0, -1], [0, 4]):
        with pytest.raises(IndexOutOfRange, match="do not lie within axis"):
            f(td.asarray(x), td.asarray(bad))
        with pytest.raises(IndexOutOfRange, match="do not lie within axis"):
            g(td.asarray(x), td.asarray(v), td.asarray(bad))


def test_folding_windows() -> None:
    x = np.random.default_rng(4).normal(size=(2, 7, 6, 3)).astype(np.float32)
    for sizes, strides, dilations in (((3, 2), (1, 1), (1, 1)), ((2, 2), (2, 3), (2, 1))):
        from treadle.ops.windows import fold, windows

        agree(
            lambda x, a=sizes, b=strides, c=dilations: fold(windows(x, a, b, c), (7, 6), a, b, c),
            x,
        )


def test_large_gathers_in_shares_and_new_sizes_without_compiling() -> None:
    from oracle import compilations

    rng = np.random.default_rng(5)
    x = rng.normal(size=(1000, 33)).astype(np.float32)
    agree(lambda x, i: td.take(x, i, axis=0), x, rng.integers(-1000, 1000, 3000))
    before = compilations()
    agree(lambda x, i: td.take(x, i, axis=0), x[:7, :5].copy(), rng.integers(0, 7, 11))
    assert compilations() == before
