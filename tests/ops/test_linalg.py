"""Products, einsum, norms and factorizations: against NumPy, traced, differentiated twice; messages name shapes."""

from __future__ import annotations

import numpy as np
import pytest
from common import agrees, check_gradients, traced
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td
from treadle.autodiff.functional import grad
from treadle.errors import GradientError, ShapeError

quick = settings(derandomize=True, deadline=None, max_examples=50)
RNG = np.random.default_rng(7)
A, B, V = RNG.normal(size=(3, 3)), RNG.normal(size=(3, 2)), RNG.normal(size=3)
BATCH = RNG.normal(size=(2, 1, 2, 3))


def close(f, want, *arrays, rtol=1e-10):
    """f on tensors gives what NumPy gave, traced too."""
    tensors = [td.asarray(a) for a in arrays]
    got = f(*tensors)
    assert got.shape == np.shape(want)
    np.testing.assert_allclose(got.numpy(), want, rtol=rtol, atol=1e-12)
    agrees(f, *tensors)


@quick
@given(st.data())
def test_matmul(data):
    n, k, m = (data.draw(st.integers(0, 4)) for _ in range(3))
    left = data.draw(st.sampled_from([(), (2,), (2, 1), (1, 3), None]))
    right = data.draw(st.sampled_from([(), (2,), (3,), (2, 3), None]))
    dtype = data.draw(st.sampled_from([np.float64, np.float32, np.int64, np.complex128]))
    shapes = [(k,) if left is None else (*left, n, k), (k,) if right is None else (*right, k, m)]
    a, b = (
        np.asarray(RNG.normal(size=s) * 4, dtype if dtype != np.complex128 else float).astype(dtype) for s in shapes
    )
    try:
        want = np.matmul(a, b)
    except ValueError:
        with pytest.raises(ShapeError, match="matmul"):
            td.matmul(td.asarray(a), td.asarray(b))
        return
    close(td.matmul, want, a, b, rtol=1e-4 if dtype == np.float32 else 1e-10)
    assert td.matmul(td.asarray(a), td.asarray(b)).dtype == dtype


def test_matmul_of_mixed_dtypes():
    assert td.matmul(td.asarray([[True, True]]), td.asarray([2.0, 3.0])).tolist() == [5.0]
    assert (td.asarray([[1, 2]]) @ td.asarray([[1], [1]])).dtype == td.int64


@pytest.mark.parametrize("flags", [(False, False), (True, False), (False, True), (True, True)])
def test_matmul_with_transposes(flags):
    from treadle.ops.linalg import matmul_op

    ta, tb = flags
    f = lambda a, b: matmul_op.bind((a, b), {"transpose_a": ta, "transpose_b": tb})[0]
    a, b = (B.T if ta else B), RNG.normal(size=(4, 2) if tb else (2, 4))
    close(f, (a.T if ta else a) @ (b.T if tb else b), a, b)
    check_gradients(f, a, b)


@pytest.mark.parametrize(
    ("f", "says"),
    [
        (lambda: td.zeros((2, 3)) @ td.zeros((4, 5)), r"matmul: shapes \(2, 3\) and \(4, 5\) do not fit: 3 and 4"),
        (lambda: td.matmul(td.zeros(3), td.zeros((1, 2))), r"\(3,\) and \(1, 2\) do not fit: 3 and 1"),
        (lambda: td.matmul(td.zeros(()), td.zeros(2)), "both need an axis"),
        (
            lambda: td.zeros((2, 3, 4)) @ td.zeros((3, 4, 5)),
            r"leading axes of shapes \(2, 3, 4\) and \(3, 4, 5\) do not",
        ),
        (lambda: td.tensordot(td.zeros((2, 3)), td.zeros((2, 4)), axes=1), r"do not fit: 3 and 2"),
        (lambda: td.vecdot(td.zeros(2), td.zeros(3)), "do not fit: 2 and 3"),
        (lambda: td.einsum("ij,jk", td.zeros((2, 3)), td.zeros((4, 2))), "'j' in 'ij,jk' has sizes 3 and 4"),
        (lambda: td.einsum("ij", td.zeros(3)), r"'ij' in 'ij' does not fit shape \(3,\)"),
        (lambda: td.einsum("i->ij", td.zeros(3)), "must name letters of the operands"),
        (lambda: td.linalg.inv(td.zeros((2, 3))), r"inv: needs square matrices, got shape \(2, 3\)"),
        (lambda: td.linalg.solve(td.zeros((2, 2)), td.zeros(3)), r"shapes \(2, 2\) and \(3,\) do not fit"),
        (lambda: td.linalg.cross(td.zeros(2), td.zeros(2)), "must have size 3"),
    ],
)
def test_errors_name_the_shapes(f, says):
    with pytest.raises(ShapeError, match=says):
        f()
    with pytest.raises(ShapeError, match=says):
        traced(lambda x: f(), td.asarray(0.0))


