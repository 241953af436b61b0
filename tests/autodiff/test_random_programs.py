"""Gradients of random smooth programs, with branches, loops, calls and variables: all ways agree, to second order."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td
from treadle.control.call import _interpreting
from treadle.core.mode import activate
from treadle.testing.stages import Watcher

UNARY = ("sin", "tanh", "exp", "square", "softly", "flip", "cumsum", "custom", "call", "read")
BINARY = ("add", "multiply", "subtract", "where", "outer")
FLOW = ("branch", "while", "for", "break", "scan", "nested", "loop in branch", "branch in loop", "loop calls")


@dataclass(frozen=True)
class Step:
    """One op, which earlier values it takes, and a small number."""

    op: str
    a: int
    b: int
    n: int


@st.composite
def programs(draw: Any) -> tuple[Step, ...]:
    steps = []
    for k in range(draw(st.integers(2, 5))):
        kinds = draw(st.sampled_from([UNARY, BINARY, FLOW, FLOW]))
        steps.append(
            Step(draw(st.sampled_from(kinds)), *(draw(st.integers(0, k)) for _ in range(2)), draw(st.integers(0, 3)))
        )
    return tuple(steps)


WEIGHT = td.Variable(np.array([0.5, -0.8, 0.3]), name="weight")


@td.custom_gradient
def tripled(x):
    """sin(x), whose gradient is by its own rule, which uses a residual."""
    y = td.cos(x)
    return td.sin(x), lambda g: g * y


@td.function
def called(x, n):
    return td.while_loop(lambda k, v: k < n, lambda k, v: (k + 1, td.sin(v) + 0.3 * v), (0, x))[1] * x


def repeat(n, f, x):
    return td.while_loop(lambda k, v: k < n, lambda k, v: (k + 1, f(v)), (0, x))[1]


def early(x, n):
    """A `for` over rows that is left when enough of them were seen."""
    total, seen = td.zeros((), dtype=td.float64), 0
    for row in x:
        if seen >= n:
            break
        total = total * row + td.sin(row)
        seen = seen + 1
    return total * x


def counted(x, n):
    y = x
    for i in td.range(n):
        y = td.sin(y) + 0.1 * i * x
    return y


def apply(step: Step, a: Any, b: Any, n: Any) -> Any:
    op = step.op
    if op in ("sin", "tanh", "square"):
        return getattr(td, op)(a)
    if op in ("add", "multiply", "subtract"):
        return getattr(td, op)(a, b)
    table = {
        "exp": lambda: td.exp(td.tanh(a)),
        "softly": lambda: td.log1p(td.exp(a)),
        "flip": lambda: td.flip(a),
        "cumsum": lambda: td.cumsum(a),
        "custom": lambda: tripled(a),
        "call": lambda: called(a, n),
        "read": lambda: a * WEIGHT,
        "where": lambda: td.where(td.asarray([True, False, True]), a, b),
        "outer": lambda: td.sum(td.expand_dims(a, axis=1) * b, axis=0),
        "branch": lambda: td.cond(n > 1, lambda: td.sin(a) * b, lambda: b * WEIGHT),
        "while": lambda: repeat(n, lambda v: td.tanh(v) * b, a),
        "for": lambda: counted(a, n) + b,
        "break": lambda: early(a, n) - b,
        "scan": lambda: td.scan(lambda c, x: (c * x + x, td.sin(c)), td.sum(b), a)[1],
        "nested": lambda: td.while_loop(
            lambda k, v: k < n, lambda k, v: (k + 1, repeat(k, lambda u: td.sin(u) * b, v) + 0.5 * v), (0, a)
        )[1],
        "loop in branch": lambda: td.cond(n > 1, lambda: repeat(n, lambda v: td.sin(v) * b, a), lambda: a * b),
        "branch in loop": lambda: td.while_loop(
            lambda k, v: k < n, lambda k, v: (k + 1, td.cond(k > 0, lambda: td.sin(v), lambda: v * b)), (0, a)
        )[1],
        "loop calls": lambda: td.while_loop(lambda k, v: k < n, lambda k, v: (k + 1, td.sin(called(v, k))), (0, a))[1],
    }
    return table[op]()


def build(steps: tuple[Step, ...]) -> Any:
    """The program as a function of a float64 vector of 3 and an integer, which gives a scalar."""

    def f(x, n):
        values = [x]
        for step in steps:
            values.append(td.tanh(apply(step, values[step.a], values[step.b], n)))
        return td.sum(values[-1] * values[-1] + td.sin(values[-1]) * values[0])

    return f


V = td.asarray(np.array([0.3, -0.7, 0.5]))


def around(f: Any) -> Any:
    """The gradient and its derivative along V, both by td.grad."""

    def both(x, n):
        first = td.grad(f)(x, n)
        second = td.grad(lambda x, n: td.sum(td.grad(f)(x, n) * V))(x, n)
        return first, second

    return both


def with_tapes(f: Any) -> Any:
    """The same by nested tapes, and with respect to the variable too."""

    def both(x, n):
        with td.GradientTape() as outer:
            outer.watch(x)
            with td.GradientTape() as inner:
                inner.watch(x)
                y = f(x, n)
            first, weight = inner.gradient(y, [x, WEIGHT], unconnected="zero")
            along = td.sum(first * V)
        return first, outer.gradient(along, x, unconnected="zero"), weight

    return both


WAYS = ("inside", "around", "tapes inside", "tapes around", "tapes")


def differentiated(f: Any, way: str) -> Any:
    """A function of (x, n) that gives both derivatives, and for tapes that of the variable: in one of the ways."""
    if way == "tapes":
        return with_tapes(f)
    with_either = with_tapes if way.startswith("tapes") else around
    return td.function(with_either(f)) if way.endswith("inside") else with_either(td.function(f))


@contextlib.contextmanager
def interpreting():
    """Graphs run node by node, and compile nothing."""
    with _interpreting(), activate(Watcher()):
        yield


@settings(derandomize=True, deadline=None, max_examples=16)
@given(programs(), st.integers(0, 3), st.sampled_from([*WAYS[:4], *[None] * 4]))
def test_all_ways_agree_to_second_order(steps, n, compiled):
    """At most one of the ways is compiled, the others are interpreted."""
    f = build(steps)
    x, count, other = td.asarray(np.array([0.6, -0.4, 0.9])), td.asarray(n), td.asarray((n + 2) % 4)
    with interpreting():
        first, second = (g.numpy() for g in around(f)(x, count))
        elsewhere = [g.numpy() for g in around(f)(x, other)]
        h = 1e-5
        numeric = [(f(x + h * e, count).item() - f(x - h * e, count).item()) / (2 * h) for e in np.eye(3)]
        change = (td.grad(f)(x + h * V, count) - td.grad(f)(x - h * V, count)).numpy()
    np.testing.assert_allclose(first, numeric, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(second, change / (2 * h), rtol=1e-6, atol=1e-7)

    weights = []
    for name in WAYS:
        way = differentiated(f, name)
        with contextlib.nullcontext() if name == compiled else interpreting():
            got = [g.numpy() for g in way(x, count)]
        np.testing.assert_allclose(got[0], first, rtol=1e-9, atol=1e-12, err_msg=name)
        np.testing.assert_allclose(got[1], second, rtol=1e-9, atol=1e-11, err_msg=name)
        weights += got[2:]
        if name == compiled:  # the same traces with another trip count
            for found, want in zip(way(x, other), elsewhere, strict=False):
                np.testing.assert_allclose(found.numpy(), want, rtol=1e-9, atol=1e-11, err_msg=name)
    for weight in weights[:-1]:
        np.testing.assert_allclose(weight, weights[-1], rtol=1e-9, atol=1e-12)


@settings(derandomize=True, deadline=None, max_examples=12)
@given(programs(), st.integers(0, 3))
def test_forward_mode_is_reverse_mode(steps, n):
    f = build(steps)
    x, count = td.asarray(np.array([0.6, -0.4, 0.9])), td.asarray(n)

    def forward(x, n):
        with td.ForwardAccumulator(x, V) as acc:
            y = f(x, n)
        with td.ForwardAccumulator(WEIGHT, V) as other:
            z = f(x, n)
        return y, acc.jvp(y), other.jvp(z, unconnected="zero")

    def reverse(x, n):
        with td.GradientTape() as tape:
            tape.watch(x)
            y = f(x, n)
        first, weight = tape.gradient(y, [x, WEIGHT], unconnected="zero")
        return y, td.sum(first * V), td.sum(weight * V)

    wanted = [t.item() for t in reverse(x, count)]
    for way in (forward, td.function(forward)):
        np.testing.assert_allclose([t.item() for t in way(x, count)], wanted, rtol=1e-9, atol=1e-11)
    # Forward over reverse is the second derivative along V.
    second = td.jvp(lambda x: td.grad(f)(x, count), (x,), (V,))[1]
    np.testing.assert_allclose(second.numpy(), around(f)(x, count)[1].numpy(), rtol=1e-9, atol=1e-11)
