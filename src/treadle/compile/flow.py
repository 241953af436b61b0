"""Loops and branches in a program: scalar loops as one kernel, others as jumps around the blocks of their graphs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from treadle.compile import hosts, inplace
from treadle.compile.run.executor import Ref
from treadle.compile.stepping import rotations, turns
from treadle.compile.views import Buffer, View, whole
from treadle.control.loop import joined_name
from treadle.core.graph import Graph, Node
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]


def _all_plain(lowerer: Lowerer, graph: Graph) -> bool:
    from treadle.compile.lower import plain

    return all(plain(s.spec) for s in (*graph.inputs, *graph.outputs))


def lower_cond(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Jumps around two blocks; False when a value is no plain memory (then Python does the branch)."""
    graphs: tuple[Graph, Graph] = (node.attrs["true"], node.attrs["false"])
    if not all(_all_plain(lowerer, graph) for graph in graphs):
        return False
    asm = lowerer.asm
    pred, *operands = [lowerer.value(s, env) for s in node.inputs]
    results = [lowerer.fresh(s, targets) for s in node.outputs]
    taken = {k: p for k, place in enumerate(results) for p, view in enumerate(operands) if _same_place(place, view)}
    careful = any(results[k].buffer.kind == "input" for k in taken)
    otherwise, end = asm.label(), asm.label()
    asm.jump_unless(pred.ref, otherwise)
    for position, graph in enumerate(graphs):
        if position == 1:
            asm.jump(end)
            asm.place(otherwise)
        inner: Env = dict(zip(graph.inputs, operands, strict=True))
        plan = inplace.branch(graph, taken, careful) if taken else None
        assert plan is None or len(plan.pairs) == len(taken), "a branch was to update a value in place"
        _run_into(lowerer, graph, inner, results, plan)
    asm.place(end)
    env.update(zip(node.outputs, results, strict=True))
    return True


def _same_place(a: View, b: View) -> bool:
    """Whether two values lie in the very same memory, in row order."""
    return a.buffer is b.buffer and a.offset == b.offset and a.size == b.size and a.contiguous and b.contiguous


def _run_into(lowerer: Lowerer, graph: Graph, inner: Env, results: list[View], plan: inplace.Plan | None) -> None:
    """Lay out a block whose outputs end in given places; those that `plan` pairs with inputs share theirs."""
    aims: Env = {}
    for symbol, result in zip(graph.outputs, results, strict=True):
        lowerer._aim(symbol, result, aims)
    if plan is not None:
        aims |= {symbol: results[k] for symbol, k in plan.between.items()}
    before = set(lowerer.owned)
    lowerer.block(graph, inner, aims, None if plan is None else plan.work)
    for symbol, result in zip(graph.outputs, results, strict=True):
        lowerer.bring(inner[symbol], result, symbol)
    _release(lowerer, graph, inner, before)


def _release(lowerer: Lowerer, graph: Graph, inner: Env, before: set[int]) -> None:
    """Give back what a block took for its outputs."""
    for symbol in graph.outputs:
        buffer = inner[symbol].buffer
        if id(buffer) not in before:
            lowerer.free(buffer)


