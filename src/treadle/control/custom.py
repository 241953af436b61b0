"""`td.custom_gradient`: a function with a gradient of its own, as one op; and `td.gradient_hook`, built on it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from treadle import nest
from treadle.control.call import call, interpret_arrays, run_graph, zeros_like_spec
from treadle.core.dtypes import is_float
from treadle.core.graph import Graph
from treadle.core.mode import activate, call_user
from treadle.core.op import Attrs, Grad, Op, Pullback, register
from treadle.core.spec import Spec
from treadle.core.tensor import Tensor
from treadle.core.tracer import Tracer, active_tracer
from treadle.core.variable import Variable
from treadle.errors import GradientError
from treadle.ops.convert import as_tensor


class _Eager:
    """One eager call: runs the user's function once and keeps its gradient function for every tape that asks."""

    __slots__ = ("function", "grad_fn")

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.grad_fn: Callable[..., Any] | None = None


class EagerCustomOp(Op):
    """inputs -> what the user's function gives; its pullback is the user's."""

    __slots__ = ()

    @property
    def differentiable(self) -> bool:
        return True

    def run(self, inputs: Sequence[Tensor], attrs: Attrs) -> tuple[Tensor, ...]:
        cell: _Eager = attrs["cell"]
        with activate(None):
            outputs, cell.grad_fn = cell.function(*inputs)
        return tuple(Tensor(y.array) for y in outputs)

    def record(
        self, inputs: tuple[Tensor, ...], attrs: dict[str, Any], needed: Sequence[bool]
    ) -> tuple[tuple[Tensor, ...], Pullback]:
        outputs = self.bind(inputs, attrs)
        cell: _Eager = attrs["cell"]

        def pullback(grads: Sequence[Grad]) -> Sequence[Grad]:
            assert cell.grad_fn is not None
            return cell.grad_fn(*_seeds(grads, outputs))  # type: ignore[no-any-return]

        return outputs, pullback


def _seeds(grads: Sequence[Grad], outputs: Sequence[Tensor]) -> list[Tensor]:
    return [g if g is not None else zeros_like_spec(y.spec) for g, y in zip(grads, outputs, strict=True)]


class CustomOp(Op):
    """inputs -> outputs of attrs["graph"]; attrs["residuals"] and attrs["backward"] are the user's gradient, traced."""

    __slots__ = ()

    @property
    def differentiable(self) -> bool:
        return True

    def record(
        self, inputs: tuple[Tensor, ...], attrs: dict[str, Any], needed: Sequence[bool]
    ) -> tuple[tuple[Tensor, ...], Pullback]:
        outputs = self.bind(inputs, attrs)
        residuals = call(attrs["residuals"], inputs)
        made: tuple[int, ...] = attrs["made"]

        def pullback(grads: Sequence[Grad]) -> Sequence[Grad]:
            found: list[Grad] = [None] * len(inputs)
            back = call(attrs["backward"], [*_seeds(grads, outputs), *residuals], label=f"{attrs['label']}_gradient")
            for k, g in zip(made, back, strict=True):
                found[k] = g
            return found

        return outputs, pullback


def _infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    return tuple(Spec(s.shape, s.dtype) for s in attrs["graph"].outputs)


def _run(*arrays: Any, graph: Graph, residuals: Graph, backward: Graph, made: Any, label: str) -> Any:
    return run_graph(graph, arrays)


custom_op = register(CustomOp("custom_gradient", _run, _infer, family="graph", multiple=True))
eager_custom_op = register(
    EagerCustomOp("custom_gradient_eager", interpret_arrays, lambda s, a: (), family="graph", multiple=True)
)


