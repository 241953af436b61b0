"""Donated arguments: results are made in their memory, and their values may not be asked for after the call.

Memory is taken over where nothing else knows it: a large result of an earlier call of which no view and no other
tensor is held. What cannot be taken over is let go of, so that it serves later results.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from treadle import nest
from treadle.compile.program import CommittedRun, donating
from treadle.compile.run.results import LARGE, take_over
from treadle.core.mode import current
from treadle.core.tensor import Tensor
from treadle.errors import DonatedTensor, user_location
from treadle.function.execution import captured_arrays
from treadle.function.signature import array_of

if TYPE_CHECKING:
    from treadle.function.trace import Trace


class _Donated(Tensor):
    """What a tensor becomes when its caller has given it up."""

    __slots__ = ()

    @property
    def array(self) -> NoReturn:  # type: ignore[override]
        raise DonatedTensor(
            "this tensor was donated to an earlier call, so it has no values any more; use what the call returned, "
            "or take the argument out of donate_argnames",
            user_location(2),
        )

    def __repr__(self) -> str:
        return "<donated tensor>"


def run_donating(trace: Trace, leaves: Sequence[Any], donated: Any) -> Any:
    """A trace's result for its tensor leaves; the tensors in the nest `donated`, some of them, are taken away."""
    given = {id(x): x for x in nest.flatten(donated) if type(x) is Tensor}
    known = Counter(map(id, (*leaves, *trace.captures)))  # what is read in two places is not written over in one
    offered = tuple([k for k, x in enumerate(leaves) if id(x) in given and known[id(x)] == 1 and _is_large(x)])
    plain = current() is None and not (trace.graph.state or trace.symbolic or trace.graph.derived.get("background"))
    program = donating(trace.graph, offered) if offered and plain else None
    result = trace.run_tensors(leaves) if program is None else _over(trace, leaves, program)
    for x in given.values():
        _let_go(x)
    return result


def _is_large(x: Tensor) -> bool:
    return x.array.nbytes >= LARGE


def _over(trace: Trace, leaves: Sequence[Any], program: Any) -> Any:
    """The result, made in the memory of donated leaves where that is theirs alone."""
    taken = [leaves[k] for k in program.inplace.values()]
    for x in taken:
        if not _take(x):
            return trace.run_tensors(leaves)
    arrays, unsafe = [], []
    for x in leaves:
        array, shared = array_of(x)
        arrays.append(array)
        if shared:
            unsafe.append(array)
    try:
        results = program.run([*arrays, *captured_arrays(trace)])
    except CommittedRun as run:
        for x in taken:
            _let_go(x)
        raise run.error from None
    return trace.wrap(results, [*unsafe, *trace.unsafe_captures])


def _take(x: Tensor) -> bool:
    """Whether a tensor's memory is its own; its array is then a new one, so that this stays so."""
    held = [x.array]
    del x.array
    try:
        return take_over(held)
    finally:
        x.array = held[0]


def _let_go(x: Tensor) -> None:
    """Take a tensor's values away."""
    if type(x) is Tensor:
        del x.array
        x.__class__ = _Donated
