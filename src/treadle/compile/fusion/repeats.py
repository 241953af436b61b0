"""Groups of one structure: what the first led to is done again for the others, with their memory in place of its own.

The layers of a network are the same kernels over other arrays. Planning and writing a kernel costs a millisecond;
what comes out depends only on the ops of the group and on how its operands lie to each other, so that a second group of
the same structure takes over the calls of the first. Only within a program: kernels show the lines of the code they
come from, and within a program the first that needs a kernel gives it its lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from treadle.compile.fusion.emit import Kernel
from treadle.compile.fusion.fuse import Group, is_scalar_constant
from treadle.compile.views import Buffer, View
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol
from treadle.records import dataclass

if TYPE_CHECKING:
    from treadle.compile.assembler import Deferred
    from treadle.compile.llvm.build import Source
    from treadle.compile.lower import Lowerer
    from treadle.compile.run.executor import Ref

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
    """A step: a kernel is called."""

    entry: Deferred
    args: tuple[Place | Ref | int, ...]
    hi: int
    grain: int


Steps = list[Take | Give | Call]


@dataclass(slots=True)
class Structure:
    """What makes groups alike, and the memory of this one: where each buffer begins for it, by the buffer's number."""

    key: Any
    bases: list[View]
    numbers: dict[int, int]  # by id of the buffer


def structure_of(
    lowerer: Lowerer, group: Group, env: Env, stores: Mapping[Symbol, View], ends: Mapping[Symbol, View]
) -> Structure | None:
    """The structure of a group; None where it has none that can be compared."""
    known: dict[Symbol, int] = {}
    bases: list[View] = []
    numbers: dict[int, int] = {}
    key: list[Any] = [group.shape, group.inner, group.across, group.banded, group.band]

    def place(view: View) -> None:
        number = numbers.get(id(view.buffer))
        if number is None:
            number = numbers[id(view.buffer)] = len(bases)
            bases.append(view)
        offset = view.offset * view.dtype.itemsize - bases[number].offset * bases[number].dtype.itemsize
        key.extend((number, offset, view.buffer.kind, view.shape, view.strides, view.dtype))

    placed = 0
    for node in group.nodes:
        for symbol in node.inputs:
            if symbol not in known:
                known[symbol] = len(known)
                if is_scalar_constant(symbol):
                    assert symbol.node is not None
                    key.append(symbol.node.attrs["value"])
                else:
                    place(lowerer.value(symbol, env))  # type: ignore[arg-type]
            key.append(known[symbol])
        (out,) = node.outputs
        known[out] = len(known)
        key.extend((node.definition, out.shape, out.dtype, out in group.rows, out in group.ends))
        if node.attrs:
            key.extend(node.attrs.items())
        for targets in (stores, ends):
            target = targets.get(out)
            key.append(target is None)
            if target is not None:
                placed += 1
                place(target)
    # Buffers that are one place under two names, or results that no node here makes, are left to be planned anew.
    if placed != len(stores) + len(ends) or len({view.buffer.ref for view in bases}) != len(bases):
        return None
    made = tuple(key)
    try:
        hash(made)
    except TypeError:
        return None
    return Structure(made, bases, numbers)


class Recorder:
    """Lays out a group in place of the lowerer, and takes down what it leads to."""

    def __init__(self, lowerer: Lowerer, structure: Structure) -> None:
        self.lowerer = lowerer
        self.bases = list(structure.bases)
        self.numbers = dict(structure.numbers)
        self.steps: Steps = []
        self.whole = True  # whether all that happened could be taken down

    @property
    def spare(self) -> dict[str, Source]:
        """See `Lowerer`."""
        return self.lowerer.spare

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

    def call(self, kernel: Kernel, name: str) -> None:
        """See `Lowerer`."""
        entry, args = self.lowerer.call(kernel, name)
        places: list[Place | Ref | int] = []
        for given, arg in zip(kernel.args, args, strict=True):
            if not isinstance(given, View):
                places.append(arg)
                continue
            number = self.numbers.get(id(given.buffer))
            if number is None:
                self.whole = False
                return
            base = self.bases[number]
            places.append(Place(number, given.offset * given.dtype.itemsize - base.offset * base.dtype.itemsize))
        self.steps.append(Call(entry, tuple(places), kernel.hi, kernel.grain))


def repeat(lowerer: Lowerer, structure: Structure, steps: Steps) -> None:
    """Do for a group what another of its structure led to."""
    views = list(structure.bases)
    refs = [view.ref for view in views]
    for step in steps:
        if isinstance(step, Call):
            args: list[Ref | int] = []
            for arg in step.args:
                if isinstance(arg, Place):
                    args.append(refs[arg.number].at(arg.nbytes) if arg.nbytes else refs[arg.number])
                else:
                    args.append(arg)
            lowerer.asm.call(step.entry, args, step.hi, step.grain)
        elif isinstance(step, Take):
            views.append(lowerer.memory(step.spec))
            refs.append(views[-1].ref)
        else:
            lowerer.free(views[step.number].buffer)
