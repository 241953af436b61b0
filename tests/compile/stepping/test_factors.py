"""Products in scalar loops: what no step changes is multiplied first, where that brings no number near its limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from oracle import agree, compiled

import treadle as td

Step = Callable[[Any, Any, Any], Any]
STEPS: dict[str, tuple[Step, int]] = {  # a step, and how many multiplications wait for its value
    "a gradient step": (lambda v, x, y: v - 0.01 * (2.0 * (v * x - y) * x), 2),
    "numbers alone": (lambda v, x, y: v - 0.5 * (0.25 * (v - y)), 1),
    "a tiny number": (lambda v, x, y: v - 1e-9 * (x * (v - y)), 2),
    "two values from outside": (lambda v, x, y: v - 0.5 * (x * (v * y)), 3),
    "two values that change": (lambda v, x, y: v - 0.5 * (x * (v * (v - y))), 3),
}


def loop(step: Step) -> Callable[..., Any]:
    def steps(v: Any, x: Any, y: Any, n: Any) -> Any:
        return td.while_loop(lambda k, v: k < n, lambda k, v: (k + 1, step(v, x, y)), (0, v))[1]

    return steps


def waiting(source: str) -> int:
    """Multiplications in a kernel that wait for the carried float."""
    lines = [line.split("#")[0].strip() for line in source.splitlines()]
    known: set[str] = set()
    found = 0
    for line in lines:
        made, _, value = line.partition(" = ")
        words = set(value.replace("(", " ").replace(")", " ").split())
        if words & (known | {"k1_"}) and made.startswith("v"):
            known.add(made)
            found += " * " in value
    return found


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_few_multiplications_wait(name: str, dtype: str) -> None:
    step, count = STEPS[name]
    f = loop(step)
    args = [np.array(0.3, dtype), np.array(0.7, dtype), np.array(-1.3, dtype), np.array(40)]
    agree(f, *args)
    (kernel,) = compiled(f, *args).kernels
    assert waiting(kernel.source) == count


def test_a_product_that_is_used_twice_stays() -> None:
    def f(v: Any, x: Any, n: Any) -> Any:
        def body(k: Any, v: Any, last: Any) -> Any:
            inner = x * v
            return k + 1, v - 0.5 * inner, inner

        return td.while_loop(lambda k, v, last: k < n, body, (0, v, v))[1:]

    agree(f, np.array(0.3), np.array(0.7), np.array(7))


def test_where_a_branch_holds_the_product() -> None:
    def f(v: Any, x: Any, n: Any) -> Any:
        def body(k: Any, v: Any) -> Any:
            return k + 1, td.cond(k > 3, lambda: 0.5 * (2.0 * v * x), lambda: 0.25 * (x * v))

        return td.while_loop(lambda k, v: k < n, body, (0, v))[1]

    agree(f, np.array(0.3), np.array(0.7), np.array(7))
