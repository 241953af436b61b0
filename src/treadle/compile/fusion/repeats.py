"""Groups of one structure: what the first led to is done again for the others, with their memory in place of its own.

The layers of a network are the same kernels over other arrays, and a function that is traced again holds the groups of
its first trace. Planning and writing a kernel costs a millisecond; what comes out depends only on the ops of the group
and on how its operands lie to each other, so that a second group of the same structure, in whatever program of this
process, takes over the calls of the first. The places in the user's code that kernels show are its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle.compile.fusion import rules
from treadle.compile.fusion.emit import Kernel, Template
from treadle.compile.fusion.items import Group, Virtual, is_scalar_constant
from treadle.compile.fusion.joined import ZEROS
from treadle.compile.fusion.lines import line_of
from treadle.compile.fusion.sources import drawn, joined
from treadle.compile.llvm.build import Source
from treadle.compile.run import pool
from treadle.compile.run.executor import Ref
from treadle.compile.views import Buffer, View
from treadle.core.graph import Node
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol
from treadle.records import dataclass

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = Mapping[Symbol, View]


@dataclass(frozen=True, slots=True)
class Place:
    """An address in a step: so many bytes into the memory of this number."""

    number: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Take:
    """A step: scratch memory is taken; it gets the next number."""

    spec: Spec


@dataclass(frozen=True, slots=True)
class Give:
    """A step: scratch memory is given back."""

    number: int


@dataclass(frozen=True, slots=True)
class Call:
    """A step: a kernel is called. Arrays among the arguments are constants."""

    template: Template
    name: str
    args: tuple[Place | Ref | int | np.ndarray[Any, Any], ...]
    hi: int
    grain: int


@dataclass(frozen=True, slots=True)
class Offer:
    """A step: a kernel is compiled that only larger sizes call."""

    source: Source


@dataclass(frozen=True, slots=True)
class Steps:
    """What laying out a group consists of, and how often it made use of each rule."""

    steps: tuple[Take | Give | Call | Offer, ...]
    used: Mapping[str, int]


class Known(dict[Any, Steps]):
    """The steps of each structure met; bounded, the oldest going first. Structures of one text share it."""

    def __init__(self, limit: int = 512) -> None:
        self.limit = limit
        self._templates: dict[str, Template] = {}  # by what is compiled: the lines take long to hash

    def __setitem__(self, key: Any, steps: Steps) -> None:
        if len(self) >= self.limit:
            self.pop(next(iter(self)), None)
        super().__setitem__(key, steps)

    def shared(self, template: Template) -> Template:
        """The template, or an equal one that is there."""
        if len(self._templates) >= 2 * self.limit:
            self._templates.clear()
        found = self._templates.setdefault(template.key, template)
        return found if found.lines == template.lines else template


known = Known()  # of this process


@dataclass(slots=True)
class Structure:
    """What makes groups alike, and the memory of this one: where each buffer begins for it, by the buffer's number."""

    key: Any
    bases: list[View]
    numbers: dict[int, int]  # by id of the buffer


def structure_of(
    lowerer: Lowerer, group: Group, env: Env, stores: Mapping[Symbol, View], ends: Mapping[Symbol, View]
) -> Structure | None:
    """The structure of a group; None where it has none that can be compared. Its key may hold what does not hash."""
    known: dict[Symbol, int] = {}
    bases: list[View] = []
    numbers: dict[int, int] = {}
    # How columns are shared out depends on the number of processors.
    key: list[Any] = [group.shape, group.inner, group.across, group.banded, group.band, pool.processors()]

    def place(view: View) -> None:
        number = numbers.get(id(view.buffer))
        if number is None:
            number = numbers[id(view.buffer)] = len(bases)
            bases.append(view)
        offset = view.offset * view.dtype.itemsize - bases[number].offset * bases[number].dtype.itemsize
        key.extend((number, offset, view.buffer.kind, view.shape, view.strides, view.dtype))

    if group.checks:
        return None  # a fault is told of the nodes themselves
    placed = 0
    rows, reduced = group.rows, group.ends
    for node in group.nodes:
        for symbol in node.inputs:
            number = known.get(symbol)
            if number is None:
                number = known[symbol] = len(known)
                virtual = group.virtual.get(symbol)
                if virtual is not None:
                    if virtual.joins:
                        pieces = joined(lowerer, virtual, env)  # type: ignore[arg-type]
                        key.append(pieces.cuts)
                        for piece in pieces.pieces:
                            if piece.buffer is not ZEROS:
                                place(piece)
                            else:
                                key.append(piece.dtype)
                    else:
                        key.extend(_unstored(virtual))
                        if virtual.draws:
                            source = drawn(lowerer, virtual, env)  # type: ignore[arg-type]
                            for lies in (source.state, *source.bounds):
                                place(lies)
                    key.append(number)
                    continue
                view = env.get(symbol)
                if view is None or symbol._spec.shape == ():
                    if is_scalar_constant(symbol):
                        key.append(symbol.node.attrs["value"])  # type: ignore[union-attr]
                        key.append(number)
                        continue
                    view = lowerer.value(symbol, env)  # type: ignore[arg-type]
                place(view)
            key.append(number)
        (out,) = node.outputs
        known[out] = len(known)
        spec = out._spec
        key.extend((node.definition, spec.shape, spec.dtype, out in rows, out in reduced))
        if node.attrs:
            key.extend(node.attrs.items())
        for targets in (stores, ends):
            target = targets.get(out)
            key.append(target is None)
            if target is not None:
                placed += 1
                place(target)
    # Buffers that are one place under two names, or results that no node here makes, are left to be planned anew.
    if placed != len(stores) + len(ends) or len({_where(view.buffer.ref) for view in bases}) != len(bases):
        return None
    return Structure(tuple(key), bases, numbers)


