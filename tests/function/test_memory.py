"""Memory: calls leave nothing behind, and a retrace little."""

import gc
import tracemalloc
from collections.abc import Callable

import treadle as td
from treadle.core import resting


def _grown(work: Callable[[], None]) -> int:
    """Bytes of Python's and NumPy's memory that are in use after some work and were not before."""
    gc.collect()
    tracemalloc.start()
    try:
        work()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_calls_leave_memory_flat() -> None:
    v = td.Variable(td.zeros((64,)))

    @td.function
    def f(x, y):
        v.assign_add(x)
        return td.tanh(x * y) + v.value, x - 1

    x = td.ones((64,))

    def many() -> None:
        for _ in range(1000):
            f(x, x)

    many()
    assert _grown(many) < 8 << 10  # one result kept from each call would be 256 KB


def test_eager_tapes_leave_memory_flat() -> None:
    x = td.ones((64,))

    def many() -> None:
        for _ in range(200):
            with td.GradientTape() as tape:
                tape.watch(x)
                y = td.sum(td.tanh(x * 2.0) * x)
            tape.gradient(y, x)

    many()
    assert _grown(many) < 16 << 10


def test_a_retrace_takes_little(monkeypatch) -> None:
    monkeypatch.setattr(td.config, "retrace_warning", 0)

    @td.function(reduce_retracing=False)
    def f(x):
        for _ in range(4):
            x = td.tanh(x * 1.5) @ td.ones((8, 8))
        return td.sum(x)

    f(td.ones((2, 8)))
    made = f.trace_count
    monkeypatch.setattr(resting, "AWAKE", 4)

    def retraces() -> None:
        for size in range(3, 23):
            f(td.ones((size, 8)))

    grown = _grown(retraces)
    assert f.trace_count == made + 20
    assert grown / 20 < 22 << 10  # a third of it in caches that are bounded; 24 if graphs stayed as they are
