"""Plain NumPy. The same programs, run in float64, are the reference that every result is checked against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from peers import numpy_models, numpy_programs
from peers.base import Array, Peer, one_of

PROGRAMS = numpy_programs.PROGRAMS | numpy_models.PROGRAMS
STEPS = numpy_models.STEPS


class NumpyPeer(Peer):
    """NumPy as it comes."""

    variants = ("NumPy",)

    def build(self, variant: str, program: str, state: Sequence[Array]) -> Callable[..., Any]:
        return STEPS[program](state) if program in STEPS else one_of(program, PROGRAMS)


PEER = NumpyPeer()
