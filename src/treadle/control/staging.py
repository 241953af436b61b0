"""Staging: Python's `if`, `while` and `for` on traced tensors become cond and loop nodes.

Values are nests. Tensors are carried; Python numbers become weak tensors whose dtype is found by fixed point; other
objects must not change. Names, both sides and the fix stand in every error.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from treadle import nest
from treadle.control.branch_text import only_one_side
from treadle.control.cond import cond_op
from treadle.control.journal import Journal, Key, Place, journal
from treadle.control.merge import close, unify
from treadle.control.undefined import Undefined
from treadle.core.dtypes import bool_, int64
from treadle.core.mode import activate
from treadle.core.tensor import Symbol, Tensor
from treadle.core.tracer import Tracer, active_tracer
from treadle.core.variable import read_variable, write_variable
from treadle.errors import ControlFlowError, TraceError
from treadle.ops.convert import as_tensor, cast
from treadle.ops.effects import assert_
from treadle.records import dataclass

Branch = Callable[..., Any]


def is_staged(x: object) -> bool:
    """Whether a value is a traced tensor, so that Python cannot decide on it."""
    return type(x) is Symbol


def truth(pred: Any, what: str) -> Tensor:
    """A condition as a 0-d bool tensor. Raises ControlFlowError when it has more than one element."""
    from treadle.control.lists import TensorList
    from treadle.ops.shaping import reshape

    t = as_tensor(pred.length() if isinstance(pred, TensorList) else pred)
    if any(not isinstance(size, int) or size != 1 for size in t.shape):
        raise ControlFlowError(
            f"the condition of {what} has shape {t.shape}; it must be one value. Reduce it with td.any or td.all"
        )
    if t.shape:
        t = reshape(t, ())
    return t if t.dtype == bool_ else t != 0


def _sub_tracer(name: str) -> Tracer:
    around = active_tracer()
    assert around is not None
    tracer = Tracer(name, around.scope)
    tracer.origin = around.origin
    return tracer


def staged_if(
    pred: Any, then_fn: Branch, else_fn: Branch, values: tuple[Any, ...], names: tuple[str, ...], what: str = "if"
) -> tuple[Any, ...]:
    """Both branches are traced with the values; what they give is merged name by name."""
    condition = truth(pred, f"`{what}`")
    # `array += 1` in a branch would change the array whatever runs: there it is a tensor.
    inside = tuple([as_tensor(v) if isinstance(v, np.ndarray) else v for v in values])
    tracers, results, places = _trace_branches((then_fn, else_fn), inside)
    arrays = {id(t): v for t, v in zip(inside, values, strict=True) if t is not v}
    results = [[arrays.get(id(r), r) for r in side] for side in results]

    def one_side(side: str) -> str:
        return only_one_side(side, (then_fn, else_fn))

    merged = [_merge_name(name, a, b, tracers, one_side) for name, a, b in zip(names, *results, strict=True)]
    stored = [merge_place(place, a, b, tracers, one_side) for place, a, b in places]
    whole = [*merged, *stored]
    outputs = [[t for m in whole for t in m.sides[k]] for k in (0, 1)]
    graphs, captures, variables, writes = close(tracers, outputs)
    operands = [*captures, *(read_variable(v) for v in variables)]
    made = list(cond_op.bind((condition, *operands), {"true": graphs[0], "false": graphs[1]}))
    count = len(outputs[0])
    for variable, value in zip(writes, made[count:], strict=True):
        write_variable(variable, value)
    flat = iter(made[:count])
    found = tuple(m.rebuild(flat) for m in merged)
    for (place, _, _), m in zip(places, stored, strict=True):
        place.store(m.rebuild(flat))
    return found


Stored = tuple[Place, Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """What a branch binds a name to and could change, and what that holds at the branch's end: a state or a copy."""

    object: Any
    now: Any


