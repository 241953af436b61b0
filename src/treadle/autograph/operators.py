"""What the converter's output calls, as `ag__.name`: each dispatches on the value it meets at run time.

On values that are not traced these do exactly what Python does; on traced ones they hand over to `control.staging`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from typing import Any

from treadle.autograph import iterables, python_builtins, unrolled
from treadle.autograph.callees import call as call
from treadle.autograph.containers import (  # noqa: F401  (converted code's)
    delete_attribute,
    delete_item,
    is_none,
    is_some,
    joined,
    new_list,
    set_attribute,
    set_item,
    slice,
)
from treadle.autograph.special import attribute, binary, get_item, inplace, unary  # noqa: F401  (converted code's)
from treadle.control import raising, staging
from treadle.control.lists import TensorList
from treadle.control.raising import Unreached as Unreached
from treadle.control.raising import catching as catching
from treadle.control.raising import to_raise as to_raise
from treadle.core.tensor import Tensor
from treadle.core.text import writing
from treadle.core.tracer import active_tracer
from treadle.core.variable import Variable
from treadle.errors import AssertionFailed, ControlFlowError, UndefinedVariable, user_location

Values = tuple[Any, ...]
# A Python loop whose end is decided by a traced value is unrolled with guards; one without end must not hang.
_MAX_GUARDED = 10_000


def _is_staged(x: Any) -> bool:
    """Whether Python cannot decide on `x`: a traced tensor, or while tracing a variable, or a list that has grown."""
    if staging.is_staged(x) or (isinstance(x, Variable) and active_tracer() is not None):
        return True
    return isinstance(x, TensorList) and isinstance(x.length(), Tensor)


def same(*values: Any) -> Values:
    """The branch that changes nothing."""
    return values


# Names ---------------------------------------------------------------------------------------------------------------
def undefined(name: str) -> Any:
    """The placeholder for a name that is not bound yet."""
    return staging.Undefined(name)


def unset(name: str) -> Any:
    """The placeholder for a name that the program never reads unbound: the flags of exits see to that.

    Staging may therefore fill it with zeros where only one side of a branch, or a later iteration, sets the name.
    """
    return staging.Undefined(name, guarded=True)


def is_bound(value: Any) -> bool:
    """Whether a value is no placeholder."""
    return not isinstance(value, staging.Undefined)


def value(held: Any, name: str) -> Any:
    """`held`, unless it is a placeholder: then Python's own error, or while tracing one that explains."""
    if not isinstance(held, staging.Undefined):
        return held
    if active_tracer() is None:
        raise UnboundLocalError(f"cannot access local variable '{name}' where it is not associated with a value")
    raise _no_value(held)


def free(held: Any, name: str) -> Any:
    """As `value`, for a name of an enclosing function."""
    if not isinstance(held, staging.Undefined):
        return held
    if active_tracer() is None:
        where = "where it is not associated with a value in enclosing scope"
        raise NameError(f"cannot access free variable '{name}' {where}")
    raise _no_value(held)


def _no_value(held: staging.Undefined) -> UndefinedVariable:
    why: str = held.why or "it is not set on every path that leads to this line"
    return UndefinedVariable(
        f"the name {held.name!r} has no value here: {why}; set it before the branch or loop, or on every path"
    )


def peek(read: Callable[[], Any], name: str) -> Any:
    """The value of an outer name, or a placeholder while it is unbound."""
    try:
        return read()
    except NameError:
        return staging.Undefined(name)


def reached(read: Callable[[], Any], name: str) -> Any:
    """As `peek`, for a name whose reads the program guards: it may stand for zeros where nobody reads it."""
    held = peek(read, name)
    return unset(name) if isinstance(held, staging.Undefined) else held


# Statements ----------------------------------------------------------------------------------------------------------
def if_stmt(
    test: Any, then: Callable[..., Values], orelse: Callable[..., Values], values: Values, names: tuple[str, ...]
) -> Values:
    """`if test: ... else: ...`; both functions take and give the values of `names`."""
    if test is True:
        return then(*values)
    if test is False:
        return orelse(*values)
    if _is_staged(test):
        ends = raising.Ends()
        sides = [ends.branch(side, lambda: raising.nothing(*names)) for side in (then, orelse)]
        results: Values = staging.staged_if(test, sides[0], sides[1], values, names)
        ends.check()
        return results
    return then(*values) if test else orelse(*values)


def while_stmt(test: Callable[..., Any], body: Callable[..., Values], values: Values, names: tuple[str, ...]) -> Values:
    """`while test: body`; from the first traced test on, the rest of the loop is staged."""
    watch = unrolled.watch()
    while True:
        go = test(*values)
        if _is_staged(go):
            return staging.staged_while(_ends(test), _goes_round(body, len(values)), values, names)
        if not go:
            if watch is not None:
                watch.end()
            return values
        values = body(*values)
        if watch is not None:
            watch.rounds += 1


