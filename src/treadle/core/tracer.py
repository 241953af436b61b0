"""`Tracer`: the mode that appends a node for each op; `trace` runs a function under one and gives its graph."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from treadle.core.dim import Dim
from treadle.core.dtypes import DType, int64, weak_dtype
from treadle.core.graph import Const, Graph, Node, StateSlot, build
from treadle.core.mode import Mode, activate, current
from treadle.core.op import Op, register
from treadle.core.spec import Spec
from treadle.core.tensor import _TRACING, Renamed, Scope, Symbol, Tensor, leaked
from treadle.core.variable import Variable
from treadle.errors import Location, TraceError, user_location
from treadle.records import dataclass

constant_op = register(
    Op("constant", lambda *, value: value.array, lambda specs, attrs: (attrs["spec"],), family="creation")
)
constant_op.body = lambda *, value, spec: value.array  # the spec tells only whether the number is weak

dim_op = register(
    Op("dim", lambda *, dim: np.asarray(dim, np.int64), lambda s, a: (Spec((), int64, weak=True),), family="creation")
)

# A read after a write: the value is `current`, the gradient belongs to the variable's first value (`initial`).
read_op = register(
    Op("read", lambda now, initial: now, lambda s, a: (s[0],), family="view", vjp=lambda g, y, now, initial: (None, g))
)

# The same value under a new name: what a tape reads from a variable while tracing.
identity_op = register(Op("identity", lambda x: x, lambda s, a: (s[0],), family="view", vjp=lambda g, y, x: g))


# What leaves Python numbers as they are; other ops take them as tensors of the default dtype.
_KEEPS_WEAK = frozenset({"elementwise", "graph", "creation", "effect"})


_MOST = 1024
_numbered: dict[str, list[str]] = {}


def numbered(base: str, count: int) -> str:
    """`base_1`, `base_2`, ...: the names of nodes, which recur from trace to trace."""
    known = _numbered.get(base)
    if known is None:
        if len(_numbered) >= _MOST:
            _numbered.clear()
        known = _numbered[base] = []
    if count < len(known):
        return known[count]
    if count >= _MOST:
        return f"{base}_{count}"
    known += [f"{base}_{k}" for k in range(len(known), count + 1)]
    return known[count]


def _specs(symbols: tuple[Symbol, ...]) -> list[Spec]:
    if len(symbols) == 1:
        return [symbols[0]._spec]
    if len(symbols) == 2:
        a, b = symbols
        return [a._spec, b._spec]
    return [s._spec for s in symbols]


@dataclass(slots=True)
class _State:
    """What a trace knows of one variable: its value at the start and, once written, its value now."""

    variable: Variable
    initial: Symbol
    value: Symbol | None = None
    read: Symbol | None = None


@dataclass(frozen=True, slots=True)
class Traced:
    """A graph, and what an op that holds it must feed: captured outer tensors, and the variables that it touches."""

    graph: Graph
    captures: tuple[Tensor, ...]
    reads: tuple[Variable, ...]
    writes: tuple[Variable, ...]


class Tracer(Mode):
    """Appends a node for each op; never delegates outward. Outer tensors that are used become extra inputs."""

    def __init__(self, name: str, parent: Scope | None = None) -> None:
        self.outer = current()
        self.scope = Scope(name, parent)
        self.nodes: list[Node] = []
        self.inputs: list[Symbol] = []
        self.captures: dict[int, tuple[Tensor, Symbol]] = {}
        self.arrays: dict[int, tuple[np.ndarray[Any, Any], Tensor]] = {}
        self.state: dict[int, _State] = {}
        self.created: list[tuple[weakref.ref[Variable], Location | None]] = []
        self.origin: Location | None = None  # set while nodes are made on behalf of an earlier node
        self._names: dict[str, int] = {}
        self._constants: dict[Any, Symbol] = {}
        self._numbers: dict[tuple[type, complex, DType], Symbol] = {}

    def unique(self, base: str) -> str:
        """`base`, or `base_1`, `base_2`, ... when it is taken."""
        count = self._names.get(base)
        if count is None:
            self._names[base] = 1
            return base
        self._names[base] = count + 1
        name = numbered(base, count)
        return name if name not in self._names else self.unique(name)

    def input(self, spec: Spec, name: str) -> Symbol:
        """A new input of the graph."""
        symbol = Symbol(spec, self.scope, self.unique(name))
        self.inputs.append(symbol)
        return symbol

    def process(self, op: Op, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> tuple[Tensor, ...]:
        # Every traced node comes through here: objects are filled in place, and short tuples are written out.
        scope = self.scope
        symbols: tuple[Symbol, ...] = inputs  # type: ignore[assignment]
        for x in inputs:
            if x.__class__ is not Symbol or x.scope is not scope:
                symbols = tuple([self.lift(y) for y in inputs])
                break
        before = _specs(symbols)
        if op.family not in _KEEPS_WEAK:
            for spec in before:
                if spec.weak:
                    symbols = tuple([self._strong(s) if s._spec.weak else s for s in symbols])
                    before = _specs(symbols)
                    break
        specs = op.infer(before, attrs)
        name = op.name
        if attrs:
            name = attrs.get("label") or name
        names = self._names
        count = names.get(name)
        if count is None:
            names[name] = 1
        else:
            names[name] = count + 1
            base, name = name, numbered(name, count)
            if name in names:
                name = self.unique(base)
        node = build(op, symbols, attrs, specs, name, self.origin or user_location(4), scope)
        self.nodes.append(node)
        return node.outputs

    def _strong(self, x: Symbol) -> Symbol:
        """A Python number, carried as exactly as Python's own, in the dtype that it has as a tensor."""
        from treadle.core.op import REGISTRY

        kind = x.dtype.kind
        dtype = weak_dtype(float if kind == "f" else complex) if kind in "fc" else x.dtype
        if dtype == x.dtype:
            return x
        (made,) = self.process(REGISTRY["astype"], (x,), {"dtype": dtype})
        assert isinstance(made, Symbol)
        return made

    def lift(self, x: Tensor) -> Symbol:
        """The symbol for a tensor in this graph: itself, or a captured input."""
        if type(x) is Symbol:
            scope = x.scope
            if scope is self.scope:
                return x
            if scope.__class__ is Renamed and scope.parent is self.scope:
                return scope.of
            if not scope.encloses(self.scope):
                raise leaked(x)
            if x.node is not None and x.node.definition.family == "creation" and not x.node.inputs:
                return self._again(x.node)
        found = self.captures.get(id(x))
        if found is None:
            name = x.name if type(x) is Symbol else "captured"
            symbol = Symbol(x.spec, self.scope, self.unique(name))
            found = self.captures[id(x)] = (x, symbol)
        return found[1]

    def _again(self, node: Node) -> Symbol:
        """An outer constant, made again here rather than captured."""
        if node.definition is constant_op:
            return self.constant(node.attrs["value"].array, node.attrs["spec"].weak)
        (made,) = self.process(node.definition, (), dict(node.attrs))
        assert isinstance(made, Symbol)
        return made

    def live(self, array: np.ndarray[Any, Any]) -> Tensor:
        """A tensor that shows an outer NumPy array as it is at each call: captured, not copied."""
        found = self.arrays.get(id(array))
        if found is None:
            around = self.outer
            while around is not None and not isinstance(around, Tracer):
                around = around.outer
            # What a branch or loop captures, the traces around it capture too: all must know that it is live.
            tensor = Tensor(array) if around is None else around.live(array)
            found = self.arrays[id(array)] = (array, tensor)
        return found[1]

    def constant(self, array: np.ndarray[Any, Any], weak: bool = False) -> Symbol:
        """A constant of the graph; equal ones are one node."""
        value = Const(array)
        key = (value, weak)
        found = self._constants.get(key)
        if found is None:
            attrs = {"value": value, "spec": Spec(array.shape, array.dtype, weak)}
            (made,) = self.process(constant_op, (), attrs)
            assert isinstance(made, Symbol)
            found = self._constants[key] = made
        return found

    def number(self, value: complex, dtype: DType) -> Symbol:
        """A Python number as a constant of this dtype. OverflowError where it does not fit."""
        key = value.__class__, value, dtype
        found = self._numbers.get(key) if value or value.__class__ is int else None  # 0.0 and -0.0 are equal
        if found is None:
            found = self._numbers[key] = self.constant(np.asarray(value, dtype))
        return found

    def _entry(self, variable: Variable) -> _State:
        entry = self.state.get(id(variable))
        if entry is None:
            initial = Symbol(variable.spec, self.scope, self.unique(variable.name.rpartition("/")[2]))
            entry = self.state[id(variable)] = _State(variable, initial)
        return entry

    def read(self, variable: Variable) -> Symbol:
        entry = self._entry(variable)
        if entry.value is None:
            return entry.initial
        if entry.read is None:
            with activate(self):
                (read,) = self.process(read_op, (entry.value, entry.initial), {})
            assert isinstance(read, Symbol)
            entry.read = read
        return entry.read

    def write(self, variable: Variable, value: Tensor) -> None:
        entry = self._entry(variable)
        entry.value = self.lift(value)
        entry.read = None

    def finish(self, outputs: Sequence[Tensor]) -> Traced:
        """The graph of what was recorded, with these outputs."""
        lifted = [self.lift(x) for x in outputs]
        entries = list(self.state.values())
        captured = list(self.captures.values())
        inputs = [*self.inputs, *(s for _, s in captured), *(e.initial for e in entries)]
        slots = []
        first = len(inputs) - len(entries)
        for offset, entry in enumerate(entries):
            output = None
            if entry.value is not None:
                output = len(lifted)
                lifted.append(entry.value)
            slots.append(StateSlot(weakref.ref(entry.variable), entry.variable.name, first + offset, output))
        graph = Graph(self.scope.name, tuple(inputs), tuple(self.nodes), tuple(lifted), tuple(slots))
        return Traced(
            graph,
            tuple(x for x, _ in captured),
            tuple(e.variable for e in entries),
            tuple(e.variable for e in entries if e.value is not None),
        )


