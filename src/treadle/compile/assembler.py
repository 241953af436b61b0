"""Laying out a program: instructions, the frame's slots, what a run must patch. The result is an `executor.Code`."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from treadle.compile.llvm import build
from treadle.compile.llvm.build import Entry
from treadle.compile.matrix import blas, gemm
from treadle.compile.run import pool
from treadle.compile.run.executor import Code, Label, Layout, Ref, system_kernels
from treadle.compile.run.machine import Op, Slot
from treadle.records import dataclass, field


@dataclass(slots=True, eq=False)
class Deferred:
    """A kernel that is compiled later, together with the program's others: `address` must be set before `finish`."""

    source: build.Source
    address: int = 0


@dataclass(slots=True)
class _Draft:
    """What grows while instructions are added."""

    words: list[int] = field(default_factory=lambda: [Op.RETURN])  # pc 0 means a fresh run, so code begins at 1
    jumps: list[tuple[int, int]] = field(default_factory=list)  # where in `words` the pc of which label goes
    kernels: list[tuple[int, Deferred]] = field(default_factory=list)  # where the address of which kernel goes
    calls: list[str | int] = field(default_factory=list)  # of each call the kernel's name, and how many arguments
    notes: dict[int, object] = field(default_factory=dict)
    labels: dict[int, int] = field(default_factory=dict)
    slots: list[int] = field(default_factory=list)  # the frame's template behind inputs and outputs
    patches: list[int] = field(default_factory=list)  # triples, see `Layout`
    constants: list[np.ndarray] = field(default_factory=list)
    addresses: list[int] = field(default_factory=list)  # of the constants
    places: dict[Ref, int] = field(default_factory=dict)


