"""Variables: what was read never changes, updates in place happen when nobody looks, threads lose nothing, copies."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td

ASSIGN = {
    "assign": lambda v: v.assign(v * 2 + 1),
    "assign_add": lambda v: v.assign_add(td.ones_like(v.value)),
    "+=": lambda v: v.__iadd__(1.0),
    "compiled": td.function(lambda v: v.assign(v * 2 + 1)),
    "compiled add": td.function(lambda v: v.assign_add(v * 0.5)),
}
READ = {
    "value": lambda v: v.value,
    "numpy": lambda v: v.numpy(),
    "row": lambda v: v.numpy()[1],
    "reversed": lambda v: v.numpy()[::-1],
    "reshaped": lambda v: v.numpy().reshape(-1)[2:],
    "transposed": lambda v: v.numpy().T,
    "slice": lambda v: v[0],
    "tensor's array": lambda v: v.value.numpy()[:1],
    "asarray": lambda v: np.asarray(v.value),
    "memoryview": lambda v: np.asarray(memoryview(v.numpy())),
    "returned": td.function(lambda v: v.value),
    "view of the returned": lambda v: READ["returned"](v).numpy()[1:],
}

SHARED = td.Variable(np.zeros((2, 3)), name="shared")  # one, so that each compiled function is traced once


def fresh():
    return SHARED.assign(np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize("write", ASSIGN)
@pytest.mark.parametrize("read", READ)
def test_what_was_read_never_changes(read, write):
    v = fresh()
    for _ in range(3):
        held = READ[read](v)
        before = np.array(held)
        ASSIGN[write](v)
        gc.collect()
        ASSIGN[write](v)
        np.testing.assert_array_equal(np.array(held), before)
        del held


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.lists(st.sampled_from([*(("r", k) for k in READ), *(("w", k) for k in ASSIGN), ("drop", "")]), max_size=8))
def test_any_order_of_reads_and_writes(actions):
    v = fresh()
    wanted = np.arange(6.0).reshape(2, 3)
    held = []
    for kind, name in actions:
        if kind == "r":
            value = READ[name](v)
            held.append((value, np.array(value)))
        elif kind == "drop":
            held = held[1:]
        else:
            ASSIGN[name](v)
            change = {"assign": (2, 1), "compiled": (2, 1), "compiled add": (1.5, 0)}
            factor, term = change.get(name, (1, 1))
            wanted = wanted * factor + term
        np.testing.assert_array_equal(v.numpy(), wanted)
    for value, before in held:
        np.testing.assert_array_equal(np.array(value), before)


def address(v):
    return v.numpy().__array_interface__["data"][0]


def test_a_compiled_update_is_in_place_when_nobody_looks():
    v = td.Variable(np.ones(1000))

    @td.function
    def step():
        v.assign_add(v * 0.5)

    step()
    here = address(v)
    step()
    assert address(v) == here
    held = v.numpy()
    step()
    assert address(v) != here
    assert (held == 2.25).all()
    del held
    here = address(v)
    step()
    assert address(v) == here
    assert (v.numpy() == 1.5**4).all()


def test_what_numpy_gives_is_read_only():
    v = td.Variable([1.0, 2.0])
    with pytest.raises(ValueError, match="read-only"):
        v.numpy()[0] = 5.0
    assert v.numpy().tolist() == [1.0, 2.0]


def test_the_value_given_is_not_aliased():
    given_array = np.ones(3)
    v = td.Variable(given_array)
    given_array[:] = 7
    assert v.numpy().tolist() == [1, 1, 1]
    v.assign(given_array)
    given_array[:] = 8
    assert v.numpy().tolist() == [7, 7, 7]
    w = td.Variable(v)
    v.assign_add(np.ones(3))
    assert w.numpy().tolist() == [7, 7, 7]


def test_one_variable_assigned_to_another_is_not_aliased():
    a, b = td.Variable([1.0]), td.Variable([2.0])
    swap = td.function(lambda: (a.assign(b), b.assign(a * 10))[0])
    swap()
    assert (a.numpy().item(), b.numpy().item()) == (2.0, 20.0)
    a.assign(b)
    b.assign_add([1.0])
    assert (a.numpy().item(), b.numpy().item()) == (20.0, 21.0)


@pytest.mark.parametrize("way", ["eager", "compiled", "both"])
def test_threads_lose_nothing(way):
    v = td.Variable(np.zeros(64, np.int64))
    compiled = td.function(lambda: v.assign_add(td.ones(64, dtype=td.int64)))
    compiled()
    v.assign(np.zeros(64, np.int64))
    ones, errors = np.ones(64, np.int64), []

    def work(k):
        try:
            for _ in range(100):
                compiled() if way == "compiled" or (way == "both" and k % 2) else v.assign_add(ones)
        except Exception as error:  # told to the main thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert (v.numpy() == 400).all()


def test_readers_see_whole_updates():
    """A reader in another thread never sees half of an assignment."""
    v = td.Variable(np.zeros(10_000))
    step = td.function(lambda: v.assign_add(td.ones(10_000, dtype=td.float64)))
    torn, done = [], threading.Event()

    def look():
        while not done.is_set():
            seen = v.numpy()
            if seen[0] != seen[-1] or seen.min() != seen.max():
                torn.append(seen.copy())

    thread = threading.Thread(target=look)
    thread.start()
    for _ in range(200):
        step()
    done.set()
    thread.join()
    assert not torn
    assert v.numpy()[0] == 200


@pytest.mark.parametrize("twin_of", [copy.deepcopy, copy.copy, lambda v: pickle.loads(pickle.dumps(v))])
def test_copies_stand_alone(twin_of):
    v = td.Variable([1.0, 2.0], name="weights", trainable=False)
    twin = twin_of(v)
    assert (twin.name, twin.trainable, twin.dtype, twin.shape) == ("weights", False, td.float32, (2,))
    v.assign_add([1.0, 1.0])
    assert twin.numpy().tolist() == [1.0, 2.0]
    twin.assign([5.0, 5.0])
    assert v.numpy().tolist() == [2.0, 3.0]
    assert twin.serial != v.serial


def test_deepcopy_keeps_sharing():
    v = td.Variable(1.0)
    a, b = copy.deepcopy([v, v])
    assert a is b
    assert a is not v


def test_values_that_do_not_fit():
    v = td.Variable([1.0, 2.0], name="weights")
    with pytest.raises(td.errors.ShapeError, match=r"assign: the variable 'weights' has shape \(2,\).*shape \(3,\)"):
        v.assign([1.0, 2.0, 3.0])
    with pytest.raises(td.errors.DTypeError, match=r"'weights' is float32.*float64.*td.astype"):
        v.assign(np.ones(2))
    with pytest.raises(td.errors.ShapeError, match="assign_sub"):
        v.assign_sub(td.ones((3, 2)))
    assert v.numpy().tolist() == [1.0, 2.0]


def test_python_numbers_take_the_variables_dtype():
    v = td.Variable(np.float64(1.0))
    v.assign(3)
    assert v.numpy().dtype == np.float64
    v.assign_add(0.1)
    assert v.numpy().item() == 3.1
    assert (td.Variable(1, dtype=td.float64)).dtype == td.float64


def test_a_variable_without_a_value_says_so():
    v = td.Variable(td.TensorSpec((2,), td.float32), name="later")
    assert "no value yet" in repr(v)
    for read in (v.numpy, lambda: v + 1, td.function(lambda: v + 1)):
        with pytest.raises(td.errors.UndefinedVariable, match="'later' is read before it has a value"):
            read()
    v.assign([1.0, 2.0])
    assert (v + 1).tolist() == [2.0, 3.0]


def test_a_variable_is_freed_with_its_last_name():
    v = td.Variable(np.ones(10))
    f = td.function(lambda x: x + 1)
    with td.GradientTape() as tape:
        y = f(v * 2)
    tape.gradient(y, v)
    ref = weakref.ref(v)
    del v, tape, y
    gc.collect()
    assert ref() is None


def test_a_failed_update_changes_nothing():
    a, b = td.Variable(1.0), td.Variable(2.0)

    @td.function
    def step(x):
        a.assign_add(1.0)
        assert x > 0, "x must be positive"
        b.assign_add(1.0)

    step(td.asarray(1.0))
    with pytest.raises(td.errors.AssertionFailed):
        step(td.asarray(-1.0))
    assert (a.numpy().item(), b.numpy().item()) == (2.0, 3.0)
