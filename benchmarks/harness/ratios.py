"""Who is fastest: the best peer of each row over treadle, and the geometric mean of that over the run-time rows.

Peers are whole libraries. NumPy and hand-written Numba have means of their own: they are not what is competed with,
but the floor and the ceiling.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
OURS = "treadle"
PEERS = ("JAX jit", "PyTorch", "torch.compile", "tf.function", "tf XLA", "PyTensor")
ROOM = 1.05  # a row counts as held within this much noise


def figure(row: Row, variant: str, by: str = "median") -> float | None:
    """A variant's seconds in a row."""
    found: float | None = row["cells"].get(variant, {}).get(by)
    return found


def best_peer(row: Row, by: str = "median") -> tuple[str, float] | None:
    """The quickest peer of a row and its seconds."""
    found = [(seconds, peer) for peer in PEERS if (seconds := figure(row, peer, by)) is not None]
    return (min(found)[1], min(found)[0]) if found else None


def ratio(row: Row, by: str = "median") -> float | None:
    """How many times treadle is faster than the best peer."""
    ours, best = figure(row, OURS, by), best_peer(row, by)
    return best[1] / ours if ours and best else None


def geometric_mean(values: Sequence[float]) -> float:
    """The mean by which ratios are averaged."""
    return math.exp(sum(map(math.log, values)) / len(values))


def against(rows: Sequence[Row], variant: str, by: str = "median") -> list[float]:
    """Ratios to one variant, in the rows that both have."""
    pairs = [(figure(row, variant, by), figure(row, OURS, by)) for row in rows]
    return [theirs / ours for theirs, ours in pairs if theirs and ours]


def lines(rows: Sequence[Row], by: str = "median") -> list[str]:
    """The means, and the rows in which somebody is faster."""
    timed = [row for row in rows if row.get("steady")]
    found = {row["name"]: value for row in timed if (value := ratio(row, by)) is not None}
    text = []
    if found:
        text.append(
            f"best peer / treadle, geometric mean of {len(found)} rows: {geometric_mean([*found.values()]):.2f}"
        )
    for variant in ("NumPy", "Numba", *PEERS):
        if values := against(timed, variant, by):
            text.append(f"{variant} / treadle, geometric mean of {len(values)} rows: {geometric_mean(values):.2f}")
    for row in timed:
        value = found.get(row["name"])
        if value is not None and value * ROOM < 1:
            best = best_peer(row, by)
            assert best is not None
            text.append(f"behind: {row['name']}: {best[0]} takes {value:.2f} of treadle's time")
    return text
