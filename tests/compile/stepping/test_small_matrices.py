"""Inverses, solutions, determinants and Cholesky factors of small matrices: in loops, and many at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import compiled

import treadle as td
from treadle.compile.stepping import small_matrices


def by_python(op: str, *matrices: np.ndarray) -> tuple[Any, bool]:
    """What the lines that a kernel gets give when Python runs them; and whether the matrix was refused."""
    names: dict[str, Any] = {
        "f8": np.float64,
        "nan": np.nan,
        "abs_f8": abs,
        "sqrt_f8": np.sqrt,
        "select": lambda c, a, b: a if c else b,
    }
    refused = []

    def name(expression: str) -> str:
        made = f"v{len(names)}"
        names[made] = eval(expression, names)  # noqa: S307 - the text is our own
        return made

    given = []
    for matrix in matrices:
        lanes = np.empty(matrix.shape, object)
        for index in np.ndindex(*matrix.shape):
            lanes[index] = f"f8({float(matrix[index])!r})"
        given.append(lanes)
    with np.errstate(all="ignore"):
        found = small_matrices.matrix(op, given, "f8", name, lambda c: refused.append(eval(c, names)))  # noqa: S307
        numbers = [float(eval(str(x), names)) for x in np.asarray(found).reshape(-1)]  # noqa: S307
    return np.reshape(numbers, np.shape(found)), any(refused)


@settings(derandomize=True, deadline=None, max_examples=20)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 2**32), st.sampled_from([1.0, 1e-3, 1e150]))
def test_as_lapack_does(n, columns, seed, size):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(n, n)) * size ** rng.random((n, 1))
    b = rng.normal(size=(n, columns))
    eps = 8 * n * np.finfo(float).eps
    for op, operands in (("inv", (a,)), ("solve", (a, b))):
        got, refused = by_python(op, *operands)
        want = getattr(np.linalg, op)(*operands)
        assert not refused
        rows = np.abs(np.linalg.inv(a)) @ np.abs(a) @ np.abs(want)  # the error that rounding each step explains
        assert (np.abs(got - want) <= eps * rows * n).all()
    got, _ = by_python("det", a / size)
    product = np.prod(np.linalg.norm(a / size, axis=1))
    assert abs(got - np.linalg.det(a / size)) <= 1e-12 * product  # NumPy's goes through logarithms
    p = b @ b.T + np.eye(n)
    np.testing.assert_allclose(by_python("cholesky", p)[0], np.linalg.cholesky(p), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("rows", [[[0.0, 1.0], [1.0, 0.0]], [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
def test_zeros_on_the_diagonal(rows):
    a = np.array(rows)
    np.testing.assert_array_equal(by_python("inv", a)[0], np.linalg.inv(a))
    np.testing.assert_array_equal(by_python("det", a)[0], np.linalg.det(a))


def test_singular_and_not_a_number():
    singular = np.array([[1.0, 2.0], [2.0, 4.0]])
    assert by_python("inv", singular)[1]
    assert by_python("solve", np.zeros((3, 3)), np.ones((3, 1)))[1]
    assert by_python("det", singular)[0] == 0
    assert by_python("det", np.zeros((3, 3)))[0] == 0
    assert by_python("cholesky", -np.eye(2))[1]
    assert by_python("cholesky", np.full((2, 2), np.nan))[1]
    found, refused = by_python("inv", np.array([[np.nan, 1.0], [2.0, 3.0]]))
    assert not refused
    assert np.isnan(found).all()


def test_a_kalman_filter_is_one_kernel():
    forward = np.array([[1.0, 0.1], [0.0, 1.0]])
    seen = np.array([[1.0, 0.5]])

    @td.function
    def f(zs, noise):
        x = td.zeros((2,), dtype=td.float64)
        spread = td.eye(2, dtype=td.float64)
        score = td.asarray(0.0, dtype=td.float64)
        for z in zs:
            x = forward @ x
            spread = forward @ spread @ forward.T + noise * td.eye(2, dtype=td.float64)
            total = seen @ spread @ seen.T + 0.1
            gain = td.linalg.solve(total, seen @ spread).T
            off = z - seen @ x
            score = score - 0.5 * (off @ td.linalg.inv(total) @ off + td.log(td.linalg.det(total)))
            x = x + gain @ off
            spread = spread - gain @ seen @ spread
        return x, spread, score

    zs = np.random.default_rng(0).normal(size=(30, 1))
    noise = np.float64(0.01)
    text = compiled(f, zs, noise).code.text()
    assert "while_loop" in text
    assert "jump" not in text
    for got, want in zip(f(zs, noise), f.python_function(td.asarray(zs), td.asarray(noise)), strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-12)


def test_a_singular_matrix_in_a_loop_names_the_line_and_the_step():
    @td.function
    def f(a):
        total = td.zeros((2, 2), dtype=td.float64)
        for k in td.range(5):
            total = total + td.linalg.inv(a - td.eye(2, dtype=td.float64) * k)  # here
        return total

    assert f(np.diag([8.0, 9.0])).shape == (2, 2)
    with pytest.raises(td.linalg.LinAlgError, match="singular") as caught:
        f(np.diag([3.0, 9.0]))
    assert "# here" in str(caught.value)
    assert "iteration 3" in "".join(caught.value.__notes__) + str(caught.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_matrices_at_once(dtype):
    rng = np.random.default_rng(1)
    a = rng.normal(size=(3, 11, 3, 3)).astype(dtype)
    b = rng.normal(size=(3, 11, 3, 2)).astype(dtype)
    p = a @ np.swapaxes(a, -1, -2) + np.eye(3, dtype=dtype)

    @td.function
    def f(a, b, p):
        return td.linalg.inv(a), td.linalg.solve(a, b), td.linalg.det(a), td.linalg.cholesky(p)

    got = f(a, b, p)
    assert {k.name for k in f.traces[-1].kernels} == {"inv", "solve", "det", "cholesky"}
    want = (np.linalg.inv(a), np.linalg.solve(a, b), np.linalg.det(a), np.linalg.cholesky(p))
    for mine, theirs in zip(got, want, strict=True):
        assert mine.numpy().dtype == theirs.dtype
        np.testing.assert_allclose(mine.numpy(), theirs, rtol=2e-5 if dtype is np.float32 else 1e-10)
    a[1, 4] = 1.0
    with pytest.raises(td.linalg.LinAlgError, match="singular"):
        f(a, b, p)
