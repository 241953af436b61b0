"""Which numbers a loop's whole scalars may be: an index that cannot lie outside its array needs no check.

Each value has a least and a greatest number, or None where nothing is known. A loop's carried values are found by going
through its body until nothing is added, where a bound that moves is given up; then its test, the branches taken and the
number of steps give bounds back. Numbers that leave their dtype's range wrap, and are not known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from treadle.core.graph import Graph, Node
from treadle.core.tensor import Symbol
from treadle.records import dataclass, field

Bounds = tuple[int, int] | None
Known = dict[Symbol, Bounds]
SAFE = 1 << 31  # two numbers up to this have a product that int64 can hold
ROUNDS = 5  # through a body, before all is given up
INDEXING = {"gather": 1, "scatter": 2}  # where indices begin among a node's inputs


def union(a: Bounds, b: Bounds) -> Bounds:
    """What either may be."""
    return None if a is None or b is None else (min(a[0], b[0]), max(a[1], b[1]))


def _limits(symbol: Symbol) -> Bounds:
    """All numbers of a scalar's dtype."""
    if symbol.shape or symbol.dtype.kind not in "iub":
        return None
    if symbol.dtype.kind == "b":
        return 0, 1
    info = np.iinfo(symbol.dtype)
    return int(info.min), int(info.max)


def _fitted(symbol: Symbol, bounds: Bounds) -> Bounds:
    """Bounds that a value's dtype can hold."""
    limits = _limits(symbol)
    if bounds is None or limits is None or bounds[0] < limits[0] or bounds[1] > limits[1]:
        return None
    return bounds


def _products(a: tuple[int, int], b: tuple[int, int]) -> Bounds:
    ends = [x * y for x in a for y in b]
    return min(ends), max(ends)


