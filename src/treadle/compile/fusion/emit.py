"""Kernel text: a group of nodes and the geometry of its operands become one small Python function.

The text depends on expressions, dtypes and patterns of strides, never on sizes: those are arguments. Beside the text
that is compiled (and is the kernel's key) goes one for reading, with the user's file:line at each operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from treadle.compile.fusion.items import is_few, is_scalar_constant
from treadle.compile.fusion.joined import Grid, Joined, over
from treadle.compile.fusion.narrow import Narrow, narrow_line
from treadle.compile.fusion.sources import Counted, Drawn, Index, Picked, Source
from treadle.compile.views import View
from treadle.core.graph import Node
from treadle.core.tensor import Symbol
from treadle.errors import Location
from treadle.records import dataclass, field

# Numbers up to this are written into a kernel's text, as literals; others are passed. In kernels over arrays only the
# smallest are, since a number may come from a size (a mean divides by it), and a new size must not make a new kernel.
BAKED, BAKED_IN_LOOPS = 2, 16
BLOCK = 32_768  # elements that one partial of a full reduction covers: cut by size, so sums do not depend on threads


def code(dtype: np.dtype[Any]) -> str:
    """The dtype's name in kernels: "f4", "i8", "b1"."""
    return f"{dtype.kind}{dtype.itemsize}"


Line = tuple[str, Node | None]


@dataclass(slots=True, eq=False)
class Text:
    """Lines of a kernel, each with the node that it computes. Complete when its key is first asked for."""

    lines: list[Line] = field(default_factory=list)
    _key: str = ""

    def add(self, indent: int, line: str, node: Node | None = None) -> None:
        """One more line."""
        self.lines.append(("    " * indent + line, node))

    @property
    def key(self) -> str:
        """What is compiled."""
        if not self._key:
            self._key = "\n".join([line for line, _ in self.lines]) + "\n"
        return self._key


def place_of(location: Location | None) -> str:
    """The place in the user's code that a node comes from; empty where there is none."""
    return location.short if location is not None else ""


