"""Python's builtins as converted code calls them: on traced values their meaning as nodes, on others Python's own."""

from __future__ import annotations

import builtins
import functools
from collections.abc import Callable, Iterable
from typing import Any

from treadle.autograph import iterables
from treadle.control import staging
from treadle.control.lists import TensorList
from treadle.control.merge import common, is_number, leaf_spec, to_spec
from treadle.core.dtypes import bool_, float64, int64
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol, Tensor
from treadle.core.variable import Variable
from treadle.errors import ControlFlowError
from treadle.ops.convert import as_tensor, astype_op, cast

Call = Callable[[Any], Any]  # gives the converted twin of a callable


def is_traced(x: Any) -> bool:
    """Whether Python cannot decide on `x` or take it apart: a traced tensor, or (while tracing) a variable."""
    return isinstance(x, Symbol | Variable)


def _any_traced(xs: Any) -> bool:
    return builtins.any(map_(is_traced, xs))


map_ = builtins.map


# Iteration -----------------------------------------------------------------------------------------------------------
def zip(*sources: Any, strict: bool = False) -> Any:
    """`zip`; one loop node where all sources are tensors, ranges or datasets."""
    made = iterables.Zip(sources, strict)
    return made if iterables.is_staged(made) else builtins.zip(*sources, strict=strict)


def enumerate(source: Any, start: Any = 0) -> Any:
    """`enumerate`."""
    if iterables.is_staged(source):
        return iterables.Enumerate((source,), start)
    return builtins.enumerate(source, start)


def reversed(source: Any) -> Any:
    """`reversed`."""
    return iterables.Reversed((source,)) if iterables.is_staged(source) else builtins.reversed(source)


def map(function: Any, *sources: Any, call: Call) -> Any:
    """`map`."""
    made = iterables.Map(sources, function=call(function))
    return made if iterables.is_staged(made) else builtins.map(call(function), *sources)


def filter(function: Any, source: Any, call: Call) -> Any:
    """`filter`."""
    if not iterables.is_staged(source):
        return builtins.filter(None if function is None else call(function), source)
    return iterables.Filter(source, (lambda x: x) if function is None else call(function))


def range(*args: Any) -> Any:
    """`range`; a td.range where a bound is traced."""
    return staging.Range(*args) if _any_traced(args) else builtins.range(*args)


def len(x: Any) -> Any:
    """`len`; a tensor where only running tells."""
    if isinstance(x, TensorList):
        return x.length()
    if isinstance(x, Symbol) and x.shape:
        return x.shape[0]
    if isinstance(x, staging.Range):
        return x.length()
    return builtins.len(x)


# Conversions ---------------------------------------------------------------------------------------------------------
def boolean(x: Any = False) -> Any:
    """`bool`."""
    grown = isinstance(x, TensorList) and isinstance(x.length(), Tensor)
    return staging.truth(x, "`bool()`") if grown or is_traced(x) else bool(x)


def integer(*args: Any, **options: Any) -> Any:
    """`int`; a tensor as an integer that acts like a Python number: rounded towards zero."""
    if builtins.len(args) != 1 or options or not is_traced(args[0]):
        return int(*args, **options)
    return to_spec(_single(args[0], "int"), int64, True)


def floating(*args: Any) -> Any:
    """`float`; a tensor as a float that acts like a Python number (one of float64 stays so)."""
    if builtins.len(args) != 1 or not is_traced(args[0]):
        return float(*args)
    x = _single(args[0], "float")
    return x if x.dtype == float64 else to_spec(x, float64, True)  # as exact as Python's, until it meets a tensor


def _single(x: Any, what: str) -> Tensor:
    from treadle.ops.shaping import reshape

    tensor = as_tensor(x)
    if builtins.any(size != 1 for size in tensor.shape):
        raise ControlFlowError(f"{what}() of a tensor of shape {tuple(tensor.shape)}; it takes one element: use astype")
    return reshape(tensor, ()) if tensor.shape else tensor


