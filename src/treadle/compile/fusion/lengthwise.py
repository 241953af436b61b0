"""Reductions over shapes with a short last axis go along the axis before it: coordinates of points, channels of pixels.

A sum over one n of a shape (n, n, 3) has an innermost loop of three. Going along the other n instead takes operands and
results in the order of that loop: those that are read or added to again and again are turned by a copy, once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from treadle.compile.cost import REPEATED, SHORT_LAST
from treadle.compile.fusion.items import Group
from treadle.compile.fusion.kernels import GroupKernel
from treadle.compile.fusion.small_groups import copy_group, name_of
from treadle.compile.fusion.sources import Source
from treadle.compile.views import Buffer, View, contiguous_strides
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.fusion.repeats import Recorder
    from treadle.compile.lower import Lowerer


def goes_lengthwise(group: Group, stores: Mapping[Symbol, View]) -> bool:
    """Whether a group reduces work on smaller values over a shape whose last axis is short beside the one before it."""
    shape = group.shape
    if not (group.ends or group.inner) or len(shape) < 3 or not 1 < shape[-1] <= SHORT_LAST:
        return False
    if shape[-2] <= shape[-1] or math.prod(shape[:-2]) < REPEATED or group.virtual:
        return False
    if group.inner is not None:
        fits = group.inner == (len(shape) - 1,)
    else:
        fits = len(group.across) == 1
    return fits and not any(s.shape == shape for s in (*group.read, *stores))


class Turned:
    """The operands of a group that goes along the axis before the last, and its results."""

    def __init__(self, lowerer: Lowerer | Recorder, group: Group, find: Callable[[Symbol], Source]) -> None:
        self.lowerer = lowerer
        self.size = math.prod(group.shape)
        self.group = group
        self.find = find
        self.known: dict[Symbol, Source] = {}
        self.memory: list[Buffer] = []
        self.back: list[tuple[View, View]] = []  # results, and where they belong

    def read(self, symbol: Symbol) -> Source:
        """Where a value lies: turned, if it is read many times and lies along the last axis."""
        if symbol not in self.known:
            found = self.find(symbol)
            if isinstance(found, View) and found.size * REPEATED <= self.size and self._lies_along_last(found):
                turned = self._memory(found)
                self._copy(found, turned)
                found = turned
            self.known[symbol] = found
        return self.known[symbol]

    def target(self, target: View) -> View:
        """Where to make a result that belongs there."""
        if target.size * REPEATED > self.size or not self._lies_along_last(target):
            return target
        self.back.append((self._memory(target), target))
        return self.back[-1][0]

    def finish(self) -> None:
        """The kernel has been called: results go where they belong."""
        for made, target in self.back:
            self._copy(made, target)
        for buffer in self.memory:
            self.lowerer.free(buffer)

    def _lies_along_last(self, view: View) -> bool:
        return len(view.shape) >= 2 and view.shape[-2:] == self.group.shape[-2:] and view.strides[-2] != 1

    def _memory(self, view: View) -> View:
        *rest, long, short = view.shape
        *steps, step, one = contiguous_strides((*rest, short, long))
        memory = self.lowerer.memory(Spec((view.size,), view.dtype))
        self.memory.append(memory.buffer)
        return View(memory.buffer, view.shape, view.dtype, (*steps, one, step), memory.offset)

    def _copy(self, source: View, target: View) -> None:
        copied, _, made = copy_group(source)
        self.lowerer.call(GroupKernel(copied, lambda s: source, {made: target}, {}).write(), name_of(copied))