def test_other_products():
    x = RNG.normal(size=(2, 3, 4))
    close(td.outer, np.outer(V, A), V, A)
    close(td.dot, np.dot(x, x.swapaxes(1, 2)), x, x.swapaxes(1, 2))
    close(td.dot, np.dot(3.0, V), np.asarray(3.0), V)
    close(lambda a, b: td.vecdot(a, b, axis=0), np.vecdot(x, x, axis=0), x, x)
    close(td.vecdot, np.vecdot(V * 1j, V + 1j), V * 1j, V + 1j)
    close(lambda a, b: td.tensordot(a, b, axes=([0, 2], [2, 0])), np.tensordot(x, x.T, ([0, 2], [2, 0])), x, x.T)
    for axes in (0, 1):
        close(lambda a, b: td.tensordot(a, b, axes=axes), np.tensordot(A, B, axes), A, B)
    close(td.linalg.cross, np.cross(A, V), A, V)
    close(lambda a: td.trace(a, offset=1), np.trace(x, 1, 1, 2), x)
    for n in (-2, 0, 1, 2, 5):
        close(lambda a: td.linalg.matrix_power(a, n), np.linalg.matrix_power(A, n), A, rtol=1e-8)


@pytest.mark.parametrize(
    "formula",
    "ij,jk->ik ij,kj"
    " ij->ji ii ii->i ij-> i,i i,j->ij bij,bjk->bik ...ij,...jk->...ik i...,i->... ij,ij->ij ij,jk,kl->il"
    " ij,j,jk->ik bhqd,bhkd->bhqk iij->j ,ij->ij ij,ij,ij->i ... i...->...i".split(),
)
def test_einsum(formula):
    sizes = {"i": 2, "j": 3, "k": 2, "l": 4, "b": 2, "h": 3, "q": 2, "d": 3}
    arrays = []
    for k, term in enumerate(formula.split("->")[0].split(",")):
        dots = (2, 2) if k % 2 == 0 else (1, 2)
        named = term.split("...")
        shape = [sizes[c] for c in named[0]]
        if len(named) == 2:
            shape += [*dots, *[sizes[c] for c in named[1]]]
        arrays.append(RNG.normal(size=shape))
    close(lambda *xs: td.einsum(formula, *xs), np.einsum(formula, *arrays), *arrays)
    check_gradients(lambda *xs: td.einsum(formula, *xs), *arrays[:3], order=1)


def test_einsum_with_thin_axes():
    a, b = RNG.normal(size=(2, 1)), RNG.normal(size=(3, 4))
    close(lambda a, b: td.einsum("ij,jk->ik", a, b), np.einsum("ij,jk->ik", a, b), a, b)


@pytest.mark.parametrize("order", [2, 1, 3, 0.5, np.inf, -np.inf, 0])
def test_vector_norms(order):
    x = RNG.normal(size=(2, 3))
    close(
        lambda a: td.linalg.vector_norm(a, ord=order, axis=1, keepdims=True),
        np.linalg.vector_norm(x, ord=order, axis=1, keepdims=True),
        x,
    )
    close(lambda a: td.linalg.norm(a, order, axis=0), np.linalg.norm(x, order, axis=0), x)
    close(lambda a: td.linalg.vector_norm(a, ord=order), np.linalg.vector_norm(x + 1j, ord=order), x + 1j)
    if order not in (0, 0.5):
        check_gradients(lambda a: td.linalg.vector_norm(a, ord=order, axis=1), x, order=1 if np.isinf(order) else 2)