def _goes_round(body: Callable[..., Values], count: int) -> Callable[..., Values]:
    """A loop's body; where no run reaches its end, it gives the values that it was given."""
    return lambda *args: raising.bordered(lambda: body(*args), lambda: args[len(args) - count :])[0]


def _ends(test: Callable[..., Any]) -> Callable[..., Any]:
    """A loop's test; one that raises in every run ends the loop."""
    return lambda *values: raising.bordered(lambda: test(*values), lambda: False)[0]


def for_stmt(
    iterable: Any,
    body: Callable[..., Values],
    values: Values,
    names: tuple[str, ...],
    go: Callable[..., Any] | None = None,
) -> Values:
    """`for item in iterable: body`; `go`, asked after each item, tells whether `break` or `return` has not ended it."""
    if isinstance(iterable, iterables.Nested):
        return for_stmt(iterable.source, iterable.body(body), values, names, go)
    if staging.is_staged_iterable(iterable):
        return staging.staged_for(iterable, _goes_round(body, len(values)), values, names, go)
    if iterables.is_staged(iterable):
        return iterables.run(iterable, _goes_round(body, len(values)), values, names, go)
    watch = unrolled.watch()
    if watch is None and go is None:
        for item in iterable:
            values = body(item, *values)
        return values
    items = iter(iterable)
    for item in items:
        values = body(item, *values)
        if watch is not None:
            watch.item, watch.rounds = item, watch.rounds + 1
        more = go(*values) if go is not None else True
        if _is_staged(more):
            return _guarded_for(items, body, values, names, go)  # type: ignore[arg-type]
        if not more:
            break
    if watch is not None:
        watch.end()
    return values


def _guarded_for(
    items: Iterable[Any], body: Callable[..., Values], values: Values, names: tuple[str, ...], go: Callable[..., Any]
) -> Values:
    """The rest of a loop over Python items that a traced `break` may end: each item under its own branch."""
    for count, item in enumerate(items):
        if count >= _MAX_GUARDED:
            raise ControlFlowError(
                f"this loop over Python values has taken {count} items and only a traced tensor tells when it ends; "
                f"loop over td.range, or write it as `while`"
            )
        values = if_stmt(go(*values), lambda *held, item=item: body(item, *held), same, values, names)
    return values


# Expressions ---------------------------------------------------------------------------------------------------------
def and_(first: Any, *rest: Callable[[], Any]) -> Any:
    """`first and ...`: later operands are evaluated only when reached."""
    result = first
    for i, later in enumerate(rest):
        if _is_staged(result):
            return joined(staging.staged_and, result, _operand(and_, rest[i:]), "and")
        if not result:
            return result
        result = later()
    return result


def or_(first: Any, *rest: Callable[[], Any]) -> Any:
    """`first or ...`: later operands are evaluated only when reached."""
    result = first
    for i, later in enumerate(rest):
        if _is_staged(result):
            return joined(staging.staged_or, result, _operand(or_, rest[i:]), "or")
        if result:
            return result
        result = later()
    return result


def not_(operand: Any) -> Any:
    """`not operand`."""
    return staging.staged_not(operand) if _is_staged(operand) else not operand


def truth(operand: Any) -> Any:
    """A value of which only the truth counts."""
    return staging.truth(operand, "`and` or `or`") if _is_staged(operand) else operand


def if_exp(test: Any, then: Callable[[], Any], orelse: Callable[[], Any]) -> Any:
    """`then if test else orelse`."""
    if _is_staged(test):
        ends = raising.Ends()
        sides = [ends.branch(side, lambda: raising.nothing("a value")[0]) for side in (then, orelse)]
        result = staging.staged_if_exp(test, sides[0], sides[1])
        ends.check()
        return result
    return then() if test else orelse()


def _operand(join: Callable[..., Any], rest: tuple[Callable[[], Any], ...]) -> Callable[[], Any]:
    """The right side of `and` and `or`, joined when it is reached; the left side is always there."""
    read = raising.Ends().branch(lambda: join(rest[0](), *rest[1:]), lambda: raising.nothing("a value")[0])
    return read


_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "is": operator.is_,
    "is not": operator.is_not,
    "in": lambda a, b: contains(a, b),
    "not in": lambda a, b: not_(contains(a, b)),
}


_SPECIAL = {"<": "__lt__", "<=": "__le__", ">": "__gt__", ">=": "__ge__", "==": "__eq__", "!=": "__ne__"}


def contains(item: Any, container: Any) -> Any:
    """`item in container`."""
    return item in container if active_tracer() is None else python_builtins.contains(item, container)


