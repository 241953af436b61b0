"""Gates: what a call of a function passes through natively, from arguments to results, without a Python frame.

A `Gate` says what the arguments of a call must be like (the dtype and shape of each tensor, the identity of all else)
and what then runs. The native loop of `gate_text` is `Function.__call__` itself: it tries the gates of the function,
fills the frame of the program that fits, makes the results' arrays and tensors, and lets the executor run. Whatever
is not like that, or does not go smoothly, is left to Python.

All of it rests on where CPython and NumPy keep what: see `gate_entry`.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from treadle.compile.program import Program
from treadle.compile.run import pool
from treadle.compile.run.executor import _plain
from treadle.compile.run.gate_layout import Api, Arg, Condition, Kind, Result, State, Way, Word
from treadle.compile.run.machine import Slot
from treadle.core import changes
from treadle.core.variable import Variable
from treadle.records import dataclass

Array = np.ndarray[Any, Any]


class Gate:
    """One way through: `table` is what the native loop reads, `keep` what must live as long as it.

    frame: that of its program.
    """

    __slots__ = ("__weakref__", "frame", "keep", "next", "table")

    def __init__(self, words: int = Word.ARGS) -> None:
        self.table = np.zeros(words, np.int64)
        self.table[Word.CHANGES] = -1
        self.table[Word.API] = api.ctypes.data
        self.table[Word.SELF] = id(self)
        self.keep: Any = None
        self.frame: Any = None
        self.next: Gate | None = None

    def name(self, names: tuple[str, ...]) -> None:
        """Let through calls that give the last arguments by these names."""
        self.table[Word.PLAIN] -= len(names)
        self.table[Word.NAMES] = id(names)
        self.keep.append(names)

    def lead_to(self, other: Gate | None) -> None:
        """Name the gate that is tried after this one."""
        self.next = other
        self.table[Word.NEXT] = 0 if other is None else other.table.ctypes.data

    @property
    def valid(self) -> bool:
        """Whether nothing has changed everywhere since it was made."""
        return bool(self.table[Word.CHANGES] == changes.count[0])


KEPT = 4096  # bytes up to which a gate holds on to the last result, whose memory it may take again
# The same for results from the pool, which takes 2 to 8 us to make one: of all gates together, and of one.
KEPT_OF_ALL, KEPT_LARGE = 24 << 20, 8 << 20
_kept_bytes = [0]

api = np.zeros(Api.SIZE, np.int64)
CLOSED = Gate()  # lets nobody through


@cache
def tensor_type() -> Any:
    """The class of eager tensors."""
    from treadle.core.tensor import Tensor

    return Tensor


@dataclass(frozen=True, slots=True)
class Argument:
    """What an argument must be: an object (`what`, one like it, what it refers to), or a dtype and a shape."""

    kind: int
    what: Any
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Outside:
    """A condition: `attrs` of what a dictionary has under a name, a cell holds, or a weak reference refers to.

    They must lead to the object `wanted`, or, `weakly`, to what that weak reference refers to.
    """

    when: int
    where: Any
    name: str
    attrs: tuple[str, ...]
    wanted: Any
    weakly: bool


@dataclass(frozen=True, slots=True)
class Touched:
    """A variable that a program touches, and its lock; which input holds its value, which output the new one."""

    variable: weakref.ref[Variable]
    lock: Any
    way: int
    input: int
    output: int | None


@dataclass(frozen=True, slots=True)
class Results:
    """What becomes of the results: how (`Made`), and the function of a list of tensors for Made.OTHER.

    For Made.CONSTANT it is the object itself.
    """

    made: int
    rebuild: Any = None


def to_function(
    arguments: Sequence[Argument], conditions: Sequence[Outside], run: Callable[[list[Array]], Any]
) -> Gate:
    """A gate to a function of a list of the tensors' arrays; where that gives NotImplemented, Python takes the call."""
    gate = _gate(arguments, conditions, 0)
    gate.table[Word.RUN] = id(run)
    gate.keep.append(run)
    return gate


def fit(program: Program, variables: Sequence[Touched]) -> bool:
    """Whether a program can run behind a gate: with a frame of its own, on arguments that it only reads."""
    code = getattr(program, "code", None)
    if code is None or program.open or code._arena_size:
        return False
    touched = {v.output for v in variables if v.way == Way.OVERWRITTEN}
    if touched != set(program.inplace) or (code._commits and not touched):
        return False
    read = [held.dtype for v in variables if (held := v.variable()) is not None]  # the graph itself may rest
    return all(dtype.kind in "biufc" for dtype in (*read, *(dtype for _, _, _, dtype in program.ends)))