class Context:
    """What a custom gradient's `forward` leaves for its `backward`."""

    def __init__(self) -> None:
        self.saved_tensors: tuple[Any, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors; `saved_tensors` gives them back."""
        self.saved_tensors = tensors


def custom_gradient(f: Any) -> Callable[..., Any]:
    """A function with a gradient of its own.

    f: a function that returns `(value, grad_fn)`, where `grad_fn(*cotangents)` gives the gradient of each tensor
    argument; or a class with static methods `forward(ctx, *args)` and `backward(ctx, *cotangents)`.

    >>> import treadle as td
    >>> @td.custom_gradient
    ... def clipped(x):
    ...     return x, lambda g: td.clip(g, -1., 1.)
    >>> td.grad(lambda x: 10. * clipped(x))(2.0)
    Tensor(1., shape=(), dtype=float32)
    """
    if inspect.isclass(f):
        kind = f

        def both(*args: Any) -> Any:
            ctx = Context()
            return kind.forward(ctx, *args), functools.partial(kind.backward, ctx)

        function: Callable[..., Any] = both
    else:
        function = f
    label = getattr(f, "__name__", "custom_gradient")

    @functools.wraps(f, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return _apply(function, label, args, kwargs)

    return wrapped


def _apply(function: Callable[..., Any], label: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    leaves, shape = nest.flatten_with_structure(args)
    places = [k for k, x in enumerate(leaves) if isinstance(x, (Tensor, Variable))]
    tensors = tuple(as_tensor(leaves[k]) for k in places)
    out_shape: list[nest.Structure] = []

    def run(*inputs: Tensor) -> tuple[list[Tensor], Callable[..., Any]]:
        filled = list(leaves)
        for k, x in zip(places, inputs, strict=True):
            filled[k] = x
        result = call_user(functools.partial(function, **kwargs) if kwargs else function, *nest.unflatten(shape, filled))
        if not isinstance(result, tuple) or len(result) != 2 or not callable(result[1]):
            raise GradientError(f"custom_gradient: {label} must return (value, gradient function)")
        flat, found = nest.flatten_with_structure(result[0])
        out_shape.append(found)

        def grad_fn(*cotangents: Tensor) -> list[Grad]:
            given = call_user(result[1], *cotangents)
            grads = list(given) if isinstance(given, (tuple, list)) else [given]
            if len(grads) != len(inputs):
                raise GradientError(
                    f"custom_gradient: the gradient of {label} gave {len(grads)} values for {len(inputs)} tensors"
                )
            return [None if g is None else as_tensor(g) for g in grads]

        return [as_tensor(y) for y in flat], grad_fn

    if active_tracer() is None:
        outputs = eager_custom_op.bind(tensors, {"cell": _Eager(run)})
    else:
        outputs = _traced(run, label, tensors)
    return nest.unflatten(out_shape[-1], outputs)


def _traced(run: Callable[..., Any], label: str, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Trace the function and its gradient at once: what the gradient uses of the function are its residuals."""
    around = active_tracer()
    assert around is not None
    forward = Tracer(label, around.scope)
    inputs = [forward.input(Spec(x.shape, x.dtype), f"x{k}") for k, x in enumerate(tensors)]
    with activate(forward):
        outputs, grad_fn = run(*inputs)
        outputs = [forward.lift(y) for y in outputs]
    backward = Tracer(f"{label}_gradient", forward.scope)
    with activate(backward):
        seeds = [backward.input(Spec(y.shape, y.dtype), f"g{k}") for k, y in enumerate(outputs)]
        grads = grad_fn(*seeds)
        made = tuple(k for k, g in enumerate(grads) if g is not None and is_float(tensors[k].dtype))
        back = backward.finish([grads[k] for k in made])
    with activate(forward):
        residuals = [forward.lift(x) for x in back.captures]
        front = forward.finish([*outputs, *residuals])
    count = len(outputs)
    graph, rest = (
        Graph(name, front.graph.inputs, front.graph.nodes, ends)
        for name, ends in ((label, front.graph.outputs[:count]), (f"{label}_residuals", front.graph.outputs[count:]))
    )
    attrs = {"graph": graph, "residuals": rest, "backward": back.graph, "made": made, "label": label}
    return custom_op.bind((*tensors, *front.captures), attrs)


def gradient_hook(x: Any, callback: Callable[[Tensor], Any]) -> Tensor:
    """x itself; in the backward pass `callback(g)` sees the gradient that flows through, and may replace it.

    In a graph the callback is traced like any code: use `td.print` to see values at each run.
    """

    def hooked(value: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        def back(g: Tensor) -> Tensor:
            replaced = callback(g)
            return g if replaced is None else replaced

        return value, back

    hooked.__name__ = getattr(callback, "__name__", "gradient_hook").strip("<>")
    return custom_gradient(hooked)(as_tensor(x))  # type: ignore[no-any-return]


__all__ = ["Context", "custom_gradient", "gradient_hook"]