def _trace_branches(
    branches: tuple[Branch, Branch], values: tuple[Any, ...]
) -> tuple[list[Tracer], list[Any], list[Stored]]:
    """Both branches traced: tracers still open, results, and what each has stored where.

    A branch that stores is traced twice: objects that are met again were there before, others are the branch's own.
    """
    known: dict[Key, Place] | None = None
    while True:
        tracers = [_sub_tracer("if_true"), _sub_tracer("if_false")]
        results, journals = [], []
        for tracer, branch in zip(tracers, branches, strict=True):
            with activate(tracer), journal(functools.partial(_own, known=known)) as noted:
                given = branch(*values)
                results.append([_held(r, noted) for r in given])
            journals.append(noted)
        touched = {key: place for noted in journals for key, place in noted.places.items()}
        if known is not None or not touched:
            break
        known = touched
    found: list[Stored] = []
    for key, place in touched.items():
        if known is not None and key in known:
            a, b = (noted.after.get(key, place.old) for noted in journals)
            place.where = next((p.where for noted in journals if (p := noted.places.get(key)) and p.where), None)
            place.check(a, b)
            if place.kind != "whole" and (a is not b or a is not place.old):
                found.append((place, a, b))
    return tracers, results, found


def _held(result: Any, noted: Journal) -> Any:
    """What a branch gives for a name; of what can be changed its state now, before its stores are taken back."""
    from treadle.control.lists import TensorList, content

    if isinstance(result, TensorList):
        return Bound(result, content(result))
    if type(result) in nest.LEAVES or not noted.places or nest.structure(result) is nest.LEAF:
        return result
    return Bound(result, nest.map(lambda x: x, result))


def _own(noted: Journal, known: dict[Key, Place] | None) -> set[Key]:
    """The places of a branch's own objects, once the others are known."""
    return set() if known is None else {key for key in noted.places if key not in known}


def _merge_name(name: str, a: Any, b: Any, tracers: list[Tracer], one_side: Callable[[str], str]) -> Any:
    """What a name means after a branch; where its sides bind it to two lists, a list of its own."""
    from treadle.control.lists import TensorList  # lists need the ops of the catalogue

    left, right = [x.object if isinstance(x, Bound) else x for x in (a, b)]
    if left is not right:
        staged = [isinstance(x, TensorList) for x in (left, right)]
        if any(staged) and all(known or type(x) is list for known, x in zip(staged, (left, right), strict=True)):
            from treadle.control.list_merge import merge_bound

            a, b = [x if isinstance(x, Bound) else Bound(x, [*x]) for x in (a, b)]
            return merge_bound(name, a, b, tracers)
        if not any(staged):
            left, right = [x.now if isinstance(x, Bound) else x for x in (a, b)]
    return unify(name, left, right, tracers, one_side)


def merge_place(place: Place, a: Any, b: Any, tracers: list[Tracer], one_side: Callable[[str], str]) -> Any:
    """What stands at a place after a branch."""
    if place.kind != "list":
        return unify(place.label, a, b, tracers, one_side)
    from treadle.control.list_merge import merge_lists  # lists need the ops of the catalogue

    return merge_lists(place.label, place.obj, a, b, tracers)


def staged_if_exp(pred: Any, then_thunk: Branch, else_thunk: Branch) -> Any:
    """`a if pred else b`."""
    (value,) = staged_if(
        pred, lambda: (then_thunk(),), lambda: (else_thunk(),), (), ("the conditional expression",), "if ... else"
    )
    return value


def staged_and(a: Any, b_thunk: Branch) -> Any:
    """`a and b`: b is reached only when a is true."""
    (value,) = staged_if(a, lambda: (b_thunk(),), lambda: (a,), (), ("the `and` expression",), "and")
    return value


def staged_or(a: Any, b_thunk: Branch) -> Any:
    """`a or b`: b is reached only when a is false."""
    (value,) = staged_if(a, lambda: (a,), lambda: (b_thunk(),), (), ("the `or` expression",), "or")
    return value


def staged_not(a: Any) -> Tensor:
    """`not a`."""
    from treadle.ops.comparison import logical_not

    return logical_not(truth(a, "`not`"))


def staged_assert(test: Any, message_fn: Branch) -> None:
    """`assert test, message`, checked when the program runs."""
    assert_(truth(test, "`assert`"), message_fn)


# -- loops ---------------------------------------------------------------------------------------------------------


