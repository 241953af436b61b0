"""What Python does in a program: ops that NumPy does, effects, strings, growing stacks, and what statuses mean."""

from __future__ import annotations

import contextlib
import ctypes
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle import errors
from treadle.compile.moves.straight import into
from treadle.compile.run.executor import Ref, Run
from treadle.compile.stepping.scalar_loops import CHECK
from treadle.compile.stepping.small_matrices import OPS as MATRIX_OPS
from treadle.compile.stepping.tables import INDICES
from treadle.compile.views import Buffer, View
from treadle.core.graph import Node, apart
from treadle.core.mode import activate
from treadle.core.tensor import Symbol
from treadle.errors import IndexOutOfRange
from treadle.records import dataclass

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Array = np.ndarray[Any, Any]
Step = Callable[[Run], None]
FIRST_ROWS = 64  # rows of a stack when it is first needed; it doubles when full


@dataclass(eq=False, slots=True)
class Stack:
    """A stack of unknown length: the cells that hold its address, its room and its length."""

    base: Ref
    room: Ref
    length: Ref | None = None


def fetch(view: View) -> Callable[[Run], Array]:
    """How to get a value as an array while the program runs."""
    buffer = view.buffer
    if buffer.kind == "object constant":
        array = view.strides[0]
        return lambda run: array  # type: ignore[return-value]
    if buffer.kind == "object input":
        assert buffer.ref is not None
        k = buffer.ref.index
        return lambda run: run.inputs[k]
    if buffer.kind == "object output":
        assert buffer.ref is not None
        k = buffer.ref.index
        return lambda run: run.outputs[k]
    if buffer.kind == "object":
        return lambda run: run.scratch[buffer]
    if buffer.kind == "stack":
        stack: Stack = buffer.stack
        shape, dtype = view.shape[1:], view.dtype

        def rows(run: Run) -> Array:
            assert stack.length is not None
            length = run.cell(stack.length)
            found = run.scratch.get(buffer)
            return np.empty((0, *shape), dtype) if found is None else found[:length]

        return rows
    if view.contiguous:
        return _whole(view)
    return lambda run: _strided(run, view)


def _whole(view: View) -> Callable[[Run], Array]:
    """A view in row order: the very array of an input or output that it fills, else an array over its memory."""
    ref, shape, dtype = view.ref, view.shape, view.dtype
    k = ref.index
    if ref.kind in ("input", "output") and view.buffer.nbytes == view.nbytes and view.size:
        outside = operator.attrgetter("inputs" if ref.kind == "input" else "outputs")

        def given(run: Run) -> Array:
            array: Array = outside(run)[k]
            return array if array.shape == shape else array.reshape(shape)

        return given
    if not view.size:
        return lambda run: np.empty(shape, dtype)
    memory = ctypes.c_char * view.nbytes
    return lambda run: np.ndarray(shape, dtype, memory.from_address(run.address(ref)))  # type: ignore[arg-type]


def _strided(run: Run, view: View) -> Array:
    """A view that is not in row order, on the memory as it is."""
    low = sum(min(0, (size - 1) * step) for size, step in zip(view.shape, view.strides, strict=True))
    high = sum(max(0, (size - 1) * step) for size, step in zip(view.shape, view.strides, strict=True))
    if view.size == 0:
        return np.empty(view.shape, view.dtype)
    itemsize = view.dtype.itemsize
    flat = run.array(view.ref.at(low * itemsize), (high - low + 1,), view.dtype)
    return np.lib.stride_tricks.as_strided(flat[-low:], view.shape, [step * itemsize for step in view.strides])


def put(view: View) -> Callable[[Run, Array], None]:
    """How to bring an array to a value's place."""
    buffer = view.buffer
    if buffer.kind == "object output":
        assert buffer.ref is not None
        k = buffer.ref.index

        def deliver_object(run: Run, array: Array) -> None:
            end = run.outputs[k]
            if end.dtype == object:
                end[()] = np.array(array)
            else:
                end[...] = array

        return deliver_object
    if buffer.kind.startswith("object"):

        def keep(run: Run, array: Array) -> None:
            run.scratch[buffer] = np.array(array)

        return keep

    get = _whole(view)

    def store(run: Run, array: Array) -> None:
        get(run)[...] = array

    return store


# A loop around a step: the counter of its iterations, and its line.
Around = tuple[Ref, errors.Location | None]


def note_around(error: Exception, run: Run, loops: Sequence[Around]) -> None:
    """Tell with an error in which iteration of each loop around it was raised."""
    for cell, location in reversed(loops):
        errors.note_iteration(error, run.cell(cell), location)


# Ops whose bodies compute nothing that NumPy could warn of.
SILENT = {"sort", "argsort", "searchsorted", "isin", "random_permutation", "concat", "pad_slice", "set_slice"}


