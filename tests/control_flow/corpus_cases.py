"""The corpus's register: each function with arguments to try, and what about it is compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

CASES: list[Case] = []


@dataclass(frozen=True, slots=True)
class Static:
    """An argument that stays the Python value it is."""

    value: Any


@dataclass(frozen=True, slots=True)
class Case:
    """A function and sets of arguments: NumPy values, but for those that are `Static`.

    gradient: compare gradients, with those of the eager function and with central differences of plain Python.
    numeric:  whether differences are the gradient (not where it goes into a variable: an assignment passes none on).
    second:   compare second derivatives with central differences, too.
    make:     gives the function anew, with what it changes (objects, lists) as at the start.
    """

    name: str
    make: Callable[[], Callable[..., Any]]
    arguments: tuple[tuple[Any, ...], ...]
    gradient: bool
    numeric: bool
    second: bool


def case(
    *arguments: tuple[Any, ...], gradient: bool = True, numeric: bool = True, second: bool = False, made: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Take a function into the corpus; with `made`, what it gives when called is the function."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        make = function if made else lambda: function
        CASES.append(Case(function.__name__, make, tuple(_values(a) for a in arguments), gradient, numeric, second))
        return function

    return add


def _values(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Python numbers and lists as arrays of float64, int64 or bool."""
    return tuple(a.value if isinstance(a, Static) else np.asarray(a) for a in arguments)