def active_tracer() -> Tracer | None:
    """The innermost tracer among the active modes."""
    mode = current()
    while mode is not None:
        if isinstance(mode, Tracer):
            return mode
        mode = mode.outer
    return None


def is_tracing(symbol: Symbol) -> bool:
    """Whether the trace that owns this symbol is running now."""
    tracer = active_tracer()
    return tracer is not None and symbol.scope.encloses(tracer.scope)


_TRACING.append(is_tracing)


def trace(
    fn: Callable[..., Sequence[Tensor]],
    specs: Sequence[Spec],
    name: str,
    names: Sequence[str] = (),
    closed: bool = False,
) -> Traced:
    """Run `fn` on symbols of these specs; its results, a flat sequence of tensors, are the graph's outputs.

    A `closed` trace captures nothing from traces around it.
    """
    around = active_tracer()
    tracer = Tracer(name, None if around is None or closed else around.scope)
    if around is not None and not closed:
        tracer.origin = around.origin
    names = names or [f"x{k}" for k in range(len(specs))]
    symbols = [tracer.input(spec, label) for spec, label in zip(specs, names, strict=True)]
    with activate(tracer):
        return tracer.finish(list(fn(*symbols)))


def renamed(x: Tensor) -> Tensor:
    """The same value as a tensor of its own, for a tape to know it by."""
    tracer = current()
    if tracer.__class__ is not Tracer:
        return identity_op.bind((x,), {})[0]  # a tape around this one must see what becomes of `x`
    assert isinstance(tracer, Tracer)
    symbol = tracer.lift(x)
    return Symbol(symbol._spec, Renamed(symbol, tracer.scope), symbol.name)


def dim_value(dim: Dim) -> Tensor:
    """A symbolic size as a (weak) integer tensor. Raises TraceError outside a trace."""
    if active_tracer() is None:
        raise TraceError(f"the size {dim} has a value only while a function is traced")
    return dim_op.bind((), {"dim": dim})[0]
