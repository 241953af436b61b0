"""Staged loops: which values are carried, their dtypes found by fixed point, and the loop op built from the traces."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from treadle.control import elastic
from treadle.control.call import zeros_like_spec
from treadle.control.elastic import Elastic
from treadle.control.invariants import Redeclared, as_declared, carried, check
from treadle.control.journal import journal
from treadle.control.leaves import Group, Leaf, open_declared, settle
from treadle.control.list_states import NeedsBuffer, NeedsLength
from treadle.control.lists import is_list
from treadle.control.loop import loop
from treadle.control.merge import close, presence, to_spec
from treadle.control.no_steps import takes_no_step
from treadle.control.threads import Threads
from treadle.core.dim import Size
from treadle.core.dtypes import bool_
from treadle.core.graph import Graph, Node
from treadle.core.mode import activate
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol, Tensor
from treadle.core.tracer import Tracer, active_tracer, read_op
from treadle.core.variable import Variable, read_variable, write_variable
from treadle.errors import ControlFlowError
from treadle.ops.convert import as_tensor, settled

_MAX_ROUNDS = 16  # dtypes only go up (bool, int, float, complex; weak, strong), so this is never reached by honest code


def run_loop(
    body_fn: Callable[..., Any],
    values: tuple[Any, ...],
    names: tuple[str, ...],
    *,
    test_fn: Callable[..., Any] | None = None,
    length: int | Tensor | None = None,
    xs: Sequence[Tensor] = (),
    rebuild: Callable[[list[Tensor]], Any] = lambda items: None,
    collect: bool = False,
    reverse: bool = False,
    invariants: Sequence[Any] | None = None,
) -> tuple[tuple[Any, ...], list[Tensor]]:
    """Trace and bind a loop: `body_fn(item, *values) -> values` (with `collect`: `(values, ys)`).

    Gives the final values and the stacked ys. A loop that surely takes no step leaves its values as they are where its
    body cannot be traced: Python would not reach it.
    """
    try:
        return _traced_loop(body_fn, values, names, test_fn, length, xs, rebuild, collect, reverse, invariants)
    except Exception:
        if collect or not takes_no_step(test_fn, values, length, xs):
            raise
        return values, []


def _traced_loop(
    body_fn: Callable[..., Any],
    values: tuple[Any, ...],
    names: tuple[str, ...],
    test_fn: Callable[..., Any] | None,
    length: int | Tensor | None,
    xs: Sequence[Tensor],
    rebuild: Callable[[list[Tensor]], Any],
    collect: bool,
    reverse: bool,
    invariants: Sequence[Any] | None,
) -> tuple[tuple[Any, ...], list[Tensor]]:
    """See `run_loop`."""
    steps = length if isinstance(length, int) else (xs[0].shape[0] if xs else None)
    threads = Threads(steps if type(steps) is int else None)
    work = _Loop(body_fn, test_fn, names, threads, xs, rebuild, collect)
    work.groups = [Group(name, value, is_list(value)) for name, value in zip(names, values, strict=True)]
    for group, declared in zip(work.groups, invariants or (), strict=False):
        for leaf, shape in zip(group.leaves, declared, strict=True):
            leaf.declared = None if shape is None else check(leaf.value, shape)
    for _ in range(_MAX_ROUNDS):
        token = carried.set(carried.get())
        try:
            traced = work.trace()
        except (NeedsBuffer, NeedsLength) as need:
            if not threads.needs(need):
                raise
            work.renew(need.owner)
            continue
        except Redeclared as found:
            if not any(leaf is found.leaf for leaf in work.leaves):
                raise
            open_declared(found.leaf)
            continue
        finally:
            carried.reset(token)
        if not traced.complete:
            work.renew()
        elif settle(work.leaves, traced.results):
            break
    else:
        raise ControlFlowError(
            f"the dtypes of the loop's values {', '.join(names)} do not settle; convert them with td.astype"
        )
    return work.bind(traced, length, xs, reverse)


class _Traced:
    """One trace of the body (and the test): tracers still open, so that casts can be added at the end."""

    def __init__(self, body: Tracer, test: Tracer | None) -> None:
        self.body = body
        self.test = test
        self.results: list[Any] = []
        self.ys: list[Tensor] = []
        self.complete = False  # every place is carried in a way that fits what the body does
        self.collected = 0  # how many of the ys the caller has asked for
        self.condition: Tensor | None = None


def _open(name: str) -> Tracer:
    around = active_tracer()
    assert around is not None
    tracer = Tracer(name, around.scope)
    tracer.origin = around.origin
    return tracer


class _Loop:
    """What is known of a loop between one trace of its body and the next."""

    def __init__(
        self,
        body_fn: Callable[..., Any],
        test_fn: Callable[..., Any] | None,
        names: tuple[str, ...],
        threads: Threads,
        xs: Sequence[Tensor],
        rebuild: Callable[[list[Tensor]], Any],
        collect: bool,
    ) -> None:
        self.body_fn, self.test_fn, self.names, self.threads = body_fn, test_fn, names, threads
        self.xs, self.rebuild, self.collect = xs, rebuild, collect
        self.groups: list[Group] = []  # one a name
        self.held: dict[Any, tuple[Any, Group]] = {}  # one a place, with how it is carried

    @property
    def leaves(self) -> list[Leaf]:
        """All leaves: of the names, then of the places."""
        return [leaf for group in self._all() for leaf in group.leaves]

    def _all(self) -> list[Group]:
        return [*self.groups, *(group for _, group in self.held.values())]

    def renew(self, owner: Any = None) -> None:
        """Make groups for places that are new, or carried in a new way."""
        for key, thread in self.threads.all.items():
            held = self.held.get(key)
            if held is None or held[0] != thread.how:
                group = Group(thread.place.label, thread.initial())
                self.held[key] = thread.how, group
                for leaf in group.leaves[:-1] if thread.elastic else ():
                    leaf.open()

    def inputs(self, tracer: Tracer) -> tuple[list[Any], list[Any]]:
        """The values of names and places that a trace gets."""
        made = [(_input(tracer, leaf), leaf) for leaf in self.leaves]
        carried.set({**(carried.get() or {}), **{id(x): (x, leaf) for x, leaf in made if type(x) is Symbol}})
        flat = iter([x for x, _ in made])
        values = [group.build(flat) for group in self._all()]
        return values[: len(self.groups)], values[len(self.groups) :]

    def trace(self) -> _Traced:
        """Trace the body and the test once."""
        traced = _Traced(_open("loop_body"), _open("loop_test") if self.test_fn is not None else None)
        names, places = self.inputs(traced.body)
        items = [traced.body.input(Spec(x.shape[1:], x.dtype), "item") for x in self.xs]
        with activate(traced.body):
            with journal(self.threads.end):
                self.threads.begin(places)
                results = self.body_fn(self.rebuild(list(items)), *names)
                if self.collect:
                    results, ys = results
                    traced.ys = [settled(y) for y in ys]
                    traced.collected = len(traced.ys)
                lists = [group.rebound for group in self.groups]
                results = [group.rebind(result) for group, result in zip(self.groups, results, strict=True)]
            if lists != [group.rebound for group in self.groups]:
                self.threads.settled = False
            if not self.threads.settled or not self.threads.settle():
                return traced
            traced.complete = True
            for thread in self.threads.all.values():
                traced.ys += thread.ys()
            results = [*results, *(thread.result() for thread in self.threads.all.values())]
            for group, result in zip(self._all(), results, strict=True):
                traced.results += group.receive(result)
        if self.test_fn is not None and traced.test is not None:
            self._trace_test(traced.test, traced)
        return traced

    def _trace_test(self, tracer: Tracer, traced: _Traced) -> None:
        from treadle.control.staging import truth

        assert self.test_fn is not None
        names, places = self.inputs(tracer)
        bases = [thread.base for thread in self.threads.all.values()]
        with activate(tracer), journal():
            self.threads.begin(places)
            traced.condition = truth(self.test_fn(*names), "`while`")
        for thread, base in zip(self.threads.all.values(), bases, strict=True):
            thread.base = base

    def bind(
        self, traced: _Traced, length: int | Tensor | None, xs: Sequence[Tensor], reverse: bool
    ) -> tuple[tuple[Any, ...], list[Tensor]]:
        """The loop op, and what follows from its results."""
        results, stacks = _bind(self.leaves, self._elastic(), traced, length, xs, reverse)
        flat = iter(results)
        values = [group.build(flat) for group in self._all()]
        count = len(self.groups)
        left = iter(stacks[traced.collected :])
        exact = self.test_fn is None
        for thread, value in zip(self.threads.all.values(), values[count:], strict=True):
            own = [next(left) for entry in thread.entries for _ in range(entry[1] + entry[2])] if thread.logs else []
            thread.place.store(thread.finish(value, own, exact))
        return tuple(values[:count]), stacks[: traced.collected]

    def _elastic(self) -> list[Elastic]:
        """The lists that are carried as memory of an open size, by the places of their leaves among what is carried."""
        held = [leaf for leaf in self.leaves if leaf.spec is not None]
        first = list(itertools.accumulate([1 + leaf.optional for leaf in held], initial=0))
        where = {id(leaf): k for leaf, k in zip(held, first, strict=False)}
        found = []
        for thread, (_, group) in zip(self.threads.all.values(), self.held.values(), strict=True):
            if thread.elastic:
                *buffers, length = [where[id(leaf)] for leaf in group.leaves]
                found.append(Elastic(tuple(buffers), length, thread.growth))
        return found


def _input(tracer: Tracer, leaf: Leaf) -> Any:
    """What a trace gets for a leaf."""
    if leaf.spec is None:
        return leaf.value
    symbol = tracer.input(leaf.spec, leaf.path)
    if leaf.optional:
        symbol.present = tracer.input(Spec((), bool_), f"{leaf.path}_set")
    return symbol


def _bind(
    leaves: list[Leaf],
    lists: list[Elastic],
    traced: _Traced,
    length: int | Tensor | None,
    xs: Sequence[Tensor],
    reverse: bool,
) -> tuple[list[Any], list[Tensor]]:
    """Close the traces and bind the op: the final leaves, and the stacks."""
    held = [leaf for leaf in leaves if leaf.spec is not None]
    with activate(traced.body):
        outputs = []
        for leaf, result in zip(leaves, traced.results, strict=True):
            if leaf.spec is not None:
                outputs += _results(leaf, result)
    tracers, ends = [traced.body], [[*outputs, *traced.ys]]
    if traced.test is not None and traced.condition is not None:
        tracers.append(traced.test)
        ends.append([traced.condition])
    graphs, captures, variables, writes = close(tracers, ends)
    places = len(outputs)
    body, order = _arrange(graphs[0], places, len(xs), len(captures), variables, writes, places)
    test = _arrange_test(graphs[1], places, len(captures), order) if len(graphs) > 1 else None
    start = [x for leaf in held for x in _initial(leaf)]
    states = [read_variable(v) for v in variables]
    written = [states[k] for k in order[0]]  # what is read in the loop counts as a read of these
    fixed = [states[k] for k in order[1]]
    count = length if isinstance(length, Tensor) else None
    known: Size | None = length if isinstance(length, int) else (xs[0].shape[0] if xs else None)
    run = functools.partial(elastic.run, lists) if lists else loop
    made = list(
        run(
            body,
            [*start, *written],
            [*captures, *fixed, *written],
            xs,
            test=test,
            count=count,
            length=known,
            reverse=reverse,
        )
    )
    for variable, value in zip([variables[k] for k in order[0]], made[places:], strict=False):
        write_variable(variable, value)
    flat = iter(made[:places])
    results: list[Any] = []
    for leaf in leaves:
        results.append(next(flat) if leaf.spec is not None else leaf.value)
        if leaf.optional:
            results[-1].present = next(flat)
    return results, made[places + len(written) :]


def _results(leaf: Leaf, result: Any) -> list[Tensor]:
    """What an iteration hands on for a carried leaf."""
    assert leaf.spec is not None
    if not leaf.optional:
        made = to_spec(result, leaf.spec.dtype, leaf.spec.weak)
        return [made if leaf.declared is None else as_declared(made, leaf.declared)]
    value = zeros_like_spec(leaf.spec) if result is None else to_spec(result, leaf.spec.dtype, leaf.spec.weak)
    return [value, as_tensor(presence(result), bool_)]


def _initial(leaf: Leaf) -> list[Tensor]:
    assert leaf.spec is not None
    empty = leaf.missing or leaf.value is None
    value = zeros_like_spec(leaf.spec) if empty else to_spec(leaf.value, leaf.spec.dtype, leaf.spec.weak)
    if leaf.declared is not None:
        value = as_declared(value, leaf.declared)
    return [value, as_tensor(presence(leaf.value), bool_)] if leaf.optional else [value]


Order = tuple[list[int], list[int]]


def _arrange(
    graph: Graph,
    carried: int,
    stepped: int,
    captured: int,
    variables: Sequence[Variable],
    writes: Sequence[Variable],
    outputs: int,
) -> tuple[Graph, Order]:
    """Reorder the body's inputs to carry, consts, xs: written variables are carried, others are constant.

    A written variable comes in twice: its value now is carried, and the value that it had before the loop is a
    constant, to which the gradient of every read in the loop goes (an assignment passes none on).
    """
    written, fixed = order = _order(variables, writes)
    inputs = graph.inputs
    a, b = carried, carried + stepped
    c = b + captured
    reads, now, before = _reads([inputs[c + k] for k in written])
    arranged = (*inputs[:a], *now, *inputs[b:c], *(inputs[c + k] for k in fixed), *before, *inputs[a:b])
    ends = graph.outputs
    first = len(ends) - len(writes)
    by_variable = {id(v): ends[first + k] for k, v in enumerate(writes)}
    new = (*ends[:outputs], *(by_variable[id(variables[k])] for k in written), *ends[outputs:first])
    return Graph(graph.name, arranged, (*reads, *graph.nodes), new), order


def _order(variables: Sequence[Variable], writes: Sequence[Variable]) -> Order:
    changed = {id(v) for v in writes}
    written = [k for k, v in enumerate(variables) if id(v) in changed]
    return written, [k for k in range(len(variables)) if k not in written]


def _reads(symbols: Sequence[Symbol]) -> tuple[list[Node], list[Symbol], list[Symbol]]:
    """Nodes that make these symbols, so far inputs, from two inputs each: the value now, and that before the loop."""
    nodes, now, before = [], [], []
    for symbol in symbols:
        pair = [Symbol(symbol.spec, symbol.scope, f"{symbol.name}_{what}") for what in ("now", "before")]
        node = Node(read_op, tuple(pair), {}, f"{symbol.name}_read", None)
        node.outputs = (symbol,)
        symbol.node = node
        nodes.append(node)
        now.append(pair[0])
        before.append(pair[1])
    return nodes, now, before


def _arrange_test(graph: Graph, carried: int, captured: int, order: Order) -> Graph:
    inputs = graph.inputs
    a, b = carried, carried + captured
    written, fixed = order
    reads, now, before = _reads([inputs[b + k] for k in written])
    arranged = (*inputs[:a], *now, *inputs[a:b], *(inputs[b + k] for k in fixed), *before)
    return Graph(graph.name, arranged, (*reads, *graph.nodes), graph.outputs[:1])
