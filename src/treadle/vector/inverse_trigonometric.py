"""Arcsine, arccosine, arctangent and the angle of a point, for float32 and float64, without branches.

Identities bring every argument to the range of one fitted odd polynomial (tests/vector/fit.py); pi and its parts
are added in two pieces.
"""

from __future__ import annotations

from treadle.vector.primitives import (
    B1,
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
    select,
    sqrt_f4,
    sqrt_f8,
)

INF = float("inf")


def atan_fraction_f4(t: F4) -> F4:
    """atan(t) - t for |t| <= tan(pi/8)."""
    z = t * t
    q0 = 0.19977856287736196226 * z - 0.33332953787749899733
    q1 = 0.080571528152538898483 * z - 0.138789745484696914
    z2 = z * z
    q = q1 * z2 + q0
    return t * z * q


def atan_ratio_f4(low: F4, high: F4) -> F4:
    """atan(low / high), 0 <= low <= high, by one division; atan(v) = pi/4 + atan((v - 1) / (v + 1)) above tan(pi/8)."""
    steep = low > high * 0.41421356237309504880
    t = select(steep, low - high, low) / select(steep, low + high, high)
    base = select(steep, 0.785398185253, f4(0.0))
    rest = select(steep, -2.18556950009e-8, f4(0.0))
    return base + (t + (atan_fraction_f4(t) + rest))


def atan_f4(x: F4) -> F4:
    """atan(x), 3 ULP."""
    a = abs_f4(x)
    steep = a > 1.0
    high = select(steep, select(a > 1e30, 1e30, a), 1.0)
    y = atan_ratio_f4(select(steep, 1.0, a), high)
    return copysign_f4(select(steep, 1.57079637051 - (y - -4.37113900019e-8), y), x)


def atan2_f4(y: F4, x: F4) -> F4:
    """The angle of the point (x, y), 3 ULP, with C's rules for zeros and infinities."""
    a = abs_f4(y)
    b = abs_f4(x)
    a, b = scaled_pair_f4(a, b)
    steep = a > b
    low = select(steep, b, a)
    high = select(steep, a, b)
    same = (low == high) & ((low == 0.0) | (low == INF))
    angle = atan_ratio_f4(select(same, select(low == INF, 1.0, low), low), select(same, 1.0, high))
    angle = select(steep, 1.57079637051 - (angle - -4.37113900019e-8), angle)
    angle = select(signbit_f4(x), 3.14159274101 - (angle - -8.74227800037e-8), angle)
    return copysign_f4(select((x == x) & (y == y), angle, x + y), y)


def signbit_f4(x: F4) -> B1:
    """Whether the sign bit is set, in -0 too."""
    return bits_f4(x) < 0


def scaled_pair_f4(a: F4, b: F4) -> tuple[F4, F4]:
    """Both times one power of 2, so that their sum cannot overflow and their ratio keeps its digits."""
    large = (a > 1e37) | (b > 1e37)
    factor = select(large, 0.0625, f4(1.0))
    return a * factor, b * factor


def asin_fraction_f4(t: F4, z: F4) -> F4:
    """asin(t) - t for z = t*t <= 1/4."""
    q0 = 0.074952360992946510241 * z + 0.1666675403237592396
    q1 = 0.024142367865295112362 * z + 0.045477990047202294708
    z2 = z * z
    q0 = q1 * z2 + q0
    z4 = z2 * z2
    q = 0.042228746152782970511 * z4 + q0
    return t * z * q


def asin_f4(x: F4) -> F4:
    """asin(x), by asin(x) = pi/2 - 2 asin(sqrt((1 - x) / 2)) above 1/2; 3 ULP."""
    a = abs_f4(x)
    steep = a > 0.5
    z = select(steep, 0.5 - 0.5 * a, a * a)
    t = select(steep, sqrt_f4(z), a)
    y = t + asin_fraction_f4(t, z)
    return copysign_f4(select(steep, 1.57079637051 - (y + y - -4.37113900019e-8), y), x)


def acos_f4(x: F4) -> F4:
    """acos(x), 2 ULP: the same split, from the other end."""
    a = abs_f4(x)
    steep = a > 0.5
    z = select(steep, 0.5 - 0.5 * a, a * a)
    t = select(steep, sqrt_f4(z), a)
    rest = asin_fraction_f4(t, z)
    y = t + rest
    near = select(x < 0.0, 3.14159274101 - (y + y - -8.74227800037e-8), y + y)
    middle = copysign_f4(t, x)
    return select(steep, near, 1.57079637051 - (middle - (-4.37113900019e-8 - copysign_f4(rest, x))))


