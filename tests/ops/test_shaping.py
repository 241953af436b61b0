"""Shaping: against NumPy on drawn shapes, traced with known and symbolic sizes, gradients, and messages."""

from __future__ import annotations

import numpy as np
import pytest
from common import agrees, check_gradients, traced
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td
from treadle.errors import IndexOutOfRange, ShapeError

quick = settings(derandomize=True, deadline=None, max_examples=25)
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


def numbers(shape, dtype=np.float64):
    """Distinct numbers in an array that is not contiguous where it can be."""
    return np.arange(np.prod(shape, dtype=int) * 2, dtype=dtype).reshape(*shape, 2)[..., 1] if shape else dtype(3)


def check(f, reference, *arrays):
    """f agrees with NumPy eagerly, traced, and traced with a symbolic size for each axis that may have one."""
    tensors = [td.asarray(a) for a in arrays]
    names = agrees(f, *tensors)
    got, want = f(*tensors), reference(*arrays)
    if not isinstance(got, (list, tuple)):
        got, want = [got], [want]
    assert len(got) == len(want)
    for one, other in zip(got, want):
        assert one.shape == np.shape(other)
        np.testing.assert_array_equal(one.numpy(), other)
    return names


def symbolic(f, *arrays):
    """The results of a graph in which every size is a name (equal sizes share one)."""
    tensors = [td.asarray(a) for a in arrays]
    specs = [td.TensorSpec([f"n{size}" for size in a.shape], a.dtype).to_spec("_") for a in arrays]
    results, graph = traced(f, *tensors, specs=specs)
    return results, [symbol.shape for symbol in graph.outputs]


@quick
@given(SHAPES, st.data())
def test_reshape(shape, data):
    x = numbers(shape)
    new = list(data.draw(st.permutations(shape)))
    if new and 0 not in new:
        new[data.draw(st.integers(0, len(new) - 1))] = -1
    check(lambda t: td.reshape(t, tuple(new)), lambda a: a.reshape(new), x)
    if 0 not in shape:
        check(td.flatten, np.ravel, x)


@quick
@given(SHAPES, st.data())
def test_orders_of_axes(shape, data):
    x = numbers(shape)
    axes = data.draw(st.permutations(range(len(shape))))
    check(lambda t: td.permute_dims(t, axes), lambda a: a.transpose(axes), x)
    check(td.transpose, np.transpose, x)
    check(lambda t: td.flip(t), np.flip, x)
    if shape:
        i, j = data.draw(st.integers(-len(shape), len(shape) - 1)), data.draw(st.integers(0, len(shape) - 1))
        check(lambda t: td.moveaxis(t, i, j), lambda a: np.moveaxis(a, i, j), x)
        check(lambda t: td.swapaxes(t, i, j), lambda a: np.swapaxes(a, i, j), x)
        check(lambda t: td.flip(t, axis=i), lambda a: np.flip(a, i), x)
        check(lambda t: td.roll(t, 3, axis=i), lambda a: np.roll(a, 3, i), x)
        check(lambda t: td.roll(t, -1), lambda a: np.roll(a, -1), x)


@quick
@given(SHAPES, st.data())
def test_axes_of_size_one(shape, data):
    x = numbers(shape)
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    check(lambda t: td.expand_dims(t, axis=axis), lambda a: np.expand_dims(a, axis), x)
    check(lambda t: td.squeeze(td.expand_dims(t, axis=axis), axis), lambda a: a, x)
    check(td.squeeze, np.squeeze, x)
    wide = tuple(3 if size == 1 else size for size in shape)
    check(lambda t: td.broadcast_to(t, (2, *wide)), lambda a: np.broadcast_to(a, (2, *wide)), x)


@quick
@given(SHAPES, st.data())
def test_joining_and_cutting(shape, data):
    x = numbers(shape)
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    check(lambda t: td.stack([t, t + 1, t], axis=axis), lambda a: np.stack([a, a + 1, a], axis), x)
    check(lambda t: td.tile(t, (2, 1, 3)), lambda a: np.tile(a, (2, 1, 3)), x)
    check(lambda t: td.repeat(t, 2), lambda a: np.repeat(a, 2), x)
    if shape:
        axis = data.draw(st.integers(0, len(shape) - 1))
        cuts = data.draw(st.lists(st.integers(-5, 5), max_size=3))
        check(
            lambda t: td.concat([t, t[..., :1] if axis == len(shape) - 1 else t], axis=axis),
            lambda a: np.concatenate([a, a[..., :1] if axis == len(shape) - 1 else a], axis),
            x,
        )
        check(lambda t: td.concat([t, t], axis=None), lambda a: np.concatenate([a, a], None), x)
        check(lambda t: td.split(t, sorted(cuts), axis=axis), lambda a: np.split(a, sorted(cuts), axis), x)
        check(
            lambda t: td.split(t, max(1, shape[axis]), axis=axis), lambda a: np.split(a, max(1, shape[axis]), axis), x
        )
        check(lambda t: td.repeat(t, 3, axis=axis), lambda a: np.repeat(a, 3, axis), x)
        check(lambda t: td.unstack(t, axis=axis) or [t], lambda a: list(np.moveaxis(a, axis, 0)) or [a], x)
        counts = np.arange(shape[axis])
        check(lambda t: td.repeat(t, counts, axis=axis), lambda a: np.repeat(a, counts, axis), x)


