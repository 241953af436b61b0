"""Exceptions in traced code: raised when running reaches them, with the values of that run, leaving no trace behind."""

from __future__ import annotations

import contextlib
import sys

import numpy as np
import pytest

import treadle as td

compare = sys.modules["treadle_tests_compare"]
case = compare.Cases()
ints = [(np.int64(n),) for n in (-3, 0, 1, 2, 5, 8)]


def callee(n):
    if n > 4:
        raise ValueError(f"callee got {n}")
    return n + 1


def in_a_callee(n):
    m = callee(n)
    return m * 2


def in_a_conditional_expression(n):
    return callee(n) if n > 1 else n


def right_of_and(n):
    return n > 1 and callee(n) > 2


def right_of_or(n):
    return n < 1 or callee(n) > 2


def in_the_test_of_while(n):
    while callee(n) < 4:
        n = n + 1
    return n


def in_every_round(n):
    for i in range(n):
        raise ValueError(f"i {i}")
    return n


def through_finally(n):
    try:
        if n > 4:
            raise ValueError("big")
        n = n + 1
    finally:
        n = n * 2
    return n


def through_with(n):
    with contextlib.nullcontext():
        if n > 4:
            raise ValueError("big")
    return n


def caught_in_the_same_branch(n):
    if n > 1:
        try:
            raise ValueError("x")
        except ValueError:
            n = n + 100
    return n


def past_another_handler(n):
    try:
        if n > 4:
            raise ValueError(f"big {n}")
    except KeyError:
        n = n * 0
    return n


def python_assert_in_a_branch(n):
    if n > 4:
        assert isinstance(n, str), f"n {n} is no text"
    return n


def deep_in_branches(n):
    if n > 0:
        if n > 3:
            if n > 6:
                raise ValueError("deep")
            n = n + 1
        n = n + 1
    return n


for function in (
    in_a_callee,
    in_a_conditional_expression,
    right_of_and,
    right_of_or,
    in_the_test_of_while,
    in_every_round,
    through_finally,
    through_with,
    caught_in_the_same_branch,
    past_another_handler,
    python_assert_in_a_branch,
    deep_in_branches,
):
    case(function, *ints)


@pytest.mark.parametrize(("function", "cases", "nodes"), case, ids=case.names)
def test_as_python(function, cases, nodes):
    compare.check(function, cases, nodes)


class OwnError(Exception):
    """An exception with an attribute that a traced value goes into."""

    def __init__(self, text, value):
        super().__init__(text, value)
        self.value = value


@td.function
def raises_own(n):
    if n == 2:
        raise OwnError("two", n * 3)  # here
    return n


def test_the_users_type_arguments_and_attributes_arrive():
    assert raises_own(td.asarray(1)).item() == 1
    with pytest.raises(OwnError) as caught:
        raises_own(td.asarray(2))
    text, value = caught.value.args
    assert (text, value.item(), caught.value.value.item()) == ("two", 6, 6)
    (note,) = caught.value.__notes__
    assert "raise OwnError" in note


def test_variables_stay_as_before_the_call():
    v = td.Variable(1.0)

    @td.function
    def f(n):
        v.assign_add(1.0)
        if n > 4:
            v.assign_add(10.0)
            raise RuntimeError(f"v was {v.value}, n {n}")
        return v.value

    assert f(td.asarray(1)).item() == 2.0
    with pytest.raises(RuntimeError, match=r"v was 13\.0, n 9"):
        f(td.asarray(9))
    assert v.numpy() == 2.0
    assert f.trace_count == 1


def test_gradients_of_what_does_not_raise():
    @td.function
    def f(x):
        with td.GradientTape() as tape:
            tape.watch(x)
            if x > 100:
                raise ValueError("x")
            elif x > 1:
                y = x * x
            else:
                y = x * 3
            s = y * 0
            for _ in td.range(3):
                if s > 1000:
                    raise ValueError(f"s is {s:.1f}")
                s = s + y
        return tape.gradient(s, x)

    assert f(td.asarray(2.0)).item() == 12
    assert f(td.asarray(0.5)).item() == 9
    with pytest.raises(ValueError, match="x"):
        f(td.asarray(300.0))
    with pytest.raises(ValueError, match=r"s is 2500\.0"):
        f(td.asarray(50.0))


def caught_by_type(n):
    try:
        if n > 4:
            raise ValueError(f"big {n}")
    except (KeyError, ValueError):
        n = n * 0
    return n


def caught_by_all(n):
    try:
        if n > 4:
            raise ValueError(f"big {n}")
    except:  # noqa: E722
        n = n * 0
    return n


def caught_assert(n):
    try:
        assert n > 3
    except AssertionError:
        n = n * 0
    return n


def suppressed(n):
    with contextlib.suppress(ValueError):
        if n > 4:
            raise ValueError(f"big {n}")
    return n


@pytest.mark.parametrize("function", [caught_by_type, caught_by_all, caught_assert, suppressed])
def test_what_a_handler_would_wrongly_catch_is_refused(function):
    with pytest.raises(td.errors.ControlFlowError, match="would catch the .* of this line, but only running tells"):
        td.function(function)(td.asarray(3))


def test_td_print_of_an_f_string(capsys):
    @td.function
    def f(n):
        for i in td.range(n):
            td.print(f"step {i}: {i * 0.5:.3f}", "done")

    f(td.asarray(2))
    f(td.asarray(1))
    assert capsys.readouterr().out == "step 0: 0.000 done\nstep 1: 0.500 done\nstep 0: 0.000 done\n"


def test_recursion_that_a_tensor_ends_is_told_in_one_sentence():
    def factorial(n):
        if n <= 1:
            return n * 0 + 1
        return n * factorial(n - 1)

    with pytest.raises(td.errors.ControlFlowError, match="factorial is traced inside itself without end"):
        td.function(lambda n: factorial(n))(td.asarray(3))


def test_source_that_changed_is_noticed(tmp_path, monkeypatch):
    file = tmp_path / "statements_changing.py"
    file.write_text("def f(x):\n    if x > 0:\n        x = x * 2\n    return x\n")
    monkeypatch.syspath_prepend(tmp_path)
    import statements_changing

    file.write_text("def f(x):\n    if x > 0:\n        x = x * 3\n    return x\n")
    with pytest.warns(td.TracingWarning, match="f runs as it was imported.*has changed"):
        with pytest.raises(td.errors.TraceError, match="has changed since it was imported"):
            td.function(statements_changing.f)(td.asarray(1))
