"""The logarithm of the gamma function and its derivative, for float32 and float64, without branches.

Near its zeros at 1 and 2 a polynomial times both distances keeps the digits; the recurrence brings other small
arguments there, Stirling's formula serves large ones, reflection negative ones. Fits are in tests/vector/fit.py.
"""

from __future__ import annotations

from treadle.vector.logarithm import log_f8
from treadle.vector.primitives import F4, F8, abs_f8, copysign_f8, f4, f8, fma_f8, rint_f8, select
from treadle.vector.trigonometric import cos_fraction_f8, sin_fraction_f8

INF = float("inf")
NAN = float("nan")
NEAR = 0.95105587603183289322  # of the fit of digamma between 1 and 2, added last: there are 4.7 ULP otherwise
ROOT_REST = 9.5499954299656977152e-17  # of the root of digamma, beside its float64


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


def digamma_near(z: F8) -> F8:
    """digamma(z) / (z - root) - NEAR for z from 1 to 2, root = 1.4616321449683623."""
    v = z - 1.5
    q0 = -0.42362742128146056635 * v
    q1 = -0.14840492305389045078 * v + 0.24054248424077389655
    q2 = -0.061922133274682489344 * v + 0.094988724454984831477
    q3 = -0.026975796691198776041 * v + 0.040760833810147626233
    q4 = -0.011908219430175462052 * v + 0.017907252499474469022
    q5 = -0.0052799460189813760469 * v + 0.007926943736522834782
    q6 = -0.0023454233728304991711 * v + 0.003519014797753642868
    q7 = -0.0010368259755783308316 * v + 0.0015565837928187274029
    q8 = -0.00048478897663691926592 * v + 0.00072349214232120237332
    q9 = -0.00014686230401719667502 * v + 0.00022691690378084249047
    q10 = -0.00017665828067785611384 * v + 0.00025994162886087121668
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


def digamma_far(i: F8) -> F8:
    """log(z) - 1/(2 z) - digamma(z) for z = 1/i from 8."""
    w = i * i
    q0 = -0.0083333333330408866538 * w + 0.083333333333333156453
    q1 = -0.0041666229660457855424 * w + 0.0039682538043894882126
    q2 = -0.020589004513119767918 * w + 0.0075694777256112817435
    q3 = 0.061537346047966546823
    w2 = w * w
    q0 = q1 * w2 + q0
    q1 = q3 * w2 + q2
    w4 = w2 * w2
    q0 = q1 * w4 + q0
    return w * q0


def digamma_parts(z: F8) -> F8:
    """digamma(z) for z >= 1, and digamma(1 + z) for z < 1: the recurrence brings all below 8 between 1 and 2."""
    small = z < 1.0
    t = select(small, z + 1.0, z)
    above = f8(0.0)
    below = f8(1.0)
    for_two = t >= 2.0
    u = t - 1.0
    above = select(for_two, f8(1.0), above)
    below = select(for_two, u, below)
    for_three = t >= 3.0
    u = t - 2.0
    above = select(for_three, above * u + below, above)
    below = select(for_three, below * u, below)
    for_four = t >= 4.0
    u = t - 3.0
    above = select(for_four, above * u + below, above)
    below = select(for_four, below * u, below)
    for_five = t >= 5.0
    u = t - 4.0
    above = select(for_five, above * u + below, above)
    below = select(for_five, below * u, below)
    for_six = t >= 6.0
    u = t - 5.0
    above = select(for_six, above * u + below, above)
    below = select(for_six, below * u, below)
    for_seven = t >= 7.0
    u = t - 6.0
    above = select(for_seven, above * u + below, above)
    below = select(for_seven, below * u, below)
    shift = select(for_two, f8(1.0), f8(0.0))
    shift = select(for_three, 2.0, shift)
    shift = select(for_four, 3.0, shift)
    shift = select(for_five, 4.0, shift)
    shift = select(for_six, 5.0, shift)
    shift = select(for_seven, 6.0, shift)
    large = t >= 8.0
    c = select(large, 1.5, t - shift)
    near_root = select(small, z - 0.46163214496836225, c - 1.4616321449683623)  # z + 1 is rounded
    d = near_root - ROOT_REST
    near = d * NEAR + (d * digamma_near(c) + above / below)
    i = 1.0 / select(large, t, 8.0)
    far = log_f8(select(large, t, 8.0)) - (0.5 * i + digamma_far(i))
    return select(large, far, near)


def pi_cot_turn(z: F8) -> F8:
    """pi cot(pi z), exact reduction; NaN at whole numbers."""
    d = z - rint_f8(z)
    a = abs_f8(d)
    steep = a > 0.25
    t = select(steep, 0.5 - a, a)
    r = fma_f8(t, 3.1415926535897931, 0.0)
    e = fma_f8(t, 3.1415926535897931, -r) + t * 1.2246467991473532e-16
    s = sin_fraction_f8(r, e)
    c = cos_fraction_f8(r, e)
    y = copysign_f8(3.1415926535897931 * (select(steep, s, c) / select(steep, c, s)), d)
    return select(a == 0.0, NAN, y)


def digamma_f8(x: F8) -> F8:
    """The derivative of log|gamma(x)|, 4 ULP for x > 0; below, of the largest of its parts. -inf at 0, NaN at poles.

    The parts below 0: digamma(x) = digamma(1 - x) - pi cot(pi x). The root at 1.46 keeps its digits.
    """
    z = abs_f8(x)
    y = digamma_parts(z)
    small = z < 1.0
    above = select(small, y, y + 1.0 / z)
    reflected = above + pi_cot_turn(z)
    return select(x < 0.0, reflected, select(small, y - 1.0 / x, y))


def digamma_f4(x: F4) -> F4:
    """The derivative of log|gamma(x)| by way of float64, 1 ULP for x > 0; below, of the largest of its parts."""
    return f4(digamma_f8(f8(x)))
