"""Graphs at rest: of a function that was traced many times, old graphs keep their nodes as a few numbers.

A trace runs by its program; its nodes are only looked at by people and by gradients through it. Graphs that differ in
sizes alone share a `Plan`, and each keeps the specs and attributes that are its own. Whoever asks such a graph for its
nodes gets them made again, once; nobody can tell that they were away, since a graph is only laid to rest while nobody
else holds a symbol or a node of it.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter, deque
from collections.abc import Iterator
from threading import RLock
from typing import Any

import numpy as np

from treadle.core.graph import Const, Graph, Node
from treadle.core.spec import Spec
from treadle.core.tensor import Renamed, Scope, Symbol

AWAKE = 32  # the newest graphs of functions in this process are left as they are

Parts = tuple[tuple[Symbol, ...], tuple[Node, ...], tuple[Symbol, ...]]  # a graph's inputs, nodes and outputs

# What a graph may have beside its nodes without holding symbols or nodes itself.
_KNOWN = {"background", "can fail", "captures", "effect", "names", "open", "optimized", "plain"}
_KNOWN |= {"programs", "rewrites", "run"}

_lock = RLock()  # re-entrant: a signal handler may look at a graph
_newest: deque[weakref.ref[Graph]] = deque()


def note(graph: Graph) -> None:
    """A function has been traced; the oldest of many graphs is laid to rest."""
    _newest.append(weakref.ref(graph))
    while len(_newest) > AWAKE:
        try:
            old = _newest.popleft()()
        except IndexError:  # another thread was faster
            return
        if old is not None:
            rest(old)


class Plan:
    """What graphs have in common that differ in sizes alone.

    key:   of each node its op, inputs, names of attributes, name, location and names of outputs; the names of the
           symbols that no node makes; each symbol's spec and scope; each graph's inputs, nodes and outputs. What a list
           holds is named by its place in it; symbols that nodes make come first.
    attrs: each node's attributes in the graph that was first, shared by those where they are the same.
    """

    __slots__ = ("__weakref__", "attrs", "key")

    def __init__(self, key: Any, attrs: list[dict[str, Any]]) -> None:
        self.key, self.attrs = key, attrs


_plans: weakref.WeakValueDictionary[Any, Plan] = weakref.WeakValueDictionary()


class Resting:
    """A graph and those that share nodes with it, while they rest. `whole`: their parts, until they are packed."""

    __slots__ = ("attrs", "graphs", "plan", "scopes", "specs", "whole")
    plan: Plan
    specs: tuple[Spec, ...]
    scopes: tuple[Scope, ...]
    attrs: tuple[Any, ...]  # number of a node, its attributes, ...

    def __init__(self, graphs: list[Graph]) -> None:
        self.graphs = [weakref.ref(graph) for graph in graphs]
        self.whole: list[Parts] | None = [_take(graph, self, k) for k, graph in enumerate(graphs)]

    def wake(self) -> list[Parts]:
        """Give the graphs their nodes back."""
        if self.whole is None:
            self.whole = _unpacked(self)
        for ref, parts in zip(self.graphs, self.whole, strict=True):
            graph = ref()
            if graph is not None:
                graph.__dict__["inputs"], graph.__dict__["nodes"], graph.__dict__["outputs"] = parts
                graph.__dict__.pop("resting", None)
        return self.whole


def _take(graph: Graph, resting: Resting, number: int) -> Parts:
    """Take a graph's parts: who asks for them from now on finds out what became of them, by `woken`."""
    graph.__dict__["resting"] = resting, number
    space = graph.__dict__
    return space.pop("inputs"), space.pop("nodes"), space.pop("outputs")


def woken(graph: Graph, name: str) -> Any:
    """A part of a graph that rests, which ends its rest."""
    with _lock:
        held = graph.__dict__.get("resting")
        if held is not None:
            resting, number = held
            parts = resting.wake()[number]
            if "resting" in graph.__dict__:  # a copy of one that rested
                graph.__dict__["inputs"], graph.__dict__["nodes"], graph.__dict__["outputs"] = parts
                del graph.__dict__["resting"]
        if name not in graph.__dict__:
            raise AttributeError(name)
        return graph.__dict__[name]


def rest(graph: Graph) -> bool:
    """Lay a graph to rest, with those that it was optimized to and that its nodes hold; whether that could be."""
    with _lock:
        graphs = _family(graph)
        if graphs is None:
            return False
        # Their parts are taken first and counted then: so nobody can get hold of one between.
        resting = Resting(graphs)
        packed = _packed(resting.whole) if resting.whole is not None and _alone(resting.whole) else None
        if packed is None or resting.whole is None:
            resting.wake()
            return False
        resting.plan, resting.specs, resting.scopes, resting.attrs = packed
        resting.whole = None
        return True


def _family(graph: Graph) -> list[Graph] | None:
    """The graphs that may share nodes with a graph; None where there are more than is known here."""
    found: dict[int, Graph] = {}
    left = [graph]
    while left:
        one = left.pop()
        if id(one) in found:
            continue
        derived = one.derived
        if "nodes" not in one.__dict__ or not _KNOWN.issuperset(derived) or derived.get("background"):
            return None
        if any(len(key) > 1 for key in derived.get("programs", ())):  # sizes were open: each program has its own graph
            return None
        found[id(one)] = one
        left += [derived["optimized"]] if "optimized" in derived else []
        left += [inner for node in one.nodes for _, inner in node.graphs()]
    return list(found.values())


