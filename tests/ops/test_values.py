"""Values: NumPy's where NumPy is the meaning, and the edges where treadle has its own."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from common import same, traced
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import treadle as td
from treadle.autodiff.functional import grad
from treadle.errors import DTypeError, ShapeError

few = settings(derandomize=True, deadline=None, max_examples=25)
FLOATS = st.sampled_from([np.float32, np.float64])


def arrays(dtypes, **kw):
    return dtypes.flatmap(
        lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), **kw)
    )


@few
@given(arrays(FLOATS))
def test_own_bodies_agree_with_formulas(x):
    wide = x.astype(np.float64)
    tolerance = 8 * np.finfo(x.dtype).eps
    with np.errstate(all="ignore"):
        got = td.sigmoid(td.asarray(x)).numpy()
        np.testing.assert_allclose(got, 0.5 * (1 + np.tanh(wide / 2)), rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(td.rsqrt(td.asarray(x)).numpy(), 1 / np.sqrt(wide), rtol=tolerance)
        same(td.clip(td.asarray(x), -1.0, 2.0).numpy(), np.clip(x, -1, 2))
        same(td.round(td.asarray(x)).numpy(), np.round(x))
    assert got.dtype == x.dtype


@few
@given(arrays(st.sampled_from([np.int8, np.int32, np.int64, np.uint8])), st.integers(-3, 5))
def test_integer_powers(x, n):
    if x.dtype.kind == "u" and n < 0:
        return
    got = td.pow(td.asarray(x), td.asarray(np.asarray(n, x.dtype))).numpy()
    if n >= 0:
        same(got, np.power(x, np.asarray(n, x.dtype)))
    else:
        same(got, np.asarray(np.where(x == 1, 1, np.where(x == -1, (-1) ** (-n), 0)), x.dtype))
    assert traced(lambda t: t ** max(n, 0), td.asarray(x))[0][0].dtype == x.dtype


def test_integer_to_a_negative_python_power_wants_a_float():
    with pytest.raises(DTypeError, match=r"-1\.0"):
        td.asarray([2]) ** -1
    same((td.asarray([2]) ** -1.0).numpy(), np.array([0.5], np.float32))


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64])
def test_integer_division_never_traps(dtype):
    least = np.iinfo(dtype).min
    x, y = td.asarray(np.array([5, least, 7, -7], dtype)), td.asarray(np.array([0, -1, -2, 2], dtype))
    with np.errstate(all="ignore"):
        assert (x // y).tolist() == [0, least, -4, -4]
        assert (x % y).tolist() == [0, 0, -1, 1]
    with pytest.warns(RuntimeWarning, match="zero"):
        x // 0


def test_strings_add_and_compare():
    a = td.asarray(["a", "b"])
    assert (a + "!").tolist() == ["a!", "b!"]
    assert ("x" + a).tolist() == ["xa", "xb"]
    assert (a == "b").tolist() == [False, True]
    whole = td.asarray("hello ") + td.asarray("world")
    assert repr(whole) == "Tensor('hello world', shape=(), dtype=string)"
    assert whole.item() == "hello world"
    assert traced(lambda t: t + "?", a)[0][0].tolist() == ["a?", "b?"]


def test_misfits_name_op_and_shapes():
    for run in (
        lambda: td.ones((2, 3)) + td.ones((4,)),
        lambda: td.where(td.ones((2,)) > 0, td.ones((3,)), 0.0),
        lambda: td.ones((2, 3)) * np.ones(4),
        lambda: traced(lambda x: x + td.ones((4,)), td.ones((2, 3))),
    ):
        with pytest.raises(ShapeError, match=r"do not broadcast"):
            run()
    with pytest.raises(ShapeError, match="axis 2 is out of range"):
        td.sum(td.ones((2, 2)), axis=2)
    with pytest.raises(ShapeError, match="twice"):
        td.sum(td.ones((2, 2)), axis=(0, -2))


def test_gradients_at_the_edges():
    def at(f, *values):
        return grad(f)(*[td.asarray(v) for v in values]).item()

    with np.errstate(all="ignore"):
        assert at(lambda x: x**0.0, 0.0) == 0
        assert at(lambda x: x ** td.asarray(0.0), 0.0) == 0
        assert at(td.sqrt, 0.0) == math.inf
    assert at(td.abs, 0.0) == 0
    assert at(lambda x: td.maximum(x, 1.0), 1.0) == 0.5
    assert at(lambda x: td.minimum(x, 1.0), 1.0) == 0.5
    assert at(lambda x: td.hypot(x, 0.0), 0.0) == 0
    assert grad(lambda x: td.max(x))(td.asarray([1.0, 3.0, 3.0])).tolist() == [0, 0.5, 0.5]
    assert grad(lambda x: td.min(x))(td.asarray([1.0, math.nan, 3.0])).tolist() == [0, 1, 0]
    assert grad(lambda x: td.prod(x))(td.asarray([0.0, 2.0, 3.0])).tolist() == [6, 0, 0]
    assert grad(lambda x: td.prod(x))(td.asarray([0.0, 2.0, 0.0])).tolist() == [0, 0, 0]
    guarded = lambda x: td.sum(td.where(x > 0, td.log(td.where(x > 0, x, 1.0)), 0.0))
    assert grad(guarded)(td.asarray([-1.0, 0.0, 2.0])).tolist() == [0, 0, 0.5]
    assert grad(lambda x: td.logaddexp(x, x))(td.asarray(-math.inf)).item() == 1
    assert grad(lambda x: td.sum(td.floor(x) + td.sign(x)))(td.asarray([1.5])).tolist() == [0]


def test_complex_gradients_follow_jax():
    """Numbers from the convention that jax.grad documents: for real f, df/dx - i df/dy."""
    z = td.asarray(3 + 4j)
    assert grad(td.abs)(z).item() == pytest.approx((3 - 4j) / 5)
    assert grad(lambda z: td.real(z * z))(z).item() == pytest.approx(6 + 8j)
    assert grad(lambda z: td.imag(z))(z).item() == pytest.approx(-1j)
    assert grad(lambda z: td.real(td.conj(z) * z))(z).item() == pytest.approx(6 - 8j)


@few
@given(arrays(FLOATS, elements={"min_value": -100, "max_value": 100}))
def test_means_and_variances(x):
    if x.size == 0:
        return
    tolerance = 1e-4 if x.dtype == np.float32 else 1e-10
    t = td.asarray(x)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(td.mean(t).numpy(), wide.mean(), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(td.var(t).numpy(), wide.var(), rtol=tolerance, atol=tolerance * 100)
    top = wide.max()
    want = top + np.log(np.exp(wide - top).sum())
    np.testing.assert_allclose(td.logsumexp(t).numpy(), want, rtol=tolerance, atol=tolerance)
    assert td.count_nonzero(t).item() == np.count_nonzero(x)


def test_logsumexp_at_infinities():
    inf = math.inf
    x = td.asarray([[-inf, -inf], [0.0, -inf], [inf, 1.0], [1000.0, 1000.0], [math.nan, 0.0]])
    got = td.logsumexp(x, axis=1).numpy()
    np.testing.assert_array_equal(got[:3], [-inf, 0, inf])
    assert got[3] == np.float32(1000 + math.log(2))
    assert np.isnan(got[4])
    assert grad(lambda x: td.logsumexp(x))(x[0]).tolist() == [0, 0]


def test_reductions_of_nothing():
    none = td.zeros((0, 3))
    assert td.sum(none).item() == 0
    assert td.prod(none, axis=0).tolist() == [1, 1, 1]
    assert td.all(none).item() is True
    assert td.any(none).item() is False
    for f in (td.max, td.min, td.argmax, td.argmin):
        with pytest.raises(ShapeError, match="of nothing has no value"):
            f(none) if f in (td.max, td.min) else f(none, 0)
        assert f(none, axis=1).shape == (0,)
        with pytest.raises(ShapeError):
            traced(lambda t, f=f: f(t, axis=0), none)


def test_sums_widen_small_integers():
    x = td.asarray(np.full(300, 100, np.int8))
    assert td.sum(x).item() == 30000
    assert td.sum(x).dtype == td.int64
    assert td.sum(td.asarray(np.ones(3, np.uint8))).dtype == td.uint64
    assert td.sum(td.asarray([True, True])).item() == 2
    assert td.sum(x, dtype=td.float32).dtype == td.float32


def test_running_sums_and_products():
    x = np.arange(1.0, 7).reshape(2, 3)
    t = td.asarray(x)
    same(td.cumsum(t, 1).numpy(), np.cumsum(x, 1))
    same(td.cumulative_prod(t, axis=0).numpy(), np.cumprod(x, 0))
    same(td.cumsum(t).numpy(), np.cumsum(x))
    assert td.cumulative_sum(td.asarray([1, 2]), include_initial=True).tolist() == [0, 1, 3]
    assert td.cumulative_prod(td.asarray([2, 3]), include_initial=True).tolist() == [1, 2, 6]
    with pytest.raises(ShapeError, match="needs an axis"):
        td.cumulative_sum(t)


def test_running_extremes_and_logarithms_of_sums():
    x = np.array([[1.0, 3.0, 2.0], [3.0, np.nan, 5.0]])
    t = td.asarray(x)
    same(td.cummax(t, 1).numpy(), np.maximum.accumulate(x, 1))
    same(td.cummin(t, 0).numpy(), np.minimum.accumulate(x, 0))
    assert td.cummin(td.asarray([3, 1, 2]), reverse=True).tolist() == [1, 1, 2]
    big = np.array([-np.inf, 0.0, 1000.0, 1000.0])
    want = [-np.inf, 0.0, 1000.0, 1000.0 + np.log(2.0)]
    for f in (td.logcumsumexp, td.function(td.logcumsumexp)):
        np.testing.assert_allclose(f(td.asarray(big)).numpy(), want, rtol=1e-14)
    slope = td.grad(lambda x: td.sum(td.logcumsumexp(x)[1:]))(td.asarray(big)).numpy()
    np.testing.assert_allclose(slope, [0.0, 1.0, 1.5, 0.5], rtol=1e-12)
    ties = td.grad(lambda x: td.sum(td.cummax(x) * td.asarray([1.0, 2.0, 4.0])))(td.asarray([1.0, 1.0, 0.0]))
    assert ties.tolist() == [1.0, 6.0, 0.0]


def test_special_functions():
    from scipy import special

    x = np.array([-2.5, -0.3, 0.2, 1.4616321449683623, 3.0, 7.5, 40.0])
    for n in (0, 1, 2, 3, 4, 5, 12, 40):
        with mpmath.workdps(40):
            want = [float(mpmath.polygamma(n, v)) for v in x]
        np.testing.assert_allclose(td.polygamma(n, td.asarray(x)).numpy(), want, rtol=1e-12, atol=1e-15)
    for n in (1, 4):
        ends = td.polygamma(n, td.asarray([0.0, -1.0, -7.0, np.inf, np.nan]))
        np.testing.assert_array_equal(ends, [(-1) ** (n + 1) * np.inf, np.inf, np.inf, 0.0, np.nan])
    with pytest.raises(ValueError, match="order"):
        td.polygamma(-1, x)
    same(td.lgamma(td.asarray(x)).numpy(), special.gammaln(x))
    ends = td.asarray([np.inf, -np.inf, 0.0, -1.0])
    assert td.lgamma(ends).tolist() == td.function(td.lgamma)(ends).tolist() == [np.inf] * 4
    same(td.cbrt(td.asarray([8.0, -27.0])).numpy(), np.array([2.0, -3.0], np.float32))
    assert td.erfinv(td.asarray([1.0, -1.0])).tolist() == [np.inf, -np.inf]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_whole_powers_are_products(dtype):
    x = np.concatenate([np.linspace(-3, 3, 101), [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-5, 1e5]]).astype(dtype)
    x = x[x != 0] if dtype == "float32" else x
    powers = [-4, -3, -2, -1, 2, 3, 4, 5, 6, 7, 8]
    with np.errstate(all="ignore"):
        eager = [td.asarray(x) ** n for n in powers]
    traced = td.function(lambda x: [x**n for n in powers])(td.asarray(x))
    with np.errstate(all="ignore"):
        for n, a, b in zip(powers, eager, traced, strict=True):
            same(a.numpy(), b.numpy())
            want = x.astype(np.longdouble) ** n
            error = np.abs(a.numpy() - want) / np.spacing(np.abs(want.astype(dtype)))
            fine = np.isfinite(want.astype(dtype)) & (np.abs(want) > np.finfo(dtype).tiny)
            assert np.all(error[fine] <= 4)
            np.testing.assert_allclose(a.numpy(), want.astype(dtype), rtol=1e-5)
    assert (td.asarray([2, -3]) ** 3).tolist() == [8, -27]


def test_casts():
    x = np.array([1.9, -1.9, 0.0])
    assert td.astype(x, td.int32).tolist() == [1, -1, 0]
    assert td.astype(x, td.bool).tolist() == [True, True, False]
    assert td.cast(td.asarray([1 + 2j]), td.float32).tolist() == [1]
    assert td.asarray(5).astype(td.string).item() == "5"
    assert td.astype(td.asarray(["1.5"]), td.float64).tolist() == [1.5]
    t = td.ones(3)
    assert td.astype(t, td.float32) is t


@few
@example([np.inf, np.inf], [0.0, np.inf], False)
@given(st.lists(st.floats(width=32), max_size=4), st.lists(st.floats(width=32), max_size=4), st.booleans())
def test_closeness(a, b, equal_nan):
    a, b = np.array(a[: len(b)], np.float64), np.array(b[: len(a)], np.float64)
    got = td.isclose(a, b, equal_nan=equal_nan)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(got.numpy(), np.isclose(a, b, equal_nan=equal_nan))
    assert td.allclose(a, a, equal_nan=True).item() is True
    assert td.array_equal(a, b, equal_nan).item() == np.array_equal(a, b, equal_nan)
    assert td.array_equal(a, td.zeros((7, 7))).item() is False


@pytest.mark.parametrize("shift", [1, -2, 3, -5])
def test_an_open_axis_may_be_shorter_than_what_it_is_rolled_by(shift):
    f = td.function(lambda x: td.roll(x, shift), input_signature=[td.TensorSpec((None,))])
    for n in (1, 2, 3, 7):
        assert f(td.arange(n, dtype=td.float32)).tolist() == np.roll(np.arange(n), shift).tolist()
    assert f.trace_count == 1
