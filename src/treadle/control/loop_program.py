"""A loop that carries memory of an open but lasting size, as a program of its own: when it runs, its sizes are known.

The program around could only step through it in Python. Sizes are powers of two (see `elastic`), so that few programs
are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from treadle.control.call import run_graph, runs_programs
from treadle.core.dim import Dim
from treadle.core.dtypes import int64
from treadle.core.graph import Graph
from treadle.core.interpret import _collect, copy_graph
from treadle.core.mode import activate
from treadle.core.spec import Spec
from treadle.core.tracer import Tracer
from treadle.errors import place

FEWEST = 64  # steps, or rows of memory, from which on making a program pays


Array = np.ndarray[Any, Any]
_inside: ContextVar[bool] = ContextVar("treadle_loop_program", default=False)  # whether such a program runs


def as_program(attrs: dict[str, Any], values: Sequence[Array]) -> list[Array] | None:
    """What a loop gives that a program around could not lay out; None where running it step by step is as well."""
    if _inside.get() or place() is None or not runs_programs():
        return None
    whole = _whole(attrs, values)
    if whole is None:
        return None
    token = _inside.set(True)
    try:
        return run_graph(whole, values)
    finally:
        _inside.reset(token)


def _whole(attrs: dict[str, Any], values: Sequence[Array]) -> Graph | None:
    """A graph that holds just this loop, for values of any size."""
    body: Graph = attrs["body"]
    _, carry, _, xs = attrs["layout"].parts(values)
    largest = max([len(x) for x in carry if x.ndim], default=0)
    if largest < FEWEST or (xs and len(xs[0]) < FEWEST):
        return None
    found: Any = body.derived.get("whole loop")
    if found is None or found[0] is not attrs["test"] or found[1] != attrs["reverse"]:
        made = _make(attrs) if _lasting(attrs) else None
        found = body.derived["whole loop"] = (attrs["test"], attrs["reverse"], made)
    whole: Graph | None = found[2]
    return whole


def _lasting(attrs: dict[str, Any]) -> bool:
    """Whether all sizes stay as they are when the loop begins, and are read off what it is given."""
    body: Graph = attrs["body"]
    carried = attrs["layout"].carry
    if attrs["reverse"] and (attrs["test"] is not None or not attrs["layout"].xs):
        return False
    if any(x.shape != y.shape for x, y in zip(body.inputs[:carried], body.outputs[:carried], strict=True)):
        return False
    known: set[str] = set()
    _collect(tuple([s.shape for s in body.inputs]), known)
    asked: set[str] = set()
    _collect(tuple([s.shape for s in body.outputs]), asked)
    every = (*body.inputs, *body.outputs)
    return asked <= known and all(s.dtype.kind != "T" for s in every)


def _make(attrs: dict[str, Any]) -> Graph:
    from treadle.control.loop import loop_op

    layout, test = attrs["layout"], attrs["test"]
    names: set[str] = set()
    _collect(tuple([s.shape for s in attrs["body"].inputs]), names)
    sizes = {name: Dim.named(f"size_{k}") for k, name in enumerate(sorted(names))}  # sizes that what comes in tells
    body = copy_graph(attrs["body"], sizes)
    tracer = Tracer(body.name)
    tracer.origin = place()  # errors name the user's loop
    _, carry, consts, xs = layout.parts((*[None] * layout.counted, *body.inputs))
    rows = Dim.named("steps")
    specs = [Spec((), int64)] * int(layout.counted)
    specs += [Spec(s.shape, s.dtype, s.spec.weak) for s in (*carry, *consts)]
    specs += [Spec((rows, *s.shape), s.dtype) for s in xs]
    inputs = [tracer.input(spec, "x") for spec in specs]
    own: dict[str, Any] = {"body": body, "test": None if test is None else copy_graph(test, sizes)}
    if xs:
        own["steps"] = rows
    with activate(tracer):
        made = loop_op.bind(tuple(inputs), {**attrs, **own})
        return tracer.finish(list(made)).graph


__all__ = ["as_program"]
