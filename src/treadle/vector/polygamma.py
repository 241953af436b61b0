"""The first three derivatives of digamma, for float32 and float64, without branches.

The recurrence brings positive arguments to 10 and above, where the asymptotic series serves; reflection brings
negative ones there. Formulas: DLMF 5.15.5, 5.15.6, 5.15.8 (https://dlmf.nist.gov/5.15).
"""

from __future__ import annotations

from treadle.vector.primitives import F4, F8, abs_f8, copysign_f8, f4, f8, fma_f8, rint_f8, select
from treadle.vector.trigonometric import cos_pair_f8, sin_pair_f8

INF = float("inf")


def pole(z: F8) -> tuple[F8, F8, F8]:
    """p, its relative error, and cos(pi z), for p = pi / |sin(pi z)|; the reduction is exact."""
    d = z - rint_f8(z)
    a = abs_f8(d)
    steep = a > 0.25
    t = select(steep, 0.5 - a, a)
    r = fma_f8(t, 3.1415926535897931, 0.0)
    e = fma_f8(t, 3.1415926535897931, -r) + t * 1.2246467991473532e-16
    s, s2 = sin_pair_f8(r, e)
    c, c2 = cos_pair_f8(r, e)
    c2 = c2 - 0.5 * fma_f8(r, r, -fma_f8(r, r, 0.0))
    large = select(steep, c, s)
    small = select(steep, c2, s2)
    sine = large + small
    rest = (large - sine) + small
    p = 3.1415926535897931 / sine
    lost = (fma_f8(-p, sine, 3.1415926535897931) + (1.2246467991473532e-16 - p * rest)) * 0.31830988618379067154
    lost = select(p < INF, lost, 0.0)
    return p, lost, copysign_f8(select(steep, s + s2, c + c2), d)


def series_1(z: F8) -> F8:
    """The series of polygamma(1, z) for z from 10: 1/z + 1/(2 z**2) and the terms of Bernoulli's numbers 2 to 22."""
    i = 1.0 / z
    w = i * i
    q0 = -0.03333333333333333 * w + 0.16666666666666666
    q1 = -0.03333333333333333 * w + 0.023809523809523808
    q2 = -0.2531135531135531 * w + 0.07575757575757576
    q3 = -7.092156862745098 * w + 1.1666666666666667
    q4 = -529.1242424242424 * w + 54.971177944862156
    q5 = 6192.123188405797
    w2 = w * w
    q0 = q1 * w2 + q0
    q1 = q3 * w2 + q2
    q2 = q5 * w2 + q4
    w4 = w2 * w2
    q0 = q1 * w4 + q0
    w8 = w4 * w4
    q = q2 * w8 + q0
    return i + w * (0.5 + i * q)


def positive_1(z: F8) -> F8:
    """polygamma(1, z) for z >= 0."""
    i = 1.0 / (z + 9.0)
    rest = i * i
    i = 1.0 / (z + 8.0)
    rest = rest + i * i
    i = 1.0 / (z + 7.0)
    rest = rest + i * i
    i = 1.0 / (z + 6.0)
    rest = rest + i * i
    i = 1.0 / (z + 5.0)
    rest = rest + i * i
    i = 1.0 / (z + 4.0)
    rest = rest + i * i
    i = 1.0 / (z + 3.0)
    rest = rest + i * i
    i = 1.0 / (z + 2.0)
    rest = rest + i * i
    i = 1.0 / (z + 1.0)
    rest = rest + i * i
    i = 1.0 / z
    return (rest + series_1(z + 10.0)) + i * i


def series_2(z: F8) -> F8:
    """The series of -polygamma(2, z) for z from 10: 1/z**2 + 1/z**3 and the terms of Bernoulli's numbers 2 to 22."""
    i = 1.0 / z
    w = i * i
    q0 = -0.16666666666666666 * w + 0.5
    q1 = -0.3 * w + 0.16666666666666666
    q2 = -3.2904761904761903 * w + 0.8333333333333334
    q3 = -120.56666666666666 * w + 17.5
    q4 = -11111.60909090909 * w + 1044.452380952381
    q5 = 142418.83333333334
    w2 = w * w
    q0 = q1 * w2 + q0
    q1 = q3 * w2 + q2
    q2 = q5 * w2 + q4
    w4 = w2 * w2
    q0 = q1 * w4 + q0
    w8 = w4 * w4
    q = q2 * w8 + q0
    return w + w * i * (1.0 + i * q)