def to_program(
    arguments: Sequence[Argument],
    conditions: Sequence[Outside],
    program: Program,
    captures: Sequence[Array],
    variables: Sequence[Touched],
    results: Results,
    trim: Callable[[BaseException], object],
) -> Gate:
    """A gate to a program whose inputs are the tensors among the arguments, these arrays, and variables' values.

    variables: in the order in which they are locked. trim: what is done to an error before it is raised. `fit` must
    say yes.
    """
    code, ends = program.code, program.ends
    gate = _gate(arguments, conditions, len(ends) * Result.SIZE + len(variables) * State.SIZE)
    if code.layout.parallel and pool.state.block is None:
        pool.start()
    table = gate.table
    table[Word.FLAGS] = 0x101
    table[Word.RESULTS], table[Word.MADE] = len(ends) - sum(v.output is not None for v in variables), results.made
    table[Word.REBUILD] = id(results.rebuild)
    first = Word.ARGS + Arg.SIZE * len(arguments)
    table[Word.FIRST] = table.ctypes.data + 8 * first
    places = _states(gate, variables, first + len(ends) * Result.SIZE, code.layout.inputs)
    last: list[Any] = [np.empty(0)] * len(ends)  # none of them looks like a result to the native loop
    gate.keep.append(last)
    over = {v.output for v in variables if v.way == Way.OVERWRITTEN}
    made = [(number, *end[1:]) for number, end in enumerate(ends) if number not in over]
    table[Word.OUTPUTS] = len(made)
    for row, (number, make, shape, dtype) in enumerate(made):
        words = table[first + Result.SIZE * row :]
        sizes = np.array([*shape, 0], np.intp)
        given = (shape, dtype)
        words[Result.DESCR], words[Result.NDIM], words[Result.SIZES] = id(dtype), len(shape), sizes.ctypes.data
        words[Result.MAKER], words[Result.GIVEN] = 0 if make is np.empty else id(make), id(given)
        words[Result.SLOT] = Slot.FIRST + code.layout.inputs + number
        words[Result.NEW] = places.get(number, 0)
        if number not in places and _may_keep(gate, int(np.prod(shape)) * dtype.itemsize, make is np.empty):
            words[Result.LAST] = _place(last, number)
        gate.keep += (sizes, given, dtype, make)
    plain = [_plain(array) for array in captures]
    finish = _finisher(gate, program, plain, variables, trim)
    table[Word.FINISH] = id(finish)
    gate.keep += (finish, results, plain, program)
    _renew(gate, program, plain)
    return gate


class _Held(list[Any]):
    """What a run holds of variables: their memory, then their new memory; None otherwise."""


def _states(gate: Gate, variables: Sequence[Touched], start: int, inputs: int) -> dict[int, int]:
    """Write the words of variables; the address of the place for each output that replaces a variable's value."""
    table = gate.table
    table[Word.STATES], table[Word.STATE] = len(variables), table.ctypes.data + 8 * start
    held = _Held([None] * (2 * len(variables)))
    places: dict[int, int] = {}
    for number, touched in enumerate(variables):
        words = table[start + State.SIZE * number :]
        acquire, release = touched.lock.acquire, touched.lock.release
        words[State.REF], words[State.WAY] = id(touched.variable), touched.way
        words[State.ACQUIRE], words[State.RELEASE] = id(acquire), id(release)
        words[State.INPUT] = Slot.FIRST + touched.input
        words[State.OLD], words[State.NEW] = _place(held, number), _place(held, len(variables) + number)
        if touched.output is not None:
            words[State.OUTPUT] = Slot.FIRST + inputs + touched.output
            if touched.way == Way.REPLACED:
                places[touched.output] = int(words[State.NEW])
        gate.keep += (touched, acquire, release)
    live = (touched.variable() for touched in variables if touched.way == Way.READ)
    reads, reader = frozenset(v.serial for v in live if v is not None), object()
    if reads:
        table[Word.READS], table[Word.READER] = id(reads), id(reader)
    gate.keep += (held, reads, reader)
    return places


def _may_keep(gate: Gate, nbytes: int, small: bool) -> bool:
    """Whether a gate may hold on to a result of so many bytes."""
    if small:
        return nbytes <= KEPT
    if nbytes > KEPT_LARGE or _kept_bytes[0] + nbytes > KEPT_OF_ALL:
        return False
    _kept_bytes[0] += nbytes
    weakref.finalize(gate, _let_go, nbytes).atexit = False
    return True


