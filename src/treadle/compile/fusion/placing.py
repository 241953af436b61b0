"""What a node would make in a group: full values, one number a row, or a sum across rows; or that it cannot join."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from treadle.compile.cost import goes_in_strips, rows_pay, units
from treadle.compile.fusion.levels import Axes, is_row_shape, other_axes, reads_as_row, row_like, true_axes
from treadle.core.graph import Node
from treadle.core.spec import Shape

if TYPE_CHECKING:
    from treadle.compile.fusion.items import Group


def worked_shape(node: Node) -> Shape:
    """The shape that a node goes over."""
    return node.inputs[0].shape if node.definition.family == "reduction" else node.outputs[0].shape


def place(group: Group, node: Node, comes_back: Callable[[Node], bool]) -> str | None:
    """What a node would make in a group: a "full" value, a "row" value or an "end"; None where it cannot join.

    comes_back: whether work on full values reads what a reduction across rows makes.
    """
    family, out = node.definition.family, node.outputs[0]
    inner = group.inner
    if inner is None:
        if family == "view":
            return None
        if family == "reduction":
            return place_of_reduction(group, node, False, comes_back)
        return "full" if out._spec.shape == group.shape else None
    mine = [s for s in node.inputs if s in group.made]
    as_row = bool(mine) and all(s in group.rows for s in mine)
    if family == "view":
        return "row" if as_row and is_row_shape(out.shape, group.shape, inner) else None
    if family == "reduction":
        return place_of_reduction(group, node, as_row, comes_back)
    if out.shape == group.shape:
        fits = all(reads_as_row(s.shape, group.shape, inner) for s in mine if s in group.rows)
        return "full" if fits else None
    return "row" if as_row and is_row_shape(out.shape, group.shape, inner) else None


def place_of_reduction(group: Group, node: Node, as_row: bool, comes_back: Callable[[Node], bool]) -> str | None:
    shape = group.shape
    source = node.inputs[0]
    if as_row:
        return "end" if true_axes(source.shape, node.attrs["axes"]) == other_axes(source.shape, ()) else None
    if source.shape != shape:
        return None
    axes = true_axes(shape, node.attrs["axes"])
    if group.inner is None and makes_rows(shape, axes) and together(shape, axes, group.across):
        if row_like(shape, axes) or comes_back(node):
            return "row"
    elif group.inner == axes:
        return "row"
    return "end" if together(shape, group.inner, group.across | {axes}) else None


def makes_rows(shape: Shape, axes: Axes) -> bool:
    """Whether reducing these axes leaves rows that are worth a row kernel."""
    return bool(axes) and axes != other_axes(shape, ()) and rows_pay(shape, axes)


def together(shape: Shape, inner: Axes | None, across: frozenset[Axes]) -> bool:
    """Whether rows over `inner` and reductions over all the axes of `across` can be one kernel."""
    if inner is None:
        return len(across) <= 1 or inner_of(shape, across) is not None
    return across <= {other_axes(shape, inner), other_axes(shape, ())}


@lru_cache(1024)
def inner_of(shape: Shape, across: frozenset[Axes]) -> Axes | None:
    """The rows of a kernel for sums across them, of single columns and perhaps of everything; None: no such rows."""
    full = other_axes(shape, ())
    columns = [axes for axes in across if axes != full]
    if len(columns) != 1:
        return None
    inner = other_axes(shape, columns[0])
    fits = bool(inner) and max(columns[0], default=0) < inner[0]
    return inner if fits and columns[0] and rows_pay(shape, inner) else None


def in_strips(group: Group) -> bool:
    """Whether a group's rows are so short, or lie so, that they are worked on side by side."""
    if group.row_axes is None:
        return False
    full = [n for n in group.nodes if n.definition.family == "elementwise" and n.outputs[0] not in group.rows]
    return goes_in_strips(group.shape, group.row_axes, max(map(units, full), default=0))
