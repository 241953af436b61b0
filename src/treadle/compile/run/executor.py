"""A finished program and its runs: one native call walks it; Python is met only at host steps, statuses and yields.

`Code.run` leases a frame (the program's table of addresses and numbers), enters the native loop, and gives the frame
back. Any number of threads may run one Code at once, and a host step may run any program.
"""

from __future__ import annotations

import ctypes
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from treadle.compile.llvm import build
from treadle.compile.matrix import blas
from treadle.compile.run import interrupts, pool
from treadle.compile.run.arenas import Arena, arenas, make_arena, resting, rounded
from treadle.compile.run.machine import EXECUTOR, HOLD, WORKER, Op, Reason, Slot
from treadle.records import dataclass

Array = np.ndarray
Host = Callable[["Run"], object]
StatusHandler = Callable[["Run", object, int], object]
Arrays = tuple[Array, ...]
Enter = Callable[[object], int]

PC, DETAIL, ARENA, ARRAY_TYPE, FIRST = Slot.PC, Slot.DETAIL, Slot.ARENA, Slot.ARRAY_TYPE, Slot.FIRST
FINISHED = Slot.FINISHED
NEVER = 1 << 62  # a pc that no program reaches
HOST, STATUS = Reason.HOST, Reason.STATUS
BAD_ARGUMENTS = (Reason.BAD_INPUT, Reason.BAD_OUTPUT, Reason.BAD_COUNT)
BUDGET = 1  # a kernel's status that says: my state is in my args, call me again
SMALL_ARENA = 64 << 10  # bytes up to which an arena stays with its frame
IDLE_FRAMES = 8
FRAME_BYTES = 1 << 10  # what a frame takes beside its slots and its arena, roughly

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=arenas.renew_lock)


@dataclass(frozen=True, slots=True)
class Ref:
    """A place a program works on: an input, output, constant, arena byte or frame cell, `offset` bytes further on."""

    kind: str  # "input", "output", "arena", "constant", "cell", "fresh"
    index: int
    offset: int = 0

    def at(self, nbytes: int) -> Ref:
        """The place `nbytes` further on."""
        return Ref(self.kind, self.index, self.offset + nbytes)

    def __str__(self) -> str:
        if self.kind == "fresh":
            return f"fresh({self.index})"
        name = "arena" if self.kind == "arena" else f"{self.kind}{self.index}"
        return f"{name}+{self.offset}" if self.offset or self.kind == "arena" else name


@dataclass(frozen=True, slots=True)
class Label:
    """A place in a program that jumps go to."""

    number: int


@cache
def arrays_readable() -> bool:
    """Whether this Python and NumPy keep lists, tuples and arrays in memory as the native loop reads them."""

    def word(address: int, kind: Any = ctypes.c_int64) -> int:
        return int(kind.from_address(address).value)

    array = np.zeros((3, 5), np.float32)
    columns = array[:, 1:3]
    locked = np.zeros(2)
    locked.flags.writeable = False
    arrays = (array, columns, locked)
    holder = [arrays, ()]
    try:
        items = word(id(holder) + 24)
        return (
            ctypes.sizeof(ctypes.c_void_p) == 8
            and [word(items), word(items + 8)] == [id(arrays), id(())]
            and [word(id(arrays) + 16), word(id(()) + 16)] == [3, 0]
            and [word(id(arrays) + 24 + 8 * k) for k in range(3)] == [id(a) for a in arrays]
            and [word(id(a) + 8) for a in arrays] == [id(np.ndarray)] * 3
            and [word(id(a) + 16) for a in arrays] == [a.ctypes.data for a in arrays]
            and [word(id(a) + 64, ctypes.c_int32) & 0x501 for a in arrays] == [0x501, 0x500, 0x101]
        )
    except ValueError:
        return False


@cache
def system_kernels() -> dict[build.Source, build.Entry]:
    """The kernels every program may need, made together: a larger size may call BLAS where a smaller one did not."""
    from treadle.compile.matrix.gemm import KERNELS

    found = {entry.source: entry for entry in build.load([EXECUTOR, WORKER, HOLD, *KERNELS])}
    blas.holding.append(found[HOLD].address)
    return found


