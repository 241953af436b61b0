"""The native worker pool: Python threads that enter a compiled wait loop once, and take shares of kernels from there.

A run publishes its job in the pool's block, works on it itself, and waits only for shares that a worker has begun: so
nothing ever hangs on a worker that sleeps, was stopped, or did not survive a fork. Where the platform lacks pthreads,
or with one thread, there is no pool and kernels run serially, cut into the same shares.
"""

from __future__ import annotations

import atexit
import ctypes
import operator
import os
import sys
import threading
import time
from functools import cache

import numpy as np

from treadle.compile.llvm import build
from treadle.compile.run import lending
from treadle.compile.run.machine import WORKER, Pool
from treadle.errors import DeviceError
from treadle.records import dataclass

MOST_THREADS = 1024  # a slip of the pen must not start threads without end
MUTEX_WORDS = 16  # 128 bytes: pthread_mutex_t and pthread_cond_t take 40 to 64


@dataclass(slots=True)
class _State:
    """The pool's only state but for the word that programs read: its size, its block, its threads."""

    wanted: int = 0  # threads, the caller included; 0 before anybody asked
    block: np.ndarray | None = None
    threads: tuple[threading.Thread, ...] = ()
    closed: bool = False


state = _State()
_lock = threading.Lock()
# Programs read the block's address through this word at each parallel step, so that a pool can come and go. Blocks are
# never freed: a run of another thread may still hold the old address.
_cell = np.zeros(1, np.int64)
_retired: list[np.ndarray] = []
cell_address = int(_cell.ctypes.data)


@dataclass(frozen=True, slots=True)
class Platform:
    """Addresses of the C library's functions that the native loops call."""

    clock: int
    clock_id: int
    pthread: tuple[int, int, int, int]  # mutex_lock, mutex_unlock, cond_wait, cond_broadcast
    init: tuple[int, int]  # mutex_init, cond_init
    give_way: int


def find_platform() -> Platform | None:
    """The C library's clock and pthreads; None where they are missing."""
    if sys.platform == "win32" or sys.byteorder != "little" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    try:
        library = ctypes.CDLL(None)

        def address(name: str) -> int:
            value = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
            if not value:
                raise AttributeError(name)
            return value

        names = ("pthread_mutex_lock", "pthread_mutex_unlock", "pthread_cond_wait", "pthread_cond_broadcast")
        lock, unlock, wait, broadcast = map(address, names)
        init = address("pthread_mutex_init"), address("pthread_cond_init")
        pthread = (lock, unlock, wait, broadcast)
        return Platform(address("clock_gettime"), time.CLOCK_MONOTONIC, pthread, init, address("sched_yield"))
    except (AttributeError, OSError):
        return None


platform = find_platform()


def get_num_threads() -> int:
    """How many threads a large kernel may use, the calling one included."""
    if not state.wanted:
        state.wanted = _default_threads()
    return state.wanted


def set_num_threads(count: int) -> None:
    """Use `count` threads for large kernels, the calling one included; 1 runs everything serially.

    Results do not depend on it. `TREADLE_NUM_THREADS` sets it from outside; by default it is the number of processors
    that the process may run on. Raises DeviceError unless `count` is an integer from 1 to 1024.

    >>> import treadle as td
    >>> before = td.get_num_threads()
    >>> td.set_num_threads(1)
    >>> td.get_num_threads()
    1
    >>> td.set_num_threads(before)
    """
    try:
        wanted = 0 if isinstance(count, bool) else operator.index(count)
    except TypeError:
        wanted = 0
    if not 1 <= wanted <= MOST_THREADS:
        raise DeviceError(
            f"set_num_threads(count): the number of threads is an integer from 1 to {MOST_THREADS}, not {count!r}"
        )
    count = wanted
    with _lock:
        if count == state.wanted and state.block is not None:
            return
        _retire()
        state.wanted = count


def _default_threads() -> int:
    """`TREADLE_NUM_THREADS`, else the processors this process may run on."""
    try:
        chosen = int(os.environ.get("TREADLE_NUM_THREADS", "0"))
    except ValueError:
        chosen = 0
    if chosen > 0:
        return min(chosen, MOST_THREADS)
    return processors()


@cache
def processors() -> int:
    """How many processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start() -> None:
    """Make the pool if there is none and there can be one."""
    if state.block is not None or state.closed or platform is None or get_num_threads() < 2:
        return
    try:
        (entry,) = build.load([WORKER])
    except Exception:  # a processor LLVM has no such atomics for: everything runs serially
        state.closed = True
        return
    with _lock:
        if state.block is not None or state.closed:
            return
        block = _make_block(platform)
        loop = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(entry.address)
        arguments = (int(block.ctypes.data), 0, 0)
        threads = []
        for number in range(get_num_threads() - 1):
            thread = threading.Thread(target=loop, args=arguments, name=f"treadle-worker-{number}", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads to be had: fewer workers
                break
            threads.append(thread)
        state.block, state.threads = block, tuple(threads)
        _cell[0] = block.ctypes.data if threads else 0


def find_lenders() -> None:
    """See whether threads of NumPy's spin that may take shares; a long step has asked for it."""
    block, threads = state.block, state.threads
    if block is not None and block[Pool.ASK]:
        lending.find(block, threads)


def _make_block(platform: Platform) -> np.ndarray:
    """A pool's block with its mutex and condition made, on a cache line's boundary."""
    memory = np.zeros(Pool.SIZE + 8, np.int64)
    skip = (-memory.ctypes.data % 64) // 8
    block = memory[skip : skip + Pool.SIZE]
    block[Pool.CLOCK], block[Pool.CLOCK_ID] = platform.clock, platform.clock_id
    block[Pool.LOCK : Pool.LOCK + 4] = platform.pthread
    block[Pool.GIVE_WAY] = platform.give_way
    lending.prepare(block, get_num_threads())
    initialise = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    for function, place in zip(platform.init, (Pool.MUTEX, Pool.CONDITION), strict=True):
        initialise(function)(block.ctypes.data + 8 * place, None)
    return block


def _retire() -> None:
    """Let the workers go and wait for them; runs that still hold the block go on serially."""
    block, threads = state.block, state.threads
    _cell[0] = 0
    state.block, state.threads = None, ()
    if block is None or platform is None:
        return
    block[Pool.TABLE] = 0
    lending.close()
    _retired.append(block)
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
    mutex, condition = (int(block.ctypes.data) + 8 * place for place in (Pool.MUTEX, Pool.CONDITION))
    lock, unlock, _, broadcast = platform.pthread
    call(lock)(mutex)
    block[Pool.STOP] = 1
    call(broadcast)(condition)
    call(unlock)(mutex)
    for thread in threads:
        thread.join()


def _close() -> None:
    """At exit: workers must not come back into an interpreter that is being taken down."""
    with _lock:
        state.closed = True
        _retire()


def _forget() -> None:
    """In a forked child there are no workers, and the old block's mutex may be locked for ever: leave it untouched."""
    global _lock
    _lock = threading.Lock()
    if state.block is not None:
        state.block[Pool.BUSY] = 1  # a run that goes on in the child and still holds this address stays serial
        _retired.append(state.block)
    _cell[0] = 0
    state.block, state.threads = None, ()
    lending.forget()


def _blocks() -> list[np.ndarray]:
    """The pool's block, and those that runs may still hold."""
    return [*_retired, *([] if state.block is None else [state.block])]


atexit.register(_close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: lending.hold(_blocks()),
        after_in_parent=lambda: lending.go_on(_blocks()),
        after_in_child=_forget,
    )
