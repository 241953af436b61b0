"""Kernels of groups: any geometry, dtype and axes; text without sizes; the same text unjitted."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import agree, compilations, compiled, graph_of, same, unjitted

import treadle as td
from treadle.compile.fusion.emit import BLOCK
from treadle.control.call import interpret_arrays
from treadle.core.op import REGISTRY

REDUCE = {"sum": td.sum, "prod": td.prod, "max": td.max, "min": td.min, "any": td.any, "all": td.all}
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


def numbers(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0 if dtype.startswith("u") else -6, 7, shape)
    return np.asarray(drawn / 4 if dtype.startswith("f") else drawn).astype(dtype)


@st.composite
def views(draw: Any) -> tuple[tuple[int, ...], list[tuple[str, Any]]]:
    """A shape, and view ops to apply to an array of it, each with what it is given."""
    shape = tuple(draw(st.lists(st.sampled_from([0, 1, 2, 3, 5]), min_size=1, max_size=3)))
    steps: list[tuple[str, Any]] = []
    now = shape
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["transpose", "slice", "broadcast", "reshape"]))
        if kind == "transpose":
            given_axes: Any = tuple(draw(st.permutations(range(len(now)))))
        elif kind == "slice":
            given_axes = tuple(slice(None, None, draw(st.sampled_from([1, 2, -1, -2]))) for _ in now)
        elif kind == "broadcast":
            given_axes = (draw(st.sampled_from([1, 2, 3])), *now)
        else:
            given_axes = (-1,) if 0 not in now else (0,)
        if len(now) > 3 and kind == "broadcast":
            continue
        steps.append((kind, given_axes))
        now = _view(np.empty(now), steps[-1:]).shape
    return shape, steps


def _view(x: Any, steps: list[tuple[str, Any]]) -> Any:
    numpy = isinstance(x, np.ndarray)
    for kind, what in steps:
        if kind == "transpose":
            x = np.transpose(x, what) if numpy else td.permute_dims(x, what)
        elif kind == "slice":
            x = x[what]
        elif kind == "broadcast":
            x = np.broadcast_to(x, what) if numpy else td.broadcast_to(x, what)
        else:
            x = x.reshape(what) if numpy else td.reshape(x, what)
    return x


@settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(views(), st.sampled_from(["float32", "float64", "int32", "bool"]), st.data())
def test_views_feed_elementwise_work_and_reductions(drawn: Any, dtype: str, data: Any) -> None:
    shape, steps = drawn
    x = numbers(shape, dtype, data.draw(st.integers(0, 99)))
    shown = _view(x, steps).shape
    axes = tuple(k for k in range(len(shown)) if data.draw(st.booleans()))
    keep = data.draw(st.booleans())
    op = data.draw(st.sampled_from(["sum", "max", "any"]))
    if op == "max" and any(shown[k] == 0 for k in axes):
        op = "sum"

    def f(a: Any) -> Any:
        seen = _view(a, steps)
        changed = td.logical_not(seen) if dtype == "bool" else seen * 2 - 1
        return changed, REDUCE[op](changed, axis=axes, keepdims=keep), seen

    agree(f, x)


@pytest.mark.parametrize("dtype", [*INTEGERS, "float32", "float64", "bool"])
def test_every_elementwise_op_on_every_dtype(dtype: str) -> None:
    """One program of all elementwise ops that take the dtype: values, wrap-around and casts as NumPy does them."""
    x, y = numbers((23,), dtype, 1), numbers((23,), dtype, 2)
    if dtype in INTEGERS:
        limits = np.iinfo(dtype)
        x[:3], y[:3] = [limits.max, limits.min, limits.max], [limits.max, 3, 1]
    if dtype == "bool":
        names = ["logical_and", "logical_or", "logical_xor", "logical_not", "equal", "not_equal", "where"]
    elif dtype in INTEGERS:
        names = [
            "add", "subtract", "multiply", "floor_divide", "remainder", "negative", "abs", "sign", "square", "maximum",
            "minimum", "equal", "less", "greater_equal", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_invert",
        ]  # fmt: skip
    else:
        names = [
            "add", "subtract", "multiply", "divide", "floor_divide", "remainder", "negative", "abs", "sign", "square",
            "maximum", "minimum", "equal", "less", "isnan", "isfinite", "isinf", "signbit", "floor", "ceil", "trunc",
            "round", "copysign", "tanh", "exp", "sin", "cos", "sigmoid", "expm1", "erf",
        ]  # fmt: skip
        x[:4] = [np.inf, -np.inf, np.nan, -0.0]
    arity = {n: 1 if n in UNARY else 2 for n in names}

    def f(a: Any, b: Any) -> Any:
        found = [
            td.where(a, b, td.logical_not(b)) if n == "where" else getattr(td, n)(*(a, b)[: arity[n]]) for n in names
        ]
        casts = [td.astype(a, t) for t in ("int8", "uint8", "int32", "int64", "float32", "float64", "bool")]
        return found + (casts if dtype not in ("float32", "float64") else casts[-3:])

    agree(f, x, y)


UNARY = {
    "negative", "abs", "sign", "square", "bitwise_invert", "logical_not", "isnan", "isfinite", "isinf", "signbit",
    "floor", "ceil", "trunc", "round", "tanh", "exp", "sin", "cos", "sigmoid", "expm1", "erf",
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64", "float32", "float64", "bool"])
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1), (2,), (0, 2)])
def test_reductions(dtype: str, axes: tuple[int, ...]) -> None:
    names = ["any", "all", "sum"] if dtype == "bool" else list(REDUCE)
    agree(lambda x: [REDUCE[n](x, axis=axes) for n in names], numbers((3, 4, 5), dtype, 7))


def test_special_values_survive_reductions() -> None:
    x = np.array([[1, np.nan, -2], [-np.inf, 3, 4], [-0.0, -0.0, -0.0]], np.float32)
    f = lambda x: [td.max(x, axis=1), td.min(x, axis=1), td.max(x), td.sum(x, axis=1), td.any(x), td.all(x, axis=0)]  # noqa: E731
    got = agree(f, x)
    assert np.signbit(got[3][2])  # the sum of negative zeros
    assert np.isnan(got[0][0])
    assert np.isnan(got[2])


@pytest.mark.parametrize("shape", [(BLOCK,), (BLOCK + 1,), (3 * BLOCK + 5,), (7, BLOCK // 2), (BLOCK, 3)])
def test_full_reductions_in_blocks(shape: tuple[int, ...]) -> None:
    x = np.arange(np.prod(shape), dtype=np.int64).reshape(shape) % 1013
    agree(lambda x: [td.sum(x * 3), td.max(x), td.sum(td.permute_dims(x, tuple(reversed(range(x.ndim))))[::2])], x)


def test_sums_do_not_depend_on_who_computes_them() -> None:
    """Work is cut by size: a program without the pool gives the same bits."""
    x = np.random.default_rng(0).normal(size=(300, 1000)).astype(np.float32)
    program = compiled(lambda x: [td.sum(x), td.sum(x, axis=0), td.sum(x, axis=1), td.sum(td.exp(x))], x)
    first = program.run([x])
    again = [program.run([x]) for _ in range(5)]
    for other in again:
        for a, b in zip(first, other, strict=True):
            assert a.tobytes() == b.tobytes()


# -- the text ----------------------------------------------------------------------------------------------------------


PATTERNS = {
    "elementwise": (lambda x: td.tanh(x) * 2 + 1, lambda n: [(n, 7)]),
    "size as a number": (lambda x: x / x.shape[0] + td.mean(x, axis=0), lambda n: [(n, 7)]),
    "rows": (lambda x: td.sum(x * x, axis=1), lambda n: [(n, 7)]),
    "columns": (lambda x: td.sum(x * x, axis=0), lambda n: [(n, 7)]),
    "full": (lambda x: td.mean(td.square(x)), lambda n: [(n, 7)]),
    "row of a matrix": (lambda x, b: x * b, lambda n: [(n, 7), (7,)]),
    "column of a matrix": (lambda x, b: x - b, lambda n: [(n, 7), (n, 1)]),
    "transposed": (lambda x: td.permute_dims(x, (1, 0)) + 1, lambda n: [(n, 7)]),
    "step": (lambda x, w: td.sum(td.maximum(x @ w, 0.0), axis=0), lambda n: [(n, 7), (7, 5)]),
    "softmax": (lambda x: td.exp(x - td.max(x, axis=1, keepdims=True)), lambda n: [(n, 7)]),
    "loop": (lambda x: td.while_loop(lambda k, v: k < 3, lambda k, v: (k + 1, v * 2), (0, x))[1], lambda n: [(n, 7)]),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_a_new_size_compiles_nothing(name: str) -> None:
    f, shapes = PATTERNS[name]
    agree(lambda x, w: x @ w, np.ones((2 * BLOCK // 7, 7), "float32"), np.ones((7, 5), "float32"))  # our own loops
    agree(f, *[numbers(s, "float32", 1) for s in shapes(3)])
    before = compilations()
    for n in (4, 5, 17, 64, 2 * BLOCK // 7):
        agree(f, *[numbers(s, "float32", n) for s in shapes(n)])
    assert compilations() == before


def test_sizes_of_1_may_make_other_kernels() -> None:
    """The documented exception: an axis of size 1 is no loop, and where it meets a larger one it broadcasts."""
    x = numbers((1, 7), "float32", 1)
    agree(lambda x, b: x * b, x, numbers((7,), "float32", 2))
    agree(lambda x, b: x * b, x, numbers((5, 7), "float32", 2))


def test_small_integers_of_the_program_are_in_the_text_and_others_are_passed() -> None:
    kernels = compiled(lambda x: (x + 1) * 3.7 + 5, numbers((9,), "float32", 1)).kernels
    (text,) = [k.key for k in kernels]
    assert "f4(1.0)" in text
    assert "3.7" not in text
    assert "5" not in re.sub(r"args\[\d\]|\b[a-z]+\d", "", text)


def test_the_readable_text_shows_the_users_lines() -> None:
    def f(x: Any) -> Any:
        y = td.tanh(x)
        return td.sum(y * x)

    (kernel,) = compiled(f, numbers((4, 3), "float32", 1)).kernels
    first = f.__code__.co_firstlineno
    assert f"test_kernels.py:{first + 1}" in kernel.source
    assert f"test_kernels.py:{first + 2}" in kernel.source
    assert kernel.provenance == (f"test_kernels.py:{first + 1}", f"test_kernels.py:{first + 2}")
    assert "tanh_f4" in kernel.source
    assert "test_kernels" not in kernel.key


# -- unjitted ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [
        lambda x, y: td.tanh(x) * y + 1,
        lambda x, y: td.sum(x * y, axis=0),
        lambda x, y: td.max(x - y, axis=1),
        lambda x, y: td.sum(td.exp(x)),
        lambda x, y: td.where(x > y, x, -y)[::-1],
        lambda x, y: td.permute_dims(x, (1, 0)) + 2,
        lambda x, y: td.any(x > y, axis=0),
    ],
)
def test_kernels_run_unjitted(f: Any) -> None:
    x, y = numbers((4, 3), "float32", 1), numbers((4, 3), "float32", 2)
    graph = graph_of(f, (x, y))
    for mine, want in zip(unjitted(f, x, y), interpret_arrays(graph, (x, y)), strict=True):
        same(mine, want)


def test_every_reduction_that_kernels_know_is_an_op() -> None:
    assert set(REDUCE) <= set(REGISTRY)
