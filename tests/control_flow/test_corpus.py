"""Each function of the corpus does as a graph what plain Python does on NumPy values: results, effects, gradients."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import corpus_algorithms  # noqa: F401
import corpus_effects  # noqa: F401
import corpus_exits  # noqa: F401
import corpus_list_methods  # noqa: F401
import corpus_lists  # noqa: F401
import corpus_loops  # noqa: F401
import corpus_objects  # noqa: F401
import corpus_statements  # noqa: F401
import numpy as np
import pytest
from corpus_cases import CASES, Case

import treadle as td
from treadle import nest
from treadle.control.call import _interpreting
from treadle.core.mode import activate
from treadle.testing.compare import differs
from treadle.testing.stages import Outcome, Stages, Watcher, _weights

COMPILED_GRADIENTS = 5  # every so many-th: their kernels take most of the time


def test_it_is_large_enough():
    assert len(CASES) >= 150
    assert len({c.name for c in CASES}) == len(CASES)


def printed(run: Any, *args: Any) -> tuple[Outcome, str]:
    """What a run did, and what it wrote."""
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        found = run(*args)
    return found, stream.getvalue()


def tensors(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(td.asarray(a) if isinstance(a, np.ndarray) else a for a in args)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[c.name for c in CASES])
def test_as_plain_python(number):
    case = CASES[number]
    stages = Stages(case.make(), td.function(case.make()))
    for args in case.arguments:
        printed(stages.watched, args)  # the variables are known now, and have their values back
        _compare(stages, args)
        if case.gradient:
            _compare_gradients(case, stages, args, number % COMPILED_GRADIENTS == 0)
    assert not stages.notes


def _compare(stages: Stages, args: tuple[Any, ...]) -> None:
    """Results, what is printed, and variables: plain Python on NumPy values against all ways to run on tensors."""
    want, text = printed(stages.eager, args)
    assert want.error is None, want.error
    for way, values in (("eager", tensors(args)), ("interpreted", args), ("compiled", args)):
        got, written = printed(getattr(stages, way), values)
        if got.error is not None:
            raise got.error
        difference = differs(want, got, stages, None)
        assert difference is None, f"{way}: {difference}"
        assert written == text, way


def _compare_gradients(case: Case, stages: Stages, args: tuple[Any, ...], compiled: bool) -> None:
    """Gradients of all ways on tensors, and central differences of plain Python."""
    eager, _ = printed(stages.gradients, args, "eager")
    assert eager.error is None, eager.error
    for way in ("interpreted", "compiled") if compiled else ("interpreted",):
        got, _ = printed(stages.gradients, args, way)
        if got.error is not None:
            raise got.error
        for name, slope in eager.result.items():
            np.testing.assert_allclose(got.result[name], slope, rtol=1e-9, atol=1e-9, err_msg=f"{way}: {name}")
    for position, name in enumerate(stages.names(args) if case.numeric else ()):
        if isinstance(args[position], np.ndarray) and args[position].dtype.kind == "f":
            slope = _difference(stages, args, position)
            np.testing.assert_allclose(eager.result[name], slope, rtol=2e-5, atol=2e-5, err_msg=name)


def _difference(stages: Stages, args: tuple[Any, ...], position: int) -> Any:
    """Central differences with respect to one argument."""
    slope = np.zeros_like(args[position])
    for index in np.ndindex(slope.shape):
        sides = []
        for step in (1e-6, -1e-6):
            moved = args[position].copy()
            moved[index] += step
            run, _ = printed(stages.eager, (*args[:position], moved, *args[position + 1 :]))
            sides.append(_weighed(run.result))
        slope[index] = (sides[0] - sides[1]) / 2e-6
    return slope


def _weighed(result: Any) -> float:
    """What the gradients above are those of: floating results, each element with a weight of its own."""
    found = [x for x in nest.flatten(result) if isinstance(x, (np.ndarray, np.floating)) and x.dtype.kind == "f"]
    return float(sum(np.sum(x * _weights(td.asarray(x)).numpy()) for x in found))


@pytest.mark.parametrize("case", [c for c in CASES if c.second], ids=lambda c: c.name)
def test_second_derivatives(case):
    traced = td.function(case.make())
    with warnings.catch_warnings(), _interpreting(), activate(Watcher()):
        warnings.simplefilter("ignore", td.errors.RetraceWarning)
        for args in case.arguments[:2]:
            td.testing.check_grads(traced, args, order=2)