class Range:
    """`td.range`: integers as tensors; `for i in td.range(n)` is one loop node inside a traced function.

    >>> import treadle as td
    >>> [int(i) for i in td.range(3)]
    [0, 1, 2]
    """

    def __init__(self, *args: Any) -> None:
        if not 1 <= len(args) <= 3:
            raise TraceError(
                f"td.range takes stop, or start and stop, or start, stop and step; got {len(args)} arguments"
            )
        values = [a if isinstance(a, (Tensor, int)) else as_tensor(a) for a in args]
        for v in values:
            if isinstance(v, Tensor) and (v.shape != () or v.dtype.kind not in "iu"):
                raise TraceError(f"td.range takes integers, got a tensor of shape {v.shape} and dtype {v.dtype}")
        self.start = values[0] if len(values) > 1 else 0
        self.stop = values[1] if len(values) > 1 else values[0]
        self.step = values[2] if len(values) > 2 else 1
        if isinstance(self.step, int) and self.step == 0:
            raise TraceError("td.range: the step must not be 0")

    @property
    def bounds(self) -> tuple[int, int, int] | None:
        """start, stop, step as ints, where they are known."""
        values = (self.start, self.stop, self.step)
        if any(type(v) is Symbol for v in values):
            return None
        return tuple(int(v) for v in values)  # type: ignore[return-value]

    def length(self) -> int | Tensor:
        """How many integers there are."""
        if self.bounds is not None:
            return len(range(*self.bounds))
        from treadle.ops.arithmetic import maximum

        start, stop, step = (as_tensor(v, int64) for v in (self.start, self.stop, self.step))
        rounding = step - (step > 0).astype(int64) + (step < 0).astype(int64)
        return maximum((stop - start + rounding) // step, 0)

    def __len__(self) -> int:
        length = self.length()
        if not isinstance(length, int):
            raise TraceError("the length of this td.range is not known while tracing; loop over it instead")
        return length

    def __iter__(self) -> Any:
        if self.bounds is None:
            raise TraceError(
                "td.range over a traced tensor was reached by plain Python iteration; "
                "write `for i in td.range(n)` in a function that autograph converts"
            )
        for i in range(*self.bounds):
            yield Tensor(np.asarray(i, np.int64))


def is_staged_iterable(x: object) -> bool:
    """Whether a `for` over this becomes a loop node: a tensor or a td.range, while tracing."""
    if isinstance(x, Range):
        return x.bounds is None or active_tracer() is not None
    if type(x) is Symbol:
        return True
    return isinstance(x, Tensor) and active_tracer() is not None


def staged_while(test_fn: Branch, body_fn: Branch, values: tuple[Any, ...], names: tuple[str, ...]) -> tuple[Any, ...]:
    """A loop that runs while `test_fn(*values)` is true."""
    from treadle.control.carry import run_loop

    return run_loop(lambda item, *vs: body_fn(*vs), values, names, test_fn=test_fn)[0]


def staged_for(
    iterable: Any,
    body_fn: Branch,
    values: tuple[Any, ...],
    names: tuple[str, ...],
    test_fn: Branch | None = None,
) -> tuple[Any, ...]:
    """A loop over a td.range or the first axis of a tensor; `test_fn(*values)` says whether to go on."""
    from treadle.control.carry import run_loop

    if isinstance(iterable, Range):
        start, step = as_tensor(iterable.start, int64), as_tensor(iterable.step, int64)

        def body(item: Any, position: Tensor, *vs: Any) -> tuple[Any, ...]:
            return (position + step, *body_fn(position, *vs))

        def test(position: Tensor, *vs: Any) -> Any:
            assert test_fn is not None
            return test_fn(*vs)

        results, _ = run_loop(
            body,
            (cast(start, int64), *values),
            ("the loop's counter", *names),
            test_fn=test if test_fn is not None else None,
            length=iterable.length(),
        )
        return results[1:]
    xs = as_tensor(iterable)
    if not xs.shape:
        raise ControlFlowError("`for` over a tensor of no axes; give it at least one axis")
    return run_loop(body_fn, values, names, test_fn=test_fn, xs=[xs], rebuild=lambda items: items[0])[0]


__all__ = [
    "Range",
    "Undefined",
    "is_staged",
    "is_staged_iterable",
    "staged_and",
    "staged_assert",
    "staged_for",
    "staged_if",
    "staged_if_exp",
    "staged_not",
    "staged_or",
    "staged_while",
]