def round(x: Any, ndigits: Any = None) -> Any:
    """`round`: half to even; an integer when no number of digits is given."""
    if not is_traced(x):
        return builtins.round(x, ndigits) if ndigits is not None else builtins.round(x)
    return _as_numbers(as_tensor(x).__round__(ndigits), (x,))  # type: ignore[attr-defined]


def _as_numbers(result: Tensor, sources: Iterable[Any]) -> Tensor:
    """What is made of Python numbers alone, traced or not, acts like one: it takes the dtype of what it meets."""
    if not builtins.all(map_(_is_number, sources)):
        return result
    return astype_op.bind((result,), {"dtype": result.dtype, "weak": True})[0]


def _is_number(x: Any) -> bool:
    return is_number(x) or (isinstance(x, Tensor) and x.spec.weak)


# Reductions ----------------------------------------------------------------------------------------------------------
def sum(source: Any, /, start: Any = 0) -> Any:
    """`sum`."""
    if isinstance(source, Tensor) and staging.is_staged_iterable(source):
        from treadle.ops.reductions import sum as reduce

        dtype = None if source.dtype == bool_ else source.dtype
        total = reduce(source, axis=0, dtype=dtype)
        return total if isinstance(start, int) and start == 0 else start + total
    if not (iterables.is_staged(source) or isinstance(source, iterables.Nested)):
        return builtins.sum(source, start)
    return _looped(source, lambda item, total: (total + item,), (start,), ("the sum",))[0]


def any(source: Any, /) -> Any:
    """`any`: of a tensor's elements, of items that a loop makes until one holds, of a list's items."""
    return _decided(source, True)


def all(source: Any, /) -> Any:
    """`all`."""
    return _decided(source, False)


def _decided(source: Any, stop: bool) -> Any:
    name = "any" if stop else "all"
    if isinstance(source, Tensor) and staging.is_staged_iterable(source):
        from treadle.ops import reductions

        _vector(source, name)
        return getattr(reductions, name)(source)
    if iterables.is_staged(source):

        def joined(item: Any, held: Any) -> tuple[Any]:
            truth = staging.truth(item, f"`{name}()`")
            return (held | truth if stop else held & truth,)

        found = _looped(
            source,
            joined,
            (not stop,),
            (f"the result of {name}()",),
            lambda held: staging.staged_not(held) if stop and is_traced(held) else (not held if stop else held),
        )
        return found[0]
    return _folded(iter(source), stop)


def _folded(items: Any, stop: bool) -> Any:
    """Python's items, one after the other, until one decides."""
    for item in items:
        if is_traced(item):
            held = staging.truth(item, "`any()`" if stop else "`all()`")
            later = staging.staged_or if stop else staging.staged_and
            return later(held, lambda: _folded(items, stop))
        if bool(item) is stop:
            return stop
    return not stop


def min(*args: Any, key: Any = None, call: Call, **default: Any) -> Any:
    """`min`: the first of the smallest."""
    return _extreme("min", args, key, default, call)


def max(*args: Any, key: Any = None, call: Call, **default: Any) -> Any:
    """`max`: the first of the largest."""
    return _extreme("max", args, key, default, call)


def _extreme(name: str, args: tuple[Any, ...], key: Any, default: dict[str, Any], call: Call) -> Any:
    key = None if key is None else call(key)
    if builtins.len(args) == 1:
        (source,) = args
        if isinstance(source, Tensor) and staging.is_staged_iterable(source) and key is None:
            from treadle.ops import reductions

            _vector(source, name)
            return getattr(reductions, name)(source)
        if iterables.is_staged(source) or isinstance(source, iterables.Nested):
            return _best(source, name, key, default)
        args = tuple(source)
        if not args and default:
            return default["default"]
    if key is None and not _any_traced(args):
        return getattr(builtins, name)(args)
    best, *rest = args
    measure = best if key is None else key(best)
    for item in rest:
        best, measure = _better(name, best, measure, item, item if key is None else key(item))
    return best


