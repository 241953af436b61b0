"""Integer rules with NumPy's meaning, and exact ones of floats: floordiv, mod, fmod, pow, sign, nextafter.

Nothing here traps: a division by zero gives 0 and the minimum divided by -1 wraps. Each function serves every
integer kind of its signedness; `SIGNED` and `UNSIGNED` say which name it has in kernels, as in `mod_i4`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from treadle.vector.primitives import (
    B1,
    F4,
    F8,
    T,
    abs_f4,
    abs_f8,
    bits_f4,
    bits_f8,
    copysign_f4,
    copysign_f8,
    float_i4,
    float_i8,
    floor_f4,
    floor_f8,
    fmod_f4,
    fmod_f8,
    select,
    trunc_div,
    trunc_rem,
    wide_div,
    wrapping_pow,
)

INF = float("inf")


def floordiv_signed(a: T, b: T) -> T:
    """a // b, rounded down; 0 where b is 0."""
    safe = select((b == 0) | (b == -1), 1, b)
    q = trunc_div(a, safe)
    r = a - q * safe
    q = select((r != 0) & ((r ^ safe) < 0), q - 1, q)
    return select(b == 0, 0, select(b == -1, -a, q))


def mod_signed(a: T, b: T) -> T:
    """a - b * (a // b), with the sign of b; 0 where b is 0."""
    safe = select((b == 0) | (b == -1), 1, b)
    r = trunc_rem(a, safe)
    return select((r != 0) & ((r ^ safe) < 0), r + safe, r)


def floordiv_wide(a: T, b: T) -> T:
    """a // b, rounded down; 0 where b is 0: of 64-bit integers, for loops over many elements."""
    return wide_div(a, b)


def mod_wide(a: T, b: T) -> T:
    """a - b * (a // b), with the sign of b; 0 where b is 0: of 64-bit integers, for loops over many elements."""
    return select(b == 0, 0, a - wide_div(a, b) * b)


def fmod_signed(a: T, b: T) -> T:
    """The remainder of division cut towards 0, with the sign of a; 0 where b is 0."""
    return trunc_rem(a, select((b == 0) | (b == -1), 1, b))


def pow_signed(a: T, b: T) -> T:
    """a**b, wrapping; for negative b what is left of 1 / a**-b: 1 and -1 keep their powers, all else is 0."""
    r = wrapping_pow(a, select(b < 0, b & 1, b))
    return select((b < 0) & (a != 1) & (a != -1), 0, r)


def sign_signed(a: T) -> T:
    """-1, 0 or 1."""
    return select(a > 0, 1, select(a < 0, -1, a))


def floordiv_unsigned(a: T, b: T) -> T:
    """a // b; 0 where b is 0."""
    return select(b == 0, 0, trunc_div(a, select(b == 0, 1, b)))


def mod_unsigned(a: T, b: T) -> T:
    """The remainder of a // b; 0 where b is 0."""
    return trunc_rem(a, select(b == 0, 1, b))


def pow_unsigned(a: T, b: T) -> T:
    """a**b, wrapping."""
    return wrapping_pow(a, b)


def sign_unsigned(a: T) -> T:
    """0 or 1."""
    return select(a > 0, 1, a)


def mod_f4(a: F4, b: F4) -> F4:
    """np.remainder: the exact fmod, moved to the sign of b; a zero takes b's sign."""
    r = fmod_f4(a, b)
    r = select((r != 0.0) & ((b < 0.0) != (r < 0.0)), r + b, r)
    return select((r == 0.0) & (b != 0.0), copysign_f4(r, b), r)


def mod_f8(a: F8, b: F8) -> F8:
    """np.remainder: the exact fmod, moved to the sign of b; a zero takes b's sign."""
    r = fmod_f8(a, b)
    r = select((r != 0.0) & ((b < 0.0) != (r < 0.0)), r + b, r)
    return select((r == 0.0) & (b != 0.0), copysign_f8(r, b), r)


def floordiv_f4(a: F4, b: F4) -> F4:
    """np.floor_divide: (a - fmod(a, b)) / b, less 1 where the remainder changes sign, snapped to a whole."""
    r = fmod_f4(a, b)
    d = (a - r) / b
    d = select((r != 0.0) & ((b < 0.0) != (r < 0.0)), d - 1.0, d)
    w = floor_f4(d)
    w = select(d - w > 0.5, w + 1.0, w)
    w = select(d == 0.0, copysign_f4(d, a / b), w)
    return select(b == 0.0, a / b, w)


def floordiv_f8(a: F8, b: F8) -> F8:
    """np.floor_divide: (a - fmod(a, b)) / b, less 1 where the remainder changes sign, snapped to a whole."""
    r = fmod_f8(a, b)
    d = (a - r) / b
    d = select((r != 0.0) & ((b < 0.0) != (r < 0.0)), d - 1.0, d)
    w = floor_f8(d)
    w = select(d - w > 0.5, w + 1.0, w)
    w = select(d == 0.0, copysign_f8(d, a / b), w)
    return select(b == 0.0, a / b, w)


def sign_f4(x: F4) -> F4:
    """-1, 0 or 1; NaN stays."""
    return select(x > 0.0, 1.0, select(x < 0.0, -1.0, select(x == 0.0, 0.0, x)))


def sign_f8(x: F8) -> F8:
    """-1, 0 or 1; NaN stays."""
    return select(x > 0.0, 1.0, select(x < 0.0, -1.0, select(x == 0.0, 0.0, x)))


def isinf_f4(x: F4) -> B1:
    """Whether x is infinite."""
    return abs_f4(x) == INF


def isinf_f8(x: F8) -> B1:
    """Whether x is infinite."""
    return abs_f8(x) == INF


def isinf_whole(x: T) -> B1:
    """Integers never are."""
    return x != x


def nextafter_f4(x: F4, y: F4) -> F4:
    """The next number after x towards y: one bit further from 0, or nearer to it; y where they are equal."""
    b = bits_f4(x)
    n = float_i4(select((y > x) == (x > 0.0), b + 1, b - 1))
    n = select(x == 0.0, copysign_f4(1.401298464324817e-45, y), n)
    n = select(x == y, y, n)
    return select((x != x) | (y != y), x + y, n)


def nextafter_f8(x: F8, y: F8) -> F8:
    """The next number after x towards y: one bit further from 0, or nearer to it; y where they are equal."""
    b = bits_f8(x)
    n = float_i8(select((y > x) == (x > 0.0), b + 1, b - 1))
    n = select(x == 0.0, copysign_f8(5e-324, y), n)
    n = select(x == y, y, n)
    return select((x != x) | (y != y), x + y, n)


SIGNED: dict[str, Callable[..., Any]] = {
    "floordiv": floordiv_signed,
    "mod": mod_signed,
    "fmod": fmod_signed,
    "pow": pow_signed,
    "sign": sign_signed,
    "isinf": isinf_whole,
}
WIDE: dict[str, Callable[..., Any]] = {
    "wide_floordiv_i8": floordiv_wide,
    "wide_mod_i8": mod_wide,
    "wide_floordiv_u8": floordiv_wide,
    "wide_mod_u8": mod_wide,
}
UNSIGNED: dict[str, Callable[..., Any]] = {
    "floordiv": floordiv_unsigned,
    "mod": mod_unsigned,
    "fmod": mod_unsigned,
    "pow": pow_unsigned,
    "sign": sign_unsigned,
    "isinf": isinf_whole,
}
