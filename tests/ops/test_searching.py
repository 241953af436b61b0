"""take, one_hot, sort and search against NumPy, eagerly and traced; what needs values says so while tracing."""

from __future__ import annotations

import numpy as np
import pytest
from common import agrees, traced
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import treadle as td
from treadle.errors import DTypeError, ShapeError, TraceError

quick = settings(derandomize=True, deadline=None, max_examples=40)
FLOATS = st.sampled_from([0.0, -0.0, 1.5, -2.5, 3.0, np.inf, -np.inf, np.nan])
SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5)


@quick
@given(hnp.arrays(np.float64, SHAPES, elements=FLOATS), st.data())
def test_order_of_floats(x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    t = td.asarray(x)
    np.testing.assert_array_equal(td.sort(t, axis=axis).numpy(), np.sort(x, axis))
    np.testing.assert_array_equal(td.argsort(t, axis=axis).numpy(), np.argsort(x, axis, kind="stable"))
    down = td.argsort(t, axis=axis, descending=True)
    np.testing.assert_array_equal(
        td.take_along_axis(t, down, axis=axis).numpy(), td.sort(t, axis=axis, descending=True).numpy()
    )
    ordered = np.moveaxis(td.sort(t, axis=axis, descending=True).numpy(), axis, -1)
    rank = np.where(np.isnan(ordered), -np.inf, ordered)
    assert (rank[..., 1:] <= rank[..., :-1]).all(), "NaN comes last, the rest descends"
    agrees(lambda t: (td.sort(t, axis=axis), td.argsort(t, axis=axis, descending=True)), t)


@quick
@given(hnp.arrays(st.sampled_from([np.int8, np.uint8, np.int64, np.bool_]), SHAPES), st.data())
def test_order_of_integers(x, data):
    axis = data.draw(st.integers(0, x.ndim - 1))
    t = td.asarray(x)
    np.testing.assert_array_equal(td.sort(t, axis=axis, descending=True).numpy(), np.flip(np.sort(x, axis), axis))
    for descending in (False, True):
        order = td.argsort(t, axis=axis, descending=descending)
        assert order.dtype == td.int64
        picked = td.take_along_axis(t, order, axis=axis)
        np.testing.assert_array_equal(picked.numpy(), td.sort(t, axis=axis, descending=descending).numpy())
        lines, values = np.moveaxis(order.numpy(), axis, -1), np.moveaxis(picked.numpy(), axis, -1)
        kept = (values[..., 1:] != values[..., :-1]) | (lines[..., 1:] > lines[..., :-1])
        assert kept.all(), "equal elements keep their order"


def test_take():
    x = np.arange(24.0).reshape(2, 3, 4)
    picks = np.array([[2, -1], [0, 1]])
    for axis in (1, 2, -1):
        np.testing.assert_array_equal(td.take(td.asarray(x), picks, axis=axis).numpy(), np.take(x, picks, axis))
        agrees(lambda t, p: td.take(t, p, axis=axis), td.asarray(x), td.asarray(picks))
    assert td.take(td.asarray(x), td.asarray(5)).item() == 5.0
    along = np.argsort(-x, axis=1)
    np.testing.assert_array_equal(
        td.take_along_axis(td.asarray(x), along[:1], axis=1).numpy(), np.take_along_axis(x, along[:1].repeat(2, 0), 1)
    )
    with pytest.raises(DTypeError, match="float32 tensor cannot be an index"):
        td.take(td.asarray(x), [0.5])
    with pytest.raises(ShapeError, match="as many axes"):
        td.take_along_axis(td.asarray(x), [0])


def test_one_hot():
    classes = td.asarray([[2, 0], [1, 5]])
    assert td.one_hot(classes, 3).dtype == td.float32
    want = [[[0, 0, 1], [1, 0, 0]], [[0, 1, 0], [0, 0, 0]]]
    assert td.one_hot(classes, 3, dtype=td.int8).tolist() == want
    np.testing.assert_array_equal(
        td.one_hot(classes, 3, axis=0).numpy(), np.moveaxis(np.array(want, np.float32), -1, 0)
    )
    assert td.one_hot(td.asarray(1), 2).tolist() == [0.0, 1.0]
    assert td.one_hot(td.asarray([], td.int64), 0).shape == (0, 0)
    agrees(lambda c: (td.one_hot(c, 3), td.one_hot(c, 4, axis=1, dtype=td.bool)), classes)


def test_searching_in_order():
    line, wanted = np.array([1.0, 2.0, 2.0, 5.0]), np.array([[0.0, 2.0], [5.0, 9.0]])
    for side in ("left", "right"):
        got = td.searchsorted(td.asarray(line), td.asarray(wanted), side=side)
        np.testing.assert_array_equal(got.numpy(), np.searchsorted(line, wanted, side))
        agrees(lambda a, b: td.searchsorted(a, b, side=side), td.asarray(line), td.asarray(wanted))
    mixed = td.asarray(line[::-1].copy())
    assert td.searchsorted(mixed, td.asarray(3.0, td.float64), sorter=td.argsort(mixed)).item() == 3
    assert td.isin(td.asarray([1, 2, 3]), [2, 5]).tolist() == [False, True, False]


def test_what_depends_on_values():
    x = np.array([[2, 1, 2], [0, 1, 2]])
    t = td.asarray(x)
    assert [i.tolist() for i in td.nonzero(t)] == [i.tolist() for i in np.nonzero(x)]
    values, first, inverse, counts = td.unique_all(t)
    assert (values.tolist(), first.tolist(), counts.tolist()) == ([0, 1, 2], [3, 1, 0], [1, 2, 3])
    np.testing.assert_array_equal(values[inverse].numpy(), x)
    assert td.unique_counts(t).counts.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(td.unique_inverse(t).inverse_indices.numpy(), inverse.numpy())
    assert td.unique_values(td.asarray([np.nan, 1.0, np.nan])).shape == (3,)
    assert td.argwhere(t).tolist() == np.argwhere(x).tolist()
    for f in (td.nonzero, td.unique_all, td.unique_values, lambda x: td.repeat(x, x[0], axis=1)):
        with pytest.raises(TraceError, match="size of its result depends on values"):
            traced(f, t)
