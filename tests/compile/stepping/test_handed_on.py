"""Arrays that branches and inner loops hand on: updated where they lie, never copied, and never seen half-way."""

import re
from typing import Any

import numpy as np
import pytest
from oracle import agree, compiled

import treadle as td

F = np.float32
X, W = np.arange(2000, dtype=F).reshape(40, 50) / 1000, np.eye(50, dtype=F) / 2


def loop(step: Any, n: int = 4) -> Any:
    """A loop of products, which is no single kernel, whose step is given the count, the product and the arrays."""

    def f(w: Any, *arrays: Any) -> Any:
        def body(k: Any, w: Any, *arrays: Any) -> Any:
            w = td.tanh(w @ w)
            made = step(k, w, *arrays)
            return k + 1, w, *(made if isinstance(made, tuple) else (made,))

        return td.while_loop(lambda k, *_: k < n, body, (td.asarray(0), w, *arrays))

    return f


def copying(f: Any, *given: Any) -> list[str]:
    """Checks `f` against the interpreter; its program from the outer loop on."""
    agree(f, *given)
    lines = compiled(f, *given).code.text().splitlines()
    return lines[next(k for k, line in enumerate(lines) if line.startswith("L0")) :]


def copies(f: Any, *given: Any) -> int:
    """How many copies of arrays there are from its outer loop on."""
    sizes = [int(re.search(r"(\d+) bytes", line)[1]) for line in copying(f, *given) if "copy " in line]
    return sizes.count(X.nbytes)  # counters may be


def either(test: Any, a: Any, b: Any, *given: Any) -> Any:
    return td.cond(test, a, b, *given)


STEPS = {
    "left alone": lambda k, w, x: either(k > 1, lambda x: x * w[0, 0], lambda x: x, x),
    "both ways": lambda k, w, x: either(k > 1, lambda x: x * w[0, 0], lambda x: x + 1, x),
    "an element": lambda k, w, x: either(k > 1, lambda x: x.at[k].set(w[0]), lambda x: x, x),
    "elements after": lambda k, w, x: either(k > 1, lambda x: x.at[k].set(w[0]), lambda x: x, x).at[k + 9].add(w[1]),
    "elements before": lambda k, w, x: either(k > 1, lambda x: x.at[k].set(w[0]), lambda x: x, x.at[k + 9].add(w[1])),
    "branches inside": lambda k, w, x: either(
        k > 1, lambda x: either(k > 2, lambda x: x.at[0].add(w[0]), lambda x: x, x), lambda x: x, x
    ),
    "a loop inside": lambda k, w, x: td.while_loop(
        lambda j, v, x: j < k, lambda j, v, x: (j + 1, td.tanh(v @ w), x.at[j].add(v[j])), (td.asarray(0), w, x)
    )[2],
    "read by the way": lambda k, w, x: either(k > td.sum(x), lambda x: x * td.sum(x), lambda x: x - td.max(x), x),
}


@pytest.mark.parametrize("name", STEPS)
def test_an_array_that_is_handed_on_is_not_copied(name: str) -> None:
    assert copies(loop(STEPS[name]), W, X) == 0


def test_an_array_whose_old_value_is_wanted_stays_right() -> None:
    """Nothing here may be made over the old value: another reads it afterwards, or beside."""
    swap = loop(lambda k, w, x, y: either(k > 1, lambda x, y: (y, x), lambda x, y: (x, y * w[0, 0]), x, y))
    agree(swap, W, X, X + 1)
    beside = loop(lambda k, w, x, y: either(k > 1, lambda x: (x + w[0], x), lambda x: (x, x * 2), x))
    agree(beside, W, X, X)
    seen = loop(lambda k, w, x, y: (either(k > 1, lambda x: x * 2, lambda x: x, x), y + x[::-1]))
    agree(seen, W, X, X)
    part = loop(lambda k, w, x: either(k > 1, lambda x, v: x + v, lambda x, v: x - v, x, x[::-1]))
    agree(part, W, X)
    twice = loop(lambda k, w, x: either(k > 1, lambda a, b: a + b[::-1], lambda a, b: b, x, x))
    agree(twice, W, X)
    after = loop(
        lambda k, w, x, y: (
            *(lambda inner: (inner[2], y + x.T[:40, :40].sum()))(
                td.while_loop(
                    lambda j, v, x: j < k,
                    lambda j, v, x: (j + 1, td.tanh(v @ w), x.at[j].add(v[j])),
                    (td.asarray(0), w, x),
                )
            ),
        )
    )
    agree(after, W, X, X)