def compare(left: Any, *parts: Any) -> Any:
    """`left < b <= c ...`, as sign, thunk, sign, thunk: each operand is evaluated at most once, and when reached."""
    sign, operand, *rest = parts
    right = operand()
    name = _SPECIAL.get(sign)
    result = _COMPARE[sign](left, right) if name is None else binary(name, left, right)
    if not rest:
        return result
    return and_(result, lambda: compare(right, *rest))


# Comprehensions ------------------------------------------------------------------------------------------------------
def list_comp(source: Any, element: Callable[[Any], Any], keep: Callable[[Any], Any] | None = None) -> list[Any]:
    """`[element(item) for item in source if keep(item)]`; where the source is staged, a list that one loop fills."""
    out: list[Any] = []
    if iterables.is_staged(source) or isinstance(source, iterables.Nested):
        out = new_list([])
        kept = source if keep is None else iterables.Filter(source, keep)
        for_stmt(kept, lambda item: _append(out, element(item)), (), ())
        return out
    for item in source:
        wanted = True if keep is None else keep(item)
        if _is_staged(wanted):
            out = out if isinstance(out, TensorList) else new_list(out)
            if_stmt(wanted, lambda held=out, item=item: _append(held, element(item)), same, (), ())
        elif wanted:
            out.append(element(item))
    return out


def late_list_comp(
    source: Any,
    comprehension: Callable[[Any], list[Any]],
    element: Callable[[Any], Any],
    keep: Callable[[Any], Any] | None = None,
) -> list[Any]:
    """A list comprehension that holds lambdas: over Python values Python's own, in which they share its variable."""
    staged = iterables.is_staged(source) or isinstance(source, iterables.Nested)
    return list_comp(source, element, keep) if staged else comprehension(source)


def hashed(key: Any) -> Any:
    """A key of a dictionary, or an item of a set, that a comprehension makes."""
    if _is_staged(key):
        raise ControlFlowError(
            "a traced tensor as a key of a dict or an item of a set: these look up Python values, and it has none yet; "
            "use a list, or a Python number as the key"
        )
    return key


def _append(items: list[Any], item: Any) -> Values:
    items.append(item)
    return ()


def flat_comp(source: Any, inner: Callable[[Any], list[Any]], keep: Callable[[Any], Any] | None = None) -> list[Any]:
    """A list comprehension of several `for`s: `inner` is that of all but the first, as a generator."""
    return list_comp(flat_generator(source, inner, keep), lambda item: item)


def flat_generator(source: Any, inner: Callable[[Any], Any], keep: Callable[[Any], Any] | None = None) -> Any:
    """A generator expression of several `for`s."""
    return iterables.Flat(source if keep is None else iterables.Filter(source, keep), inner)


def generator(source: Any, element: Callable[[Any], Any], keep: Callable[[Any], Any] | None = None) -> Any:
    """`(element(item) for item in source if keep(item))`."""
    if keep is not None and active_tracer() is not None:
        return iterables.Filter(source, keep, element)
    if iterables.is_staged(source):
        return iterables.Map((source,), function=element)
    return map(element, source if keep is None else filter(keep, source))


def assert_(test: Any, message: Callable[[], Any] | None = None) -> Any:
    """The test of an `assert`: a traced one is checked at run time, and counts as true while tracing."""
    if _is_staged(test):
        raising.check_caught(AssertionFailed, user_location(2))
        staging.staged_assert(test, message if message is not None else lambda: None)
        return True
    if not test and raising.in_staged_code():
        raise to_raise(lambda: AssertionError(*([] if message is None else [message()])))
    return test


_PERCENT = re.compile(r"%(?:%|([-+ 0#]*)(\d*(?:\.\d+)?)([a-zA-Z]))")


def percent(form: str, values: Any) -> Any:
    """`form % values`: where a value is traced, the letters of numbers become format specifications."""
    parts = values if isinstance(values, tuple) else (values,)
    if not any(_is_staged(part) for part in parts):
        return form % values
    rest = iter(parts)

    def write(found: re.Match[str]) -> str:
        flags, width, letter = found.groups()
        if letter is None:
            return "%"
        value = next(rest)
        if letter in "sra" or not _is_staged(value):
            return found.group() % (value,)
        align = "<" if "-" in flags else ""
        return format(value, f"{align}{flags.replace('-', '')}{width}{'d' if letter in 'iu' else letter}")

    return _PERCENT.sub(write, form)


def text(write: Callable[[], str]) -> Any:
    """An f-string; one that holds traced tensors is filled in when the program runs."""
    if active_tracer() is None:
        return write()
    with writing() as written:
        result = written.text(write())
    return result if result.tensors else "".join(map(str, result.pieces))


def types(caught: Any) -> Values:
    """What stands behind `except`: one exception type, or a tuple of them."""
    return caught if isinstance(caught, tuple) else (caught,)
