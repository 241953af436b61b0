"""Products by tiles against NumPy: every rest of rows, columns and depth, all strides, sums onto C, shares, batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import agree, compiled

import treadle as td
from treadle.compile.assembler import Assembler, Deferred
from treadle.compile.llvm import build
from treadle.compile.matrix import blas, products, tiled
from treadle.compile.run import pool
from treadle.compile.run.executor import Ref

DTYPES = {"f4": np.float32, "f8": np.float64}
TOLERANCE = {"f4": 2e-6, "f8": 1e-14}


def factor(ref: Ref, array: np.ndarray) -> tiled.Factor:
    """A stack of matrices as it lies."""
    return tiled.Factor(ref, array.strides[1], array.strides[2], 0, array.strides[0])


def multiply(kind: str, a: np.ndarray, b: np.ndarray, width: int = 0, add: bool = False) -> str:
    """Multiply stacks of matrices into rows of `width` by the kernel, compare with NumPy; the program's text."""
    count, m, k = a.shape
    n = b.shape[2]
    full = np.random.default_rng(3).normal(size=(count, m, max(width, n))).astype(DTYPES[kind])
    wanted = np.matmul(a.astype(np.float64), b.astype(np.float64)) + (full[:, :, :n] if add else 0)
    before = full.copy()
    if not add:
        full[:, :, :n] = np.nan  # what is there must not matter
    asm = Assembler(2, 1)
    size = int(kind[1])
    result = tiled.Result(asm.output(0), full.shape[2] * size, full.shape[1] * full.shape[2] * size)
    sizes = tiled.Sizes(m, n, k, count, count)
    places = factor(asm.input(0), a), factor(asm.input(1), b)
    args, extent, grain = tiled.arguments(sizes, *places, result, float(add), kind)
    (entry,) = build.load([tiled.source(kind)])
    asm.call(Deferred(entry.source, entry.address), args, extent, grain)
    code = asm.finish()
    whole = [x if x.base is None else x.base for x in (a, b)]  # programs take arrays in row order
    code.run(tuple(whole), (full,))
    np.testing.assert_array_equal(full[:, :, n:], before[:, :, n:])
    scale = np.matmul(np.abs(a), np.abs(b)).max() + 1
    np.testing.assert_allclose(full[:, :, :n], wanted, rtol=0, atol=TOLERANCE[kind] * scale * 4)
    return code.text()


def drawn(kind: str, rows: int, columns: int, turned: bool, count: int = 1, seed: int = 0) -> np.ndarray:
    """A stack of matrices, stored by rows or by columns."""
    shape = (count, columns, rows) if turned else (count, rows, columns)
    stored = np.random.default_rng(seed).normal(size=shape).astype(DTYPES[kind])
    return np.swapaxes(stored, 1, 2) if turned else stored


extents = st.one_of(st.integers(1, 20), st.sampled_from([31, 32, 33, 64, 100]))


@settings(derandomize=True, deadline=None, max_examples=80)
@given(
    st.sampled_from(["f4", "f8"]), extents, extents, st.one_of(extents, st.sampled_from([320, 321, 700])),
    st.booleans(), st.booleans(), st.booleans(), st.sampled_from([0, 105]), st.sampled_from([1, 1, 3]),
)  # fmt: skip
def test_products_equal_numpys(kind, m, n, k, ta, tb, add, width, count):
    multiply(kind, drawn(kind, m, k, ta, count, 1), drawn(kind, k, n, tb, count, 2), width, add)


def test_neither_factor_has_neighbours_side_by_side():
    a, b = (np.random.default_rng(s).normal(size=(1, 30, 40, 2)).astype(np.float32) for s in (4, 5))
    with_gaps = [np.lib.stride_tricks.as_strided(x, (1, 30, 40), x.strides[:3], writeable=False) for x in (a, b)]
    x, y = with_gaps[0], np.swapaxes(with_gaps[1], 1, 2)
    wanted = a[..., 0] @ np.swapaxes(b[..., 0], 1, 2)
    agree(lambda a, b: a[..., 0] @ td.matrix_transpose(b[..., 0]), a, b)
    np.testing.assert_allclose(np.matmul(x, y), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("m", "n", "word"), [(300, 24, "over 300"), (24, 300, "over 300"), (9, 8, "over 9")])
def test_large_products_are_cut(m, n, word, monkeypatch):
    monkeypatch.setattr(pool, "processors", lambda: 3)
    tiled._shared_out.cache_clear()
    try:
        text = multiply("f4", drawn("f4", m, 64, True), drawn("f4", 64, n, False))
        assert word in text
        assert ("parallel" in text) == (m * n > 100)
        assert "parallel" in multiply("f4", drawn("f4", 16, 40, False, 40), drawn("f4", 40, 16, True, 40))
    finally:
        tiled._shared_out.cache_clear()


def test_shares_change_no_bit(monkeypatch):
    a, b = drawn("f4", 130, 333, False)[0], drawn("f4", 333, 70, False)[0]
    before = td.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            td.set_num_threads(threads)
            results.append(compiled(td.matmul, a, b).run([a, b])[0])
    finally:
        td.set_num_threads(before)
    np.testing.assert_array_equal(results[0], results[1])


def test_who_does_which_product():
    text = {n: compiled(td.matmul, *(np.ones((n, n), np.float32),) * 2).code.text() for n in (4, 40)}
    assert "product" not in text[4]
    assert "product_f4" in text[40]
    assert "gemm" not in text[40]


@pytest.mark.skipif(not blas.available(), reason="no BLAS that can be called by address")
def test_blas_does_the_largest(monkeypatch):
    monkeypatch.setattr(products, "LARGEST", 20_000)
    a, b = drawn("f4", 33, 20, False)[0], drawn("f4", 20, 40, False)[0]
    text = compiled(lambda a, b: (a @ b, a[:5] @ b), a, b).code.text()
    assert text.count("call gemm") == 1
    assert text.count("call product_f4") == 1
    agree(lambda a, b: (a @ b, a[:5] @ b), a, b)


def test_without_a_library_all_products_are_ours(monkeypatch):
    monkeypatch.setattr(blas, "library", lambda: None)
    a, x = drawn("f8", 33, 20, False)[0], drawn("f8", 20, 1, False)[0]
    assert not compiled(lambda a, x: (a @ x, x.mT @ a.mT), a, x).hosts
    agree(lambda a, x: (a @ x, x.mT @ a.mT), a, x)


@pytest.mark.parametrize("turned", [False, True])
def test_a_long_sum_of_few_numbers_goes_by_parts(turned):
    k = 4 * products.SHORTEST_PART
    a, b = drawn("f4", 9, k, turned)[0], drawn("f4", k, 8, False)[0]
    given = (a.T, b) if turned else (a, b)
    f = (lambda a, b: td.matrix_transpose(a) @ b) if turned else td.matmul
    program = compiled(f, *given)
    assert "over 4" in program.code.text()
    np.testing.assert_allclose(program.run(list(given))[0], a.astype(float) @ b, rtol=0, atol=2e-3)
    shorter = [x[:, :100] if not turned and x.shape[0] == 9 else x[:100] for x in given]
    assert {kernel.key for kernel in compiled(f, *shorter).kernels} <= {kernel.key for kernel in program.kernels}


def test_when_sums_go_by_parts():
    one = products.SHORTEST_PART
    assert products.deep_parts(72, 2 * one - 2) == 1
    assert products.deep_parts(72, 2 * one) == 2
    assert products.deep_parts(72, 8 * one) == 8
    assert products.deep_parts(72, 8 * one + 1) == 1
    assert products.deep_parts(5000, 8 * one) == 1
