"""What a `for` in converted code can run over as one loop node: tensors, ranges, datasets, and what zip, enumerate,
reversed, map, filter and generator expressions make of them. Over Python's own containers they are Python's own.
"""

from __future__ import annotations

import builtins
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from treadle import nest
from treadle.control import staging
from treadle.control.carry import run_loop
from treadle.control.lists import TensorList
from treadle.core.dim import Dim
from treadle.core.dtypes import int64
from treadle.core.tensor import Tensor
from treadle.core.tracer import active_tracer
from treadle.errors import ControlFlowError
from treadle.ops.convert import as_tensor
from treadle.records import dataclass, field, replace

Values = tuple[Any, ...]
Length = int | Dim | Tensor | None


class HostSource(Protocol):
    """What makes its items in Python while the program runs, such as a dataset."""

    def staged_source(self) -> bool:
        """Whether a loop over it can be a node."""

    def staged_items(self) -> Sequence[HostItems]:
        """Where its items come from, group by group, each of one shape; the first part of the loop's nodes."""


class HostItems(Protocol):
    """Items of one shape: `more` and `take` become nodes."""

    def more(self) -> Tensor:
        """Whether there is another item of this shape."""

    def take(self) -> Any:
        """The next item."""

    @property
    def any_more(self) -> Callable[[], Tensor] | None:
        """Where shapes change again and again: whether there is another item of any shape."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a loop node gets its items: from `xs` row by row, from the position, or from Python while `more` holds."""

    length: Length
    xs: tuple[Tensor, ...] = ()
    item: Callable[[Tensor, list[Any]], Any] = lambda position, rows: rows[0]
    more: tuple[Callable[[], Tensor], ...] = ()
    again: Callable[[], Tensor] | None = (
        None  # whether items of any shape are left, where shapes change again and again
    )


@dataclass(frozen=True, slots=True)
class Lazy:
    """The base of what stands for Python's lazy iterators; `sources` are what it runs over."""

    sources: tuple[Any, ...]

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError

    def plan(self, parts: list[Plan]) -> Plan:
        """How a loop over this gets its items, from how it gets those of the sources."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Zip(Lazy):
    """`zip(a, b, ...)`."""

    strict: bool = False

    def __iter__(self) -> Iterator[Any]:
        return builtins.zip(*self.sources, strict=self.strict)

    def plan(self, parts: list[Plan]) -> Plan:
        length = _shortest([p.length for p in parts], self.strict)
        xs: list[Tensor] = []
        cuts: list[slice] = []
        for part in parts:
            cuts.append(slice(len(xs), len(xs) + len(part.xs)))
            xs += [_first(x, length) for x in part.xs]

        def item(position: Tensor, rows: list[Any]) -> tuple[Any, ...]:
            return tuple([p.item(position, rows[cut]) for p, cut in builtins.zip(parts, cuts, strict=True)])

        return Plan(length, tuple(xs), item, tuple([m for p in parts for m in p.more]))


@dataclass(frozen=True, slots=True)
class Enumerate(Lazy):
    """`enumerate(a, start)`."""

    start: Any = 0

    def __iter__(self) -> Iterator[Any]:
        return builtins.enumerate(self.sources[0], self.start)

    def plan(self, parts: list[Plan]) -> Plan:
        (part,) = parts

        def item(position: Tensor, rows: list[Any]) -> tuple[Any, Any]:
            number = position if isinstance(self.start, int) and self.start == 0 else position + self.start
            return number, part.item(position, rows)

        return Plan(part.length, part.xs, item, part.more)


@dataclass(frozen=True, slots=True)
class Reversed(Lazy):
    """`reversed(a)` of a tensor or a range."""

    def __iter__(self) -> Iterator[Any]:
        return iter(builtins.list(self.sources[0])[::-1])

    def plan(self, parts: list[Plan]) -> Plan:
        (part,) = parts
        if part.more or part.length is None:
            raise ControlFlowError("reversed() of a dataset: its end is not known while it runs; reverse its tensors")
        if part.xs:
            return Plan(part.length, tuple([_flipped(x) for x in part.xs]), part.item)
        last = part.length - 1
        return Plan(part.length, (), lambda position, rows: part.item(as_tensor(last) - position, rows))


@dataclass(frozen=True, slots=True)
class Map(Lazy):
    """`map(f, a, b, ...)`, and the element of a generator expression."""

    function: Callable[..., Any] = field(kw_only=True)

    def __iter__(self) -> Iterator[Any]:
        return builtins.map(self.function, *self.sources)

    def plan(self, parts: list[Plan]) -> Plan:
        if len(parts) == 1:
            (one,) = parts
            return Plan(one.length, one.xs, lambda p, rows: self.function(one.item(p, rows)), one.more)
        joined = Zip(self.sources).plan(parts)
        return Plan(joined.length, joined.xs, lambda p, rows: self.function(*joined.item(p, rows)), joined.more)


class Nested:
    """The base of what makes any number of items, or none, of one item of its source."""

    source: Any

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError

    def body(self, inner: Callable[..., Values]) -> Callable[..., Values]:
        """A loop's body over the source, from the body over the items."""
        raise NotImplementedError


