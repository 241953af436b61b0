"""How the polynomial coefficients in treadle.vector were found: a Remez exchange in mpmath, run by hand as a script.

Each target is the part of a function that is left after its leading terms have been taken out exactly; the weight
turns the polynomial's error into a relative error of the whole function. Printed beside each fit is log2 of that
error.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import mpmath as mp

mp.mp.dps = 60
Function = Callable[[Any], Any]


def remez(f: Function, a: float, b: float, degree: int, weight: Function, points: int = 600) -> tuple[list[Any], Any]:
    """Coefficients c0..c_degree that minimise max |weight * (poly - f)| on [a, b], and that maximum."""
    a, b = mp.mpf(a), mp.mpf(b)
    grid = [(a + b) / 2 - (b - a) / 2 * mp.cos(mp.pi * i / points) for i in range(points + 1)]
    weights = [weight(x) for x in grid]
    floor = max(weights) / 10**9  # where the weight vanishes the polynomial does not matter
    grid, weights = zip(*[(x, w) for x, w in zip(grid, weights, strict=True) if w > floor], strict=True)
    values = [f(x) for x in grid]
    count = degree + 2
    chosen = [round(i * (len(grid) - 1) / (count - 1)) for i in range(count)]
    coefficients: list[Any] = []
    worst = mp.inf
    for _ in range(25):
        matrix = mp.matrix(count, count)
        right = mp.matrix(count, 1)
        for row, i in enumerate(chosen):
            for power in range(degree + 1):
                matrix[row, power] = grid[i] ** power
            matrix[row, degree + 1] = (-1) ** row / weights[i]
            right[row] = values[i]
        solution = mp.lu_solve(matrix, right)
        coefficients = [solution[i] for i in range(degree + 1)]
        errors = [w * (mp.polyval(coefficients[::-1], x) - v) for x, v, w in zip(grid, values, weights, strict=True)]
        worst = max(abs(e) for e in errors)
        chosen = _extrema(errors, count)
        if worst < abs(solution[degree + 1]) * mp.mpf("1.01"):
            break
    return coefficients, worst


def _extrema(errors: list[Any], count: int) -> list[int]:
    """The index of the largest error in each run of equal sign, trimmed from the weaker end to `count` runs."""
    runs: list[int] = []
    for i, error in enumerate(errors):
        if runs and (errors[runs[-1]] > 0) == (error > 0):
            if abs(error) > abs(errors[runs[-1]]):
                runs[-1] = i
        else:
            runs.append(i)
    while len(runs) > count:
        runs.pop(0 if abs(errors[runs[0]]) < abs(errors[runs[-1]]) else -1)
    if len(runs) < count:
        raise ValueError("too few alternations; the function is even, odd or already exact here")
    return runs


def rational(f: Function, a: float, b: float, degree: int, weight: Function) -> tuple[list[Any], list[Any], Any]:
    """P and Q, both of one degree and Q(0) = 1, that minimise max |weight * (P / Q - f)|, and about that maximum.

    Least squares of P - f Q with the last Q as divisor, weighted again and again by how large the error is (Lawson).
    """
    points = 30 * degree
    grid = [mp.mpf(a + b) / 2 - mp.mpf(b - a) / 2 * mp.cos(mp.pi * i / points) for i in range(points + 1)]
    values, weights, shares = [f(x) for x in grid], [weight(x) for x in grid], [mp.mpf(1)] * len(grid)
    below = [mp.mpf(1)] * len(grid)
    best: tuple[list[Any], list[Any], Any] = ([], [], mp.inf)
    for turn in range(30):
        factors = [w * mp.sqrt(s) / q for w, s, q in zip(weights, shares, below, strict=True)]
        rows = zip(grid, values, factors, strict=True)
        powers = range(degree + 1)
        matrix = mp.matrix([[c * x**k for k in powers] + [-c * v * x**k for k in powers[1:]] for x, v, c in rows])
        right = mp.matrix([c * v for v, c in zip(values, factors, strict=True)])
        found = list(mp.lu_solve(matrix.T * matrix, matrix.T * right))
        p, q = found[: degree + 1], [mp.mpf(1), *found[degree + 1 :]]
        below = [mp.polyval(q[::-1], x) for x in grid]
        above = [mp.polyval(p[::-1], x) for x in grid]
        errors = [abs(w * (n / d - v)) for w, n, d, v in zip(weights, above, below, values, strict=True)]
        if max(errors) < best[2]:
            best = p, q, max(errors)
        if turn >= 6:
            shares = [s * (e / max(errors) + mp.mpf("1e-3")) for s, e in zip(shares, errors, strict=True)]
            shares = [s * len(shares) / mp.fsum(shares) for s in shares]
    return best


def exp_rest(r: Any) -> Any:
    """(exp(r) - 1 - r) / r**2."""
    return mp.hyp1f1(1, 3, r) / 2


def atanh_rest(z: Any, order: int) -> Any:
    """2 atanh(s)/s without the terms below z**order, divided by z**order; z = s*s."""
    return 2 * mp.nsum(lambda n: z**n / (2 * n + 2 * order + 1), [0, 60]) if z else mp.mpf(2) / (2 * order + 1)


def log_rest(f: Any) -> Any:
    """(log(1+f) - f + f**2/2) / f**3."""
    return mp.fsum((-f) ** n / (n + 3) for n in range(200))


def tanh_rest(z: Any) -> Any:
    """(tanh(r) / r - 1) / z with z = r * r."""
    r = mp.sqrt(z)
    return (mp.tanh(r) / r - 1) / z if z > mp.mpf("1e-12") else mp.mpf(-1) / 3 + 2 * z / 15


def sin_rest(z: Any) -> Any:
    return mp.fsum((-1) ** (n + 1) * z**n / mp.factorial(2 * n + 3) for n in range(30))


def cos_rest(z: Any) -> Any:
    return mp.fsum((-1) ** n * z**n / mp.factorial(2 * n + 4) for n in range(30))


def atan_rest(z: Any) -> Any:
    return mp.fsum((-1) ** (n + 1) * z**n / (2 * n + 3) for n in range(90))


def asin_rest(z: Any) -> Any:
    return mp.fsum(mp.binomial(2 * n, n) / mp.mpf(4) ** n / (2 * n + 1) * z ** (n - 1) for n in range(1, 110))


def erf_rest(x: Any) -> Any:
    """-log(erfc(x)) / x."""
    return -mp.log(mp.erfc(x)) / x if x else 2 / mp.sqrt(mp.pi)


def erf_ratio(z: Any) -> Any:
    """erf(x) / x with z = x * x."""
    return mp.erf(mp.sqrt(z)) / mp.sqrt(z) if z > mp.mpf("1e-30") else 2 / mp.sqrt(mp.pi)


def erfcx_mapped(a: Any) -> Function:
    """exp(x*x) erfc(x) (x + a) as a function of t = (x - a) / (x + a), so that it stays bounded at infinity."""

    def g(t: Any) -> Any:
        if t >= 1:
            return 1 / mp.sqrt(mp.pi)
        x = a * (1 + t) / (1 - t)
        if x > 60:
            y = 1 / (2 * x * x)
            scaled = (1 - y + 3 * y**2 - 15 * y**3 + 105 * y**4 - 945 * y**5) / (x * mp.sqrt(mp.pi))
        else:
            with mp.workdps(60):
                scaled = mp.exp(x * x) * mp.erfc(x)
        return scaled * (x + a)

    return g


def lgamma_rest(v: Any) -> Any:
    """lgamma(z) / ((z - 1) (z - 2)), z = v + 1.625; at the zeros from beside them."""
    z = v + mp.mpf("1.625")
    z += mp.mpf("1e-25") if min(abs(z - 1), abs(z - 2)) < mp.mpf("1e-25") else 0
    return mp.loggamma(z) / ((z - 1) * (z - 2))


def stirling_rest(w: Any) -> Any:
    """z times what Stirling's formula lacks, as a function of w = 1 / (z * z)."""
    if not w:
        return mp.mpf(1) / 12
    z = 1 / mp.sqrt(w)
    return z * (mp.loggamma(z) - (z - mp.mpf(1) / 2) * mp.log(z) + z - mp.log(2 * mp.pi) / 2)


