"""Gates: what a call of a function passes through natively, from arguments to results, without a Python frame.

A `Gate` says what the arguments of a call must be like (the dtype and shape of each tensor, the identity of all else)
and what then runs. The native loop of `gate_text` is `Function.__call__` itself: it tries the gates of the function,
fills the frame of the program that fits, makes the results' arrays and tensors, and lets the executor run. Whatever
is not like that, or does not go smoothly, is left to Python.

All of it rests on where CPython and NumPy keep what, which is found out or verified here before it is used; where
anything looks different there are no gates, and calls take the way through Python.
"""

from __future__ import annotations

import ctypes
import re
import sys
import types
import weakref
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import cache
from typing import Any

import numpy as np

from treadle.compile.llvm import build
from treadle.compile.program import Program
from treadle.compile.run import pool
from treadle.compile.run.executor import Frame, _plain, arrays_readable, system_kernels
from treadle.compile.run.gate_text import TEXT, Api, Arg, Condition, Kind, Made, Result, When, Word
from treadle.compile.run.machine import EXECUTOR, NUMBERS, Slot
from treadle.core import changes
from treadle.records import dataclass

Array = np.ndarray[Any, Any]


class Gate:
    """One way through: `table` is what the native loop reads, `keep` what must live as long as it."""

    __slots__ = ("__weakref__", "keep", "next", "table")

    def __init__(self, words: int = Word.ARGS) -> None:
        self.table = np.zeros(words, np.int64)
        self.table[Word.CHANGES] = -1
        self.table[Word.API] = _api.ctypes.data
        self.table[Word.SELF] = id(self)
        self.keep: Any = None
        self.next: Gate | None = None

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

_api = np.zeros(Api.SIZE, np.int64)
CLOSED = Gate()  # lets nobody through


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
class Results:
    """What becomes of the results: how (`Made`), and the function of a list of tensors for Made.OTHER."""

    made: int
    rebuild: Callable[[list[Any]], Any] | None = None


def to_function(
    arguments: Sequence[Argument], conditions: Sequence[Outside], run: Callable[[list[Array]], Any]
) -> Gate:
    """A gate to a function of a list of the tensors' arrays; where that gives NotImplemented, Python takes the call."""
    gate = _gate(arguments, conditions, 0)
    gate.table[Word.RUN] = id(run)
    gate.keep.append(run)
    return gate


def fit(program: Program) -> bool:
    """Whether a program can run behind a gate: with a frame of its own, on inputs that it only reads."""
    code = getattr(program, "code", None)
    if code is None or program.inplace or program.open or code._arena_size or code._commits:
        return False
    return all(dtype.kind in "biufc" for _, _, _, dtype in program.ends)


def to_program(
    arguments: Sequence[Argument],
    conditions: Sequence[Outside],
    program: Program,
    captures: Sequence[Array],
    results: Results,
    trim: Callable[[BaseException], object],
) -> Gate:
    """A gate to a program whose inputs are the tensors among the arguments, and these arrays. `fit` must say yes.

    trim: what is done to an error before it is raised.
    """
    code, ends = program.code, program.ends
    gate = _gate(arguments, conditions, len(ends) * Result.SIZE)
    if code.layout.parallel and pool.state.block is None:
        pool.start()
    table = gate.table
    table[Word.FLAGS] = 0x101
    table[Word.RESULTS], table[Word.MADE] = len(ends), results.made
    table[Word.REBUILD] = id(results.rebuild)
    first = Word.ARGS + Arg.SIZE * len(arguments)
    table[Word.FIRST] = table.ctypes.data + 8 * first
    tensors = sum(a.kind >= Kind.TENSOR for a in arguments)
    last: list[Any] = [np.empty(0)] * len(ends)  # none of them looks like a result to the native loop
    gate.keep.append(last)
    for number, (_, make, shape, dtype) in enumerate(ends):
        words = table[first + Result.SIZE * number :]
        sizes = np.array([*shape, 0], np.intp)
        given = (shape, dtype)
        words[Result.DESCR], words[Result.NDIM], words[Result.SIZES] = id(dtype), len(shape), sizes.ctypes.data
        words[Result.MAKER], words[Result.GIVEN] = 0 if make is np.empty else id(make), id(given)
        words[Result.SLOT] = Slot.FIRST + tensors + len(captures) + number
        if _may_keep(gate, int(np.prod(shape)) * dtype.itemsize, make is np.empty):
            words[Result.LAST] = _place(last, number)
        gate.keep += (sizes, given, dtype, make)
    plain = [_plain(array) for array in captures]
    finish = _finisher(gate, program, plain, trim)
    table[Word.FINISH] = id(finish)
    gate.keep += (finish, results, plain, program)
    _renew(gate, program, plain)
    return gate


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
    table[Word.COUNT] = len(arguments)
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
    gate.keep = [x for x in gate.keep if type(x) is not Frame] + [frame]
    gate.table[Word.FRAME] = ctypes.addressof(frame.slots)


