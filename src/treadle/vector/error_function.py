"""The error function and its complement, for float32 and float64, without branches.

Polynomials from tests/vector/fit.py; exp of -a*a needs a*a to more digits than one float64 holds, which fma gives.
"""

from __future__ import annotations

from treadle.vector.exponential import exp_parts_f8, expm1_f8
from treadle.vector.power import exp_wide
from treadle.vector.primitives import (
    F4,
    F8,
    abs_f8,
    copysign_f8,
    f4,
    f8,
    fma_f8,
    mul_apart_f4,
    select,
)


def erf_f8(x: F8) -> F8:
    """erf(x) = 1 - exp(-a P(a)), a = |x|: P is fitted to -log(erfc(a)) / a, so that one form serves all x; 3 ULP."""
    a = abs_f8(x)
    a = select(a > 6.0, 6.0, a)
    q0 = 0.10277260330188522442 * a + 0.6366197723675821594
    q1 = -0.00020919466009873918661 * a - 0.019128447007596077265
    q2 = -0.00059012393912292207766 * a + 0.0016962060951334562734
    q3 = 0.000064509904864699699127 * a + 0.000025872299837332382137
    q4 = 3.4721276088352808462e-6 * a - 0.000029763008792444630581
    q5 = -1.6541225849370837442e-6 * a + 2.7505525870399251712e-6
    q6 = 1.850240613073048932e-7 * a + 2.6418043045733679039e-7
    q7 = 7.6646250389361321509e-8 * a - 1.6725965121622973522e-7
    q8 = 6.0088518670666933506e-9 * a - 2.4695295236358925989e-8
    q9 = 1.5931588792294380524e-10 * a - 1.1219960822191089364e-9
    q10 = 1.2208350338017714452e-12 * a - 1.6701759800917791658e-11
    q11 = 1.1875377001252395972e-15 * a - 5.5594781471345382335e-14
    a2 = a * a
    q0 = q1 * a2 + q0
    q1 = q3 * a2 + q2
    q2 = q5 * a2 + q4
    q3 = q7 * a2 + q6
    q4 = q9 * a2 + q8
    q5 = q11 * a2 + q10
    a4 = a2 * a2
    q0 = q1 * a4 + q0
    q1 = q3 * a4 + q2
    q2 = q5 * a4 + q4
    a8 = a4 * a4
    q0 = q1 * a8 + q0
    a16 = a8 * a8
    q0 = q2 * a16 + q0
    q = q0 * a + 1.1283791670955125719
    return copysign_f8(-expm1_f8(-(a * q)), x)


def erf_small(x: F8) -> F8:
    """erf(x) for |x| <= 0.5, to 2**-53 of 1."""
    z = x * x
    q0 = 0.11283791670910874698 * z - 0.37612638903183320428
    q1 = 0.0052239773058612326145 * z - 0.026866170628400452581
    q2 = 0.00012053087067764186099 * z - 0.00085482922844535666014
    q3 = 1.466877508571837356e-6 * z - 0.000014839959142105730646
    z2 = z * z
    q0 = q1 * z2 + q0
    q1 = q3 * z2 + q2
    q = q1 * (z2 * z2) + q0
    return x * 1.1283791670955125739 + x * (z * q)


