"""Large work memory for running programs, leased from one bounded pool of the process.

Small arenas stay with their program's frames (see `executor`); large ones come from here, so that many programs share
the same warm pages.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections import deque
from typing import Any

import numpy as np

from treadle.records import dataclass

ALIGNMENT = 64
IDLE_LIMIT = 256 << 20  # bytes kept for later leases
RESTING_LIMIT = 2 << 20  # bytes of frames, with their small arenas, that idle programs keep


@dataclass(frozen=True, slots=True, eq=False)
class Arena:
    """A block of memory whose first byte, at `address`, lies on a cache line's boundary."""

    memory: np.ndarray
    address: int
    size: int


def make_arena(size: int) -> Arena:
    """Fresh memory of `size` bytes, not initialised."""
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = int(memory.ctypes.data)
    return Arena(memory, start + -start % ALIGNMENT, size)


def rounded(size: int) -> int:
    """The size of arena to lease for `size` bytes: up to an eighth more, so that few sizes serve all programs."""
    step = max(4096, 1 << max(size.bit_length() - 4, 0))
    return -(-size // step) * step


class ArenaPool:
    """Idle arenas on a shelf for each size. Safe to use from any thread; no lock on the usual way."""

    def __init__(self, limit: int = IDLE_LIMIT) -> None:
        self.limit = limit
        self.total = 0  # bytes of all arenas, leased and idle
        self._shelves: dict[int, deque[Arena]] = {}
        self._lock = threading.RLock()  # re-entrant, since a signal handler may run a program

    def shelf(self, size: int) -> deque[Arena]:
        """Where idle arenas of a size lie; who is to lease often keeps it."""
        with self._lock:
            return self._shelves.setdefault(size, deque())

    def lease(self, size: int, shelf: deque[Arena]) -> Arena:
        """An arena of `size` bytes, a number that `rounded` has returned, from its shelf."""
        try:
            return shelf.pop()
        except IndexError:
            pass
        with self._lock:
            if self.total + size > self.limit:
                self.clear()
            self.total += size
        return make_arena(size)

    def release(self, arena: Arena, shelf: deque[Arena]) -> None:
        """Give an arena back; it is freed where there are too many."""
        if self.total > self.limit:
            with self._lock:
                self.total -= arena.size
        else:
            shelf.append(arena)

    def idle_bytes(self) -> int:
        """Bytes of arenas that are not leased."""
        return sum(size * len(shelf) for size, shelf in list(self._shelves.items()))

    def clear(self) -> None:
        """Free all idle arenas."""
        with self._lock:
            for size, shelf in self._shelves.items():
                while shelf:
                    with contextlib.suppress(IndexError):  # another thread may have been faster
                        shelf.pop()
                        self.total -= size

    def renew_lock(self) -> None:
        """In a forked child another thread's hold on the lock would last for ever."""
        self._lock = threading.RLock()


class Resting:
    """Programs that keep frames for their next run: the ones that got theirs first give them up when they grow many.

    A program that ran once, as each of a thousand retraces does, then leaves none of its work memory behind.
    """

    def __init__(self, limit: int = RESTING_LIMIT) -> None:
        self.limit = limit
        self.total = 0
        self._order: deque[tuple[weakref.ref[Any], int]] = deque()

    def note(self, program: Any, nbytes: int) -> None:
        """A program has made a frame of so many bytes; `rest` of others may be called."""
        self._order.append((weakref.ref(program), nbytes))
        self.total += nbytes
        while self.total > self.limit and len(self._order) > 1:
            try:
                held, size = self._order.popleft()
            except IndexError:  # another thread was faster
                return
            self.total -= size
            other = held()
            if other is not None:
                other.rest()


arenas = ArenaPool()
resting = Resting()
