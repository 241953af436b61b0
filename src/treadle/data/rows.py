"""Orders of rows: what shuffle, take, repeat and batch do to the indices of a table, long before a row is copied.

An order is an iterator of index arrays (blocks); where one block ends says nothing about batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Indices = np.ndarray[Any, Any]
Order = Callable[[], Iterator[Indices]]
BLOCK = 65_536


def in_order(count: int) -> Iterator[Indices]:
    """0, 1, ..., count - 1."""
    for start in range(0, count, BLOCK):
        yield np.arange(start, min(count, start + BLOCK))


def shuffled(order: Iterator[Indices], buffer: int, rng: np.random.Generator) -> Iterator[Indices]:
    """Each row is drawn from the next `buffer` ones not drawn yet; a buffer that holds all rows shuffles evenly."""
    held = np.empty(0, np.int64)
    for block in order:
        held = np.concatenate([held, block])
        if len(held) > buffer:
            yield _draw(held, len(held) - buffer, buffer, rng)
            held = held[len(held) - buffer :]
    yield rng.permutation(held)


def _draw(held: Indices, count: int, buffer: int, rng: np.random.Generator) -> Indices:
    """Draw `count` rows through a buffer; the rows that stay are moved to the end of `held`."""
    picks = rng.integers(0, buffer, count)
    drawn = np.empty(count, held.dtype)
    window = held[:buffer].copy()
    for k, pick in enumerate(picks):
        drawn[k] = window[pick]
        window[pick] = held[buffer + k]
    held[count:] = window
    return drawn


def taken(order: Iterator[Indices], count: int) -> Iterator[Indices]:
    """The first `count` rows."""
    for block in order:
        if count <= 0:
            return
        yield block[:count]
        count -= len(block)


def repeated(order: Order, count: int | None) -> Iterator[Indices]:
    """The order again and again; each time it is made anew."""
    done = 0
    while count is None or done < count:
        rows = 0
        for block in order():
            rows += len(block)
            yield block
        if rows == 0:
            return
        done += 1


def batched(order: Iterator[Indices], size: int, drop_remainder: bool) -> Iterator[Indices]:
    """Blocks of exactly `size` rows; a smaller last one unless it is dropped."""
    held = np.empty(0, np.int64)
    for block in order:
        rows = np.concatenate([held, block]) if len(held) else block
        full = len(rows) - len(rows) % size
        for start in range(0, full, size):
            yield rows[start : start + size]
        held = rows[full:]
    if len(held) and not drop_remainder:
        yield held
