"""`td.set_shape_invariant`: loop variables whose shape changes, as declared; their loops run step by step in Python."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from treadle.control.rows import opened
from treadle.core.dim import Dim
from treadle.core.tensor import Symbol, Tensor
from treadle.core.tracer import active_tracer
from treadle.errors import ControlFlowError, ShapeError
from treadle.ops.convert import as_tensor

Invariant = tuple[Any, ...]
# What the loop bodies that are being traced were given: id of the symbol -> (the symbol, the leaf of the loop).
carried: ContextVar[dict[int, tuple[Symbol, Any]] | None] = ContextVar("treadle_carried", default=None)


class Redeclared(BaseException):
    """A loop variable has just been declared: its loop is to be traced again."""

    def __init__(self, leaf: Any) -> None:
        self.leaf = leaf


def set_shape_invariant(x: Any, shape: Sequence[Any]) -> Any:
    """Say in a loop's body that the shape of a loop variable changes from one iteration to the next; gives x.

    x:     a tensor that the loop carries, as the iteration was given it.
    shape: its sizes: an int where it stays, None (or a name) for the one axis that changes.
    Raises ShapeError where `shape` does not fit x, ControlFlowError where x is no loop variable. Such a loop is run
    step by step in Python; a list (append, then td.stack or td.concat) is faster. Its gradient keeps what each step
    finds, and needs each new value to depend on the one before.

    >>> import treadle as td
    >>> @td.function
    ... def count(n):
    ...     xs = td.zeros((1,))
    ...     for i in td.range(n):
    ...         td.set_shape_invariant(xs, (None,))
    ...         xs = td.concat([xs, td.ones((1,))])
    ...     return xs
    >>> count(td.asarray(3)).tolist()
    [0.0, 1.0, 1.0, 1.0]
    """
    declared = check(x, shape)
    if active_tracer() is None:
        return x
    found = (carried.get() or {}).get(id(x))
    if found is None:
        raise ControlFlowError(
            "set_shape_invariant: this is no value that the loop around this line carries; call it first in the loop's "
            "body, with the name that the body sets anew"
        )
    if found[1].declared != declared:
        found[1].declared = declared
        raise Redeclared(found[1])  # the loop begins anew with a size that is open
    return x


def check(x: Any, shape: Sequence[Any]) -> Invariant:
    """A declared shape, if it fits a value. Raises ShapeError where it does not."""
    sizes = tuple(None if size is None or isinstance(size, str) else int(size) for size in shape)
    present = as_tensor(x).shape
    fits = len(sizes) == len(present)
    if not fits or any(a is not None and type(b) is int and a != b for a, b in zip(sizes, present, strict=True)):
        raise ShapeError(f"the shape invariant {sizes} does not fit a value of shape {present}")
    if sizes.count(None) > 1:
        raise ShapeError(f"the shape invariant {sizes}: one axis of a loop variable may change; reshape it to have one")
    return sizes


def open_shape(shape: Invariant) -> tuple[Any, ...]:
    """The shape that a body's input has: a fresh size where it changes."""
    return tuple([Dim.fresh("rows") if size is None else size for size in shape])


def as_declared(x: Tensor, shape: Invariant) -> Tensor:
    """A value for a loop variable of a declared shape."""
    return opened(x, shape.index(None)) if None in shape else x


def agrees(shape: Invariant, found: Sequence[Any]) -> bool:
    """Whether the shape that an iteration gives is as declared."""
    return len(shape) == len(found) and all(a is None or a == b for a, b in zip(shape, found, strict=True))


__all__ = ["Redeclared", "agrees", "as_declared", "carried", "check", "open_shape", "set_shape_invariant"]
