"""Which symbols an object wants from outside, and which of them it may: a cached object must stand alone."""

from __future__ import annotations

import struct
from collections.abc import Iterator

MEMORY = {"memset", "memcpy", "memmove", "memcmp", "bzero"}
# Names of libm that LLVM calls for its intrinsics, in double; with "f" behind them in single precision.
MATH = {
    *("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "copysign", "cos", "cosh", "erf"),
    *("erfc", "exp", "exp2", "expm1", "fabs", "floor", "fma", "fmax", "fmin", "fmod", "frexp", "hypot", "ldexp"),
    *("lgamma", "log", "log10", "log1p", "log2", "lrint", "llrint", "lround", "llround", "modf", "nearbyint"),
    *("nextafter", "pow", "remainder", "rint", "round", "roundeven", "sin", "sincos", "sinh", "sqrt", "tan", "tanh"),
    *("tgamma", "trunc"),
}
ALLOWED = MEMORY | MATH | {name + "f" for name in MATH}
ALLOWED_PREFIXES = ("pthread_",)


def undefined(image: bytes) -> frozenset[str] | None:
    """Names of the undefined symbols of a 64-bit little-endian ELF object; None where `image` is no such file."""
    try:
        return frozenset(_undefined(image))
    except (struct.error, ValueError, IndexError, OverflowError):
        return None


def _undefined(image: bytes) -> Iterator[str]:
    """See `undefined`; the layout is that of the System V ABI's ELF-64 object files."""
    if image[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not an ELF-64 little-endian file")
    (table,) = struct.unpack_from("<Q", image, 0x28)
    size, count = struct.unpack_from("<HH", image, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", image, table + size * i) for i in range(count)]
    for _, kind, _, _, offset, length, link, _, _, entry in sections:
        if kind != 2:  # SHT_SYMTAB
            continue
        strings = sections[link][4]
        for place in range(offset + entry, offset + length, entry):  # the first entry is null by definition
            name, _, _, section = struct.unpack_from("<IBBH", image, place)
            if section == 0 and name:
                start = strings + name
                yield image[start : image.index(b"\0", start)].decode("ascii")


def stands_alone(image: bytes) -> bool:
    """Whether the object wants nothing but memory functions, libm and pthreads."""
    wanted = undefined(image)
    return wanted is not None and all(name in ALLOWED or name.startswith(ALLOWED_PREFIXES) for name in wanted)