def digamma_rest(v: Any) -> Any:
    """digamma(z) / (z - root), z = v + 1.5; at the root from beside it."""
    z, root = v + mp.mpf("1.5"), mp.findroot(mp.digamma, mp.mpf("1.4616"))
    z += mp.mpf("1e-25") if abs(z - root) < mp.mpf("1e-25") else 0
    return mp.digamma(z) / (z - root)


def digamma_far(w: Any) -> Any:
    """(log(z) - 1/(2 z) - digamma(z)) z**2 as a function of w = 1 / (z * z)."""
    if w < mp.mpf("1e-12"):
        return mp.mpf(1) / 12 - w / 120
    z = 1 / mp.sqrt(w)
    return (mp.log(z) - 1 / (2 * z) - mp.digamma(z)) / w


def erfinv_rest(w: Any) -> Any:
    """erfinv(x) / x as a function of w = -log(1 - x * x)."""
    if not w:
        return mp.sqrt(mp.pi) / 2
    x = mp.sqrt(-mp.expm1(-w))
    return mp.erfinv(x) / x


def erfinv_slope(v: Any) -> Any:
    """(erfinv(x) / x - sqrt(pi) / 2) / w, w = v + 3.125."""
    w = v + mp.mpf("3.125")
    half = mp.sqrt(mp.pi) / 2
    return (erfinv_rest(w) - half) / w if w > mp.mpf("1e-20") else half * mp.pi / 12


