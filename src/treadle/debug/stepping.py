"""`td.debug.step`: a function's graph, walked node by node with values, into calls, branches and every iteration."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from treadle.control.loop import Layout, gathered
from treadle.core.graph import Graph, Node
from treadle.core.interpret import _learn, _renew, bind_attrs, bind_sizes
from treadle.core.mode import activate
from treadle.core.printing import _inline
from treadle.core.tensor import Symbol, Tensor
from treadle.core.variable import read_variable, write_variable
from treadle.debug.summary import summary
from treadle.errors import GraphError, Location, at
from treadle.function.decorator import function
from treadle.function.execution import alive
from treadle.function.function import Function
from treadle.function.trace import Trace
from treadle.ops.convert import as_tensor
from treadle.records import dataclass

Attrs = dict[str, Any]
Condition = Callable[[Node, Mapping[str, Tensor]], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A node that has just run. It prints as one line: number, user's line, source, place in the graph, values.

    outputs: what it made.
    values:  all that is known so far in its graph, by name.
    path:    the nodes around it, with the iteration of loops: ("while[3]", "cond true").
    """

    number: int
    node: Node
    outputs: tuple[Tensor, ...]
    values: Mapping[str, Tensor]
    path: tuple[str, ...]

    @property
    def name(self) -> str:
        """The node's name, unique in its graph."""
        return self.node.name

    @property
    def op(self) -> str:
        """The op's name."""
        return self.node.op

    @property
    def location(self) -> Location | None:
        """The user's line."""
        return self.node.location

    def __str__(self) -> str:
        at = self.location
        line = f"{at.short:<16}  {at.source:<32}" if at else " " * 50
        made = "; ".join(map(summary, self.outputs)) or "done"
        return f"{self.number:>4}  {line}  {' > '.join((*self.path, self.name))}: {made}"

    __repr__ = __str__


_NOTHING = frozenset({"read", "identity"})  # names of values, no work of the user's
Walk = Generator[tuple[Node, tuple[Tensor, ...], Mapping[str, Tensor], tuple[str, ...]], None, list[Tensor]]


def _walk(graph: Graph, inputs: Sequence[Tensor], path: tuple[str, ...]) -> Walk:
    """Each node's results as they come; the graph's outputs at the end."""
    sizes: dict[str, Any] = dict(bind_sizes(graph, [x.shape for x in inputs]))
    values: dict[Symbol, Tensor] = dict(zip(graph.inputs, inputs, strict=True))
    names = {s.name: x for s, x in values.items()}
    shown = MappingProxyType(names)
    for node in graph.nodes:
        if "steps" in node.attrs:
            _renew(node.attrs["steps"], sizes, False)
        given, attrs = [values[s] for s in node.inputs], bind_attrs(node, sizes)
        try:
            outputs = tuple((yield from _inside(node, given, attrs, path)))
        except Exception as error:
            if path and not hasattr(error, "__treadle_path__"):
                error.add_note(f"in {' > '.join((*path, node.name))}")
                error.__treadle_path__ = path  # type: ignore[attr-defined]
            raise
        for symbol, value in zip(node.outputs, outputs, strict=True):
            values[symbol] = names[symbol.name] = value
            if node.definition.family == "graph" or "steps" in node.attrs:
                _learn(symbol.shape, value.shape, sizes)
        if node.op not in _NOTHING and not (node.outputs and _inline(node.outputs[0])):
            yield node, outputs, shown, path
    return [values[s] for s in graph.outputs]


def _inside(node: Node, given: list[Tensor], attrs: Attrs, path: tuple[str, ...]) -> Walk:
    """One node; one that holds graphs by walking them."""
    if node.op == "while":
        return (yield from _loop(node, given, attrs, path))
    if node.op == "cond":
        taken = "true" if given[0].array else "false"
        return (yield from _walk(attrs[taken], given[1:], (*path, f"{node.name} {taken}")))
    if isinstance(attrs.get("graph"), Graph):
        return (yield from _walk(attrs["graph"], given, (*path, node.name)))
    with activate(None), np.errstate(all="ignore"), at(node.location):
        return list(node.definition.run(given, attrs))


def _loop(node: Node, given: list[Tensor], attrs: Attrs, path: tuple[str, ...]) -> Walk:
    """A loop, iteration by iteration: the same meaning as the body of the loop op."""
    layout: Layout = attrs["layout"]
    body: Graph = attrs["body"]
    count, carry, consts, xs = layout.parts(given)
    limit = int(count.array) if count is not None else attrs["steps"]
    if not isinstance(limit, int):
        limit = len(xs[0].array) if xs else None
    rows: list[list[Tensor]] = []
    while limit is None or len(rows) < limit:
        done = len(rows)
        position = limit - 1 - done if attrs["reverse"] and limit is not None else done
        if attrs["test"] is not None:
            more, *_ = yield from _walk(attrs["test"], [*carry, *consts], (*path, f"{node.name}[{done}] test"))
            if not more.array:
                break
        items = [Tensor(x.array[position, ...]) for x in xs]
        outputs = yield from _walk(body, [*carry, *consts, *items], (*path, f"{node.name}[{position}]"))
        carry = outputs[: layout.carry]
        rows.append(outputs[layout.carry :])
    if attrs["reverse"]:
        rows.reverse()
    return [*carry, *_stacked(rows, body.outputs[layout.carry :])]


