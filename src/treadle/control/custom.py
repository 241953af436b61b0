"""`td.custom_gradient`: a function with a gradient of its own, as one op; and `td.gradient_hook`, built on it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from treadle import nest
from treadle.control.again import Again, First
from treadle.control.call import call, interpret_arrays, run_graph, zeros_like
from treadle.core.dtypes import is_float
from treadle.core.graph import Graph, quiet
from treadle.core.mode import activate, call_user, current
from treadle.core.op import Attrs, Grad, Op, Pullback, register
from treadle.core.spec import Spec
from treadle.core.tensor import Tensor
from treadle.core.tracer import Tracer, active_tracer
from treadle.core.variable import Variable, read_variable, write_variable
from treadle.errors import GradientError
from treadle.ops.convert import as_tensor, cast


class _Eager:
    """One eager call: the user's function, and after it has run its gradient function and what it read."""

    __slots__ = ("answers", "function", "grad_fn")

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.grad_fn: Callable[..., Any] | None = None
        self.answers: list[Tensor | None] = []


class EagerCustomOp(Op):
    """inputs -> what the user's function gives; its pullback is the user's."""

    __slots__ = ()

    @property
    def differentiable(self) -> bool:
        return True

    def run(self, inputs: Sequence[Tensor], attrs: Attrs) -> tuple[Tensor, ...]:
        cell: _Eager = attrs["cell"]
        first = First(None)
        with activate(first):
            outputs, cell.grad_fn = cell.function(*inputs)
        # Values of variables that it assigned are gone; others are read again, so that gradients reach them.
        cell.answers = [value if id(v) in first.written else None for v, value in first.reads]
        return tuple(Tensor(y.array) for y in outputs)

    def record(
        self, inputs: tuple[Tensor, ...], attrs: dict[str, Any], needed: Sequence[bool]
    ) -> tuple[tuple[Tensor, ...], Pullback]:
        outputs = self.bind(inputs, attrs)
        cell: _Eager = attrs["cell"]
        grad_fn = cell.grad_fn
        if current() is not None:
            # A mode outside differentiates the gradient too, so it must see how what it uses was computed.
            with activate(Again(cell.answers)):
                _, grad_fn = cell.function(*inputs)

        def pullback(grads: Sequence[Grad]) -> Sequence[Grad]:
            assert grad_fn is not None
            return grad_fn(*_seeds(grads, outputs))  # type: ignore[no-any-return]

        return outputs, pullback


def _seeds(grads: Sequence[Grad], outputs: Sequence[Tensor]) -> list[Tensor]:
    return [g if g is not None else zeros_like(y) for g, y in zip(grads, outputs, strict=True)]


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
            seeds = _seeds(grads, outputs)[: len(attrs["backward"].inputs) - len(residuals)]
            back = call(attrs["backward"], [*seeds, *residuals], label=f"{attrs['label']}_gradient")
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
        kind: Any = f

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

    if inspect.isclass(f):
        del wrapped.__wrapped__  # its signature is not that of the class, which is never called
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
        result = call_user(
            functools.partial(function, **kwargs) if kwargs else function, *nest.unflatten(shape, filled)
        )
        if not isinstance(result, tuple) or len(result) != 2 or not callable(result[1]):
            raise GradientError(
                f"custom_gradient: {label} must return (value, gradient function), two values in a tuple"
            )
        flat, found = nest.flatten_with_structure(result[0])
        out_shape.append(found)

        def grad_fn(*cotangents: Tensor) -> list[Grad]:
            given = call_user(result[1], *cotangents)
            grads = list(given) if isinstance(given, (tuple, list)) else [given]
            if len(grads) != len(inputs):
                raise GradientError(
                    f"custom_gradient: the gradient of {label} gave {len(grads)} values for {len(inputs)} tensors; "
                    "return one for each tensor argument, None where there is none"
                )
            return [_checked(label, k, g, x) for k, (g, x) in enumerate(zip(grads, inputs, strict=True))]

        return [as_tensor(y) for y in flat], grad_fn

    outputs: Sequence[Tensor]
    if active_tracer() is None:
        outputs = eager_custom_op.bind(tensors, {"cell": _Eager(run)})
    else:
        outputs = _traced(run, label, tensors)
    return nest.unflatten(out_shape[-1], outputs)


def _checked(label: str, position: int, gradient: Any, x: Tensor) -> Grad:
    """A gradient as the tensor that it must be: of the argument's shape and dtype."""
    if gradient is None or not is_float(x.dtype):
        return None
    g = as_tensor(gradient)
    if len(g.shape) != len(x.shape) or any(
        isinstance(a, int) and isinstance(b, int) and a != b for a, b in zip(g.shape, x.shape, strict=True)
    ):
        raise GradientError(
            f"custom_gradient: the gradient of {label} with respect to tensor {position} has shape {g.shape}; "
            f"it must be that of the tensor, {x.shape}"
        )
    return cast(g, x.dtype)


def _traced(run: Callable[..., Any], label: str, tensors: tuple[Tensor, ...]) -> Sequence[Tensor]:
    """Trace the function and its gradient at once: what the gradient uses of the function are its residuals."""
    around = active_tracer()
    assert around is not None
    forward = _sub_tracer(label, around)
    inputs = [forward.input(Spec(x.shape, x.dtype), f"x{k}") for k, x in enumerate(tensors)]
    with activate(forward):
        outputs, grad_fn = run(*inputs)
        outputs = [forward.lift(y) for y in outputs]
    backward = _sub_tracer(f"{label}_gradient", forward)
    with activate(backward):
        seeds = [backward.input(Spec(y.shape, y.dtype), f"g{k}") for k, y in enumerate(outputs)]
        grads = grad_fn(*seeds)
        made = tuple(k for k, g in enumerate(grads) if g is not None)
        back = backward.finish([grads[k] for k in made])
    if back.writes:
        raise GradientError(
            f"custom_gradient: the gradient of {label} assigns the variable {back.writes[0].name!r}, which a traced "
            "gradient cannot do; return the value, or assign it outside the function"
        )
    with activate(forward):
        # Variables that the gradient reads count as residuals: it uses the values that the function saw.
        residuals = [forward.lift(x) for x in (*back.captures, *(read_variable(v) for v in back.reads))]
        front = forward.finish([*outputs, *residuals])
    count, total = len(outputs), len(outputs) + len(residuals)
    inside, ends = front.graph.inputs, front.graph.outputs
    graph = Graph(label, inside, front.graph.nodes, (*ends[:count], *ends[total:]))
    rest = Graph(f"{label}_residuals", inside, front.graph.nodes, ends[count:total])
    attrs = {"graph": graph, "residuals": quiet(rest), "backward": back.graph, "made": made, "label": label}
    operands = (*tensors, *front.captures, *(read_variable(v) for v in front.reads))
    results = custom_op.bind(operands, attrs)
    for variable, value in zip(front.writes, results[count:], strict=True):
        write_variable(variable, value)
    return results[:count]


def _sub_tracer(name: str, around: Tracer) -> Tracer:
    tracer = Tracer(name, around.scope)
    tracer.origin = around.origin
    return tracer


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
