"""Results in the memory of values that die: where they may be, where they may not, and that nothing changes by it."""

import re
from typing import Any

import numpy as np
import pytest
from oracle import agree, compiled

import treadle as td

F = np.float32
X = np.linspace(-1, 1, 60 * 40, dtype=F).reshape(60, 40)


def program(f: Any, *given: Any) -> Any:
    agree(f, *given)
    return compiled(f, *given)


def test_a_kernel_writes_over_a_product_that_nobody_else_reads() -> None:
    made = program(lambda x: td.tanh(x @ x.T) @ x, X)
    assert made.code.layout.arena_bytes == 60 * 60 * 4
    both = program(lambda x: (lambda p: td.tanh(p) @ (p + 1.0))(x @ x.T), X)
    assert both.code.layout.arena_bytes == 2 * 60 * 60 * 4


@pytest.mark.parametrize(
    "f",
    [
        lambda x: (lambda p: td.tanh(p) @ p)(x @ x.T),  # read again later
        lambda x: (lambda p: (td.tanh(p) + p.T) @ x)(x @ x.T),  # read out of step
        lambda x: (lambda p: (p[::-1] * 2.0) @ x)(x @ x.T),
        lambda x: (lambda p: (p - td.max(p, axis=0)) @ x)(x @ x.T),
        lambda x: (lambda p: td.nn.softmax(p) @ x)(x @ x.T),  # rows: read three times, written last
        lambda x: (lambda p: td.nn.softmax(p, axis=0) @ x)(x @ x.T),
        lambda x: (lambda p: td.nn.layer_norm(p) @ x)(x @ x.T),
        lambda x: (lambda p: td.where(p > 0, 1, 2).astype(td.float32) @ x)(x @ x.T),
        lambda x: (lambda p: (td.cumulative_sum(p, axis=1) * p) @ x)(x @ x.T),
        lambda x: (lambda p: td.reshape(td.exp(td.reshape(p, (-1,))), (60, 60)) @ x)(x @ x.T),
    ],
)
def test_values_stay_right(f: Any) -> None:
    agree(f, X)


def test_updates_of_values_that_die_change_a_few_elements() -> None:
    """Twenty rows are set one after another, each from the one before: the whole is written once."""

    def f(x: Any) -> Any:
        for k in range(20):
            x = x.at[k + 1].set(x[k] * 2.0)
        return x

    made = program(f, X)
    assert made.code.layout.arena_bytes <= 64 * 40
    moved = re.findall(r"copy .*, (\d+) bytes", made.code.text())
    assert sum(map(int, moved)) <= X.nbytes + 20 * 160

    def held(x: Any) -> Any:
        y = x.at[1].set(1.0)
        z = y.at[2].set(2.0)
        return td.sum(y) + z.at[3].add(3.0) + x

    agree(held, X)
    agree(lambda x: (lambda y: (y, y.at[2].set(y[1])))(x.at[1].set(1.0)), X)
    agree(lambda x: (lambda y: y.at[2:4].set(y[1:3]))((x @ x.T).at[1].set(1.0)), X)