def node_step(
    node: Node,
    sources: list[View],
    ends: list[View],
    loops: tuple[Around, ...] = (),
    attrs_of: Callable[[Run], Mapping[str, Any]] | None = None,
) -> Step:
    """A node's body on the values of this run. What it raises is told with the user's line."""
    node = apart(node)
    getters = [fetch(view) for view in sources]
    setters = [put(view) for view in ends]
    op, given = node.definition, dict(node.attrs)
    plain = not op.effect and op.family != "graph" and next(node.graphs(), None) is None

    def carefully(run: Run, arrays: list[Array], attrs: Mapping[str, Any]) -> Any:
        """The body where it may run Python of the user's, or has raised: an error that it makes knows its place."""
        quiet = contextlib.nullcontext() if op.effect else np.errstate(all="ignore")
        with activate(None), errors.at(node.location), quiet:
            try:
                return op.body(*arrays, **attrs)
            except Exception as error:
                note_around(error, run, loops)
                raise

    def quickly(run: Run, arrays: list[Array], attrs: Mapping[str, Any]) -> Any:
        """The body of NumPy's functions alone; where it raises it is run again, to raise with its place."""
        try:
            if op.name in SILENT:
                return op.body(*arrays, **attrs)
            with np.errstate(all="ignore"):
                return op.body(*arrays, **attrs)
        except Exception:  # it is raised again below, where the first is not its context
            pass
        return carefully(run, arrays, attrs)

    body = quickly if plain else carefully
    straight = into(node) if plain and len(ends) == 1 and attrs_of is None else None
    place = _whole(ends[0]) if straight is not None and not ends[0].buffer.kind.startswith("object") else None

    def step(run: Run) -> None:
        arrays = [get(run) for get in getters]
        if straight is not None and place is not None:
            try:
                with np.errstate(all="ignore"):
                    straight(place(run), *arrays)
                return
            except Exception:  # it is raised again below, with its place
                pass
        attrs = given if attrs_of is None else attrs_of(run)
        if op.effect:
            arrays = [np.array(a) for a in arrays]  # Python code may keep what it is given
        result = body(run, arrays, attrs)
        for put_result, array in zip(setters, result if op.multiple else (result,), strict=False):
            put_result(run, np.asarray(array))

    return step


def deliver(view: View, end: View, symbol: Symbol) -> Step:
    """Bring a value that is no plain memory to its output."""
    get, put_result = fetch(view), put(end)

    def step(run: Run) -> None:
        put_result(run, get(run))

    return step


# -- stacks ------------------------------------------------------------------------------------------------------------


def new_stack(lowerer: Lowerer, symbol: Symbol) -> View:
    """A stack whose length is found while the program runs."""
    buffer = Buffer("stack", None, 0)
    stack = buffer.stack = Stack(lowerer.asm.cell(), lowerer.asm.cell(), lowerer.asm.cell())
    lowerer.asm.set(stack.room, 0)
    lowerer.asm.set(stack.length, 0)  # type: ignore[arg-type]
    return View(buffer, symbol.shape, symbol.dtype, ())  # type: ignore[arg-type]


def room(lowerer: Lowerer, view: View, index: Ref) -> Ref:
    """Make sure that row `index` has room; the cell with the stack's address."""
    stack = view.buffer.stack
    buffer, shape, dtype = view.buffer, view.shape[1:], view.dtype
    wanted = FIRST_ROWS  # by the runs so far: the next one is likely to need as many

    def grow(run: Run) -> None:
        nonlocal wanted
        before = run.scratch.get(buffer)
        used = run.cell(index)
        if before is None or len(before) <= used:
            wanted = max(wanted if before is None else FIRST_ROWS, 2 * used)
            after = np.empty((wanted, *shape), dtype)
            if before is not None and used:
                after[:used] = before[:used]
            run.scratch[buffer] = after
        run.set_cell(stack.base, run.scratch[buffer].ctypes.data)
        run.set_cell(stack.room, len(run.scratch[buffer]))

    fits = lowerer.asm.label()
    lowerer.asm.jump_less(index, stack.room, fits)
    lowerer.hosts.append(grow)
    lowerer.asm.host(len(lowerer.hosts) - 1)
    lowerer.asm.place(fits)
    base: Ref = stack.base
    return base


def reserve(lowerer: Lowerer, view: View, limit: Ref) -> None:
    """Room for as many rows as the loop will make, found when it begins."""
    stack: Stack = view.buffer.stack
    buffer, shape, dtype = view.buffer, view.shape[1:], view.dtype

    def allocate(run: Run) -> None:
        rows = run.scratch[buffer] = np.empty((max(run.cell(limit), 0), *shape), dtype)
        run.set_cell(stack.base, rows.ctypes.data)
        assert stack.length is not None
        run.set_cell(stack.length, len(rows))

    lowerer.hosts.append(allocate)
    lowerer.asm.host(len(lowerer.hosts) - 1)


def number_of_rows(lowerer: Lowerer, view: View) -> Ref:
    """A cell with the length of a value's first axis, which only running tells."""
    get, cell = fetch(view), lowerer.asm.cell()

    def find(run: Run) -> None:
        run.set_cell(cell, len(get(run)))

    lowerer.hosts.append(find)
    lowerer.asm.host(len(lowerer.hosts) - 1)
    return cell


