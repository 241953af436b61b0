"""Arguments of a kind that an op does not take: refused by name, eagerly and traced, never rounded in silence."""

from typing import Any

import pytest

import treadle as td

X = td.ones((2, 3))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: td.sum(x, axis="abc"), "sum: axis must be a whole number, got 'abc'"),
        (lambda x: td.sum(x, axis=1.5), "sum: axis must be a whole number, got 1.5"),
        (lambda x: td.mean(x, axis=(0, None)), "mean: axis must be a whole number, got None"),
        (lambda x: td.argmax(x, axis=0.5), "argmax: axis must be a whole number, got 0.5"),
        (lambda x: td.cumulative_sum(x, axis=0.7), "axis must be a whole number, got 0.7"),
        (lambda x: td.swapaxes(x, None, 1), "swapaxes: axis must be a whole number, got None"),
        (lambda x: td.reshape(x, None), "a shape must be a whole number or a sequence of them, got None"),
        (lambda x: td.zeros((2, 1.5)) + x, r"a shape must be a whole number or a sequence of them, got \(2, 1.5\)"),
        (lambda x: td.concat(None), "concat: takes a list or a tuple of tensors, got NoneType"),
        (lambda x: td.cond(True, x, lambda: x), "td.cond: f must be a function, got "),
        (lambda x: td.while_loop(lambda v: True, None, (x,)), "td.while_loop: body must be a function, got None"),
        (lambda x: td.scan(None, x, x), "td.scan: f must be a function, got None"),
    ],
)
def test_arguments_of_another_kind_are_named(call: Any, words: str) -> None:
    for function in (call, td.function(call)):
        with pytest.raises(td.errors.ArgumentError, match=words):
            function(X)


def test_an_axis_may_be_anything_that_counts() -> None:
    import numpy as np

    for axis in (np.int64(1), np.array(-1), td.asarray(1)):
        assert td.sum(X, axis=axis).tolist() == [3.0, 3.0]
        assert td.argmax(X, axis=axis).tolist() == [0, 0]
