"""Powers and roots: pow, cbrt, rsqrt, hypot, for float32 and float64, without branches.

float32 goes through short float64 polynomials. Coefficients are from tests/vector/fit.py.
"""

from __future__ import annotations

from treadle.vector.exponential import exp_parts_f8
from treadle.vector.logarithm import log_parts_f8
from treadle.vector.primitives import (
    F4,
    F8,
    abs_f4,
    abs_f8,
    bits_f4,
    bits_f8,
    copysign_f4,
    copysign_f8,
    f4,
    f8,
    float_i8,
    floor_f4,
    floor_f8,
    fma_f8,
    select,
    sqrt_f4,
    sqrt_f8,
)

INF = float("inf")
NAN = float("nan")


def exp_wide(x: F8) -> F8:
    """exp(x) in float64 to float32 accuracy, for |x| below 700."""
    t = x * 1.4426950408889634 + 6755399441055744.0
    k = t - 6755399441055744.0
    r = x - k * 0.69314718055994530942
    q0 = 0.16666520484524435388 * r + 0.49999993438115191425
    q1 = 0.0083687351205673437141 * r + 0.041668389770051047497
    r2 = r * r
    q0 = q1 * r2 + q0
    r4 = r2 * r2
    q = 0.0013814563642475863072 * r4 + q0
    return (1.0 + r * (1.0 + r * q)) * float_i8((bits_f8(t) + 1023) << 52)


def log_wide(x: F8) -> F8:
    """log(x) in float64 to 2**-37, for positive normal x; what it gives for others is not used."""
    k, m = log_parts_f8(x)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    q0 = 0.40000336142102148828 * z + 0.6666666564180985957
    q1 = 0.23583541879995173158 * z + 0.28537241176734350418
    z2 = z * z
    q = q1 * z2 + q0
    return k * 0.69314718055994530942 + (s + s + s * z * q)


def power_sign_f4(x: F4, y: F4, r: F4) -> F4:
    """|x|**y = r made x**y: the sign of odd powers, NaN for roots of negatives, and the cases that are always 1."""
    half = y * 0.5
    whole = floor_f4(y) == y
    odd = whole & (floor_f4(half) != half)
    a = abs_f4(x)
    r = select((bits_f4(x) < 0) & odd, -r, r)
    r = select((x < 0.0) & (a < INF) & ~whole, x * NAN, r)
    r = select((x != x) | (y != y), x + y, r)
    return select((x == 1.0) | (y == 0.0) | ((a == 1.0) & (abs_f4(y) == INF)), 1.0, r)


def power_sign_f8(x: F8, y: F8, r: F8) -> F8:
    """|x|**y = r made x**y: the sign of odd powers, NaN for roots of negatives, and the cases that are always 1."""
    half = y * 0.5
    whole = floor_f8(y) == y
    odd = whole & (floor_f8(half) != half)
    a = abs_f8(x)
    r = select((bits_f8(x) < 0) & odd, -r, r)
    r = select((x < 0.0) & (a < INF) & ~whole, x * NAN, r)
    r = select((x != x) | (y != y), x + y, r)
    return select((x == 1.0) | (y == 0.0) | ((a == 1.0) & (abs_f8(y) == INF)), 1.0, r)


def pow_f4(x: F4, y: F4) -> F4:
    """x**y by logarithm and exponential in float64, 1 ULP, with C's rules for every special case."""
    a = f8(abs_f4(x))
    g = select(a > 0.0, select(a < INF, log_wide(a), a), -INF)
    t = f8(y) * g
    t = select(t > 100.0, 100.0, t)
    t = select(t < -120.0, -120.0, t)
    return power_sign_f4(x, y, f4(exp_wide(t)))


def log_double_f8(x: F8) -> tuple[F8, F8]:
    """log(x) as a sum of two float64, about 2**-66 of it wrong, for positive finite x.

    s = f / (2 + f) with its error, log(1 + f) = 2 s + 2/3 s**3 + s**5 R(s*s), the first two terms in double-float64.
    A product written fma(a, b, 0) is rounded for sure: the compiler may not merge it into a later sum.
    """
    k, m = log_parts_f8(x)
    f = m - 1.0
    d = 1.0 + m
    inverse = 1.0 / d
    s = fma_f8(f, inverse, 0.0)
    s2 = (fma_f8(-s, d, f) - s * (m - (d - 1.0))) * inverse
    z = fma_f8(s, s, 0.0)
    zl = fma_f8(s, s, -z) + 2.0 * s * s2
    q0 = 0.28571428570093301131 * z + 0.40000000000002267948
    q1 = 0.18181784252784797975 * z + 0.22222222521140956814
    q2 = 0.13256681151537387368 * z + 0.15386762915242127894
    z2 = z * z
    q0 = q1 * z2 + q0
    q1 = 0.13197651176782787877 * z2 + q2
    z4 = z2 * z2
    q = q1 * z4 + q0
    third = fma_f8(z, 0.6666666666666666, 0.0)
    third2 = fma_f8(z, 0.6666666666666666, -third) + (z * 3.7007434154171884681e-17 + zl * 0.6666666666666666)
    tail = fma_f8(z * z, q, 0.0)
    w = third + tail
    w2 = ((third - w) + tail) + third2
    p = fma_f8(s, w, 0.0)
    p2 = fma_f8(s, w, -p) + (s * w2 + s2 * w)
    double = s + s
    h = double + p
    h2 = ((double - h) + p) + (p2 + 2.0 * s2)
    high = fma_f8(k, 0.6931471805601177, 0.0)
    g = high + h
    return g, ((high - g) + h) + (h2 + k * -1.7239444525614834773e-13)