@quick
@given(SHAPES, st.data())
def test_pad(shape, data):
    x = numbers(shape)
    widths = data.draw(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=len(shape), max_size=len(shape))
    )
    check(lambda t: td.pad(t, widths), lambda a: np.pad(a, widths) if a.ndim else a, x)
    check(lambda t: td.pad(t, 1, constant_values=7.0), lambda a: np.pad(a, 1, constant_values=7.0) if a.ndim else a, x)
    if 0 not in shape and shape:
        for mode in ("edge", "reflect", "symmetric", "wrap"):
            check(lambda t: td.pad(t, widths, mode), lambda a: np.pad(a, widths, mode), x)


@quick
@given(st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 4)), st.integers(-4, 4))
def test_triangles_and_diagonals(shape, k):
    x = numbers(shape)
    check(lambda t: td.tril(t, k=k), lambda a: np.tril(a, k), x)
    check(lambda t: td.triu(t, k=k), lambda a: np.triu(a, k), x)
    check(lambda t: td.diagonal(t, offset=k), lambda a: np.diagonal(a, k, -2, -1), x)
    check(lambda t: td.diag(t, k=k), lambda a: np.diag(a, k), numbers(shape[1:]))
    check(lambda t: td.diag(t, k=k), lambda a: np.diag(a, k), numbers(shape[2:]))


def test_grids_and_broadcasts():
    a, b, c = numbers((3,)), numbers((2,)), numbers((4,))
    for indexing in ("xy", "ij"):
        check(lambda *t: td.meshgrid(*t, indexing=indexing), lambda *n: np.meshgrid(*n, indexing=indexing), a, b, c)
    check(td.broadcast_arrays, np.broadcast_arrays, numbers((3, 1)), b)
    assert td.shape(td.asarray(numbers((3, 1)))) == (3, 1)


def test_diff():
    x = numbers((3, 4)) ** 2
    for n, axis in ((1, -1), (2, 0), (3, 0), (0, 1)):
        check(lambda t: td.diff(t, n=n, axis=axis), lambda a: np.diff(a, n, axis), x)
    check(lambda t: td.diff(t, prepend=t[:, :1], append=t), lambda a: np.diff(a, prepend=a[:, :1], append=a), x)


def test_views_share_memory():
    x = td.asarray(numbers((2, 3)))
    for view in (td.reshape(x, (3, 2)), x.T, x[::-1, 1:], td.broadcast_to(x, (4, 2, 3)), td.expand_dims(x)):
        assert np.shares_memory(view.array, x.array)