@cache
def enter_function() -> Enter:
    """The compiled executor as a function of a pointer to a frame.

    It has no argument types on purpose: ctypes then takes `byref` objects as they are, which is three times faster.
    """
    function: Enter = ctypes.CFUNCTYPE(ctypes.c_int)(system_kernels()[EXECUTOR].address)
    return function


@dataclass(slots=True, eq=False)
class Frame:
    """One run's slots, and the arena whose address is in them."""

    pointer: object  # ctypes.byref of the slots
    slots: ctypes.Array[ctypes.c_int64]
    holder: list[Any]  # the tuples of inputs and outputs while the native loop may read them
    arena: Arena | None


@dataclass(frozen=True, slots=True)
class Layout:
    """All that is fixed about a program, as the assembler lays it out."""

    code: Array  # int64
    patches: Array  # int64, triples
    packed: bytes  # a frame before its first run, from behind the outputs on: int64, compressed, as it is seldom read
    inputs: int
    outputs: int
    arena_bytes: int
    constants: Arrays
    labels: Mapping[int, int]  # label number -> pc
    notes: Mapping[int, object]  # pc of a call -> its note, where it has one
    calls: tuple[str | int, ...]  # of each call in order the kernel's name, and how many arguments it takes
    parallel: bool
    blas: bool
    commit: int | None  # the pc from which on the program overwrites its inputs

    def slots(self) -> Array:
        """What stands behind the outputs in a fresh frame."""
        return np.frombuffer(zlib.decompress(self.packed), np.int64)


