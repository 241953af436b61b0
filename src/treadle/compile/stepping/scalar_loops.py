"""Loops of scalar work as one kernel: the loop, its branches and the loops inside it, with the values in registers.

The kernel stops every few million iterations and can be entered again, so that Ctrl-C works in a loop of any length:
between entries its carry stands in the buffers of its results. A loop inside whose number of steps is known and small
runs to its end. Another may stop half-way: its carry is kept too, and when the kernel is entered again, the iteration
around it begins anew (nothing in it has effects) and finds the loop where it was. A failed `assert` ends the kernel
with a status.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from treadle.compile.fusion.emit import BAKED_IN_LOOPS, Body, Text, code, expression
from treadle.compile.fusion.fuse import in_kernel, is_elementwise, is_scalar_constant
from treadle.core.graph import Graph, Node
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol
from treadle.records import dataclass, field

BUDGET = 1 << 22  # iterations between two looks at Python: a few milliseconds of scalar work
INNER = 1 << 16  # steps that the loops inside may take in one iteration
SAVE = "save"  # stands in a text for the lines that keep the state, of which some are known only at the end
CHECK = 2  # the status of the first check; further checks count up


def _scalar(spec: Spec) -> bool:
    return spec.shape == () and in_kernel(spec)


def _scalar_graph(graph: Graph, opened: bool) -> bool:
    """Whether everything in a graph is scalar work that a kernel can hold; opened: also loops that stop half-way."""
    if not all(_scalar(s.spec) for s in graph.inputs):
        return False
    return all(is_scalar_node(node, opened) for node in graph.nodes)


def is_scalar_node(node: Node, opened: bool = False) -> bool:
    """Whether a node is scalar work that a kernel can hold."""
    if not all(_scalar(s.spec) for s in (*node.inputs, *node.outputs)):
        return False
    if node.op in ("cond", "while"):
        if node.op == "while" and (node.attrs["layout"].xs or _stacks(node) or not (opened or _steps(node))):
            return False
        return all(_scalar_graph(inner, opened) for _, inner in node.graphs())
    if node.op == "constant":
        return is_scalar_constant(node.outputs[0])
    return is_elementwise(node) or (node.op == "assert" and len(node.inputs) == 1)


def _steps(node: Node) -> int:
    """The steps of a loop and of those inside it; 0 where they are not known or too many to be taken at one go."""
    steps = node.attrs["steps"]
    if not isinstance(steps, int) or any(n.op == "while" and not _steps(n) for n in node.attrs["body"].walk()):
        return 0
    total = max(steps, 1) * (1 + _inner_steps(node.attrs["body"]))
    return total if total <= INNER else 0


def _inner_steps(graph: Graph) -> int:
    """How many steps the loops in a graph take."""
    inner = [_steps(node) or _inner_steps(node.attrs["body"]) for node in graph.nodes if node.op == "while"]
    inner += [_inner_steps(g) for node in graph.nodes if node.op == "cond" for _, g in node.graphs()]
    return sum(inner)


def _stacks(node: Node) -> int:
    stacks: int = len(node.attrs["body"].outputs) - node.attrs["layout"].carry
    return stacks


def is_scalar_loop(node: Node) -> bool:
    """Whether a loop node can become one kernel: scalar carry and work; xs and stacks of scalars with known length."""
    if node.op != "while":
        return False
    layout = node.attrs["layout"]
    if (layout.xs or _stacks(node)) and not isinstance(node.attrs["steps"], int):
        return False
    _, carry, consts, xs = layout.parts(node.inputs)
    if not all(_scalar(s.spec) for s in (*carry, *consts)):
        return False
    if not all(len(s.shape) == 1 and in_kernel(s.spec) for s in xs):
        return False
    if not all(in_kernel(s.spec) for s in node.outputs):
        return False
    return all(_scalar_graph(graph, True) for _, graph in node.graphs())


@dataclass(slots=True)
class LoopKernel:
    """A loop's kernel text; `args` are, in order: fresh state, count, carry results, carry starts, consts, xs, ys, ...

    checks: the assert nodes whose failure is status CHECK, CHECK + 1, ...
    kept: how many words of 8 bytes the loops inside need between entries.
    """

    text: Text
    constants: list[np.ndarray[Any, Any]]
    checks: list[Node]
    words: list[str]
    kept: int


@dataclass(slots=True)
class ScalarWriter:
    """Writes scalar nodes, branches and loops, line by line."""

    text: Text = field(default_factory=Text)
    body: Body = field(default_factory=lambda: Body(BAKED_IN_LOOPS))
    checks: list[Node] = field(default_factory=list)
    count: int = 0
    kept: list[tuple[str, str]] = field(default_factory=list)  # names and kinds that loops inside keep between entries
    flags: list[str] = field(default_factory=list)  # of the loops inside that have begun in the present iteration

    def fresh(self, prefix: str) -> str:
        """A name that no other line uses."""
        self.count += 1
        return f"{prefix}{self.count}"

    def graph(self, graph: Graph, names: list[str], indent: int, save: list[str]) -> list[str]:
        """A graph's nodes, line by line; the names of its outputs."""
        for symbol, name in zip(graph.inputs, names, strict=True):
            self.body.names[symbol] = name
        for node in graph.nodes:
            self.node(node, indent, save)
        return [self.body.name(s) for s in graph.outputs]

    def node(self, node: Node, indent: int, save: list[str]) -> None:
        """One node's lines."""
        if node.op == "constant":
            return
        if node.op == "cond":
            self.cond(node, indent, save)
        elif node.op == "while":
            self.loop(node, indent, save)
        elif node.op == "assert":
            self.check(node, indent, save)
        else:
            values = [self.body.name(s) for s in node.inputs]
            made = self.body.names[node.outputs[0]] = self.fresh("v")
            self.text.add(indent, f"{made} = {expression(node, values)}", node)

    def check(self, node: Node, indent: int, save: list[str]) -> None:
        """A failed check saves the state and ends the kernel with a status of its own."""
        self.text.add(indent, f"if not {self.body.name(node.inputs[0])}:", node)
        for line in [*save, "failed[0] = done"]:
            self.text.add(indent + 1, line)
        self.text.add(indent + 1, f"return {CHECK + len(self.checks)}")
        self.checks.append(node)

    def cond(self, node: Node, indent: int, save: list[str]) -> None:
        """A branch."""
        results = [self.fresh("w") for _ in node.outputs]
        operands = [self.body.name(s) for s in node.inputs[1:]]
        for word, key in (("if " + self.body.name(node.inputs[0]), "true"), ("else", "false")):
            self.text.add(indent, f"{word}:", node)
            ends = self.graph(node.attrs[key], operands, indent + 1, save)
            for name, end, symbol in zip(results, ends, node.outputs, strict=True):
                self.text.add(indent + 1, f"{name} = {code(symbol.dtype)}({end})")
            if not results:
                self.text.add(indent + 1, "pass")
        for symbol, name in zip(node.outputs, results, strict=True):
            self.body.names[symbol] = name

    def loop(self, node: Node, indent: int, save: list[str]) -> None:
        """A loop inside: one that is short has no state of its own between entries, so it runs to its end."""
        layout = node.attrs["layout"]
        count, carry, consts, _ = layout.parts(node.inputs)
        opened = not _steps(node)
        names = [self.fresh("k") for _ in carry]
        counter = self.fresh("n")
        starts = [f"{code(symbol.dtype)}({self.body.name(symbol)})" for symbol in carry]
        begun = ""
        if opened:
            begun = self.fresh("begun")
            self.flags.append(begun)
            kinds = [code(symbol.dtype) for symbol in carry]
            self.kept += [(begun, "i8"), (counter, "i8"), *zip(names, kinds, strict=True)]
            self.text.add(indent, f"if {begun} == 0:")
        inside = indent + opened
        for name, start in zip(names, starts, strict=True):
            self.text.add(inside, f"{name} = {start}")
        self.text.add(inside, f"{counter} = i8(0)")
        if opened:
            self.text.add(inside, f"{begun} = i8(1)")
        held = [self.body.name(s) for s in consts]
        steps = node.attrs["steps"]
        limit = self.body.name(count) if count is not None else (str(steps) if isinstance(steps, int) else None)
        self.text.add(indent, f"while {f'{counter} < {limit}' if limit is not None else 'True'}:", node)
        first = len(self.flags)
        self.turn(node, [*names, *held], names, indent + 1, save)
        self.text.add(indent + 1, f"{counter} += i8(1)")
        if opened:
            self.again(indent + 1, first)
        for symbol, name in zip(node.outputs, names, strict=True):
            self.body.names[symbol] = name

    def again(self, indent: int, first: int = 0) -> None:
        """An iteration has ended: the loops in it have not begun in the next; when the budget is spent, save all."""
        for begun in self.flags[first:]:
            self.text.add(indent, f"{begun} = i8(0)")
        self.text.add(indent, "budget -= 1")
        self.text.add(indent, "if budget == 0:")
        self.text.add(indent + 1, SAVE)
        self.text.add(indent + 1, "return 1")

    def turn(self, node: Node, names: list[str], carry: list[str], indent: int, save: list[str]) -> list[str]:
        """One iteration: the test, the body, and the new carry; the names of the further outputs."""
        test: Graph | None = node.attrs["test"]
        layout = node.attrs["layout"]
        if test is not None:
            (go,) = self.graph(test, names[: layout.carry + layout.consts], indent, save)
            self.text.add(indent, f"if not {go}:")
            self.text.add(indent + 1, "break")
        ends = self.graph(node.attrs["body"], names, indent, save)
        for k in range(len(carry), len(ends)):
            if ends[k] in carry:  # the row is the value before this iteration changes it
                kept = self.fresh("r")
                self.text.add(indent, f"{kept} = {ends[k]}")
                ends[k] = kept
        new = [self.fresh("t") for _ in carry]
        moves = [(t, c, end) for t, c, end in zip(new, carry, ends[: len(carry)], strict=True) if end != c]
        crossing = any(end in carry for _, _, end in moves)
        for t, c, end in moves:
            symbol_code = code(self._carry_symbol(node, carry.index(c)).dtype)
            self.text.add(indent, f"{t if crossing else c} = {symbol_code}({end})")
        if crossing:
            for t, c, _ in moves:
                self.text.add(indent, f"{c} = {t}")
        return ends[len(carry) :]

    @staticmethod
    def _carry_symbol(node: Node, k: int) -> Symbol:
        symbol = node.attrs["body"].outputs[k]
        assert isinstance(symbol, Symbol)
        return symbol


