"""Ctrl-C inside a kernel: a loop that cannot stop half-way asks, now and then, whether a signal is waiting.

The kernel calls `LOOK`, which takes the GIL and lets Python run its signal handlers. What a handler raises is set
aside, the kernel ends with the status INTERRUPTED, and `raise_kept` raises it where the run came from. Handlers run in
the main thread alone, so that one place is enough. Where Python is not CPython nobody is asked.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

from treadle.compile.llvm.build import Source, load

INTERRUPTED = -1  # a kernel's status

# A block: 0 PyGILState_Ensure, 1 PyErr_CheckSignals, 2 PyGILState_Release, 3 PyErr_Fetch, 4-6 where it puts the three.
LOOK = Source(
    "signals",
    """
def kernel(block, lo, hi):
    held = call0(block[0])
    raised = call0(block[1])
    if raised != 0:
        at = address_of(block)
        call3(block[3], at + 32, at + 40, at + 48)
    call1(block[2], held)
    return raised
""",
    native=True,
)
_block = (ctypes.c_int64 * 7)()


@cache
def asking() -> tuple[int, int]:
    """The addresses of the compiled `LOOK` and of its block; zeros where there is nobody to ask."""
    if sys.implementation.name != "cpython":
        return 0, 0
    names = ("PyGILState_Ensure", "PyErr_CheckSignals", "PyGILState_Release", "PyErr_Fetch")
    for k, name in enumerate(names):
        _block[k] = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0
    (entry,) = load([LOOK])
    return entry.address, ctypes.addressof(_block)


def raise_kept() -> None:
    """Raise what a signal's handler has raised inside a kernel."""
    restore = ctypes.pythonapi.PyErr_Restore
    restore.argtypes, restore.restype = [ctypes.c_void_p] * 3, None
    kept = [_block[k] or None for k in (4, 5, 6)]
    _block[4] = _block[5] = _block[6] = 0
    restore(*kept)  # raises, as every call of Python's own functions does that leaves an error