class Assembler:
    """Builds a program for `inputs` and `outputs` arrays, one method an instruction.

    Cells are slots of the frame. Their numbers are known before those of inputs and outputs are, so that the counts
    must be given first.
    """

    def __init__(self, inputs: int, outputs: int, arena_bytes: int = 0) -> None:
        self.inputs, self.outputs, self.arena_bytes = inputs, outputs, arena_bytes
        self._first = Slot.FIRST + inputs + outputs
        self._bases = {"input": Slot.FIRST, "output": Slot.FIRST + inputs, "arena": Slot.ARENA}
        self._draft = _Draft()
        self._label_count = 0
        self._parallel = False
        self._blas = False
        self._commit: int | None = None

    # Places

    def input(self, k: int) -> Ref:
        """The data of input `k`."""
        return Ref("input", self._checked(k, self.inputs, "input"))

    def output(self, k: int) -> Ref:
        """The data of output `k`."""
        return Ref("output", self._checked(k, self.outputs, "output"))

    @staticmethod
    def _checked(k: int, count: int, what: str) -> int:
        if not 0 <= k < count:
            raise IndexError(f"the program has {count} {what}s; there is no {what} {k}")
        return k

    def arena(self, offset: int) -> Ref:
        """A byte of the run's work memory, which begins on a 64-byte boundary and is not initialised."""
        return Ref("arena", 0, offset)

    def reserve(self, nbytes: int) -> None:
        """Make the arena at least `nbytes` large."""
        self.arena_bytes = max(self.arena_bytes, nbytes)

    def constant(self, array: np.ndarray) -> Ref:
        """The data of an array that the program keeps (a copy where it is not contiguous)."""
        draft = self._draft
        kept = np.ascontiguousarray(array) if array.ndim else array.copy()
        draft.constants.append(kept)
        draft.addresses.append(kept.__array_interface__["data"][0])
        return Ref("constant", len(draft.constants) - 1)

    def cell(self) -> Ref:
        """A number or address of the frame, without a value until the program or a host step gives it one."""
        return Ref("cell", self._slot())

    counter = cell

    def fresh(self, value: int) -> Ref:
        """A literal argument that is written again before each call, for kernels that keep their state in it."""
        return Ref("fresh", value)

    def _slot(self, value: int = 0) -> int:
        self._draft.slots.append(value)
        return self._first + len(self._draft.slots) - 1

    def _place(self, ref: Ref) -> int:
        """The slot that holds a place's address; a cell with an offset gets it at this point of the program."""
        if ref.kind == "cell":
            if not ref.offset:
                return ref.index
            slot = self._slot()
            self._move(slot, ref)
            return slot
        places = self._draft.places
        if ref not in places:
            places[ref] = self._slot()
            self._point(places[ref], ref)
        return places[ref]

    def _point(self, slot: int, ref: Ref) -> None:
        """Let a slot hold the address of a place."""
        draft = self._draft
        if ref.kind == "constant":
            draft.slots[slot - self._first] = draft.addresses[ref.index] + ref.offset
        else:
            draft.patches += (slot, self._bases[ref.kind] + ref.index, ref.offset)

    # Instructions

    def _emit(self, *words: int) -> None:
        """Add an instruction."""
        self._draft.words += words

    def _jump(self, op: int, *operands: int, label: Label) -> None:
        """Add an instruction that goes on at a label."""
        words = self._draft.words
        words += (op, *operands, 0)
        self._draft.jumps.append((len(words) - 1, label.number))

    def _move(self, slot: int, ref: Ref) -> None:
        """Bring a cell's number, or a fresh literal, into a slot."""
        if ref.kind == "fresh":
            self._emit(Op.SET, slot, ref.index)
        else:
            self._emit(Op.MOVE, slot, ref.index, ref.offset)

    def _block(self, args: Sequence[Ref | int], hi: int | Ref) -> int:
        """A call's own block of arguments, with `hi` in the slot before it; its first slot."""
        slots, patches, bases = self._draft.slots, self._draft.patches, self._bases
        addresses = self._draft.addresses
        first = self._first + len(slots) + 1
        moves: list[tuple[int, Ref]] = []
        if isinstance(hi, Ref):
            moves.append((first - 1, hi))
            slots.append(0)
        else:
            slots.append(hi)
        for slot, arg in enumerate(args, first):
            if arg.__class__ is not Ref:
                slots.append(arg)  # type: ignore[arg-type]
                continue
            base = bases.get(arg.kind)
            if base is not None:
                slots.append(0)
                patches += (slot, base + arg.index, arg.offset)
            elif arg.kind == "constant":
                slots.append(addresses[arg.index] + arg.offset)
            else:
                slots.append(0)
                moves.append((slot, arg))
        for slot, place in moves:
            self._move(slot, place)
        return first

    def call(
        self, entry: Entry | Deferred, args: Sequence[Ref | int], hi: int | Ref, grain: int = 0, note: object = None
    ) -> None:
        """Call a kernel over 0..hi, where hi may be a cell.

        With a grain, and where hi is at least twice that, the worker pool shares the range out in pieces that begin at
        multiples of the grain; such a kernel may not return BUDGET. `note` is what `on_status` hears when the kernel
        reports a status.
        """
        worth_it = isinstance(hi, Ref) or hi >= 2 * grain
        self._call(entry, args, hi, grain if worth_it else 0, note)

    def _call(
        self, entry: Entry | Deferred, args: Sequence[Ref | int], hi: int | Ref, grain: int, note: object
    ) -> None:
        block = self._block(args, hi)
        draft = self._draft
        pc = len(draft.words)
        if grain > 0:
            self._parallel = True
            draft.words += (Op.PARALLEL, entry.address, block, grain)
        else:
            draft.words += (Op.CALL, entry.address, block)
        if entry.__class__ is Deferred:
            draft.kernels.append((pc + 1, entry))
        draft.calls += (entry.source.name, len(args))
        if note is not None:
            draft.notes[pc] = note

    def gemm(
        self,
        dtype: blas.Dtype,
        ta: bool,
        tb: bool,
        m: int,
        n: int,
        k: int,
        a: Ref,
        lda: int,
        b: Ref,
        ldb: int,
        c: Ref,
        ldc: int,
        alpha: float = 1.0,
        beta: float = 0.0,
        batch: int = 1,
        strides: tuple[int, int, int] = (0, 0, 0),
        note: object = None,
        inner: int = 0,
        outer: tuple[int, int] = (0, 0),
    ) -> None:
        """C[m, n] = alpha op(A)[m, k] op(B)[k, n] + beta C, all row-major; op transposes where `ta`, `tb` say so.

        `lda`, `ldb`, `ldc` are elements from a stored row to the next; `strides` are elements from one A, B, C of a
        batch to the next; after `inner` of them (0: never) A and B go on by the steps in `outer`. RuntimeError where
        no BLAS was found (`blas.available()`).
        """
        if m == 0 or n == 0 or batch == 0:
            return
        x, y, z = (lda, strides[0], ta, outer[0]), (ldb, strides[1], tb, outer[1]), (ldc, strides[2], False, 0)
        plan = gemm.plan_of(dtype, (m, n, k, batch, inner), x, y, z, (alpha, beta), pool.processors())
        places = (a, b, c)
        args = [places[arg.index] if arg.__class__ is Ref else arg for arg in plan.args]
        self.fill(c, 0, plan.clear)
        self._blas = True
        self._call(system_kernels()[plan.kernel], args, plan.extent, plan.grain, note)

    def copy(self, target: Ref, source: Ref, nbytes: int) -> None:
        """Copy bytes; the places may overlap."""
        if nbytes:
            slots = self._place(target), self._place(source)
            self._emit(Op.COPY, *slots, nbytes)

    def fill(self, target: Ref, byte: int, nbytes: int) -> None:
        """Write one byte value `nbytes` times."""
        if nbytes:
            place = self._place(target)
            self._emit(Op.FILL, place, byte, nbytes)

    def commit(self) -> None:
        """From here on the program overwrites its inputs, so a run goes on to its end: no host steps, no yields."""
        if self._commit is None:
            self._commit = len(self._draft.words)

    def host(self, k: int) -> None:
        """Hand over to Python: `hosts[k](run)`."""
        self._emit(Op.HOST, k)

    def label(self) -> Label:
        """A new label, to be placed once."""
        self._label_count += 1
        return Label(self._label_count - 1)

    def place(self, label: Label) -> None:
        """Let a label mean the next instruction."""
        if label.number in self._draft.labels:
            raise ValueError(f"label {label.number} is placed twice")
        self._draft.labels[label.number] = len(self._draft.words)

    def jump(self, label: Label) -> None:
        """Go on at a label."""
        self._jump(Op.JUMP, label=label)

    def jump_if(self, flag: Ref, label: Label) -> None:
        """Go on at a label where the byte at `flag` is not 0."""
        self._jump(Op.JUMP_IF, self._place(flag), label=label)

    def jump_unless(self, flag: Ref, label: Label) -> None:
        """Go on at a label where the byte at `flag` is 0."""
        self._jump(Op.JUMP_UNLESS, self._place(flag), label=label)

    def jump_less(self, counter: Ref, limit: int | Ref, label: Label) -> None:
        """Go on at a label where a cell's number is below a limit."""
        slot = self._slot(limit) if isinstance(limit, int) else self._place(limit)
        self._jump(Op.JUMP_LESS, self._place(counter), slot, label=label)

    def set(self, cell: Ref, value: int) -> None:
        """Put a number into a cell."""
        self._emit(Op.SET, cell.index, value)

    def add(self, cell: Ref, value: int) -> None:
        """Add a number to a cell."""
        self._emit(Op.ADD, cell.index, value)

    def move(self, cell: Ref, source: Ref) -> None:
        """Bring a cell's number or the address of another place into a cell."""
        slot = self._place(source) if source.kind != "cell" else source.index
        offset = source.offset if source.kind == "cell" else 0
        self._emit(Op.MOVE, cell.index, slot, offset)

    def load_i8(self, cell: Ref, place: Ref) -> None:
        """Read the int64 at a place into a cell."""
        slot = self._place(place)
        self._emit(Op.LOAD, cell.index, slot)

    def store_i8(self, place: Ref, cell: Ref) -> None:
        """Write a cell's number to a place, as int64."""
        slot = self._place(place)
        self._emit(Op.STORE, slot, cell.index)

    def address(self, cell: Ref, base: Ref, counter: Ref, stride: int) -> None:
        """Put the address of a stacked array's element into a cell: base + counter * stride (bytes)."""
        slots = self._place(base), counter.index
        self._emit(Op.ADDRESS, cell.index, *slots, stride)

    # The end

    def finish(self) -> Code:
        """The program. ValueError where a label was jumped to but never placed."""
        draft = self._draft
        self._emit(Op.RETURN)
        missing = {number for _, number in draft.jumps} - draft.labels.keys()
        if missing:
            raise ValueError(f"labels {sorted(missing)} are jumped to but never placed")
        words = draft.words
        for place, number in draft.jumps:
            words[place] = draft.labels[number]
        for place, kernel in draft.kernels:  # compiled by now
            words[place] = kernel.address
        return Code(
            Layout(
                code=np.array(words, np.int64),
                patches=np.array(draft.patches, np.int64),
                packed=zlib.compress(np.array(draft.slots, np.int64).tobytes(), 1),
                inputs=self.inputs,
                outputs=self.outputs,
                arena_bytes=self.arena_bytes,
                constants=tuple(draft.constants),
                labels=dict(draft.labels),
                notes=dict(draft.notes),
                calls=tuple(draft.calls),
                parallel=self._parallel,
                blas=self._blas,
                commit=self._commit,
            )
        )