def _better(name: str, best: Any, measure: Any, item: Any, own: Any) -> tuple[Any, Any]:
    """The better of two, and its measure: the first where they are equal."""
    wins = own < measure if name == "min" else own > measure
    if not is_traced(wins):
        return (item, own) if wins else (best, measure)
    wins = staging.truth(wins, f"`{name}()`")
    if best is measure and item is own:
        from treadle.ops.comparison import where

        chosen = _as_numbers(where(wins, item, best), (item, best))
        return chosen, chosen
    chosen, measured = staging.staged_if(
        wins, lambda: (item, own), lambda: (best, measure), (), (f"the result of {name}()", "its key"), f"{name}()"
    )
    return chosen, measured


def _best(source: Any, name: str, key: Any, default: dict[str, Any]) -> Any:
    """The best of the items that a loop makes; that there are any is checked when it runs."""
    from treadle.autograph.operators import assert_, if_stmt, unset

    names = (f"the result of {name}()", "its key", "whether there is any item")

    def body(item: Any, best: Any, measure: Any, some: Any) -> tuple[Any, ...]:
        own = item if key is None else key(item)

        def later(best: Any, measure: Any, some: Any) -> tuple[Any, ...]:
            if isinstance(best, staging.Undefined):  # the first round of the fixed point, which finds what items are
                return item, own, True
            return (*_better(name, best, measure, item, own), True)

        return if_stmt(some, later, lambda *held: (item, own, True), (best, measure, some), names)

    best, _, some = _looped(source, body, (unset(names[0]), unset(names[1]), False), names)
    if "default" in default:
        return if_stmt(some, lambda b: (b,), lambda b: (default["default"],), (best,), names[:1])[0]
    if is_traced(some):
        assert_(some, lambda: f"{name}() iterable argument is empty")
    return best


def _looped(
    source: Any, body: Callable[..., Any], values: tuple[Any, ...], names: tuple[str, ...], go: Any = None
) -> tuple[Any, ...]:
    from treadle.autograph.operators import for_stmt  # which builds on this

    return for_stmt(source, body, values, names, *([go] if go is not None else []))


def _vector(x: Tensor, name: str) -> None:
    if builtins.len(x.shape) != 1:
        raise ControlFlowError(
            f"Python's {name}() over the rows of a tensor of shape {tuple(x.shape)} compares whole rows; use td.{name}"
        )


def sorted(source: Any, /, *, key: Any = None, reverse: Any = False, call: Call) -> Any:
    """`sorted`: a list, as Python's; a tensor's elements by one sort."""
    if isinstance(source, TensorList) and iterables.is_staged(source):
        made = source.copy()
        made.sort(key=None if key is None else call(key), reverse=reverse)
        return made
    items = None if isinstance(source, Tensor) else list(source)
    if items is not None and key is None and not _any_traced(items):
        return builtins.sorted(items, reverse=reverse)
    if isinstance(source, Tensor) and not staging.is_staged_iterable(source):
        return builtins.sorted(source, key=key, reverse=reverse)
    from treadle.ops.searching import argsort, take
    from treadle.ops.shaping import stack

    numbers = items is not None and builtins.all(map_(_is_number, items))
    if numbers and items is not None:
        specs = map_(leaf_spec, items)
        highest = functools.reduce(lambda a, b: common(Spec((), a, True), b)[0] or a, specs, bool_)
        rows = stack([to_spec(item, highest, False) for item in items])
    else:
        rows = source if items is None else stack([as_tensor(item) for item in items])
    keys = rows
    if key is not None:
        measures = [call(key)(item) for item in rows] if items is None else [call(key)(item) for item in items]
        if not _any_traced(measures) and items is not None:
            pairs = builtins.sorted(builtins.range(builtins.len(items)), key=measures.__getitem__, reverse=reverse)
            return [items[k] for k in pairs]
        keys = stack([as_tensor(m) for m in measures])
    _vector(keys, "sorted")
    order = argsort(keys, descending=bool(reverse), stable=True)
    found = list(take(rows, order, axis=0))
    return [_as_numbers(x, items) for x in found] if numbers and items is not None else found


