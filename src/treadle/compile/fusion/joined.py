"""Values that lie in pieces: joins, padded and rolled arrays, read by kernels where their parts are.

A joined value is a grid of views, cut along some axes. Around the innermost loop goes one over the stretches between
cuts, in each of which every value is one plain array; along other axes a row's place is chosen. So nothing is copied,
and the inside of a stencil is as plain a loop as for slices.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from treadle.compile.fusion.levels import is_alias
from treadle.compile.views import Buffer, View
from treadle.core.graph import Node
from treadle.records import dataclass, replace

Cuts = tuple[tuple[int, ...], ...]
ZEROS = Buffer("zeros", None, 0)  # as many as a piece needs, beside each other
MOST_PIECES = 9
SHORT_STRETCH = 8  # elements of the innermost loop below which a stretch costs more than a copy
MOST_ZEROS = 1 << 16


@dataclass(frozen=True, slots=True)
class Joined:
    """Where pieces begin along each axis, and where the last ends; the pieces in row order."""

    cuts: Cuts
    pieces: tuple[View, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole."""
        return tuple([cut[-1] for cut in self.cuts])

    def places(self) -> Iterator[tuple[tuple[int, ...], View]]:
        """Each piece, and where it begins."""
        return zip(itertools.product(*[cut[:-1] for cut in self.cuts]), self.pieces, strict=True)


def single(view: View) -> Joined:
    """One piece."""
    return Joined(tuple([(0, size) for size in view.shape]), (view,))


def zeros(shape: tuple[int, ...], dtype: np.dtype) -> Joined:
    """Zeros that no memory is taken for."""
    return single(View(ZEROS, shape, dtype, (0,) * len(shape)))


def cut(view: View, starts: Sequence[int], stops: Sequence[int]) -> View:
    """A part of a view."""
    offset = view.offset + sum(a * step for a, step in zip(starts, view.strides, strict=True))
    return replace(view, shape=tuple([b - a for a, b in zip(starts, stops, strict=True)]), offset=offset)


def sliced(whole: Joined, starts: Sequence[int], stops: Sequence[int]) -> Joined:
    """The part of a joined value between bounds, without steps."""
    cuts = tuple(
        [
            tuple(sorted({0, b - a, *(place - a for place in old if a < place < b)}))
            for a, b, old in zip(starts, stops, whole.cuts, strict=True)
        ]
    )
    pieces = []
    for place, view in whole.places():
        low = [max(a - p, 0) for a, p in zip(starts, place, strict=True)]
        high = [min(b - p, size) for b, p, size in zip(stops, place, view.shape, strict=True)]
        if all(a < b for a, b in zip(low, high, strict=True)):
            pieces.append(cut(view, low, high))
    return Joined(cuts, tuple(pieces))


def refined(whole: Joined, cuts: Cuts) -> Joined:
    """The same value with more cuts."""
    found = []
    for lows in itertools.product(*[itertools.pairwise(c) for c in cuts]):
        low, high = [a for a, _ in lows], [b for _, b in lows]
        (piece,) = sliced(whole, low, high).pieces
        found.append(piece)
    return Joined(cuts, tuple(found))


def beside(parts: Sequence[Joined], axis: int) -> Joined:
    """Parts one behind the other along an axis."""
    rank = len(parts[0].cuts)
    cuts: list[tuple[int, ...]] = []
    for k in range(rank):
        if k != axis:
            cuts.append(tuple(sorted(set().union(*[part.cuts[k] for part in parts]))))
            continue
        at, ends = 0, [0]
        for part in parts:
            ends += [at + place for place in part.cuts[k][1:]]
            at = ends[-1]
        cuts.append(tuple(ends))
    rows = []  # by piece along `axis`
    for part in parts:
        fine = refined(part, tuple([part.cuts[k] if k == axis else cuts[k] for k in range(rank)]))
        table = np.empty([len(c) - 1 for c in fine.cuts], object)
        for place, view in zip(np.ndindex(table.shape), fine.pieces, strict=True):
            table[place] = view
        rows.append(table)
    return Joined(tuple(cuts), tuple(np.concatenate(rows, axis=axis).ravel()))


def padded(inside: Joined, shape: tuple[int, ...], starts: Sequence[int], stops: Sequence[int]) -> Joined:
    """A joined value with zeros around it."""
    dtype, made = inside.pieces[0].dtype, inside
    for axis, (a, b, size) in enumerate(zip(starts, stops, shape, strict=True)):
        parts = []
        for first, last in ((0, a), (b, size)):
            around = (*made.shape[:axis], last - first, *made.shape[axis + 1 :])
            parts.append(zeros(around, dtype))
        made = beside([p for p in (parts[0], made, parts[1]) if p.shape[axis]], axis)
    return made


