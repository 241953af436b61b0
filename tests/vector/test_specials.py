"""NaN, infinities, zeros with their signs, subnormals and the largest numbers, against NumPy and SciPy."""

from __future__ import annotations

import functools
import math

import mpmath as mp
import numpy as np
import pytest
import scipy.special as sp

from treadle import vector
from treadle.ops.special import _polygamma_body


def lgamma(x: float) -> float:
    """Infinity at poles, at both ends and where it overflows, as in C; Python's own is up to 8 ULP wrong."""
    if math.isnan(x):
        return x
    if math.isinf(x) or abs(x) > 1e306 or (x <= 0 and x == round(x)):
        return math.inf
    if x > 0:
        return float(mp.loggamma(x))
    with mp.workdps(40):
        return float(mp.log(mp.pi / abs(x * mp.sinpi(x))) - mp.loggamma(-x))


OTHER = {
    "sigmoid": sp.expit,
    "erf": sp.erf,
    "erfc": sp.erfc,
    "digamma": sp.digamma,
    **{f"polygamma{n}": functools.partial(_polygamma_body, order=n) for n in (1, 2, 3)},
    "erfinv": lambda x: np.copysign(sp.erfinv(x), x),  # SciPy drops the sign of a zero
    "pow": np.power,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "lgamma": lambda x: np.array([lgamma(float(v)) for v in x]),
    "softplus": lambda x: np.logaddexp(np.zeros((), x.dtype), x),
}
ARC = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2", "asinh": "arcsinh"}
ARC |= {"acosh": "arccosh", "atanh": "arctanh"}


def specials(kind: str) -> np.ndarray:
    info = np.finfo(kind)
    sizes = [0.0, 1.0, 0.5, 2.0, 3.0, 2.5, 1e5, np.inf, info.tiny, info.smallest_subnormal, info.max, info.eps]
    return np.array([np.nan, *sizes, *(-np.array(sizes))], kind)


@pytest.mark.parametrize("full", sorted(vector.BOUNDS))
def test_specials(native, full: str) -> None:
    name, kind = full.split("_")
    s = specials(kind)
    two = len(native.sources[full].arguments) == 2
    arguments = [a.ravel() for a in np.meshgrid(s, s)] if two else [s]
    with np.errstate(all="ignore"):
        wide = [a.astype(np.float64) for a in arguments]
        true = (OTHER.get(name) or getattr(np, ARC.get(name, name)))(*wide).astype(kind)
        got = native(full, *arguments)
        close = abs(got - true) <= 4 * np.spacing(np.maximum(abs(true), 1 if name == "lgamma" else np.finfo(kind).tiny))
    exactly = (np.isnan(got) & np.isnan(true)) | (got == true)
    fits = exactly | (close & (got != 0) & (true != 0))
    signs = (np.signbit(got) == np.signbit(true)) | np.isnan(true)
    wrong = ~(fits & signs)
    assert not wrong.any(), [(tuple(a[i] for a in arguments), got[i], true[i]) for i in np.flatnonzero(wrong)[:5]]


def test_exact_values(native) -> None:
    whole = np.arange(-1070, 1024, dtype=np.float64)
    assert np.array_equal(native("exp2_f8", whole), np.ldexp(1.0, whole.astype(int)))
    assert np.array_equal(native("log2_f8", np.ldexp(1.0, whole.astype(int))), whole)
    small = np.arange(-40, 41, dtype=np.float64)
    assert np.array_equal(native("pow_f8", small, np.full_like(small, 3.0)), small**3)
    assert np.array_equal(native("cbrt_f4", (small**3).astype("f4")), small.astype("f4"))
