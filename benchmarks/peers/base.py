"""`Peer`: what the worker asks of an adapter. Arrays go in and come out as NumPy's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


# Of the training steps: Adam's rate and moments, and the rate of plain gradient descent.
RATE, BETA_1, BETA_2, EPSILON = 1e-3, 0.9, 0.999, 1e-7
SGD_RATE = 0.01
# Black and Scholes: interest and volatility. Layer norm: what is added to the variance.
INTEREST, VOLATILITY = 0.02, 0.3
TINY = 1e-5
HEADS = 4
DROPPED = 0.1  # the share of elements that dropout sets to 0
SWEEPS, TURNS = 100, 50  # of Jacobi's method; of the Mandelbrot iteration
# Programs that are run op by op: their names say so, and nothing is traced or compiled.
EAGER = ("eager_add", "eager_mlp")


class NotSupported(Exception):
    """This variant of a library has no such program; the message says why."""


class Peer(ABC):
    """A library under measurement, with one or more variants (eager, compiled)."""

    variants: tuple[str, ...]

    @abstractmethod
    def build(self, variant: str, program: str, state: Sequence[Array]) -> Callable[..., Any]:
        """The program as a function of placed arguments; `state` are the first values of what it trains.

        Raises NotSupported where this variant cannot run the program.
        """

    def place(self, args: Sequence[Array]) -> list[Any]:
        """Arguments as the library's own arrays."""
        return list(args)

    def thunk(self, call: Callable[..., Any], args: Sequence[Any]) -> Callable[[], Any]:
        """What is timed: one call whose results are ready when it returns."""
        return lambda: call(*args)

    def to_numpy(self, result: Any) -> list[Array]:
        """The results of one call, flat, as NumPy arrays."""
        leaves = result if isinstance(result, (tuple, list)) else [result]
        return [np.asarray(leaf) for leaf in leaves]

    def counters(self) -> dict[str, int]:
        """Counts that the library keeps of its compilations, if it does."""
        return {}


def one_of(program: str, programs: dict[str, Callable[..., Any]], why: str = "not written") -> Callable[..., Any]:
    """The program of that name; raises NotSupported when there is none."""
    found = programs.get(program)
    if found is None:
        raise NotSupported(why)
    return found


def by_name(*programs: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """Programs under their functions' names."""
    return {program.__name__: program for program in programs}