@pytest.mark.parametrize("order", ["fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf])
def test_matrix_norms(order):
    x = RNG.normal(size=(2, 3, 4))
    close(lambda a: td.linalg.matrix_norm(a, ord=order), np.linalg.matrix_norm(x, ord=order), x)
    close(lambda a: td.linalg.norm(a, order, (2, 0), True), np.linalg.norm(x, order, (2, 0), True), x)
    check_gradients(lambda a: td.linalg.matrix_norm(a, ord=order), x[0], order=1)


def test_norm_of_everything():
    close(td.linalg.norm, np.linalg.norm(A), A)
    assert td.linalg.norm(td.asarray([3, 4])).dtype == td.float32


def test_the_gradient_of_norm_at_zero_is_zero():
    assert grad(td.linalg.norm)(td.asarray([0.0, 0.0])).tolist() == [0.0, 0.0]
    assert grad(lambda x: td.linalg.vector_norm(x, ord=3))(td.asarray([0.0, 0.0])).tolist() == [0.0, 0.0]


SPD = A @ A.T + 3 * np.eye(3)
TWO = np.stack([A + 3 * np.eye(3), SPD])


def symmetric(a):
    return (a + td.matrix_transpose(a)) / 2


@pytest.mark.parametrize(
    ("f", "reference", "x"),
    [
        (td.linalg.inv, np.linalg.inv, TWO),
        (td.linalg.det, np.linalg.det, TWO),
        (lambda a: td.linalg.slogdet(a).logabsdet, lambda a: np.linalg.slogdet(a)[1], TWO),
        (lambda a: td.linalg.cholesky(symmetric(a)), np.linalg.cholesky, np.stack([SPD, 2 * SPD])),
        (lambda a: td.linalg.eigvalsh(symmetric(a)), lambda a: np.linalg.eigvalsh((a + a.T) / 2), A),
        (
            lambda a: td.abs(td.linalg.eigh(symmetric(a)).eigenvectors),
            lambda a: abs(np.linalg.eigh((a + a.T) / 2)[1]),
            A,
        ),
        (td.linalg.svdvals, np.linalg.svdvals, RNG.normal(size=(2, 3, 4))),
    ],
)
def test_factorizations_and_their_gradients(f, reference, x):
    close(f, reference(x), x, rtol=1e-8)
    check_gradients(f, x, order=1 if f is td.linalg.svdvals else 2, tolerance=1e-4)


def test_solve():
    for b in (V, B, np.stack([B, B + 1])):
        close(td.linalg.solve, np.linalg.solve(SPD, b), SPD, b, rtol=1e-8)
        check_gradients(td.linalg.solve, SPD, b, tolerance=1e-4)


def test_factorizations_put_together_again():
    x = td.asarray(RNG.normal(size=(2, 4, 3)))
    q, r = td.linalg.qr(x)
    np.testing.assert_allclose((q @ r).numpy(), x.numpy(), atol=1e-12)
    u, s, vh = td.linalg.svd(x, full_matrices=False)
    np.testing.assert_allclose(((u * td.expand_dims(s, axis=-2)) @ vh).numpy(), x.numpy(), atol=1e-12)
    assert td.linalg.svd(x).U.shape == (2, 4, 4)
    np.testing.assert_allclose((td.linalg.pinv(x) @ x).numpy(), np.broadcast_to(np.eye(3), (2, 3, 3)), atol=1e-10)
    assert td.linalg.matrix_rank(x).tolist() == [3, 3]
    for f in (td.linalg.qr, td.linalg.svd, td.linalg.slogdet, td.linalg.eigh):
        agrees(f, td.asarray(SPD))
    agrees(lambda a: (td.linalg.pinv(a), td.linalg.matrix_rank(a), td.linalg.qr(a, mode="complete")), x)


def test_what_has_no_gradient_says_so():
    for f in (lambda x: td.linalg.qr(x).Q, td.linalg.pinv, lambda x: td.linalg.svd(x).U):
        with pytest.raises(GradientError, match="gradient rule"):
            grad(lambda x: td.sum(f(x)))(td.asarray(A))


def test_singular_matrices_raise_in_numpys_and_our_words():
    with pytest.raises(td.linalg.LinAlgError, match=r"inv: singular matrix \(shape \(2, 2\)\)") as caught:
        td.linalg.inv(td.zeros((2, 2)))
    assert isinstance(caught.value, np.linalg.LinAlgError)
    assert isinstance(caught.value, td.errors.TreadleError)
    with pytest.raises(td.linalg.LinAlgError, match="cholesky"):
        td.linalg.cholesky(-td.eye(2))


@pytest.mark.parametrize(
    "f",
    [
        lambda a, b: a @ b,
        lambda a, b: td.tensordot(a, b, axes=1) * td.outer(a[:, 0], b[0]),
        lambda a, b: td.vecdot(a[:, :2], b, axis=0),
        lambda a, b: td.trace(a @ a) * b,
        lambda a, b: td.linalg.cross(a, b[:, 0]),
    ],
)
def test_gradients_of_products(f):
    check_gradients(f, A, B)


def test_gradients_of_batches():
    check_gradients(lambda a, b: a @ b, BATCH, RNG.normal(size=(2, 3, 2)))
    check_gradients(lambda a, b: a @ b, BATCH[:, 0], B)
    check_gradients(lambda a, b: a @ b, V, B)
    check_gradients(lambda a, b: a @ b, BATCH[:, 0], V)