def through(whole: Joined, node: Node) -> Joined:
    """What a view op shows of a joined value: a slice without steps, or other axes of size 1."""
    if node.op == "slice":
        return sliced(whole, node.attrs["starts"], node.attrs["stops"])
    if not is_alias(node):
        return whole
    sizes = list(node.outputs[0].shape)
    old = iter([c for c in whole.cuts if c[-1] != 1])
    cuts = tuple([next(old) if size != 1 else (0, 1) for size in sizes])
    pieces = []
    for view in whole.pieces:
        long = iter([(n, s) for n, s, c in zip(view.shape, view.strides, whole.cuts, strict=True) if c[-1] != 1])
        axes = [next(long) if size != 1 else (1, 0) for size in sizes]
        pieces.append(replace(view, shape=tuple([n for n, _ in axes]), strides=tuple([s for _, s in axes])))
    return Joined(cuts, tuple(pieces))


def goes_through(node: Node) -> bool:
    """Whether `through` knows a view op."""
    if node.op == "slice":
        return all(step == 1 for step in node.attrs["steps"]) and 0 not in node.outputs[0].shape
    return node.op == "stop_gradient" or is_alias(node)


@dataclass(frozen=True, slots=True)
class Grid:
    """A joined operand of a kernel: its cuts over the kernel's axes, and the numbers of its pieces in row order."""

    cuts: Cuts
    numbers: tuple[int, ...]


def over(whole: Joined, shape: tuple[int, ...]) -> tuple[Cuts, list[tuple[View, tuple[int, ...]]]] | None:
    """Cuts and pieces over a larger shape, each piece with its strides and as if it began where the whole does.

    None where no kernel can read it so: pieces that lie differently along the innermost loop, or too short ones.
    """
    lead = len(shape) - len(whole.cuts)
    stretched = [c if c[-1] == size else (0, size) for c, size in zip(whole.cuts, shape[lead:], strict=True)]
    cuts = (*[(0, size) for size in shape[:lead]], *stretched)
    inner = max((k for k, size in enumerate(shape) if size != 1), default=-1)
    if len(whole.pieces) > MOST_PIECES or inner < 0:
        return None
    if len(cuts[inner]) > 2 and shape[inner] < SHORT_STRETCH * (len(cuts[inner]) - 1):
        return None
    along = inner - lead
    steps = {
        0 if whole.cuts[along][-1] == 1 else view.strides[along]
        for view in whole.pieces
        if along >= 0 and view.buffer is not ZEROS and (view.shape[along] > 1 or whole.cuts[along][-1] == 1)
    }
    if len(steps) > 1:
        return None
    step = steps.pop() if steps else 1
    if step not in (0, 1) and any(view.buffer is ZEROS for view in whole.pieces):
        return None
    found = []
    for place, view in whole.places():
        strides = [
            0 if full == 1 and want != 1 else stride
            for full, want, stride in zip(whole.shape, shape[lead:], view.strides, strict=True)
        ]
        if along >= 0 and whole.shape[along] == shape[inner]:
            strides[along] = step
        if view.buffer is ZEROS:
            view = replace(view, shape=(view.shape[along] if step and along >= 0 else 1,))
            if view.size > MOST_ZEROS:
                return None
        offset = view.offset - sum(p * s for p, s in zip(place, strides, strict=True))
        found.append((replace(view, offset=offset), (*[0] * lead, *strides)))
    return cuts, found


def chosen(grid: Grid, place: Callable[[int], str], name: Callable[[int, int], str], at: Callable[[int], str]) -> str:
    """The place of a grid's piece, as an expression of where the loops are.

    place: of a piece.  name: of the n-th cut of an axis.  at: the position along an axis.
    """

    def pick(axis: int, found: Sequence[int]) -> str:
        if axis == len(grid.cuts):
            return place(found[0])
        count = len(grid.cuts[axis]) - 1
        each = len(found) // count
        text = pick(axis + 1, found[-each:])
        for n in range(count - 1, 0, -1):
            text = f"select({at(axis)} < {name(axis, n)}, {pick(axis + 1, found[(n - 1) * each : n * each])}, {text})"
        return text

    return pick(0, grid.numbers)
