"""Logarithms and what is built on them: log, log1p, log2, log10, asinh, acosh, atanh, softplus, logaddexp.

x is split into m * 2**k with m near 1 by integer arithmetic on its bits; log(1 + f), f = m - 1, is a polynomial
fitted in tests/vector/fit.py; k ln 2 is added in two parts, the first of so few bits that k times it is exact.
"""

from __future__ import annotations

from treadle.vector.exponential import exp_f4, exp_f8
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
    float_i4,
    float_i8,
    i8,
    select,
    sqrt_f4,
    sqrt_f8,
    u8,
)

INF = float("inf")
NAN = float("nan")


def log_parts_f4(x: F4) -> tuple[F4, F4]:
    """k and m with x = m * 2**k and m between sqrt(1/2) and sqrt(2), for positive finite x, subnormals included."""
    small = x < 1.1754943508222875e-38
    b = bits_f4(select(small, x * 33554432.0, x))
    i = b - 0x3F3504F3
    m = float_i4(b - (i & -8388608))
    return f4(i >> 23) - select(small, f4(25.0), 0.0), m


def log_fraction_f4(f: F4) -> F4:
    """log(1 + f) - f for |f| up to sqrt(2) - 1: -f*f/2 + f**3 Q(f)."""
    f2 = f * f
    q0 = -0.25000821145535914699 * f + 0.33333331751072369778
    q1 = -0.16623350460949677222 * f + 0.20001223981654662652
    q2 = -0.13160286422248762504 * f + 0.14201802117769480742
    q3 = -0.076340572301849026489 * f + 0.12761391460415585011
    q = ((q3 * f2 + q2) * f2 + q1) * f2 + q0
    return f2 * (f * q - 0.5)


def log_f4(x: F4) -> F4:
    """The natural logarithm, 1 ULP; -inf at 0, NaN below."""
    k, m = log_parts_f4(x)
    f = m - 1.0
    y = k * 0.693115234375 + (f + (log_fraction_f4(f) + k * 3.19461849453e-5))
    return select(x > 0.0, select(x < INF, y, x), select(x == 0.0, f4(-INF), NAN))


def log1p_f4(x: F4) -> F4:
    """log(1 + x), 1 ULP: what 1 + x rounds away comes back as a first-order correction."""
    u = 1.0 + x
    k, m = log_parts_f4(u)
    near = k == 0.0
    lost = select(x > 1.0, 1.0 - (u - x), x - (u - 1.0))
    c = select(near, 0.0, lost / u)
    f = select(near, x, m - 1.0)
    y = k * 0.693115234375 + (f + (log_fraction_f4(f) + (c + k * 3.19461849453e-5)))
    y = select(x > -1.0, select(x < INF, y, x), select(x == -1.0, -INF, x * NAN))
    return select(x == 0.0, x, y)


def log2_f4(x: F4) -> F4:
    """The logarithm to base 2, 2 ULP; exact at powers of 2."""
    k, m = log_parts_f4(x)
    f = m - 1.0
    y = k + (f + log_fraction_f4(f)) * 1.4426950408889634074
    return select(x > 0.0, select(x < INF, y, x), select(x == 0.0, -INF, x * NAN))


def log10_f4(x: F4) -> F4:
    """The logarithm to base 10, 2 ULP."""
    k, m = log_parts_f4(x)
    f = m - 1.0
    y = k * 0.301025390625 + (k * 4.6050389812e-6 + (f + log_fraction_f4(f)) * 0.43429448190325182765)
    return select(x > 0.0, select(x < INF, y, x), select(x == 0.0, -INF, x * NAN))


def asinh_f4(x: F4) -> F4:
    """asinh(x) = log1p(a + a*a / (1 + sqrt(1 + a*a))), a = |x|, and log(a) + log(2) for large a; 2 ULP."""
    a = abs_f4(x)
    large = a > 1e9
    v = select(large, a, a + a * a / (1.0 + sqrt_f4(a * a + 1.0)))
    return copysign_f4(log1p_f4(v) + select(large, 0.69314718055994530942, f4(0.0)), x)


def acosh_f4(x: F4) -> F4:
    """acosh(x) = log1p(t + sqrt(2 t + t*t)) with t = x - 1, NaN below 1; 3 ULP."""
    t = x - 1.0
    large = x > 1e9
    y = log1p_f4(select(large, x, t + sqrt_f4(t * (t + 2.0))))
    y = select(large, y + 0.69314718055994530942, y)
    return select(x < 1.0, x * NAN, y)


def atanh_f4(x: F4) -> F4:
    """atanh(x) = log1p(2 a / (1 - a)) / 2 with a = |x|; 2 ULP."""
    a = abs_f4(x)
    return copysign_f4(0.5 * log1p_f4((a + a) / (1.0 - a)), x)


def log1p_unit_f4(e: F4) -> F4:
    """log(1 + e) for 0 <= e <= 1: there log(1 + e) = log 2 + log(1 + (e - 1) / 2), with nothing lost."""
    large = e > 0.41421356237309504880
    f = select(large, e * 0.5 - 0.5, e)
    y = f + (log_fraction_f4(f) + select(large, 3.19461849453e-5, f4(0.0)))
    return y + select(large, 0.693115234375, f4(0.0))


def softplus_f4(x: F4) -> F4:
    """log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)), 3 ULP."""
    return select(x < 0.0, 0.0, x) + log1p_unit_f4(exp_f4(-abs_f4(x)))


def logaddexp_f4(a: F4, b: F4) -> F4:
    """log(exp(a) + exp(b)), 3 ULP of the largest of |a|, |b| and the result, as the sum may cancel."""
    d = select(a == b, 0.0, -abs_f4(a - b))
    return select(a > b, a, b) + log1p_unit_f4(exp_f4(d))


