"""Running sums, ranges, joins and random numbers as kernels, against the interpreter and the eager numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from oracle import agree, compilations, compiled

import treadle as td
from treadle.compile.moves import scans


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int64", "uint16"])
@pytest.mark.parametrize("shape", [(7,), (3, 5), (4, 1, 3), (1,), (0, 3)])
def test_running_sums_and_products(dtype: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).integers(0, 4, shape).astype(dtype)

    def f(x: td.Tensor) -> list[td.Tensor]:
        found = []
        for axis in range(len(shape)):
            found += [td.cumsum(x, axis), td.cumsum(x, axis, reverse=True), td.cumprod(x, axis)]
        return found

    agree(f, x)
    assert not compiled(f, x).hosts


def test_running_sums_keep_numpys_order_of_additions() -> None:
    x = np.random.default_rng(1).normal(size=(300, 40)).astype(np.float32)
    for axis in (0, 1):
        (got,) = agree(lambda x, axis=axis: td.cumsum(x, axis), x)
        np.testing.assert_array_equal(got, np.cumsum(x, axis, dtype=np.float32))


def test_running_sums_of_large_values_in_shares() -> None:
    x = np.random.default_rng(2).normal(size=(64, 1000))
    agree(lambda x: (td.cumsum(x, 1), td.cumsum(x.T, 0, reverse=True)), x)


def test_long_scans_stop_so_that_signals_are_heard_and_go_on(monkeypatch: Any) -> None:
    monkeypatch.setattr(scans, "BUDGET", 16)
    x = np.random.default_rng(2).integers(1, 4, 50).astype(np.int64)
    reversed_sum, down, top = (
        lambda x: td.cumsum(x, reverse=True),
        lambda x: td.cumsum(x.reshape(10, 5), 0),
        lambda x: td.cummax(x),
    )
    for f, times in ((reversed_sum, 4), (down, 3), (top, 4)):
        (wanted,) = agree(f, x)
        code = compiled(f, x).code
        entries: list[Any] = []

        def enter(frame: Any, before: Any = code._enter, entries: list[Any] = entries) -> Any:
            entries.append(frame)
            return before(frame)

        monkeypatch.setattr(code, "_enter", enter)
        out = np.empty_like(wanted)
        code.run((x,), (out,))
        assert len(entries) == times  # looks at Python on the way
        np.testing.assert_array_equal(out, wanted)


def test_joins() -> None:
    rng = np.random.default_rng(3)
    a, b, c = (rng.normal(size=(4, n, 3)).astype(np.float32) for n in (2, 0, 5))

    def f(a: td.Tensor, b: td.Tensor, c: td.Tensor) -> list[td.Tensor]:
        return [
            td.concat([a, b, c, a * 2], axis=1),
            td.stack([a[:, 0], c[:, 1]], axis=-1),
            td.concat([a.T, c.T], axis=1),
            td.pad(a, ((1, 0), (0, 2), (3, 1))),
            td.pad(a[..., ::-1], 1, constant_values=5.0),
            td.roll(c, (1, -2), axis=(0, 1)),
            c.at[1:3, ::2].set(a[:2, :1]),
            c.at[..., 1].add(2.0),
        ]

    agree(f, a, b, c)
    assert not compiled(f, a, b, c).hosts


def test_padding_with_no_elements_and_whole_slices() -> None:
    x = np.zeros((0, 3), np.float32)
    agree(lambda x: (td.pad(x, 2), td.concat([x, x]), x.at[:, 1:].set(1.0)), x)


@pytest.mark.parametrize(
    "make",
    [
        lambda: td.arange(10_000),
        lambda: td.arange(-5, 9_000_000, 700),
        lambda: td.arange(0.0, 900.0, 0.07),
        lambda: td.arange(3, 20_003, dtype=td.float64),
        lambda: td.arange(40_000, dtype=td.int16),
        lambda: td.linspace(-1.0, 3.0, 30_001),
        lambda: td.linspace(2.0, 2.0, 10_000, endpoint=False),
        lambda: td.linspace(0.0, 1e-3, 20_000, endpoint=False, dtype=td.float64),
        lambda: td.eye(150, 170, k=-3),
        lambda: td.eye(200, k=199, dtype=td.int32),
        lambda: td.eye(200, k=400),
        lambda: td.arange(5),
    ],
)
def test_ranges_are_numpys_bit_for_bit(make: Callable[[], td.Tensor]) -> None:
    (got,) = agree(lambda x: make(), np.zeros(1, np.float32))
    np.testing.assert_array_equal(got, make().numpy())


def both(draw: Callable[[], td.Tensor]) -> tuple[Any, Any]:
    """Two draws one after another, eager and traced, from one seed."""
    traced = td.function(draw)
    td.random.seed(11)
    eager = [draw().numpy() for _ in range(2)]
    td.random.seed(11)
    return eager, [traced().numpy() for _ in range(2)]


SHAPES = [(), (1,), (3,), (4,), (17,), (130, 257)]


@pytest.mark.parametrize("shape", SHAPES)
def test_random_bits_are_the_eager_ones(shape: tuple[int, ...]) -> None:
    draws: list[Callable[[], td.Tensor]] = [
        lambda: td.random.uniform(shape),
        lambda: td.random.uniform(shape, dtype=td.float64),
        lambda: td.random.uniform(shape, -2.0, 3.1),
        lambda: td.random.integers(shape, -5, 100),
        lambda: td.random.integers(shape, -(2**63), 2**63 - 1),
        lambda: td.random.bernoulli(shape, 0.3),
    ]
    for draw in draws:
        eager, traced = both(draw)
        np.testing.assert_array_equal(traced[0], eager[0])
        np.testing.assert_array_equal(traced[1], eager[1])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float64", 1e-14)])
def test_normal_and_exponential_numbers(shape: tuple[int, ...], dtype: str, tolerance: float) -> None:
    for draw in (
        lambda: td.random.normal(shape, dtype=dtype),
        lambda: td.random.exponential(shape, dtype=dtype),
    ):
        eager, traced = both(draw)
        for got, want in zip(traced, eager, strict=True):
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance / 4)


def test_a_new_size_draws_without_compiling() -> None:
    td.function(lambda: (td.random.normal((50,)), td.random.uniform((7,))))()
    before = compilations()
    td.function(lambda: (td.random.normal((61,)), td.random.uniform((9,))))()
    assert compilations() == before


def test_draws_in_loops_go_on_with_the_stream() -> None:
    @td.function
    def f() -> td.Tensor:
        total = td.zeros((3,))
        for _ in td.range(4):
            total = total + td.random.uniform((3,))
        return total

    td.random.seed(5)
    want = sum(td.random.uniform((3,)).numpy() for _ in range(4))
    td.random.seed(5)
    np.testing.assert_allclose(f().numpy(), want, rtol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 2, 100, 255, 256, 3000])
def test_orders_are_those_of_a_stable_sort(n: int) -> None:
    eager, traced = both(lambda: td.random.permutation(n))
    np.testing.assert_array_equal(traced[0], eager[0])
    np.testing.assert_array_equal(traced[1], eager[1])
    np.testing.assert_array_equal(np.sort(traced[0]), np.arange(n))


def test_words_that_agree_in_their_high_bits_are_ordered_by_all() -> None:
    from treadle.ops.sampling import order_of

    words = np.random.default_rng(0).integers(0, 500, 1000).astype(np.uint64) + np.uint64(2**60)
    np.testing.assert_array_equal(order_of(words), np.argsort(words, kind="stable"))
    words = np.random.default_rng(0).integers(0, 2**63, 1000).astype(np.uint64) * np.uint64(2)
    np.testing.assert_array_equal(order_of(words), np.argsort(words, kind="stable"))


def test_where_words_agree_the_body_gives_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn() -> list[int]:
        td.random.seed(5)
        return td.function(lambda: td.random.permutation(300))().tolist()  # type: ignore[no-any-return]

    usual = drawn()
    assert sorted(usual) == list(range(300))
    monkeypatch.setattr("treadle.compile.moves.randoms.ALIKE", 1)
    assert drawn() == usual
