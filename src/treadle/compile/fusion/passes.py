"""Which passes a row kernel makes over each row, and what each of them computes, reads again and writes.

A value is ready in a pass when all that it reads is: what reads the result of a reduction is ready one pass later.
What a later pass needs again is computed again where that is cheap, else read from where it was stored, else kept in
the row of an output that is written later, else in a scratch row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from treadle.compile.cost import RECOMPUTE, units
from treadle.compile.fusion.items import Group, is_scalar_constant
from treadle.compile.fusion.rules import used
from treadle.core.graph import Node
from treadle.core.tensor import Symbol
from treadle.records import dataclass, field

_DECIDING = {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "sign", "floor", "ceil", "trunc"}


@dataclass(slots=True)
class Pass:
    """One loop over a row: row work before it, element work in it, and what it reduces, stores and keeps."""

    before: list[Node] = field(default_factory=list)
    full: list[Node] = field(default_factory=list)
    reread: list[Symbol] = field(default_factory=list)  # values of earlier passes that are read again
    reduce: list[Node] = field(default_factory=list)
    stores: list[Symbol] = field(default_factory=list)
    keeps: list[Symbol] = field(default_factory=list)  # values written to a place that is not their own


class Passes:
    """The passes of a group; `after` is row work after the last."""

    def __init__(
        self, group: Group, stores: Collection[Symbol], late: Collection[Symbol], room: Callable[[Symbol], bool]
    ) -> None:
        """stores: full values written to memory; late: those of them that overwrite what the kernel reads;

        room: whether a stored value's place may hold another value of its dtype before.
        """
        self.group, self.late, self.room = group, late, room
        self.node = {node.outputs[0]: node for node in group.nodes}
        self.ready: dict[Symbol, int] = {}
        for node in group.nodes:
            self._time(node)
        full = [s for s in self.node if s not in group.rows and s not in group.ends]
        demands = [self._element_end(n) for n in group.nodes if n.definition.family == "reduction"]
        last = max([*[d for d in demands if d is not None], *[self.ready[s] for s in stores], 0])
        self.passes = [Pass() for _ in range(last + 1)]
        self.after: list[Node] = []
        self.home: dict[Symbol, Symbol | None] = {}  # kept value -> the stored value whose place it uses; None: scratch
        self.store_pass = {s: last if s in late else self.ready[s] for s in stores}
        # Values that decide something must be the same bits in every pass: a product and a sum might be contracted
        # to one instruction in one pass and not in another.
        self.deciding = any(node.op in _DECIDING for node in group.nodes)
        self._rows()
        for number in range(last, -1, -1):
            self._elements(number, full)

    def _time(self, node: Node) -> None:
        """The pass in which a node's value is there; for a reduction of rows, the first in which it can be read."""
        group, out = self.group, node.outputs[0]
        time = max((self.ready[s] for s in node.inputs if s in self.ready), default=0)
        self.ready[out] = time + 1 if out in group.rows and self._element_end(node) is not None else time

    def _element_end(self, node: Node) -> int | None:
        """The pass in which a reduction of full values runs; None for others."""
        if node.definition.family != "reduction" or node.inputs[0] in self.group.rows:
            return None
        return self.ready.get(node.inputs[0], 0)

    def _rows(self) -> None:
        """Row work stands before the pass that it is ready for, reductions in theirs."""
        group = self.group
        for node in group.nodes:
            out = node.outputs[0]
            time = self._element_end(node)
            if time is not None:
                self.passes[time].reduce.append(node)
            elif out in group.rows or out in group.ends:
                ready = self.ready[out]
                (self.passes[ready].before if ready < len(self.passes) else self.after).append(node)

    def _elements(self, number: int, order: list[Symbol]) -> None:
        """What a pass computes and reads again; it may ask earlier passes to keep values."""
        this = self.passes[number]
        this.stores += [s for s, at in self.store_pass.items() if at == number]
        compute: set[Symbol] = set()
        again: dict[Symbol, None] = {}

        def need(symbol: Symbol) -> None:
            if symbol not in self.node or symbol in self.group.rows or symbol in compute or symbol in again:
                return
            if self.ready[symbol] < number and not self._anew(symbol):
                again[symbol] = None
                self._keep(symbol, number)
                return
            if self.ready[symbol] < number:
                used("a value is computed again in a later pass")
            compute.add(symbol)
            for source in self.node[symbol].inputs:
                need(source)

        for symbol in (*[n.inputs[0] for n in this.reduce], *this.stores, *this.keeps):
            need(symbol)
        this.full = [self.node[s] for s in order if s in compute]
        this.reread = list(again)

    def _anew(self, symbol: Symbol) -> bool:
        """Whether a value is computed again rather than kept."""
        cost, exact = self._cost(symbol, {})
        return cost <= RECOMPUTE and (exact or not self.deciding)

    def _cost(self, symbol: Symbol, seen: dict[Symbol, bool]) -> tuple[int, bool]:
        """Units to compute a full value from what lies in memory, and whether that gives the same bits each time."""
        if symbol in seen:
            return 0, seen[symbol]
        seen[symbol] = True
        if is_scalar_constant(symbol) or symbol in self.group.rows:
            return 0, True
        node = self.node.get(symbol)
        if node is None:
            return 1, True
        cost, exact = units(node), True
        for source in node.inputs:
            more, same = self._cost(source, seen)
            cost, exact = cost + more, exact and same
        if node.op in ("add", "subtract"):
            exact = exact and not any(s in self.node and self.node[s].op in ("multiply", "square") for s in node.inputs)
        seen[symbol] = exact
        return cost, exact

    def _keep(self, symbol: Symbol, until: int) -> None:
        """Find a place for a value from the pass that makes it to a later one."""
        if symbol in self.home:
            return
        if symbol in self.store_pass and symbol not in self.late:
            self.home[symbol] = symbol
            used("a stored value is read again")
            return
        taken = {place for place in self.home.values() if place is not None}
        for place, at in self.store_pass.items():
            free = place not in taken and place not in self.late and self.room(place)
            if free and at >= until and place.dtype == symbol.dtype:
                self.home[symbol] = place
                used("a value is kept in an output's place")
                break
        else:
            self.home[symbol] = None
            used("a value is kept in scratch")
        self.passes[self.ready[symbol]].keeps.append(symbol)
