"""Runs a function as plain Python on NumPy values, eagerly, compiled and interpreted, and compares what comes of it."""

from __future__ import annotations

import numpy as np

import treadle as td
from treadle import nest
from treadle.control.call import interpret_arrays


class Cases(list):
    """Functions, each with argument tuples and the control flow nodes wanted in its graph (None: any)."""

    def __call__(self, function, *arguments, nodes=None):
        self.append((function, arguments, nodes))
        return function

    @property
    def names(self):
        return [function.__name__ for function, _, _ in self]


def tensors(arguments):
    """The arguments with arrays and NumPy numbers as tensors."""

    def tensor(x):
        return td.asarray(x) if isinstance(x, (np.ndarray, np.generic)) else x

    return [nest.map(tensor, a) for a in arguments]


def outcome(function, *arguments):
    """What a call gives, or the exception that it raises."""
    try:
        return function(*arguments)
    except Exception as error:
        return error


def interpreted(function):
    """The traced function with its graphs run node by node."""
    traced = td.function(function)

    def call(*arguments):
        graph = traced.trace(*arguments).graph
        graph.derived["run"] = lambda arrays: interpret_arrays(graph, list(arrays))
        return traced(*arguments)

    return call


def agree(got, wanted, how):
    """The same values, or an exception of the same type that says at least the same."""
    if isinstance(wanted, Exception):
        assert isinstance(got, type(wanted)), f"{how}: {got!r} instead of {wanted!r}"
        text = str(wanted).partition("\n")[0]  # pytest adds a line to Python's own assertions
        assert text in str(got), f"{how}: {got} instead of {wanted}"
        return
    if isinstance(got, Exception):
        raise AssertionError(f"{how}: {got!r} instead of {wanted!r}") from got
    left, right = nest.flatten(got), nest.flatten(wanted)
    assert len(left) == len(right), f"{how}: {got} instead of {wanted}"
    for x, y in zip(left, right, strict=True):
        if y is None or isinstance(y, str):
            assert x == y, how
        else:
            np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=1e-5, atol=1e-6, err_msg=how)


def check(function, cases, nodes=None):
    """Every way of running gives what plain Python gives; `nodes` are the graph's control flow, outermost only."""
    traced = td.function(function)
    ways = {"eager": function, "compiled": traced, "interpreted": interpreted(function)}
    for arguments in cases:
        wanted = outcome(function, *arguments)
        for how, way in ways.items():
            agree(outcome(way, *tensors(arguments)), wanted, f"{how}, {arguments}")
    if nodes is not None:
        assert [n.op for n in traced.traces[0].graph.nodes if n.op in ("cond", "while")] == nodes


def check_gradients(function, x, order=2):
    """Gradients up to this order, traced, are those of eager code."""

    def gradient(f):
        def derivative(x):
            with td.GradientTape() as tape:
                tape.watch(x)
                value = f(x)
            return tape.gradient(value, x)

        return derivative

    derivative = function
    for k in range(order):
        derivative = gradient(derivative) if k == 0 else gradient(lambda x, d=derivative: td.sum(d(x)))
        for way in (td.function(derivative), interpreted(derivative)):
            np.testing.assert_allclose(way(x).numpy(), derivative(x).numpy(), rtol=1e-5, atol=1e-6)