def lower_loop(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Jumps around the blocks of test and body; False when a value is no plain memory (then Python does the loop).

    Stacks of unknown length are kept in the run's scratch and grow by doubling.
    """
    from treadle.compile.lower import plain

    body: Graph = node.attrs["body"]
    test: Graph | None = node.attrs["test"]
    layout = node.attrs["layout"]
    assert test is not None or layout.counted or layout.xs or isinstance(node.attrs["steps"], int), "an endless loop"
    joins = [k for k in range(layout.carry, len(body.outputs)) if joined_name(body.outputs[k]) is not None]
    given = (*node.inputs[: int(layout.counted) + layout.carry], *node.outputs[: layout.carry])
    rows_in = (*body.inputs[layout.carry + layout.consts :], *body.outputs[: layout.carry])
    stacked = [s for k, s in enumerate(body.outputs) if k >= layout.carry and k not in joins]
    if not all(plain(s.spec) for s in (*given, *rows_in, *stacked)):
        return False
    if test is not None and node.attrs["reverse"] and len(body.outputs) > layout.carry:
        return False  # rows would have to be shifted at the end; no loop that treadle builds is like this
    if joins and node.attrs["reverse"]:
        return False  # their rows would be joined from the end; only gradients of loops in reverse are like this
    asm = lowerer.asm
    count, carry, consts, xs = layout.parts([lowerer.value(s, env) for s in node.inputs])
    loop = _Loop(lowerer, node, count, xs)
    state = [lowerer.fresh(s, targets) for s in node.outputs[: layout.carry]]
    shared = [id(v.buffer) for v in [*carry, *consts, *xs]]
    # New values go straight to their places where nothing reads the old ones any more; others take turns.
    plan = inplace.carried(body, layout.carry)
    straight, work = plan.pairs, plan.work
    framed = turns.turning(body, layout.carry, straight, work)
    rotating = rotations.chains(body, layout.carry, framed)
    rotated = {k for chain in rotating for k in chain}
    pairs: list[turns.Turn] = []
    for k, (start, place) in enumerate(zip(carry, state, strict=True)):
        if shared.count(id(place.buffer)) > int(_same_place(start, place)):
            # The result's memory is that of a value that the loop still reads.
            state[k] = lowerer.memory(Spec(place.shape, place.dtype))
        if k in rotated:
            continue
        if k in framed:
            pairs.append(turns.begin(lowerer, k, start, state[k], framed[k], loop.steps))
        else:
            lowerer.copy(start, state[k])
    homes = list(state)
    rounds = [rotations.begin(lowerer, body, chain, carry, homes, framed, loop.steps) for chain in rotating]
    for turn in pairs:
        state[turn.k] = turn.now
    for k, now in rotations.members(rounds).items():
        state[k] = now
    made = [*pairs, *(r.turn for r in rounds if r.turn is not None)]
    stacks = loop.stacks(targets)
    loop.begin(stacks)
    lowerer.loops.append((loop.index, node.location))
    inner: Env = dict(zip(body.inputs, [*state, *consts, *loop.items()], strict=True))
    if test is not None:
        seen: Env = dict(zip(test.inputs, [*state, *consts], strict=True))
        before = set(lowerer.owned)
        lowerer.block(test, seen, {})
        asm.jump_unless(seen[test.outputs[0]].ref, loop.end)
        _release(lowerer, test, seen, before)
    rows = loop.rows(stacks)
    aims: Env = {body.outputs[k]: state[k] for k in straight if k not in framed}
    aims |= {symbol: state[k] for symbol, k in plan.between.items() if k not in framed}
    for turn in made:
        turns.aim(turn, body.outputs[turn.k], aims)
    for symbol, row in zip(body.outputs[layout.carry :], rows, strict=True):
        if row is not None:
            lowerer._aim(symbol, row, aims)
    before = set(lowerer.owned)
    lowerer.block(body, inner, aims, work)
    for symbol, row, stack in zip(body.outputs[layout.carry :], rows, stacks, strict=True):
        if row is None:
            hosts.join_rows(lowerer, stack, inner[symbol])
        else:
            lowerer.bring(inner[symbol], row, symbol)
    for turn in made:
        lowerer.bring(inner[body.outputs[turn.k]], turn.after, body.outputs[turn.k])
    _advance(lowerer, body, inner, state, framed.keys() | rotated)
    _release(lowerer, body, inner, before)
    turns.swap(lowerer, pairs)
    for rotation in rounds:
        rotations.swap(lowerer, rotation)
    loop.finish()
    lowerer.loops.pop()
    turns.finish(lowerer, pairs, loop.known)
    for rotation in rounds:
        rotations.finish(lowerer, rotation)
    env.update(zip(node.outputs, [*homes, *stacks], strict=True))
    return True


def _advance(lowerer: Lowerer, body: Graph, inner: Env, state: list[View], turned: Collection[int]) -> None:
    """Bring the new carry to its place; values that are another carry's old one are set aside first."""
    homes = {id(view.buffer): k for k, view in enumerate(state)}
    pending: list[tuple[View, View]] = []
    for k, (symbol, place) in enumerate(zip(body.outputs, state, strict=False)):
        if k in turned:
            continue
        value = inner[symbol]
        home = homes.get(id(value.buffer))
        if home == k and value.offset == place.offset and value.contiguous and value.size == place.size:
            continue
        if home is not None:
            aside = lowerer.memory(Spec(place.shape, place.dtype))
            lowerer.copy(value, aside)
            pending.append((aside, place))
        else:
            pending.append((value, place))
    for value, place in pending:
        lowerer.copy(value, place)
    for value, _ in pending:
        if not any(value is inner[s] for s in body.outputs):
            lowerer.free(value.buffer)


class _Loop:
    """The counters, addresses and jumps of one loop."""

    def __init__(self, lowerer: Lowerer, node: Node, count: View | None, xs: list[View]) -> None:
        self.lowerer, self.node, self.asm = lowerer, node, lowerer.asm
        self.count = count
        self.given = xs
        self.reverse: bool = node.attrs["reverse"]
        self.steps = node.attrs["steps"] if isinstance(node.attrs["steps"], int) else None
        self.known = self.steps is not None
        # Only a test makes the number of steps unknown at the start: then stacks grow.
        self.growing = node.attrs["test"] is not None
        self.index = self.asm.counter()
        self.position = self.asm.counter()
        self.top, self.end = self.asm.label(), self.asm.label()
        symbols = node.attrs["layout"].parts(node.inputs)[3]
        self.xs = [self._source(symbol, view) for symbol, view in zip(symbols, xs, strict=True)]
        self.limit: int | Ref | None = self.steps
        self.made: Sequence[Symbol] = node.attrs["body"].outputs[node.attrs["layout"].carry :]

    def _source(self, symbol: Symbol, view: View) -> tuple[Ref, int, Spec]:
        """Base address, bytes from step to step, and the spec of an item."""
        spec = Spec(symbol.shape[1:], symbol.dtype)
        if "object" in view.buffer.kind or view.buffer.kind == "stack":
            return hosts.array_base(self.lowerer, view), spec.nbytes, spec
        if not View(view.buffer, view.shape[1:], view.dtype, view.strides[1:]).contiguous:
            view = self.lowerer.contiguous(view)
        return view.ref, view.strides[0] * view.dtype.itemsize, spec

    def stacks(self, targets: Env) -> list[View]:
        """Places for the stacked outputs."""
        found = []
        carried = self.node.attrs["layout"].carry
        for symbol in self.node.outputs[carried:]:
            if self.known and symbol.spec.static:
                found.append(self.lowerer.fresh(symbol, targets))
            else:
                found.append(hosts.new_stack(self.lowerer, symbol))
        return found

    def begin(self, stacks: list[View]) -> None:
        """Counters to the start, and the top of the loop."""
        asm = self.asm
        asm.set(self.index, 0)
        if self.count is not None:
            limit = asm.cell()
            asm.load_i8(limit, self.count.ref)
            self.limit = limit
        elif self.limit is None and self.given:
            self.limit = hosts.number_of_rows(self.lowerer, self.given[0])
        if self.reverse and self.limit is not None:
            if isinstance(self.limit, int):
                asm.set(self.position, self.limit - 1)
            else:
                asm.move(self.position, self.limit)
                asm.add(self.position, -1)
        else:
            asm.set(self.position, 0)
        if isinstance(self.limit, Ref) and self.node.attrs["test"] is None:
            for stack, symbol in zip(stacks, self.made, strict=True):
                if joined_name(symbol) is None:
                    hosts.reserve(self.lowerer, stack, self.limit)
        asm.place(self.top)
        if self.limit is not None:
            go = asm.label()
            asm.jump_less(self.index, self.limit, go)
            asm.jump(self.end)
            asm.place(go)

    def items(self) -> list[View]:
        """This step's element of each x."""
        found = []
        for base, stride, spec in self.xs:
            cell = self.asm.cell()
            self.asm.address(cell, base, self.position, stride)
            found.append(whole(Buffer("cell", cell, spec.nbytes), spec))
        return found

    def rows(self, stacks: list[View]) -> list[View | None]:
        """This step's row of each stack; None for one to which a step brings any number of rows."""
        found: list[View | None] = []
        carried = self.node.attrs["layout"].carry
        body: Graph = self.node.attrs["body"]
        for stack, symbol in zip(stacks, body.outputs[carried:], strict=True):
            if joined_name(symbol) is not None:
                found.append(None)
                continue
            spec = Spec(symbol.shape, symbol.dtype)
            cell = self.asm.cell()
            if stack.buffer.kind == "stack" and self.growing:
                base = hosts.room(self.lowerer, stack, self.index)
                self.asm.address(cell, base, self.index, spec.nbytes)
            else:
                base = stack.buffer.stack.base if stack.buffer.kind == "stack" else stack.ref
                self.asm.address(cell, base, self.position, spec.nbytes)
            found.append(whole(Buffer("cell", cell, spec.nbytes), spec))
        if self.growing:
            own = [stack for stack, row in zip(stacks, found, strict=True) if row is not None]
            hosts.note_length(self.lowerer, own, self.index)
        return found

    def finish(self) -> None:
        """Step on, jump back, and the end."""
        asm = self.asm
        asm.add(self.index, 1)
        asm.add(self.position, -1 if self.reverse and self.limit is not None else 1)
        asm.jump(self.top)
        asm.place(self.end)
