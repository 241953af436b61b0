"""Every vector function keeps its bound: against mpmath on drawn points, float32 also on a dense sweep."""

from __future__ import annotations

import functools

import mpmath as mp
import numpy as np
import pytest
import scipy.special as sp

from treadle import vector
from treadle.ops.special import _polygamma_body

EXACT = {
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "exp2": lambda x: mp.mpf(2) ** x,
    "log2": lambda x: mp.log(x) / mp.log(2),
    "softplus": lambda x: mp.log1p(mp.exp(x)),
    "logaddexp": lambda a, b: max(a, b) + mp.log1p(mp.exp(-abs(a - b))),
    "pow": mp.power,
    "lgamma": lambda x: mp.log(mp.pi / abs(x * mp.sinpi(x))) - mp.loggamma(-x) if x < 0 else mp.loggamma(x),
    "digamma": mp.digamma,
    **{f"polygamma{n}": functools.partial(mp.polygamma, n) for n in (1, 2, 3)},
    "erfinv": mp.erfinv,
    "cbrt": lambda x: mp.sign(x) * mp.cbrt(abs(x)),
    "rsqrt": lambda x: 1 / mp.sqrt(x),
}
WIDE = {
    "sigmoid": sp.expit,
    "erf": sp.erf,
    "erfc": sp.erfc,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "lgamma": sp.gammaln,
    "digamma": sp.digamma,
    "erfinv": sp.erfinv,
    **{f"polygamma{n}": functools.partial(_polygamma_body, order=n) for n in (1, 2, 3)},
    "softplus": lambda x: np.logaddexp(0.0, x),
}
ARC = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2", "asinh": "arcsinh"}
ARC |= {"acosh": "arccosh", "atanh": "arctanh"}
BINARY = ("pow", "hypot", "atan2", "logaddexp")


def drawn(name: str, kind: str, n: int) -> list[np.ndarray]:
    """Points over the whole range, over the usual range, and where the function is hard."""
    rng = np.random.default_rng(sum(map(ord, name + kind)))
    top, low, high = (88.7, -148, 127.9) if kind == "f4" else (709.7, -1070, 1023.9)
    signs = rng.choice([-1.0, 1.0], 2 * n)
    x = np.concatenate([rng.normal(size=n), signs[:n] * np.exp2(rng.uniform(-30, 7, n))])
    every = signs[n:][:n] * np.exp2(rng.uniform(low, high, n))
    if name in ("exp", "expm1", "sinh", "cosh", "softplus", "sigmoid", "tanh", "exp2"):
        x = np.concatenate([x, rng.uniform(-top, top, n) * (1.44 if name == "exp2" else 1.0)])
    elif name in ("log", "log2", "log10", "rsqrt"):
        x = np.concatenate([abs(x), abs(every), 1 + rng.uniform(-0.3, 0.4, n), 1 + rng.uniform(-1e-3, 1e-3, n)])
    elif name == "log1p":
        x = np.concatenate([x[x > -1], rng.uniform(-1, 2, n)])
    elif name == "acosh":
        x = 1 + np.concatenate([abs(x), abs(every)])
    elif name in ("asin", "acos", "atanh", "erfinv"):
        x = np.concatenate([rng.uniform(-1, 1, n), 1 - np.exp2(rng.uniform(-24, -1, n)), x[abs(x) < 1]])
    elif name in ("sin", "cos", "tan"):
        near = np.round(rng.uniform(-1e5, 1e5, n)) * (np.pi / 2)
        x = np.concatenate([x, signs[:n] * np.exp2(rng.uniform(0, high, n)), near])
    elif name == "erfc":
        x = np.concatenate([x[x < 5], rng.uniform(-3, 10 if kind == "f4" else 26, n)])
    elif name == "digamma":
        x = np.concatenate([x, 5 * x[:n], 9 * abs(x[:n]), 1 + x[n:] % 1.0, abs(every), 1.4616321 + 1e-3 * x[:n]])
    elif name == "lgamma" or name.startswith("polygamma"):
        x = np.concatenate([x, 5 * x[:n], 9 * abs(x[:n]), 1 + x[n:] % 1.0, abs(every)])
    elif name == "logaddexp":
        x = x * 5
    else:
        x = np.concatenate([x, every])
    if name == "pow":
        x = abs(x)
        return [x.astype(kind), (rng.uniform(-1, 1, len(x)) * top / np.maximum(abs(np.log(x)), 1e-3)).astype(kind)]
    return [x.astype(kind), rng.permutation(x).astype(kind)] if name in BINARY else [x.astype(kind)]


