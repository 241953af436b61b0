"""Bodies that NumPy can run straight into a value's place: a host step then makes no second result to be copied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from treadle.core.graph import Node

Array = np.ndarray[Any, Any]
Into = Callable[..., Any]  # (place, *inputs) -> whatever


def into(node: Node) -> Into | None:
    """How to compute a node into an array of its result's shape and dtype; None where NumPy has no way."""
    op, attrs = node.definition, node.attrs
    if any(s.dtype.kind not in "biufc" for s in (*node.inputs, *node.outputs)) or len(node.outputs) != 1:
        return None
    if isinstance(op.body, np.ufunc):
        ufunc = op.body
        return (lambda place, *inputs: ufunc(*inputs, out=place)) if ufunc.nout == 1 and not attrs else None
    make = _MADE.get(op.name)
    return None if make is None else make(**attrs)


def _sort(*, axis: int, descending: bool, stable: bool) -> Into | None:
    def sort(place: Array, x: Array) -> None:
        np.copyto(place, x)
        place.sort(axis=axis)

    return None if descending else sort


def _running(step: np.ufunc) -> Callable[..., Into]:
    def make(*, axis: int) -> Into:
        return lambda place, x: step.accumulate(x, axis, out=place)

    return make


def _cumsum(*, axis: int, reverse: bool) -> Into | None:
    return None if reverse else _running(np.add)(axis=axis)


_MADE: dict[str, Callable[..., Into | None]] = {
    "sort": _sort,
    "cumsum": _cumsum,
    "cumprod": _running(np.multiply),
    "cummax": _running(np.maximum),
    "cummin": _running(np.minimum),
    "logcumsumexp": _running(np.logaddexp),
}