class CommittedError(Exception):
    """A run was interrupted after its end: the outputs are complete; `error` is to be raised once they are kept."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class Code:
    """An immutable program; `run` executes it."""

    __slots__ = ("__weakref__", "_arena_size", "_commits", "_enter", "_free", "_shelf", "_special", "layout")

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._enter = enter_function()
        self._free: list[Frame] = []
        # Whether a run needs more than a frame: a large arena, or the worker pool.
        self._arena_size = rounded(layout.arena_bytes) if layout.arena_bytes > SMALL_ARENA else 0
        self._shelf = arenas.shelf(self._arena_size)
        self._commits = layout.commit is not None
        self._special = self._arena_size > 0 or layout.parallel or self._commits

    def run(
        self,
        inputs: Arrays,
        outputs: Arrays,
        hosts: Sequence[Host] = (),
        on_status: StatusHandler | None = None,
    ) -> None:
        """Run the program on arrays whose shapes and dtypes are those it was made for.

        `hosts[k](run)` does host step k; `on_status(run, note, status)` hears of a kernel's status of 2 or more and
        raises, or returns to go on behind that call. Raises whatever they raise, and KeyboardInterrupt at Ctrl-C;
        CommittedError with it where a program that overwrites its inputs has already come to its end.
        """
        try:
            frame = self._free.pop()
        except IndexError:
            frame = self._make_frame()
        if self._special:
            self._take_leases(frame)
        holder = frame.holder
        holder[0] = inputs
        holder[1] = outputs
        try:
            reason = self._enter(frame.pointer)
            if reason:
                self._go_on(frame, reason, inputs, outputs, hosts, on_status)
        except BaseException as error:
            # Ctrl-C while native code ran arrives here: if that code has overwritten inputs, the run counts as done.
            if self._commits and frame.slots[FINISHED]:
                self._give_back(frame)
                raise CommittedError(error) from None
            self._abandon(frame)
            raise
        if self._special:
            self._give_back(frame)
        holder[0] = holder[1] = None
        if len(self._free) < IDLE_FRAMES:
            self._free.append(frame)

    def rest(self) -> None:
        """Let go of what is kept for the next run."""
        self._free.clear()

    def _make_frame(self) -> Frame:
        """A fresh frame, with its arena where that is small."""
        layout = self.layout
        before, fresh = FIRST + layout.inputs + layout.outputs, layout.slots()
        table = np.zeros(before + len(fresh), np.int64)
        table[before:] = fresh
        table[Slot.CODE] = layout.code.ctypes.data
        table[Slot.PATCHES] = layout.patches.ctypes.data
        table[Slot.PATCH_COUNT] = len(layout.patches) // 3
        table[Slot.INPUTS], table[Slot.OUTPUTS] = layout.inputs, layout.outputs
        table[Slot.POOL] = pool.cell_address
        table[Slot.COMMIT] = NEVER if layout.commit is None else layout.commit
        table[Slot.ARRAY_TYPE] = id(np.ndarray) if arrays_readable() else 0
        if pool.platform is not None:
            table[Slot.CLOCK], table[Slot.CLOCK_ID] = pool.platform.clock, pool.platform.clock_id
        if layout.blas:
            block = blas.threads_block()
            table[Slot.BLAS] = 0 if block is None else block.ctypes.data
        arena = None
        if 0 < layout.arena_bytes <= SMALL_ARENA:
            arena = make_arena(layout.arena_bytes)
            table[Slot.ARENA] = arena.address
        holder = [None, None]
        table[Slot.HOLDER] = id(holder)
        slots = (ctypes.c_int64 * len(table)).from_buffer(table.data)
        resting.note(self, FRAME_BYTES + table.nbytes + (arena.size if arena is not None else 0))
        return Frame(ctypes.byref(slots), slots, holder, arena)

    def _take_leases(self, frame: Frame) -> None:
        """What a large program, or one that overwrites inputs, needs for one run."""
        frame.slots[FINISHED] = 0
        if self.layout.parallel and pool.state.block is None:
            pool.start()
        if self._arena_size:
            frame.arena = arena = arenas.lease(self._arena_size, self._shelf)
            frame.slots[ARENA] = arena.address

    def _give_back(self, frame: Frame) -> None:
        """Return what `_take_leases` took."""
        arena = frame.arena
        if self._arena_size and arena is not None:
            frame.arena = None
            arenas.release(arena, self._shelf)

    def _abandon(self, frame: Frame) -> None:
        """End a run that raised: native leave-taking if it had begun.

        The frame is dropped, since a kernel may have left its args half-way.
        """
        if frame.slots[PC] != 0:
            frame.slots[PC] = len(self.layout.code) - 1  # the last instruction is RETURN
            self._enter(frame.pointer)
        self._give_back(frame)

    def _go_on(
        self,
        frame: Frame,
        reason: int,
        inputs: Arrays,
        outputs: Arrays,
        hosts: Sequence[Host],
        on_status: StatusHandler | None,
    ) -> None:
        """All that is not the plain way: do what the native loop asks for, and enter it again, until it is done."""
        run: Run | None = None
        written = outputs
        while reason:
            detail = frame.slots[DETAIL]
            if reason == HOST:
                run = run or Run(self, frame, inputs, written)
                hosts[detail](run)
            elif reason == STATUS and detail == interrupts.INTERRUPTED:
                interrupts.raise_kept()
            elif reason == STATUS and detail != BUDGET:
                run = run or Run(self, frame, inputs, written)
                self._report(run, detail, on_status)
            elif reason in BAD_ARGUMENTS:
                self._check_counts(inputs, outputs)
                inputs = tuple(map(_plain, inputs))
                written = tuple(map(_plain_output, outputs))
                self._offer(frame, inputs, written)
            elif reason == Reason.YIELD:
                pool.find_lenders()
            reason = self._enter(frame.pointer)
        if written is not outputs:
            self._take_back(frame, outputs, written)

    def _offer(self, frame: Frame, inputs: Arrays, outputs: Arrays) -> None:
        """Let the native loop have these arrays; their addresses are noted here where it cannot read them itself."""
        frame.holder[:] = inputs, outputs
        if not arrays_readable():
            for number, array in enumerate((*inputs, *outputs)):
                frame.slots[FIRST + number] = array.ctypes.data
            frame.slots[ARRAY_TYPE] = 1

    def _take_back(self, frame: Frame, outputs: Arrays, written: Arrays) -> None:
        """After a run on the arrays of `_offer`: bring results to where they belong."""
        if not arrays_readable():
            frame.slots[ARRAY_TYPE] = 0
        for target, source in zip(outputs, written, strict=True):
            if target is not source:
                target[...] = source

    def _check_counts(self, inputs: Arrays, outputs: Arrays) -> None:
        """Raise TypeError where the arguments are not as many as the program has."""
        layout = self.layout
        if not (isinstance(inputs, tuple) and isinstance(outputs, tuple)):
            raise TypeError("a program takes its inputs and outputs as two tuples")
        if (len(inputs), len(outputs)) != (layout.inputs, layout.outputs):
            wanted, got = (layout.inputs, layout.outputs), (len(inputs), len(outputs))
            raise TypeError(f"the program has {wanted[0]} inputs and {wanted[1]} outputs, not {got[0]} and {got[1]}")

    def _report(self, run: Run, status: int, on_status: StatusHandler | None) -> None:
        """Tell of a kernel's status; the run goes on behind the call."""
        pc = run.frame.slots[PC]
        note = self.layout.notes.get(pc)
        if on_status is None:
            raise RuntimeError(f"a kernel reported status {status} ({note})")
        run.frame.slots[PC] = pc + (4 if self.layout.code[pc] == Op.PARALLEL else 3)  # behind the call
        on_status(run, note, status)

    def text(self) -> str:
        """The program as lines, one an instruction."""
        from treadle.compile.run.listing import listing  # for people only

        return "\n".join(listing(self.layout))

    __str__ = text


