"""Derivatives as functions over functions: grad, value_and_grad, vjp, jvp, jacobian, hessian."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from treadle import nest
from treadle.autodiff.forward import ForwardAccumulator
from treadle.autodiff.gradient_tape import GradientTape
from treadle.core.dtypes import dtype_name, is_float
from treadle.core.mode import call_user
from treadle.core.tensor import Tensor
from treadle.core.tracer import renamed
from treadle.core.variable import Variable
from treadle.errors import GradientError
from treadle.ops.convert import as_tensor
from treadle.ops.creation import zeros

Argnums = int | tuple[int, ...]


def _as_sources(value: Any, what: str) -> Any:
    """A nest with tensors of its own for leaves, so that an argument given twice is two sources."""

    def one(x: Any) -> Any:
        if isinstance(x, Variable):
            return x
        t = as_tensor(x)
        if not is_float(t.dtype):
            raise GradientError(
                f"{what}: derivatives need floating arguments, got {dtype_name(t.dtype)}; convert it with td.astype"
            )
        return renamed(t)

    return nest.map(one, value)


def _select(args: tuple[Any, ...], argnums: Argnums, what: str) -> tuple[list[Any], tuple[int, ...]]:
    wanted = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for k in wanted:
        if not -len(args) <= k < len(args):
            raise GradientError(f"{what}: argnums names argument {k}, the function was given {len(args)}")
    positions = tuple(k % len(args) for k in wanted)
    changed = list(args)
    for k in positions:
        changed[k] = _as_sources(args[k], what)
    return changed, positions


def value_and_grad(f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that gives `(f(...), gradient)`; f's result must be a scalar tensor.

    argnums: which positional argument(s) to differentiate: an int, or a tuple (then the gradient is a tuple).
    has_aux: f gives `(value, aux)`; the result is `((value, aux), gradient)`.

    >>> import treadle as td
    >>> td.value_and_grad(lambda x: td.sum(x * x))(td.asarray([1., 2.]))
    (Tensor(5., shape=(), dtype=float32), Tensor([2., 4.], shape=(2,), dtype=float32))
    """

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        changed, positions = _select(args, argnums, "grad")
        tape = GradientTape(watch_accessed_variables=False)
        with tape:
            for k in positions:
                tape.watch(changed[k])
            result = call_user(functools.partial(f, **kwargs) if kwargs else f, *changed)
        value = as_tensor(result[0] if has_aux else result)
        if any(size != 1 for size in value.shape) or not is_float(value.dtype):
            raise GradientError(
                f"grad: the function must return a floating scalar, it returned shape {value.shape}, "
                f"dtype {dtype_name(value.dtype)}; sum it, or use td.jacobian"
            )
        sources = [changed[k] for k in positions]
        grads = tape.gradient(value, sources, unconnected="zero")
        out = (value, result[1]) if has_aux else value
        return out, (grads[0] if isinstance(argnums, int) else tuple(grads))

    return wrapped


def grad(f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that gives the gradient of f's scalar result; see `value_and_grad`.

    With `has_aux` it gives `(gradient, aux)`.

    >>> import treadle as td
    >>> td.grad(lambda x: x ** 3)(2.0)
    Tensor(12., shape=(), dtype=float32)
    """
    both = value_and_grad(f, argnums, has_aux)

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapped


def vjp(f: Callable[..., Any], *args: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """`(value, pullback)`: pullback takes a cotangent of the value's structure and gives one for each argument.

    With `has_aux`, f gives `(value, aux)` and the result is `(value, pullback, aux)`.
    """
    changed = [_as_sources(x, "vjp") for x in args]
    tape = GradientTape(persistent=True, watch_accessed_variables=False)
    with tape:
        tape.watch(changed)
        result = call_user(f, *changed)
    value = result[0] if has_aux else result

    def pullback(cotangent: Any) -> tuple[Any, ...]:
        found = tape.gradient(value, changed, output_gradients=cotangent, unconnected="zero")
        return tuple(found)

    return (value, pullback, result[1]) if has_aux else (value, pullback)


def jvp(f: Callable[..., Any], primals: Any, tangents: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """`(value, tangent)`: the value at `primals` and its derivative along `tangents` (tuples of arguments).

    >>> import treadle as td
    >>> td.jvp(lambda x: x ** 3, (2.0,), (1.0,))
    (Tensor(8., shape=(), dtype=float32), Tensor(12., shape=(), dtype=float32))
    """
    if len(primals) != len(tangents):
        raise GradientError(f"jvp: {len(primals)} primals and {len(tangents)} tangents")
    changed = [_as_sources(x, "jvp") for x in primals]
    accumulator = ForwardAccumulator(changed, list(tangents))
    with accumulator:
        result = call_user(f, *changed)
    value = result[0] if has_aux else result
    value = nest.map(as_tensor, value)
    tangent = accumulator.jvp(value, unconnected="zero")
    return (value, tangent, result[1]) if has_aux else (value, tangent)


def jacobian(f: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """A function that gives all first derivatives of f: shape `f(x).shape + x.shape` for each leaf of the argument."""

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        changed, positions = _select(args, argnums, "jacobian")
        tape = GradientTape(watch_accessed_variables=False)
        with tape:
            for k in positions:
                tape.watch(changed[k])
            value = call_user(functools.partial(f, **kwargs) if kwargs else f, *changed)
        found = tape.jacobian(as_tensor(value), [changed[k] for k in positions], unconnected="zero")
        if isinstance(argnums, int):
            return _spread(found[0], value, changed[positions[0]])
        return tuple(_spread(g, value, changed[k]) for g, k in zip(found, positions, strict=True))

    return wrapped


def _spread(found: Any, value: Any, source: Any) -> Any:
    """Zeros for an unconnected source have the source's shape; give them the value's axes too."""

    def one(g: Tensor, x: Any) -> Tensor:
        shape = (*as_tensor(value).shape, *x.shape)
        return g if g.shape == shape else zeros(shape, dtype=g.dtype)

    return nest.map(one, found, source)


def hessian(f: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """A function that gives all second derivatives of a scalar f: shape `x.shape + x.shape`."""
    return jacobian(grad(f, argnums), argnums)


__all__ = ["grad", "hessian", "jacobian", "jvp", "value_and_grad", "vjp"]
