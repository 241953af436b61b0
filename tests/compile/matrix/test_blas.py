"""Matrix products inside programs, against NumPy: flags, shapes with 0 and 1, strides, batches, scalars."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.compile.assembler import Assembler
from treadle.compile.matrix import blas
from treadle.compile.run import pool

pytestmark = pytest.mark.skipif(not blas.available(), reason="no BLAS that can be called by address")
DTYPES = {"f4": np.float32, "f8": np.float64}
TOLERANCE = {"f4": 1e-5, "f8": 1e-13}


def multiply(dtype, ta, tb, m, n, k, alpha=1.0, beta=0.0, pad=(0, 0, 0), batch=1, seed=0):
    """A product by the program and by NumPy, on rows that are `pad` elements longer than needed."""
    random = np.random.default_rng(seed)
    shapes = [(k, m) if ta else (m, k), (n, k) if tb else (k, n), (m, n)]
    stored = [
        random.uniform(-1, 1, (batch, rows, cols + p)).astype(DTYPES[dtype]) for (rows, cols), p in zip(shapes, pad)
    ]
    a, b, c = (full[:, :, :cols] for full, (_, cols) in zip(stored, shapes))
    op = lambda x, flag: np.swapaxes(x, 1, 2) if flag else x
    wanted = alpha * np.matmul(op(a, ta).astype(np.float64), op(b, tb).astype(np.float64))
    if beta:
        wanted = wanted + beta * c
    asm = Assembler(2, 1)
    steps = tuple(full.shape[1] * full.shape[2] for full in stored)
    leads = [full.shape[2] for full in stored]
    asm.gemm(
        dtype, ta, tb, m, n, k,
        asm.input(0), leads[0], asm.input(1), leads[1], asm.output(0), leads[2], alpha, beta, batch, steps,
    )  # fmt: skip
    code = asm.finish()
    if not beta:
        c[...] = np.nan  # a beta of 0 must overwrite whatever is there
    rest = stored[2][:, :, n:].copy()
    code.run((stored[0], stored[1]), (stored[2],))
    np.testing.assert_array_equal(stored[2][:, :, n:], rest)
    np.testing.assert_allclose(c, wanted, rtol=0, atol=TOLERANCE[dtype] * max(k, 1))
    return code


sizes = st.sampled_from([0, 1, 2, 3, 5, 17, 33])


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.sampled_from(["f4", "f8"]), st.booleans(), st.booleans(), sizes, sizes, sizes,
    st.sampled_from([1.0, -0.5, 0.0]), st.sampled_from([0.0, 1.0, 0.25]),
    st.tuples(*[st.sampled_from([0, 3])] * 3), st.integers(0, 3),
)  # fmt: skip
def test_products_equal_numpys(dtype, ta, tb, m, n, k, alpha, beta, pad, batch):
    multiply(dtype, ta, tb, m, n, k, alpha, beta, pad, batch)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("ta", [False, True])
@pytest.mark.parametrize("tb", [False, True])
def test_large_products_are_cut_by_rows_or_columns(dtype, ta, tb, monkeypatch):
    for processors in (1, 2, 3):
        monkeypatch.setattr(pool, "processors", lambda: processors)
        for m, n in ((131, 96), (33, 301)):
            code = multiply(dtype, ta, tb, m, n, 64, beta=1.0, pad=(1, 0, 2))
            assert ("parallel gemm" in code.text()) == (processors > 1)
            assert ("columns" in code.text()) == (processors > 1 and n > m)


def test_large_batches_are_cut():
    code = multiply("f4", False, True, 33, 32, 40, batch=16)
    assert "parallel batched gemm" in code.text()


def test_one_matrix_may_serve_a_whole_batch():
    random = np.random.default_rng(1)
    a, b = random.random((3, 2, 4)), random.random((4, 5))
    out = np.zeros((3, 2, 5))
    asm = Assembler(2, 1)
    asm.gemm(
        "f8", False, False, 2, 5, 4, asm.input(0), 4, asm.input(1), 5, asm.output(0), 5, batch=3, strides=(8, 0, 10)
    )
    asm.finish().run((a, b), (out,))
    np.testing.assert_allclose(out, a @ b, rtol=1e-13)


def test_blas_stays_on_one_thread_during_a_run_and_is_restored():
    block = blas.threads_block()
    if block is None:
        pytest.skip("this BLAS does not tell its number of threads")
    import ctypes

    library = blas.library()
    get = ctypes.CFUNCTYPE(ctypes.c_int)(library.get_threads)
    put = ctypes.CFUNCTYPE(None, ctypes.c_int)(library.set_threads)
    before = get()
    put(2)
    try:
        wanted = get()
        asm = Assembler(2, 1)
        asm.host(0)
        asm.gemm("f8", False, False, 2, 2, 2, asm.input(0), 2, asm.input(1), 2, asm.output(0), 2)
        code = asm.finish()
        eye, out, seen = np.eye(2), np.zeros((2, 2)), []

        def host(run):
            seen.append(get())
            if len(seen) == 1:
                code.run((eye, eye), (out,), [host])
                seen.append(get())

        code.run((eye, eye), (out,), [host])
        assert seen == [1, 1, 1] and get() == wanted

        def fail(run):
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            code.run((eye, eye), (out,), [fail])
        assert get() == wanted
    finally:
        put(before)


def test_without_a_library_products_say_so(monkeypatch):
    monkeypatch.setattr(blas, "library", lambda: None)
    assert not blas.available()
    asm = Assembler(2, 1)
    with pytest.raises(RuntimeError, match="no BLAS"):
        asm.gemm("f4", False, False, 1, 1, 1, asm.input(0), 1, asm.input(1), 1, asm.output(0), 1)


def test_the_addresses_of_scipys_table_work_too(monkeypatch):
    table = blas._from_scipy()
    assert table is not None and not table.set_threads
    monkeypatch.setattr(blas, "library", lambda: table)
    blas.threads_block.cache_clear()
    try:
        multiply("f8", False, True, 7, 5, 3, beta=0.5)
        multiply("f4", True, False, 7, 5, 3)
    finally:
        blas.threads_block.cache_clear()
