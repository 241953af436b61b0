"""Random functions as source text do as graphs what plain Python does on NumPy values."""

from __future__ import annotations

import warnings

import generate
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from random_functions import Writer, programs

import treadle as td

SETTINGS = settings(derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
# What the generator writes and treadle refuses, saying so.
LIMITS = ("grows in a loop inside a loop", "there is no room to give it")


def run(text, **ways):
    """Compare, unless treadle refuses the program with one of the messages of docs/control_flow.md."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            generate.compare(text, **ways)
        except td.errors.ControlFlowError as error:
            if not any(limit in str(error) for limit in LIMITS):
                raise


@settings(SETTINGS, max_examples=40)
@given(programs())
def test_interpreted(text):
    run(text)


@settings(SETTINGS, max_examples=12)
@given(programs())
def test_compiled(text):
    run(text, compiled=True)


@settings(SETTINGS, max_examples=16)
@given(programs())
def test_gradients(text):
    run(text, gradients=True)


def test_a_difference_is_found_and_shrunk(monkeypatch):
    """The tests above can fail: an op that is a little wrong is noticed, and its program gets small."""
    text = Writer(lambda low, high: high).program().replace("def f(x, w, n):", "def f(x, w, n):\n    n = n + 0")
    lines = text.splitlines()
    lines.insert(lines.index("    out = [x]") + 1, "    x = hold(x + 0.125)\n    out.append(x)\n    a = x")
    text = "\n".join([*lines[:-1], "    return a, i, u", ""])
    assert generate.outcome(text, False, False) is None
    right = generate.hold_tensor
    monkeypatch.setattr(generate, "hold_tensor", lambda x: right(x) + 0.25)
    assert isinstance(generate.outcome(text, False, False), generate.Disagreement)
    small = generate.shrink(text, lambda t: isinstance(generate.outcome(t, False, False), generate.Disagreement))
    assert len(small.splitlines()) < len(text.splitlines()) / 2
    assert "hold(" in small


def test_chance_writes_the_same_program_again():
    import random

    one, two = (Writer(random.Random("7 1").randint).program() for _ in range(2))
    assert one == two
    assert one != Writer(random.Random("7 2").randint).program()
    compile(one, "program", "exec")


def test_what_is_compared():
    value = [np.asarray(1.0)]
    want = generate.Seen(value, "text", 1.0)
    assert generate.same(want, generate.Seen(value, "text", 1.0)) is None
    assert "result 0" in generate.same(want, generate.Seen([np.asarray(2.0)], "text", 1.0))
    assert "prints" in generate.same(want, generate.Seen(value, "", 1.0))
    assert "variable" in generate.same(want, generate.Seen(value, "text", 2.0))


@pytest.mark.parametrize("body", ["raise KeyError", "retrun x"])
def test_other_errors_come_through(body):
    assert generate.outcome(f"def f(x, w, n):\n    {body}\n", False, False) is not None
