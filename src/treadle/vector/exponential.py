"""Exponentials: exp, exp2, expm1, sigmoid, tanh, sinh, cosh, for float32 and float64, without branches.

All rest on one split, exp(x) = (1 + p) * s * u: n = round(x / ln 2) by adding 1.5 * 2**mantissa (the sum's low bits
are then n itself), r = x - n ln 2 with ln 2 in two parts, p = r + r*r*P(r) with P fitted on |r| <= ln(2) / 2
(tests/vector/fit.py), and 2**n made as two powers of two, s * u, so that results near overflow and among the
subnormals round once. Most polynomials go by Horner's rule, which has the fewest operations. Elements of a loop are
independent, but a processor holds only so many operations at a time (Zen 3: about 128 of vectors), so that a chain
of waits counts too: the longer ones are split where that costs an operation or two.
"""

from __future__ import annotations

from treadle.vector.primitives import (
    F4,
    F8,
    abs_f4,
    abs_f8,
    bits_f4,
    bits_f8,
    copysign_f4,
    copysign_f8,
    f8,
    float_i4,
    float_i8,
    i8,
    select,
)


def expm1_poly_f4(r: F4) -> F4:
    """exp(r) - 1 for |r| <= ln(2) / 2."""
    q = 0.0013814563642475863072 * r + 0.0083687351205673437141
    q = q * r + 0.041668389770051047497
    q = q * r + 0.16666520484524435388
    q = q * r + 0.49999993438115191425
    return r * r * q + r


def exp_parts_f4(x: F4) -> tuple[F4, F4, F4, F4]:
    """p, s, u, 1 / u with exp(x) = (1 + p) * s * u, for x in the range where n fits the exponents of s and u."""
    t = x * 1.4426950408889634 + 12582912.0
    k = t - 12582912.0
    r = (x - k * 0.693145751953125) - k * 1.42860682031e-6
    half = k * 0.5 + 12582912.0
    rest = (k - (half - 12582912.0)) + 12582912.0
    s = float_i4((bits_f4(half) + 127) << 23)
    u = float_i4((bits_f4(rest) + 127) << 23)
    v = float_i4((127 - bits_f4(rest)) << 23)
    return expm1_poly_f4(r), s, u, v


def exp_f4(x: F4) -> F4:
    """exp(x) = y * 2**h * 2**h, x = 2 h ln(2) + log(y), 2 ULP: the first product is exact, the second rounds once."""
    x = select(x > 89.0, 89.0, x)
    x = select(x < -104.0, -104.0, x)
    t = x * 0.7213475204444817 + 12582912.0
    k = t - 12582912.0
    r = (x - k * 1.38629150390625) - k * 2.85721364062e-6
    r2 = r * r
    q0 = 0.16666613956374097 * r + 0.50000034580620898
    q1 = 0.0083361125469250956 * r + 0.041661270916900415
    q2 = 0.00019610496438581624 * r + 0.0014104444492737239
    q = (q2 * r2 + q1) * r2 + q0
    s = float_i4((bits_f4(t) << 23) + 1065353216)
    return (1.0 + (r2 * q + r)) * s * s


def exp2_f4(x: F4) -> F4:
    """2**x, 2 ULP: the integer part of x is exact, the rest goes through exp."""
    x = select(x > 129.0, 129.0, x)
    x = select(x < -151.0, -151.0, x)
    k = (x + 12582912.0) - 12582912.0
    half = k * 0.5 + 12582912.0
    rest = (k - (half - 12582912.0)) + 12582912.0
    r = x - k
    p = expm1_poly_f4(r * 0.693145751953125 + r * 1.42860682031e-6)
    s = float_i4((bits_f4(half) + 127) << 23)
    u = float_i4((bits_f4(rest) + 127) << 23)
    return (1.0 + p) * s * u


def expm1_f4(x: F4) -> F4:
    """exp(x) - 1, 3 ULP: p is added before 1 is, so that nothing is lost near 0."""
    y = select(x > 89.0, 89.0, x)
    y = select(y < -40.0, -40.0, y)
    p, s, u, v = exp_parts_f4(y)
    return select(x == 0.0, x, (p * s + (s - v)) * u)


