"""`td.checkpoint`: keep no residuals of a function; its gradient runs the function once more."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from treadle import nest
from treadle.control.again import Again, First
from treadle.control.call import CallOp, _body, _infer, call, zeros_like
from treadle.core.dtypes import is_float
from treadle.core.graph import quiet
from treadle.core.interpret import interpret
from treadle.core.mode import activate, call_user, current
from treadle.core.op import Attrs, Grad, Op, Pullback, register
from treadle.core.tensor import Tensor
from treadle.core.tracer import Tracer, active_tracer, trace
from treadle.core.variable import Variable, read_variable, write_variable
from treadle.errors import GradientError

Record = tuple[tuple[Tensor, ...], Pullback]


class CheckpointOp(CallOp):
    """A call whose gradient takes the inputs for residuals, and computes the others again."""

    __slots__ = ()

    def record(self, inputs: tuple[Tensor, ...], attrs: dict[str, Any], needed: Sequence[bool]) -> Record:
        from treadle.autodiff.split import split  # autodiff runs ops, and this op, so it is imported late

        if any(node.op == "dataset_start" for node in attrs["graph"].walk()):
            raise GradientError(
                f"{attrs['label']} is checkpointed and loops over a dataset: its gradient would run over it once more, "
                "perhaps in another order; put the loop outside and checkpoint its body"
            )
        parts = split(attrs["graph"], tuple(needed))
        outputs = self.bind(inputs, attrs)
        if not parts.gradients:
            return outputs, lambda grads: [None] * len(inputs)
        forward, count = quiet(parts.forward), len(outputs)

        def again(*values: Tensor) -> list[Tensor]:
            seeds, given = values[: len(parts.cotangents)], values[len(parts.cotangents) :]
            return interpret(parts.backward, [*seeds, *interpret(forward, given, {})[count:]], {})

        def pullback(grads: Sequence[Grad]) -> Sequence[Grad]:
            seeds = [g if (g := grads[k]) is not None else zeros_like(outputs[k]) for k in parts.cotangents]
            graph = trace(again, [x.spec for x in (*seeds, *inputs)], f"{attrs['label']}_again", closed=True).graph
            found: list[Grad] = [None] * len(inputs)
            made = call(graph, [*seeds, *inputs], label=f"{attrs['label']}_gradient")
            for k, g in zip(parts.gradients, made, strict=True):
                found[k] = g
            return found

        return outputs, pullback


class _Eager:
    """One eager call: what it gave, how to run it again, and how many of the op's inputs are reads of variables."""

    __slots__ = ("function", "outputs", "reads")

    def __init__(self, function: Callable[[], list[Tensor]], outputs: list[Tensor], reads: int) -> None:
        self.function = function
        self.outputs: list[Tensor] | None = outputs
        self.reads = reads


class EagerCheckpointOp(Op):
    """Tensors that the function used, then what it read of variables -> what it gave, when it ran before."""

    __slots__ = ()

    @property
    def differentiable(self) -> bool:
        return True

    def run(self, inputs: Sequence[Tensor], attrs: Attrs) -> tuple[Tensor, ...]:
        cell: _Eager = attrs["cell"]
        outputs, cell.outputs = cell.outputs, None
        assert outputs is not None
        return tuple(Tensor(y.array) for y in outputs)

    def record(self, inputs: tuple[Tensor, ...], attrs: dict[str, Any], needed: Sequence[bool]) -> Record:
        from treadle.autodiff.tape import Tape

        outputs = self.bind(inputs, attrs)
        cell: _Eager = attrs["cell"]

        def pullback(grads: Sequence[Grad]) -> Sequence[Grad]:
            tape = Tape(watch_variables=False)
            tape.outer = current()
            for x, wanted in zip(inputs, needed, strict=True):
                if wanted and is_float(x.dtype):
                    tape.watch(x)
            with activate(tape), activate(Again(inputs[len(inputs) - cell.reads :])):
                made = cell.function()
            if len(made) != len(outputs):
                raise GradientError("checkpoint: the function gave other results when it ran again for its gradient")
            pairs = [(y, g) for y, g in zip(made, grads, strict=True) if g is not None and id(y) in tape.watched]
            return tape.backward([y for y, _ in pairs], [g for _, g in pairs], [[x] for x in inputs])

        return outputs, pullback


checkpoint_op = register(CheckpointOp("checkpoint", _body, _infer, family="graph", multiple=True))
eager_checkpoint_op = register(
    EagerCheckpointOp("checkpoint_eager", lambda *xs: xs, lambda s, a: (), family="graph", multiple=True)
)


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, of which a gradient keeps only what goes in: the backward pass computes the rest again.

    It saves memory and costs one more run. f must do the same each time; random numbers are drawn once and used twice.

    >>> import treadle as td
    >>> td.grad(td.checkpoint(lambda x: td.sin(x) * x))(0.0)
    Tensor(0., shape=(), dtype=float32)
    """

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if current() is None:
            return f(*args, **kwargs)
        run = functools.partial(f, **kwargs) if kwargs else f
        if active_tracer() is None:
            return _eagerly(run, args)
        return _traced(run, args, getattr(f, "__name__", "checkpoint").strip("<>"))

    return wrapped


def _results(run: Callable[..., Any], args: tuple[Any, ...]) -> tuple[list[Any], nest.Structure, list[int]]:
    """What a run gives: its leaves, their structure, and which of them are tensors."""
    leaves, shape = nest.flatten_with_structure(call_user(run, *args))
    leaves = [read_variable(x) if isinstance(x, Variable) else x for x in leaves]
    return leaves, shape, [k for k, x in enumerate(leaves) if isinstance(x, Tensor)]


def _rebuilt(leaves: list[Any], shape: nest.Structure, places: list[int], made: Sequence[Tensor]) -> Any:
    for k, y in zip(places, made, strict=True):
        leaves[k] = y
    return nest.unflatten(shape, leaves)


def _eagerly(run: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    first = First(current())
    with activate(first):
        leaves, shape, places = _results(run, args)

    def again() -> list[Tensor]:
        found, _, where = _results(run, args)
        return [found[k] for k in where]

    given = [leaves[k] for k in places]
    reads = [value for _, value in first.reads]
    for y in given:
        if not first.made(y):
            first.outside.setdefault(id(y), y)  # handed through as it came
    cell = _Eager(again, given, len(reads))
    made = eager_checkpoint_op.bind((*first.outside.values(), *reads), {"cell": cell})
    return _rebuilt(leaves, shape, places, made)


def _traced(run: Callable[..., Any], args: tuple[Any, ...], label: str) -> Any:
    around = active_tracer()
    assert around is not None
    tracer = Tracer(label, around.scope)
    tracer.origin = around.origin
    with activate(tracer):
        leaves, shape, places = _results(run, args)
        traced = tracer.finish([leaves[k] for k in places])
    operands = (*traced.captures, *(read_variable(v) for v in traced.reads))
    made = checkpoint_op.bind(operands, {"graph": traced.graph, "label": label})
    for variable, value in zip(traced.writes, made[len(places) :], strict=True):
        write_variable(variable, value)
    return _rebuilt(leaves, shape, places, made[: len(places)])


__all__ = ["checkpoint"]
