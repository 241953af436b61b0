"""Row kernels: how many kernels row work takes, and that any geometry and any values give what NumPy gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import agree, compilations, compiled, unjitted

import treadle as td
from treadle.compile.cost import BAND_ROWS, STRIP_ROWS
from treadle.control.call import interpret_arrays

F = np.float32


def draw_numbers(shape: tuple[int, ...], seed: int = 0, dtype: Any = F) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def kernels(f: Any, *arrays: np.ndarray) -> int:
    """How many kernels a program has, those that only add up partial results not counted."""
    return sum(k.name != "sum" for k in compiled(f, *arrays).kernels)


def softmax(x: Any, axis: int = -1) -> Any:
    e = td.exp(x - td.max(x, axis=axis, keepdims=True))
    return e / td.sum(e, axis=axis, keepdims=True)


def layer_norm(x: Any, scale: Any, shift: Any) -> Any:
    mean = td.mean(x, axis=-1, keepdims=True)
    variance = td.mean(td.square(x - mean), axis=-1, keepdims=True)
    return (x - mean) / td.sqrt(variance + 1e-5) * scale + shift


def layer_norm_gradients(x: Any, scale: Any, shift: Any) -> Any:
    loss, gradients = td.value_and_grad(lambda *v: td.sum(td.square(layer_norm(*v))), argnums=(0, 1, 2))(
        x, scale, shift
    )
    return [loss, *gradients]


def cross_entropy(labels: Any, x: Any) -> Any:
    shifted = x - td.max(x, axis=1, keepdims=True)
    hit = labels[:, None] == td.asarray(np.arange(x.shape[1], dtype=np.int32))
    return td.mean(td.log(td.sum(td.exp(shifted), axis=1)) - td.sum(td.where(hit, shifted, 0), axis=1))


def cross_entropy_gradient(labels: Any, x: Any) -> Any:
    loss, gradient = td.value_and_grad(lambda z: cross_entropy(labels, z))(x)
    return [loss, gradient]


# -- how many kernels --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 40), (6, 5), (2, 3, 40), (1000, 3)])
@pytest.mark.parametrize(
    "f",
    [
        softmax,
        lambda x: softmax(x, 0),
        lambda x: td.nn.log_softmax(x),
        lambda x: td.log(td.sum(td.exp(x - td.max(x, axis=-1, keepdims=True)), axis=-1)),
        lambda x: (x - td.mean(x, axis=0)) / td.std(x, axis=0),
    ],
)
def test_work_on_rows_is_one_kernel(f: Any, shape: tuple[int, ...]) -> None:
    x = draw_numbers(shape)
    assert kernels(f, x) == 1
    agree(f, x)


@pytest.mark.parametrize("shape", [(7, 40), (7, 10), (2 * BAND_ROWS + 3, 1000), (STRIP_ROWS + 7, 10)])
def test_layer_norm_with_its_gradients_is_one_kernel(shape: tuple[int, ...]) -> None:
    arrays = [draw_numbers(shape), draw_numbers(shape[-1:], 1), draw_numbers(shape[-1:], 2)]
    assert kernels(layer_norm_gradients, *arrays) == 1
    graph_free = [a.astype(np.float64) for a in arrays]
    agree(layer_norm_gradients, *graph_free)


@pytest.mark.parametrize("shape", [(7, 40), (7, 10), (2 * BAND_ROWS + 3, 1000), (2 * STRIP_ROWS + 7, 10)])
def test_cross_entropy_with_its_gradient_is_one_kernel_and_the_mean(shape: tuple[int, ...]) -> None:
    x = draw_numbers(shape)
    labels = np.random.default_rng(1).integers(0, shape[1], shape[0]).astype(np.int32)
    assert kernels(cross_entropy_gradient, labels, x) == 2
    agree(cross_entropy_gradient, labels, x)


def test_a_few_long_rows_are_left_to_several_kernels() -> None:
    """Two rows are no work for several cores, pass by pass they are."""
    assert kernels(softmax, draw_numbers((2, 40_000))) > 1
    agree(softmax, draw_numbers((2, 40_000)))


def test_gradient_and_bias_gradient_are_one_kernel() -> None:
    def f(g: Any, z: Any) -> Any:
        masked = td.where(z > 0, g, 0.0)
        return masked, td.sum(masked, axis=0), td.sum(masked)

    for shape in [(5, 4), (100, 3), (3 * BAND_ROWS + 1, 700)]:
        assert kernels(f, draw_numbers(shape), draw_numbers(shape, 1)) == 1
        agree(f, draw_numbers(shape, dtype=np.float64), draw_numbers(shape, 1, np.float64))


def test_shifted_views_are_one_kernel_without_copies() -> None:
    def jacobi(u: Any) -> Any:
        return 0.25 * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:])

    u = draw_numbers((9, 12))
    program = compiled(jacobi, u)
    assert len(program.kernels) == 1
    assert program.code.layout.arena_bytes == 0
    agree(jacobi, u)


def test_updates_of_variables_of_any_size_share_a_kernel() -> None:
    def adam(*arrays: Any) -> Any:
        found = []
        for k in range(0, len(arrays), 4):
            value, first, second, g = arrays[k : k + 4]
            first, second = first * 0.9 + g * 0.1, second * 0.99 + g * g * 0.01
            found += [value - 0.1 * first / (td.sqrt(second) + 1e-7), first, second]
        return found

    arrays = [np.abs(draw_numbers(shape, k)) for shape in [(30, 20), (20,), (20, 10), (10,)] for k in range(4)]
    assert kernels(adam, *arrays) == 1
    agree(adam, *arrays)


# -- values ------------------------------------------------------------------------------------------------------------


SPECIAL = np.array([[np.nan, 1, 2], [np.inf, -np.inf, 0], [-np.inf, -np.inf, -np.inf], [np.inf, np.inf, 1], [-0.0] * 3])


@pytest.mark.parametrize("width", [3, 48])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values_go_through_all_passes(width: int, dtype: str) -> None:
    x = np.tile(SPECIAL, (1, width // 3)).astype(dtype)
    for f in (softmax, lambda x: softmax(x, 0), lambda x: x - td.max(x, axis=1, keepdims=True)):
        agree(f, x)
    agree(lambda x: [td.max(x, axis=1) + 1, td.min(x, axis=0) * 2, x == td.max(x, axis=1, keepdims=True)], x)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 3), (1, 1), (1, 5), (5, 1), (3, 1, 4), (1, 3, 1)])
def test_sizes_of_0_and_1(shape: tuple[int, ...]) -> None:
    x = draw_numbers(shape)
    axis = tuple(range(len(shape)))[-1:]
    agree(lambda x: x * 2 - td.sum(x, axis=axis, keepdims=True) + td.sum(td.exp(x)), x)
    if 0 not in shape and shape:
        agree(lambda x: [softmax(x), softmax(x, 0), layer_norm(x, 2.0, 1.0)], x)


def test_the_gradient_of_a_maximum_finds_its_place_again() -> None:
    """What is compared in a later pass is the same bits as in the first, products and sums or not."""
    x, a, b = draw_numbers((50, 33)), draw_numbers((33,), 1), draw_numbers((33,), 2)

    def f(x: Any, a: Any, b: Any) -> Any:
        return td.grad(lambda v: td.sum(td.max(v * a + b, axis=1) * 3))(x)

    for f_here in (f, lambda x, a, b: (x * a + b == td.max(x * a + b, axis=1, keepdims=True)) & (x * a > -9)):
        (got,) = agree(f_here, x, a, b)
        assert np.all((got != 0).sum(1) == 1)


def test_a_variable_is_overwritten_only_when_all_passes_have_read_it() -> None:
    v = td.Variable(draw_numbers((6, 40)))
    w = td.Variable(draw_numbers((600, 3)))

    @td.function
    def step() -> None:
        for each in (v, w):
            each.assign(each - td.max(each, axis=1, keepdims=True) + each / td.sum(each * each, axis=1, keepdims=True))

    wanted = []
    for each in (v, w):
        x = each.numpy().copy()
        wanted.append(x - x.max(1, keepdims=True) + x / (x * x).sum(1, keepdims=True))
    step()
    for each, want in zip((v, w), wanted, strict=True):
        np.testing.assert_allclose(each.numpy(), want, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("shape", [(2 * BAND_ROWS + 1, 600), (3 * STRIP_ROWS + 5, 7), (STRIP_ROWS + 1, 40)])
def test_sums_do_not_depend_on_the_number_of_threads(shape: tuple[int, ...]) -> None:
    from treadle.compile.run import pool

    x = draw_numbers(shape)
    labels = np.zeros(shape[0], np.int32)
    threads = pool.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            pool.set_num_threads(count)
            arrays = [x, np.ones(shape[1], F), np.zeros(shape[1], F)]
            runs = [compiled(layer_norm_gradients, *arrays).run(arrays)]
            program = compiled(cross_entropy_gradient, labels, x)
            runs.append(
                program.run([labels, x, *[np.arange(shape[1], dtype=np.int32)] * (len(program.graph.inputs) - 2)])
            )
            found.append([a.tobytes() for run in runs for a in run])
    finally:
        pool.set_num_threads(threads)
    assert found[0] == found[1] == found[2]


@pytest.mark.optimised
def test_long_sums_lose_no_digits() -> None:
    """Blocks keep the error of a million numbers of one sign far below that of adding them one by one."""
    x = np.full((4, 250_000), 0.1, F)
    tall = np.full((1_000_000, 2), 0.1, F)
    for array, f in [
        (x, lambda x: td.sum(x)),
        (x, lambda x: td.sum(x, axis=1)),
        (tall, lambda x: td.sum(x, axis=0)),
        (tall, lambda x: td.sum(x)),
    ]:
        (got,) = compiled(f, array).run([array])
        want = f(td.asarray(array.astype(np.float64))).numpy()
        np.testing.assert_allclose(got, want, rtol=3e-6)


@pytest.mark.parametrize(
    "f",
    [
        softmax,
        lambda x: softmax(x, 0),
        lambda x: (td.sum(x * 2, axis=0), td.exp(x) / td.sum(td.exp(x), axis=1, keepdims=True)),
        lambda x: td.mean(td.log(td.sum(td.exp(x), axis=1)) - td.sum(x, axis=1)),
    ],
)
@pytest.mark.parametrize("shape", [(4, 40), (5, 3)])
def test_row_kernels_run_unjitted(f: Any, shape: tuple[int, ...]) -> None:
    from oracle import graph_of, same

    x = draw_numbers(shape)
    for mine, want in zip(unjitted(f, x), interpret_arrays(graph_of(f, (x,)), (x,)), strict=True):
        same(mine, want)


def test_other_sizes_compile_nothing() -> None:
    agree(softmax, draw_numbers((3, 50)))
    agree(cross_entropy_gradient, np.zeros(3, np.int32), draw_numbers((3, 50)))
    before = compilations()
    for shape in [(4, 51), (7, 700), (300, 64)]:
        agree(softmax, draw_numbers(shape))
        agree(cross_entropy_gradient, np.zeros(shape[0], np.int32), draw_numbers(shape))
    assert compilations() == before


# -- any work on rows --------------------------------------------------------------------------------------------------


REDUCE = [td.sum, td.max, td.min, td.mean]


def play(x: Any, y: Any, steps: list[tuple[int, int, int]], axes: tuple[int, ...]) -> list[Any]:
    """Full values and row values that are made of each other again and again, with sums across rows on the way."""
    full, rows, ends = [x, y], [td.sum(x, axis=axes, keepdims=True)], []
    others = tuple(k for k in range(3) if k not in axes)
    for how, i, j in steps:
        a, b, r = full[i % len(full)], full[j % len(full)], rows[j % len(rows)]
        if how == 0:
            full.append(a * 0.5 + b)
        elif how == 1:
            full.append(td.tanh(a - r))
        elif how == 2:
            rows.append(REDUCE[j % 4](a, axis=axes, keepdims=True) * 0.1)
        elif how == 3:
            rows.append(td.sigmoid(r) + rows[i % len(rows)])
        elif how == 4:
            ends.append(td.sum(a, axis=others) if others else td.sum(a))
        elif how == 5:
            flat = td.reshape(r, tuple(s for k, s in enumerate(r.shape) if k not in axes))
            ends.append(td.sum(flat))
            rows.append(td.reshape(flat * 2, r.shape))
        else:
            full.append(td.where(a > r, a, b))
    return [full[-1], rows[-1], *ends]


@pytest.mark.parametrize("shape", [(6, 4, 2), (6, 4, 70), (4, 4, 2), (3, 6, 4, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_what_joins_row_values_lines_up_with_them(shape: tuple[int, ...], keepdims: bool) -> None:
    # Its last axis is the rows' last, not the one that is reduced.
    x = draw_numbers(shape)
    beside = [(shape[-2],), (shape[-3], 1), (1, shape[-2]), shape[-3:-1], ()]
    for number, own in enumerate(beside):
        other = draw_numbers(own, number) if not keepdims else draw_numbers((*own, 1), number)
        agree(lambda x, other: other * td.sum(td.exp(x), axis=-1, keepdims=keepdims) + other, x, other)


def test_what_joins_row_values_of_two_shapes_is_read_in_two_ways() -> None:
    def f(x: Any, other: Any) -> Any:
        total = td.sum(td.exp(x), axis=-1)
        return total + other, total[..., None] + other

    agree(f, draw_numbers((4, 4, 2)), draw_numbers((4, 1), 1))


@settings(derandomize=True, deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    st.tuples(*[st.sampled_from([1, 2, 3, 5, 17])] * 3),
    st.sets(st.integers(0, 2), min_size=1, max_size=2),
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=8),
    st.sampled_from(["plain", "strided", "transposed"]),
)
def test_any_work_on_rows(shape: Any, axes: set[int], steps: Any, layout: str) -> None:
    x, y = draw_numbers(shape, 3, np.float64), draw_numbers(shape, 4, np.float64)

    def f(x: Any, y: Any) -> Any:
        if layout == "strided":
            y = y[..., ::-1]
        elif layout == "transposed":
            y = td.reshape(td.permute_dims(y, (2, 1, 0)), shape)
        return play(x, y, steps, tuple(sorted(axes)))

    agree(f, x, y)
