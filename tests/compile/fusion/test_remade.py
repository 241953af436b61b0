"""Values made again in the kernels that read them, and loops along the axis before a short last one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import agree, compiled

import treadle as td
from treadle.compile.fusion import rules

LENGTHWISE = "loops go along the axis before a short last one"


def points(n: int, d: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(n * 10 + d).normal(size=(n, d)).astype(dtype)


def forces(p: td.Tensor) -> tuple[td.Tensor, td.Tensor]:
    apart = p[:, None] - p[None]
    strength = 1 / (td.sum(apart * apart, axis=-1) + 1.0)
    pull = apart * strength[..., None]
    return td.sum(pull, axis=0), td.sum(-pull, axis=1)


@settings(derandomize=True, deadline=None, max_examples=12)
@given(st.sampled_from([1, 2, 3, 9, 40]), st.sampled_from([1, 2, 3, 8, 9]), st.sampled_from(["float32", "float64"]))
def test_pairs_of_points(n: int, d: int, dtype: str) -> None:
    agree(forces, points(n, d, dtype))


def test_pairs_are_not_stored() -> None:
    p = td.asarray(points(64, 3))
    traced = td.function(forces)
    traced(p)
    assert traced.traces[0].memory.work < 64 * 64 * 3 * 4  # the distances, and no vector of them


@pytest.mark.parametrize("reduce", [td.sum, td.max, td.mean, td.prod])
@pytest.mark.parametrize("axis", [0, 1, (0, 1), None])
def test_reductions_of_repeated_values(reduce: Any, axis: Any) -> None:
    x, y = points(12, 3, "float64"), points(20, 3, "float64")
    before = rules.counts[LENGTHWISE]
    agree(lambda x, y: reduce(td.abs(x[:, None] - y[None]) + 0.5, axis=axis), x, y)
    agree(lambda x, y: reduce(td.abs(x[:, None] - y[None]) + 0.5, axis=axis, keepdims=True), x, y)
    assert rules.counts[LENGTHWISE] > before


def test_what_something_else_wants_is_stored() -> None:
    def f(p: td.Tensor) -> Any:
        apart = p[:, None] - p[None]
        return td.sum(apart, axis=0), td.max(apart, axis=1), apart, td.reshape(apart, (-1, 3)) @ p[:3]

    agree(f, points(12, 3))


def test_variables_that_are_updated_are_read_before() -> None:
    p = points(16, 3, "float64")
    v = td.Variable(p)

    @td.function
    def step() -> td.Tensor:
        apart = v[:, None] - v[None]
        near = td.exp(-td.sum(apart * apart, axis=-1))
        v.assign_add(td.sum(apart * near[..., None], axis=1))
        return td.sum(apart * near[..., None], axis=0)

    apart = p[:, None] - p[None]
    near = np.exp(-np.sum(apart * apart, axis=-1))
    np.testing.assert_allclose(step(), np.sum(apart * near[..., None], axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(v, p + np.sum(apart * near[..., None], axis=1), rtol=1e-12)


def test_a_kernel_serves_all_sizes() -> None:
    texts = {tuple(k.key for k in compiled(forces, points(n, 3)).kernels) for n in (16, 40, 90)}
    assert len(texts) == 1


def test_a_value_and_what_is_made_of_it_move_together() -> None:
    def f(p: td.Tensor) -> Any:
        doubled = (p[:, None] - p[None]) * 2
        odd = td.isnan(doubled)
        return td.sum(doubled, axis=0), td.sum(td.where(odd, 0, doubled), axis=1), td.any(odd, axis=(0, 1))

    agree(f, points(12, 3))


def test_gradients_of_pairs() -> None:
    def f(p: td.Tensor) -> Any:
        return td.grad(lambda p: td.sum(forces(p)[0] ** 2) + td.sum(td.max(p[:, None] - p[None], axis=1)))(p)

    agree(f, points(10, 3, "float64"))
