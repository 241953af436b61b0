"""The logarithm of the gamma function, for float32 and float64, without branches.

Near its zeros at 1 and 2 a polynomial times both distances keeps the digits; the recurrence brings other small
arguments there, Stirling's formula serves large ones, reflection negative ones. Fits are in tests/vector/fit.py.
"""

from __future__ import annotations

from treadle.vector.logarithm import log_f8
from treadle.vector.primitives import F4, F8, abs_f8, f4, f8, fma_f8, rint_f8, select
from treadle.vector.trigonometric import cos_fraction_f8, sin_fraction_f8

INF = float("inf")


def lgamma_near(c: F8) -> F8:
    """lgamma(1 + c) / (c (c - 1)) for c from 0 to 1.25."""
    v = c - 0.625
    q0 = -0.1315789912868340526 * v + 0.4658096373623269393
    q1 = -0.024194436430673032821 * v + 0.052579426220423580725
    q2 = -0.0062154504153346644818 * v + 0.011991915958043123921
    q3 = -0.0018070639706953218811 * v + 0.0033172708182390385507
    q4 = -0.00055895052001667365145 * v + 0.00099927358947239403225
    q5 = -0.0001793816365538560074 * v + 0.00031548457493001988326
    q6 = -0.000059075093197143020813 * v + 0.00010269797587707282278
    q7 = -0.00001950584630558006511 * v + 0.000033752655770777904838
    q8 = -7.415905020739852342e-6 * v + 0.000012481424829940784592
    q9 = -1.1279658857419567746e-6 * v + 2.1794655930891552577e-6
    q10 = -1.8348212449253444761e-6 * v + 2.9903137686773884437e-6
    v2 = v * v
    q0 = q1 * v2 + q0
    q1 = q3 * v2 + q2
    q2 = q5 * v2 + q4
    q3 = q7 * v2 + q6
    q4 = q9 * v2 + q8
    q5 = q10
    v4 = v2 * v2
    q0 = q1 * v4 + q0
    q1 = q3 * v4 + q2
    q2 = q5 * v4 + q4
    v8 = v4 * v4
    q0 = q1 * v8 + q0
    q1 = q2
    v16 = v8 * v8
    q0 = q1 * v16 + q0
    return q0


def stirling_rest(z: F8) -> F8:
    """lgamma(z) - ((z - 1/2) (log(z) - 1) + log(2 pi) / 2 - 1/2) for z from 8."""
    i = 1.0 / z
    w = i * i
    q0 = -0.0027777777776061076972 * w + 0.083333333333333296316
    q1 = -0.00059520245967435539258 * w + 0.00079365066453355564814
    q2 = -0.0016521211536965343195 * w + 0.00083726911617794667158
    w2 = w * w
    q0 = q1 * w2 + q0
    q1 = q2
    w4 = w2 * w2
    q0 = q1 * w4 + q0
    return i * q0


def lgamma_parts(z: F8) -> tuple[F8, F8]:
    """lgamma(z) for z >= 0, and lgamma(1 + z), which is good for z < 1 only."""
    small = z < 1.0
    shift = select(small, 0.0, f8(1.0))
    product = f8(1.0)
    for_two = z > 2.25
    product = select(for_two, product * (z - 1.0), product)
    shift = select(for_two, 2.0, shift)
    for_three = z > 3.25
    product = select(for_three, product * (z - 2.0), product)
    shift = select(for_three, 3.0, shift)
    for_four = z > 4.25
    product = select(for_four, product * (z - 3.0), product)
    shift = select(for_four, 4.0, shift)
    for_five = z > 5.25
    product = select(for_five, product * (z - 4.0), product)
    shift = select(for_five, 5.0, shift)
    for_six = z > 6.25
    product = select(for_six, product * (z - 5.0), product)
    shift = select(for_six, 6.0, shift)
    for_seven = z > 7.25
    product = select(for_seven, product * (z - 6.0), product)
    shift = select(for_seven, 7.0, shift)
    large = z >= 8.0
    c = select(large, 0.5, z - shift)
    near = lgamma_near(c) * c * (c - 1.0)
    logarithm = log_f8(select(small | large, z, product))
    middle = near + select(small, -logarithm, logarithm)
    far = (z - 0.5) * (logarithm - 1.0) + (0.41893853320467274178 + stirling_rest(z))
    return select(large, far, middle), near


def sin_turn(z: F8) -> F8:
    """|sin(pi z)|, exact reduction: 0 at whole numbers."""
    a = abs_f8(z - rint_f8(z))
    steep = a > 0.25
    t = select(steep, 0.5 - a, a)
    r = fma_f8(t, 3.1415926535897931, 0.0)
    e = fma_f8(t, 3.1415926535897931, -r) + t * 1.2246467991473532e-16
    return select(steep, cos_fraction_f8(r, e), sin_fraction_f8(r, e))


def lgamma_f8(x: F8) -> F8:
    """log|gamma(x)|, 4 ULP for x >= 0; below, of the largest of 1, |result| and lgamma(|x|); inf at poles, +-inf."""
    z = abs_f8(x)
    y, near = lgamma_parts(z)
    y = select(z == INF, INF, y)
    small = z < 1.0
    s = sin_turn(select(z == INF, 0.0, z)) * 0.31830988618379067154
    reflected = -log_f8(select(small, s, s * z)) - select(small, near, y)
    return select(x < 0.0, select(s == 0.0, INF, reflected), y)


def lgamma_f4(x: F4) -> F4:
    """log|gamma(x)| by way of float64, 1 ULP for x >= 0; below, of the largest of 1, |result| and lgamma(|x|)."""
    return f4(lgamma_f8(f8(x)))
