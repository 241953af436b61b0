"""NumPy's functions on tensors, eagerly, traced, and mixed with arrays; and clear errors for the rest."""

from __future__ import annotations

import numpy as np
import pytest
from common import traced

import treadle as td

X = np.array([[0.5, 1.5, 2.0], [3.0, 0.25, 1.0]], np.float32)
W = np.array([[1.0, -1.0], [0.5, 2.0], [0.0, 1.0]], np.float32)
FUNCTIONS = {
    "tanh @": lambda x: np.tanh(x) @ W,
    "array @ tensor": lambda x: W @ x,
    "ufuncs": lambda x: np.sqrt(x) + np.power(x, 2) - np.arctan2(x, 1) * np.absolute(x) / np.maximum(x, 1.0),
    "array + tensor": lambda x: X + x,
    "scalar * tensor": lambda x: np.float32(2) * x,
    "comparison": lambda x: np.where(x > 1, x, np.zeros_like(x)),
    "np.sum": lambda x: np.sum(x, axis=0) + np.sum(x, 0) + np.mean(x, 0, keepdims=True)[0],
    "np.max": lambda x: np.amax(x, axis=1) - np.min(x, 1),
    "np.std": lambda x: np.std(x, axis=0, ddof=1),
    "add.reduce": lambda x: np.add.reduce(x) + np.maximum.reduce(x, axis=0),
    "cumsum": lambda x: np.cumsum(x, axis=1) + np.add.accumulate(x, axis=0),
    "concatenate": lambda x: np.concatenate([x, X], axis=1),
    "stack": lambda x: np.stack([x, x], axis=1),
    "reshape": lambda x: np.reshape(x, (3, 2)) + np.ravel(x).reshape(3, 2),
    "transpose": lambda x: np.transpose(x, (1, 0)) @ np.swapaxes(x, 0, 1).T,
    "expand_dims": lambda x: np.squeeze(np.expand_dims(x, 0), axis=0) + np.expand_dims(x, axis=1)[:, 0],
    "clip": lambda x: np.clip(x, 0.5, 1.5) + np.clip(x, a_min=1.0, a_max=None),
    "dot": lambda x: np.dot(x, W) + np.matmul(x, W),
    "einsum": lambda x: np.einsum("ij,jk->ik", x, W),
    "argmax": lambda x: np.argmax(x, axis=1),
    "round": lambda x: np.round(x) + np.rint(x) + np.round(x, 1),
    "isclose": lambda x: np.isclose(x, X),
    "logic": lambda x: np.logical_and(x > 0, np.isfinite(x)) | np.any(x > 1, axis=0),
    "flip": lambda x: np.flip(x, axis=0) + np.roll(x, 1, axis=1),
    "broadcast_to": lambda x: np.broadcast_to(x, (2, 2, 3)),
    "ones_like": lambda x: np.ones_like(x) + np.full_like(x, 2),
    "prod": lambda x: np.prod(x, axis=0) + np.multiply.reduce(x, axis=0),
    "norm": lambda x: np.linalg.norm(x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numpy_functions(name):
    f = FUNCTIONS[name]
    x = td.asarray(X)
    want = np.asarray(f(X) if name != "array @ tensor" else W @ X)
    got = f(x)
    assert isinstance(got, td.Tensor)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-5)
    (once,), graph = traced(f, x)
    np.testing.assert_allclose(once.numpy(), want, rtol=1e-5)
    assert graph.nodes
    assert isinstance(f(td.Variable(X)), td.Tensor)


def test_shapes_and_sizes():
    x = td.asarray(X)
    assert np.shape(x) == (2, 3)
    assert np.ndim(x) == 2
    assert np.size(x) == 6
    assert np.array_equal(x, X)
    assert np.allclose(x, X)


def test_writing_into_arrays():
    x, out = td.asarray(X), np.zeros_like(X)
    out += x
    np.add(x, 1, out=out)
    np.testing.assert_array_equal(out, X + 1)
    for run in (lambda: np.add(X, X, out=x), lambda: traced(lambda t: np.add(t, 1, out=out), x)):
        with pytest.raises(TypeError, match="written|no values"):
            run()


@pytest.mark.parametrize(
    "run",
    [
        lambda x: np.spacing(x),
        lambda x: np.fft.rfft2(x) if not hasattr(td, "fft") else np.vander(x[0]),
        lambda x: np.histogram(x),
        lambda x: np.add.at(x, [0], 1),
        lambda x: np.subtract.reduce(x),
        lambda x: np.add(x, 1, where=X > 1),
        lambda x: np.sum(x, axis=0, initial=1.0),
        lambda x: np.sum(x, axis=0, where=X > 1),
    ],
)
def test_what_is_missing_is_named(run):
    x = td.asarray(X)
    with pytest.raises(TypeError, match="td.py_function"):
        run(x)
    with pytest.raises(TypeError, match="np\\."):
        traced(run, x)
