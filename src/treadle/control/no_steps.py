"""Loops that surely take no step: Python would not reach their bodies, so that these need not be traceable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from treadle.control.journal import journal
from treadle.core.mode import activate
from treadle.core.tensor import Symbol, Tensor


def takes_no_step(
    test_fn: Callable[..., Any] | None, values: tuple[Any, ...], length: int | Tensor | None, xs: Sequence[Tensor]
) -> bool:
    """Whether a loop is known to end before its first step: by its length, or by a test of nothing but known values."""
    steps = length if length is not None else xs[0].shape[0] if xs else None
    if type(steps) is int:
        return steps <= 0
    if test_fn is None:
        return False
    from treadle.control.staging import truth  # which loops stand below

    try:
        with activate(None), journal():
            return not bool(truth(test_fn(*map(_as_known, values)), "`while`"))
    except Exception:  # a value of the running program was asked for
        return False


def _as_known(value: Any) -> Any:
    """A traced constant as the tensor that it is."""
    constant = type(value) is Symbol and value.node is not None and value.node.op == "constant"
    return Tensor(value.node.attrs["value"].array) if constant else value
