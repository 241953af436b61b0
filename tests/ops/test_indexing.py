"""Indexing: drawn indices against NumPy, eagerly and traced; updates, dynamic slices, gradients and messages."""

from __future__ import annotations

import numpy as np
import pytest
from common import agrees, check_gradients, traced
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td
from treadle.autodiff.functional import grad
from treadle.errors import DTypeError, IndexOutOfRange, ShapeError, TraceError

quick = settings(derandomize=True, deadline=None, max_examples=60)


@st.composite
def indexed(draw):
    """A shape and an index into it: ints, slices, None, dots, integer arrays that broadcast, boolean masks."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    common = draw(st.sampled_from([(), (1,), (3,), (2, 3)]))
    entries, axis = [], 0
    while axis < len(shape):
        size = shape[axis]
        kind = draw(st.sampled_from(["int", "slice", "slice", "none", "array", "array", "mask", "stop", "dots"]))
        if kind == "int":
            entries.append(draw(st.integers(-size, size - 1)))
        elif kind == "slice":
            bound = st.none() | st.integers(-size - 1, size + 1)
            entries.append(slice(draw(bound), draw(bound), draw(st.sampled_from([None, 1, 2, -1, -3]))))
        elif kind == "none":
            entries.append(None)
            continue
        elif kind == "array":
            ones = tuple(1 if draw(st.booleans()) else n for n in common)
            count = int(np.prod(ones))
            picks = draw(st.lists(st.integers(-size, size - 1), min_size=count, max_size=count))
            entries.append(np.array(picks, draw(st.sampled_from([np.int64, np.int32, np.int8]))).reshape(ones))
        elif kind == "mask":
            if any(isinstance(e, np.ndarray) for e in entries):
                continue
            entries.append(np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size))))
            common = (1,) if common else ()
        elif kind == "dots":
            if Ellipsis in [e for e in entries if not isinstance(e, np.ndarray)]:
                continue
            entries.append(Ellipsis)
            break
        else:
            break
        axis += 1
    return shape, tuple(entries)


@quick
@given(indexed())
def test_getitem_as_numpy(case):
    shape, index = case
    x = np.arange(np.prod(shape) * 2.0).reshape(*shape, 2)[..., 1]
    try:
        want = x[index]
    except IndexError:  # indices that do not broadcast together
        with pytest.raises((IndexError, ShapeError)):
            td.asarray(x)[index]
        return
    t = td.asarray(x)
    for how in (index, tuple(td.asarray(e) if isinstance(e, np.ndarray) else e for e in index)):
        np.testing.assert_array_equal(t[how].numpy(), want)
        assert t[how].shape == want.shape
        agrees(lambda a: a[how], t)


@quick
@given(indexed(), st.sampled_from(["set", "add", "multiply", "min", "max"]), st.booleans())
def test_updates_as_numpy(case, mode, scalar):
    shape, index = case
    x = np.arange(1.0, np.prod(shape) + 1).reshape(shape)
    try:
        place = x[index]
    except IndexError:
        return
    value = np.asarray(7.0) if scalar else np.linspace(2, 9, place.size).reshape(place.shape)
    want = x.copy()
    if mode == "set":
        want[index] = value
    else:
        {"add": np.add, "multiply": np.multiply, "min": np.minimum, "max": np.maximum}[mode].at(want, index, value)
    t = td.asarray(x)
    f = lambda a, v: getattr(a.at[index], mode)(v)
    np.testing.assert_allclose(f(t, td.asarray(value)).numpy(), want, rtol=1e-12)
    np.testing.assert_array_equal(t.numpy(), x)
    agrees(f, t, td.asarray(value))


@pytest.mark.parametrize("spread", [True, False])
def test_many_rows_are_added_as_few_are(spread):
    rng = np.random.default_rng(0)
    x, rows, at = (
        rng.normal(size=(50, 8)),
        rng.normal(size=(400, 8)),
        rng.integers(-50, 50, 400) if spread else rng.integers(0, 2, 400),
    )
    want = x.copy()
    np.add.at(want, at, rows)
    np.testing.assert_array_equal(td.asarray(x).at[at].add(rows).numpy(), want)
    with pytest.raises(IndexOutOfRange, match="index 50 "):
        td.asarray(x).at[np.r_[at, 50]].add(np.zeros((401, 8)))


def test_traced_indices():
    x = td.asarray(np.arange(12.0).reshape(3, 4))
    for i in (-1, 0, 2):
        for f in (
            lambda a, i: a[i],
            lambda a, i: a[1:, i],
            lambda a, i: a[i, i],
            lambda a, i: a[..., i, None],
            lambda a, i: a.at[i].set(0),
            lambda a, i: a.at[i, 1:].add(1),
        ):
            names = agrees(f, x, td.asarray(i))
            assert names & {"gather", "scatter"}
    np.testing.assert_array_equal(x[td.asarray(2)].numpy(), x.numpy()[2])


def test_boolean_masks():
    h = td.asarray([[-1.0, 2.0], [3.0, -4.0]])
    f = lambda h: h.at[h < 0].set(0)
    agrees(f, h)
    assert f(h).tolist() == [[0.0, 2.0], [3.0, 0.0]]
    assert h.tolist() == [[-1.0, 2.0], [3.0, -4.0]]
    assert h[h < 0].tolist() == [-1.0, -4.0]
    rows = td.asarray([True, False])
    assert h.at[rows].multiply([10.0, 100.0]).tolist() == [[-10.0, 200.0], [3.0, -4.0]]
    agrees(lambda h, r: h.at[r].multiply(td.asarray([10.0, 100.0])), h, rows)
    assert h.at[h < 0].set([5.0, 6.0]).tolist() == [[5.0, 2.0], [3.0, 6.0]]
    agrees(lambda h: (h[[True, False]], h.at[[False, True]].set(h[:1]), td.repeat(h, [2, 1], axis=0)), h)
    for f in (lambda h: h[h < 0], lambda h: h.at[h < 0].set(td.asarray([5.0, 6.0]))):
        with pytest.raises(TraceError, match=r"td\.where"):
            traced(f, h)


@pytest.mark.parametrize(
    ("f", "error", "says"),
    [
        (lambda x: x[3], IndexOutOfRange, "index 3 is out of range for axis 0 of size 3"),
        (lambda x: x[:, -5], IndexOutOfRange, "index -5 is out of range for axis 1 of size 4"),
        (
            lambda x: x[:, td.asarray([0, 4])],
            IndexOutOfRange,
            r"index 4 \(at \[1\] of the indices\) .* axis 1 ",
        ),
        (lambda x: x[1:, td.asarray(9)], IndexOutOfRange, "index 9 is out of range for axis 1 of size 4"),
        (lambda x: x.at[7].set(1), IndexOutOfRange, "index 7 is out of range for axis 0 of size 3"),
        (lambda x: x.at[td.asarray([5])].add(1), IndexOutOfRange, "index 5 .* axis 0 of size 3"),
        (lambda x: td.take(x, td.asarray([-13])), IndexOutOfRange, "index -13 .* axis 0 of size 12"),
        (lambda x: td.take(x, td.asarray([4]), axis=1), IndexOutOfRange, "index 4 .* axis 1 of size 4"),
        (lambda x: td.take_along_axis(x, td.asarray([[4]]), axis=1), IndexOutOfRange, "index 4 .* axis 1 of size 4"),
        (
            lambda x: td.dynamic_slice(x, [td.asarray(2), 0], (2, 2)),
            IndexOutOfRange,
            "2 elements from 2 .* axis 0 of size 3",
        ),
        (lambda x: x[0, 0, 0], IndexOutOfRange, "3 indices for a tensor of 2 axes"),
        (lambda x: x[1.0], DTypeError, "a float cannot be an index"),
        (lambda x: x[td.asarray([1.0])], DTypeError, "float32 tensor cannot be an index"),
        (lambda x: x[np.ones((2, 4), bool)], ShapeError, r"mask of shape \(2, 4\)"),
        (lambda x: x[::0], ShapeError, "step"),
        (lambda x: x.at[0].set([1.0, 2.0]), ShapeError, r"value has shape \(2,\), the place \(4,\)"),
        (lambda x: td.cast(x, td.int32).at[0].set(0.5), DTypeError, "int32 tensor cannot hold float32"),
    ],
)
def test_errors(f, error, says):
    x = td.asarray(np.zeros((3, 4)))
    with pytest.raises(error, match=says):
        f(x)
    with pytest.raises(error, match=says):
        traced(f, x)


def test_slices_with_traced_bounds_say_what_to_use():
    with pytest.raises(TraceError, match=r"td\.dynamic_slice"):
        traced(lambda x, i: x[i:], td.asarray(np.zeros(3)), td.asarray(1))
    x = td.asarray(np.arange(5.0))
    assert x[td.asarray(1) : td.asarray(3)].tolist() == [1.0, 2.0]


def test_dynamic_slices():
    x, i = td.asarray(np.arange(12.0).reshape(3, 4)), td.asarray(1)
    agrees(lambda x, i: td.dynamic_slice(x, [i, 0], (2, 3)), x, i)
    agrees(lambda x, i: td.dynamic_update_slice(x, x[:1, :2] * 10, [i, i + 1]), x, i)
    np.testing.assert_array_equal(td.dynamic_slice(x, [i, 0], (2, 3)).numpy(), x.numpy()[1:, :3])
    with pytest.raises(ShapeError, match=r"\(4, 1\) do not fit into shape \(3, 4\)"):
        td.dynamic_slice(x, [0, 0], (4, 1))
    check_gradients(lambda x: td.dynamic_slice(x * x, [i, 0], (2, 2)), x.numpy() / 7)
    check_gradients(lambda x, u: td.dynamic_update_slice(x * x, u * u, [1, i]), x.numpy() / 7, np.ones((1, 2)))


X = np.array([[0.3, -1.2, 0.7], [1.9, 0.4, -0.6]])
U = np.array([[0.5, -0.1, 1.3], [0.2, 2.0, -1.5], [-0.7, 0.9, 0.8]])
ROWS = td.asarray([1, 0, 1])


@pytest.mark.parametrize(
    "f",
    [
        lambda x: (x * x)[ROWS],
        lambda x: (x * x)[:, td.asarray([[2, 0], [2, 2]])],
        lambda x: (x * x)[ROWS, td.asarray([0, 1, 0])],
        lambda x: (x * x)[td.asarray(1)],
        lambda x: (x * x)[x > 0],
        lambda x: td.take(x * x, ROWS, axis=1),
        lambda x: td.take_along_axis(x * x, td.asarray([[0, 0, 2], [1, 2, 2]]), axis=1),
        lambda x: td.sort(x * x, axis=1),
        lambda x: td.sort(x * x, axis=0, descending=True),
    ],
)
def test_gradients_of_picking(f):
    check_gradients(f, X)


@pytest.mark.parametrize("mode", ["set", "add", "multiply", "min", "max"])
@pytest.mark.parametrize(
    "index", [(ROWS,), (slice(None, None, -1), 1), (td.asarray([0, 1]),)], ids=["twice", "slice", "once"]
)
def test_gradients_of_updates(mode, index):
    count = X[tuple(np.asarray(i) if isinstance(i, td.Tensor) else i for i in index)].shape
    value = U[: count[0]] if len(count) == 2 else U[0, : count[0]]
    check_gradients(lambda x, u: getattr((x * x).at[index], mode)(u * x[0, 0]), X, value)


def test_gradient_of_a_masked_update():
    check_gradients(lambda x, u: (x * x).at[x > 0].set(u[0] * u[1]), X, np.array([0.5, 2.0]))


def test_the_last_of_two_updates_gets_the_gradient():
    x = td.asarray([0.0, 0.0])
    g = grad(lambda u: td.sum(x.at[[0, 0]].set(u) * td.asarray([3.0, 5.0])))(td.asarray([1.0, 2.0]))
    assert g.tolist() == [0.0, 3.0]


def test_ties_share_the_gradient():
    u = td.asarray([2.0, 1.0])
    f = lambda x, u: td.sum(x.at[td.asarray([0, 1])].max(u))
    gx, gu = grad(f, argnums=(0, 1))(td.asarray([2.0, 2.0]), u)
    assert gx.tolist() == [0.5, 1.0]
    assert gu.tolist() == [0.5, 0.0]
