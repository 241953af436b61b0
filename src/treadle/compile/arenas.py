"""Large work memory for running programs, leased from one bounded pool of the process.

Small arenas stay with their program's frames (see `executor`); large ones come from here, so that many programs share
the same warm pages.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

ALIGNMENT = 64
IDLE_LIMIT = 256 << 20  # bytes kept for later leases


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
    """Idle arenas by size; what would exceed the bound is freed. Safe to use from any thread."""

    def __init__(self, limit: int = IDLE_LIMIT) -> None:
        self.limit = limit
        self.idle_bytes = 0
        self._idle: dict[int, list[Arena]] = {}
        self._lock = threading.RLock()  # re-entrant, since a signal handler may run a program

    def lease(self, size: int) -> Arena:
        """An arena of `size` bytes, a number that `rounded` has returned."""
        with self._lock:
            idle = self._idle.get(size)
            if idle:
                self.idle_bytes -= size
                return idle.pop()
        return make_arena(size)

    def release(self, arena: Arena) -> None:
        """Give an arena back."""
        with self._lock:
            if self.idle_bytes + arena.size <= self.limit:
                self._idle.setdefault(arena.size, []).append(arena)
                self.idle_bytes += arena.size

    def clear(self) -> None:
        """Free all idle arenas."""
        with self._lock:
            self._idle.clear()
            self.idle_bytes = 0

    def renew_lock(self) -> None:
        """In a forked child another thread's hold on the lock would last for ever."""
        self._lock = threading.RLock()


arenas = ArenaPool()