def _plain(array: Array) -> Array:
    """The same values as a contiguous, aligned `ndarray` proper."""
    plain = np.asarray(array)
    if type(plain) is np.ndarray and plain.flags.c_contiguous and plain.flags.aligned:
        return plain
    return np.array(plain, order="C", copy=True)


def _plain_output(array: Array) -> Array:
    """The array itself where kernels can write to it, else memory whose contents are copied to it afterwards."""
    if not array.flags.writeable:
        raise ValueError("an output array is read-only")
    plain = array.view(np.ndarray)
    if plain.flags.c_contiguous and plain.flags.aligned:
        return array if type(array) is np.ndarray else plain
    return np.array(plain, order="C", copy=True)


class Run:
    """One run as host steps see it."""

    __slots__ = ("_scratch", "code", "frame", "inputs", "outputs")

    def __init__(self, code: Code, frame: Frame, inputs: Arrays, outputs: Arrays) -> None:
        self.code, self.frame, self.inputs, self.outputs = code, frame, inputs, outputs
        self._scratch: dict[Any, Any] | None = None

    @property
    def scratch(self) -> dict[Any, Any]:
        """Objects that live as long as the run."""
        if self._scratch is None:
            self._scratch = {}
        return self._scratch

    def address(self, ref: Ref) -> int:
        """Where a place is in memory during this run."""
        layout, slots = self.code.layout, self.frame.slots
        if ref.kind == "input":
            return slots[FIRST + ref.index] + ref.offset
        if ref.kind == "output":
            return slots[FIRST + layout.inputs + ref.index] + ref.offset
        if ref.kind == "arena":
            return slots[ARENA] + ref.offset
        if ref.kind == "constant":
            return int(layout.constants[ref.index].ctypes.data) + ref.offset
        return slots[ref.index] + ref.offset

    def cell(self, ref: Ref) -> int:
        """The number in a cell."""
        return self.frame.slots[ref.index]

    def set_cell(self, ref: Ref, value: int) -> None:
        """Put a number into a cell."""
        self.frame.slots[ref.index] = value

    def goto(self, label: Label) -> None:
        """Go on at a label instead of the next instruction."""
        self.frame.slots[PC] = self.code.layout.labels[label.number]

    def array(self, ref: Ref, shape: tuple[int, ...], dtype: Any) -> Array:
        """The memory at a place as an array; valid until the run ends."""
        kind = np.dtype(dtype)
        nbytes = kind.itemsize * int(np.prod(shape, dtype=np.int64))
        if nbytes == 0:
            return np.empty(shape, kind)
        buffer = (ctypes.c_char * nbytes).from_address(self.address(ref))
        return np.frombuffer(buffer, kind).reshape(shape)