def _divided(a: tuple[int, int], b: tuple[int, int]) -> Bounds:
    return (a[0] // b[0], a[1] // b[0]) if b[0] == b[1] > 0 else None


def _remainder(a: tuple[int, int], b: tuple[int, int]) -> Bounds:
    if b[0] <= 0:
        return None
    return a if a[0] >= 0 and a[1] < b[0] else (0, b[1] - 1)


def _absolute(a: tuple[int, int]) -> Bounds:
    return (0 if a[0] <= 0 <= a[1] else min(abs(a[0]), abs(a[1]))), max(abs(a[0]), abs(a[1]))


_RULES: dict[str, Callable[..., Bounds]] = {
    "add": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "subtract": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "multiply": _products,
    "square": lambda a: _products(_absolute(a) or a, _absolute(a) or a),
    "negative": lambda a: (-a[1], -a[0]),
    "abs": _absolute,
    "minimum": lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
    "maximum": lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
    "floor_divide": _divided,
    "remainder": _remainder,
    "where": lambda c, a, b: union(a, b),
    "astype": lambda a: a,
    "identity": lambda a: a,
    "stop_gradient": lambda a: a,
}
_MIRRORED = {"less": "greater", "less_equal": "greater_equal", "greater": "less", "greater_equal": "less_equal"}
_OPPOSITE = {"less": "greater_equal", "less_equal": "greater", "greater": "less_equal", "greater_equal": "less"}


def _constant(symbol: Symbol) -> Any:
    """The number that a scalar is known to be, or None."""
    node = symbol.node
    if node is None or symbol.shape or node.op not in ("constant", "full") or node.inputs:
        return None
    value = node.attrs["value"]
    return np.asarray(value.array if node.op == "constant" else value)[()]


@dataclass(slots=True)
class Ranges:
    """Goes through a loop; `indices` then holds for each access the bounds of its indices."""

    known: Known = field(default_factory=dict)
    indices: dict[Node, list[Bounds]] = field(default_factory=dict)
    noting: bool = False

    def of(self, symbol: Symbol) -> Bounds:
        """A value's bounds."""
        if symbol in self.known:
            return self.known[symbol]
        number = _constant(symbol)
        whole = number is not None and symbol.dtype.kind in "iub"
        return (int(number), int(number)) if whole else _limits(symbol)

    def graph(self, graph: Graph, inputs: Sequence[Bounds]) -> list[Bounds]:
        """The bounds of a graph's outputs."""
        for symbol, bounds in zip(graph.inputs, inputs, strict=False):
            self.known[symbol] = bounds
        for node in graph.nodes:
            self.node(node)
        return [self.of(s) for s in graph.outputs]

    def node(self, node: Node) -> None:
        """The bounds of a node's outputs."""
        if node.op in ("constant", "full"):
            return
        if node.op == "while":
            ends = self.loop(node)
        elif node.op == "cond":
            ends = self.cond(node)
        elif len(node.outputs) == 1:
            ends = [self.result(node)]
        else:
            return
        for symbol, bounds in zip(node.outputs, ends, strict=False):
            self.known[symbol] = _fitted(symbol, bounds) or _limits(symbol)
        if self.noting and node.op in INDEXING:
            found = [self.of(s) for s in node.inputs[INDEXING[node.op] :]]
            before = self.indices.get(node, found)
            self.indices[node] = [union(a, b) for a, b in zip(before, found, strict=True)]

    def result(self, node: Node) -> Bounds:
        """What an op makes of whole numbers."""
        rule = _RULES.get(node.op)
        (out,) = node.outputs
        if rule is None or out.shape or out.dtype.kind not in "iub":
            return None
        given = [self.of(s) for s in node.inputs]
        skipped = node.op == "where"
        if any(g is None for g in given[skipped:]) or any(s.dtype.kind not in "iub" for s in node.inputs):
            return None
        return rule(*given)

    def cond(self, node: Node) -> list[Bounds]:
        """A branch: on each side the test is known."""
        found: list[list[Bounds]] = []
        pred, *operands = node.inputs
        for key, way in (("true", True), ("false", False)):
            facts: Known = {}
            if self.learn(pred, way, facts):
                found.append(self.graph(node.attrs[key], [facts.get(s, self.of(s)) for s in operands]))
        if len(found) == 1:
            return found[0]
        return [union(a, b) for a, b in zip(*found, strict=True)] if found else [None] * len(node.outputs)

    def loop(self, node: Node) -> list[Bounds]:
        """A loop; what stands in its body counts only when the carried values' bounds are found."""
        layout = node.attrs["layout"]
        body: Graph = node.attrs["body"]
        count, carry, consts, _ = layout.parts(node.inputs)
        start = [self.of(s) for s in carry]
        rest = [*[self.of(s) for s in consts], *[_limits(s) for s in body.inputs[layout.carry + layout.consts :]]]
        steps = node.attrs["steps"]
        most = steps if isinstance(steps, int) else None
        if count is not None:
            bounds = self.of(count)
            most = None if bounds is None else bounds[1]
        noting, self.noting = self.noting, False
        fixed = [self._counter(body, k, start[k], most) for k in range(layout.carry)]
        state = [s if f is None else f[0] for s, f in zip(start, fixed, strict=True)]
        for turn in range(ROUNDS):
            ends = self._turn(node, state, rest)
            wider = [
                now if f is not None else self._widened(s, now, union(first, end))
                for s, first, now, end, f in zip(carry, start, state, ends, fixed, strict=False)
            ]
            if wider == state:
                break
            state = wider if turn < ROUNDS - 1 else [_limits(s) for s in carry]
        ends = self._turn(node, state, rest)
        state = [
            now if f is not None else union(first, end)
            for first, now, end, f in zip(start, state, ends, fixed, strict=False)
        ]
        self.noting = noting
        ends = self._turn(node, state, rest)
        after = [union(a, b) for a, b in zip(start, ends, strict=False)]
        return [end if f is None else f[1] for end, f in zip(after, fixed, strict=True)]

    def _turn(self, node: Node, state: Sequence[Bounds], rest: Sequence[Bounds]) -> list[Bounds]:
        """The carried values after one step."""
        test: Graph | None = node.attrs["test"]
        given = [*state, *rest]
        if test is not None:
            self.graph(test, given)
            facts: Known = {}
            if not self.learn(test.outputs[0], True, facts):
                return list(state)
            given[: len(test.inputs)] = [facts.get(s, bounds) for s, bounds in zip(test.inputs, given, strict=False)]
        return self.graph(node.attrs["body"], given)[: len(state)]

    @staticmethod
    def _widened(symbol: Symbol, now: Bounds, then: Bounds) -> Bounds:
        """Bounds that hold what was and what came: one that moved is given up, first up to what can be multiplied."""
        limits = _limits(symbol)
        if now is None or then is None or limits is None:
            return limits
        low = now[0] if then[0] >= now[0] else next((x for x in (-SAFE,) if limits[0] < x <= then[0]), limits[0])
        high = now[1] if then[1] <= now[1] else next((x for x in (SAFE,) if limits[1] > x >= then[1]), limits[1])
        return low, high

    def _counter(self, body: Graph, k: int, start: Bounds, most: int | None) -> tuple[Bounds, Bounds] | None:
        """The bounds in a body and behind the loop of a carried value to which each step adds one number."""
        old, node = body.inputs[k], body.outputs[k].node
        if start is None or most is None or node is None or node.op != "add" or len(node.inputs) != 2:
            return None
        others = [s for s in node.inputs if s is not old]
        step = _constant(others[0]) if len(others) == 1 else None
        if step is None or old.dtype.kind not in "iu":
            return None
        inside, behind = int(step) * max(most - 1, 0), int(step) * max(most, 0)
        first = _fitted(old, (start[0] + min(0, inside), start[1] + max(0, inside)))
        last = _fitted(old, (start[0] + min(0, behind), start[1] + max(0, behind)))
        return None if first is None or last is None else (first, last)

    # -- what a test says ----------------------------------------------------------------------------------------------

    def learn(self, pred: Symbol, way: bool, facts: Known) -> bool:
        """Note in `facts` what follows from a test's being true or false; False where it cannot be."""
        node = pred.node
        if node is None:
            return True
        number = _constant(pred)
        if number is not None:
            return bool(number) == way
        if node.op == "logical_not":
            return self.learn(node.inputs[0], not way, facts)
        if (node.op, way) in (("logical_and", True), ("logical_or", False)):
            return all(self.learn(s, way, facts) for s in node.inputs)
        if node.op == "cond":
            return self._learn_cond(node, pred, way, facts)
        if node.op in _MIRRORED:
            a, b = node.inputs
            op = node.op if way else _OPPOSITE[node.op]
            return self._compare(a, op, b, facts) and self._compare(b, _MIRRORED[op], a, facts)
        if (node.op, way) in (("equal", True), ("not_equal", False)):
            a, b = node.inputs
            return all(
                self._compare(x, op, y, facts) for op in ("less_equal", "greater_equal") for x, y in ((a, b), (b, a))
            )
        return True

    def _learn_cond(self, node: Node, pred: Symbol, way: bool, facts: Known) -> bool:
        """`a and b`, `a or b` are branches one side of which is known."""
        place = next(k for k, s in enumerate(node.outputs) if s is pred)
        for key, taken in (("true", True), ("false", False)):
            other: Graph = node.attrs["false" if taken else "true"]
            number = _constant(other.outputs[place])
            if any(
                s is other.outputs[place] and x is node.inputs[0]
                for s, x in zip(other.inputs, node.inputs[1:], strict=True)
            ):
                number = not taken  # the test itself
            if number is None or bool(number) == way:
                continue
            graph: Graph = node.attrs[key]
            if not self.learn(node.inputs[0], taken, facts):
                return False
            inner: Known = {}
            if not self.learn(graph.outputs[place], way, inner):
                return False
            for mine, theirs in zip(node.inputs[1:], graph.inputs, strict=True):
                if theirs in inner and not self._narrow(mine, inner[theirs], facts):
                    return False
        return True

    def _compare(self, a: Symbol, op: str, b: Symbol, facts: Known) -> bool:
        """a op b holds: narrow a."""
        other = facts.get(b, self.of(b))
        limits = _limits(a)
        if other is None or limits is None or b.dtype.kind not in "iub":
            return True
        low, high = limits
        if op in ("less", "less_equal"):
            high = min(high, other[1] - (op == "less"))
        else:
            low = max(low, other[0] + (op == "greater"))
        return self._narrow(a, (low, high), facts)

    def _narrow(self, symbol: Symbol, bounds: Bounds, facts: Known) -> bool:
        """A value lies within bounds; so what it was made from does."""
        now = facts.get(symbol, self.of(symbol))
        if now is None or bounds is None:
            return True
        low, high = max(now[0], bounds[0]), min(now[1], bounds[1])
        if low > high:
            return False
        facts[symbol] = low, high
        node = symbol.node
        if node is None or node.op not in ("add", "subtract", "square", "multiply"):
            return True
        a, b = (*node.inputs, *node.inputs)[:2]
        x, y = self.of(a), self.of(b)
        rule = _RULES["multiply" if node.op == "square" else node.op]
        if x is None or y is None or _fitted(symbol, rule(x, y)) is None:
            return True  # it may have wrapped
        if node.op == "add":
            return self._narrow(a, (low - y[1], high - y[0]), facts) and self._narrow(
                b, (low - x[1], high - x[0]), facts
            )
        if node.op == "subtract":
            return self._narrow(a, (low + y[0], high + y[1]), facts) and self._narrow(
                b, (x[0] - high, x[1] - low), facts
            )
        if a is b and high >= 0:
            return self._narrow(a, (-math.isqrt(high), math.isqrt(high)), facts)
        return True


def indices_of(loop: Node) -> dict[Node, list[Bounds]]:
    """The bounds of all indices by which a loop accesses its arrays."""
    ranges = Ranges(noting=True)
    ranges.loop(loop)
    return ranges.indices