def erfc_f8(x: F8) -> F8:
    """erfc(x) = exp(-a*a) G(t) / (a + 3), a = |x|, t = (a - 3) / (a + 3); a*a to twice the digits; 4 ULP.

    For a < 0.5 it is 1 - erf(x): the way over G leaves more than 4 ULP where it is nearly 1.
    """
    a = abs_f8(x)
    a = select(a > 27.5, 27.5, a)
    d = a + 3.0
    t = (a - 3.0) / d
    q0 = 0.59022835710410161192 * t - 0.88339445316988366145
    q1 = 0.11952776128730867415 * t - 0.31046726190056254344
    q2 = -0.001212416627760661346 * t - 0.026827234624682503587
    q3 = -0.00054830968378228914671 * t + 0.0030340620049550101779
    q4 = 0.00010756142291550487712 * t - 0.0002767778838483012307
    q5 = -0.000017470260477693023133 * t + 0.000030398387445356725811
    q6 = 2.7644639231006391542e-6 * t - 4.7500700253827108704e-6
    q7 = -4.0613615728715192404e-7 * t + 1.0009457516920845491e-6
    q8 = 4.3684205276047235295e-8 * t - 2.3670635177832079762e-7
    q9 = 9.9943901664790813214e-10 * t + 5.3598446941182301092e-8
    q10 = -1.9368486037455478648e-9 * t - 9.868385118118031332e-9
    q11 = 3.6886353141252321998e-10 * t + 1.061210171886165873e-9
    t2 = t * t
    q0 = q1 * t2 + q0
    q1 = q3 * t2 + q2
    q2 = q5 * t2 + q4
    q3 = q7 * t2 + q6
    q4 = q9 * t2 + q8
    q5 = q11 * t2 + q10
    t4 = t2 * t2
    q0 = q1 * t4 + q0
    q1 = q3 * t4 + q2
    q2 = q5 * t4 + q4
    t8 = t4 * t4
    q0 = q1 * t8 + q0
    t16 = t8 * t8
    q0 = q2 * t16 + q0
    q = q0 * t + 1.0740069070883397025
    h = fma_f8(a, a, 0.0)
    p, s, u, _ = exp_parts_f8(-h)
    y = q / d
    y = (y + y * (p - (1.0 + p) * fma_f8(a, a, -h))) * s * u
    return select(a < 0.5, 1.0 - erf_small(x), select(x < 0.0, 2.0 - y, y))


def erf_f4(x: F4) -> F4:
    """erf(x) = x (P(z) / Q(z) + 1/4), z = x*x, 3 ULP and never beyond 1, which the formula has passed at 4.2.

    The quarter makes the quotient small, so that the roundings in it count for less.
    """
    y = select(x > 4.2, 4.2, x)
    y = select(y < -4.2, -4.2, y)
    z = y * y
    z2 = z * z
    p0 = 0.110536221381 * z + 1.4963343352
    p1 = 3.96764456092e-5 * z + 0.0412615380044
    p2 = -1.27299009303e-5 * z - 9.7976748872e-6
    q0 = 0.855294657158 * z + 1.7035176
    q1 = 0.025500186093 * z + 0.194386402484
    q2 = 6.48887493446e-5 * z + 0.00198037100726
    p = (p2 * z2 + p1) * z2 + p0
    q = (q2 * z2 + q1) * z2 + q0
    y = y * (p / q) + mul_apart_f4(y, 0.25)
    y = select(y > 1.0, 1.0, y)
    return select(y < -1.0, -1.0, y)


def erfc_f4(x: F4) -> F4:
    """erfc(x) = exp(-a*a) G(t) / (a + 4), a = |x|, in float64; 2 ULP."""
    a = abs_f8(f8(x))
    a = select(a > 10.5, 10.5, a)
    d = a + 4.0
    t = (a - 4.0) / d
    q0 = 0.77320387296373189748 * t - 0.9765488489936444379
    q1 = 0.33094443110841021467 * t - 0.54084940378055670189
    q2 = 0.075779967075778786905 * t - 0.1740070278583392996
    q3 = 0.0073117960816253531836 * t - 0.026836805400773785283
    t2 = t * t
    q0 = q1 * t2 + q0
    q1 = q3 * t2 + q2
    t4 = t2 * t2
    q0 = q1 * t4 + q0
    t8 = t4 * t4
    q0 = 0.0014777056501060262603 * t8 + q0
    q = q0 * t + 1.0959957015020293364
    y = q / d * exp_wide(-(a * a))
    return f4(select(x < 0.0, 2.0 - y, y))
