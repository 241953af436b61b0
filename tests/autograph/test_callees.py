"""Which callees are converted while tracing, the marks, and the observer."""

from __future__ import annotations

import functools
import json
import textwrap

import numpy as np
import pytest

from treadle.autograph import convert, convert_function, converted, do_not_convert, observed
from treadle.autograph.callees import call
from treadle.autograph.converter import is_converted
from treadle.core.mode import activate
from treadle.core.tracer import Tracer


def helper(x):
    if x > 1:
        return x
    return deeper(x)


def deeper(x):
    return x and 1


class Thing:
    def method(self, x):
        return x or 1

    @classmethod
    def klass(cls, x):
        return x or cls

    @staticmethod
    def static(x):
        return x or 2

    def __call__(self, x):
        return x or 3


def test_nothing_is_converted_without_a_mode():
    assert call(helper) is helper
    with activate(Tracer("test")):
        assert is_converted(call(helper))


def test_kinds_of_callables():
    thing = Thing()
    for callee, wanted in [
        (thing.method, 1),
        (Thing.klass, Thing),
        (thing.klass, Thing),
        (Thing.static, 2),
        (functools.partial(thing.method, 0), 1),
        (lambda x: x or 5, 5),
    ]:
        new = converted(callee)
        assert new is not callee
        assert (new() if isinstance(callee, functools.partial) else new(0)) == wanted
    assert is_converted(converted(thing).__func__)
    assert converted(thing)(0) == 3
    assert converted(thing).__self__ is thing


def test_left_alone():
    for callee in (len, np.sum, np.linalg.norm, json.dumps, functools.reduce, textwrap.dedent, Thing, int, "".join):
        assert converted(callee) is callee
    assert converted(convert_function) is convert_function
    once = converted(helper)
    assert converted(once) is once


def test_marks():
    @do_not_convert
    def left(x):
        return x or 1

    assert converted(left) is left
    assert convert_function(left).function is left
    assert "do_not_convert" in convert_function(left).missing_source

    @convert
    @functools.wraps(left)
    def wanted(x):
        return x or 1

    assert is_converted(converted(wanted))

    class Other:
        @do_not_convert
        def method(self, x):
            return x or 1

    other = Other()
    assert call(other.method) == other.method


def installed(tmp_path, monkeypatch, name):
    from treadle.autograph import callees

    (tmp_path / f"{name}.py").write_text("def f(x):\n    return g(x)\n\n\ndef g(x):\n    return x or 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(callees, "_INSTALLED", (str(tmp_path),))
    return __import__(name)


def test_installed_packages(tmp_path, monkeypatch):
    module = installed(tmp_path, monkeypatch, "installed_one")
    assert converted(module.f) is module.f
    # Decorating a function of the package makes the whole package count as the user's.
    convert_function(module.f)
    assert is_converted(converted(module.g))
    other = installed(tmp_path, monkeypatch, "installed_two")
    convert(other.f)
    assert is_converted(converted(other.f))
    assert converted(other.g) is other.g


def test_observer_lists_user_functions_once():
    seen = []
    token = observed.set(seen)
    try:
        with activate(Tracer("test")):
            assert convert_function(lambda x: helper(x) + helper(x) + len([x])).function(1) == 3
            assert convert_function(lambda x: Thing().method(x)).function(0) == 1
    finally:
        observed.reset(token)
    assert seen == [helper, deeper, Thing.method]


def test_observer_sees_unconverted_functions():
    space = {}
    exec("def bare(x):\n    return x", space)
    seen = []
    token = observed.set(seen)
    try:
        with activate(Tracer("test")):
            converted(space["bare"])
    finally:
        observed.reset(token)
    assert seen == [space["bare"]]


def test_attributes_of_the_converted_function():
    def f(a: int, b=2, *, c=3) -> int:
        """Adds."""
        return a + (b or c)

    f.tag = "x"
    twin = convert_function(f).function
    for name in ("__name__", "__qualname__", "__doc__", "__defaults__", "__kwdefaults__", "__module__"):
        assert getattr(twin, name) == getattr(f, name)
    assert twin.__annotations__ == f.__annotations__
    assert twin.tag == "x"
    assert twin.__globals__ is f.__globals__
    assert twin.__code__.co_filename == __file__
    assert twin.__code__.co_firstlineno == f.__code__.co_firstlineno


def test_treadle_functions_convert_the_functions_they_take(tmp_path, monkeypatch):
    from treadle.autograph import callees

    (tmp_path / "library_like.py").write_text(
        "def cond(p, f, *, g):\n    return f, g\n\n\ndef other(f):\n    return f\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(callees, "_TREADLE", str(tmp_path))
    import library_like

    with activate(Tracer("test")):
        f, g = call(library_like.cond)(True, deeper, g=lambda x: x or 9)
        assert call(library_like.other) is library_like.other
    assert is_converted(f)
    assert is_converted(g)
    assert g(0) == 9


def test_deep_recursion_keeps_working():
    def down(n):
        if n == 0:
            return 0
        return 1 + down(n - 1)

    with activate(Tracer("test")):
        assert convert_function(down).function(150) == 150


@pytest.mark.parametrize("value", [0, 3])
def test_wrappers_of_others_are_kept(value):
    def outer(function):
        @functools.wraps(function)
        def wrapper(x):
            return ("wrapped", function(x)) if x else function(x)

        return wrapper

    @outer
    def inner(x):
        return x if x > 1 else -1

    seen = []
    token = observed.set(seen)
    try:
        with activate(Tracer("test")):
            assert convert_function(lambda v: inner(v)).function(value) == inner(value)
    finally:
        observed.reset(token)
    assert seen == [inner, inner.__wrapped__]
