"""What is raised in a loop at run time names the user's line, and of each loop around it the line and the iteration."""

from __future__ import annotations

import contextlib
import inspect

import numpy as np
import pytest

import treadle as td
from treadle.control.call import _interpreting

N = td.asarray(5)
V = np.ones((3, 2, 2), np.float32)


def raises(x):
    for i in td.range(N):
        if x > 4:
            raise ValueError(f"too big: {x}")
        x = x + i


def asserts(x):
    while x < 100:
        x = x * 2
        assert x < 10, "too big"


def nested(x):
    for i in td.range(N):
        for j in td.range(i):
            x = x + j
            assert x < 5


def nested_while(x):
    n = N
    while n > 0:
        k = n
        while k > 0:
            k = k - 1
            if x > 10:
                raise KeyError("too big")
            x = x + k
        n = n - 1


def three_deep(x):
    for _ in td.range(2):
        for _ in td.range(N):
            for v in td.asarray([0.5, 1.5, 2.5]):
                x = x + v
                if x > 12:
                    raise OverflowError


def beside_products(x):
    v = td.ones((2, 2)) * x
    for i in td.range(N):
        v = v @ v
        for j in td.range(N):
            v = v + td.asarray(V)[i - 2 + j]
    return v


def scanned(x):
    return td.scan(lambda s, k: (td.asarray([1.0, 2.0])[k] + s, s), x, td.asarray([0, 1, 2]))


def within_a_growing_shape(x):
    v = td.reshape(x, (1,))
    for i in td.range(N):
        td.set_shape_invariant(v, (None,))
        v = td.concat([v, v])
        assert i < 3


CASES = [
    (raises, ValueError, ["3 of 1"]),
    (asserts, AssertionError, ["2 of 1"]),
    (nested, AssertionError, ["2 of 2", "3 of 1"]),
    (nested_while, KeyError, ["3 of 4", "0 of 2"]),
    (three_deep, OverflowError, ["1 of 3", "2 of 2", "0 of 1"]),
    (beside_products, IndexError, ["4 of 4", "1 of 2"]),
    (scanned, IndexError, ["2 of 1"]),
    (within_a_growing_shape, AssertionError, ["3 of 2"]),
]


@pytest.mark.parametrize("way", ["interpreted", "compiled"])
@pytest.mark.parametrize(("f", "kind", "loops"), CASES, ids=[f.__name__ for f, _, _ in CASES])
def test_each_loop_around_is_named(f, kind, loops, way):
    """`loops` holds, from the innermost: the iteration, and how many lines below the function's first it begins."""
    first = inspect.getsourcelines(f)[1]
    with _interpreting() if way == "interpreted" else contextlib.nullcontext(), pytest.raises(kind) as caught:
        td.function(f)(td.asarray(1.5))
    notes = [note for note in caught.value.__notes__ if note.startswith("in iteration")]
    expected = [(text.split(" of ")[0], first + int(text.split(" of ")[1])) for text in loops]
    assert notes == [f"in iteration {k} of the loop at test_iterations.py:{at} (counted from 0)" for k, at in expected]
    assert "test_iterations.py" in "\n".join([str(caught.value), *caught.value.__notes__[: -len(loops)]])
