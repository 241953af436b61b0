"""The words of kernel text as plain Python on NumPy scalars: casts, pointers, bits, rounding, select.

Jitted kernels use instructions of the same names (`treadle.compile.llvm.intrinsics`); these twins let the same text run
without a compiler. They follow the machine: integers wrap, a float beyond an integer's range becomes its minimum.
Floating-point warnings are left to the caller (`interpreted_namespace` silences them).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np

# Names for annotations: the compiler reads the kinds of arguments and results from them.
B1: TypeAlias = Any
I4: TypeAlias = Any
I8: TypeAlias = Any
U4: TypeAlias = Any
U8: TypeAlias = Any
F4: TypeAlias = Any
F8: TypeAlias = Any
T: TypeAlias = Any  # any one integer kind

DTYPES: dict[str, np.dtype[Any]] = {
    "b1": np.dtype("?"),
    **{kind: np.dtype(kind) for kind in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")},
}
INTEGERS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
FLOATS = ("f4", "f8")


# Beyond these |x| the quick reduction by pi/2 is no longer exact, and libm answers.
RARE: dict[str, dict[str, float]] = {name: {"f4": 2.0**40, "f8": 2.0**49} for name in ("sin", "cos", "tan")}


def _wrap(value: int, kind: str) -> Any:
    """The integer `value` modulo the width of `kind`, as a NumPy scalar."""
    dtype = DTYPES[kind]
    bits = dtype.itemsize * 8
    value &= (1 << bits) - 1
    if kind[0] == "i" and value >> (bits - 1):
        value -= 1 << bits
    return dtype.type(value)


def _whole(value: float, kind: str) -> int:
    """The float cut to an integer as the machine does it: through int32 or int64, whose minimum means no answer."""
    if kind == "u8":
        return 0 if value >= 2.0**64 else int(value) if value >= -(2.0**63) else 1 << 63
    bits = 63 if kind in ("i8", "u4") else 31
    return int(value) if -(2.0**bits) - 1 < value < 2.0**bits else -(1 << bits)


def _cast(kind: str) -> Callable[[Any], Any]:
    def cast(x: Any) -> Any:
        if kind == "b1":
            return np.bool_(x != 0)
        if kind in FLOATS:
            return DTYPES[kind].type(x)
        return _wrap(_whole(float(x), kind) if isinstance(x, float | np.floating) else int(x), kind)

    cast.__name__ = kind
    cast.__doc__ = f"`x` as {DTYPES[kind].name}; integers wrap, floats out of range give int32's or int64's minimum."
    return cast


class Pointer:
    """Typed memory at an address; `p[i]` reads element i and `p[i] = v` writes it, unchecked."""

    __slots__ = ("address", "dtype")

    def __init__(self, address: int, kind: str) -> None:
        self.address = int(address)
        self.dtype = DTYPES[kind]

    def __getitem__(self, index: int) -> Any:
        raw = ctypes.string_at(self.address + int(index) * self.dtype.itemsize, self.dtype.itemsize)
        return np.frombuffer(raw, self.dtype)[0]

    def __setitem__(self, index: int, value: Any) -> None:
        place = self.address + int(index) * self.dtype.itemsize
        ctypes.memmove(place, np.asarray(value).astype(self.dtype).tobytes(), self.dtype.itemsize)


def _pointer(kind: str) -> Callable[[int], Pointer]:
    def pointer(address: int) -> Pointer:
        return Pointer(address, kind)

    pointer.__name__ = f"p_{kind}"
    pointer.__doc__ = f"The memory at `address` as {DTYPES[kind].name} elements."
    return pointer


def select(condition: Any, a: Any, b: Any) -> Any:
    """`a` where the condition holds, else `b`; both are evaluated, and a plain Python number takes the other's type.

    >>> print(select(np.float32(2) > 1, np.float32(0.1), 0.0))
    0.1
    """
    if not isinstance(a, np.generic) and isinstance(b, np.generic):
        a = type(b)(a)
    elif not isinstance(b, np.generic) and isinstance(a, np.generic):
        b = type(a)(b)
    return a if condition else b


def bits_f4(x: F4) -> I4:
    """The 32 bits of a float32, as int32."""
    return np.float32(x).view(np.int32)


def bits_f8(x: F8) -> I8:
    """The 64 bits of a float64, as int64."""
    return np.float64(x).view(np.int64)


def float_i4(x: I4) -> F4:
    """The float32 with these 32 bits."""
    return _wrap(int(x), "i4").view(np.float32)


def float_i8(x: I8) -> F8:
    """The float64 with these 64 bits."""
    return _wrap(int(x), "i8").view(np.float64)


def fma_f8(a: F8, b: F8, c: F8) -> F8:
    """a * b + c rounded once (exactly, by fractions)."""
    if not (np.isfinite(a) and np.isfinite(b) and np.isfinite(c)):
        return np.float64(a) * np.float64(b) + np.float64(c)
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    if exact == 0:
        return np.float64(a) * np.float64(b) + np.float64(c)  # has the right sign of zero
    try:
        return np.float64(float(exact))
    except OverflowError:
        return np.float64(np.inf if exact > 0 else -np.inf)


def fma_f4(a: F4, b: F4, c: F4) -> F4:
    """a * b + c in float32, here through float64: in rare ties the last bit differs from the machine's."""
    return np.float32(np.float64(a) * np.float64(b) + np.float64(c))


def trunc_div(a: T, b: T) -> T:
    """The quotient of two integers of one kind, cut towards zero; `b` must not be 0, nor -1 under the minimum."""
    quotient = abs(int(a)) // abs(int(b))
    return type(a)(quotient if (a < 0) == (b < 0) else -quotient)