def atan_fraction_f8(t: F8) -> F8:
    """atan(t) - t for |t| <= tan(pi/8)."""
    z = t * t
    q0 = 0.19999999999953516676 * z - 0.33333333333333197254
    q1 = 0.11111110783031889919 * z - 0.14285714280188833397
    q2 = 0.076920599406344428863 * z - 0.09090897743965499321
    q3 = 0.058478610520562965006 * z - 0.066631005620584850399
    q4 = 0.038060637403659721346 * z - 0.050391639299940290409
    z2 = z * z
    q0 = q1 * z2 + q0
    q1 = q3 * z2 + q2
    q2 = -0.017902534134126427542 * z2 + q4
    z4 = z2 * z2
    q0 = q1 * z4 + q0
    z8 = z4 * z4
    q = q2 * z8 + q0
    return t * z * q


def atan_ratio_f8(low: F8, high: F8) -> F8:
    """atan(low / high), 0 <= low <= high, by one division; atan(v) = pi/4 + atan((v - 1) / (v + 1)) above tan(pi/8)."""
    steep = low > high * 0.41421356237309504880
    t = select(steep, low - high, low) / select(steep, low + high, high)
    base = select(steep, 0.7853981633974483, f8(0.0))
    rest = select(steep, 3.0616169978683829431e-17, f8(0.0))
    return base + (t + (atan_fraction_f8(t) + rest))


def atan_f8(x: F8) -> F8:
    """atan(x), 3 ULP."""
    a = abs_f8(x)
    steep = a > 1.0
    high = select(steep, select(a > 1e300, 1e300, a), 1.0)
    y = atan_ratio_f8(select(steep, 1.0, a), high)
    return copysign_f8(select(steep, 1.5707963267948966 - (y - 6.1232339957367658861e-17), y), x)


def atan2_f8(y: F8, x: F8) -> F8:
    """The angle of the point (x, y), 3 ULP, with C's rules for zeros and infinities."""
    a = abs_f8(y)
    b = abs_f8(x)
    a, b = scaled_pair_f8(a, b)
    steep = a > b
    low = select(steep, b, a)
    high = select(steep, a, b)
    same = (low == high) & ((low == 0.0) | (low == INF))
    angle = atan_ratio_f8(select(same, select(low == INF, 1.0, low), low), select(same, 1.0, high))
    angle = select(steep, 1.5707963267948966 - (angle - 6.1232339957367658861e-17), angle)
    angle = select(signbit_f8(x), 3.141592653589793 - (angle - 1.2246467991473531772e-16), angle)
    return copysign_f8(select((x == x) & (y == y), angle, x + y), y)


def signbit_f8(x: F8) -> B1:
    """Whether the sign bit is set, in -0 too."""
    return bits_f8(x) < 0


def scaled_pair_f8(a: F8, b: F8) -> tuple[F8, F8]:
    """Both times one power of 2, so that their sum cannot overflow and their ratio keeps its digits."""
    large = (a > 1e307) | (b > 1e307)
    factor = select(large, 0.0625, f8(1.0))
    return a * factor, b * factor


def asin_fraction_f8(t: F8, z: F8) -> F8:
    """asin(t) - t for z = t*t <= 1/4."""
    q0 = 0.075000000003447773527 * z + 0.1666666666666537583
    q1 = 0.030381959394960811846 * z + 0.044642856821991717862
    q2 = 0.017359795515559071691 * z + 0.022371751947929936514
    q3 = 0.012174937428730753164 * z + 0.013884351457665315166
    q4 = 0.019594321799139239476 * z + 0.0065035340540139651989
    q5 = 0.031981702421818510677 * z - 0.016326688294867219955
    z2 = z * z
    q0 = q1 * z2 + q0
    q1 = q3 * z2 + q2
    q2 = q5 * z2 + q4
    z4 = z2 * z2
    q0 = q1 * z4 + q0
    z8 = z4 * z4
    q = q2 * z8 + q0
    return t * z * q


def asin_f8(x: F8) -> F8:
    """asin(x), by asin(x) = pi/2 - 2 asin(sqrt((1 - x) / 2)) above 1/2; 3 ULP."""
    a = abs_f8(x)
    steep = a > 0.5
    z = select(steep, 0.5 - 0.5 * a, a * a)
    t = select(steep, sqrt_f8(z), a)
    y = t + asin_fraction_f8(t, z)
    return copysign_f8(select(steep, 1.5707963267948966 - (y + y - 6.1232339957367658861e-17), y), x)


def acos_f8(x: F8) -> F8:
    """acos(x), 2 ULP: the same split, from the other end."""
    a = abs_f8(x)
    steep = a > 0.5
    z = select(steep, 0.5 - 0.5 * a, a * a)
    t = select(steep, sqrt_f8(z), a)
    rest = asin_fraction_f8(t, z)
    y = t + rest
    near = select(x < 0.0, 3.141592653589793 - (y + y - 1.2246467991473531772e-16), y + y)
    middle = copysign_f8(t, x)
    return select(steep, near, 1.5707963267948966 - (middle - (6.1232339957367658861e-17 - copysign_f8(rest, x))))
