"""Checks of plain arguments (sizes, counts, rates): an error names the argument and says what it may be."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Any

from treadle.errors import ArgumentError


def whole(what: str, value: Any, least: int | None = None) -> int:
    """`value` as an int of at least `least`; `what` names it, as in "batch: the size".

    Raises ArgumentError for anything that is no whole number (bools and 2.0 included), or too small.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise ArgumentError(f"{what} must be a whole number, got {value!r}")
    if least is not None and number < least:
        raise ArgumentError(f"{what} must be at least {least}, got {number}")
    return number


def real(what: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """`value` as a float between `low` and `high`; `what` names it. Raises ArgumentError, for NaN and infinity too."""
    try:
        number = math.nan if isinstance(value, (bool, str)) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and low <= number <= high):
        range_ = (
            "" if low == -math.inf else f" of {low:g} or more" if high == math.inf else f" from {low:g} to {high:g}"
        )
        raise ArgumentError(f"{what} must be a finite number{range_}, got {value!r}")
    return number


def one_of(what: str, value: Any, *known: str) -> str:
    """`value`, one of these names; `what` says whose. Raises ArgumentError for anything else."""
    if not isinstance(value, str) or value not in known:
        raise ArgumentError(f"{what} must be {', '.join(map(repr, known[:-1]))} or {known[-1]!r}, got {value!r}")
    return value


def wholes(what: str, value: Any) -> list[int]:
    """One whole number or several as a list. Raises ArgumentError for anything else."""
    several = isinstance(value, Iterable) and not isinstance(value, str) and getattr(value, "ndim", 1) > 0
    return [whole(what, item) for item in (value if several else (value,))]


def functions(op: str, **given: Any) -> None:
    """Raise ArgumentError for an argument that cannot be called."""
    for name, value in given.items():
        if not callable(value):
            raise ArgumentError(f"{op}: {name} must be a function, got {value!r}")


def share(what: str, value: Any) -> float:
    """`value` as a float from 0 to below 1; `what` names it. Raises ArgumentError for anything else."""
    number = real(what, value, 0.0, 1.0)
    if number == 1:
        raise ArgumentError(f"{what} must lie in [0, 1), got {value!r}")
    return number


def positive(what: str, value: Any) -> float:
    """`value` as a finite float above 0; `what` names it. Raises ArgumentError for anything else."""
    number = real(what, value, 0.0)
    if number == 0:
        raise ArgumentError(f"{what} must be more than 0, got {value!r}")
    return number
