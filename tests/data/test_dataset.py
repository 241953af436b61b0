"""Datasets: orders, batches, lengths, and the general path against the path over rows."""

import re
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td
from treadle.data import Dataset


def rows(count):
    return Dataset.from_tensor_slices((np.arange(count, dtype=np.float32), np.arange(count) * 10))


def general(ds):
    """The same elements by the path that knows nothing of rows."""
    return ds.map(lambda *element: element)


def listed(ds):
    return [[part.tolist() for part in element] for element in ds]


def test_slices_and_batches():
    ds = rows(5).batch(2)
    elements = list(ds)
    assert [x.tolist() for x, _ in elements] == [[0, 1], [2, 3], [4]]
    assert all(isinstance(part, td.Tensor) for element in elements for part in element)
    assert (elements[0][0].dtype, elements[0][1].dtype) == (td.float32, td.int64)
    assert listed(rows(5).batch(2, drop_remainder=True)) == [[[0, 1], [0, 10]], [[2, 3], [20, 30]]]
    assert len(ds) == 3 and len(rows(5).batch(2, drop_remainder=True)) == 2
    assert listed(ds) == listed(ds)


def test_nests_and_single_tensors():
    (element,) = Dataset.from_tensor_slices({"image": np.zeros((1, 2, 2)), "label": [7]})
    assert element["image"].shape == (2, 2) and element["label"].item() == 7
    assert [x.item() for x in Dataset.from_tensor_slices([1, 2, 3])] == [1, 2, 3]


def test_what_cannot_be_sliced():
    with pytest.raises(td.errors.ShapeError, match="first axes differ"):
        Dataset.from_tensor_slices((np.zeros(3), np.zeros(4)))
    with pytest.raises(td.errors.ShapeError, match="a number has no rows"):
        Dataset.from_tensor_slices(np.float32(1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda ds: ds.batch(0), "batch: the size must be at least 1, got 0"),
        (lambda ds: ds.batch(1.5), "batch: the size must be a whole number, got 1.5"),
        (lambda ds: ds.batch(2).batch(True), "batch: the size must be a whole number, got True"),
        (lambda ds: ds.shuffle("a"), "shuffle: the size must be a whole number, got 'a'"),
        (lambda ds: ds.batch(2).shuffle(3, seed=-1), "shuffle: the seed must be at least 0"),
        (lambda ds: ds.take(-1), "take: the count must be at least 0"),
        (lambda ds: ds.repeat(-1), "repeat: the count, None for no end, must be at least 0"),
        (lambda ds: ds.prefetch(0), "prefetch: the size must be at least 1"),
        (lambda ds: ds.enumerate("a"), "enumerate: the start must be a whole number"),
        (lambda ds: ds.map(3), "map: f must be a function, got 3"),
    ],
)
def test_arguments_without_meaning_are_named(change, words):
    with pytest.raises(td.errors.ArgumentError, match=re.escape(words)):
        change(rows(3))


def test_later_writes_to_the_source_are_not_seen():
    source = np.arange(3.0)
    ds = Dataset.from_tensor_slices(source)
    source[:] = 9
    assert [x.item() for x in ds] == [0, 1, 2]


def test_shuffle_is_a_permutation_with_a_stream_of_its_own():
    ds = rows(100).shuffle(100, seed=1)
    td.random.seed(0)
    before = td.random.uniform((3,)).tolist()
    td.random.seed(0)
    first, second = [x.item() for x, _ in ds], [x.item() for x, _ in ds]
    assert td.random.uniform((3,)).tolist() == before
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second and first != list(range(100))
    assert [x.item() for x, _ in rows(100).shuffle(100, seed=1)] == first
    assert [x.item() for x, _ in rows(100).shuffle(100, seed=2)] != first


@settings(derandomize=True, deadline=None, max_examples=30)
@given(count=st.integers(0, 30), buffer=st.integers(1, 35), by_rows=st.booleans())
def test_shuffle_through_a_buffer(count, buffer, by_rows):
    ds = rows(count) if by_rows else general(rows(count))
    order = [int(x.item()) for x, _ in ds.shuffle(buffer, seed=count)]
    assert sorted(order) == list(range(count))
    # position p can only hold rows that had entered the buffer by then
    assert all(row < position + buffer for position, row in enumerate(order))


METHODS = st.one_of(
    st.tuples(st.just("batch"), st.integers(1, 5), st.booleans()),
    st.tuples(st.just("take"), st.integers(0, 12)),
    st.tuples(st.just("repeat"), st.integers(0, 3)),
)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(count=st.integers(0, 9), calls=st.lists(METHODS, max_size=3))
def test_rows_and_the_general_path_agree(count, calls):
    fast, slow = rows(count), general(rows(count))
    batches = 0
    for name, *arguments in calls:
        batches += name == "batch"
        if batches == 2:  # a second batch would stack batches of different sizes
            break
        fast, slow = getattr(fast, name)(*arguments), getattr(slow, name)(*arguments)
    assert listed(fast) == listed(slow)
    assert len(fast) == len(slow) == len(list(fast))


def test_repeat_without_end():
    ds = rows(3).repeat()
    with pytest.raises(TypeError, match="no known length"):
        len(ds)
    assert [x.tolist() for x, _ in ds.batch(2).take(3)] == [[0, 1], [2, 0], [1, 2]]
    assert len(rows(3).repeat().take(7)) == 7 == len(list(rows(3).repeat().take(7)))
    assert list(rows(0).repeat()) == []


def test_map_and_enumerate():
    ds = rows(3).map(lambda x, y: {"sum": x + y, "pair": (x, 1.5)})
    assert [element["sum"].item() for element in ds] == [0, 11, 22]
    assert all(isinstance(element["pair"][1], td.Tensor) for element in ds)
    numbered = list(rows(3).batch(2).enumerate(start=5))
    assert [number.item() for number, _ in numbered] == [5, 6]
    assert numbered[0][0].dtype == td.int64 and numbered[0][1][0].tolist() == [0, 1]


def test_batches_of_mapped_elements_are_stacked():
    ds = rows(3).map(lambda x, y: (td.stack([x, x]), y)).batch(2)
    assert [x.shape for x, _ in ds] == [(2, 2), (1, 2)]


def test_prefetch_gives_the_same_and_leaves_no_thread_behind():
    ds = rows(10).shuffle(4, seed=0).batch(3)
    twin = rows(10).shuffle(4, seed=0).batch(3).prefetch(2)
    assert listed(ds) == listed(twin) and len(twin) == 4
    iterator = iter(twin)
    next(iterator)
    iterator.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("treadle_prefetch")]


def test_prefetch_passes_errors_on():
    def fail(x, y):
        raise ZeroDivisionError("here")

    with pytest.raises(ZeroDivisionError, match="here"):
        list(rows(3).map(fail).prefetch(1))


def test_the_last_smaller_batch_is_one_more_trace():
    f = td.function(lambda x, y: td.sum(x) + td.sum(y))
    for _ in range(2):
        for x, y in rows(10).batch(4):
            f(x, y)
    assert f.trace_count == 2
