"""Promotion: the table, weak Python numbers, the default float; the same eagerly and traced."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from common import traced
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td
from treadle.core.dtypes import ALL
from treadle.errors import DTypeError

NUMBERS = [d for name, d in ALL.items() if name not in ("bool", "string")]
ROW = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}


def expected(a, b):
    """The Array API table, with bool and int giving way to what they meet."""
    if a == b:
        return a
    if ROW[a.kind] == ROW[b.kind]:
        both = np.promote_types(a, b)
        return None if ROW[a.kind] == 1 and both.kind == "f" else both
    low, high = sorted((a, b), key=lambda d: ROW[d.kind])
    if high.kind == "c" and low.kind == "f":
        return np.promote_types(a, b)
    return high


@pytest.mark.parametrize(("a", "b"), list(itertools.combinations_with_replacement([np.dtype(bool), *NUMBERS], 2)))
def test_table(a, b):
    x, y = td.ones((2,), dtype=a), td.ones((1,), dtype=b)
    want = expected(a, b)
    if want is None:
        with pytest.raises(DTypeError):
            td.maximum(x, y)
        assert not td.can_cast(a, b)
        return
    wanted = np.dtype(np.int64) if want.kind == "b" else want
    for one, other in ((x, y), (y, x)):
        result = one * other
        assert result.dtype == wanted
        assert td.where(one > 0 if one.dtype.kind != "c" else True, one, other).dtype == want
        assert traced(lambda p, q: p * q, one, other)[0][0].dtype == wanted
    assert td.result_type(x, b) == want


@pytest.mark.parametrize(
    ("dtype", "number", "want"),
    [
        *[(d, 1, d) for d in NUMBERS],
        *[(d, 0.5, d) for d in NUMBERS if d.kind in "fc"],
        *[(d, 0.5, td.float32) for d in NUMBERS if d.kind in "iu"],
        *[(d, True, d) for d in NUMBERS],
        (td.float32, 1j, td.complex64),
        (td.float64, 1j, td.complex128),
        (td.int32, 1j, td.complex64),
        (td.bool, 2, td.int64),
        (td.bool, 0.5, td.float32),
    ],
)
def test_python_numbers_are_weak(dtype, number, want):
    x = td.ones((2,), dtype=dtype)
    for f in (lambda t: t * number, lambda t: number * t, lambda t: td.where(True, t, number)):
        assert f(x).dtype == want
        assert traced(f, x)[0][0].dtype == want


def test_traced_numbers_stay_weak_until_they_meet_a_tensor():
    x = td.ones((2,), dtype=td.float64)
    for f in (lambda t: t * td.add(0.5, 1), lambda t: t + td.multiply(2.0, 3.0)):
        assert traced(f, x)[0][0].dtype == td.float64
    assert traced(lambda t: t * td.asarray(0.5), td.ones((2,), dtype=td.float32))[0][0].dtype == td.float32


def test_numpy_scalars_are_not_weak():
    x = td.ones((2,))
    assert (x * np.float64(2)).dtype == td.float64
    assert (np.float64(2) * x).dtype == td.float64
    assert (x * np.float32(2)).dtype == td.float32


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.integers(-(2**40), 2**40), st.sampled_from(NUMBERS))
def test_a_number_that_does_not_fit_is_an_error(number, dtype):
    x = td.ones((1,), dtype=dtype)
    fits = dtype.kind in "fc" or np.iinfo(dtype).min <= number <= np.iinfo(dtype).max
    for run in (lambda: td.add(x, number), lambda: traced(lambda t: t + number, x)[0][0]):
        if fits:
            assert run().dtype == dtype
        else:
            with pytest.raises(DTypeError, match="does not fit"):
                run()


@pytest.mark.parametrize("f", [td.sqrt, td.exp, td.mean, td.sigmoid, lambda x: x / x, td.reciprocal])
def test_integers_become_the_default_float(f):
    x = td.asarray([1, 2])
    assert f(x).dtype == td.float32
    assert traced(f, x)[0][0].dtype == td.float32
    td.set_default_dtype(td.float64)
    try:
        assert f(x).dtype == td.float64
        assert traced(f, x)[0][0].dtype == td.float64
        assert td.asarray([0.5]).dtype == td.zeros(2).dtype == td.float64
    finally:
        td.set_default_dtype(td.float32)


def test_dtypes_that_an_op_does_not_take():
    z, s = td.asarray([1j]), td.asarray("a")
    for f, x in ((td.less, z), (td.floor, z), (td.max, z), (td.bitwise_and, td.ones(1)), (td.multiply, s), (td.exp, s)):
        with pytest.raises(DTypeError, match=r"does not take|cannot be combined"):
            f(x, x) if f in (td.less, td.bitwise_and, td.multiply) else f(x)
    with pytest.raises(DTypeError):
        td.add(s, 1)
    with pytest.raises(DTypeError):
        td.set_default_dtype(td.int32)


def test_queries():
    assert td.isdtype(td.uint8, "unsigned integer")
    assert not td.isdtype(td.uint8, ("bool", "real floating", td.int8))
    assert td.can_cast(td.int64, td.float32)
    assert not td.can_cast(td.float64, td.float32)
    assert td.result_type(td.ones(1), 2.0, td.int8) == td.float32
    assert td.finfo(td.float32).eps == np.finfo(np.float32).eps
    assert td.iinfo(td.asarray([1], dtype=td.int8)).max == 127


def test_namespace_info():
    info = td.__array_namespace_info__()
    assert info.devices() == [info.default_device()] == ["cpu"]
    assert info.default_dtypes()["real floating"] == td.float32
    assert list(info.dtypes(kind="signed integer").values()) == [td.int8, td.int16, td.int32, td.int64]
    assert len(info.dtypes()) == 13