def join_rows(lowerer: Lowerer, view: View, source: View) -> None:
    """Put the rows that a step has made behind those of the steps before it."""
    stack: Stack = view.buffer.stack
    buffer, shape, dtype, get = view.buffer, view.shape[1:], view.dtype, fetch(source)
    assert stack.length is not None
    length = stack.length

    def join(run: Run) -> None:
        rows, used = get(run), run.cell(length)
        before, needed = run.scratch.get(buffer), used + len(rows)
        if before is None or len(before) < needed:
            after = np.empty((max(FIRST_ROWS, 2 * needed), *shape), dtype)
            if before is not None and used:
                after[:used] = before[:used]
            run.scratch[buffer] = after
        run.scratch[buffer][used:needed] = rows
        run.set_cell(stack.base, run.scratch[buffer].ctypes.data)
        run.set_cell(length, needed)

    lowerer.hosts.append(join)
    lowerer.asm.host(len(lowerer.hosts) - 1)


def note_length(lowerer: Lowerer, stacks: list[View], index: Ref) -> None:
    """Keep each stack's length: one more than the step that is made now."""
    for view in stacks:
        if view.buffer.kind == "stack":
            length = view.buffer.stack.length
            assert length is not None
            lowerer.asm.move(length, index)
            lowerer.asm.add(length, 1)


def array_base(lowerer: Lowerer, view: View) -> Ref:
    """A cell with the address of a value that lies in the scratch or is an object input."""
    if view.buffer.kind == "stack":
        base: Ref = view.buffer.stack.base
        return base
    get = fetch(view)
    cell = lowerer.asm.cell()
    key = Buffer("object", None, 0)

    def find(run: Run) -> None:
        array = np.ascontiguousarray(get(run), dtype=view.dtype)
        run.scratch[key] = array  # keep it alive while its address is used
        run.set_cell(cell, array.ctypes.data)

    lowerer.hosts.append(find)
    lowerer.asm.host(len(lowerer.hosts) - 1)
    return cell


# -- statuses ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LoopNote:
    """What a loop kernel's statuses mean: the asserts and the uses of indices in it.

    inside:    for each of them the loops in the kernel's own loop that it stands in, from the outermost.
    iteration: where the kernel notes the number of the step, behind it the indices, and then those of the loops inside.
    around:    the loops around the kernel.
    """

    node: Node
    checks: tuple[Node, ...]
    inside: tuple[tuple[Node, ...], ...]
    iteration: Ref | None
    around: tuple[Around, ...]

    @property
    def words(self) -> int:
        """How many numbers the kernel notes."""
        return 1 + INDICES + max(map(len, self.inside), default=0)

    def __str__(self) -> str:
        return self.node.location.short if self.node.location else self.node.name


@dataclass(frozen=True, slots=True)
class Fault:
    """What a kernel's status means that found a bad index: the node's body, run by NumPy, raises the error."""

    node: Node
    step: Step

    def __str__(self) -> str:
        return self.node.location.short if self.node.location else self.node.name


@dataclass(frozen=True, slots=True)
class Otherwise:
    """What is done where a kernel could not finish its work: the program goes on behind it."""

    node: Node
    step: Step

    def __str__(self) -> str:
        return self.node.location.short if self.node.location else self.node.name


def on_status(run: Any, note: Any, status: int) -> None:
    """A kernel reported a failed check: raise the error that the user's line asks for."""
    if isinstance(note, Otherwise):
        note.step(run)
        return
    if isinstance(note, Fault):
        note.step(run)
        raise IndexOutOfRange(f"{note.node.op}: a kernel met an index that its body takes", note.node.location)
    node: Node = note.checks[status - CHECK]
    attrs = dict(node.attrs)
    noted = run.array(note.iteration, (note.words,), np.int64).tolist()
    indices, counts = noted[1 : 1 + INDICES], [noted[0], *noted[1 + INDICES :]]
    with activate(None), errors.at(node.location):
        try:
            if node.op == "assert":
                node.definition.body(np.asarray(False), **attrs)
            values = [np.broadcast_to(np.zeros((), s.dtype), s.shape) for s in node.inputs]  # type: ignore[arg-type]
            if node.op in MATRIX_OPS:
                node.definition.body(*values, **attrs)  # a matrix of zeros is no better than the one that was met
            if "axes" not in attrs:  # a window: one vector of starts
                node.definition.body(*values[:-1], np.asarray(indices[: values[-1].size]), **attrs)
            count = len(attrs["axes"])
            named = [np.broadcast_to(k, s.shape) for k, s in zip(indices, node.inputs[-count:], strict=False)]  # type: ignore[arg-type]
            node.definition.body(*values[:-count], *named, **attrs)
        except errors.TreadleError as error:
            loops = (note.node, *note.inside[status - CHECK])
            for done, loop in reversed([*zip(counts, loops, strict=False)]):
                errors.note_iteration(error, done, loop.location)
            note_around(error, run, note.around)
            raise
