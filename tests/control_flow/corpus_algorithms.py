"""Corpus: small numeric algorithms as one would write them in plain Python."""

from __future__ import annotations

import numpy as np
from corpus_cases import Static, case

import treadle as td


@case((2.0,), (0.3,), second=True)
def newton_square_root(a):
    x = a * 0 + 1
    for _ in td.range(20):
        x = 0.5 * (x + a / x)
    return x


@case((2.0,), (30.0,))
def newton_with_tolerance(a):
    x = a
    while abs(x * x - a) > 1e-12 * a:
        x = 0.5 * (x + a / x)
    return x


@case((0.0, 2.0), (-1.0, 3.0), gradient=False)
def bisection(low, high):
    while high - low > 1e-9:
        middle = (low + high) / 2
        if middle * middle * middle - middle - 1 > 0:
            high = middle
        else:
            low = middle
    return (low + high) / 2


@case((1.0, 2.0), gradient=False)
def secant(x0, x1):
    for _ in td.range(30):
        f0, f1 = x0 * x0 - 2, x1 * x1 - 2
        if abs(f1 - f0) < 1e-12:
            break
        x0, x1 = x1, x1 - f1 * (x1 - x0) / (f1 - f0)
    return x1


@case((1.0, 10), (0.5, 0), second=True)
def euler(y, n):
    t = 0.0
    h = 0.1
    for _ in td.range(n):
        y = y + h * (t - y)
        t = t + h
    return y


@case(([1.0, 0.0], 5), second=True)
def runge_kutta(y, n):
    def slope(y):
        return np.stack([y[1], -y[0]])

    h = 0.1
    for _ in td.range(n):
        k1 = slope(y)
        k2 = slope(y + h / 2 * k1)
        k3 = slope(y + h / 2 * k2)
        k4 = slope(y + h * k3)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return y


@case((27,), (1,), (6,), gradient=False)
def collatz(n):
    steps = 0
    while n != 1:
        if n % 2 == 0:
            n = n // 2
        else:
            n = 3 * n + 1
        steps += 1
    return steps


@case((48, 36), (17, 5), (0, 3), gradient=False)
def gcd(a, b):
    while b:
        a, b = b, a % b
    return a


@case((240, 46), gradient=False)
def extended_gcd(a, b):
    x0, x1, y0, y1 = 1, 0, 0, 1
    while b > 0:
        q, a, b = a // b, b, a % b
        x0, x1 = x1, x0 - q * x1
        y0, y1 = y1, y0 - q * y1
    return a, x0, y0


@case((10,), (1,), (0,), gradient=False)
def fibonacci(n):
    a, b = 0, 1
    for _ in td.range(n):
        a, b = b, a + b
    return a


@case((29,), (91,), (2,), (1,), gradient=False)
def is_prime(n):
    if n < 2:
        return False
    d = 2
    while d * d <= n:
        if n % d == 0:
            return False
        d += 1
    return True


@case((3, 13, 7), (2, 0, 5), gradient=False)
def modular_power(base, exponent, modulus):
    result = 1
    base = base % modulus
    while exponent > 0:
        if exponent % 2 == 1:
            result = result * base % modulus
        base = base * base % modulus
        exponent = exponent // 2
    return result


@case(([3.0, 1.0, 2.0, -1.0],))
def bubble_sort(v):
    for i in td.range(4):
        for j in td.range(3 - i):
            a, b = v[j], v[j + 1]
            if a > b:
                v = td.asarray(v).at[j].set(b)
                v = v.at[j + 1].set(a)
    return v


@case(([3.0, 1.0, 2.0],))
def insertion_sort(v):
    v = td.asarray(v)
    for i in td.range(1, 3):
        x = v[i]
        j = i - 1
        while j >= 0 and v[j] > x:
            v = v.at[j + 1].set(v[j])
            j -= 1
        v = v.at[j + 1].set(x)
    return v


@case(([1.0, 2.0, 3.0, 4.0],))
def prefix_sums(v):
    out = td.zeros((4,), dtype=td.float64)
    total = 0.0
    for i in td.range(4):
        total = total + v[i]
        out = out.at[i].set(total)
    return out


@case(([[2.0, 1.0], [1.0, 3.0]], 15))
def power_iteration(m, n):
    v = np.ones(2)
    for _ in td.range(n):
        v = m @ v
        v = v / np.sqrt(np.sum(v * v))
    return np.sum(v * (m @ v))


@case(([0.5, -0.25], 20), ([1.0, 1.0], 20))
def mandelbrot_point(c, limit):
    x = y = c[0] * 0
    count = 0
    while count < limit and x * x + y * y <= 4:
        x, y = x * x - y * y + c[0], 2 * x * y + c[1]
        count += 1
    return count, x


@case(([-0.5, 0.3, 1.0],), gradient=False)
def mandelbrot_line(c):
    z = c * 0
    counts = c * 0
    for _ in td.range(12):
        z = np.where(np.abs(z) <= 2, z * z + c, z)
        counts = counts + np.where(np.abs(z) <= 2, 1.0, 0.0)
    return counts


@case((np.array([[0, 1, 0], [0, 1, 0], [0, 1, 0]]), 2), gradient=False)
def game_of_life(board, steps):
    for _ in td.range(steps):
        wide = td.pad(board, 1)
        around = board * 0
        for i in range(3):
            for j in range(3):
                if (i, j) != (1, 1):
                    around = around + wide[i : i + 3, j : j + 3]
        board = td.where((around == 3) | ((board == 1) & (around == 2)), 1, 0)
    return board


