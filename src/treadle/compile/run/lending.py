"""Threads of NumPy's BLAS, which spin on for some 100 ms after a product, take shares of ours while they do.

They wait on the processors that the pool's workers want, so that a large product after one of NumPy's would take twice
its time. They cannot be told to sleep; but OpenBLAS has a function that runs any other on its threads. A step that took
long has the process's threads looked at: where NumPy's run and no other thread does that is not ours, shares go to
them, and the workers sleep. Shares are the same whoever takes them, so that no result depends on it.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Sequence
from functools import cache

import numpy as np

from treadle.compile.llvm import build
from treadle.compile.matrix import blas
from treadle.compile.run.machine import Pool, with_numbers
from treadle.records import dataclass

MOST = 64  # threads in a process beyond which looking at all would take too long
LOOK_EVERY, ASK_EVERY = 1_000_000, 250_000_000  # nanoseconds between two looks, and between two requests for a table
# A thread that is given work spins on after it, so that our own steps would keep it awake for ever: after a while they
# leave it alone for longer than it spins (0.12 s), which shows whether NumPy still uses it.
PERIOD, REST = 2_000_000_000, 150_000_000
RUNNING = ord("R")

# A row of the table: a thread's number, its open `stat` file, whether it is NumPy's, where in the file its state
# stands. The 17th word behind the state is the number of threads.
LOOK = build.Source(
    "threads to borrow",
    with_numbers(
        """
def kernel(job, lo, hi):
    now = nanoseconds(job[POOL_CLOCK], job[POOL_CLOCK_ID])
    if now - job[POOL_LOOKED] < LOOKEVERY:
        return job[POOL_BORROW]
    job[POOL_LOOKED] = now
    job[POOL_BORROW] = 0
    room = address_of(job) + 8 * POOL_ROOM
    me = call0(job[POOL_SELF])
    awake = 0
    others = 0
    known = 0
    threads = 0
    if job[POOL_TABLE] != 0:
        table = words(job[POOL_TABLE])
        for k in range(table[0]):
            place = 4 * k + 1
            if table[place] == me:
                known = 1
            else:
                length = call_word(job[POOL_READ], table[place + 1], room, 500, 0)
                at = table[place + 3]
                if length > at:
                    if load_byte(room + at) == RUNNING:
                        awake += table[place + 2]
                        others += 1 - table[place + 2]
                    spaces = 0
                    threads = 0
                    while at < length and spaces < 18:
                        byte = load_byte(room + at)
                        if byte == 32:
                            spaces += 1
                        elif spaces == 17:
                            threads = 10 * threads + byte - 48
                        at += 1
                else:
                    known = -1000
    if known < 1 or threads != job[POOL_THREADS]:
        if now - job[POOL_ASKED] > ASKEVERY:
            job[POOL_ASKED] = now
            job[POOL_ASK] = 1
        return 0
    if awake == 0:
        job[POOL_SINCE] = 0
        return 0
    if others > 0:
        return 0
    if job[POOL_SINCE] == 0 or now - job[POOL_SINCE] > ROUND:
        job[POOL_SINCE] = now
    count = min(call0(job[POOL_HOW_MANY]), min(awake + 1, job[POOL_WANTED]))
    if now - job[POOL_SINCE] <= PERIOD and 4 * count >= 3 * job[POOL_WANTED]:
        job[POOL_BORROW] = count
    return job[POOL_BORROW]
""".replace("RUNNING", str(RUNNING))
        .replace("LOOKEVERY", str(LOOK_EVERY))
        .replace("ASKEVERY", str(ASK_EVERY))
        .replace("ROUND", str(PERIOD + REST))
        .replace("PERIOD", str(PERIOD))
    ),
    native=True,
)
# What the caller and each borrowed thread run: they take shares as workers do.
TAKE = build.Source(
    "shares for borrowed threads",
    with_numbers("""
def kernel(job, lo, hi):
    pool = address_of(job)
    while True:
        left = atomic_add(pool + 8 * POOL_REMAINING, -1)
        if left <= 0:
            break
        share = job[POOL_SHARES] - left
        grain = job[POOL_GRAIN]
        result = call_kernel(job[POOL_FUNCTION], job[POOL_ARGS], share * grain, min(job[POOL_HI], (share + 1) * grain))
        if result != 0:
            atomic_store(pool + 8 * POOL_STATUS, result)
        atomic_add(pool + 8 * POOL_DONE, 1)
        if left > 1 and job[POOL_DEADLINE] != 0:
            if nanoseconds(job[POOL_CLOCK], job[POOL_CLOCK_ID]) > job[POOL_DEADLINE]:
                left = atomic_swap(pool + 8 * POOL_REMAINING, 0)
                if left > 0:
                    job[POOL_LEFT] = left
                break
    return 0
