"""Forward mode: each op pushes tangents along with values. An op's rule is its gradient rule, transposed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle import nest
from treadle.autodiff.tape import Tape
from treadle.core.dtypes import is_float
from treadle.core.graph import Graph
from treadle.core.interpret import interpret
from treadle.core.mode import Mode, _current, activate, current
from treadle.core.op import REGISTRY, Grad, Op
from treadle.core.spec import Spec
from treadle.core.tensor import Scope, Symbol, Tensor
from treadle.core.tracer import Tracer, active_tracer, identity_op, renamed
from treadle.core.variable import Variable, read_variable, write_variable
from treadle.errors import GradientError
from treadle.ops.convert import as_tensor, cast
from treadle.ops.creation import zeros
from treadle.ops.elementwise import add


class Forward(Mode):
    """Carries a tangent beside each tensor that depends on a primal."""

    def __init__(self) -> None:
        self.tangents: dict[int, tuple[Tensor, Tensor]] = {}
        self.variables: dict[int, tuple[Variable, Tensor]] = {}

    def process(self, op: Op, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> tuple[Tensor, ...]:
        tangents: list[Grad] = [self.tangent(x) for x in inputs]
        with activate(self.outer):
            if not op.differentiable or all(t is None for t in tangents):
                return op.bind(inputs, attrs)
            outputs, made = push(op, inputs, attrs, tangents)
        for y, t in zip(outputs, made, strict=True):
            if t is not None:
                self.tangents[id(y)] = (y, t)
        return outputs

    def tangent(self, x: Tensor) -> Grad:
        """The tangent of a tensor, or None for zero."""
        found = self.tangents.get(id(x))
        return found[1] if found is not None else None

    def read(self, variable: Variable) -> Tensor:
        with activate(self.outer):
            value = read_variable(variable)
            if isinstance(value, Symbol):
                value = renamed(value)
        found = self.variables.get(id(variable))
        if found is not None:
            self.tangents[id(value)] = (value, found[1])
        return value

    def write(self, variable: Variable, value: Tensor) -> None:
        """An assignment passes no tangent on, as it passes no gradient: every read counts as one of the variable."""
        with activate(self.outer):
            write_variable(variable, value)


def push(
    op: Op, inputs: tuple[Tensor, ...], attrs: dict[str, Any], tangents: Sequence[Grad]
) -> tuple[tuple[Tensor, ...], Sequence[Grad]]:
    """Outputs and their tangents, in the current mode. Ops that hold graphs have a rule of their own."""
    own = getattr(op, "push", None)
    if own is not None:
        # A size that only running tells may have another name in a tangent; graphs have one name for both.
        alike = [
            t if t is None or t.shape == x.shape else REGISTRY["reshape_as"].bind((t, x), {})[0]
            for x, t in zip(inputs, tangents, strict=True)
        ]
        return own(inputs, attrs, alike)  # type: ignore[no-any-return]
    needed = [t is not None for t in tangents]
    outputs, pullback = op.record(inputs, attrs, needed)
    # u -> pullback(u) is linear; its transpose, applied to the tangents, is the tangent of the outputs.
    dummies = [_like(y) if is_float(y.dtype) else None for y in outputs]
    tape = Tape(watch_variables=False)
    tape.outer = current()
    for u in dummies:
        if u is not None:
            tape.watch(u)
    with activate(tape):
        grads = pullback(dummies)
    pairs = [(g, t) for g, t in zip(grads, tangents, strict=True) if g is not None and t is not None]
    made = tape.backward([g for g, _ in pairs], [t for _, t in pairs], [[u] if u is not None else [] for u in dummies])
    return outputs, made


def _like(y: Tensor) -> Tensor:
    """Any tensor of this shape, which may be one that only running tells."""
    return zeros(y.shape, dtype=y.dtype) if y.spec.static else identity_op.bind((y,), {})[0]


def jvp_graph(graph: Graph, active: tuple[bool, ...]) -> tuple[Graph, tuple[int, ...]]:
    """The graph with tangents: inputs, then tangents of the active inputs -> outputs, then tangents of some outputs.

    The second result lists which outputs have one.
    """
    key = ("jvp", active)
    found = graph.derived.get(key)
    if found is None:
        found = graph.derived[key] = _jvp_graph(graph, active)
    return found


def _jvp_graph(graph: Graph, active: tuple[bool, ...]) -> tuple[Graph, tuple[int, ...]]:
    tracer = Tracer(f"{graph.name}_jvp")
    inputs = [tracer.input(Spec(s.shape, s.dtype), s.name) for s in graph.inputs]
    forward = Forward()
    forward.outer = tracer
    for x, on in zip(inputs, active, strict=True):
        if on:
            tangent = tracer.input(Spec(x.shape, x.dtype), f"t_{x.name}")
            forward.tangents[id(x)] = (x, tangent)
    with activate(forward):
        outputs = interpret(graph, inputs, {})
    tangents = [forward.tangent(y) for y in outputs]
    with activate(tracer):
        made = tracer.finish([*outputs, *(t for t in tangents if t is not None)]).graph
    return made, tuple(k for k, t in enumerate(tangents) if t is not None)


class ForwardAccumulator:
    """Forward-mode derivatives: tangents of the primals travel along with what is computed.

    >>> import treadle as td
    >>> x = td.asarray(2.0)
    >>> with td.ForwardAccumulator(x, td.asarray(1.0)) as acc:
    ...     y = x * x * x
    >>> acc.jvp(y)
    Tensor(12., shape=(), dtype=float32)
    """

    def __init__(self, primals: Any, tangents: Any) -> None:
        self._mode = Forward()
        self._tokens: list[Any] = []
        self._scope: Scope | None = None
        xs, shape = nest.flatten_with_structure(primals)
        ts, other = nest.flatten_with_structure(tangents)
        if shape != other:
            raise GradientError(f"ForwardAccumulator: primals {shape!r} and tangents {other!r} differ in structure")
        for x, given in zip(xs, ts, strict=True):
            if not isinstance(x, (Tensor, Variable)) or not is_float(x.dtype):
                raise GradientError("ForwardAccumulator: primals must be floating tensors or variables; use td.asarray")
            t = cast(as_tensor(given), x.dtype)
            if t.shape != x.shape:
                raise GradientError(f"ForwardAccumulator: a tangent has shape {t.shape}, its primal {x.shape}")
            if isinstance(x, Variable):
                self._mode.variables[id(x)] = (x, t)
            else:
                before = self._mode.tangent(x)
                self._mode.tangents[id(x)] = (x, t if before is None else add(before, t))

    def __enter__(self) -> ForwardAccumulator:
        if self._tokens:
            raise GradientError("this ForwardAccumulator is already recording; enter it once, or use a second one")
        tracer = active_tracer()
        self._scope = tracer.scope if tracer is not None else None
        self._mode.outer = current()
        self._tokens.append(_current.set(self._mode))
        return self

    def __exit__(self, *exc_info: object) -> None:
        _current.reset(self._tokens.pop())

    def _check_seen(self, y: Tensor) -> None:
        if (
            isinstance(y, Symbol)
            and y.scope.owner is not self._scope
            and (self._scope is None or self._scope.encloses(y.scope))
        ):
            raise GradientError(
                f"jvp: the tensor {y.name!r} was made inside a function, branch or loop body that is one operation to "
                "this accumulator, entered outside it; ask for tangents of its results, or enter one inside"
            )

    def jvp(self, target: Any, unconnected: str = "none") -> Any:
        """The tangent of each tensor in a nest; None (or zeros) where it does not depend on the primals.

        Raises GradientError for a tensor of a trace, branch or loop body that began inside the accumulator.
        """
        if unconnected not in ("none", "zero"):
            raise GradientError(f'jvp: unconnected must be "none" or "zero", got {unconnected!r}')

        def one(y: Any) -> Grad:
            if isinstance(y, Variable):
                found = self._mode.variables[id(y)][1] if id(y) in self._mode.variables else None
            elif isinstance(y, Tensor):
                self._check_seen(y)
                found = self._mode.tangent(y)
            else:
                raise GradientError(f"jvp: takes tensors and variables, got {type(y).__name__}")
            if found is None and unconnected == "zero":
                return zeros(y.shape, dtype=y.dtype)
            return found

        return nest.map(one, target)
