"""`check`: a function of the caller's own, run eagerly, as a graph, compiled and differentiated; all must agree."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from treadle import nest
from treadle.core.dtypes import is_float
from treadle.core.tensor import Tensor
from treadle.core.variable import Variable
from treadle.errors import AssertionFailed, Location, user_location
from treadle.function.decorator import function
from treadle.function.function import Function
from treadle.records import dataclass
from treadle.testing.compare import differs
from treadle.testing.stages import Outcome, Stages
from treadle.testing.strategies import arguments, hypothesis

_STAGES = {
    "again": "run eagerly twice from one state, it differs: it depends on something besides arguments and variables "
    "(Python's or NumPy's random numbers, a clock, a list or attribute that it changes), which a trace freezes. "
    "Use td.random or a td.Variable, or pass it as an argument",
    "tracing": "its graph differs from the eager function: tracing saw something else than Python does "
    "(look at f.traces[-1].graph and f.converted_source)",
    "compiling": "its graph, run node by node, agrees with the eager function; the compiled program differs "
    "(look at f.traces[-1].kernels; this is treadle's mistake)",
    "interpreting": "its compiled program agrees with the eager function; the graph run node by node differs "
    "(this is treadle's mistake)",
}


@dataclass(slots=True)
class _Count:
    """How many examples there were and gave a result, the last error of the function, the last difference found."""

    tried: int = 0
    passed: int = 0
    error: Exception | None = None
    found: AssertionFailed | None = None


def check(
    f: Callable[..., Any],
    *specs: Any,
    gradients: bool = True,
    max_examples: int = 30,
    special: bool = False,
    tolerance: float | None = None,
) -> None:
    """Look for arguments with which `f` differs between eager and traced running; raise with the smallest ones found.

    f:            a function, or a `td.function` with options of its own (an input_signature, say).
    specs:        one for each positional argument: a `td.TensorSpec` (open sizes are drawn, 0 and 1 too; equal names
                  are equal sizes), a hypothesis strategy such as `td.testing.tensors(...)`, a plain value, or a nest.
    gradients:    compare gradients with respect to floating tensor arguments and trainable variables, too.
    max_examples: how many sets of arguments are tried.
    special:      draw infinities, NaN, both zeros and the limits of dtypes for specs, too.
    tolerance:    of floats, relative to the largest finite number of a result (or 1): 1e-4 for float32 and complex64,
                  1e-10 for float64 and complex128. Everything else is compared exactly.

    Compared are results (structure, dtypes, shapes, values), what variables hold afterwards, types of errors, and
    gradients. Variables, td.random's state among them, have their old values when it ends. A function whose result
    jumps (rounding, a comparison of computed floats) may differ rightly where rounding decides.

    Raises AssertionFailed, which says where the difference arises; MissingExtra (an ImportError) without hypothesis.

    >>> import treadle as td
    >>> td.testing.check(lambda x, w: td.tanh(x @ w), td.TensorSpec(("n", 3)), td.TensorSpec((3, 2)), max_examples=3)
    """
    place = user_location()
    hyp = hypothesis()
    strategy, draws = arguments(specs, special)
    traced = copy.copy(f) if isinstance(f, Function) else function(f)
    python = f.python_function if isinstance(f, Function) else f
    counts = _Count()
    settings = hyp.settings(
        max_examples=max_examples if draws else 1,
        deadline=None,
        derandomize=True,
        database=None,
        report_multiple_bugs=False,
        print_blob=False,
        phases=(hyp.Phase.generate, hyp.Phase.shrink),
        suppress_health_check=list(hyp.HealthCheck),
    )

    def compare(args: tuple[Any, ...]) -> None:
        try:
            _compare(Stages(python, traced), args, gradients, tolerance, counts, place)
        except AssertionFailed as error:
            counts.found = error
            raise

    try:
        settings(hyp.given(strategy)(compare))()
    except (AssertionFailed, hyp.errors.Flaky):
        if counts.found is None:
            raise
    if counts.found is not None:  # the smallest; a trace that froze something may not show it twice
        raise AssertionFailed(counts.found.args[0].rpartition("\n  File ")[0], place) from None
    if not counts.passed:
        raise AssertionFailed(
            f"check: none of {counts.tried} sets of arguments gave a result; the last error was "
            f"{type(counts.error).__name__}: {counts.error}",
            place,
        )


def _compare(
    stages: Stages,
    args: tuple[Any, ...],
    gradients: bool,
    tolerance: float | None,
    counts: _Count,
    place: Location | None,
) -> None:
    """Run one set of arguments in every way. Raises AssertionFailed."""
    counts.tried += 1
    first = stages.watched(args)
    want = stages.eager(args)
    if text := differs(first, want, stages, 0.0):
        raise _error(stages, args, "again", text, place)
    _blame(stages, args, want, stages.compiled(args), stages.interpreted(args), tolerance, place)
    if want.error is not None:
        counts.error = want.error
        return
    counts.passed += 1
    if gradients and _differentiable(args, stages, want):
        slope = stages.gradients(args, "eager")
        ways = stages.gradients(args, "compiled"), stages.gradients(args, "interpreted")
        _blame(stages, args, slope, *ways, tolerance, place, "the gradient")


def _differentiable(args: tuple[Any, ...], stages: Stages, want: Outcome) -> bool:
    variables = [v for v, _ in stages.watcher.variables.values() if v.trainable]
    return _floating([*nest.flatten(args), *variables]) and _floating(nest.flatten(want.result))


def _floating(values: Sequence[Any]) -> bool:
    return any(isinstance(x, (Tensor, Variable, np.ndarray)) and is_float(x.dtype) for x in values)


def _blame(
    stages: Stages,
    args: tuple[Any, ...],
    want: Outcome,
    compiled: Outcome,
    interpreted: Outcome,
    tolerance: float | None,
    place: Location | None,
    root: str = "the result",
) -> None:
    """Raise, naming the stage, where the three do not agree."""
    by_program = differs(want, compiled, stages, tolerance, root)
    by_graph = differs(want, interpreted, stages, tolerance, root)
    if not (by_program or by_graph):
        return
    stage = "tracing" if by_program and by_graph else "compiling" if by_program else "interpreting"
    if root != "the result" and differs(want, stages.gradients(args, "eager"), stages, 0.0, root):
        stage = "again"
    raise _error(stages, args, stage, by_program or by_graph or "", place)


def _error(stages: Stages, args: tuple[Any, ...], stage: str, text: str, place: Location | None) -> AssertionFailed:
    shown = [f"    {name} = {_shown(x)}" for name, x in zip(stages.names(args), args, strict=True)]
    lines = [f"check: {text}", f"  {_STAGES[stage]}"]
    lines += [f"  while tracing: {note}" for note in dict.fromkeys(stages.notes)]
    lines += ["  with", *shown] if shown else []
    return AssertionFailed("\n".join(lines), place)


def _shown(x: Any) -> str:
    """An argument as code that makes it, as far as that goes on a line or two."""

    def one(leaf: Any) -> Any:
        return _Text(f"td.asarray({leaf.tolist()!r}, dtype=td.{leaf.dtype.name})") if type(leaf) is Tensor else leaf

    text = repr(nest.map(one, x)) if not isinstance(x, Variable) else repr(x)
    return text if len(text) <= 500 else text[:497] + "..."


class _Text(str):
    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)