@pytest.mark.parametrize("size", [3, 3000])
def test_a_variable_that_a_branch_leaves_alone_keeps_its_memory(size: int) -> None:
    v, u = td.Variable(np.ones(size, F)), td.Variable(np.zeros(size, F))

    @td.function
    def step(x: Any) -> Any:
        u.assign_add(x)
        if td.sum(x) > 0:
            v.assign_add(u.value)
            u.assign(td.zeros((size,)))
        return td.sum(v.value)

    up, down = td.ones((size,)), -td.ones((size,))
    held = v.value
    want_v, want_u = np.ones(size), np.zeros(size)
    for x in (up, down, down, up, up, down):
        want_u = want_u + x.numpy()
        if x.numpy()[0] > 0:
            want_v, want_u = want_v + want_u, np.zeros(size)
        assert step(x).item() == want_v.sum()
        np.testing.assert_array_equal(v.numpy(), want_v)
        np.testing.assert_array_equal(u.numpy(), want_u)
    assert (held.numpy() == 1).all()
    (program,) = step.traces[-1].graph.derived["programs"].values()
    assert len(program.inplace) == 2
    assert " copy" not in program.code.text()


def lap(u: Any) -> Any:
    return u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:] - 4 * u[1:-1, 1:-1]


def inner(u: Any, p: Any) -> Any:
    return 2 * u[1:-1, 1:-1] - p[1:-1, 1:-1] + 0.1 * lap(u)


ROTATIONS = {
    "a circle": lambda k, w, x, y: (y, x),
    "a circle of three": lambda k, w, x, y, z: (y, z, x),
    "a new value": lambda k, w, x, y: (y, y[::-1] * w[0, 0] - x),
    "a row of three": lambda k, w, x, y, z: (y, z, z[::-1] * 0.5 + x - y),
    "a wave": lambda k, w, p, u: (u, u.at[1:-1, 1:-1].set(inner(u, p))),
    "a wave, and two beside": lambda k, w, p, u, x, y: (u, u.at[1:-1, 1:-1].set(inner(u, p)), y, x),
}


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, "while"])
@pytest.mark.parametrize("name", ROTATIONS)
def test_arrays_that_become_one_another_are_not_copied(name: str, n: int | str) -> None:
    step = ROTATIONS[name]
    arrays = [X * (k + 1) + k for k in range(step.__code__.co_argcount - 2)]
    if n == "while":
        lines = copying(loop(step, 5), W, *arrays)
        end = next(k for k, line in enumerate(lines) if line.startswith("L1"))
        assert not any("copy" in line and str(X.nbytes) in line for line in lines[:end])
        return

    def known(w: Any, *arrays: Any) -> Any:
        def body(k: Any, carry: Any) -> Any:
            w, *arrays = carry
            w = td.tanh(w @ w)
            return (w, *step(k, w, *arrays))

        return td.fori_loop(0, n, body, (w, *arrays))

    if n < 3:
        agree(known, W, *arrays)
    else:
        assert not any("copy" in line and str(X.nbytes) in line for line in copying(known, W, *arrays))


def test_values_that_become_two_others_or_stay_beside_are_right() -> None:
    agree(loop(lambda k, w, x, y: (y, y)), W, X, X + 1)
    agree(loop(lambda k, w, x, y, z: (y, z, z)), W, X, X + 1, X + 2)
    agree(loop(lambda k, w, x, y, z: (z, z, x * 2)), W, X, X + 1, X + 2)
    agree(loop(lambda k, w, x, y: (y, x + y)), W, X, X + 1)
    agree(loop(lambda k, w, x, y: (y, either(k > 1, lambda v: v, lambda v: v * 2, x))), W, X, X + 1)
    nested = loop(lambda k, w, x, y: td.fori_loop(0, 3, lambda j, c: (c[0] @ c[0], c[2], c[1]), (w, x, y))[1:])
    agree(nested, W, X, X + 1)