def _let_go(nbytes: int) -> None:
    _kept_bytes[0] -= nbytes


def _place(items: list[Any], number: int) -> int:
    """The address of a list's item; the list may not grow."""
    return int(ctypes.c_int64.from_address(id(items) + 24).value) + 8 * number


def _gate(arguments: Sequence[Argument], conditions: Sequence[Outside], more: int) -> Gate:
    """A gate for these arguments, with `more` words behind theirs."""
    gate = Gate(Word.ARGS + Arg.SIZE * len(arguments) + more)
    table = gate.table
    table[Word.CHANGES] = changes.count[0]
    table[Word.COUNT] = table[Word.PLAIN] = len(arguments)
    gate.keep = []
    tensors = 0
    for number, argument in enumerate(arguments):
        words = table[Word.ARGS + Arg.SIZE * number :]
        words[Arg.KIND], words[Arg.WHAT] = argument.kind, id(argument.what)
        gate.keep.append(argument.what)
        if argument.kind >= Kind.TENSOR:
            sizes = np.array([*argument.shape, 0], np.intp)
            words[Arg.NDIM], words[Arg.SIZES] = len(argument.shape), sizes.ctypes.data
            words[Arg.SLOT] = Slot.FIRST + tensors
            gate.keep.append(sizes)
            tensors += 1
    table[Word.TENSORS] = tensors
    asked = np.zeros((len(conditions), Condition.SIZE), np.int64)
    for words, condition in zip(asked, conditions, strict=True):
        attrs = np.array([*map(id, condition.attrs), 0], np.int64)
        words[Condition.WHEN], words[Condition.WHERE] = condition.when, id(condition.where)
        words[Condition.NAME] = id(condition.name)
        words[Condition.DEPTH], words[Condition.ATTRS] = len(condition.attrs), attrs.ctypes.data
        words[Condition.WANTED], words[Condition.WEAKLY] = id(condition.wanted), condition.weakly
        gate.keep += (condition, attrs)
    table[Word.CONDITIONS], table[Word.ASKED] = len(conditions), asked.ctypes.data
    gate.keep.append(asked)
    return gate


def _renew(gate: Gate, program: Program, captures: Sequence[Array]) -> None:
    """Give a gate a fresh frame, whose inputs and outputs the native loop fills in."""
    frame = program.code._make_frame()
    frame.slots[Slot.ARRAY_TYPE] = 1
    tensors = int(gate.table[Word.TENSORS])
    for number, array in enumerate(captures):
        frame.slots[Slot.FIRST + tensors + number] = array.ctypes.data
    gate.frame = frame
    gate.table[Word.FRAME] = ctypes.addressof(frame.slots)


def _finisher(
    gate: Gate,
    program: Program,
    captures: list[Array],
    variables: Sequence[Touched],
    trim: Callable[..., Any],
) -> Callable[..., None]:
    """What goes on in Python where the executor asks for something."""
    code, hosts, on_status = program.code, program.hosts, program.on_status
    (held,) = (x for x in gate.keep if type(x) is _Held)
    tensor, ndarray, count = tensor_type(), np.ndarray, int(gate.table[Word.RESULTS])
    # Where in `held` the memory of each variable, and of each new value of one, is found.
    before = [number for _, number in sorted((v.input, number) for number, v in enumerate(variables))]
    after = [
        number if v.way == Way.OVERWRITTEN else len(variables) + number
        for number, v in sorted(enumerate(variables), key=lambda pair: pair[1].output or 0)
        if v.output is not None
    ]

    def finish(arguments: tuple[Any, ...], made: Any, reason: int) -> None:
        frame = gate.frame
        given = [x.array if type(x) is tensor else x for x in arguments if type(x) is tensor or type(x) is ndarray]
        results = made if type(made) in (tuple, list) else (made,)
        inputs = (*given, *captures, *[held[number] for number in before])
        outputs = (*[x.array for x in results[:count]], *[held[number] for number in after])
        try:
            code._go_on(frame, reason, inputs, outputs, hosts, on_status)
        except BaseException as error:
            if code._commits and frame.slots[Slot.FINISHED]:  # its variables' new values are complete: they count
                for touched in variables:
                    variable = touched.variable()
                    if touched.output is not None and touched.way == Way.REPLACED and variable is not None:
                        variable._adopt(outputs[touched.output])
            else:
                code._abandon(frame)
            _renew(gate, program, captures)
            if isinstance(error, Exception):
                trim(error)
            raise

    return finish