@dataclass(frozen=True, slots=True)
class Template:
    """The text of a kernel for groups of one structure: lines with the positions of their nodes in the group, or -1."""

    key: str
    lines: tuple[tuple[str, int], ...]

    @staticmethod
    def of(text: Text | Template, nodes: Sequence[Node]) -> Template:
        """The text of a kernel that was written for a group of these nodes."""
        if isinstance(text, Template):
            return text
        places = {node: k for k, node in enumerate(nodes)}
        return Template(text.key, tuple([(line, places.get(node, -1)) for line, node in text.lines]))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A finished kernel text, and the arguments of one call: views (their addresses), constants and numbers.

    nodes: those whose positions a template names.
    """

    text: Text | Template
    args: tuple[Any, ...]
    hi: int
    grain: int
    nodes: Sequence[Node] = ()


def literal(array: np.ndarray[Any, Any], limit: int) -> str | None:
    """A constant as kernel text when it is small and whole, or a half; None when it should be an argument."""
    value = array.item()
    kind = code(array.dtype)
    if array.dtype.kind == "b":
        return str(value)
    if array.dtype.kind in "iu":
        return f"{kind}({value})" if abs(value) <= limit else None
    if math.isfinite(value) and abs(value) <= limit and (value * 2).is_integer() and not _negative_zero(value):
        return f"{kind}({value!r})"
    return None


# Divisions that have a form for loops over many elements, and of which dtypes.
_DIVISIONS = {"floor_divide": "floordiv", "remainder": "mod"}
_WIDE = (np.dtype(np.int64), np.dtype(np.uint64))


def _negative_zero(value: float) -> bool:
    return value == 0 and math.copysign(1.0, value) < 0


def expression(node: Node, names: Sequence[str]) -> str:
    """The node's element in terms of its operands' names."""
    out = node.outputs[0].dtype
    template = node.definition.scalar
    assert template is not None
    first = node.inputs[0].dtype if len(node.inputs) < 3 else node.inputs[-1].dtype
    text = template.format(*names, t=code(first), o=code(out))
    # Numba widens small integers and mixes bool with int; a cast keeps the dtype that the op says.
    if out.kind in "iub" and not text.startswith(code(out) + "("):
        text = f"{code(out)}({text})"
    return text


class Operands:
    """The arrays a kernel reads and writes, each once, with its strides over the collapsed loop axes."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.views: list[View] = []
        self.strides: list[tuple[int, ...]] = []  # over `shape`; 0 where broadcast
        self.picks: dict[int, list[tuple[int, Index]]] = {}  # operands read by indices: the indices' operands
        self.counted: dict[int, Counted] = {}  # operands that are positions
        self.drawn: dict[int, tuple[Drawn, tuple[int, ...]]] = {}  # random numbers: operands of the state and bounds
        self.few: dict[int, tuple[Drawn, tuple[int, ...]]] = {}  # the same of few random numbers: arrays in a kernel
        self.joined: dict[int, Grid] = {}  # operands in pieces, by the number of the first
        self.written: set[int] = set()

    def add(self, view: View, strides: tuple[int, ...]) -> int:
        """The number of what a kernel writes."""
        number = self._number(view, strides)
        self.written.add(number)
        return number

    def _number(self, view: View, strides: tuple[int, ...]) -> int:
        for k, (known, steps) in enumerate(zip(self.views, self.strides, strict=True)):
            if (
                known.buffer is view.buffer
                and known.offset == view.offset
                and steps == strides
                and known.dtype == view.dtype
            ):
                return k
        self.views.append(view)
        self.strides.append(strides)
        return len(self.views) - 1

    def take(self, source: Source, stretch: Callable[[View], tuple[int, ...]]) -> int:
        """The number of what a kernel reads; stretch: a view's strides over `shape`."""
        if isinstance(source, View):
            return self._number(source, stretch(source))
        if isinstance(source, Joined):
            return self._pieces(source)
        view = source.source if isinstance(source, Picked) else source.view
        self.views.append(view)
        self.strides.append(stretch(view))
        number = len(self.views) - 1
        if isinstance(source, Counted):
            self.counted[number] = source
        elif isinstance(source, Drawn):
            still = (0,) * len(self.shape)
            drawn = self.few if is_few(source.node) else self.drawn
            drawn[number] = source, tuple([self._number(v, still) for v in (source.state, *source.bounds)])
        else:
            self.picks[number] = [(self._number(index.view, stretch(index.view)), index) for index in source.indices]
        return number

    def take_all(
        self, nodes: Sequence[Node], view: Callable[[Symbol], Source], stretch: Callable[[View], tuple[int, ...]]
    ) -> dict[Symbol, int]:
        """The numbers of the arrays that nodes read and do not make."""
        made = {node.outputs[0] for node in nodes}
        found: dict[Symbol, int] = {}
        for node in nodes:
            for symbol in node.inputs:
                if symbol not in made and symbol not in found and not is_scalar_constant(symbol):
                    found[symbol] = self.take(view(symbol), stretch)
        return found

    def _pieces(self, source: Joined) -> int:
        found = over(source, self.shape)
        assert found is not None  # asked before
        first = len(self.views)
        for view, strides in found[1]:
            self.views.append(view)
            self.strides.append(strides)
        self.joined[first] = Grid(found[0], tuple(range(first, len(self.views))))
        return first

    @property
    def apart(self) -> bool:
        """Whether what is written lies in buffers of its own, and all of it where nothing else does."""
        places = [view.buffer.ref or id(view.buffer) for view in self.views]
        if any(view.buffer.kind == "cell" for view in self.views):
            return False
        written = {places[k] for k in self.written}
        return sum(place in written for place in places) == len(self.written)

    def collapse(self, reduced: Sequence[bool]) -> tuple[list[int], list[bool], list[list[int]]]:
        """Axes merged where every operand allows: sizes, whether each is reduced, and strides by operand."""
        sizes: list[int] = []
        flags: list[bool] = []
        strides: list[list[int]] = [[] for _ in self.views]
        cuts: dict[int, list[tuple[int, ...]]] = {k: [] for k in self.joined}
        for axis, size in enumerate(self.shape):
            if size == 1:
                continue
            fits = bool(sizes) and flags[-1] == reduced[axis]
            fits = fits and not any(len(grid.cuts[axis]) > 2 for grid in self.joined.values())
            if fits:
                fits = all(s[-1] == steps[axis] * size for s, steps in zip(strides, self.strides, strict=True))
            if fits:
                sizes[-1] *= size
                for c in cuts.values():
                    c[-1] = tuple([place * size for place in c[-1]])
                for s, steps in zip(strides, self.strides, strict=True):
                    s[-1] = steps[axis]
            else:
                sizes.append(size)
                flags.append(reduced[axis])
                for s, steps in zip(strides, self.strides, strict=True):
                    s.append(steps[axis])
                for k, c in cuts.items():
                    c.append(self.joined[k].cuts[axis])
        for k, c in cuts.items():
            self.joined[k] = Grid(tuple(c), self.joined[k].numbers)
        return sizes, flags, strides