@case((3.7, 0.3, 8), second=True)
def logistic_map(r, x, n):
    for _ in td.range(n):
        x = r * x * (1 - x)
    return x


@case(([1.0, -2.0, 0.5], 1.5), ([1.0, -2.0, 0.5], 0.0))
def horner(coefficients, x):
    y = x * 0
    for c in coefficients:
        y = y * x + c
    return y


@case((0.5,), second=True)
def sine_series(x):
    term, total, k = x, x, 1
    while abs(term) > 1e-10:
        term = -term * x * x / ((2 * k) * (2 * k + 1))
        total = total + term
        k += 1
    return total


@case(([1.0, 2.0], [0.0, 1.0], 10))
def gradient_descent_by_hand(w, target, n):
    for _ in td.range(n):
        w = w - 0.1 * 2 * (w - target)
    return w


@case(([1.0, -2.0], 5))
def descent_with_the_gradient_inside(w, n):
    for _ in td.range(n):
        w = td.asarray(w)
        with td.GradientTape() as tape:
            tape.watch(w)
            loss = td.sum(w * w * w * w)
        w = w - 0.05 * tape.gradient(loss, w)
    return w


@case(([1.0, 2.0, 3.0],), ([-1.0, 4.0, 2.0],))
def maximum_by_hand(v):
    best = v[0]
    for x in v:
        best = x if x > best else best
    return best


@case(([1.0, 2.0, 4.0], 2.5), ([1.0, 2.0, 4.0], 9.0), gradient=False)
def binary_search(v, x):
    low, high = 0, 3
    while low < high:
        middle = (low + high) // 2
        if v[middle] < x:
            low = middle + 1
        else:
            high = middle
    return low


@case((0.0, 1.0, 8))
def simpson(a, b, n):
    h = (b - a) / n
    total = np.exp(a) + np.exp(b)
    for i in td.range(1, n):
        if i % 2 == 1:
            total = total + 4 * np.exp(a + i * h)
        else:
            total = total + 2 * np.exp(a + i * h)
    return total * h / 3


@case((0.5, 2.0, 5), second=True)
def momentum(x, v, n):
    for _ in td.range(n):
        v = 0.9 * v - 0.1 * x
        x = x + v
    return x


@case((5,), gradient=False)
def random_walk(n):
    td.random.seed(3)
    position = 0
    for _ in td.range(n):
        step = td.random.integers((), 0, 2)
        if step == 1:
            position += 1
        else:
            position -= 1
    return position


@case((2.0, Static(4)))
def recursion_on_python_values(x, n):
    def power(t, k):
        if k == 0:
            return t * 0 + 1
        half = power(t, k // 2)
        return half * half if k % 2 == 0 else half * half * t

    return power(x, n) if x > 0 else -power(-x, n)


@case(([[4.0, 1.0], [1.0, 3.0]], [1.0, 2.0]))
def jacobi(a, b):
    x = b * 0
    for _ in td.range(10):
        x = np.stack([(b[0] - a[0, 1] * x[1]) / a[0, 0], (b[1] - a[1, 0] * x[0]) / a[1, 1]])
    return x


@case(([[4.0, 1.0], [1.0, 3.0]], [1.0, 2.0]))
def conjugate_gradient(a, b):
    x = b * 0
    r = p = b
    for _ in td.range(2):
        ap = a @ p
        alpha = np.sum(r * r) / np.sum(p * ap)
        x, new = x + alpha * p, r - alpha * ap
        p = new + np.sum(new * new) / np.sum(r * r) * p
        r = new
    return x


@case((0.1, 0.2, 30))
def lotka_volterra(prey, hunters, n):
    for i in td.range(n):
        grown = prey + 0.1 * prey * (1 - hunters)
        hunters = hunters + 0.1 * hunters * (prey - 1)
        prey = grown
        if prey < 0.05:
            prey = prey * 0 + 0.05
    return prey, hunters


@case(([0.5, 1.5, -1.0, 2.0],), gradient=False)
def count_local_maxima(v):
    count = 0
    for i in td.range(1, 3):
        if v[i - 1] < v[i] > v[i + 1]:
            count += 1
    return count


@case(([1.0, 3.0, 2.0, 5.0], 2))
def moving_average(v, n):
    total = 0.0
    for i in td.range(4):
        if i >= n:
            total = total + (v[i] + v[i - 1] + v[i - 2]) / 3
    return total


@case(([0.0, 1.0, 0.0], 4), second=True)
def heat_by_slices(u, steps):
    for _ in td.range(steps):
        left, right = np.concatenate([u[:1], u[:-1]]), np.concatenate([u[1:], u[-1:]])
        u = u + 0.2 * (left - 2 * u + right)
    return u


@case((1994, 5), (0, 2), gradient=False)
def digit_sum(n, base):
    total = 0
    while n > 0:
        n, digit = divmod(n, base)
        total += digit
    return total


@case((0.3,), (2.7,))
def golden_section(target):
    ratio = 0.6180339887498949
    a, b = target * 0, target * 0 + 4
    while b - a > 1e-3:
        c, d = b - ratio * (b - a), a + ratio * (b - a)
        if (c - target) * (c - target) < (d - target) * (d - target):
            b = d
        else:
            a = c
    return a * 0 + target * target