def _things(whole: list[Parts]) -> tuple[dict[int, Any], Counter[int]]:
    """All tuples, nodes and symbols of graphs, and how often these hold each of them."""
    things: dict[int, Any] = {}
    holds: Counter[int] = Counter()
    left: list[Any] = [part for parts in whole for part in parts]
    while left:
        one = left.pop()
        kind = one.__class__
        if one is None or (kind is tuple and not one):  # every empty tuple is the same one
            continue
        key = id(one)
        holds[key] += 1
        if key not in things:
            things[key] = one
            left.extend(one if kind is tuple else (one.inputs, one.outputs) if kind is Node else (one.node,))
    return things, holds


def _counts(things: dict[int, Any]) -> Iterator[int]:
    return map(sys.getrefcount, things.values())


_OWN = next(_counts({0: object()}))  # what counting itself adds


def _alone(whole: list[Parts]) -> bool:
    """Whether nobody else holds anything of these graphs."""
    things, holds = _things(whole)
    if not all(count == held + _OWN for count, held in zip(_counts(things), map(holds.__getitem__, things), strict=True)):
        return False
    listed = {id(node) for _, nodes, _ in whole for node in nodes}
    return all(_plain(thing, listed) for thing in things.values())


def _plain(thing: Any, listed: set[int]) -> bool:
    """Whether a node or symbol can be made again from what a plan holds."""
    if thing.__class__ is Node:
        return id(thing) in listed and thing.attrs.__class__ is dict
    if thing.__class__ is tuple:
        return True
    if thing.__class__ is not Symbol or hasattr(thing, "present") or thing.scope.__class__ is Renamed:
        return False
    return not weakref.getweakrefcount(thing)


def _packed(whole: list[Parts]) -> tuple[Plan, tuple[Spec, ...], tuple[Scope, ...], tuple[Any, ...]]:
    """What `_unpacked` makes the parts of graphs from."""
    nodes = list({id(node): node for _, made, _ in whole for node in made}.values())
    numbers: dict[int, int] = {}
    symbols: list[Symbol] = []
    for group in (*(node.outputs for node in nodes), *(part for parts in whole for part in (parts[0], parts[2]))):
        for symbol in group:
            if id(symbol) not in numbers:
                numbers[id(symbol)] = len(symbols)
                symbols.append(symbol)
    places = {id(node): k for k, node in enumerate(nodes)}
    specs: dict[int, Spec] = {}
    scopes: dict[int, Scope] = {}
    for symbol in symbols:
        specs.setdefault(id(symbol.spec), symbol.spec)
        scopes.setdefault(id(symbol.scope), symbol.scope)
    spec_numbers, scope_numbers = ({key: k for k, key in enumerate(table)} for table in (specs, scopes))

    def of(group: tuple[Symbol, ...]) -> tuple[int, ...]:
        return tuple([numbers[id(s)] for s in group])

    key = (
        tuple([(n.definition, of(n.inputs), tuple(n.attrs), n.name, n.location, _names(n)) for n in nodes]),
        tuple([symbol.name for symbol in symbols if symbol.node is None]),
        tuple([(spec_numbers[id(s.spec)], scope_numbers[id(s.scope)]) for s in symbols]),
        tuple([(of(inputs), tuple([places[id(n)] for n in made]), of(ends)) for inputs, made, ends in whole]),
    )
    attrs: list[dict[str, Any]] = [node.attrs for node in nodes]  # type: ignore[misc]
    plan = _plans.get(key)
    if plan is None:
        plan = _plans[key] = Plan(key, attrs)
    own: list[Any] = []
    for k, (mine, first) in enumerate(zip(attrs, plan.attrs, strict=True)):
        if mine is not first and not all(map(_same, mine.values(), first.values())):
            own += (k, tuple(mine.values()))
    return plan, tuple(specs.values()), tuple(scopes.values()), tuple(own)


def _names(node: Node) -> tuple[str, ...]:
    return tuple([symbol.name for symbol in node.outputs])


def _same(a: Any, b: Any) -> bool:
    """Whether one attribute can stand for another: -0.0 is not 0.0, nor is True 1."""
    if a is b:
        return True
    if a.__class__ is not b.__class__:
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, float):
        return a.hex() == b.hex()
    return isinstance(a, (int, str, np.dtype, Const, Spec)) and bool(a == b)


def _unpacked(resting: Resting) -> list[Parts]:
    """The parts of graphs, made again."""
    made, free, places, graphs = resting.plan.key
    own = dict(zip(resting.attrs[::2], resting.attrs[1::2], strict=True))
    specs, scopes = resting.specs, resting.scopes
    symbols: list[Symbol] = []
    nodes: list[Node] = []
    for k, (op, _, keys, label, location, names) in enumerate(made):
        attrs = dict(zip(keys, own[k], strict=True)) if k in own else resting.plan.attrs[k]
        node = Node(op, (), attrs, label, location)
        outputs = []
        for index, name in enumerate(names):
            spec, scope = places[len(symbols)]
            symbols.append(Symbol(specs[spec], scopes[scope], name, node, index))
            outputs.append(symbols[-1])
        node.outputs = tuple(outputs)
        nodes.append(node)
    for name in free:
        spec, scope = places[len(symbols)]
        symbols.append(Symbol(specs[spec], scopes[scope], name))
    for node, (_, inputs, *_) in zip(nodes, made, strict=True):
        node.inputs = tuple([symbols[k] for k in inputs])
    return [
        (tuple([symbols[k] for k in inputs]), tuple([nodes[k] for k in listed]), tuple([symbols[k] for k in outputs]))
        for inputs, listed, outputs in graphs
    ]
