"""Gathers that kernels read in place, and positions that they count: the same values and errors, and fewer kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import agree, compiled, graph_of, kernels

import treadle as td
from treadle.compile.fusion.fuse import fuse
from treadle.compile.fusion.items import Single
from treadle.errors import IndexOutOfRange
from treadle.optimize.pipeline import optimize

F = np.float32
RNG = np.random.default_rng(5)
TABLE = RNG.standard_normal((7, 32)).astype(F)
WEIGHTS = RNG.standard_normal((5, 32)).astype(F)
PICKS = np.array([6, -7, 0, 3, 3])


def _norm(x: Any) -> Any:
    centred = x - td.mean(x, axis=-1, keepdims=True)
    return centred / td.sqrt(td.mean(centred * centred, axis=-1, keepdims=True) + 1)


def test_rows_are_read_where_they_lie() -> None:
    cases: list[tuple[Any, int]] = [
        (lambda x, i, w: x[i] * w, 1),
        (lambda x, i, w: td.sum(td.take(x, i, axis=0) * w, axis=0), 1),
        (lambda x, i, w: td.sum(x[i] * w), 1),
        (lambda x, i, w: _norm(td.take(x, i, axis=0) + w), 1),
        (lambda x, i, w: (td.exp(x[i]), x[i][:, None] * w), 2),
    ]
    for f, count in cases:
        assert len(kernels(f, TABLE, PICKS, WEIGHTS)) == count
        agree(f, TABLE, PICKS, WEIGHTS)
        agree(f, TABLE[:, ::-1], PICKS.astype(np.int32)[::-1], WEIGHTS)


def test_one_number_a_row_is_read_in_the_row_kernel() -> None:
    labels = np.array([31, 0, 5, 5, -1])

    def loss(z: Any, y: Any) -> Any:
        return td.logsumexp(z, axis=1) - z[td.arange(5), y]

    def along(z: Any, y: Any) -> Any:
        return td.nn.softmax(z, axis=1) * td.take_along_axis(z, y[:, None], axis=1)

    for f in (loss, along):
        found = kernels(f, WEIGHTS, labels)
        assert sum("+" in name for name in found) == 1
        assert "gather" not in found
        assert "take_along_axis" not in found
        agree(f, WEIGHTS, labels)


def test_blocks_from_starts_are_read_in_place() -> None:
    def f(x: Any, at: Any) -> Any:
        return td.tanh(td.dynamic_slice(x, td.stack([at, at]), (3, 30))) * 2

    assert "dynamic_slice" not in kernels(f, TABLE, np.array(1))
    agree(f, TABLE, np.array(2))
    with pytest.raises(IndexOutOfRange, match="3 elements from 5 do not lie within axis 0 of size 7"):
        compiled(f, TABLE, np.array(5)).run([TABLE, np.array(5)])


def test_views_of_what_is_read_by_index() -> None:
    agree(lambda x, i, w: td.exp(td.permute_dims(x[i], (1, 0)))[::-1] + w[0, :, None], TABLE, PICKS, WEIGHTS)
    agree(lambda x, i, w: td.flip(x[i][1:4], axis=1) - w[:3], TABLE, PICKS, WEIGHTS)
    agree(lambda x, i, w: td.sum(x[i][None] + w[:, None], axis=2), TABLE, PICKS, WEIGHTS)


def test_single_elements() -> None:
    x, picks = RNG.standard_normal(40).astype(F), RNG.integers(-40, 40, 50)
    assert kernels(lambda x, i: x[i] * 2 + 1, x, picks) == ["multiply+add"]
    assert kernels(lambda x, i: td.tanh(x[i]), x, picks) == ["gather", "tanh"]  # a vector is worth more than a copy
    agree(lambda x, i: x[i] * 2 + 1, x, picks)
    agree(lambda x, i: td.sum(x[i]), x, picks)
    agree(lambda x, i: td.take_along_axis(x.reshape((4, 10)), i[:40].reshape((4, 10)) % 10, axis=1) + 1, x, picks)


@pytest.mark.parametrize("bad", [7, -8, 2**40])
def test_an_index_out_of_range_raises_what_it_raised(bad: int) -> None:
    def f(x: Any, i: Any, j: Any, w: Any) -> Any:
        return _norm(x[i] * w) + x[j]

    picks = np.array([0, 1, bad, 3, 4])
    program = compiled(f, TABLE, PICKS, PICKS, WEIGHTS)
    for arrays in ([TABLE, picks, PICKS, WEIGHTS], [TABLE, PICKS, picks, WEIGHTS]):
        with pytest.raises(IndexOutOfRange, match=rf"index {bad} \(at \[2\] of the indices\) is out of range"):
            program.run(arrays)
    assert program.run([TABLE, PICKS, PICKS, WEIGHTS])[0].shape == (5, 32)


def test_a_failing_gather_leaves_variables_as_they_were() -> None:
    v = td.Variable(WEIGHTS)

    @td.function
    def step(x: Any, i: Any) -> Any:
        v.assign(v - x[i] * 2)
        return td.sum(v)

    with pytest.raises(IndexOutOfRange):
        step(TABLE, np.array([0, 1, 2, 3, 7]))
    np.testing.assert_array_equal(v.numpy(), WEIGHTS)
    step(TABLE, PICKS)
    np.testing.assert_allclose(v.numpy(), WEIGHTS - TABLE[PICKS] * 2, rtol=1e-6)


def test_a_carried_array_read_by_index_is_not_overwritten_before() -> None:
    def f(x: Any, i: Any) -> Any:
        return td.while_loop(lambda k, v: k < 3, lambda k, v: (k + 1, v[i] + 1), (0, x))[1]

    square = TABLE[:5]
    agree(f, square, np.array([4, 3, 2, 1, 0]))


def test_positions_are_counted() -> None:
    def causal(x: Any) -> Any:
        return td.where(td.arange(5)[:, None] >= td.arange(32), x, 0) + td.arange(32)

    for f in (
        causal,
        lambda x: td.tril(x, k=2) * 2 + td.triu(x, k=-1),
        lambda x: x * td.arange(0, 64, 2) - td.arange(31, -1, -1, dtype=td.int32),
        lambda x: x + td.arange(32, dtype=td.float64) + td.arange(0.5, 16.5, 0.5),
        lambda x: x * td.linspace(-1, 3, 32) + td.linspace(0, 1, 32, endpoint=False),
        lambda x: td.eye(5, 32, k=3) * x - td.flip(td.eye(5, 32), axis=0),
        lambda x: td.nn.softmax(x + td.linspace(0, 1, 32)[::-1], axis=1),
        lambda x: td.sum(td.one_hot(td.arange(5) * 7, 32) * x, axis=1),
        lambda x: td.permute_dims(x, (1, 0)) * td.arange(1, 6),
    ):
        agree(f, WEIGHTS)
    items = fuse(optimize(graph_of(causal, [WEIGHTS])))
    assert not [i for i in items if isinstance(i, Single) and i.node.op == "arange"]


def test_labels_far_out_of_range_match_no_position() -> None:
    labels = np.array([2**40 + 1, -(2**40), 1, -1, 2**32])
    (got,) = agree(lambda y: td.one_hot(y, 4) * 3, labels)
    np.testing.assert_array_equal(got, np.array([[0] * 4, [0] * 4, [0, 3, 0, 0], [0] * 4, [0] * 4], F))
    for compare in (td.less, td.greater_equal, td.not_equal):
        agree(lambda y, c=compare: td.where(c(y[:, None], td.arange(9)), 1.0, 2.0) * 3, labels)


def test_a_new_size_compiles_nothing() -> None:
    def f(x: Any, i: Any) -> Any:
        return td.sum(td.where(td.arange(32) < 20, x[i], 0) + td.one_hot(i, 32), axis=1)

    compiled(f, TABLE, PICKS)
    before = td.stats()["kernels_compiled"]
    many = np.arange(6000) % 7
    compiled(f, TABLE, many)
    assert td.stats()["kernels_compiled"] == before


def test_a_mask_of_positions_is_made_where_it_is_read() -> None:
    scores = RNG.standard_normal((2, 3, 20, 20)).astype(F)

    def attention(s: Any) -> Any:
        return td.nn.softmax(td.where(td.nn.causal_mask(20, 20), s, -np.inf))

    def gradient(s: Any) -> Any:
        return [td.grad(lambda s: td.sum(attention(s) ** 2))(s)]

    assert len(kernels(attention, scores)) == 1
    agree(attention, scores)
    agree(gradient, scores)
    agree(lambda s: td.sum(td.where(td.arange(20)[:, None] < td.arange(20), s, 0), axis=(0, 1)), scores)
    agree(lambda s: td.where(td.arange(20) > 4, s, 0) + td.flip(td.nn.causal_mask(20, 20), axis=0), scores)


def test_a_mask_that_something_else_wants_is_stored() -> None:
    def f(s: Any) -> Any:
        mask = td.nn.causal_mask(5, 5)
        return td.where(mask, s, 0), mask, td.sum(mask, axis=0)

    agree(f, RNG.standard_normal((3, 5, 5)))
    agree(
        lambda s: td.where(td.nn.causal_mask(5, 5), s, 0) @ td.astype(td.nn.causal_mask(5, 5), s.dtype),
        np.ones((3, 5, 5)),
    )
