"""The plan of a program's work memory: offsets that are handed out and taken back while the program is laid out."""

from __future__ import annotations

from bisect import bisect

ALIGN = 64  # bytes: a cache line, and the widest vector


class ArenaPlan:
    """First fit over free ranges; `peak` is how much memory a run needs."""

    def __init__(self) -> None:
        self.peak = 0
        self._free: list[tuple[int, int]] = []  # (offset, bytes), ascending, never touching
        self._taken: dict[int, int] = {}

    def take(self, nbytes: int) -> int:
        """The offset of fresh memory."""
        size = max(ALIGN, -(-nbytes // ALIGN) * ALIGN)
        for k, (offset, room) in enumerate(self._free):
            if room >= size:
                if room == size:
                    del self._free[k]
                else:
                    self._free[k] = (offset + size, room - size)
                self._taken[offset] = size
                return offset
        if self._free and sum(self._free[-1]) == self.peak:  # the last hole reaches the end: make it larger
            offset, _ = self._free.pop()
        else:
            offset = self.peak
        self.peak = offset + size
        self._taken[offset] = size
        return offset

    def give(self, offset: int) -> None:
        """Take memory back, joining it with its free neighbours."""
        size = self._taken.pop(offset)
        free = self._free
        k = bisect(free, (offset, size))
        if k < len(free) and free[k][0] == offset + size:
            size += free.pop(k)[1]
        if k and sum(free[k - 1]) == offset:
            k -= 1
            offset, before = free.pop(k)
            size += before
        free.insert(k, (offset, size))