def log_parts_f8(x: F8) -> tuple[F8, F8]:
    """k and m with x = m * 2**k and m between sqrt(1/2) and sqrt(2), for positive finite x, subnormals included."""
    small = x < 2.2250738585072014e-308
    i = u8(bits_f8(select(small, x * 18014398509481984.0, x))) + 0x00095F619980C433
    k = float_i8(i8((i >> 52) | 0x4330000000000000)) - 4503599627371519.0
    m = float_i8(i8((i & 0x000FFFFFFFFFFFFF) + 0x3FE6A09E667F3BCD))
    return select(small, k - 54.0, k), m


def log_fraction_f8(f: F8) -> F8:
    """log(1 + f) - f for |f| up to sqrt(2) - 1: with s = f / (2 + f), log(1 + f) = 2 atanh(s) = f - s (f - R(s*s))."""
    s = f / (2.0 + f)
    z = s * s
    q0 = 0.39999999999411052475 * z + 0.66666666666667349051
    q1 = 0.22222198475513234802 * z + 0.28571428743268939927
    q2 = 0.15313902906629780813 * z + 0.18183569758015343947
    z2 = z * z
    q0 = q1 * z2 + q0
    q1 = 0.14797510114106221683 * z2 + q2
    z4 = z2 * z2
    q = q1 * z4 + q0
    half = 0.5 * f * f
    return s * (z * q + half) - half


def log_f8(x: F8) -> F8:
    """The natural logarithm, 1 ULP; -inf at 0, NaN below."""
    k, m = log_parts_f8(x)
    f = m - 1.0
    y = k * 0.6931471805601177 + (f + (log_fraction_f8(f) + k * -1.7239444525614834773e-13))
    return select(x > 0.0, select(x < INF, y, x), select(x == 0.0, -INF, x * NAN))


def log1p_f8(x: F8) -> F8:
    """log(1 + x), 1 ULP: what 1 + x rounds away comes back as a first-order correction."""
    u = 1.0 + x
    k, m = log_parts_f8(u)
    near = k == 0.0
    lost = select(x > 1.0, 1.0 - (u - x), x - (u - 1.0))
    c = select(near, 0.0, lost / u)
    f = select(near, x, m - 1.0)
    y = k * 0.6931471805601177 + (f + (log_fraction_f8(f) + (c + k * -1.7239444525614834773e-13)))
    y = select(x > -1.0, select(x < INF, y, x), select(x == -1.0, -INF, x * NAN))
    return select(x == 0.0, x, y)


def log2_f8(x: F8) -> F8:
    """The logarithm to base 2, 2 ULP; exact at powers of 2."""
    k, m = log_parts_f8(x)
    f = m - 1.0
    y = k + (f + log_fraction_f8(f)) * 1.4426950408889634074
    return select(x > 0.0, select(x < INF, y, x), select(x == 0.0, -INF, x * NAN))


def log10_f8(x: F8) -> F8:
    """The logarithm to base 10, 2 ULP."""
    k, m = log_parts_f8(x)
    f = m - 1.0
    y = k * 0.3010299956640665 + (k * -8.5323443170571065302e-14 + (f + log_fraction_f8(f)) * 0.43429448190325182765)
    return select(x > 0.0, select(x < INF, y, x), select(x == 0.0, -INF, x * NAN))


def asinh_f8(x: F8) -> F8:
    """asinh(x) = log1p(a + a*a / (1 + sqrt(1 + a*a))), a = |x|, and log(a) + log(2) for large a; 2 ULP."""
    a = abs_f8(x)
    large = a > 1e150
    v = select(large, a, a + a * a / (1.0 + sqrt_f8(a * a + 1.0)))
    return copysign_f8(log1p_f8(v) + select(large, 0.69314718055994530942, f8(0.0)), x)


def acosh_f8(x: F8) -> F8:
    """acosh(x) = log1p(t + sqrt(2 t + t*t)) with t = x - 1, NaN below 1; 3 ULP."""
    t = x - 1.0
    large = x > 1e150
    y = log1p_f8(select(large, x, t + sqrt_f8(t * (t + 2.0))))
    y = select(large, y + 0.69314718055994530942, y)
    return select(x < 1.0, x * NAN, y)


def atanh_f8(x: F8) -> F8:
    """atanh(x) = log1p(2 a / (1 - a)) / 2 with a = |x|; 2 ULP."""
    a = abs_f8(x)
    return copysign_f8(0.5 * log1p_f8((a + a) / (1.0 - a)), x)


def log1p_unit_f8(e: F8) -> F8:
    """log(1 + e) for 0 <= e <= 1: there log(1 + e) = log 2 + log(1 + (e - 1) / 2), with nothing lost."""
    large = e > 0.41421356237309504880
    f = select(large, e * 0.5 - 0.5, e)
    y = f + (log_fraction_f8(f) + select(large, -1.7239444525614834773e-13, f8(0.0)))
    return y + select(large, 0.6931471805601177, f8(0.0))


def softplus_f8(x: F8) -> F8:
    """log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)), 2 ULP."""
    return select(x < 0.0, 0.0, x) + log1p_unit_f8(exp_f8(-abs_f8(x)))


def logaddexp_f8(a: F8, b: F8) -> F8:
    """log(exp(a) + exp(b)), 3 ULP of the largest of |a|, |b| and the result, as the sum may cancel."""
    d = select(a == b, 0.0, -abs_f8(a - b))
    return select(a > b, a, b) + log1p_unit_f8(exp_f8(d))