def sigmoid_f4(x: F4) -> F4:
    """v / (exp(-x) v + v) with v = 2**-60, 2 ULP: nothing overflows, and small results round once.

    The larger part of the sum is added last, so that what comes before it rounds finely.
    """
    y = select(x > 20.0, 20.0, x)
    y = select(y < -104.0, -104.0, y)
    t = y * -1.4426950408889634 + 12582912.0
    k = t - 12582912.0
    p = expm1_poly_f4((-y - k * 0.693145751953125) - k * 1.42860682031e-6)
    b = (bits_f4(t) << 23) + 562036736
    smaller = float_i4(select(b < 562036736, b, 562036736))
    larger = float_i4(select(b > 562036736, b, 562036736))
    return 8.673617379884035e-19 / (p * float_i4(b) + smaller + larger)


def tanh_f4(x: F4) -> F4:
    """tanh(x) = m / d, m = (s - 1) + (s + 1) w, d = m + (2 - 2 w), by the addition theorem, 2 ULP.

    |x| = n ln(2) / 2 + r, s = 2**n, w = tanh(r); n is rounded down, so that r >= 0 and m never cancels.
    """
    a = abs_f4(x)
    a = select(a > 10.0, 10.0, a)
    t = (a * 2.8853900817779268 - 0.5) + 12582912.0
    k = t - 12582912.0
    r = (a - k * 0.3465728759765625) - k * 7.14303410155e-7
    z = r * r
    q = -0.0492320623978470738 * z + 0.13301003665927047519
    q = q * z - 0.3333269865726956153
    w = z * r * q + r
    s = float_i4((bits_f4(t) << 23) + 1065353216)
    m = w * (s + 1.0) + (s - 1.0)
    y = m / (m + (w * -2.0 + 2.0))
    return float_i4(bits_f4(y) | (bits_f4(x) & -2147483648))


def cosh_f4(x: F4) -> F4:
    """cosh(x) = h + 1 / (4 h) with h = exp(|x|) / 2, 2 ULP."""
    a = abs_f4(x)
    a = select(a > 90.0, 90.0, a)
    p, s, u, _ = exp_parts_f4(a)
    h = (1.0 + p) * (s * 0.5) * u
    return h + 0.25 / h


def sinh_f4(x: F4) -> F4:
    """sinh(x) = g + g / (2 g + 1) with g = (exp(|x|) - 1) / 2, 3 ULP."""
    a = abs_f4(x)
    a = select(a > 90.0, 90.0, a)
    p, s, u, v = exp_parts_f4(a)
    g = (p * s + (s - v)) * 0.5 * u
    y = select(a > 20.0, g + 0.5, g + g / (2.0 * g + 1.0))
    return select(a < 1e-4, x, copysign_f4(y, x))


def expm1_poly_f8(r: F8) -> F8:
    """exp(r) - 1 for |r| <= ln(2) / 2."""
    q = 2.500010028332896089e-8 * r + 2.7630286435375374806e-7
    q = q * r + 2.7557586484312338204e-6
    q = q * r + 0.000024801493002461205286
    q = q * r + 0.00019841269506182581692
    q = q * r + 0.0013888888943711534582
    q = q * r + 0.0083333333334947778155
    q = q * r + 0.041666666666529903109
    q = q * r + 0.16666666666666411807
    q = q * r + 0.50000000000000106492
    return r * r * q + r


def exp_parts_f8(x: F8) -> tuple[F8, F8, F8, F8]:
    """p, s, u, 1 / u with exp(x) = (1 + p) * s * u, for x in the range where n fits the exponents of s and u."""
    t = x * 1.4426950408889634 + 6755399441055744.0
    k = t - 6755399441055744.0
    r = (x - k * 0.6931471805601177) - k * -1.7239444525614834773e-13
    half = k * 0.5 + 6755399441055744.0
    rest = (k - (half - 6755399441055744.0)) + 6755399441055744.0
    s = float_i8((bits_f8(half) + 1023) << 52)
    u = float_i8((bits_f8(rest) + 1023) << 52)
    v = float_i8((1023 - bits_f8(rest)) << 52)
    return expm1_poly_f8(r), s, u, v


def exp_f8(x: F8) -> F8:
    """exp(x), 1 ULP; 2**n is 2**(n - 1) times 2, or where that is subnormal 2**(n + 512) times 2**-512."""
    x = select(x > 710.0, 710.0, x)
    x = select(x < -746.0, -746.0, x)
    t = x * 1.4426950408889634 + 6755399441055744.0
    k = t - 6755399441055744.0
    r = (x - k * 0.6931471805601177) - k * -1.7239444525614834773e-13
    small = x < -700.0
    exponent = select(small, i8(1535), 1022) << 52
    s = float_i8((bits_f8(t) << 52) + exponent)
    return (1.0 + expm1_poly_f8(r)) * s * select(small, f8(7.458340731200207e-155), 2.0)


