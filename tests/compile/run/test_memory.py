"""What programs say of their memory and traffic."""

from __future__ import annotations

import pytest

import treadle as td
from treadle.errors import TraceError

VECTOR = td.TensorSpec((1000,))
MATRIX = td.TensorSpec((100, 50))


def test_a_fused_chain_reads_its_arguments_and_writes_its_result() -> None:
    memory = td.function(lambda x, y: td.exp(x * y) + x).trace(VECTOR, VECTOR).memory
    assert (memory.arguments, memory.results, memory.work) == (8000, 4000, 0)
    assert memory.traffic == 12000
    assert memory.peak == 12000 + memory.constants
    assert not memory.open


def test_a_value_between_two_steps_is_work_memory() -> None:
    memory = td.function(lambda x: td.tanh(x @ x.T) @ x).trace(MATRIX).memory
    square, whole = 100 * 100 * 4, 100 * 50 * 4
    assert square <= memory.work <= 2 * square
    assert memory.traffic == 2 * whole + square + 2 * square + square + whole + whole


def test_variables_written_in_place_count_once() -> None:
    v = td.Variable(td.zeros((1000,)))

    @td.function
    def add(x: td.Tensor) -> None:
        v.assign_add(x)

    memory = add.trace(VECTOR).memory
    assert (memory.arguments, memory.variables, memory.results) == (4000, 4000, 0)


def test_loops_count_their_steps_where_they_are_known() -> None:
    def power(a: td.Tensor, n: int | td.Tensor) -> td.Tensor:
        for _ in td.range(n):
            a = a @ a
        return a

    spec = td.TensorSpec((64, 64))
    known = td.function(lambda a: power(a, 5)).trace(spec).memory
    once = td.function(lambda a: a @ a).trace(spec).memory
    assert known.traffic == 5 * once.traffic
    assert not known.open
    unknown = td.function(power).trace(spec, td.TensorSpec((), td.int64)).memory
    assert unknown.open
    assert "unknown" in str(unknown)


def test_elements_replaced_where_they_lie_count_alone() -> None:
    def f(x: td.Tensor, w: td.Tensor) -> td.Tensor:
        for k in td.range(100):
            w = td.tanh(w @ w)
            x = x.at[k].set(w[0, 0])
        return x + w[0, 0]

    large, small = td.TensorSpec((100_000,)), td.TensorSpec((5, 5))
    assert td.function(f).trace(large, small).memory.traffic < 3 * 400_000
    straight = td.function(lambda x: x.at[1].set(2.0).at[3].set(4.0).at[5].set(6.0))
    assert straight.trace(large).memory.traffic < 2.1 * 400_000


def test_it_prints_as_a_table() -> None:
    lines = str(td.function(lambda x: x + 1).trace(VECTOR).memory).splitlines()
    assert [line.split()[0] for line in lines] == [
        *("arguments", "results", "variables", "constants", "work", "peak", "traffic")
    ]
    assert lines[0].endswith("4,000 B")


def test_open_sizes_wait_for_a_call() -> None:
    trace = td.function(lambda x: x + 1).trace(td.TensorSpec((None,)))
    with pytest.raises(TraceError, match="sizes are open"):
        _ = trace.memory
    trace(td.ones((7,)))
    assert trace.memory.arguments == 28
