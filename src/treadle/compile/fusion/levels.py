"""How the values of a row kernel lie to its shape: full values, one number a row, and what is left across rows.

A row kernel works over a shape whose last axes are "inner": a row is all elements that share the other, outer, axes.
A value is full (one element for each of the shape), or it is a row value (one element a row, whatever axes of size 1
it has). All shapes are compared without their axes of size 1, which hold no loop.
"""

from __future__ import annotations

from functools import lru_cache

from treadle.core.graph import Node
from treadle.core.spec import Shape

Axes = tuple[int, ...]


@lru_cache(1024)
def true_axes(shape: Shape, axes: Axes) -> Axes:
    """Those of the axes that are longer than 1."""
    return tuple(k for k in axes if shape[k] != 1)


@lru_cache(1024)
def other_axes(shape: Shape, axes: Axes) -> Axes:
    """The axes longer than 1 that are not among these."""
    return tuple(k for k, size in enumerate(shape) if size != 1 and k not in axes)


@lru_cache(1024)
def row_like(shape: Shape, axes: Axes) -> bool:
    """Whether reducing these axes leaves one number a row: the last axis is among them, and others stay."""
    inner, outer = true_axes(shape, axes), other_axes(shape, axes)
    return bool(inner) and bool(outer) and inner[-1] > outer[-1]


def is_row_shape(shape: Shape, of: Shape, inner: Axes) -> bool:
    """Whether a shape has one element for each row of the larger shape, in the rows' order."""
    return [size for size in shape if size != 1] == [of[k] for k in other_axes(of, inner)]


def reads_as_row(shape: Shape, of: Shape, inner: Axes) -> bool:
    """Whether broadcasting a value of this shape over the larger shape gives each row one number of its own."""
    padded = (1,) * (len(of) - len(shape)) + tuple(shape)
    outer = other_axes(of, inner)
    return all(size == (of[k] if k in outer else 1) for k, size in enumerate(padded))


def row_strides(shape: Shape, strides: Axes, of: Shape, inner: Axes) -> Axes:
    """The strides of a value with one element a row, over the larger shape."""
    steps = iter([step for size, step in zip(shape, strides, strict=True) if size != 1])
    outer = other_axes(of, inner)
    return tuple(next(steps) if k in outer else 0 for k in range(len(of)))


def is_alias(node: Node) -> bool:
    """Whether a view only adds or drops axes of size 1."""
    if node.definition.family != "view":
        return False
    before, after = node.inputs[0].shape, node.outputs[0].shape
    if [s for s in before if s != 1] != [s for s in after if s != 1]:
        return False
    return node.op in ("reshape", "expand_dims", "squeeze", "broadcast_to")