def exact(name: str, values: list[object]) -> object:
    return (EXACT.get(name) or getattr(mp, name))(*values)


@pytest.mark.parametrize("full", sorted(vector.BOUNDS))
def test_bound_against_mpmath(native, full: str) -> None:
    name, kind = full.split("_")
    info = np.finfo(kind)
    arguments = drawn(name, kind, 40)
    got = native(full, *arguments)
    checked = 0
    with mp.workdps(40):
        for i, y in enumerate(got):
            values = [mp.mpf(float(a[i])) for a in arguments]
            true = exact(name, values)
            if abs(true) > float(info.max):
                assert np.isinf(y), (values, y)
                continue
            unit = max(abs(true), mp.mpf(float(info.tiny)))
            if name == "logaddexp":
                unit = max(unit, *map(abs, values))
            if name == "lgamma" and values[0] < 0:
                unit = max(unit, 1, mp.loggamma(-values[0]))
            if name == "digamma" and values[0] < 0:
                unit = max(unit, abs(mp.digamma(1 - values[0])), abs(mp.pi * mp.cot(mp.pi * values[0])))
            if name == "polygamma2" and values[0] < 0:
                unit = max(unit, abs(mp.polygamma(2, 1 - values[0])))
            ulp = mp.ldexp(1, mp.frexp(unit)[1] - 1 - info.nmant)
            error = abs(mp.mpf(float(y)) - true) / ulp
            assert error <= vector.BOUNDS[full], (full, [float(v) for v in values], float(y), float(error))
            checked += 1
    assert checked >= 60


HARD = {
    "digamma_f8": [-0.5089177225588294, 2.0000000050392135, 7.046111506212574],
    "erfc_f8": [6.4109885418052766e-15, 2.442451269119752e-15, 0.49999, 0.5000001, 0.5425211880150151],
    "erfinv_f8": [-0.7780033833497888, -2.660197030284355e-07, -0.000120865867869804, -0.9999999815822777],
}


@pytest.mark.parametrize("full", sorted(HARD))
def test_points_that_were_hard(native, full: str) -> None:
    name, x = full.split("_")[0], np.array(HARD[full])
    with mp.workdps(40):
        for value, y in zip(x, native(full, x), strict=True):
            true = exact(name, [mp.mpf(float(value))])
            assert abs(mp.mpf(float(y)) - true) <= vector.BOUNDS[full] * np.spacing(abs(float(true))), value


@pytest.mark.parametrize("full", sorted(n for n in vector.BOUNDS if n.endswith("f4")))
def test_dense_sweep_against_float64(native, full: str) -> None:
    name = full.split("_")[0]
    x = np.arange(0, 2**32, 60013, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = np.concatenate([x, np.linspace(-4, 4, 30011, dtype=np.float32)])
    arguments = [x, np.random.default_rng(0).permutation(x)] if name in BINARY else [x]
    reference = WIDE.get(name) or getattr(np, ARC.get(name, name))
    with np.errstate(all="ignore"):
        true = reference(*(a.astype(np.float64) for a in arguments))
        got = native(full, *arguments).astype(np.float64)
        unit = np.maximum(abs(true), np.finfo(np.float32).tiny)
        if name == "logaddexp":
            unit = np.maximum.reduce([unit, *map(abs, arguments)])
        if name == "lgamma":
            unit = np.where(x < 0, np.maximum(np.maximum(unit, 1), sp.gammaln(abs(x.astype(np.float64)))), unit)
            true[np.isneginf(x) | ((abs(x) < 1e-30) & (x == 0))] = np.inf
        if name == "digamma":
            wide = x.astype(np.float64)
            parts = np.maximum(abs(sp.digamma(1 - wide)), abs(np.pi / np.tan(np.pi * (wide - np.rint(wide)))))
            unit = np.where(wide < 0, np.fmax(unit, parts), unit)
        if name == "polygamma2":
            wide = x.astype(np.float64)
            unit = np.where(wide < 0, np.fmax(unit, abs(_polygamma_body(1 - wide, order=2))), unit)
        error = abs(got - true) / np.exp2(np.floor(np.log2(unit)) - 23)
        rounded = true.astype(np.float32)
        plain = np.isfinite(true) & np.isfinite(rounded) & np.isfinite(got)
        assert np.max(error[plain]) <= vector.BOUNDS[full]
        edge = abs(true) >= 3.4028233e38  # within an ULP of overflow either answer is within the bound
        same = (np.isnan(got) & np.isnan(true)) | (got == rounded)
    assert np.all(plain | same | edge)
    assert plain.sum() > 1000