def trunc_rem(a: T, b: T) -> T:
    """What `trunc_div` leaves, with the sign of `a`."""
    return type(a)(abs(int(a)) % abs(int(b)) * (-1 if a < 0 else 1))


def wide_div(a: T, b: T) -> T:
    """The quotient of two 64-bit integers, rounded down and wrapping; 0 where `b` is 0. Compiled, made for vectors."""
    return _wrap(int(a) // int(b), a.dtype.str[1:]) if b else type(a)(0)


def wrapping_pow(a: T, b: T) -> T:
    """a**b modulo the width of the kind; `b` counts as unsigned."""
    kind = a.dtype.str[1:]
    bits = 8 * a.dtype.itemsize
    return _wrap(pow(int(a), int(b) % (1 << bits), 1 << bits), kind)


def _shift(kind: str, left: bool) -> Callable[[Any, Any], Any]:
    """Shifts as in NumPy: a count of the width or more, or below 0, shifts everything out."""

    def shift(a: Any, count: Any) -> Any:
        bits = 8 * DTYPES[kind].itemsize
        whole = int(count) if 0 <= count < bits else bits
        return _wrap(int(a) << whole if left else int(a) >> whole, kind)

    return shift


def _extreme(kind: str, largest: bool) -> Callable[[Any, Any], Any]:
    """llvm.maximum or llvm.minimum: NaN wins, and -0 is below +0."""

    def extreme(a: Any, b: Any) -> Any:
        if kind in FLOATS and a == b == 0:
            return DTYPES[kind].type(a if bool(np.signbit(b)) == largest else b)
        return DTYPES[kind].type(np.maximum(a, b) if largest else np.minimum(a, b))

    return extreme


def _typed(kind: str, f: Callable[..., Any]) -> Callable[..., Any]:
    def typed(*values: Any) -> Any:
        return DTYPES[kind].type(f(*values))

    return typed


def _rare(name: str, kind: str) -> Callable[[Any, Any], Any]:
    """`y`, the quick answer, or NumPy's where |x| is too large for it."""
    limit = RARE[name][kind]

    def outside(x: Any, y: Any) -> Any:
        return DTYPES[kind].type(getattr(np, name)(x)) if abs(x) > limit else y

    return outside


_ROUNDING: dict[str, Callable[..., Any]] = {
    "sqrt": np.sqrt,
    "abs": np.abs,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "rint": np.rint,
    "copysign": np.copysign,
    "fmod": np.fmod,
    "add_reassoc": np.add,
    "mul_reassoc": np.multiply,
    "mul_apart": np.multiply,
}

PRIMITIVES: dict[str, Callable[..., Any]] = {
    **{kind: _cast(kind) for kind in DTYPES},
    **{f"p_{kind}": _pointer(kind) for kind in DTYPES},
    **{f"max_{kind}": _extreme(kind, True) for kind in DTYPES},
    **{f"min_{kind}": _extreme(kind, False) for kind in DTYPES},
    **{f"top_{kind}": _extreme(kind, True) for kind in (*INTEGERS, *FLOATS)},  # compiled, either zero may win
    **{f"bottom_{kind}": _extreme(kind, False) for kind in (*INTEGERS, *FLOATS)},
    **{f"{name}_{kind}": _typed(kind, f) for name, f in _ROUNDING.items() for kind in FLOATS},
    **{f"abs_{kind}": _typed(kind, np.abs) for kind in INTEGERS},
    **{f"left_shift_{kind}": _shift(kind, True) for kind in INTEGERS},
    **{f"right_shift_{kind}": _shift(kind, False) for kind in INTEGERS},
    **{f"trunc_div_{kind}": trunc_div for kind in INTEGERS},
    **{f"trunc_rem_{kind}": trunc_rem for kind in INTEGERS},
    **{f"wide_div_{kind}": wide_div for kind in ("i8", "u8")},
    **{f"wrapping_pow_{kind}": wrapping_pow for kind in INTEGERS},
    **{f"rare_{name}_{kind}": _rare(name, kind) for name in RARE for kind in FLOATS},
    **{f.__name__: f for f in (select, bits_f4, bits_f8, float_i4, float_i8, fma_f4, fma_f8)},
}

# Spelled out for the modules that import them by name.
f4, f8, i4, i8, u4, u8, b1 = (PRIMITIVES[kind] for kind in ("f4", "f8", "i4", "i8", "u4", "u8", "b1"))
sqrt_f4, sqrt_f8, abs_f4, abs_f8 = (PRIMITIVES[name] for name in ("sqrt_f4", "sqrt_f8", "abs_f4", "abs_f8"))
copysign_f4, copysign_f8 = PRIMITIVES["copysign_f4"], PRIMITIVES["copysign_f8"]
fmod_f4, fmod_f8, floor_f4, floor_f8 = (PRIMITIVES[name] for name in ("fmod_f4", "fmod_f8", "floor_f4", "floor_f8"))
rint_f4, rint_f8 = PRIMITIVES["rint_f4"], PRIMITIVES["rint_f8"]
max_f4, max_f8, min_f4, min_f8 = (PRIMITIVES[name] for name in ("max_f4", "max_f8", "min_f4", "min_f8"))
rare_sin_f4, rare_cos_f4, rare_tan_f4 = (PRIMITIVES[f"rare_{name}_f4"] for name in RARE)
rare_sin_f8, rare_cos_f8, rare_tan_f8 = (PRIMITIVES[f"rare_{name}_f8"] for name in RARE)
mul_apart_f4, mul_apart_f8 = PRIMITIVES["mul_apart_f4"], PRIMITIVES["mul_apart_f8"]
