"""Sine, cosine and tangent, for float32 and float64, without branches.

The argument is brought to |r| <= pi/4 by subtracting a multiple of pi/2 in parts (Cody and Waite's idea with fma),
and both fitted polynomials are evaluated; the quarter turn chooses between them. Beyond 2**40 (float32) or 2**49
(float64) that is not exact any more, and `rare_*` calls libm for those elements alone.
"""

from __future__ import annotations

from treadle.vector.primitives import (
    F4,
    F8,
    I8,
    bits_f8,
    f4,
    f8,
    float_i8,
    fma_f8,
    rare_cos_f4,
    rare_cos_f8,
    rare_sin_f4,
    rare_sin_f8,
    rare_tan_f4,
    rare_tan_f8,
    select,
)


def quarter_turns_f8(x: F8) -> tuple[F8, F8, I8]:
    """r, e, n with x = n pi/2 + r + e, |r| <= pi/4 and e the rounding error of r; n is right in its low bits.

    fma makes x - n A exact (A is pi/2 cut to 53 bits, so the difference is a multiple of 2**-53); the next 53 bits are
    subtracted with their errors kept, and a third part follows.
    """
    t = x * 0.63661977236758134308 + 6755399441055744.0
    k = t - 6755399441055744.0
    r = fma_f8(k, -1.5707963267948966, x)
    w = fma_f8(k, 6.1232339957367660359e-17, 0.0)
    lost = fma_f8(k, 6.1232339957367660359e-17, -w)
    y = r - w
    b = y - r
    e = (r - (y - b)) - (w + b)
    return y, e - (lost + k * -1.4973849048591697773e-33), bits_f8(t)


def sin_pair_f8(r: F8, e: F8) -> tuple[F8, F8]:
    """sin(r + e) for |r| <= pi/4 as a sum: r, and r**3 S(r*r) with e times the slope."""
    z = r * r
    q0 = 0.0083333333333223977631 * z - 0.16666666666666631966
    q1 = 2.755731368705189411e-6 * z - 0.00019841269829794424549
    q2 = 1.5896747795285173347e-10 * z - 2.5050757320471435771e-8
    z2 = z * z
    q0 = q1 * z2 + q0
    z4 = z2 * z2
    q = q2 * z4 + q0
    return r, r * z * q + e * (1.0 - 0.5 * z)


def sin_fraction_f8(r: F8, e: F8) -> F8:
    """sin(r + e) for |r| <= pi/4."""
    large, small = sin_pair_f8(r, e)
    return large + small


def cos_pair_f8(r: F8, e: F8) -> tuple[F8, F8]:
    """cos(r + e) for |r| <= pi/4 as a sum: 1 - r*r/2, and its rounding error with r**4 C(r*r)."""
    z = r * r
    q0 = -0.0013888888888874102215 * z + 0.041666666666666599369
    q1 = -2.7557314347762730381e-7 * z + 0.000024801587289467323284
    q2 = -1.1359612759665590667e-11 * z + 2.0875722621940589035e-9
    z2 = z * z
    q0 = q1 * z2 + q0
    z4 = z2 * z2
    q = q2 * z4 + q0
    h = 0.5 * z
    w = 1.0 - h
    return w, ((1.0 - w) - h) + (z * z * q - r * e)


def cos_fraction_f8(r: F8, e: F8) -> F8:
    """cos(r + e) for |r| <= pi/4."""
    large, small = cos_pair_f8(r, e)
    return large + small


def sin_f8(x: F8) -> F8:
    """sin(x), 1 ULP."""
    r, e, n = quarter_turns_f8(x)
    y = select((n & 1) == 0, sin_fraction_f8(r, e), cos_fraction_f8(r, e))
    y = float_i8(bits_f8(y) ^ ((n & 2) << 62))
    return rare_sin_f8(x, select(x == 0.0, x, y))


def cos_f8(x: F8) -> F8:
    """cos(x), 1 ULP."""
    r, e, n = quarter_turns_f8(x)
    y = select((n & 1) == 0, cos_fraction_f8(r, e), sin_fraction_f8(r, e))
    return rare_cos_f8(x, float_i8(bits_f8(y) ^ (((n + 1) & 2) << 62)))


def tan_f8(x: F8) -> F8:
    """tan(x) as sin / cos, or -cos / sin in odd quarter turns; 2 ULP."""
    r, e, n = quarter_turns_f8(x)
    s = sin_fraction_f8(r, e)
    c = cos_fraction_f8(r, e)
    even = (n & 1) == 0
    y = select(even, s, -c) / select(even, c, s)
    return rare_tan_f8(x, select(x == 0.0, x, y))


def quarter_turns_f4(x: F4) -> tuple[F8, I8]:
    """r and n with x = n pi/2 + r, in float64, where two parts of pi/2 are ample."""
    d = f8(x)
    t = d * 0.63661977236758134308 + 6755399441055744.0
    k = t - 6755399441055744.0
    return fma_f8(k, -6.1232339957367660359e-17, fma_f8(k, -1.5707963267948966, d)), bits_f8(t)


def sin_fraction_f4(r: F8) -> F8:
    """sin(r) for |r| <= pi/4, to float32 accuracy in float64."""
    z = r * r
    q0 = 0.0083321770164446974259 * z - 0.16666654927781169016
    z2 = z * z
    q = -0.00019517136704313024906 * z2 + q0
    return r + r * z * q


def cos_fraction_f4(r: F8) -> F8:
    """cos(r) for |r| <= pi/4, to float32 accuracy in float64."""
    z = r * r
    q0 = -0.0013887366552433070948 * z + 0.041666646856457252287
    z2 = z * z
    q = 0.000024438306807358905906 * z2 + q0
    return (1.0 - 0.5 * z) + z * z * q


def sin_f4(x: F4) -> F4:
    """sin(x), 1 ULP."""
    r, n = quarter_turns_f4(x)
    y = select((n & 1) == 0, sin_fraction_f4(r), cos_fraction_f4(r))
    y = float_i8(bits_f8(y) ^ ((n & 2) << 62))
    return rare_sin_f4(x, select(x == 0.0, x, f4(y)))


def cos_f4(x: F4) -> F4:
    """cos(x), 1 ULP."""
    r, n = quarter_turns_f4(x)
    y = select((n & 1) == 0, cos_fraction_f4(r), sin_fraction_f4(r))
    return rare_cos_f4(x, f4(float_i8(bits_f8(y) ^ (((n + 1) & 2) << 62))))


def tan_f4(x: F4) -> F4:
    """tan(x) as sin / cos, or -cos / sin in odd quarter turns; 2 ULP."""
    r, n = quarter_turns_f4(x)
    s = sin_fraction_f4(r)
    c = cos_fraction_f4(r)
    even = (n & 1) == 0
    y = select(even, s, -c) / select(even, c, s)
    return rare_tan_f4(x, select(x == 0.0, x, f4(y)))