@dataclass(frozen=True)
class Flat(Nested):
    """The items of the iterables that `inner(item)` gives: a generator expression of two `for`s."""

    source: Any
    inner: Callable[[Any], Any]

    def __iter__(self) -> Iterator[Any]:
        return itertools.chain.from_iterable(builtins.map(self.inner, self.source))

    def body(self, inner: Callable[..., Values]) -> Callable[..., Values]:
        from treadle.autograph.operators import for_stmt  # which builds on this

        return lambda item, *values: for_stmt(self.inner(item), inner, values, _numbered(values))


def _numbered(values: Values) -> tuple[str, ...]:
    return tuple([f"value {k}" for k in range(len(values))])


@dataclass(frozen=True)
class Filter(Nested):
    """`filter(f, a)`, and the `if` of a generator expression: a body that runs where `keep(item)` holds."""

    source: Any
    keep: Callable[[Any], Any]
    element: Callable[[Any], Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        kept = builtins.filter(self.keep, self.source)
        return kept if self.element is None else builtins.map(self.element, kept)

    def body(self, inner: Callable[..., Values]) -> Callable[..., Values]:
        """A loop's body that does nothing for items that are not kept."""
        from treadle.autograph.operators import if_stmt, same  # which build on this

        def run_kept(item: Any, *values: Any) -> Values:
            def kept(*held: Any) -> Values:
                return inner(item if self.element is None else self.element(item), *held)

            return if_stmt(self.keep(item), kept, same, values, _numbered(values))

        return run_kept


def is_staged(x: Any) -> bool:
    """Whether a loop over `x` becomes a loop node."""
    if isinstance(x, Nested):
        return is_staged(x.source)
    if isinstance(x, Zip) or (isinstance(x, Map) and len(x.sources) > 1):
        return any(map(is_staged, x.sources)) and not any(map(_is_plain, x.sources))
    if isinstance(x, Lazy):
        return is_staged(x.sources[0])
    if isinstance(x, TensorList):
        return active_tracer() is not None and isinstance(x.length(), Tensor)
    if isinstance(x, Tensor | staging.Range):
        return staging.is_staged_iterable(x)
    return active_tracer() is not None and _is_host(x) and x.staged_source()


def _is_host(x: Any) -> bool:
    return hasattr(type(x), "staged_source")


def _is_plain(x: Any) -> bool:
    """Whether only Python can run over `x`, whose items may be of any kind."""
    return not isinstance(x, builtins.range) and not is_staged(x)


def plan(x: Any) -> Plan:
    """How a loop node gets the items of `x`."""
    if isinstance(x, Lazy):
        return x.plan([plan(source) for source in x.sources])
    if isinstance(x, builtins.range):
        x = staging.Range(x.start, x.stop, x.step)
    if isinstance(x, staging.Range):
        start, step = x.start, x.step
        plain = isinstance(start, int) and start == 0 and isinstance(step, int) and step == 1
        return Plan(x.length(), (), lambda p, rows: p if plain else as_tensor(start, int64) + p * step)
    if _is_host(x):
        groups = x.staged_items()
        if len(groups) != 1:
            raise ControlFlowError(
                "zip() or map() over a dataset whose last batch is smaller; batch it with drop_remainder=True"
            )
        (only,) = groups
        return Plan(None, (), lambda p, rows: only.take(), (only.more,))
    if isinstance(x, TensorList):
        tensors, element = x.rows()
        return Plan(tensors[0].shape[0], tuple(tensors), lambda p, rows: nest.unflatten(element, rows))
    rows = as_tensor(x)
    if not rows.shape:
        raise ControlFlowError("iteration over a tensor of no axes; give it at least one axis")
    return Plan(rows.shape[0], (rows,))


def run(x: Any, body: Callable[..., Values], values: Values, names: tuple[str, ...], go: Any = None) -> Values:
    """`for item in x: body`, as one loop node (and one more body for a dataset's smaller last batch)."""
    if isinstance(x, Nested):
        return run(x.source, x.body(body), values, names, go)
    if isinstance(x, Tensor | staging.Range):
        return staging.staged_for(x, body, values, names, go)
    first, *rest = parts = _groups(x) or [plan(x)]
    if first.again is not None:
        return _rounds(parts, first.again, body, values, names, go)
    values, position = _run(first, body, values, names, go)
    for remainder in rest:
        values, position = _once(remainder, body, values, names, go, position)
    return values


def _groups(x: Any) -> list[Plan] | None:
    """The plans for a dataset with batches of two sizes; the position goes on from the first to the second."""
    if _is_host(x):
        found = x.staged_items()
        return [Plan(None, (), lambda p, rows, g=g: g.take(), (g.more,), g.any_more) for g in found]  # type: ignore[misc]
    if isinstance(x, Lazy) and len(x.sources) == 1 and not isinstance(x, Reversed):
        inner = _groups(x.sources[0])
        return None if inner is None else [replace(x.plan([part]), again=part.again) for part in inner]
    return None


def _rounds(
    parts: list[Plan],
    again: Callable[[], Tensor],
    body: Callable[..., Values],
    values: Values,
    names: tuple[str, ...],
    go: Any,
) -> Values:
    """A loop over runs of items of one shape: in each round the items of each shape in its turn, as many as follow."""

    def turn(position: Any, *held: Any) -> Values:
        for part in parts:
            held, position = _run(part, body, held, names, go, position)
        return (position, *held)

    def test(position: Any, *held: Any) -> Any:
        return _all([*([lambda: go(*held)] if go is not None else []), again])

    found: Values = staging.staged_while(test, turn, (0, *values), ("the loop's counter", *names))
    return found[1:]


def _run(
    made: Plan, body: Callable[..., Values], values: Values, names: tuple[str, ...], go: Any, start: Any = 0
) -> tuple[Values, Tensor]:
    """The loop; its values, and how many items it took, those before `start` included."""

    def step(rows: list[Any], position: Tensor, *held: Any) -> Values:
        return (position + 1, *body(made.item(position, rows), *held))

    def test(position: Tensor, *held: Any) -> Any:
        asked = [lambda: go(*held)] if go is not None else []
        return _all([*asked, *made.more])

    rows_tell = bool(made.xs) and not isinstance(made.length, Tensor)
    found, _ = run_loop(
        step,
        (start, *values),  # a Python number, as in Python
        ("the loop's counter", *names),
        test_fn=test if made.more or go is not None else None,
        length=made.length if isinstance(made.length, int | Tensor) and not rows_tell else None,
        xs=made.xs,
        rebuild=lambda rows: rows,
    )
    return found[1:], found[0]


def _once(
    made: Plan, body: Callable[..., Values], values: Values, names: tuple[str, ...], go: Any, position: Tensor
) -> tuple[Values, Tensor]:
    """One item more, where there is one."""
    from treadle.autograph.operators import if_stmt, same  # which build on this

    asked = _all([*([lambda: go(*values)] if go is not None else []), *made.more])
    found: Values = if_stmt(asked, lambda *held: body(made.item(position, []), *held), same, values, names)
    return found, position + 1


def _all(tests: Sequence[Callable[[], Any]]) -> Any:
    """Whether all hold; each is asked only when those before it hold."""
    first, *rest = tests
    result = first()
    if not rest:
        return result
    if staging.is_staged(result):
        return staging.staged_and(result, lambda: _all(rest))
    return _all(rest) if result else result


def _shortest(lengths: list[Length], strict: bool) -> Length:
    known = [x for x in lengths if x is not None]
    if strict and any(x is not known[0] and (isinstance(x, Tensor) or x != known[0]) for x in known):
        raise ControlFlowError(f"zip(strict=True): the lengths {', '.join(map(str, known))} differ or are not known")
    if not known:
        return None
    if all(isinstance(x, int) for x in known):
        return min(known)  # type: ignore[type-var]
    if all(isinstance(x, int | Dim) for x in known) and all(x == known[0] for x in known):
        return known[0]
    from treadle.ops.arithmetic import minimum

    result = as_tensor(known[0], int64)
    for other in known[1:]:
        result = minimum(result, as_tensor(other, int64))
    return result


def _first(x: Tensor, length: Length) -> Tensor:
    return x[:length] if isinstance(length, int) and x.shape[0] != length else x


def _flipped(x: Tensor) -> Tensor:
    from treadle.ops.slicing import flip

    return flip(x, axis=0)


__all__ = ["Enumerate", "Filter", "Flat", "HostItems", "HostSource", "Lazy", "Map", "Nested", "Plan", "Reversed", "Zip"]
__all__ += ["is_staged", "plan", "run"]