def pow_f8(x: F8, y: F8) -> F8:
    """x**y = exp(y log(x)), logarithm and product in double-float64, 2 ULP; special cases as in C."""
    a = abs_f8(x)
    g, g2 = log_double_f8(a)
    g = select(a > 0.0, select(a < INF, g, a), -INF)
    t = fma_f8(y, g, 0.0)
    t2 = fma_f8(y, g, -t) + y * g2
    t2 = select(abs_f8(t) < 800.0, t2, 0.0)
    t = select(t > 710.0, 710.0, t)
    t = select(t < -746.0, -746.0, t)
    p, s, u, _ = exp_parts_f8(t)
    return power_sign_f8(x, y, (1.0 + (p + (1.0 + p) * t2)) * s * u)


def cbrt_step(y: F8, m: F8) -> F8:
    """One Halley step towards the cube root of m: three times the digits."""
    c = y * y * y
    return y - y * (c - m) / (c + c + m)


def cbrt_parts(a: F8) -> tuple[F8, F8, F8]:
    """m, y, s: a = m s**3, s a power of 2, m between 0.35 and 2.83, and y within 2**-10 of m's cube root."""
    k, m = log_parts_f8(a)
    t = k * 0.33333333333333333333 + 6755399441055744.0
    rest = k - 3.0 * (t - 6755399441055744.0)
    m = select(rest > 0.5, m + m, select(rest < -0.5, 0.5 * m, m))
    y0 = 1.0526947904524895505 * m + 0.41506023126157716272
    y1 = 0.38724711126927176002 * m - 0.76155225288064540947
    y2 = 0.011286407730766231975 * m - 0.10453739017597017189
    m2 = m * m
    y0 = y1 * m2 + y0
    m4 = m2 * m2
    y = y2 * m4 + y0
    return m, y, float_i8((bits_f8(t) + 1023) << 52)


def cbrt_f8(x: F8) -> F8:
    """The real cube root, 1 ULP, by a polynomial and two Halley steps."""
    a = abs_f8(x)
    m, y, s = cbrt_parts(a)
    y = cbrt_step(cbrt_step(y, m), m) * s
    return select((a > 0.0) & (a < INF), copysign_f8(y, x), x)


def cbrt_f4(x: F4) -> F4:
    """The real cube root, 1 ULP, by a polynomial and one Halley step in float64."""
    a = f8(abs_f4(x))
    m, y, s = cbrt_parts(a)
    y = cbrt_step(y, m) * s
    return select((a > 0.0) & (a < INF), copysign_f4(f4(y), x), x)


def rsqrt_f4(x: F4) -> F4:
    """1 / sqrt(x), 2 ULP."""
    return 1.0 / sqrt_f4(x)


def rsqrt_f8(x: F8) -> F8:
    """1 / sqrt(x), 2 ULP."""
    return 1.0 / sqrt_f8(x)


def hypot_f4(x: F4, y: F4) -> F4:
    """sqrt(x*x + y*y) in float64, where nothing overflows; 1 ULP; infinite if either side is."""
    a = f8(x)
    b = f8(y)
    r = f4(sqrt_f8(a * a + b * b))
    return select((abs_f4(x) == INF) | (abs_f4(y) == INF), INF, r)


def hypot_f8(x: F8, y: F8) -> F8:
    """sqrt(x*x + y*y), 2 ULP, scaled by a power of 2 so that the squares neither overflow nor vanish."""
    a = abs_f8(x)
    b = abs_f8(y)
    m = select(a > b, a, b)
    up = select(m < 1e-140, 4.149515568880993e180, f8(1.0))
    scale = select(m > 1e140, 2.409919865102884e-181, up)
    inverse = select(m > 1e140, 4.149515568880993e180, select(m < 1e-140, 2.409919865102884e-181, f8(1.0)))
    a = a * scale
    b = b * scale
    r = sqrt_f8(fma_f8(a, a, b * b)) * inverse
    return select((abs_f8(x) == INF) | (abs_f8(y) == INF), INF, r)