def write_loop(node: Node) -> LoopKernel:
    """The kernel of a scalar loop."""
    layout = node.attrs["layout"]
    count, carry, consts, xs = layout.parts(node.inputs)
    body: Graph = node.attrs["body"]
    steps = node.attrs["steps"]
    writer = ScalarWriter()
    words: list[str] = ["state", "done"]
    head: list[str] = []

    def argument(word: str) -> str:
        words.append(word)
        return f"args[{len(words) - 1}]"

    names = [f"k{k}_" for k in range(len(carry))]
    limit = None
    if count is not None:
        limit = "limit"
        head.append(f"limit = p_i8({argument('count')})[0]")
    elif isinstance(steps, int):
        limit = "limit"
        head.append(f"limit = {argument('steps')}")
    for k, symbol in enumerate(carry):
        head.append(f"out{k} = p_{code(symbol.dtype)}({argument(f'result {k}')})")
    starts = [f"p_{code(s.dtype)}({argument(f'start {k}')})[0]" for k, s in enumerate(carry)]
    held = []
    for k, symbol in enumerate(consts):
        held.append(f"h{k}_")
        head.append(f"h{k}_ = p_{code(symbol.dtype)}({argument(f'const {k}')})[0]")
    for k, symbol in enumerate(xs):
        head.append(f"x{k}_ = p_{code(symbol.dtype)}({argument(f'x {k}')})")
        head.append(f"sx{k}_ = {argument(f'x stride {k}')}")
    stacked = body.outputs[layout.carry :]
    for k, symbol in enumerate(stacked):
        head.append(f"y{k}_ = p_{code(symbol.dtype)}({argument(f'y {k}')})")

    save = [f"out{k}[0] = {name}" for k, name in enumerate(names)] + ["args[0] = 1", "args[1] = done"]
    text = writer.text
    position = "limit - 1 - done" if node.attrs["reverse"] else "done"
    text.add(1, f"while {'done < limit' if limit else 'True'}:", node)
    inputs = [*names, *held]
    for k in range(len(xs)):
        text.add(2, f"e{k}_ = x{k}_[({position}) * sx{k}_]")
        inputs.append(f"e{k}_")
    ys = writer.turn(node, inputs, names, 2, save)
    for k, name in enumerate(ys):
        text.add(2, f"y{k}_[{position}] = {name}")
    text.add(2, "done += 1")
    writer.again(2)
    for line in save:
        text.add(1, line)
    text.add(1, "return 0")

    full = Text()
    full.add(0, "def kernel(args, lo, hi):")
    for line in head:
        full.add(1, line)
    for k in range(len(writer.body.constants)):
        array = writer.body.constants[k]
        full.add(1, f"c{k} = p_{code(array.dtype)}({argument(f'constant {k}')})[0]")
    if writer.checks:
        full.add(1, f"failed = p_i8({argument('iteration')})")
    full.add(1, "done = args[1]")
    full.add(1, f"budget = {max(1, BUDGET // (1 + _inner_steps(body)))}")
    if writer.kept:
        full.add(1, f"kept = {argument('kept')}")
    if names or writer.kept:
        full.add(1, "if args[0] == 0:")
        for name, start in zip(names, starts, strict=True):
            full.add(2, f"{name} = {start}")
        for name, kind in writer.kept:
            full.add(2, f"{name} = {kind}({'False' if kind == 'b1' else '0'})")
        full.add(1, "else:")
        for k, name in enumerate(names):
            full.add(2, f"{name} = out{k}[0]")
        for k, (name, kind) in enumerate(writer.kept):
            full.add(2, f"{name} = p_{kind}(kept + {8 * k})[0]")
    whole = [*save, *(f"p_{kind}(kept + {8 * k})[0] = {name}" for k, (name, kind) in enumerate(writer.kept))]
    for line, where in text.lines:
        if line.strip() == SAVE:
            full.lines += [(line.replace(SAVE, kept), where) for kept in whole]
        else:
            full.lines.append((line, where))
    return LoopKernel(full, writer.body.constants, writer.checks, words, len(writer.kept))
