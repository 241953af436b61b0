"""Writes into NumPy arrays by functions and methods, in branches and loops on tensors: an error, with the line."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td


def copyto(a):
    np.copyto(a, 5.0)


def out(a):
    np.add(a, 1.0, out=a)


def third_argument(a):
    np.multiply(a, 2.0, a)


def at(a):
    np.add.at(a, [0], 9.0)


def put(a):
    np.put(a, [0], 9.0)


def clip(a):
    np.clip(a, 0.0, 1.0, out=a)


def fill(a):
    a.fill(3.0)


def sort(a):
    a.sort()


@pytest.mark.parametrize("write", [copyto, out, third_argument, at, put, clip, fill, sort], ids=lambda f: f.__name__)
def test_writes_into_arrays_from_outside(write):
    held = np.array([3.0, 1.0])

    def in_a_branch(x):
        if x > 0:
            write(held)
        return x + held[0]

    with pytest.raises(td.errors.ControlFlowError, match=r"changes a NumPy array in a branch or loop.*x\.at") as caught:
        td.function(in_a_branch).trace(np.float64(2.0))
    assert write.__name__ in str(caught.value).splitlines()[1]  # the line in the user's function
    assert held.tolist() == [3.0, 1.0]


def test_arrays_of_the_block_are_its_own():
    @td.function
    def f(x):
        if x > 0:
            a = np.zeros(2)
            np.copyto(a, 2.0)
            np.add(a, 1.0, out=a)
            x = x + a[0]
        return x

    assert f(np.float64(2.0)).item() == 5.0


def test_outside_of_staged_blocks_they_are_pythons_own():
    @td.function
    def f(x):
        a = np.zeros(2)
        np.copyto(a, 2.0)
        a.fill(4.0)
        return x + a[1]

    assert f(np.float64(2.0)).item() == 6.0
