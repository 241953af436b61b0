"""`Dataset`: a sequence of elements (nests of tensors), made anew at each iteration.

As long as a dataset is rows of arrays in some order, only indices move; a batch is one NumPy look-up for each array.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from treadle import nest
from treadle.core.arguments import whole
from treadle.core.mode import activate
from treadle.core.tensor import Tensor
from treadle.data import rows
from treadle.data.groups import Group, Groups, batched, mapped, mixed, repeated, taken
from treadle.data.staged import Items
from treadle.data.staged import start as start_loop
from treadle.errors import ArgumentError, ShapeError
from treadle.ops.convert import as_tensor
from treadle.ops.creation import asarray
from treadle.ops.shaping import stack

_END = object()
_SHAPES = 4  # of the elements in a loop of a traced function
_ENDLESS = -1  # the length of what repeats without end; None is a length that is not known


class Dataset:
    """Elements that can be iterated over any number of times; each method gives a new dataset.

    Make one with `Dataset.from_tensor_slices`. Random orders have a stream of their own: `td.random.seed` does not
    touch them, and they do not touch `td.random`.

    >>> import treadle as td
    >>> ds = td.data.Dataset.from_tensor_slices(([1.0, 2.0, 3.0], [0, 1, 0])).batch(2)
    >>> [(x.tolist(), y.tolist()) for x, y in ds]
    [([1.0, 2.0], [0, 1]), ([3.0], [0])]
    """

    def __init__(self, make: Callable[[], Iterator[Any]], length: int | None, groups: Groups | None = None) -> None:
        self._make = make
        self._length = length
        self._find_groups = groups
        self._found: list[Group] | None = None

    def _groups(self) -> list[Group]:
        """Runs of elements of one shape, in the order in which they come, each with an element like them."""
        if self._found is None:
            if self._find_groups is not None:
                self._found = self._find_groups()
            else:
                first = next(iter(self), _END)
                self._found = [] if first is _END else [Group(first, self._length)]
        return self._found

    def staged_source(self) -> bool:
        """Whether a loop over this can be a node of a graph; its body is traced for each shape of the elements."""
        with activate(None):
            groups = self._groups()
        shapes = {tuple([tuple(as_tensor(x).shape) for x in nest.flatten(group.sample)]) for group in groups}
        if len(shapes) > _SHAPES:
            raise ShapeError(
                f"a loop in a traced function over {self!r}, whose elements have {len(shapes)} different shapes; batch "
                "after repeat and shuffle, or with drop_remainder=True"
            )
        return bool(groups)

    def staged_items(self) -> list[Items]:
        """The parts of a loop node over this; see `treadle.autograph.iterables.HostSource`."""
        return start_loop(self, [group.sample for group in self._groups()])

    @staticmethod
    def from_tensor_slices(tensors: Any) -> Dataset:
        """One element for each row of the arrays, which share the size of their first axis.

        tensors: a nest (tuple, dict, ...) of arrays or tensors; lists become tensors. Raises ShapeError when the first
        axes differ.
        """
        leaves, structure = nest.flatten_with_structure(_lists_as_tensors(tensors))
        arrays = [as_tensor(leaf).array for leaf in leaves]
        if not arrays:
            raise ShapeError("from_tensor_slices: the nest holds no tensor")
        if any(array.ndim == 0 for array in arrays):
            raise ShapeError(f"from_tensor_slices: a number has no rows: shapes {[array.shape for array in arrays]}")
        if len({len(array) for array in arrays}) != 1:
            raise ShapeError(f"from_tensor_slices: the first axes differ: shapes {[array.shape for array in arrays]}")
        count = len(arrays[0])

        def groups() -> list[Group]:
            first = [Tensor(np.asarray(array[0])) for array in arrays] if count else []
            return [Group(nest.unflatten(structure, first), count)] if count else []

        return _Rows(arrays, structure, lambda: rows.in_order(count), count, groups=groups)

    def __iter__(self) -> Iterator[Any]:
        return self._make()

    def __len__(self) -> int:
        """The number of elements. Raises TypeError where it is not known or has no end."""
        if self._length is None or self._length == _ENDLESS:
            raise TypeError("this Dataset has no known length; it repeats without end, or its source does not tell")
        return self._length

    def map(self, f: Callable[..., Any]) -> Dataset:
        """f of each element; the parts of an element that is a tuple are its arguments."""
        if not callable(f):
            raise ArgumentError(f"map: f must be a function, got {f!r}")

        def make() -> Iterator[Any]:
            for element in self:
                result = f(*element) if type(element) is tuple else f(element)
                yield nest.map(as_tensor, result)

        return Dataset(make, self._length, lambda: mapped(self._groups(), f))

    def shuffle(self, buffer_size: int, seed: int | None = None) -> Dataset:
        """Elements in random order, each drawn from the next `buffer_size`; each iteration has an order of its own."""
        rng = _order("shuffle", buffer_size, seed)

        def make() -> Iterator[Any]:
            held: list[Any] = []
            for element in self:
                if len(held) < buffer_size:
                    held.append(element)
                    continue
                pick = int(rng.integers(buffer_size))
                yield held[pick]
                held[pick] = element
            for pick in rng.permutation(len(held)):
                yield held[pick]

        return Dataset(make, self._length, lambda: mixed(self._groups()))

    def batch(self, batch_size: int, drop_remainder: bool = False) -> Dataset:
        """`batch_size` elements stacked along a new first axis; the last batch may be smaller, or is dropped."""
        whole("batch: the size", batch_size, 1)

        def make() -> Iterator[Any]:
            held: list[Any] = []
            for element in self:
                held.append(element)
                if len(held) == batch_size:
                    yield _stacked(held)
                    held = []
            if held and not drop_remainder:
                yield _stacked(held)

        length = _batches(self._length, batch_size, drop_remainder)
        return Dataset(make, length, lambda: batched(self._groups(), batch_size, drop_remainder))

    def take(self, count: int) -> Dataset:
        """The first `count` elements; all where there are fewer."""
        whole("take: the count", count, 0)

        def make() -> Iterator[Any]:
            if count > 0:
                for number, element in enumerate(self, 1):
                    yield element
                    if number == count:
                        return

        return Dataset(make, _at_most(self._length, count), lambda: taken(self._groups(), count))

    def repeat(self, count: int | None = None) -> Dataset:
        """The dataset `count` times over; without end when None (unless it is empty)."""
        if count is not None:
            whole("repeat: the count, None for no end,", count, 0)

        def make() -> Iterator[Any]:
            done = 0
            while count is None or done < count:
                empty = True
                for element in self:
                    empty = False
                    yield element
                if empty:
                    return
                done += 1

        return Dataset(make, _times(self._length, count), lambda: repeated(self._groups(), count))

    def enumerate(self, start: int = 0) -> Dataset:
        """Pairs of a number (an int64 tensor: it calls for no retrace) and the element."""
        whole("enumerate: the start", start)

        def make() -> Iterator[Any]:
            for number, element in enumerate(self, start):
                yield Tensor(np.asarray(number, np.int64)), element

        def numbered(*parts: Any) -> tuple[int, Any]:
            return start, parts if len(parts) > 1 else parts[0]

        return Dataset(make, self._length, lambda: mapped(self._groups(), numbered))

    def prefetch(self, buffer_size: int = 1) -> Dataset:
        """The same elements; up to `buffer_size` of them are made ahead, in a thread."""
        whole("prefetch: the size", buffer_size, 1)
        from concurrent.futures import Future, ThreadPoolExecutor  # slow to import, and seldom needed

        def make() -> Iterator[Any]:
            source = iter(self)
            waiting: deque[Future[Any]] = deque()
            with ThreadPoolExecutor(1, "treadle_prefetch") as pool:
                try:
                    while True:
                        while len(waiting) <= buffer_size:
                            waiting.append(pool.submit(next, source, _END))
                        element = waiting.popleft().result()
                        if element is _END:
                            return
                        yield element
                finally:
                    for future in waiting:
                        future.cancel()

        return Dataset(make, self._length, self._groups)

    def __repr__(self) -> str:
        if self._length == _ENDLESS:
            return "<Dataset without end>"
        return f"<Dataset of {'unknown length' if self._length is None else f'{self._length} elements'}>"


class _Rows(Dataset):
    """Rows of arrays in an order; `size` is None for single rows, else the batch size."""

    def __init__(
        self,
        arrays: list[np.ndarray[Any, Any]],
        structure: nest.Structure,
        order: rows.Order,
        length: int | None,
        batched: bool = False,
        groups: Groups | None = None,
    ) -> None:
        super().__init__(self._elements, length, groups)
        self._arrays, self._structure, self._order, self._batched = arrays, structure, order, batched

    def _elements(self) -> Iterator[Any]:
        arrays, structure = self._arrays, self._structure
        for block in self._order():
            for index in (block,) if self._batched else block:
                yield nest.unflatten(structure, [Tensor(np.asarray(array[index])) for array in arrays])

    def _with(self, like: Dataset, order: rows.Order, batched: bool = False) -> Dataset:
        """Rows in another order; what is known of them is what the general way knows."""
        return _Rows(self._arrays, self._structure, order, like._length, batched, like._find_groups)

    def shuffle(self, buffer_size: int, seed: int | None = None) -> Dataset:
        general = super().shuffle(buffer_size, seed)
        if self._batched:
            return general
        rng = _order("shuffle", buffer_size, seed)
        return self._with(general, lambda: rows.shuffled(self._order(), buffer_size, rng))

    def batch(self, batch_size: int, drop_remainder: bool = False) -> Dataset:
        general = super().batch(batch_size, drop_remainder)
        if self._batched:
            return general
        return self._with(general, lambda: rows.batched(self._order(), batch_size, drop_remainder), batched=True)

    def take(self, count: int) -> Dataset:
        general = super().take(count)
        if self._batched:
            return general
        return self._with(general, lambda: rows.taken(self._order(), count))

    def repeat(self, count: int | None = None) -> Dataset:
        general = super().repeat(count)
        return general if self._batched else self._with(general, lambda: rows.repeated(self._order, count))


def _lists_as_tensors(value: Any) -> Any:
    """Lists become tensors; tuples and dicts stay nests, as TensorFlow has it."""
    if isinstance(value, list):
        return asarray(value)
    if type(value) is tuple:
        return tuple(_lists_as_tensors(item) for item in value)
    if type(value) is dict:
        return {key: _lists_as_tensors(item) for key, item in value.items()}
    return value


def _stacked(elements: list[Any]) -> Any:
    return nest.map(lambda *leaves: stack(leaves), *elements)


def _batches(length: int | None, size: int, drop_remainder: bool) -> int | None:
    if length is None or length == _ENDLESS:
        return length
    return length // size if drop_remainder else -(-length // size)


def _times(length: int | None, count: int | None) -> int | None:
    if length == 0 or (count is not None and count <= 0):
        return 0
    if count is None or length == _ENDLESS:
        return _ENDLESS
    return None if length is None else length * count


def _at_most(length: int | None, count: int) -> int | None:
    return count if length == _ENDLESS else None if length is None else min(length, count)


def _order(what: str, buffer_size: int, seed: int | None) -> np.random.Generator:
    """The random numbers of a shuffle, whose arguments are checked."""
    whole(f"{what}: the size", buffer_size, 1)
    return np.random.default_rng(None if seed is None else whole(f"{what}: the seed", seed, 0))
