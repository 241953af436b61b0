"""Helpers of the tests of ops: run a function traced, compare values, differences as gradients."""

from __future__ import annotations

import numpy as np

import treadle as td
from treadle import nest
from treadle.autodiff.functional import grad
from treadle.core.interpret import interpret
from treadle.core.tracer import trace


def leaves(value):
    return [x for x in nest.flatten(value) if isinstance(x, td.Tensor)]


def traced(f, *tensors, specs=None):
    """f's results through a graph that is verified and interpreted; and the graph."""
    specs = specs or [x.spec for x in tensors]
    made = trace(lambda *xs: leaves(f(*xs)), specs, "f")
    made.graph.verify()
    extra = [*made.captures, *(v.value for v in made.reads)]
    outputs = interpret(made.graph, [*tensors, *extra])
    return outputs[: len(outputs) - len(made.writes)], made.graph


def same(a, b, rtol=0.0):
    a, b = np.asarray(a), np.asarray(b)
    assert a.dtype == b.dtype, (a.dtype, b.dtype)
    assert a.shape == b.shape, (a.shape, b.shape)
    if a.dtype.kind in "fc":
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol, equal_nan=True)
    else:
        assert (a == b).all(), (a, b)


def agrees(f, *tensors):
    """Eager and traced runs of f give the same values, and the specs that were inferred hold. Gives the op names."""
    with np.errstate(all="ignore"):
        eager = leaves(f(*tensors))
        outputs, graph = traced(f, *tensors)
    assert len(eager) == len(outputs) > 0
    for one, other, symbol in zip(eager, outputs, graph.outputs):
        same(one.array, other.array)
        assert len(symbol.shape) == len(one.shape)  # a size that only running tells is a td.Dim
        assert all(type(a) is not int or a == b for a, b in zip(symbol.shape, one.shape, strict=True))
        assert symbol.dtype == one.dtype
    return {node.op for node in graph.walk()}


def differences(f, x, step=1e-5):
    """The gradient of a scalar function of one float64 array by central differences."""
    result = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        moved = [x.copy(), x.copy()]
        moved[0][index] += step
        moved[1][index] -= step
        result[index] = (f(moved[0]) - f(moved[1])) / (2 * step)
    return result


def check_gradients(f, *arrays, order=2, tolerance=1e-5):
    """First and second derivatives of f (float64 tensors to one tensor) against central differences."""
    rng = np.random.default_rng(3)
    arrays = tuple(np.asarray(a) for a in arrays)
    weights = rng.normal(size=f(*[td.asarray(a) for a in arrays]).shape)
    directions = [rng.normal(size=a.shape) for a in arrays]
    every = tuple(range(len(arrays)))

    def scalar(*xs):
        return td.sum(f(*xs) * weights)

    def slope(*xs):
        grads = grad(scalar, argnums=every)(*xs)
        total = td.asarray(0.0, td.float64)
        for g, v in zip(grads, directions):
            total = total + td.sum(g * v)
        return total

    for function in (scalar, slope)[:order]:
        grads = grad(function, argnums=every)(*[td.asarray(a) for a in arrays])
        for k in every:

            def moved(a, k=k):
                return function(*[td.asarray(a if j == k else b) for j, b in enumerate(arrays)]).item()

            numeric = differences(moved, arrays[k])
            np.testing.assert_allclose(
                grads[k].numpy(), numeric, rtol=tolerance, atol=tolerance, err_msg=function.__name__
            )