def exp2_f8(x: F8) -> F8:
    """2**x, 2 ULP: the integer part of x is exact, the rest goes through exp."""
    x = select(x > 1025.0, 1025.0, x)
    x = select(x < -1076.0, -1076.0, x)
    k = (x + 6755399441055744.0) - 6755399441055744.0
    half = k * 0.5 + 6755399441055744.0
    rest = (k - (half - 6755399441055744.0)) + 6755399441055744.0
    r = x - k
    p = expm1_poly_f8(r * 0.6931471805601177 + r * -1.7239444525614834773e-13)
    s = float_i8((bits_f8(half) + 1023) << 52)
    u = float_i8((bits_f8(rest) + 1023) << 52)
    return (1.0 + p) * s * u


def expm1_f8(x: F8) -> F8:
    """exp(x) - 1, 3 ULP: p is added before 1 is, so that nothing is lost near 0."""
    y = select(x > 710.0, 710.0, x)
    y = select(y < -40.0, -40.0, y)
    p, s, u, v = exp_parts_f8(y)
    return select(x == 0.0, x, (p * s + (s - v)) * u)


def sigmoid_f8(x: F8) -> F8:
    """v / (exp(-x) v + v) with v = 2**-500, 2 ULP: nothing overflows, and small results round once.

    The larger part of the sum is added last, so that what comes before it rounds finely.
    """
    y = select(x > 40.0, 40.0, x)
    y = select(y < -746.0, -746.0, y)
    t = y * -1.4426950408889634 + 6755399441055744.0
    k = t - 6755399441055744.0
    p = expm1_poly_f8((-y - k * 0.6931471805601177) - k * -1.7239444525614834773e-13)
    s = float_i8((bits_f8(t) << 52) + 2355382605114769408)
    v = 3.054936363499605e-151
    return v / (p * s + select(s < v, s, v) + select(s > v, s, v))


def tanh_f8(x: F8) -> F8:
    """tanh(x) = m / d, m = (s - 1) + (s + 1) w, d = m + (2 - 2 w), by the addition theorem, 2 ULP.

    |x| = n ln(2) / 2 + r, s = 2**n, w = tanh(r); n is rounded down, so that r >= 0 and m never cancels.
    """
    a = abs_f8(x)
    a = select(a > 20.0, 20.0, a)
    t = (a * 2.8853900817779268 - 0.5) + 6755399441055744.0
    k = t - 6755399441055744.0
    r = (a - k * 0.34657359028005885) - k * -8.619722262807417e-14
    z = r * r
    q = 0.00047651539652977444754 * z - 0.0014315399369167575214
    q = q * z + 0.0035892723249896720596
    q = q * z - 0.0088630391262316366329
    q = q * z + 0.021869480630295137332
    q = q * z - 0.053968253791747356668
    q = q * z + 0.1333333333314243601
    q = q * z - 0.33333333333332626757
    w = z * r * q + r
    s = float_i8((bits_f8(t) << 52) + 4607182418800017408)
    m = w * (s + 1.0) + (s - 1.0)
    return copysign_f8(m / (m + (w * -2.0 + 2.0)), x)


def cosh_f8(x: F8) -> F8:
    """cosh(x) = h + 1 / (4 h) with h = exp(|x|) / 2, 2 ULP."""
    a = abs_f8(x)
    a = select(a > 711.0, 711.0, a)
    p, s, u, _ = exp_parts_f8(a)
    h = (1.0 + p) * (s * 0.5) * u
    return h + 0.25 / h


def sinh_f8(x: F8) -> F8:
    """sinh(x) = g + g / (2 g + 1) with g = (exp(|x|) - 1) / 2, 3 ULP."""
    a = abs_f8(x)
    a = select(a > 711.0, 711.0, a)
    p, s, u, v = exp_parts_f8(a)
    g = (p * s + (s - v)) * 0.5 * u
    y = select(a > 40.0, g + 0.5, g + g / (2.0 * g + 1.0))
    return select(a < 1e-8, x, copysign_f8(y, x))
