"""How the native loop of calls becomes the `__call__` of a class: see `gate`.

All of it rests on where CPython and NumPy keep what, which is found out or verified here before it is used; where
anything looks different there are no gates, and calls take the way through Python.
"""

from __future__ import annotations

import ctypes
import re
import sys
import types
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import numpy as np

from treadle.compile.llvm import build
from treadle.compile.run.executor import arrays_readable, system_kernels
from treadle.compile.run.gate import Gate, api, tensor_type
from treadle.compile.run.gate_layout import Api, Arg, Condition, Kind, Made, Result, State, Way, When, Word
from treadle.compile.run.gate_text import TEXT
from treadle.compile.run.machine import EXECUTOR, NUMBERS
from treadle.core import changes
from treadle.core.variable import Variable, _reading
from treadle.records import dataclass


@dataclass(frozen=True, slots=True)
class Layout:
    """Offsets of what the native loop reads, as this process has them."""

    store: int
    gate: int
    table: int
    array: int
    referent: int
    cell: int
    memory: int
    buffer: int
    lease: int


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
        and [word(id(x) + 16).value for x in ({}, {1: 1, 2: 2})] == [0, 2]
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
    offsets = ("store", "gate", "table", "array", "referent", "cell", "memory", "buffer", "lease")
    numbers = {f"OFFSET_{name.upper()}": getattr(layout, name) for name in offsets}
    for kind in (Api, Arg, Condition, Kind, Made, Result, State, Way, When, Word):
        prefix = kind.__name__.upper()
        numbers |= {f"{prefix}_{name}": n for name, n in vars(kind).items() if not name.startswith("__")}
    text = re.sub(r"\b[A-Z]+_[A-Z_]+\b", lambda match: str({**NUMBERS, **numbers}[match[0]]), TEXT)
    return build.Source("gate", text, native=True, hot=True)


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
            memory=offset_of(Variable, "_memory"),
            buffer=offset_of(Variable, "_buffer"),
            lease=offset_of(Variable, "_lease"),
        )
        functions = {
            **{Api.CONTEXT_GET: "PyContextVar_Get", Api.INCREF: "Py_IncRef", Api.DECREF: "Py_DecRef"},
            **{Api.TUPLE_NEW: "PyTuple_New", Api.LIST_NEW: "PyList_New", Api.ALLOC: "PyType_GenericAlloc"},
            **{Api.CALL: "PyObject_Call", Api.SAVE: "PyEval_SaveThread", Api.RESTORE: "PyEval_RestoreThread"},
            **{Api.INTEGER: "PyLong_FromLong", Api.ITEM: "PyDict_GetItemWithError"},
            **{Api.ATTRIBUTE: "PyObject_GetAttr", Api.FORGIVE: "PyErr_Clear"},
            **{Api.SET_ITEM: "PyDict_SetItem", Api.DELETE_ITEM: "PyDict_DelItem"},
            **{Api.FETCH: "PyErr_Fetch", Api.PUT_BACK: "PyErr_Restore"},
        }
        for slot, name in functions.items():
            api[slot] = _function(name)
        api[Api.NEW_ARRAY] = _numpy_api(94)
    except (ValueError, AttributeError, TypeError):
        return False
    for slot, x in ((Api.NONE, None), (Api.TENSOR_TYPE, tensor), (Api.ARRAY_TYPE, np.ndarray)):
        api[slot] = id(x)
    for slot, x in ((Api.EMPTY, ()), (Api.READING, _reading), (Api.WRITABLE, Variable._writable)):
        api[slot] = id(x)
    for slot, x in ((Api.REFUSAL, NotImplemented), (Api.MODE, mode), (Api.SLOW, slow)):
        api[slot] = id(x)
    api[Api.CHANGES] = changes.count.ctypes.data
    api[Api.ENTER] = system_kernels()[EXECUTOR].address
    (entry,) = build.load([source(layout)])
    method = _Method(b"__call__", entry.address, _FASTCALL_KEYWORDS, b"Run: by a trace that fits, or by a new one.")
    make = ctypes.pythonapi.PyDescr_NewMethod
    make.restype, make.argtypes = ctypes.py_object, (ctypes.py_object, ctypes.POINTER(_Method))
    _kept.extend((entry, method, slow, mode, Variable._writable))
    type.__setattr__(function, "__call__", make(function, ctypes.byref(method)))
    return True
