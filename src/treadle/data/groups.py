"""What is known of a dataset's elements before it runs: runs of elements of one shape, each with an element like them.

Samples are made of the source's first rows, never by iterating: random orders are not drawn from for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from treadle import nest, random
from treadle.ops.convert import as_tensor
from treadle.ops.shaping import stack
from treadle.records import dataclass


@dataclass(frozen=True, slots=True)
class Group:
    """`count` elements (None: it is not known how many) of the shapes and dtypes of `sample`."""

    sample: Any
    count: int | None


Groups = Callable[[], list[Group]]


def mapped(groups: list[Group], f: Callable[..., Any]) -> list[Group]:
    """After `f` of each element; random numbers that it draws for the samples are given back."""
    state = random.default.state.value
    found = []
    for group in groups:
        element = group.sample
        result = f(*element) if type(element) is tuple else f(element)
        found.append(Group(nest.map(as_tensor, result), group.count))
    if groups:
        random.default.state.assign(state)
    return found


def batched(groups: list[Group], size: int, drop_remainder: bool) -> list[Group]:
    """After batching: full batches, then a smaller one where rows are left."""
    if len(groups) != 1:
        return groups  # none, or shapes that cannot be stacked: iterating says so
    (group,) = groups
    if group.count is None:
        return [Group(_stacked(group.sample, size), None)]
    full, rest = divmod(group.count, size)
    found = [Group(_stacked(group.sample, size), full)] if full else []
    return found + ([Group(_stacked(group.sample, rest), 1)] if rest and not drop_remainder else [])


def taken(groups: list[Group], count: int) -> list[Group]:
    """The first `count` elements."""
    found = []
    for group in groups:
        if count <= 0:
            break
        number = count if group.count is None else min(count, group.count)
        found.append(Group(group.sample, number))
        count -= number
    return found


def repeated(groups: list[Group], count: int | None) -> list[Group]:
    """The elements again and again; three groups stand for any number of changes."""
    if len(groups) == 1:
        (group,) = groups
        return [Group(group.sample, None if count is None or group.count is None else group.count * count)]
    return groups * (3 if count is None else min(count, 3))


def mixed(groups: list[Group]) -> list[Group]:
    """Elements in random order: those of different shapes come in no order that is known."""
    return groups if len(groups) < 2 else groups * 2


def _stacked(element: Any, size: int) -> Any:
    return nest.map(lambda leaf: stack([as_tensor(leaf)] * size), element)