def test_symbolic_sizes():
    x = np.arange(24.0).reshape(2, 3, 4)
    n2, n3, n4 = (td.Dim.named(f"n{k}") for k in (2, 3, 4))
    cases = [
        (lambda t: td.reshape(t, (t.shape[0], -1)), x.reshape(2, 12), (n2, n3 * n4)),
        (lambda t: td.reshape(t, (-1,)), x.ravel(), (n2 * n3 * n4,)),
        (lambda t: td.reshape(t, (-1, t.shape[1])), x.reshape(-1, 3), (n2 * n4, n3)),
        (lambda t: td.matrix_transpose(t), x.swapaxes(1, 2), (n2, n4, n3)),
        (lambda t: t[1:, :-1, ::2], x[1:, :-1, ::2], (n2 - 1, n3 - 1, (n4 + 1) // 2)),
        (lambda t: t[::-1, -1, None, : t.shape[2]], x[::-1, -1, None], (n2, 1, n4)),
        (lambda t: td.concat([t, t[:, :1]], axis=1), np.concatenate([x, x[:, :1]], 1), (n2, n3 + 1, n4)),
        (lambda t: td.pad(t, 1), np.pad(x, 1), (n2 + 2, n3 + 2, n4 + 2)),
        (lambda t: td.roll(t, 1, axis=2), np.roll(x, 1, 2), (n2, n3, n4)),
        (lambda t: td.tile(t, (1, 2)), np.tile(x, (1, 2)), (n2, n3, 2 * n4)),
        (lambda t: td.stack([t, t], axis=-1), np.stack([x, x], -1), (n2, n3, n4, 2)),
        (lambda t: t[td.asarray([1, 0])], x[[1, 0]], (2, n3, n4)),
        (lambda t: t.at[0].set(1.0), np.concatenate([np.ones((1, 3, 4)), x[1:]]), (n2, n3, n4)),
        (lambda t: t @ td.swapaxes(t, 1, 2), x @ x.swapaxes(1, 2), (n2, n3, n3)),
        (lambda t: td.tril(t), np.tril(x), (n2, n3, n4)),
    ]
    for f, want, shape in cases:
        (got,), (inferred,) = symbolic(f, x)
        np.testing.assert_array_equal(got.numpy(), want)
        assert inferred == shape, (inferred, shape)


def test_symbolic_bounds_are_checked_when_the_graph_runs():
    with pytest.raises(IndexOutOfRange, match="0:7:1 does not lie within axis 0, whose size is 3"):
        symbolic(lambda t: t[:7], np.arange(3.0))
    with pytest.raises(ShapeError, match="12 elements"):
        symbolic(lambda t: td.reshape(t, (5, 2)), np.zeros((3, 4)))


@pytest.mark.parametrize(
    ("f", "says"),
    [
        (lambda x: td.reshape(x, (4, 2)), r"shape \(2, 3\) has 6 elements, shape \(4, 2\) wants 8"),
        (lambda x: td.reshape(x, (-1, 4)), r"\(2, 3\) has 6 elements"),
        (lambda x: td.reshape(x, (-1, -1)), "at most one size may be -1"),
        (lambda x: td.permute_dims(x, (0, 0)), "must name each of the 2 axes once"),
        (lambda x: td.broadcast_to(x, (2, 4)), r"\(2, 3\) does not broadcast to \(2, 4\)"),
        (lambda x: td.broadcast_to(x, (3,)), r"\(2, 3\) does not broadcast to \(3,\)"),
        (lambda x: td.squeeze(x, 1), r"axis 1 of shape \(2, 3\) has size 3"),
        (lambda x: td.concat([x, x[:, :2]], axis=0), r"\(2, 3\) and \(2, 2\) must agree in all axes but axis 0"),
        (lambda x: td.stack([x, x[0]]), r"\(2, 3\) and \(3,\) differ"),
        (lambda x: td.split(x, 2, axis=1), "size 3 cannot be cut into 2 equal parts"),
        (lambda x: td.expand_dims(x, axis=5), "axis 5"),
        (lambda x: td.moveaxis(x, 0, 2), "axis 2 is out of range for 2 axes"),
        (lambda x: td.pad(x, -1), "must not be negative"),
    ],
)
def test_errors_name_the_shapes(f, says):
    x = td.asarray(np.zeros((2, 3)))
    with pytest.raises(ShapeError, match=says):
        f(x)
    with pytest.raises(ShapeError, match=says):
        traced(f, x)


X = np.array([[0.3, -1.2, 0.7], [1.9, 0.4, -0.6]])


@pytest.mark.parametrize(
    "f",
    [
        lambda x: td.reshape(x * x, (3, 2)),
        lambda x: td.permute_dims(x * x, (1, 0)),
        lambda x: td.broadcast_to(x * x, (2, 2, 3)),
        lambda x: td.broadcast_to((x * x)[:, :1], (2, 3)),
        lambda x: (x * x)[::-1, 2:0:-1],
        lambda x: (x * x)[:, 0::2],
        lambda x: td.concat([x * x, x[:1], x], axis=0),
        lambda x: td.stack([x * x, x], axis=1),
        lambda x: td.tile(x * x, (2, 2)) * td.repeat(td.repeat(x, 2, axis=0), 2, axis=1),
        lambda x: td.pad(x * x, ((1, 0), (0, 2))) + td.pad(x, ((0, 1), (1, 1)), "reflect"),
        lambda x: td.roll(x * x, 1, axis=1) * x,
        lambda x: td.tril(x * x) + td.triu(x, k=1),
        lambda x: td.diagonal(x * x) + td.diag(x[0] * x[0], k=1)[0, 1:3],
        lambda x: td.split(x * x, [1], axis=1)[1],
        lambda x: td.flip(x * x) * td.moveaxis(x.T, 0, 1),
    ],
)
def test_gradients(f):
    check_gradients(f, X)
