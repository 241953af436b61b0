"""The pool of result memory: reused only once every array and view on it has died."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import treadle as td
from treadle.compile.run import results


@pytest.fixture(autouse=True)
def _empty_pool() -> None:
    gc.collect()
    results.clear()


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_memory_comes_back_when_the_array_dies() -> None:
    first = results.make((1000, 100), np.dtype(np.float32))
    where = address(first)
    del first
    assert results.waiting() >= 400_000
    again = results.make((100, 1000), np.dtype(np.float32))
    assert address(again) == where
    assert again.shape == (100, 1000)
    assert again.flags.c_contiguous and again.flags.writeable


def test_a_view_keeps_it() -> None:
    first = results.make((100_000,), np.dtype(np.float32))
    first[:] = 1
    view = first[10:20].reshape(2, 5).T
    where = address(first)
    del first
    other = results.make((100_000,), np.dtype(np.float32))
    other[:] = 2
    assert address(other) != where
    assert (view == 1).all()


def test_results_of_functions_are_never_overwritten() -> None:
    @td.function
    def f(x: td.Tensor) -> td.Tensor:
        return x + 1

    x = td.zeros((100_000,))
    kept = [f(x) for _ in range(4)]
    peek = f(x).numpy()[5:6]  # the tensor is gone, a view of it is not
    for _ in range(8):
        f(x + 10)
    assert all((y.numpy() == 1).all() for y in kept)
    assert peek[0] == 1


def test_variables_keep_what_they_adopt() -> None:
    v = td.Variable(td.zeros((100_000,)))
    w = td.Variable(td.ones((100_000,)))

    @td.function
    def swap() -> None:
        old = v.value
        v.assign(w.value)
        w.assign(old)

    before = v.value
    for _ in range(5):
        swap()
        snapshot = v.value.numpy()[:3].copy()
        held = v.value
        swap()
        swap()
        assert (held.numpy()[:3] == snapshot).all()
    assert (before.numpy() == 0).all()
    assert {float(v.value[0]), float(w.value[0])} == {0.0, 1.0}


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "LIMIT", 1 << 20)
    arrays = [results.make((1 << 19,), np.dtype(np.uint8)) for _ in range(6)]
    del arrays
    assert results.waiting() <= 1 << 20