def list(source: Any = ()) -> Any:
    """`list`; one that a loop fills where the items come from one."""
    from treadle.autograph.containers import new_list

    if isinstance(source, Tensor) or not iterables.is_staged(source):
        return builtins.list(source)
    made = new_list([])
    _looped(source, lambda item: made.append(item) or (), (), ())  # type: ignore[func-returns-value]
    return made


def searching(method: Any) -> Any:
    """`items.index` or `items.count` of a list: of numbers where a value among them is traced."""

    def search(value: Any, *span: Any) -> Any:
        items = method.__self__
        if not _any_traced((value, *items)):
            return method(value, *span)
        from treadle.autograph.containers import new_list

        return getattr(new_list([*items]), method.__name__)(value, *span)

    return search


def contains(item: Any, container: Any) -> Any:
    """`item in container`."""
    from treadle.ops import reductions

    if (isinstance(container, staging.Range) and (is_traced(item) or container.bounds is None)) or (
        isinstance(container, builtins.range) and is_traced(item)
    ):
        start, step, count = container.start, container.step, len(container)
        offset = item - start
        return (offset % step == 0) & (offset // step >= 0) & (offset // step < count)
    if isinstance(container, Symbol):
        return reductions.any(container == item)
    if isinstance(container, TensorList) and iterables.is_staged(container):
        return container.holds(item)
    if not isinstance(container, builtins.list | tuple | set | frozenset | dict):
        from treadle.autograph.special import call, method  # which builds on callees, and they on this

        own = method(type(container), "__contains__")
        return item in container if own is None else call(own)(container, item)
    if not is_traced(item) and not _any_traced(container):
        return item in container
    return _folded(iter([item == other for other in container]), True)


def pow(base: Any, exp: Any, mod: Any = None) -> Any:
    """`pow(base, exp, mod)`; of integer tensors by squaring, `mod` at most 2**31 so that squares fit into int64."""
    if mod is None or not _any_traced((base, exp, mod)):
        return builtins.pow(base, exp) if mod is None else builtins.pow(base, exp, mod)
    from treadle.ops import comparison, effects, reductions

    b, e, m = (as_tensor(x) for x in (base, exp, mod))
    if not builtins.all(x.dtype.kind in "iu" for x in (b, e, m)):
        raise TypeError("pow() 3rd argument not allowed unless all arguments are integers")
    b, e, m = (cast(x, int64) for x in (b, e, m))
    sound = comparison.logical_and(reductions.all(e >= 0), reductions.all((m > 0) & (m <= 2**31)))
    effects.assert_(sound, "pow() with three arguments takes exponents >= 0 and moduli from 1 to 2**31")  # noqa: PT009

    def step(left: Any, square: Any, result: Any) -> tuple[Any, ...]:
        return left // 2, square * square % m, comparison.where(left % 2 == 1, result * square % m, result)

    start = (e + 0 * (b + m), (b + 0 * (e + m)) % m, (1 + 0 * (b + e + m)) % m)  # of one shape
    names = ("the exponent", "the square", "the power")
    found: Any = staging.staged_while(lambda left, *_: reductions.any(left > 0), step, start, names)[2]
    return found


PLAIN: dict[Any, Callable[..., Any]] = {
    **{
        getattr(builtins, f.__name__): f
        for f in (zip, enumerate, reversed, range, len, round, sum, any, all, list, pow)
    },
    bool: boolean,
    int: integer,
    float: floating,
}
"""What stands for builtins that take no function."""
CALLING: dict[Any, Callable[..., Any]] = {getattr(builtins, f.__name__): f for f in (map, filter, min, max, sorted)}
"""What stands for builtins that take one: they get `call=`, which converts it."""