def erf_slope(z: Any) -> Any:
    """(erf(x) / x - 2 / sqrt(pi)) / z with z = x * x."""
    return (
        2 / mp.sqrt(mp.pi) * mp.fsum((-1) ** n * z ** (n - 1) / (mp.factorial(n) * (2 * n + 1)) for n in range(1, 40))
    )


def targets() -> dict[str, tuple[Any, ...]]:
    """Every fit used: name -> (function, from, to, degree, weight)."""
    ln = mp.mpf("0.3467")
    z_log = (mp.sqrt(2) - 1) ** 2 / (mp.sqrt(2) + 1) ** 2 * mp.mpf("1.001")
    q = (mp.pi / 4) ** 2 * mp.mpf("1.0005")
    z_atan = mp.mpf("0.1718")
    exp_weight = lambda r: r * r / mp.exp(r)
    erf_weight = lambda x: x * mp.erfc(x) / mp.erf(x) if x else mp.sqrt(mp.pi) / 2
    found: dict[str, tuple[Any, ...]] = {}
    for name, degree in (("f4", 4), ("f8", 9)):
        found[f"exp {name}"] = (exp_rest, -ln, ln, degree, exp_weight)
    wide = mp.log(2) * mp.mpf("1.0005")
    found["exp f4 wide"] = (exp_rest, -wide, wide, 5, exp_weight)
    z_tanh = (mp.log(2) / 2) ** 2 * mp.mpf("1.001")
    for name, degree in (("f4", 2), ("f8", 7)):
        found[f"tanh {name}"] = (
            tanh_rest,
            0,
            z_tanh,
            degree,
            lambda z: z * mp.sqrt(z) / mp.tanh(mp.sqrt(z)) if z else z,
        )
    found["log f4"] = (log_rest, mp.sqrt(0.5) - 1, mp.sqrt(2) - 1, 7, lambda f: f**3 / mp.log1p(f) if f else mp.mpf(0))
    found["log f8"] = (lambda z: atanh_rest(z, 1), 0, z_log, 6, lambda z: z / 2)
    found["log wide"] = (lambda z: atanh_rest(z, 1), 0, z_log, 3, lambda z: z / 2)
    found["log dd"] = (lambda z: atanh_rest(z, 2), 0, z_log, 6, lambda z: z * z / 2)
    found["sin f8"] = (sin_rest, 0, q, 5, lambda z: z)
    found["cos f8"] = (cos_rest, 0, q, 5, lambda z: z * z)
    found["sin f4"] = (sin_rest, 0, q, 2, lambda z: z)
    found["cos f4"] = (cos_rest, 0, q, 2, lambda z: z * z)
    found["atan f8"] = (atan_rest, 0, z_atan, 10, lambda z: z)
    found["atan f4"] = (atan_rest, 0, z_atan, 3, lambda z: z)
    found["asin f8"] = (asin_rest, 0, mp.mpf("0.2501"), 11, lambda z: z)
    found["asin f4"] = (asin_rest, 0, mp.mpf("0.2501"), 4, lambda z: z)
    found["erf f8"] = (erf_rest, 0, 6, 24, erf_weight)
    for kind, a, end, degree in (("f4", 4, "0.45", 9), ("f8", 3, "0.804", 24)):
        g = erfcx_mapped(mp.mpf(a))
        found[f"erfc {kind}"] = (g, -1, mp.mpf(end), degree, lambda t, g=g: 1 / g(t))
    found["lgamma"] = (lgamma_rest, mp.mpf("-0.6251"), mp.mpf("0.6251"), 21, lambda v: 1 / lgamma_rest(v))
    found["stirling"] = (stirling_rest, 0, mp.mpf("0.0157"), 5, lambda w: mp.mpf(1))
    found["digamma"] = (digamma_rest, mp.mpf("-0.5001"), mp.mpf("0.5001"), 21, lambda v: 1 / digamma_rest(v))
    found["digamma far"] = (digamma_far, 0, mp.mpf(1) / 64, 6, lambda w: w / 2)
    for name, middle, low, high, degree in (
        ("near f4", "3.125", "3.125", "3.126", 10),
        ("mid", "3.25", "0.751", "0.751", 17),
        ("far f4", "3.25", "0.751", "0.9", 9),
        ("far", "5", "1.001", "1.02", 16),
    ):
        power = 1 if "near" in name else 2
        inverse = lambda v, middle=mp.mpf(middle), power=power: erfinv_rest((v + middle) ** power)
        weight = lambda v, inverse=inverse: 1 / inverse(v)
        found[f"erfinv {name}"] = (inverse, -mp.mpf(low), mp.mpf(high), degree, weight)
    slope = lambda v: (v + mp.mpf("3.125")) / erfinv_rest(v + mp.mpf("3.125"))
    found["erfinv slope"] = (erfinv_slope, -mp.mpf("3.125"), mp.mpf("3.1251"), 22, slope)
    found["erfc near 0"] = (erf_slope, 0, mp.mpf("0.2501"), 7, lambda z: z ** mp.mpf("1.5"))
    found["cbrt"] = (mp.cbrt, mp.mpf("0.353"), mp.mpf("2.83"), 5, lambda m: 1 / mp.cbrt(m))
    return found


def fit_erf_f4() -> None:
    """P and Q of erf in float32: Q times 1.7035176, by which the coefficients round best, P less a quarter of Q."""
    p, q, error = rational(erf_ratio, 0, 3.92**2, 5, lambda z: 1 / erf_ratio(z))
    print(f"erf f4: 2**{float(mp.log(error, 2)):.1f}")
    for a, b in zip(p, q, strict=True):
        print("   ", mp.nstr((a - b / 4) * 1.7035176, 12), mp.nstr(b * 1.7035176, 12), flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 2 or "erf f4".startswith(sys.argv[1]):
        fit_erf_f4()
    for name, (f, a, b, degree, weight) in targets().items():
        if len(sys.argv) > 1 and not name.startswith(sys.argv[1]):
            continue
        try:
            found, error = remez(f, a, b, degree, weight, points=300)
        except (ValueError, ZeroDivisionError) as problem:
            print(name, "FAILED", problem)
            continue
        print(f"{name}: 2**{float(mp.log(error, 2)):.1f}")
        for c in found:
            print("   ", mp.nstr(c, 20), flush=True)
