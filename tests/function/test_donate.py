"""Donated arguments: results come in their memory where nobody else looks at it, and nothing held ever changes."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td

N = 1 << 17  # large enough to come from the pool
plus = td.function(lambda x, y: (x + y, td.sum(x)), donate_argnames="x")
ONE = td.ones((N,))


def fresh(value: float = 1.0) -> td.Tensor:
    """A tensor on memory that nothing else knows."""
    return td.function(lambda x: x * value)(ONE)


def place(x: td.Tensor) -> int:
    return x.numpy().__array_interface__["data"][0]


def test_results_lie_where_the_donated_argument_lay():
    x = fresh()
    for k in range(3):
        where, before = place(x), x
        x, total = plus(x, ONE)
        assert place(x) == where
        assert total.item() == N * (k + 1)
        assert set(x.tolist()) == {k + 2.0}
        with pytest.raises(td.errors.DonatedTensor):
            _ = before + 1


HOLDS = {
    "a view": lambda x: x.numpy()[3:5],
    "the array": lambda x: x.numpy(),
    "a buffer": lambda x: memoryview(x.numpy()),
    "another tensor": lambda x: td.reshape(x, (-1, 2)),
    "an iterator": lambda x: iter(x.numpy()),
    "dlpack": lambda x: np.from_dlpack(x),
}


@pytest.mark.parametrize("hold", HOLDS)
def test_nothing_held_changes(hold: str):
    x = fresh(4.0)
    where, held = place(x), HOLDS[hold](x)
    result, _ = plus(x, ONE)
    assert place(result) != where
    first = next(iter(held)) if not isinstance(held, td.Tensor) else held[0, 0].item()
    assert float(first) == 4.0
    assert result[0].item() == 5.0


def test_one_tensor_as_two_arguments_or_in_the_closure():
    f = td.function(lambda x, y: (x[::-1] * 0 + td.cumulative_sum(y), y * 2), donate_argnames="x")
    x = fresh()
    want = [r.numpy().copy() for r in (td.cumulative_sum(ONE), ONE * 2)]
    for got, expected in zip(f(x, x), want, strict=True):
        np.testing.assert_array_equal(got.numpy(), expected)
    c = fresh(3.0)
    g = td.function(lambda x: (x * 2, td.sum(c)), donate_argnames="x")
    assert g(fresh())[1].item() == 3 * N
    doubled, total = g(c)
    assert (doubled[0].item(), total.item()) == (6.0, 3 * N)


def test_what_a_result_shows_or_reads_later_is_not_written_over():
    f = td.function(lambda x: (x[::-1] + x, x), donate_argnames="x")
    x = td.function(lambda y: td.cumulative_sum(y))(ONE)
    turned, same = f(x)
    assert set(turned.tolist()) == {N + 1.0}
    assert same[5].item() == 6.0


def test_a_call_that_fails_takes_nothing():
    f = td.function(lambda x, i: x.at[i].set(0.0) + 1, donate_argnames="x")
    x = fresh(2.0)
    with pytest.raises(td.errors.IndexOutOfRange):
        f(x, td.asarray(N))
    assert set(x.tolist()) == {2.0}
    assert f(x, td.asarray(3))[:5].tolist() == [3.0, 3.0, 3.0, 1.0, 3.0]


def test_with_variables_small_tensors_and_a_tape():
    v = td.Variable(td.zeros((N,)))
    f = td.function(lambda x: v.assign_add(x), donate_argnames="x")
    f(fresh())
    assert set(v.numpy().tolist()) == {1.0}
    small, _ = plus(td.ones((3,)), td.ones((3,)))
    assert small.tolist() == [2.0] * 3
    x = fresh(2.0)
    with td.GradientTape() as tape:
        tape.watch(ONE)
        loss = td.sum(plus(x, ONE)[0] * ONE)
    assert tape.gradient(loss, ONE)[0].item() == 4.0  # x + 2 * one