def broadcast_strides(view: View, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The view's strides over a larger shape: 0 along axes that it is stretched over."""
    extra = len(shape) - len(view.shape)
    steps = [0] * extra
    for size, stride, want in zip(view.shape, view.strides, shape[extra:], strict=True):
        steps.append(0 if size == 1 and want != 1 else stride)
    return tuple(steps)


class Body:
    """The straight-line part of a kernel: loads, one line a node, and the names of what it makes."""

    def __init__(self, baked: int = BAKED) -> None:
        self.baked = baked
        self.names: dict[Symbol, str] = {}
        self.narrow: dict[Symbol, Narrow] = {}  # whole numbers that 32 bits hold
        self.fixed: set[Symbol] = set()  # what does not change in the innermost loop
        self.constants: list[np.ndarray[Any, Any]] = []
        self._values: dict[bytes, str] = {}
        self._made = 0

    def name(self, symbol: Symbol) -> str:
        """The kernel's name or literal for a value."""
        known = self.names.get(symbol)
        if known is None:
            assert is_scalar_constant(symbol)
            assert symbol.node is not None
            known = self.names[symbol] = self.constant(symbol.node.attrs["value"].array)
        return known

    def constant(self, array: np.ndarray[Any, Any]) -> str:
        """A literal, or the name of an argument loaded above the loops."""
        text = literal(array, self.baked)
        if text is not None:
            return text
        key = array.dtype.str.encode() + array.tobytes()
        known = self._values.get(key)
        if known is None:
            known = self._values[key] = f"c{len(self.constants)}"
            self.constants.append(array)
        return known

    def line(self, node: Node) -> str:
        """The assignment that computes a node."""
        if self.narrow:
            text = narrow_line(self, node)
            if text is not None:
                return text
        if node.op in _DIVISIONS and node.outputs[0].dtype.kind in "iu":
            text = self._division(node)
        else:
            text = expression(node, [self.name(s) for s in node.inputs])
        return f"{self.made(node.outputs[0])} = {text}"

    def _division(self, node: Node) -> str:
        """The text of a division of integers: a divisor that is known makes it a product, and so is written out."""
        a, b = node.inputs
        known = b not in self.names and is_scalar_constant(b) and b.node is not None
        divisor = literal(b.node.attrs["value"].array, 1 << 62) if known else None  # type: ignore[union-attr]
        text = expression(node, [self.name(a), divisor or self.name(b)])
        if node.outputs[0].dtype in _WIDE:
            text = text.replace(_DIVISIONS[node.op], f"wide_{_DIVISIONS[node.op]}", 1)
        return text

    def made(self, symbol: Symbol) -> str:
        """The name of what a line makes."""
        made = self.names.get(symbol)
        if made is None:
            made = self.names[symbol] = f"v{self._made}"
            self._made += 1
        return made
