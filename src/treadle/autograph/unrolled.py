"""Notices Python loops that unroll into very many nodes while tracing, and says how to make them one loop."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from treadle import nest
from treadle.config import config
from treadle.core.tensor import Tensor
from treadle.core.tracer import Tracer, active_tracer
from treadle.errors import TracingWarning, user_location

_warned: set[tuple[str, int]] = set()


class Watch:
    """The size of the trace when a Python loop begins, and the last item that the loop took."""

    __slots__ = ("before", "item", "rounds", "tracer")

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer
        self.before = len(tracer.nodes)
        self.rounds = 0
        self.item: Any = 0  # a `while` takes none

    def end(self) -> None:
        """Warn, once for each loop, if it put more nodes into the trace than td.config.unroll_warning."""
        made = len(self.tracer.nodes) - self.before
        if not 0 < config.unroll_warning < made or self.rounds < 2 or not _numeric(self.item):
            return
        place = user_location(3)
        if place is None or (place.file, place.line) in _warned:
            return
        _warned.add((place.file, place.line))
        warnings.warn_explicit(
            f"this Python loop is unrolled while tracing: its {self.rounds} rounds put {made} nodes into the graph; "
            "loop over td.range(...), or over a tensor, and it is one loop "
            "(td.config.unroll_warning sets from how many nodes on this is said; 0 is never)",
            TracingWarning,
            place.file,
            place.line,
        )


def watch() -> Watch | None:
    """What watches a Python loop that begins now; None where nothing is traced."""
    tracer = active_tracer()
    return None if tracer is None else Watch(tracer)


def _numeric(item: Any) -> bool:
    """Whether a loop over tensors could give such items; layers, names and functions only Python can loop over."""
    return all(isinstance(x, (int, float, complex, np.generic, np.ndarray, Tensor)) for x in nest.flatten(item))
