"""Graphs at rest: of a function that was traced many times, old graphs keep their nodes as a few numbers.

A trace runs by its program; its nodes are only looked at by people and by gradients through it. Graphs that differ in
sizes alone share a `Plan`, and each keeps the specs and attributes that are its own. Whoever asks such a graph for its
nodes gets them made again, once; nobody can tell that they were away, since a graph is only laid to rest while nobody
else holds a symbol or a node of it.
"""

from __future__ import annotations

import sys
import weakref
from collections import deque
from collections.abc import Collection
from itertools import chain, islice, repeat
from operator import attrgetter
from threading import RLock
from typing import Any

import numpy as np

from treadle.core.graph import HOLDING, Const, Graph, Node
from treadle.core.spec import Spec
from treadle.core.tensor import Scope, Symbol

AWAKE = 32  # the newest graphs of functions in this process are left as they are
TRIES = 3  # how often a graph of which somebody holds a part is looked at again

Parts = tuple[tuple[Symbol, ...], tuple[Node, ...], tuple[Symbol, ...]]  # a graph's inputs, nodes and outputs

# What a graph may have beside its nodes without holding symbols or nodes itself.
_KNOWN = {"background", "can fail", "captures", "effect", "names", "open", "optimized", "plain"}
_KNOWN |= {"programs", "rewrites", "run"}

_lock = RLock()  # re-entrant: a signal handler may look at a graph
_newest: deque[tuple[weakref.ref[Graph], int]] = deque()


def note(graph: Graph) -> None:
    """A function has been traced; the oldest of many graphs is laid to rest."""
    _newest.append((weakref.ref(graph), 1))
    for _ in range(len(_newest) - AWAKE):
        try:
            ref, tries = _newest.popleft()
        except IndexError:  # another thread was faster
            return
        old = ref()
        if old is not None and not rest(old) and tries < TRIES:  # the collector of cycles may not have come by yet
            _newest.append((ref, tries + 1))


