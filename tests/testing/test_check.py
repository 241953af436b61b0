"""`check`: right functions pass, wrong ones are found and shrunk, and the stage that is wrong is named."""

from __future__ import annotations

import importlib
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td

check, tensors = td.testing.check, td.testing.tensors
N, ANY = td.TensorSpec(("n",)), td.TensorSpec((None,))


def wrong(f, *specs, match, **options):
    """The text of the error that a check gives."""
    options.setdefault("max_examples", 10)
    with pytest.raises(td.errors.AssertionFailed, match=match) as caught:
        check(f, *specs, **options)
    assert caught.value.location.file == __file__
    return str(caught.value)


# -- what is right passes ----------------------------------------------------------------------------------------------


def test_loops_branches_nests_and_numbers_pass():
    def f(batch, w, n):
        s = batch["x"] @ w
        for _ in td.range(n):
            s = td.tanh(s) + 1.0
        if td.sum(s) > 0:
            s = -s
        return {"s": [s, n], "shape": s.shape, "text": "done", "none": None}

    check(f, {"x": td.TensorSpec(("n", 3))}, td.TensorSpec((3, 2)), 2, max_examples=8)
    check(td.function(f), {"x": tensors((2, 3))}, td.TensorSpec((3, 2)), st.integers(0, 2), max_examples=8)


def test_variables_and_random_numbers_are_as_before():
    v = td.Variable(1.0)
    before = td.random.normal((2,))  # so that the generator has run

    def f(x):
        v.assign_add(td.sum(x))
        return v * td.random.normal(x.shape)

    td.random.seed(3)
    want = td.random.normal((2,)).tolist()
    td.random.seed(3)
    check(f, ANY, max_examples=8)
    assert v.numpy() == 1.0
    assert td.random.normal((2,)).tolist() == want
    assert before.shape == (2,)


def test_errors_of_one_type_agree():
    def f(x):
        assert td.sum(x) < 1e6
        assert td.all(x > 0), "wants positive numbers"
        return td.max(x)  # none of no elements

    check(f, ANY, max_examples=12)
    wrong(lambda x: x + td.ones((7,)), td.TensorSpec((2,)), match="none of .* gave a result.*do not broadcast")


