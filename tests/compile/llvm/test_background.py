"""compile="background": calls are answered while their program is still being made."""

import functools
import threading

import numpy as np
import pytest

import treadle as td
from treadle.compile.llvm import build
from treadle.compile.run.gate_layout import Word
from treadle.function import gates


@pytest.fixture
def held(monkeypatch):
    """Compiling waits until the event is set."""
    release, load = threading.Event(), build.load

    def slow(sources):
        if threading.current_thread().name == "treadle compiles":
            assert release.wait(60)
        return load(sources)

    monkeypatch.setattr(build, "load", slow)
    yield release
    release.set()
    finish()


def finish():
    """Wait for the threads that compile."""
    for thread in threading.enumerate():
        if thread.name == "treadle compiles":
            thread.join()


def programs(f):
    return [p for trace in f.traces for p in trace.graph.derived["programs"].values()]


def test_calls_run_interpreted_until_the_program_is_there(held):
    f = td.function(lambda x: (td.exp(x) * 2, x), compile="background")
    x = td.asarray(np.linspace(-1, 1, 5, dtype=np.float32))
    for _ in range(2):
        first, same = f(x)
        np.testing.assert_allclose(first.numpy(), 2 * np.exp(x.numpy()), rtol=1e-6)
        assert not np.shares_memory(same.numpy(), x.numpy()) and programs(f) == []
    assert sum(thread.name == "treadle compiles" for thread in threading.enumerate()) == 1
    held.set()
    finish()
    (program,) = programs(f)
    np.testing.assert_allclose(f(x)[0].numpy(), first.numpy(), rtol=1e-6)
    assert program.final and f.trace_count == 1


def test_variables_change_on_either_way(held):
    v = td.Variable([1.0, 2.0])

    @td.function(compile="background")
    def step(x):
        v.assign_add(x)
        return td.sum(v)

    x = td.asarray([1.0, 1.0])
    assert [float(step(x)) for _ in range(2)] == [5.0, 7.0]
    held.set()
    finish()
    assert [float(step(x)) for _ in range(2)] == [9.0, 11.0]
    assert v.numpy().tolist() == [5.0, 6.0] and len(programs(step)) == 1


def test_open_sizes_get_a_program_each(held):
    f = td.function(lambda x: x * x, input_signature=[td.TensorSpec((None,))], compile="background")
    for n in (2, 3):
        assert f(td.ones(n)).tolist() == [1.0] * n
    held.set()
    finish()
    assert len(programs(f)) == 2 and f(td.ones(3)).tolist() == [1.0] * 3


def test_what_goes_wrong_in_the_background_is_raised_by_the_next_call(monkeypatch):
    def broken(sources):
        raise RuntimeError("no compiler today")

    f = td.function(lambda x: x + 1.25, compile="background")
    x = td.ones(3)
    with monkeypatch.context() as patch:
        patch.setattr(build, "load", broken)
        assert f(x).tolist() == [2.25] * 3
        finish()
        with pytest.raises(RuntimeError, match="no compiler today"):
            f(x)
    assert f(x).tolist() == [2.25] * 3


def test_the_option_has_two_values():
    with pytest.raises(ValueError, match="background"):
        td.function(lambda x: x, compile="later")


def test_no_call_waits_for_the_gate_and_it_opens_at_last(held, monkeypatch):
    f = td.function(lambda x: td.exp(x) * 3.5, compile="background")
    x, waited, load = td.ones(3), [], build.load
    monkeypatch.setattr(gates, "_starting", [])
    monkeypatch.setattr(gates, "there_are", functools.cache(gates.there_are.__wrapped__))  # as in a new process
    monkeypatch.setattr(build, "load", lambda sources: waited.append(threading.current_thread()) or load(sources))
    for _ in range(4):
        f(x)
    assert threading.current_thread() not in waited and f._store.gates == []
    held.set()
    while not f._store.gates:
        finish()
        f(x)
    assert threading.current_thread() not in waited
    assert f._store.gates[0].table[Word.FRAME] != 0  # it leads to the program, not to what interpreted it
