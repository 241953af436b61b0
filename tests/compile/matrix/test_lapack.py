"""Linear algebra by NumPy's own loops, entered by address: the same bits, and the same complaints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td
from treadle.compile.matrix import lapack

CALLS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "det": (lambda x: td.linalg.det(x), np.linalg.det),
    "slogdet": (lambda x: tuple(td.linalg.slogdet(x)), np.linalg.slogdet),
    "inv": (lambda x: td.linalg.inv(x), np.linalg.inv),
    "cholesky": (lambda x: td.linalg.cholesky(x @ td.matrix_transpose(x)), lambda x: np.linalg.cholesky(x @ x.mT)),
    "eigh": (lambda x: tuple(td.linalg.eigh(x)), np.linalg.eigh),
    "qr": (lambda x: tuple(td.linalg.qr(x)), np.linalg.qr),
    "qr complete": (lambda x: tuple(td.linalg.qr(x, mode="complete")), lambda x: np.linalg.qr(x, "complete")),
    "svd": (lambda x: tuple(td.linalg.svd(x)), np.linalg.svd),
    "svd reduced": (
        lambda x: tuple(td.linalg.svd(x, full_matrices=False)),
        lambda x: np.linalg.svd(x, full_matrices=False),
    ),
    "matrix_rank": (lambda x: td.linalg.matrix_rank(x), np.linalg.matrix_rank),
    "pinv": (lambda x: td.linalg.pinv(x), lambda x: np.linalg.pinv(x, rtol=None)),
}
SQUARE = ("det", "slogdet", "inv", "cholesky", "eigh")


def hosts(function: Any) -> int:
    """Steps that Python does in the programs of a function."""
    (trace,) = function.traces
    return sum(len(p.hosts) for p in trace.graph.derived["programs"].values())


def matrices(seed: int, batch: tuple[int, ...], m: int, n: int, dtype: Any) -> np.ndarray[Any, Any]:
    """Matrices of which no square one is singular."""
    x = np.random.default_rng(seed).normal(size=(*batch, m, n))
    return (x + (3 * np.eye(m, n) if m == n else 0)).astype(dtype)


@settings(derandomize=True, deadline=None, max_examples=6)
@given(
    st.integers(0, 99),
    st.sampled_from([(), (1,), (3,), (2, 2)]),
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from(["f4", "f8"]),
    st.booleans(),
)
@pytest.mark.parametrize("name", CALLS)
def test_as_numpy(name: str, seed: int, batch: tuple[int, ...], m: int, n: int, dtype: str, turned: bool) -> None:
    mine, theirs = CALLS[name]
    x = matrices(seed, batch, m, m if name in SQUARE else n, dtype)
    function = td.function((lambda x: mine(td.matrix_transpose(x))) if turned else mine)
    got, want = function(x), theirs(x.mT if turned else x)
    got, want = [r if isinstance(r, tuple) else (r,) for r in (got, want)]
    assert hosts(function) == 0
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype if name != "matrix_rank" else a.dtype == np.int64
        if name in ("cholesky", "pinv"):  # a product before or behind, which we sum in another order
            np.testing.assert_allclose(a.numpy(), b, rtol=1e-4 if dtype == "f4" else 1e-9, atol=1e-4)
        else:
            np.testing.assert_array_equal(a.numpy(), b)


def test_solve() -> None:
    function = td.function(lambda a, b: td.linalg.solve(a, b))
    for batch, dtype in (((), "f8"), ((4,), "f4"), ((2, 3), "f8")):
        a, b = matrices(1, batch, 4, 4, dtype), matrices(2, batch, 4, 2, dtype)
        np.testing.assert_array_equal(function(a, b).numpy(), np.linalg.solve(a, b))
        back = function(a, b[::-1] if batch else b)
        np.testing.assert_array_equal(back.numpy(), np.linalg.solve(a, b[::-1] if batch else b))


@pytest.mark.parametrize(("name", "bad"), [("inv", 0.0), ("cholesky", -1.0), ("solve", 0.0)])
def test_matrices_that_lapack_refuses(name: str, bad: float) -> None:
    x = np.stack([np.eye(3), np.full((3, 3), bad), np.eye(3)])
    function = td.function(lambda x: td.linalg.solve(x, x) if name == "solve" else getattr(td.linalg, name)(x))
    function(np.stack([np.eye(3)] * 3))
    with pytest.raises(td.linalg.LinAlgError, match=name):
        function(x)
    np.testing.assert_array_equal(function(np.stack([np.eye(3)] * 3)).numpy(), np.stack([np.eye(3)] * 3))


def test_values_that_are_no_numbers() -> None:
    x = np.array([[1.0, np.nan], [2.0, 3.0]])
    for name in ("det", "inv"):
        function = td.function(lambda x, name=name: getattr(td.linalg, name)(x))
        with np.errstate(invalid="ignore"):
            want = getattr(np.linalg, name)(x)
        np.testing.assert_array_equal(function(x).numpy(), want)
    with pytest.raises(td.linalg.LinAlgError, match="svd"):
        td.function(lambda x: td.linalg.svd(x)[1])(x)


def test_nothing_and_complex_numbers_go_through_python() -> None:
    for x in (np.zeros((0, 3, 3)), np.zeros((2, 0, 0)), np.array([[1.0, 2j], [0, 1]])):
        function = td.function(lambda x: td.linalg.det(x))
        np.testing.assert_array_equal(function(x).numpy(), np.linalg.det(x))
        assert hosts(function) == 1


def test_where_ufuncs_are_laid_out_in_another_way_there_are_no_loops() -> None:
    assert lapack.loop_of("inv", "d->d") is not None
    assert lapack.loop_of("no such", "d->d") is None
    assert lapack.loop_of("inv", "l->l") is None


def test_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lapack, "SHARE", 1 << 9)
    monkeypatch.setattr(lapack, "HEAVY", 1)
    x = matrices(3, (37,), 4, 4, "f8")
    function = td.function(lambda x: td.linalg.inv(x))
    np.testing.assert_array_equal(function(x).numpy(), np.linalg.inv(x))
    (program,) = function.traces[0].graph.derived["programs"].values()
    assert "parallel" in str(program.code)
    x[20] = 0
    with pytest.raises(td.linalg.LinAlgError, match="inv"):
        function(x)