def test_special_values_integers_strings_and_open_signatures_pass():
    check(lambda x: [x * 2.0, td.maximum(x, 0.0), td.isnan(x)], ANY, special=True, gradients=False, max_examples=8)
    check(lambda x, y: [x + y, x // 3], td.TensorSpec(("n",), td.int8), td.TensorSpec(("n",), td.int8), special=True)
    check(lambda a, b: a + b, td.TensorSpec((), td.string), td.TensorSpec((2,), td.string), max_examples=5)
    f = td.function(lambda x: x / (x.shape[0] + 1), input_signature=[ANY])
    check(f, ANY, max_examples=8)
    assert f.trace_count == 0  # the check has traces of its own
    check(lambda a: a + 1, np.arange(3.0))


def test_methods_and_layers_pass():
    class Scale:
        def __init__(self):
            self.w = td.Variable([2.0, 3.0], name="w")

        @td.function
        def __call__(self, x):
            return x * self.w

    check(Scale().__call__, td.TensorSpec((None, 2)), max_examples=6)
    check(td.nn.Dense(3, "relu"), td.TensorSpec(("batch", 4)), max_examples=6)


# -- what is wrong is found --------------------------------------------------------------------------------------------


def test_a_frozen_random_number():
    def f(x):
        return x + random.random()

    text = wrong(f, ANY, match="run eagerly twice")
    assert "td.random" in text


def test_what_only_the_trace_sees_differently():
    def f(x, n):
        return x * 3 if td.is_traced(x) and x.shape[0] > 1 else x * 2

    text = wrong(f, tensors((None,)), 3, match=r"instead of", gradients=False)
    assert "its graph differs from the eager function" in text
    assert "x = td.asarray([" in text
    assert "n = 3" in text


def test_the_values_are_shrunk():
    def f(x):
        return td.where(x > 5, x + 1, x) if td.is_traced(x) else x

    specs = tensors((None,), td.int64, st.integers(0, 100))
    text = wrong(f, specs, match=r"the result is 7 at \[0\], instead of 6", max_examples=60)
    assert "x = td.asarray([6], dtype=td.int64)" in text


def test_a_lost_and_an_extra_write():
    v = td.Variable(1.0, name="total")

    def lost(x):
        if not td.is_traced(x):
            v.assign_add(1.0)
        return x

    def extra(x):
        if td.is_traced(x):
            v.assign_add(1.0)
        return x

    wrong(lost, td.TensorSpec(()), match="the variable 'total' is 1.0, instead of 2.0 afterwards")
    wrong(extra, td.TensorSpec(()), match="the variable 'total' is 2.0, instead of 1.0 afterwards")
    assert v.numpy() == 1.0


def test_a_wrong_gradient():
    @td.custom_gradient
    def double(x):
        return x * 2, lambda g: g * (3 if td.is_traced(g) else 2)

    text = wrong(lambda x: double(x), ANY, match=r'the gradient\["x"\] is')
    assert "its graph differs" in text
    check(lambda x: double(x), ANY, gradients=False, max_examples=4)


def test_dtypes_structures_shapes_and_errors_count():
    def refuse(x):
        if td.is_traced(x):
            raise ValueError("not traced")
        return x

    x = td.TensorSpec((2,))
    wrong(lambda x: td.astype(x, td.float64) if td.is_traced(x) else x, x, match="of dtype float64, instead of float32")
    wrong(lambda x: (x,) if td.is_traced(x) else [x], x, match="instead of")
    wrong(lambda x: td.sum(x) if td.is_traced(x) else x, x, match=r"of shape \(\), instead of \(2,\)")
    wrong(lambda x: "a" if td.is_traced(x) else "b", x, match="'a', instead of 'b'")
    wrong(refuse, x, match="it raises ValueError: not traced")
    wrong(lambda x: x + 1e-3 if td.is_traced(x) else x, x, match="instead of")
    check(lambda x: x + 1e-3 if td.is_traced(x) else x, x, tolerance=1e-2, max_examples=4)


def test_a_wrong_compiler_is_told_from_a_wrong_graph(monkeypatch):
    execution = importlib.import_module("treadle.function.execution")
    made = execution.runner

    def off_by_one(graph):
        run = made(graph)
        return lambda arrays: [a + 1 for a in run(arrays)]

    def f(x):
        return x * 2

    monkeypatch.setattr(execution, "runner", off_by_one)
    text = wrong(f, ANY, match="instead of", gradients=False)
    assert "run node by node, agrees with the eager function; the compiled program differs" in text


# -- the strategy, and what is missing ---------------------------------------------------------------------------------


@settings(derandomize=True, deadline=None, max_examples=30)
@given(tensors(("n", "n", None), st.sampled_from([td.int8, td.float64, td.bool, td.complex64])), tensors((9, 9)))
def test_tensors_have_what_was_asked_for(x, large):
    assert isinstance(x, td.Tensor)
    assert x.ndim == 3
    assert x.shape[0] == x.shape[1]
    assert large.shape == (9, 9)
    assert large.dtype == td.float32
    assert np.isfinite(large.numpy()).all()


def test_sizes_0_and_1_are_drawn():
    seen = set()

    @settings(derandomize=True, deadline=None, max_examples=60)
    @given(tensors((None,)))
    def draw(x):
        seen.add(x.shape[0])

    draw()
    assert {0, 1, 2} <= seen
    with pytest.raises(td.errors.ShapeError, match="sequence of sizes"):
        tensors(3)


def test_without_hypothesis_the_extra_is_named(monkeypatch):
    real = importlib.import_module

    def missing(name, *args):
        if name.startswith("hypothesis"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *args)

    monkeypatch.setattr(importlib, "import_module", missing)
    for ask in (lambda: check(td.sin, 1.0), tensors):
        with pytest.raises(ImportError, match=r"treadle\[testing\]"):
            ask()


def test_hypothesis_is_imported_when_first_used():
    code = "import sys, treadle as td; td.testing.check_grads; print('hypothesis' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
