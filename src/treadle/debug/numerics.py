"""`td.debug.check_numerics`: a mode that looks at what each op gives, and puts the same checks into graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle.core.dtypes import dtype_name
from treadle.core.graph import Graph
from treadle.core.interpret import interpret
from treadle.core.mode import Mode, _current, activate, current
from treadle.core.op import Array, Op
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol, Tensor
from treadle.core.tracer import Tracer
from treadle.core.variable import Variable, read_variable, write_variable
from treadle.debug.summary import bad
from treadle.errors import Location, NumericsError, user_location
from treadle.ops.effects import Where
from treadle.ops.families import declare


def _check(array: Array, name: str, location: Location | None) -> None:
    """Raise when a value is NaN or infinite."""
    finite = np.isfinite(array)
    if finite.all():
        return
    first = "" if not array.ndim else f", the first at {[int(k) for k in np.argwhere(~finite)[0]]}"
    shape = f"{dtype_name(array.dtype)}[{', '.join(map(str, array.shape))}]"
    raise NumericsError(f"{name} gave {shape} with {bad(array)[2:]} of {array.size} values{first}", location)


def _body(array: Array, *, name: str, where: Where) -> tuple[()]:
    _check(array, name, where.location)
    return ()


check_op: Op = declare("check_numerics", _body, lambda specs, attrs: (), family="effect", effect=True, multiple=True)


class Numerics(Mode):
    """Runs ops in the mode around it and checks what they give; graphs that they hold get checks as nodes."""

    def process(self, op: Op, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> tuple[Tensor, ...]:
        with activate(self.outer):
            if any(isinstance(x, Graph) for x in attrs.values()):
                attrs = {key: checked(x) if isinstance(x, Graph) else x for key, x in attrs.items()}
                return op.bind(inputs, attrs)
            outputs = op.bind(inputs, attrs)
            if op.family != "creation" and not op.effect:
                self._look(op, outputs)
        return outputs

    def _look(self, op: Op, outputs: Sequence[Tensor]) -> None:
        for y in outputs:
            if y.dtype.kind not in "fc":
                continue
            if isinstance(y, Symbol):
                check_op.bind((y,), {"name": op.name, "where": Where(y.location)})
            else:
                _check(y.array, op.name, user_location(4))

    def read(self, variable: Variable) -> Tensor:
        with activate(self.outer):
            return read_variable(variable)

    def write(self, variable: Variable, value: Tensor) -> None:
        with activate(self.outer):
            write_variable(variable, value)


def checked(graph: Graph) -> Graph:
    """The graph with a check after each node that gives floating values, in the graphs of its nodes too; made once."""
    found = graph.derived.get("checked")
    if found is None:
        tracer = Tracer(graph.name)
        inputs = [tracer.input(Spec(s.shape, s.dtype, s.spec.weak), s.name) for s in graph.inputs]
        mode = Numerics()
        mode.outer = tracer
        with activate(mode):
            outputs = interpret(graph, inputs, {})
        with activate(tracer):
            made = tracer.finish(outputs).graph
        found = Graph(made.name, made.inputs, made.nodes, made.outputs, graph.state)
        found.derived["checked"] = graph.derived["checked"] = found
    return found


class check_numerics:
    """Context manager: the first NaN or infinity that an op gives raises NumericsError, naming the user's line.

    It holds for eager code and for traced functions called inside, their branches, loops and gradients too. Constants
    may be infinite. Checks keep work from being fused, so code runs slower; outside the context nothing changes.

    >>> import treadle as td
    >>> with td.debug.check_numerics():
    ...     td.log(td.asarray(1.0))
    Tensor(0., shape=(), dtype=float32)
    """

    def __enter__(self) -> check_numerics:
        mode = Numerics()
        mode.outer = current()
        self._token = _current.set(mode)
        self._errors = np.errstate(all="ignore")  # the error says more than NumPy's warning
        self._errors.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._errors.__exit__(None, None, None)
        _current.reset(self._token)


__all__ = ["Numerics", "check_numerics"]
