"""What a function reads from outside, found in its bytecode."""

from __future__ import annotations

import types

from treadle.autograph import Read, convert_function, reads

CONFIG = types.SimpleNamespace(lr=0.1, inner=types.SimpleNamespace(k=1))
RATE = 2


class Model:
    scale = 1

    def step(self, x):
        if CONFIG.lr > 0:
            return self.scale * x + self.inner.weights[0]
        return [self.bias for _ in x]


def test_globals_and_chains():
    def f(x):
        return x * RATE + CONFIG.inner.k + len(x)

    assert reads(f) == (Read("global", "RATE"), Read("global", "CONFIG", ("inner", "k")), Read("global", "len"))


def test_closures_in_nested_code():
    outer, box = 3, CONFIG

    def f(x):
        own = 1

        def g(outer_name):
            return outer + own + outer_name

        return g(x) + sum(box.lr * i for i in range(3)) + (lambda: RATE)()

    found = set(reads(f))
    assert Read("closure", "outer") in found
    assert Read("closure", "box", ("lr",)) in found
    assert Read("global", "RATE") in found
    assert not any(r.name in ("own", "x", "g") for r in found if r.root == "closure")


def test_first_argument():
    found = set(reads(Model.step))
    assert {r for r in found if r.root == "argument"} == {
        Read("argument", "self", ("scale",)),
        Read("argument", "self", ("inner", "weights")),
        Read("argument", "self", ("bias",)),
    }
    assert Read("global", "CONFIG", ("lr",)) in found


def test_method_calls_are_chains_too():
    def f(x):
        return CONFIG.inner.get(x)

    assert reads(f) == (Read("global", "CONFIG", ("inner", "get")),)


def test_needs_no_source():
    space = {"K": 1}
    exec("def f(x):\n    return x + K", space)
    assert reads(space["f"]) == (Read("global", "K"),)


def test_shadowing():
    y = 1

    def f(x):
        def g(y):
            return y

        return g(x)

    assert reads(f) == ()
    assert y == 1


def test_generated_code_is_not_seen():
    k = 2

    def f(x):
        def g(v):
            return v if v else k

        return g

    inner = convert_function(f).function(1)
    assert Read("closure", "k") in reads(inner)
    assert all(r.name != "ag__" for r in reads(inner))