class Plan:
    """What graphs have in common that differ in sizes alone: the columns of a table of nodes, and one of symbols.

    key:   of all nodes their ops, names and places, how many inputs there are and which, how many outputs; of all
           symbols, those that nodes make first, the names and the numbers of spec and scope; of each graph the numbers
           of its inputs, nodes and outputs.
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
        if "resting" in graph.__dict__:
            return True
        graphs = _family(graph)
        if graphs is None:
            return False
        # Their parts are taken first and counted then: so nobody can get hold of one between.
        resting = Resting(graphs)
        lying = False
        try:
            table = _Table(resting.whole or [])
            if table.fits() and table.alone():
                resting.plan, resting.specs, resting.scopes, resting.attrs = table.packed()
                lying = "resting" in graph.__dict__  # unless a signal handler has looked at it
        finally:
            if lying:
                resting.whole = None
            else:
                resting.wake()
        return lying


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
        left += [inner for node in one.nodes if node.definition.family in HOLDING for _, inner in node.graphs()]
    return list(found.values())


_definition, _label, _location, _attrs = map(attrgetter, ("definition", "name", "location", "attrs"))
_inputs, _outputs, _node, _spec, _scope = map(attrgetter, ("inputs", "outputs", "node", "_spec", "scope"))


class _Table:
    """Nodes and symbols of graphs, each once, those that nodes make first; worked on by loops in C."""

    __slots__ = ("holders", "inputs", "makers", "nodes", "outputs", "symbols", "whole")

    def __init__(self, whole: list[Parts]) -> None:
        self.whole = whole
        self.nodes = list(dict.fromkeys(chain.from_iterable([made for _, made, _ in whole])))
        self.inputs = list(map(_inputs, self.nodes))
        outputs = list(map(_outputs, self.nodes))
        self.outputs = list(map(len, outputs))
        ends = [part for inputs, _, outputs in whole for part in (inputs, outputs)]
        self.symbols = list(dict.fromkeys(chain(chain.from_iterable(outputs), *ends)))
        self.makers: list[Any] = list(chain.from_iterable(map(repeat, self.nodes, self.outputs)))

    def fits(self) -> bool:
        """Whether all of this can be made again from what a plan holds: each symbol has its maker here, or none."""
        free = len(self.symbols) - len(self.makers)
        if free < 0 or list(map(_node, self.symbols)) != self.makers + [None] * free:
            return False
        return not any(hasattr(symbol, "present") for _, _, outputs in self.whole for symbol in outputs)

    def alone(self) -> bool:
        """Whether nobody else holds anything of this: then there are as many references as are known here.

        What is known is there for certain, so that the sums tell.
        """
        lists = {id(made): made for _, made, _ in self.whole if made}
        groups: list[Any] = [part for inputs, _, outputs in self.whole for part in (inputs, outputs)]
        groups += chain(map(_outputs, self.nodes), self.inputs)
        held = len(groups) - groups.count(())  # every empty tuple is the same one
        groups = list(dict(zip(map(id, groups), groups, strict=True)).values())
        groups = list(filter(None, groups))
        held_symbols, held_nodes = sum(map(len, groups)), sum(map(len, lists.values())) + len(self.makers)
        own = len(list(filter(None, self.inputs)))  # `inputs` holds these as well
        return (
            _references(groups) == held + own
            and _references(lists.values()) == len(list(filter(None, [made for _, made, _ in self.whole])))
            and _references(self.nodes) == held_nodes + len(self.makers)
            and _references(self.symbols) == held_symbols
        )

    def packed(self) -> tuple[Plan, tuple[Spec, ...], tuple[Scope, ...], tuple[Any, ...]]:
        """What `_unpacked` makes the parts of graphs from."""
        nodes, symbols = self.nodes, self.symbols
        number = dict(zip(symbols, range(len(symbols)), strict=True)).__getitem__
        place = dict(zip(nodes, range(len(nodes)), strict=True)).__getitem__
        specs, spec_numbers = _each_once(list(map(_spec, symbols)))
        scopes, scope_numbers = _each_once(list(map(_scope, symbols)))
        key = (
            (tuple(map(_definition, nodes)), tuple(map(_label, nodes)), tuple(map(_location, nodes))),
            tuple(map(len, self.inputs)),
            tuple(map(number, chain.from_iterable(self.inputs))),
            tuple(self.outputs),
            (tuple(map(_label, symbols)), spec_numbers, scope_numbers),
            tuple([(tuple(map(number, a)), tuple(map(place, b)), tuple(map(number, c))) for a, b, c in self.whole]),
        )
        attrs: list[Any] = list(map(_attrs, nodes))
        plan = _plans.get(key)
        if plan is None:
            plan = _plans[key] = Plan(key, attrs)
        own: list[Any] = []
        for k, (mine, first) in enumerate(zip(attrs, plan.attrs, strict=True)):
            if (mine or first) and mine is not first and not _alike(mine, first):
                own += (k, tuple(mine.values()) if list(mine) == list(first) else mine)
        return plan, specs, scopes, tuple(own)


def _references(column: Collection[Any]) -> int:
    """How often others hold what stands in a column."""
    return sum(map(sys.getrefcount, column)) - _OWN * len(column)


_OWN = 0  # what a column itself, and counting, add for each
_OWN = _references([object()])


def _each_once(column: list[Any]) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """The different objects of a column, and the number of each entry among them."""
    ids = list(map(id, column))
    different = dict(zip(ids, column, strict=True))
    if len(different) == 1:
        return (column[0],), (0,) * len(column)
    numbers = dict(zip(different, range(len(different)), strict=True))
    return tuple(different.values()), tuple(map(numbers.__getitem__, ids))


def _alike(mine: dict[str, Any], first: dict[str, Any]) -> bool:
    return list(mine) == list(first) and all(map(_same, mine.values(), first.values()))


def _same(a: Any, b: Any) -> bool:
    """Whether one attribute can stand for another: -0.0 is not 0.0, nor is True 1."""
    if a is b:
        return True
    if a.__class__ is not b.__class__:
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, float):
        return bool(a.hex() == b.hex())
    return isinstance(a, (int, str, np.dtype, Const, Spec)) and bool(a == b)


def _unpacked(resting: Resting) -> list[Parts]:
    """The parts of graphs, made again."""
    (ops, labels, locations), counts, inputs, outputs, (names, specs, scopes), graphs = resting.plan.key
    attrs = list(resting.plan.attrs)
    for k, own in zip(resting.attrs[::2], resting.attrs[1::2], strict=True):
        attrs[k] = dict(zip(attrs[k], own, strict=True)) if own.__class__ is tuple else own
    nodes = list(map(Node, ops, repeat(()), attrs, labels, locations))
    free = len(names) - sum(outputs)
    symbols = list(
        map(
            Symbol,
            map(resting.specs.__getitem__, specs),
            map(resting.scopes.__getitem__, scopes),
            names,
            chain(chain.from_iterable(map(repeat, nodes, outputs)), repeat(None, free)),
            chain(chain.from_iterable(map(range, outputs)), repeat(0, free)),
        )
    )
    made, used = iter(symbols), iter(inputs)
    for node, n_in, n_out in zip(nodes, counts, outputs, strict=True):
        node.inputs = tuple([symbols[k] for k in islice(used, n_in)])
        node.outputs = tuple(islice(made, n_out))
    return [
        (tuple([symbols[k] for k in a]), tuple([nodes[k] for k in b]), tuple([symbols[k] for k in c]))
        for a, b, c in graphs
    ]
