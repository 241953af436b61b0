"""Memory for large results: taken again once every array on it has died, since fresh pages cost more than arithmetic.

An array that is handed out is the NumPy owner of all views made from it (NumPy does not look through a subclass), so
that a weak reference to it tells when nobody looks at the memory any more.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

LARGE = 1 << 18  # bytes from which a result comes from here: above it, allocators give fresh pages each time
LIMIT = 256 << 20  # bytes that wait for their next use; more are given back to the system
_PAGE = 4096

Array = np.ndarray[Any, Any]


class _Memory(np.ndarray[Any, np.dtype[np.uint8]]):
    """A piece of memory; a class of its own, so that views end at the array that was handed out."""


# Nothing here takes a lock: a weak reference may die in any thread, in the middle of anything.
_idle: dict[int, list[_Memory]] = {}
_lent: dict[int, tuple[weakref.ref[Array], _Memory]] = {}


def make(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array that is not initialised, like `np.empty`; on memory of a dead result where there is one that fits."""
    count = dtype.itemsize
    for size in shape:
        count *= size
    room = -(-count // _PAGE) * _PAGE
    try:
        memory = _idle[room].pop()
    except (KeyError, IndexError):
        memory = _Memory(room, np.uint8)
    return _lend(shape, dtype, memory)


def _lend(shape: tuple[int, ...], dtype: np.dtype[Any], memory: _Memory) -> Array:
    array: Array = np.ndarray(shape, dtype, memory)
    ref = weakref.ref(array, _give_back)
    _lent[id(ref)] = ref, memory
    return array


def take_over(held: list[Array]) -> bool:
    """Whether nothing but this list of one knew an array: then it holds a new one on the same memory, else the old."""
    array = held.pop()
    ref = next((ref for ref in weakref.getweakrefs(array) if id(ref) in _lent), None)
    if ref is None:
        held.append(array)
        return False
    shape, dtype, lent = array.shape, array.dtype, _lent.pop(id(ref))  # from here on its death gives nothing back
    del array
    again = ref()
    if again is None:
        held.append(_lend(shape, dtype, lent[1]))
        return True
    _lent[id(ref)] = lent
    held.append(again)
    return False


def _give_back(ref: weakref.ref[Array]) -> None:
    lent = _lent.pop(id(ref), None)
    if lent is None:  # its memory was taken over
        return
    memory = lent[1]
    if waiting() + len(memory) <= LIMIT:
        _idle.setdefault(len(memory), []).append(memory)


def waiting() -> int:
    """Bytes that wait for their next use."""
    return sum(room * len(pieces) for room, pieces in list(_idle.items()))


def clear() -> None:
    """Give all that waits back to the system."""
    _idle.clear()
