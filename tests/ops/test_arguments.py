"""Arguments of a kind that is not taken: the error is treadle's own, eagerly and traced, and names the argument."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import treadle as td
from treadle.errors import ArgumentError, ShapeError, TreadleError

X = td.asarray(np.arange(6, dtype=np.float32).reshape(2, 3))
S = td.asarray(np.eye(3, dtype=np.float32))
WRONG = [2.5, "abc", None, object(), 1j, {"a": 1}, float("nan")]

WHOLE = {
    "linspace: num": lambda bad: td.linspace(0.0, 1.0, bad),
    "roll: the shift": lambda bad: td.roll(X, bad, axis=0),
    "moveaxis: source": lambda bad: td.moveaxis(X, bad, 0),
    "moveaxis: destination": lambda bad: td.moveaxis(X, 0, bad),
    "transpose: the axes": lambda bad: td.permute_dims(X, bad),
    "eye: k": lambda bad: td.eye(3, k=bad),
    "diag: k": lambda bad: td.diag(S, k=bad),
    "diagonal: the offset": lambda bad: td.trace(S, offset=bad),
    "diff: n": lambda bad: td.diff(X, n=bad),
    "one_hot: num_classes": lambda bad: td.one_hot(td.asarray([0, 1]), bad),
    "round: decimals": lambda bad: td.round(X, bad),
    "polygamma: the order": lambda bad: td.polygamma(bad, X),
    "matrix_power: n": lambda bad: td.linalg.matrix_power(S, bad),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("traced", [False, True])
def test_what_must_be_a_whole_number(name: str, traced: bool) -> None:
    for bad in WRONG:
        if bad is None and name == "transpose: the axes":  # reversed
            continue
        call: Any = lambda bad=bad: WHOLE[name](bad)  # noqa: E731
        with pytest.raises(ArgumentError, match=name):
            (td.function(call) if traced else call)()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: td.linspace(0.0, 1.0, -1), "num must be at least 0"),
        (lambda: td.diff(X, n=-1), "n must be at least 0"),
        (lambda: td.round(X, 10**6), "-300 to 300"),
        (lambda: td.polygamma(171, X), "at most 170"),
        (lambda: td.zeros((2, -3)), "no negative sizes"),
        (lambda: td.full((2**70,), 1.0), "more elements"),
        (lambda: td.arange(float("nan")), "finite"),
        (lambda: td.arange(2**70), "more elements"),
        (lambda: td.roll(X, (1, 2, 3), axis=(0, 1)), "3 shifts for 2 axes"),
        (lambda: td.moveaxis(X, (0, 0), (0, 1)), "each once"),
        (lambda: td.var(X, correction="abc"), "correction"),
        (lambda: td.pad(X, 1, "abc"), "mode must be 'constant'"),
        (lambda: td.meshgrid(X, X, indexing=1), "indexing must be 'xy' or 'ij'"),
        (lambda: td.searchsorted(td.zeros(3), X, side=None), "side must be"),
        (lambda: td.linalg.qr(S, mode=3), "mode must be"),
        (lambda: td.einsum(3, X), "subscripts must be text"),
        (lambda: td.repeat(X, 2.5), "repeats must be whole numbers"),
        (lambda: td.zeros((2,), dtype=np.array(["a", "b"])), "not supported|not a dtype"),
    ],
)
def test_what_has_no_meaning(call: Any, said: str) -> None:
    for way in (call, td.function(call)):
        with pytest.raises(TreadleError, match=said) as raised:
            way()
        assert isinstance(raised.value, ArgumentError | ShapeError | td.errors.DTypeError)


def test_what_is_taken_all_the_same() -> None:
    assert td.roll(X, np.int64(1), axis=np.int32(1)).tolist() == np.roll(X.numpy(), 1, 1).tolist()
    assert td.diff(X, n=10**6, axis=1).shape == (2, 0)
    assert td.moveaxis(X, [0], np.array([1])).shape == (3, 2)
    assert td.linspace(0.0, 1.0, np.int64(3)).tolist() == [0.0, 0.5, 1.0]


def test_complex_constants_in_graphs() -> None:
    assert td.function(lambda: td.full((2, 2), 1j))().tolist() == [[1j, 1j]] * 2
    assert td.function(lambda: td.broadcast_to(2j, (3,)))().tolist() == [2j] * 3