def _where(ref: Ref | None) -> tuple[str, int, int] | None:
    """A place as a tuple, which is compared more quickly."""
    return None if ref is None else (ref.kind, ref.index, ref.offset)


def _unstored(virtual: Virtual) -> list[Any]:
    """What a value is that is not stored: which numbers are drawn, or how positions are counted, and its views."""
    made = virtual.node
    key: list[Any] = [made.op, made.outputs[0].shape, made.outputs[0].dtype]
    if made.op == "eye":
        key.append(made.attrs["k"])
    elif not virtual.draws:
        line = line_of(made)
        assert line is not None
        key += [line.whole, line.start, line.step, line.last]
    for node in virtual.views:
        key.extend((node.op, node.outputs[0].shape, *node.attrs.items()))
    return key


class Recorder:
    """Lays out a group in place of the lowerer, and takes down what it leads to."""

    def __init__(self, lowerer: Lowerer, structure: Structure, nodes: Sequence[Node]) -> None:
        self.lowerer = lowerer
        self.nodes = nodes
        self.bases = list(structure.bases)
        self.numbers = dict(structure.numbers)
        self.steps: list[Take | Give | Call | Offer] = []
        self.whole = True  # whether all that happened could be taken down
        self._before = Counter(rules.counts)

    def finished(self) -> Steps:
        """What has happened."""
        return Steps(tuple(self.steps), rules.counts - self._before)

    def offer(self, source: Source) -> None:
        """See `Lowerer`."""
        self.lowerer.offer(source)
        self.steps.append(Offer(source))

    def value(self, symbol: Symbol, env: dict[Symbol, View]) -> View:
        """See `Lowerer`."""
        return self.lowerer.value(symbol, env)

    def memory(self, spec: Spec) -> View:
        """See `Lowerer`."""
        view = self.lowerer.memory(spec)
        self.numbers[id(view.buffer)] = len(self.bases)
        self.bases.append(view)
        self.steps.append(Take(spec))
        return view

    def free(self, buffer: Buffer) -> None:
        """See `Lowerer`."""
        self.lowerer.free(buffer)
        number = self.numbers.get(id(buffer))
        if number is not None:
            self.steps.append(Give(number))
        elif buffer.ref is not None:
            self.whole = False

    def call(self, kernel: Kernel, name: str, note: Any = None) -> None:
        """See `Lowerer`."""
        assert note is None
        template = self.lowerer.repeats.shared(Template.of(kernel.text, self.nodes))
        self.lowerer.call(Kernel(template, kernel.args, kernel.hi, kernel.grain, self.nodes), name)
        places: list[Place | Ref | int | np.ndarray[Any, Any]] = []
        for arg in kernel.args:
            if isinstance(arg, View):
                number = self.numbers.get(id(arg.buffer))
                if number is None:
                    self.whole = False
                    return
                base = self.bases[number]
                places.append(Place(number, arg.offset * arg.dtype.itemsize - base.offset * base.dtype.itemsize))
            elif isinstance(arg, (int, np.ndarray)) or (isinstance(arg, Ref) and arg.kind == "fresh"):
                places.append(arg)
            else:  # a place of this program
                self.whole = False
                return
        self.steps.append(Call(template, name, tuple(places), kernel.hi, kernel.grain))


def repeat(lowerer: Lowerer, structure: Structure, found: Steps, nodes: Sequence[Node]) -> None:
    """Do for a group of these nodes what another of its structure led to."""
    views = list(structure.bases)
    refs = [view.ref for view in views]
    for step in found.steps:
        if step.__class__ is Call:
            args: list[Ref | int] = []
            for arg in step.args:
                if arg.__class__ is Place:
                    args.append(refs[arg.number].at(arg.nbytes) if arg.nbytes else refs[arg.number])
                elif isinstance(arg, np.ndarray):
                    args.append(lowerer.asm.constant(arg))
                else:
                    args.append(arg)  # type: ignore[arg-type]
            lowerer.asm.call(lowerer.entry(step.template, step.name, nodes), args, step.hi, step.grain)
        elif isinstance(step, Take):
            views.append(lowerer.memory(step.spec))
            refs.append(views[-1].ref)
        elif isinstance(step, Give):
            lowerer.free(views[step.number].buffer)
        elif isinstance(step, Offer):
            lowerer.offer(step.source)
    for rule, count in found.used.items():
        rules.counts[rule] += count
