"""Integer rules and float floor division against NumPy: every pair of 8-bit numbers, hard pairs of the rest."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle.vector.primitives import INTEGERS

REFERENCE = {"floordiv": np.floor_divide, "mod": np.remainder, "fmod": np.fmod, "pow": np.power}


def pairs(kind: str) -> tuple[np.ndarray, np.ndarray]:
    info = np.iinfo(kind)
    if info.bits == 8:
        values = np.arange(info.min, info.max + 1).astype(kind)
    else:
        near = [info.min, info.min + 1, -17, -7, -3, -2, -1, 0, 1, 2, 3, 5, 7, 16, 97, info.max - 1, info.max]
        values = np.array([v for v in near if v >= info.min], kind)
    a, b = np.meshgrid(values, values)
    return a.ravel(), b.ravel()


@pytest.mark.parametrize("kind", INTEGERS)
@pytest.mark.parametrize("rule", sorted(REFERENCE))
def test_like_numpy(native, rule: str, kind: str) -> None:
    a, b = pairs(kind)
    if rule == "pow":  # NumPy refuses negative exponents
        a, b = a[b >= 0], b[b >= 0]
    with np.errstate(all="ignore"):
        assert np.array_equal(native(f"{rule}_{kind}", a, b), REFERENCE[rule](a, b))


@pytest.mark.parametrize("kind", ["i8", "u8"])
@pytest.mark.parametrize("rule", ["floordiv", "mod"])
def test_division_of_many_like_numpy(native, rule: str, kind: str) -> None:
    """In vectors by way of float64 where all lanes are below 2**51: at that edge, and near whole quotients."""
    rng = np.random.default_rng(0)
    edge = [2**51 - 1, 2**51, 2**50 - 1, 2**50, 2**50 + 1, 2**63 - 1, 1, 3, 0]
    values = np.array(edge if kind == "u8" else [*edge, *(-v for v in edge), -(2**63)], kind)
    a, b = (x.ravel() for x in np.meshgrid(values, values))
    b0 = rng.integers(1, 2**25, 4000)
    whole = (b0 * rng.integers(1, 2**25, 4000) + rng.integers(-1, 2, 4000)).astype(kind)
    b1 = np.exp2(rng.uniform(0, 50, 4000)).astype(np.int64)
    a1 = np.exp2(rng.uniform(0, 50, 4000)).astype(np.int64)
    sign = 1 if kind == "u8" else rng.choice([-1, 1], 4000)
    a = np.concatenate([a, whole, (a1 * sign).astype(kind)])
    b = np.concatenate([b, b0.astype(kind), b1.astype(kind)])
    with np.errstate(all="ignore"):
        assert np.array_equal(native(f"wide_{rule}_{kind}", a, b), REFERENCE[rule](a, b))


def test_negative_powers_and_sign(native) -> None:
    a = np.array([-2, -1, -1, 0, 1, 5], "i4")
    b = np.array([-1, -3, -2, -1, -9, -1], "i4")
    assert native("pow_i4", a, b).tolist() == [0, -1, 1, 0, 1, 0]
    assert native("sign_i4", a).tolist() == np.sign(a).tolist()
    assert native("sign_u1", np.array([0, 1, 200], "u1")).tolist() == [0, 1, 1]


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("rule", ["floordiv", "mod"])
def test_float_division(native, rule: str, kind: str) -> None:
    values = np.array([0.0, -0.0, 1.0, -1.0, 0.1, -0.1, 3.0, -3.0, 7.5, 1e6, -1e6, np.inf, -np.inf, np.nan], kind)
    a, b = (v.ravel() for v in np.meshgrid(values, values))
    rng = np.random.default_rng(0)
    a = np.concatenate([a, rng.normal(size=500).astype(kind) * 100])
    b = np.concatenate([b, rng.normal(size=500).astype(kind)])
    with np.errstate(all="ignore"):
        got, true = native(f"{rule}_{kind}", a, b), REFERENCE[rule](a, b)
    assert np.array_equal(got, true, equal_nan=True)
    plain = ~np.isnan(true)
    assert np.array_equal(np.signbit(got[plain]), np.signbit(true[plain]))


@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_float_sign(native, kind: str) -> None:
    x = np.array([-2.5, -0.0, 0.0, 3.0, np.inf, -np.inf, np.nan], kind)
    assert np.array_equal(native(f"sign_{kind}", x), np.sign(x), equal_nan=True)


@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_the_next_number(kind: str) -> None:
    limits = np.finfo(kind)
    least = limits.smallest_subnormal
    numbers = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, limits.max, -limits.max, limits.tiny, least, -least]
    a, b = (x.ravel() for x in np.meshgrid(np.array(numbers, kind), np.array(numbers, kind)))
    with np.errstate(all="ignore"):
        want = np.nextafter(a, b)
    got = td.function(lambda a, b: td.nextafter(a, b))(a, b).numpy()
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(want))
