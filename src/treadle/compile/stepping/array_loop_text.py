"""The kernel text of a loop over arrays: blocks of elements outside, steps inside, and passes over the block in each.

A call takes the steps from `begin` to `begin + chunk`. Scalars are read from where the last call left them and written
to another place, since blocks that run side by side all compute them; arrays are worked on where their results lie.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from treadle.compile.fusion.emit import BAKED, Body, Text, code
from treadle.compile.fusion.reduce import combine, identity
from treadle.compile.stepping.array_loops import ArrayLoop, Staged
from treadle.compile.stepping.scalar_loops import ScalarWriter
from treadle.core.graph import Graph, Node
from treadle.core.tensor import Symbol
from treadle.records import dataclass, field


@dataclass(slots=True)
class LoopText:
    """The text, and what its arguments are: words that name them, constants, and arrays kept between passes."""

    text: Text
    words: list[str]
    constants: list[np.ndarray]
    stretched: list[Symbol]
    scratch: list[Symbol]


@dataclass(slots=True)
class _Store:
    """What a pass writes to memory: `place` is text, `symbol` the value."""

    place: str
    symbol: Symbol
    old: Symbol | None = None  # the carried value that this overwrites


@dataclass(slots=True)
class _Passes:
    """The passes of one graph: where its arrays are read from, and what is stored in which pass."""

    staged: Staged
    loads: dict[Symbol, str] = field(default_factory=dict)
    stores: list[_Store] = field(default_factory=list)
    at: dict[int, int] = field(default_factory=dict)  # number of a store -> its pass

    def reads(self, number: int) -> list[Symbol]:
        """The arrays that the nodes of a pass read, without those that it makes."""
        nodes = self.staged.arrays[number] if number < len(self.staged.arrays) else []
        made = {s for node in nodes for s in node.outputs}
        found = [self.staged.real(s) for node in nodes for s in node.inputs]
        found += [self.staged.real(s.symbol) for k, s in enumerate(self.stores) if self.at[k] == number]
        return [s for s in dict.fromkeys(found) if s not in made]

    @property
    def count(self) -> int:
        """How many passes there are."""
        return max([len(self.staged.arrays), len(self.staged.scalars), *(p + 1 for p in self.at.values())])

    def settle(self) -> None:
        """Find each store's pass: that of its value, and not before the last that reads what it overwrites."""
        level = self.staged.level
        self.at = {k: level.get(self.staged.real(s.symbol), 0) for k, s in enumerate(self.stores)}
        changed = True
        while changed:
            changed = False
            last = {s: p for p in range(self.count) for s in self.reads(p)}
            for k, store in enumerate(self.stores):
                if store.old is not None and last.get(store.old, -1) > self.at[k]:
                    self.at[k] = last[store.old]
                    changed = True

    def kept(self) -> list[Symbol]:
        """Arrays that one pass makes and a later one reads."""
        home = {
            s: p for p, nodes in enumerate(self.staged.arrays) for n in nodes if n.outputs[0].shape for s in n.outputs
        }
        found: dict[Symbol, None] = {}
        for number in range(self.count):
            found.update((s, None) for s in self.reads(number) if home.get(s, number) < number)
        return list(found)


