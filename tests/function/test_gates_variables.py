"""Calls that touch variables, without a Python frame: they are transactions as those through Python are."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any

import numpy as np
import pytest
from entered import python_calls, tensor, warm

import treadle as td
from treadle.core.variable import _reading
from treadle.errors import AssertionFailed, VariableCreation

F = np.float32


def free(*variables: td.Variable) -> bool:
    """Whether nobody holds the locks of variables: asked by another thread, since locks count per thread."""
    got: list[bool] = []

    def ask() -> None:
        for v in variables:
            got.append(v._lock.acquire(blocking=False))
            if got[-1]:
                v._lock.release()

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return all(got) and not _reading


def counter() -> tuple[td.Variable, Any]:
    v = td.Variable(np.zeros(3, F))

    @td.function
    def add(x: Any) -> Any:
        v.assign_add(x)
        return td.sum(v.value)

    return v, warm(add, tensor(0, 0, 0))


def test_a_call_that_writes_enters_no_python_function():
    v, add = counter()
    memory = v._memory
    result, entered = python_calls(add, tensor(1, 2, 3))
    assert result.item() == 6
    assert v.numpy().tolist() == [1, 2, 3]
    assert entered == []
    assert v._memory is memory
    assert free(v)


def test_a_call_that_reads_enters_no_python_function():
    v = td.Variable(np.ones(3, F))
    f = warm(td.function(lambda x: x * v.value), tensor(1, 2, 3))
    result, entered = python_calls(f, tensor(1, 2, 4))
    assert result.tolist() == [1, 2, 4]
    assert entered == []
    v.assign(v.value * 3)
    assert f(tensor(1, 2, 4)).tolist() == [3, 6, 12]
    assert free(v)


def test_random_draws_enter_no_python_function():
    f = td.function(lambda: td.random.uniform((100,)))
    td.random.seed(3)
    want = [f().numpy() for _ in range(4)]
    td.random.seed(3)
    for array in want:
        draw, entered = python_calls(f)
        np.testing.assert_array_equal(draw.numpy(), array)
    assert entered == []


@pytest.mark.parametrize("result", [None, 7, "done", (1, "two"), [], {"a": 1}])
def test_what_else_is_returned(result: Any) -> None:
    v = td.Variable(F(1))

    @td.function
    def f() -> Any:
        v.assign_add(1)
        return result

    warm(f)
    got, entered = python_calls(f)
    assert got == result
    assert type(got) is type(result)
    assert isinstance(result, tuple | list | dict) or entered == []
    assert v.numpy() == 4


def test_tensors_among_other_results() -> None:
    v = td.Variable(F(1))

    @td.function
    def f(x: Any) -> Any:
        v.assign_add(1)
        return {"sum": v.value + x, "name": "n", "size": x.shape[0]}

    warm(f, tensor(1, 2))
    got = f(tensor(1, 2))
    assert (got["sum"].tolist(), got["name"], got["size"]) == ([5, 6], "n", 2)


def test_two_variables_change_together() -> None:
    a, b = td.Variable(F(1)), td.Variable(F(10))

    @td.function
    def swap() -> None:
        old = a.value
        a.assign(b.value)
        b.assign(old)

    warm(swap)
    _, entered = python_calls(swap)
    assert (a.numpy(), b.numpy()) == (10, 1)
    assert entered == []
    assert free(a, b)


def test_what_was_read_outside_never_changes() -> None:
    v, add = counter()
    for _ in range(3):
        held, row = v.numpy(), v.value[1:]
        before, shown = held.tolist(), row.tolist()
        add(tensor(1, 2, 3))
        assert held.tolist() == before
        assert row.tolist() == shown
    assert v.numpy().tolist() == [3, 6, 9]


def test_what_a_running_program_reads_is_copied_before_it_is_overwritten() -> None:
    v, add = counter()
    memory, reader = v._memory, object()
    _reading[reader] = frozenset({v.serial})
    try:
        add(tensor(1, 1, 1))
    finally:
        del _reading[reader]
    assert memory is not None and memory.tolist() == [0, 0, 0]
    assert v.numpy().tolist() == [1, 1, 1]


def test_a_call_that_fails_changes_nothing_and_locks_nothing() -> None:
    a, b, c = td.Variable(F(1)), td.Variable(np.ones(3, F)), td.Variable(F(2))

    @td.function
    def f(x: Any) -> Any:
        a.assign(a.value + x)
        b.assign(b.value * c.value)
        assert x > 0, "positive"
        return a.value + 1

    warm(f, td.asarray(F(1)))
    counts = sys.getrefcount(a), sys.getrefcount(c), sys.getrefcount(a._memory), sys.getrefcount(c._memory)
    for _ in range(3):
        with pytest.raises(AssertionFailed, match="positive"):
            f(td.asarray(F(-2)))
        assert a.numpy() == 3
        assert b.numpy().tolist() == [4, 4, 4]
        assert free(a, b, c)
    a._buffer = a._lease = None  # what reading the value left
    assert counts == (sys.getrefcount(a), sys.getrefcount(c), sys.getrefcount(a._memory), sys.getrefcount(c._memory))
    result, entered = python_calls(f, td.asarray(F(1)))
    assert result.item() == 5
    assert b.numpy().tolist() == [8, 8, 8]
    assert entered == []


def test_nothing_is_left_behind_by_many_calls() -> None:
    a, b = td.Variable(np.zeros(40, F)), td.Variable(F(1))

    @td.function
    def f(x: Any) -> Any:
        y = a.value + b.value
        a.assign(y)
        b.assign(x)
        return y

    x = td.asarray(F(1))
    warm(f, x)
    objects = (a, b, None, x.array, a._memory.dtype)  # type: ignore[union-attr]
    before = [sys.getrefcount(o) for o in objects]
    for _ in range(300):
        f(x)
    after = [sys.getrefcount(o) for o in objects]
    assert max(abs(p - q) for p, q in zip(before, after, strict=True)) < 20
    assert a.numpy().tolist() == [302] * 40


def test_a_call_waits_for_whoever_writes() -> None:
    v, add = counter()
    done: list[float] = []
    thread = threading.Thread(target=lambda: done.append(add(tensor(1, 1, 1)).item()))
    with v._lock:
        thread.start()
        thread.join(0.02)
        assert not done
        v.assign(np.full(3, 5, F))
    thread.join()
    assert done == [18]


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals to threads")
def test_an_interrupt_while_it_waits_changes_nothing() -> None:
    a, b = td.Variable(F(1)), td.Variable(F(1))

    @td.function
    def f() -> None:
        a.assign_add(1)
        b.assign_add(1)

    warm(f)
    held, over = threading.Event(), threading.Event()

    def once(*_: Any) -> None:
        if not over.is_set():
            over.set()
            raise KeyboardInterrupt

    def hold() -> None:
        with b._lock:
            held.set()
            while a._lock.acquire(blocking=False):  # until the call has the first lock, and wants the second
                a._lock.release()
            while not over.wait(0.01):  # a signal that comes before the call has begun to wait is heard after it
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # type: ignore[arg-type]

    thread = threading.Thread(target=hold)
    before = signal.signal(signal.SIGINT, once)
    thread.start()
    held.wait()
    try:
        with pytest.raises(KeyboardInterrupt):
            f()
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert free(a, b)
    assert (a.numpy(), b.numpy()) == (3, 3)
    f()
    assert (a.numpy(), b.numpy()) == (4, 4)


def test_an_interrupt_at_the_end_leaves_all_variables_new(capsys: Any) -> None:
    a, b = td.Variable(np.zeros(1000, F)), td.Variable(np.zeros(3, F))

    @td.function
    def f(x: Any) -> Any:
        td.print("now")  # the run passes through Python
        a.assign(a.value + 1)
        b.assign(td.zeros((3,)) + x)
        return td.sum(a.value)

    warm(f, td.asarray(F(1)))
    (trace,) = f.traces
    (program,) = trace.graph.derived["programs"].values()
    enter = program.code._enter

    def interrupted(pointer: object) -> int:
        enter(pointer)
        signal.raise_signal(signal.SIGINT)
        return 0

    program.code._enter = interrupted
    with pytest.raises(KeyboardInterrupt):
        f(td.asarray(F(2)))
    program.code._enter = enter
    assert (a.numpy()[0], b.numpy()[0]) == (3, 2)
    assert free(a, b)
    f(td.asarray(F(3)))
    assert (a.numpy()[0], b.numpy()[0]) == (4, 3)


def test_callbacks_may_call_the_function_that_runs() -> None:
    v = td.Variable(F(10))
    seen: list[float] = []

    @td.function
    def f(x: Any) -> Any:
        td.py_function(lambda x: seen.append(f(x - 1).item()) if x.item() > 0 else None, x)
        return v.value + x

    warm(f, td.asarray(F(0)))
    assert f(td.asarray(F(3))).item() == 13
    assert seen == [10, 11, 12]
    assert free(v)


def test_a_variable_without_a_value_takes_the_way_through_python() -> None:
    v = td.Variable(td.TensorSpec((2,)))

    @td.function
    def write(x: Any) -> Any:
        v.assign(x)
        return v.value + 1

    x = tensor(1, 2)
    warm(write, x)
    v._memory = v._buffer = v._lease = None
    assert write(x).tolist() == [2, 3]
    assert v.numpy().tolist() == [1, 2]
    assert free(v)


def test_threads_lose_no_update_and_see_no_half_written_value() -> None:
    a, b = td.Variable(np.zeros(3000, np.int64)), td.Variable(np.zeros(3000, np.int64))

    @td.function
    def add() -> None:
        a.assign(a.value + 1)
        b.assign(b.value + 1)

    @td.function
    def difference() -> Any:
        return td.max(td.abs(a.value - b.value))

    for _ in range(2):
        add(), difference()
    torn: set[int] = set()

    def work() -> None:
        for _ in range(300):
            add()
            torn.add(difference().item())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert torn == {0}
    assert set(a.numpy().tolist()) == {1202}
    assert free(a, b)


def test_a_dead_variable_is_said() -> None:
    class Holder:
        v = td.Variable(F(1))

    holder = Holder()
    f = td.function(lambda x: x + holder.v.value)
    warm(f, tensor(1, 2))
    trace = f.traces[0]
    Holder.v = td.Variable(F(5))
    assert f(tensor(1, 2)).tolist() == [6, 7]
    with pytest.raises(VariableCreation, match="no longer exists"):
        trace(tensor(1, 2))
