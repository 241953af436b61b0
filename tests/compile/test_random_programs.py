"""Random programs give the same results by NumPy, eagerly, interpreted, and compiled."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings

import treadle as td
from treadle.compile.fusion.rules import RULES, counts
from treadle.compile.program import program_for
from treadle.control.call import interpret_arrays
from treadle.core.spec import Spec
from treadle.core.tracer import trace

sys.path.insert(0, str(Path(__file__).parent.parent))
from random_programs import ROWS, Recipe, play, recipes

RTOL = {"float32": 2e-5, "float64": 1e-12}


def assert_agrees(got: Any, want: Any, what: str) -> None:
    """Equal exactly for integers and bools, within the stated tolerance for floats."""
    want = np.asarray(want)
    got = np.asarray(got)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, wanted {want.shape}"
    if want.dtype.kind in "biu":
        np.testing.assert_array_equal(got, want, err_msg=what)
    else:
        tolerance = RTOL[str(got.dtype)]
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=20 * tolerance, err_msg=what)


@settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(recipes())
def test_all_ways_agree(recipe: Recipe) -> None:
    all_ways_agree(recipe)


def test_all_ways_agree_on_rows_and_every_rule_of_fusion_is_used() -> None:
    def run(name: str) -> None:
        @settings(derandomize=True, deadline=None, max_examples=5, suppress_health_check=list(HealthCheck))
        @given(recipes(max_steps=5, rows=name))
        def of_this(recipe: Recipe) -> None:
            all_ways_agree(recipe)

        of_this()

    before = Counter(counts)
    for name in ROWS:
        run(name)
    unused = [rule for rule in RULES if counts[rule] == before[rule]]
    assert not unused, ", ".join(unused)


def all_ways_agree(recipe: Recipe) -> None:
    """Eager, interpreted, compiled and NumPy's results are the same."""
    eager = play(recipe, [td.asarray(a) for a in recipe.inputs], numpy=False)
    plain = play(recipe, list(recipe.inputs), numpy=True)
    traced = trace(
        lambda *xs: [td.asarray(y) for y in play(recipe, list(xs), numpy=False)],
        [Spec(a.shape, a.dtype) for a in recipe.inputs],
        "program",
    )
    traced.graph.verify()
    # Arrays that the program captured (indices of take) follow the inputs.
    arrays = [*recipe.inputs, *(x.array for x in traced.captures)]
    interpreted = interpret_arrays(traced.graph, arrays)
    program = program_for(traced.graph, [a.shape for a in arrays])
    program.graph.verify()
    compiled = program.run(arrays)
    for k, want in enumerate(eager):
        assert interpreted[k].dtype == want.dtype
        assert compiled[k].dtype == want.dtype
        assert_agrees(interpreted[k], want.numpy(), f"interpreted, output {k}")
        assert_agrees(compiled[k], want.numpy(), f"compiled, output {k}")
        assert_agrees(want.numpy(), plain[k], f"NumPy, output {k}")
        assert not any(np.shares_memory(compiled[k], a) for a in recipe.inputs)