def _finisher(gate: Gate, program: Program, captures: list[Array], trim: Callable[..., Any]) -> Callable[..., None]:
    """What goes on in Python where the executor asks for something."""
    code, hosts, on_status = program.code, program.hosts, program.on_status

    def finish(arguments: tuple[Any, ...], made: Any, reason: int) -> None:
        (frame,) = (x for x in gate.keep if type(x) is Frame)
        tensor = tensor_type()
        given = [x.array if type(x) is tensor else x for x in arguments if type(x) is tensor or type(x) is np.ndarray]
        inputs = (*given, *captures)
        outputs = tuple([x.array for x in made]) if isinstance(made, tuple | list) else (made.array,)
        try:
            code._go_on(frame, reason, inputs, outputs, hosts, on_status)
        except BaseException as error:
            code._abandon(frame)
            _renew(gate, program, captures)
            if isinstance(error, Exception):
                trim(error)
            raise

    return finish


@dataclass(frozen=True, slots=True)
class Layout:
    """Offsets of what the native loop reads, as this process has them."""

    store: int
    gate: int
    table: int
    array: int
    referent: int
    cell: int


def offset_of(kind: type, name: str) -> int:
    """Where the slot `name` lies in objects of a class. Raises ValueError where it cannot be seen."""
    x: object = object.__new__(kind)
    mark = object()
    getattr(kind, name).__set__(x, mark)
    return _find(x, kind.__basicsize__, id(mark))


