"""Programs and variables: in place or not, views of old values, failures, leases, threads, interrupts, sizes."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import numpy as np
import pytest
from oracle import compiled

import treadle as td
from treadle.compile.program import MAX_PROGRAMS, Program
from treadle.core.variable import _reading
from treadle.errors import AssertionFailed, UndefinedVariable

F = np.float32


def matrix() -> td.Variable:
    return td.Variable(np.arange(6, dtype=F).reshape(2, 3))


def program_of(f: Any) -> Program:
    """The one program that a function has run."""
    (trace,) = f.traces
    (program,) = trace.graph.derived["programs"].values()
    return program


def overwritten(f: Any) -> int:
    """How many variables a function updates in place."""
    return len(program_of(f).inplace)


def test_an_update_in_place_keeps_the_memory() -> None:
    v = matrix()

    @td.function
    def f(x: Any) -> None:
        v.assign(v.value * 2 + x)

    memory = v._memory
    f(td.asarray(F(1)))
    assert overwritten(f) == 1
    assert v._memory is memory
    assert v.numpy().tolist() == [[1, 3, 5], [7, 9, 11]]


@pytest.mark.parametrize(
    ("view", "want"),
    [
        (lambda x: x, [[0, 1, 2], [3, 4, 5]]),
        (lambda x: td.permute_dims(x, (1, 0)), [[0, 3], [1, 4], [2, 5]]),
        (lambda x: td.reshape(x, (6,)), [0, 1, 2, 3, 4, 5]),
        (lambda x: x[0, ::-1], [2, 1, 0]),
        (lambda x: td.broadcast_to(x[1], (2, 3)), [[3, 4, 5], [3, 4, 5]]),
        (lambda x: td.sum(x, axis=0), [3, 5, 7]),
        (lambda x: td.permute_dims(x, (1, 0)) @ x, [[9, 12, 15], [12, 17, 22], [15, 22, 29]]),
    ],
)
@pytest.mark.parametrize("first", [False, True])
def test_what_was_read_before_the_write_is_the_old_value(view: Any, want: Any, first: bool) -> None:
    v = matrix()

    @td.function
    def f() -> Any:
        old = v.value
        if first:
            shown = view(old)
            v.assign(old + 10)
        else:
            v.assign(old + 10)
            shown = view(old)
        return shown

    assert f().tolist() == want
    assert v.numpy().tolist() == [[10, 11, 12], [13, 14, 15]]


def test_a_new_value_made_from_a_view_of_the_old_one() -> None:
    v = td.Variable(np.arange(9, dtype=F).reshape(3, 3))

    @td.function
    def f() -> None:
        v.assign(v.value + td.permute_dims(v.value, (1, 0)) + v.value[::-1] + v.value[0])

    x = v.numpy()
    want = x + x.T + x[::-1] + x[0]
    f()
    np.testing.assert_array_equal(v.numpy(), want)


def test_two_variables_that_need_each_other() -> None:
    a, b = td.Variable(F(1)), td.Variable(F(10))

    @td.function
    def swap() -> None:
        old = a.value
        a.assign(b.value)
        b.assign(old)

    @td.function
    def mix() -> Any:
        old = a.value
        a.assign(a.value + b.value)
        b.assign(b.value * old)
        return a.value - b.value

    swap()
    assert (a.numpy(), b.numpy()) == (10, 1)
    assert mix().item() == 1
    assert (a.numpy(), b.numpy()) == (11, 10)


def test_one_value_for_two_variables_and_the_result() -> None:
    a, b = matrix(), matrix()

    @td.function
    def f(x: Any) -> Any:
        y = a.value + x
        a.assign(y)
        b.assign(y)
        return y, y, td.reshape(y, (6,))

    got = f(td.asarray(F(1)))
    a.assign_add(5)
    for y in got:
        np.testing.assert_array_equal(y.numpy().reshape(2, 3), np.arange(6).reshape(2, 3) + 1)
    np.testing.assert_array_equal(b.numpy(), np.arange(6).reshape(2, 3) + 1)


def test_what_was_read_outside_never_changes() -> None:
    v = matrix()

    @td.function
    def f() -> None:
        v.assign(v.value + 1)

    held, rows = v.numpy(), v.value[0]
    f()
    f()
    assert held.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert rows.tolist() == [0, 1, 2]
    assert v.numpy()[0].tolist() == [2, 3, 4]


def test_a_variable_as_an_argument_of_its_own_update() -> None:
    v = matrix()

    @td.function
    def f(x: Any) -> Any:
        v.assign(v.value + 1)
        return x + 0, td.permute_dims(x, (1, 0))

    for k in range(3):
        got, turned = f(v.value)
        assert got.tolist() == [[k, k + 1, k + 2], [k + 3, k + 4, k + 5]]
        assert turned.tolist() == np.array(got.tolist()).T.tolist()


def test_callbacks_may_keep_what_they_read() -> None:
    v, kept = matrix(), []

    @td.function
    def f() -> None:
        td.py_function(lambda: kept.append(v.numpy()))
        v.assign(v.value + 10)

    f()
    f()
    assert [k[0, 0] for k in kept] == [0, 10]


def test_callbacks_may_run_other_functions() -> None:
    v = td.Variable(F(1))
    inner = td.function(lambda x: x * v.value)
    seen: list[float] = []

    @td.function
    def outer(x: Any) -> Any:
        v.assign(v.value + 1)
        y = td.py_function(lambda x: (seen.append(inner(x).item()), x * 2)[1], x, out=td.TensorSpec((), td.float32))
        v.assign(v.value * y)
        return y

    assert outer(td.asarray(F(3))).item() == 6
    assert seen == [6.0]  # the callback sees what was written before it
    assert v.numpy() == 12


@pytest.mark.parametrize("late", [False, True])
def test_a_call_that_fails_changes_nothing(late: bool) -> None:
    a, b = td.Variable(F(1)), td.Variable(np.ones(3, F))

    @td.function
    def f(x: Any) -> Any:
        if not late:
            assert x > 0, "positive"
        a.assign(a.value + x)
        b.assign(b.value * 2)
        y = td.py_function(lambda x: x + 1, x, out=td.TensorSpec((), td.float32))
        if late:
            assert x > 0, "positive"
        return y

    assert f(td.asarray(F(2))).item() == 3
    with pytest.raises(AssertionFailed, match="positive"):
        f(td.asarray(F(-2)))
    assert a.numpy() == 3
    assert b.numpy().tolist() == [2, 2, 2]
    f(td.asarray(F(1)))
    assert a.numpy() == 4


def test_a_variable_without_a_value() -> None:
    v = td.Variable(td.TensorSpec((3,)))
    w = td.Variable(td.TensorSpec((3,)))

    @td.function
    def write(x: Any) -> Any:
        v.assign(x)
        return v.value + 1

    @td.function
    def read(x: Any) -> Any:
        return w.value + x

    @td.function
    def fail(x: Any) -> None:
        w.assign(x)
        assert td.all(x > 100)

    x = td.asarray(np.ones(3, F))
    with pytest.raises(AssertionFailed):
        fail(x)
    with pytest.raises(UndefinedVariable, match="before it has a value"):
        read(x)
    assert write(x).tolist() == [2, 2, 2]
    assert v.numpy().tolist() == [1, 1, 1]


def test_threads_lose_no_update() -> None:
    a, b = td.Variable(np.zeros(50, np.int64)), td.Variable(np.zeros(50, np.int64))

    @td.function
    def f() -> None:
        a.assign(a.value + 1)
        b.assign(b.value + 1)

    @td.function
    def difference() -> Any:
        return td.max(td.abs(a.value - b.value))

    f()
    torn: list[int] = []

    def work() -> None:
        for _ in range(200):
            f()
            torn.append(difference().item())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert set(torn) == {0}
    assert set(a.numpy().tolist()) == {801}


def test_threads_run_one_program() -> None:
    x = np.random.default_rng(0).normal(size=(64, 64)).astype(F)
    program = compiled(lambda x: td.tanh(x @ x) + td.sum(x, axis=0), x)
    want = program.run([x])[0]
    wrong: list[int] = []

    def work() -> None:
        for _ in range(50):
            if program.run([x])[0].tobytes() != want.tobytes():
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_runs_and_keeps_its_own_variables() -> None:
    v = td.Variable(np.zeros(100_000, F))

    @td.function
    def f() -> Any:
        v.assign(v.value + 1)
        return td.sum(v.value)

    f()
    child = os.fork()
    if child == 0:
        os._exit(0 if f().item() == 200_000 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert f().item() == 200_000


def test_an_interrupt_at_the_end_leaves_all_variables_new() -> None:
    """Ctrl-C while native code overwrites variables is told after the transaction is complete."""
    a, b = td.Variable(np.zeros(1000, F)), td.Variable(np.zeros(3, F))

    @td.function
    def f(x: Any) -> Any:
        a.assign(a.value + 1)
        b.assign(td.zeros((3,)) + x)
        return td.sum(a.value)

    f(td.asarray(F(1)))
    program = program_of(f)
    assert program.inplace
    enter = program.code._enter

    def interrupted(pointer: object) -> int:
        enter(pointer)
        signal.raise_signal(signal.SIGINT)
        return 0

    program.code._enter = interrupted
    with pytest.raises(KeyboardInterrupt):
        f(td.asarray(F(2)))
    program.code._enter = enter
    assert a.numpy()[0] == 2
    assert b.numpy()[0] == 2
    f(td.asarray(F(3)))
    assert (a.numpy()[0], b.numpy()[0]) == (3, 3)


def test_programs_of_symbolic_sizes_are_bounded() -> None:
    @td.function(input_signature=[td.TensorSpec((None, 3))])
    def f(x: Any) -> Any:
        return td.mean(x, axis=0) * x.shape[0]

    for n in range(1, MAX_PROGRAMS + 20):
        np.testing.assert_allclose(f(td.asarray(np.ones((n, 3), F))).numpy(), np.full(3, n), rtol=1e-6)
    (trace,) = f.traces
    assert len(trace.graph.derived["programs"]) == MAX_PROGRAMS
    assert sum(isinstance(key, tuple) and key[0] == "concrete" for key in trace.graph.derived) <= 1
    f(td.asarray(np.ones((20, 3), F)))  # used again, so it outlives others
    for n in range(200, 200 + MAX_PROGRAMS - 1):
        f(td.asarray(np.ones((n, 3), F)))
    assert any(("x0", 20) in key or 20 in dict(key[1:]).values() for key in trace.graph.derived["programs"])


def test_a_variable_gets_its_first_value_in_a_program() -> None:
    v, w = td.Variable(td.TensorSpec((3,), td.float32)), td.Variable(np.zeros(3, F))

    @td.function
    def f(x: Any) -> None:
        v.assign(x * 2)
        w.assign_add(v.value)

    x = td.asarray(np.arange(3, dtype=F))
    f(x)
    f(x)
    assert v.numpy().tolist() == [0, 2, 4]
    assert w.numpy().tolist() == [0, 4, 8]


def test_a_variable_that_a_running_program_reads_is_copied_before_it_is_overwritten() -> None:
    v = td.Variable(np.zeros(3, F))

    @td.function
    def add_one() -> None:
        v.assign_add(1)

    add_one()
    memory, reader = v._memory, object()
    _reading[reader] = frozenset({v.serial})
    try:
        add_one()
    finally:
        del _reading[reader]
    assert memory is not None and memory.tolist() == [1, 1, 1]
    assert v.numpy().tolist() == [2, 2, 2]
    memory = v._memory
    add_one()
    assert v._memory is memory


def test_no_reader_is_left_behind_by_a_run_that_fails() -> None:
    v = td.Variable(np.zeros(3, F))

    @td.function
    def f(x: Any) -> Any:
        assert td.sum(x) > 0
        return v.value + x

    with pytest.raises(AssertionFailed):
        f(td.zeros((3,)))
    assert not _reading
