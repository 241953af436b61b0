"""`x[i : i + 5]` with a traced `i`: where the number of elements is known although the place is not.

The bounds are read as sums of whole multiples of traced numbers; where these cancel, the slice is a window of known
size (`td.dynamic_slice`). Unlike Python's, a window that would leave the tensor is an error, not a shorter result.
"""

from __future__ import annotations

from typing import Any

from treadle.core.dim import Dim, Size
from treadle.core.mode import modes
from treadle.core.spec import Shape
from treadle.core.tensor import Symbol, Tensor
from treadle.core.tracer import Tracer
from treadle.errors import TraceError
from treadle.ops.dynamic import dynamic_slice, dynamic_update_slice
from treadle.ops.indexing import expand_ellipsis, known_values, moving

_DEEPEST = 32  # steps from a bound back to the numbers that it is made of


class Window:
    """Where the slices with traced bounds begin, how many elements they span, and the index that is left within."""

    def __init__(self, starts: list[Any], sizes: list[Size], rest: tuple[Any, ...]) -> None:
        self.starts, self.sizes, self.rest = starts, sizes, rest

    def of(self, x: Tensor) -> Tensor:
        """The part of `x` that the window shows."""
        return dynamic_slice(x, self.starts, self.sizes)

    def put(self, x: Tensor, part: Tensor) -> Tensor:
        """`x` with this part in the window's place."""
        return dynamic_update_slice(x, part, self.starts)

    @property
    def is_all(self) -> bool:
        """Whether nothing is left to be indexed within."""
        return all(type(x) is slice and x == slice(None) for x in self.rest)


def window(items: list[Any], shape: Shape) -> Window:
    """The window of an index with traced slices. Raises TraceError where the size of one is not known."""
    starts: list[Any] = []
    sizes: list[Size] = []
    rest: list[Any] = []
    for item in expand_ellipsis(items, len(shape)):
        axis = len(starts)
        if item is not None:
            starts.append(0)
            sizes.append(shape[axis])
        if moving(item):
            size = span(item)
            if size is None:
                raise TraceError(
                    "index: a bound of a slice is a traced tensor, and the result's size is not known while tracing; "
                    "x[i : i + 3] has a known one, and so have td.dynamic_slice(x, starts, sizes) and "
                    "td.take(x, indices, axis=...)"
                )
            starts[-1], sizes[-1] = item.start, size
            rest.append(slice(None, None, item.step))
        else:
            rest.append(item)
            if isinstance(item, Tensor) and item.dtype.kind == "b":  # a mask names several axes
                starts += [0] * (item.ndim - 1)
                sizes += shape[axis + 1 : axis + item.ndim]
    return Window(starts, sizes, tuple(rest))


def span(item: slice) -> Size | None:
    """How many elements lie from a slice's first to its last; None where that is not known."""
    step = 1 if item.step is None else item.step
    if item.start is None or item.stop is None or type(step) is not int or step < 1:
        return None
    sum_of = _Sum()
    first, last = sum_of.take(item.start, -1), sum_of.take(item.stop, 1)
    if first is None or last is None or any(sum_of.terms.values()):
        return None
    length = last + first
    if isinstance(length, Dim):
        return length if step == 1 else None
    count = max(0, -(-length // step))
    return (count - 1) * step + 1 if count else 0


def linear(value: Any) -> tuple[dict[int, int], int] | None:
    """A whole number as a sum: factors of traced numbers, by their identity, and what is known. None: it is no such."""
    sum_of = _Sum()
    known = sum_of.take(value, 1)
    return None if type(known) is not int else ({k: factor for k, factor in sum_of.terms.items() if factor}, known)


class _Sum:
    """A sum of traced numbers, each with a whole factor."""

    def __init__(self) -> None:
        self.terms: dict[int, int] = {}  # factors, by the identity of tensors
        # What is read in a loop's or branch's graph as an input of it: the tensor outside, which others may be made of.
        self.outside: dict[int, Tensor] = {}
        for mode in modes():
            if isinstance(mode, Tracer):
                self.outside.update((id(symbol), x) for x, symbol in mode.captures.values())

    def take(self, value: Any, factor: int, depth: int = 0) -> Size | None:
        """Add `factor` times a number: what is known of it is returned, what is traced goes to `terms`."""
        if isinstance(value, (int, Dim)):
            return value * factor
        if not _is_number(value):
            return None
        while id(value) in self.outside:
            value = self.outside[id(value)]
        node = value.node if isinstance(value, Symbol) else None
        inputs = node.inputs if node is not None and depth < _DEEPEST and all(map(_is_number, node.inputs)) else ()
        op = node.op if node is not None else ""
        if op == "constant":
            return int(node.attrs["value"].array) * factor  # type: ignore[union-attr]
        if op == "dim":
            return node.attrs["dim"] * factor  # type: ignore[no-any-return, union-attr]
        if op in ("add", "subtract") and inputs:
            first = self.take(inputs[0], factor, depth + 1)
            second = self.take(inputs[1], factor if op == "add" else -factor, depth + 1)
            return None if first is None or second is None else first + second
        if op in ("negative", "astype", "identity") and inputs:
            return self.take(inputs[0], -factor if op == "negative" else factor, depth + 1)
        if op == "multiply" and inputs:
            for a, b in (inputs, inputs[::-1]):
                known = known_values(a)
                if known is not None:
                    return self.take(b, factor * int(known), depth + 1)
        self.terms[id(value)] = self.terms.get(id(value), 0) + factor
        return 0


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor) and not value.shape and value.dtype.kind in "iu"