def _find(x: object, nbytes: int, address: int) -> int:
    """At which offset an object holds an address. Raises ValueError where it does at none, or at several."""
    words = (ctypes.c_int64 * (nbytes // 8)).from_address(id(x))
    found = [8 * k for k, word in enumerate(words) if word == address and k > 1]
    if len(found) != 1:
        raise ValueError(f"{type(x).__name__} objects are laid out in another way")
    return found[0]


def _arrays_as_expected() -> bool:
    """Whether arrays keep ndim, shape and descr where the native loop reads them, tuples and lists their items, and
    floats their bits."""
    array = np.zeros((3, 5), np.float32)
    word = ctypes.c_int64.from_address
    shape = word(id(array) + 32).value
    pair, listed = (array, shape), [array, shape]
    items = word(id(listed) + 24).value
    return (
        arrays_readable()
        and ctypes.c_int32.from_address(id(array) + 24).value == 2
        and [word(shape).value, word(shape + 8).value] == [3, 5]
        and word(id(array) + 56).value == id(array.dtype)
        and [word(id(pair) + 24).value, word(items).value] == [id(array)] * 2
        and word(id(pair) + 16).value == 2
        and ctypes.c_double.from_address(id(number := float(array.size)) + 16).value == number == 15.0
    )


def _numpy_api(number: int) -> int:
    """The address of a function of NumPy's C interface."""
    capsule = np._core._multiarray_umath._ARRAY_API  # type: ignore[attr-defined]
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    table = (ctypes.c_void_p * (number + 1)).from_address(pointer(capsule, None))
    return int(table[number] or 0)


def _function(name: str) -> int:
    """The address of a function of Python's C interface."""
    return int(ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0)


class _Method(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_FASTCALL_KEYWORDS = 0x0080 | 0x0002
_kept: list[object] = []  # what native code holds the addresses of


def source(layout: Layout) -> build.Source:
    """The native loop's text with the numbers of this process in it."""
    offsets = ("store", "gate", "table", "array", "referent", "cell")
    numbers = {f"OFFSET_{name.upper()}": getattr(layout, name) for name in offsets}
    for kind in (Api, Arg, Condition, Kind, Made, Result, When, Word):
        prefix = kind.__name__.upper()
        numbers |= {f"{prefix}_{name}": n for name, n in vars(kind).items() if not name.startswith("__")}
    text = re.sub(r"\b[A-Z]+_[A-Z_]+\b", lambda match: str({**NUMBERS, **numbers}[match[0]]), TEXT)
    return build.Source("gate", text, native=True, hot=True)


@cache
def tensor_type() -> Any:
    """The class of eager tensors."""
    from treadle.core.tensor import Tensor

    return Tensor


def install(
    function: type, store: type, slow: Callable[[Any, tuple[Any, ...], Any], Any], mode: ContextVar[Any]
) -> bool:
    """Make the native loop the `__call__` of a class: its objects have a slot `_store`, their stores a slot `gate`.

    slow: what does a call that no gate lets through, of the callee, its arguments, and the names of the last ones.
    False where this Python or NumPy is not laid out as the loop needs it: then all stays as it is.
    """
    if sys.implementation.name != "cpython" or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return False
    tensor = tensor_type()
    target = type("Target", (), {})()
    try:
        if not _arrays_as_expected():
            return False
        layout = Layout(
            store=offset_of(function, "_store"),
            gate=offset_of(store, "gate"),
            table=offset_of(Gate, "table"),
            array=offset_of(tensor, "array"),
            referent=_find(weakref.ref(target), weakref.ref.__basicsize__, id(target)),
            cell=_find(types.CellType(target), types.CellType.__basicsize__, id(target)),
        )
        functions = {
            **{Api.CONTEXT_GET: "PyContextVar_Get", Api.INCREF: "Py_IncRef", Api.DECREF: "Py_DecRef"},
            **{Api.TUPLE_NEW: "PyTuple_New", Api.LIST_NEW: "PyList_New", Api.ALLOC: "PyType_GenericAlloc"},
            **{Api.CALL: "PyObject_Call", Api.SAVE: "PyEval_SaveThread", Api.RESTORE: "PyEval_RestoreThread"},
            **{Api.INTEGER: "PyLong_FromLong", Api.ITEM: "PyDict_GetItemWithError"},
            **{Api.ATTRIBUTE: "PyObject_GetAttr", Api.FORGIVE: "PyErr_Clear"},
        }
        for slot, name in functions.items():
            _api[slot] = _function(name)
        _api[Api.NEW_ARRAY] = _numpy_api(94)
    except (ValueError, AttributeError, TypeError):
        return False
    for slot, x in ((Api.NONE, None), (Api.TENSOR_TYPE, tensor), (Api.ARRAY_TYPE, np.ndarray)):
        _api[slot] = id(x)
    for slot, x in ((Api.REFUSAL, NotImplemented), (Api.MODE, mode), (Api.SLOW, slow)):
        _api[slot] = id(x)
    _api[Api.CHANGES] = changes.count.ctypes.data
    _api[Api.ENTER] = system_kernels()[EXECUTOR].address
    (entry,) = build.load([source(layout)])
    method = _Method(b"__call__", entry.address, _FASTCALL_KEYWORDS, b"Run: by a trace that fits, or by a new one.")
    make = ctypes.pythonapi.PyDescr_NewMethod
    make.restype, make.argtypes = ctypes.py_object, (ctypes.py_object, ctypes.POINTER(_Method))
    _kept.extend((entry, method, slow, mode))
    type.__setattr__(function, "__call__", make(function, ctypes.byref(method)))
    return True