"""),
    native=True,
)
# 0 gettid  1 the number of the thread that runs this
WHO = build.Source(
    "who runs this", "def kernel(args, lo, hi):\n    args[1] = call0(args[0])\n    return 0\n", native=True
)


@dataclass(frozen=True, slots=True)
class Lender:
    """A library's functions: that runs others on its threads, and that tells how many it may use; the C library's."""

    run: int
    how_many: int
    read: int
    who: int


@cache
def lender() -> Lender | None:
    """NumPy's OpenBLAS, where its wheel brings one with threads of its own, on Linux."""
    if not os.path.isdir("/proc/self/task"):
        return None
    try:
        c = ctypes.CDLL(None)
        read, who = (ctypes.cast(f, ctypes.c_void_p).value or 0 for f in (c.pread, c.gettid))
        found = blas.threads_of_numpy()
    except (AttributeError, OSError):
        return None
    return None if found is None or not (read and who) else Lender(*found, read, who)


@dataclass(frozen=True, slots=True)
class _Thread:
    """A thread of this process: whether it runs, and where in its `stat` that stands."""

    number: int
    running: bool
    place: int


_lock = threading.Lock()
_tables: list[np.ndarray] = []  # the last two: a run may still read the one before
_files: list[int] = []


def prepare(block: np.ndarray, wanted: int) -> None:
    """Write into a pool's new block what borrowing needs, where there is a lender."""
    found = lender()
    if found is not None:
        block[Pool.LEND], block[Pool.HOW_MANY], block[Pool.WANTED] = found.run, found.how_many, wanted
        block[Pool.READ], block[Pool.SELF] = found.read, found.who


def find(block: np.ndarray, workers: Sequence[threading.Thread]) -> None:
    """Make the table of the process's threads if a thread spins that may be NumPy's: which are its is found out."""
    with _lock:
        block[Pool.ASK] = 0
        block[Pool.TABLE] = 0
        found, threads, me = lender(), _threads(), threading.get_native_id()
        ours = {worker.native_id for worker in workers}
        python = {thread.native_id for thread in threading.enumerate()}
        running = {t.number for t in threads if t.running} - ours - {me}
        # Asking wakes NumPy's threads, and waits while they work for another thread.
        if found is None or not running or running & python or len(threads) > MOST:
            return
        look, take, who = build.load([LOOK, TAKE, WHO])
        theirs = _numbers(found, who.address) - {me}
        if not theirs & running:
            return
        _keep(block, [t for t in threads if t.number not in ours], theirs)
        block[Pool.THREADS] = len(threads)
        block[Pool.LOOK], block[Pool.TAKE] = look.address, take.address


def _threads() -> list[_Thread]:
    """All threads of this process."""
    threads = []
    for name in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{name}/stat", "rb") as file:
                text = file.read()
        except OSError:  # it has ended
            continue
        place = text.rindex(b")") + 2
        threads.append(_Thread(int(name), text[place] == RUNNING, place))
    return threads


def _numbers(lender: Lender, who: int) -> set[int]:
    """The numbers of the threads on which the lender runs a function, the calling one among them."""
    count = ctypes.CFUNCTYPE(ctypes.c_int)(lender.how_many)()
    if not 1 < count <= MOST:
        return set()
    blocks = np.zeros((count, 2), np.int64)
    blocks[:, 0] = lender.who
    run = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)(lender.run)
    run(count, who, blocks.ctypes.data, blocks.strides[0])
    return {int(number) for number in blocks[:, 1]}


def _keep(block: np.ndarray, threads: list[_Thread], theirs: set[int]) -> None:
    """Open the files of these threads and put the table into the block."""
    rows: list[tuple[int, int, int, int]] = []
    files: list[int] = []
    try:
        for thread in threads:
            files.append(os.open(f"/proc/self/task/{thread.number}/stat", os.O_RDONLY | os.O_CLOEXEC))
            rows.append((thread.number, files[-1], int(thread.number in theirs), thread.place))
    except OSError:  # one has ended, or no file can be opened: another time
        rows = []
    close()
    _files.extend(files)
    table = np.array([len(rows), *(word for row in rows for word in row)], np.int64)
    _tables.append(table)
    del _tables[:-2]
    block[Pool.TABLE] = table.ctypes.data


def hold(blocks: Sequence[np.ndarray]) -> None:
    """Before a fork: let borrowed threads finish, and borrow none. OpenBLAS ends its threads, and waits for them."""
    _lock.acquire()
    for block in blocks:
        block[Pool.HOLD] = 1
    time.sleep(0)  # what was written is seen before what follows is read
    for block in blocks:
        while block[Pool.BORROWING]:
            time.sleep(1e-4)


def go_on(blocks: Sequence[np.ndarray]) -> None:
    """After a fork, in the parent: OpenBLAS makes its threads anew, so that they are to be found again."""
    for block in blocks:
        block[Pool.HOLD] = block[Pool.TABLE] = 0
    _lock.release()


def close() -> None:
    """Close the files of the last table: what reads them then finds no thread."""
    for file in _files:
        os.close(file)
    _files.clear()


def forget() -> None:
    """In a forked child the files are those of the parent's threads."""
    global _lock
    _lock = threading.Lock()
    close()