def positive_2(z: F8) -> F8:
    """-polygamma(2, z) for z >= 0."""
    i = 1.0 / (z + 9.0)
    rest = i * i * i
    i = 1.0 / (z + 8.0)
    rest = rest + i * i * i
    i = 1.0 / (z + 7.0)
    rest = rest + i * i * i
    i = 1.0 / (z + 6.0)
    rest = rest + i * i * i
    i = 1.0 / (z + 5.0)
    rest = rest + i * i * i
    i = 1.0 / (z + 4.0)
    rest = rest + i * i * i
    i = 1.0 / (z + 3.0)
    rest = rest + i * i * i
    i = 1.0 / (z + 2.0)
    rest = rest + i * i * i
    i = 1.0 / (z + 1.0)
    rest = rest + i * i * i
    i = 1.0 / z
    lost = fma_f8(-z, i, 1.0)
    first = 2.0 * i * i * i
    lost = select((abs_f8(lost) < 1e-10) & (first < INF), lost * first, 0.0)
    return first + (3.0 * lost + (2.0 * rest + series_2(z + 10.0)))


def series_3(z: F8) -> F8:
    """The series of polygamma(3, z) for z from 10: 2/z**3 + 3/z**4 and the terms of Bernoulli's numbers 2 to 22."""
    i = 1.0 / z
    w = i * i
    q0 = -1.0 * w + 2.0
    q1 = -3.0 * w + 1.3333333333333333
    q2 = -46.06666666666667 * w + 10.0
    q3 = -2170.2 * w + 280.0
    q4 = -244455.4 * w + 20889.04761904762
    q5 = 3418052.0
    w2 = w * w
    q0 = q1 * w2 + q0
    q1 = q3 * w2 + q2
    q2 = q5 * w2 + q4
    w4 = w2 * w2
    q0 = q1 * w4 + q0
    w8 = w4 * w4
    q = q2 * w8 + q0
    return w * i * (2.0 + i * (3.0 + i * q))


def positive_3(z: F8) -> F8:
    """polygamma(3, z) for z >= 0."""
    i = 1.0 / (z + 9.0)
    rest = (i * i) * (i * i)
    i = 1.0 / (z + 8.0)
    rest = rest + (i * i) * (i * i)
    i = 1.0 / (z + 7.0)
    rest = rest + (i * i) * (i * i)
    i = 1.0 / (z + 6.0)
    rest = rest + (i * i) * (i * i)
    i = 1.0 / (z + 5.0)
    rest = rest + (i * i) * (i * i)
    i = 1.0 / (z + 4.0)
    rest = rest + (i * i) * (i * i)
    i = 1.0 / (z + 3.0)
    rest = rest + (i * i) * (i * i)
    i = 1.0 / (z + 2.0)
    rest = rest + (i * i) * (i * i)
    i = 1.0 / (z + 1.0)
    rest = rest + (i * i) * (i * i)
    i = 1.0 / z
    lost = fma_f8(-z, i, 1.0)
    first = 6.0 * (i * i) * (i * i)
    lost = select((abs_f8(lost) < 1e-10) & (first < INF), lost * first, 0.0)
    return first + (4.0 * lost + (6.0 * rest + series_3(z + 10.0)))


def polygamma1_f8(x: F8) -> F8:
    """The first derivative of digamma, 4 ULP, inf at 0 and at poles."""
    y = positive_1(select(x < 0.0, 1.0 - x, abs_f8(x)))
    p, lost, _ = pole(select(x < 0.0, x, 0.5))
    square = p * p
    below = square + (2.0 * lost * square - y)
    return select(x < 0.0, select(square < INF, below, square), y)


def polygamma1_f4(x: F4) -> F4:
    """The first derivative of digamma by way of float64, 1 ULP, inf at 0 and at poles."""
    return f4(polygamma1_f8(f8(x)))


def polygamma2_f8(x: F8) -> F8:
    """The second derivative of digamma, 4 ULP; below 0, of the largest of its parts. -inf at 0, inf at poles."""
    y = positive_2(select(x < 0.0, 1.0 - x, abs_f8(x)))
    p, lost, c = pole(select(x < 0.0, x, 0.5))
    cube = 2.0 * p * p * p * c
    below = -cube - (3.0 * lost * cube + y)
    return select(x < 0.0, select(abs_f8(cube) < INF, below, select((x == rint_f8(x)) & (x > -INF), INF, -cube)), -y)


def polygamma2_f4(x: F4) -> F4:
    """The second derivative of digamma by way of float64, 1 ULP; below 0, of the largest of its parts."""
    return f4(polygamma2_f8(f8(x)))


def polygamma3_f8(x: F8) -> F8:
    """The third derivative of digamma, 4 ULP, inf at 0 and at poles."""
    y = positive_3(select(x < 0.0, 1.0 - x, abs_f8(x)))
    p, lost, c = pole(select(x < 0.0, x, 0.5))
    square = p * p
    fourth = square * (2.0 + 4.0 * (c * c)) * square
    below = fourth + (4.0 * lost * fourth - y)
    return select(x < 0.0, select(fourth < INF, below, fourth), y)


def polygamma3_f4(x: F4) -> F4:
    """The third derivative of digamma by way of float64, 1 ULP, inf at 0 and at poles."""
    return f4(polygamma3_f8(f8(x)))