class ArrayLoopWriter:
    """Writes one loop's kernel."""

    def __init__(self, loop: ArrayLoop, apart: bool, dense: Sequence[bool]) -> None:
        """apart: no two arrays overlap. dense: of each x, whether the elements of a row lie side by side."""
        self.loop, self.node, self.apart, self.dense = loop, loop.node, apart, dense
        self.layout = loop.node.attrs["layout"]
        self.body: Graph = loop.node.attrs["body"]
        self.test: Graph | None = loop.node.attrs["test"]
        self.scalar = ScalarWriter(body=Body(BAKED))
        self.text = self.scalar.text
        self.words: list[str] = []
        self.head: list[str] = []
        self.block: list[str] = []  # pointers to a block's first elements
        self.stretched: list[Symbol] = []
        self.scratch: list[Symbol] = []

    def argument(self, word: str) -> str:
        """One more argument; the text that reads it."""
        self.words.append(word)
        return f"args[{len(self.words) - 1}]"

    def pointer(self, word: str, kind: str) -> str:
        """A pointer to this block's elements of an array."""
        name = "q_" + word.replace(" ", "")
        self.head.append(f"a{name} = {self.argument(word)}")
        self.block.append(f"{name} = p_{kind}(a{name} + first * {kind[1]})")
        return name

    # -- the whole -----------------------------------------------------------------------------------------------------

    def write(self) -> LoopText:
        """The kernel."""
        carry, consts, xs = self._inputs()
        names = [f"k{k}_" for k in range(len(carry))]
        self.head += [f"size = {self.argument('size')}", f"width = {self.argument('width')}"]
        limit = self._bounds()
        places = [self._carried(k, symbol) for k, symbol in enumerate(carry)]
        held = {s: self._const(k, s) for k, s in enumerate(consts)}
        self._begin(carry, names, places)
        self._steps(carry, consts, xs, names, places, held, limit)
        self._end(carry, names, limit)
        return LoopText(self._joined(), self.words, self.scalar.body.constants, self.stretched, self.scratch)

    def _inputs(self) -> tuple[list[Symbol], list[Symbol], list[Symbol]]:
        a, b = self.layout.carry, self.layout.carry + self.layout.consts
        inputs = self.body.inputs
        return list(inputs[:a]), list(inputs[a:b]), list(inputs[b:])

    def _bounds(self) -> str | None:
        """Which steps this call takes; the name of the limit."""
        self.head += [f"begin = {self.argument('begin')}", f"stop = begin + {self.argument('chunk')}"]
        limit = None
        if self.layout.counted:
            limit = f"p_i8({self.argument('count')})[0]"
        elif isinstance(self.node.attrs["steps"], int):
            limit = self.argument("steps")
        if limit is None:
            return None
        self.head += [f"limit = {limit}", "last = min(stop, limit)"]
        return "limit"

    def _carried(self, k: int, symbol: Symbol) -> str:
        kind = code(symbol.dtype)
        if symbol.shape:
            return self.pointer(f"result {k}", kind)
        self.head.append(f"out{k} = p_{kind}({self.argument(f'result {k}')})")
        return f"k{k}_"

    def _const(self, k: int, symbol: Symbol) -> str:
        """Where a constant of the loop lies: text that reads it."""
        kind = code(symbol.dtype)
        if symbol.shape:
            return f"{self.pointer(f'const {k}', kind)}[j]"
        self.head.append(f"h{k}_ = p_{kind}({self.argument(f'const {k}')})[0]")
        return f"h{k}_"

    def _begin(self, carry: list[Symbol], names: list[str], places: list[str]) -> None:
        """The first call takes what the loop begins with; later ones what the last has left."""
        add = self.text.add
        scalars = [k for k, s in enumerate(carry) if not s.shape]
        arrays = [k for k, s in enumerate(carry) if s.shape]
        if carry:
            add(2, "if begin == 0:")
        for k in arrays:
            source = self.pointer(f"start {k}", code(carry[k].dtype))
            add(3, "for j in range(n):")
            add(4, f"{places[k]}[j] = {source}[j]")
        for k in scalars:
            add(3, f"{names[k]} = p_{code(carry[k].dtype)}({self.argument(f'start {k}')})[0]")
        if scalars:
            add(2, "else:")
            for k in scalars:
                add(3, f"{names[k]} = p_{code(carry[k].dtype)}({self.argument(f'left {k}')})[0]")

    def _steps(
        self,
        carry: list[Symbol],
        consts: list[Symbol],
        xs: list[Symbol],
        names: list[str],
        places: list[str],
        held: dict[Symbol, str],
        limit: str | None,
    ) -> None:
        """The loop over steps."""
        add = self.text.add
        add(2, "done = begin")
        add(2, "more = True")
        add(2, f"while done < {'last' if limit else 'stop'}:", self.node)
        if self.test is not None:
            assert self.loop.test is not None
            passes = _Passes(self.loop.test)
            self._bind(passes, self.test.inputs, [*carry, *consts], names, places, held)
            self._passes(self.test, passes)
            (go,) = self.test.outputs
            add(3, f"if not {self._name(passes, go)}:")
            add(4, "more = False")
            add(4, "break")
        passes = _Passes(self.loop.body)
        self._bind(passes, self.body.inputs, [*carry, *consts], names, places, held)
        if (xs or len(self.body.outputs) > len(carry)) and limit:
            add(3, f"position = {'limit - 1 - done' if self.node.attrs['reverse'] else 'done'}")
        for k, symbol in enumerate(xs):
            self._stepped(passes, k, symbol)
        for k, (symbol, end) in enumerate(zip(carry, self.body.outputs, strict=False)):
            if symbol.shape and end is not symbol:
                passes.stores.append(_Store(f"{places[k]}[j]", end, symbol))
        rows = self._rows(passes)
        self._passes(self.body, passes)
        for place, end in rows:
            add(3, f"{place} = {self._name(passes, end)}")
        self._advance(carry, names, passes)
        add(3, "done += 1")

    def _bind(
        self,
        passes: _Passes,
        inputs: Sequence[Symbol],
        outer: Sequence[Symbol],
        names: list[str],
        places: list[str],
        held: dict[Symbol, str],
    ) -> None:
        """Say where a graph's inputs are read from."""
        for k, (symbol, given) in enumerate(zip(inputs, outer, strict=False)):
            text = held[given] if given in held else (f"{places[k]}[j]" if given.shape else names[k])
            if given.shape:
                passes.loads[symbol] = text
            else:
                self.scalar.call(symbol, text)
        for symbol in passes.staged.stretched:
            if symbol not in passes.loads:  # a constant inside the graph
                word = f"array {len(self.stretched)}"
                self.stretched.append(symbol)
                passes.loads[symbol] = f"{self.pointer(word, code(symbol.dtype))}[j]"

    def _stepped(self, passes: _Passes, k: int, symbol: Symbol) -> None:
        """This step's row of an x."""
        kind = code(symbol.dtype)
        self.head += [f"x{k}_ = {self.argument(f'x {k}')}", f"sx{k}_ = {self.argument(f'x stride {k}')}"]
        if symbol.shape and self.dense[k]:
            self.text.add(3, f"e{k}_ = p_{kind}(x{k}_ + (position * sx{k}_ + first * {kind[1]}))")
            passes.loads[symbol] = f"e{k}_[j]"
        elif symbol.shape:
            self.head.append(f"gap{k}_ = {self.argument(f'x gap {k}')}")
            self.text.add(3, f"e{k}_ = p_{kind}(x{k}_ + (position * sx{k}_ + first * gap{k}_ * {kind[1]}))")
            row = self.pointer(f"x row {k}", kind)
            self.text.add(3, "for j in range(n):")  # by itself: work that reads with gaps is not vectorised
            self.text.add(4, f"{row}[j] = e{k}_[j * gap{k}_]")
            passes.loads[symbol] = f"{row}[j]"
        else:
            self.text.add(3, f"e{k}_ = p_{kind}(x{k}_ + position * sx{k}_)[0]")
            self.scalar.call(symbol, f"e{k}_")

    def _rows(self, passes: _Passes) -> list[tuple[str, Symbol]]:
        """This step's row of each stack; arrays are stored by passes, scalars are told."""
        found = []
        for k, symbol in enumerate(self.body.outputs[self.layout.carry :]):
            kind = code(symbol.dtype)
            self.head.append(f"y{k}_ = {self.argument(f'y {k}')}")
            if symbol.shape:
                row = f"(position * size + first) * {kind[1]}"
                self.text.add(3, f"r{k}_ = p_{kind}(y{k}_ + {row})")
                passes.stores.append(_Store(f"r{k}_[j]", symbol))
            else:
                self.head.append(f"r{k}_ = p_{kind}(y{k}_)")
                found.append((f"r{k}_[position]", symbol))
        return found

    # -- passes --------------------------------------------------------------------------------------------------------

    def _passes(self, graph: Graph, passes: _Passes) -> None:
        """A graph's work: scalars, a pass over the elements, the scalars that follow from it, and so on."""
        for node in graph.nodes:
            if node.op == "full" and not node.inputs:
                value = np.asarray(node.attrs["value"], node.outputs[0].dtype)
                self.scalar.call(node.outputs[0], self.scalar.literal(value))
        passes.settle()
        for symbol in passes.kept():
            number = len(self.scratch)
            self.scratch.append(symbol)
            place = f"{self.pointer(f'scratch {number}', code(symbol.dtype))}[j]"
            passes.stores.append(_Store(place, symbol))
            passes.at[len(passes.stores) - 1] = passes.staged.level[symbol]
            passes.loads[symbol] = place
        staged = passes.staged
        for number in range(passes.count):
            for node in staged.scalars[number] if number < len(staged.scalars) else []:
                self._alias(passes, node)
                self.scalar.node(node, 3)
            self._pass(passes, number)

    def _alias(self, passes: _Passes, node: Node) -> None:
        for symbol in node.inputs:
            self._name(passes, symbol)

    def _name(self, passes: _Passes, symbol: Symbol) -> str:
        """The name of a value, or of what it shows."""
        text = self.scalar.name(passes.staged.real(symbol))
        self.scalar.call(symbol, text)
        return text

    def _pass(self, passes: _Passes, number: int) -> None:
        nodes = passes.staged.arrays[number] if number < len(passes.staged.arrays) else []
        stores = [s for k, s in enumerate(passes.stores) if passes.at[k] == number]
        if not nodes and not stores:
            return
        add = self.text.add
        sums: dict[Symbol, str] = {}
        for node in nodes:
            if not node.outputs[0].shape:
                name = sums[node.outputs[0]] = self.scalar.fresh("s")
                add(3, f"{name} = {identity(node.op, node.outputs[0].dtype)}")
        add(3, "for j in range(n):")
        for symbol in passes.reads(number):
            if symbol in passes.loads:
                name = self.scalar.fresh("x")
                self.scalar.call(symbol, name)
                add(4, f"{name} = {passes.loads[symbol]}")
        for node in nodes:
            self._alias(passes, node)
            if node.outputs[0].shape:
                self.scalar.element(node, 4)
            else:
                self._sum(node, sums[node.outputs[0]])
        for store in stores:
            add(4, f"{store.place} = {self._name(passes, store.symbol)}")
        for symbol, name in sums.items():
            self.scalar.call(symbol, name)

    def _sum(self, node: Node, name: str) -> None:
        dtype = node.outputs[0].dtype
        value = self.scalar.name(node.inputs[0])
        if node.inputs[0].dtype != dtype:
            value = f"{code(dtype)}({value})"
        self.text.add(4, f"{name} = {combine(node.op, dtype, name, value)}", node)

    # -- the end -------------------------------------------------------------------------------------------------------

    def _advance(self, carry: list[Symbol], names: list[str], passes: _Passes) -> None:
        """The scalars' new values, all at once."""
        pairs = [
            (k, self._name(passes, end))
            for k, (symbol, end) in enumerate(zip(carry, self.body.outputs, strict=False))
            if not symbol.shape
        ]
        pairs = [(k, end) for k, end in pairs if end != names[k]]
        for k, end in pairs:
            self.text.add(3, f"t{k}_ = {code(carry[k].dtype)}({end})")
        for k, _ in pairs:
            self.text.add(3, f"{names[k]} = t{k}_")

    def _end(self, carry: list[Symbol], names: list[str], limit: str | None) -> None:
        """Leave the scalars where the next call, or who reads the results, finds them."""
        for k, symbol in enumerate(carry):
            if not symbol.shape:
                self.text.add(2, f"out{k}[0] = {names[k]}")
        self.head.append(f"going = p_b1({self.argument('going')})")
        self.text.add(2, "going[0] = more & (done < limit)" if limit else "going[0] = more")

    def _joined(self) -> Text:
        full = Text()
        full.add(0, "def kernel(args, lo, hi):" + ("  # apart" if self.apart else ""))
        for line in self.head:
            full.add(1, line)
        for k, array in enumerate(self.scalar.body.constants):
            full.add(1, f"c{k} = p_{code(array.dtype)}({self.argument(f'constant {k}')})[0]")
        full.add(1, "for block in range(lo, hi):")
        full.add(2, "first = block * width")
        full.add(2, "n = min(width, size - first)")
        for line in self.block:
            full.add(2, line)
        full.lines += self.text.lines
        full.add(1, "return 0")
        return full