def _stacked(rows: list[list[Tensor]], symbols: Sequence[Symbol]) -> list[Tensor]:
    return [Tensor(gathered([row[k].array for row in rows], s)) for k, s in enumerate(symbols)]


class Stepper(Iterator[Step]):
    """See `td.debug.step`."""

    def __init__(self, trace: Trace, leaves: Sequence[Any]) -> None:
        self._trace = trace
        self._variables = [alive(ref) for ref in trace.writes]
        with activate(None):
            reads = [read_variable(alive(ref)) for ref in trace.reads]
            inputs = [*map(as_tensor, leaves), *trace.captures, *reads]
        self._steps = self._run(_walk(trace.graph, inputs, ()))
        self._results: list[Tensor] | None = None
        self.last: Step | None = None

    def _run(self, walk: Walk) -> Iterator[Step]:
        number = 0
        while True:
            try:
                node, outputs, values, path = next(walk)
            except StopIteration as end:
                self._finish(end.value)
                return
            number += 1
            yield Step(number, node, outputs, values, path)

    def _finish(self, outputs: list[Tensor]) -> None:
        """Variables get their new values now, all at once, as when the function is called."""
        count = len(outputs) - len(self._variables)
        with activate(None):
            for variable, value in zip(self._variables, outputs[count:], strict=True):
                write_variable(variable, value)
        self._results = outputs[:count]

    def __iter__(self) -> Stepper:
        return self

    def __next__(self) -> Step:
        self.last = next(self._steps)
        return self.last

    def next(self) -> Step | None:
        """Run one node; None when all have run."""
        return next(self, None)

    def until(
        self, when: Condition | None = None, *, line: int | str | None = None, op: str | None = None
    ) -> Step | None:
        """Run to the next node that fits all that is given; None when none is left, and the function is done.

        when: `when(node, values)` is true just after the node has run; `td.debug.has_nan` and `has_inf` are such tests.
              values: name -> tensor, of what is known so far in the node's graph; `node.outputs` have the names.
        line: the user's line, as a number or as "file.py:12".
        op:   the op's name, such as "tanh".
        """
        for found in self:
            if op is not None and found.op != op:
                continue
            if line is not None and not _is_at(found.location, line):
                continue
            if when is None or when(found.node, found.values):
                return found
        return None

    def run(self, show: bool = False) -> Any:
        """Run what is left and give the function's result; show: print each step."""
        for found in self:
            if show:
                sys.stdout.write(f"{found}\n")
        return self.result

    @property
    def result(self) -> Any:
        """What the function returns. Raises GraphError while nodes are left to run."""
        if self._results is None:
            raise GraphError("step: the function has not come to its end yet; .run() runs what is left")
        return self._trace.result.rebuild(self._results)

    def __repr__(self) -> str:
        state = "done" if self._results is not None else f"at {self.last}" if self.last else "not begun"
        return f"<step {self._trace.name}: {state}>"


def _is_at(location: Location | None, line: int | str) -> bool:
    if location is None:
        return False
    return location.line == line if isinstance(line, int) else location.short == line or str(line) == location.file


def step(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Stepper:
    """Walk the graph of a function for these arguments, node by node, with values and the user's lines.

    f: a `td.function`, or a plain function, which is traced as one. Iterate over the result, or use `.next()`,
    `.until(...)`, `.run()` and `.result`. Each step prints as one line. Calls, branches and loop bodies are entered;
    the path says in which iteration. Nodes run by NumPy, as they were traced, before optimisation; effects happen as
    they are passed, and variables get their new values at the end, not before.

    >>> import treadle as td
    >>> @td.function
    ... def f(x):
    ...     y = x - 2.0
    ...     return td.log(y)
    >>> s = td.debug.step(f, -1.0)
    >>> found = s.until(td.debug.has_nan)
    >>> found.op, found.outputs
    ('log', (Tensor(nan, shape=(), dtype=float32),))
    """
    traced: Any = f if isinstance(f, Function) else function(f)
    values, wanted, walk = traced._bind(args, kwargs)
    trace = traced._store.get(traced._target, wanted, tuple(walk.parts), traced._options.reduce_retracing)
    leaves = walk.tensors if traced._specs is None else traced._binder.walk(values).tensors
    return Stepper(trace, leaves)


__all__ = ["Step", "Stepper", "step"]
