"""Object files laid out for good: all sections in one piece, so that loading is a copy and no linker is imported.

What is relative inside an object is settled when it is compiled. What is left for loading are the entries' offsets
and, for each function of the C library or libm that is called, a jump through a word that holds its address. Done for
ELF objects of x86-64; for all others, and for relocations not known here, the linker of `loader` is there.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from treadle.records import dataclass

MAGIC = b"treadle flat x86-64 1\n"
X86_64 = 62  # e_machine
ALLOCATED, NOBITS, SYMBOLS, ADDENDS = 2, 8, 2, 4  # section flag; section types
ABSOLUTE, UNDEFINED, SECTION = 0xFFF1, 0, 3  # section numbers of symbols; symbol type
PC32, GOT, PLT32, GOT_RELAXED, GOT_RELAXED_REX = 2, 9, 4, 41, 42  # relocations of 4 bytes, relative to their place
JUMP = bytes.fromhex("ff2502000000") + bytes(2)  # jmp *[rip + 2]; behind it, on 8 bytes, lies the address
_keep: list[mmap.mmap] = []  # code lives as long as the process


@dataclass(frozen=True, slots=True)
class Section:
    """A header of an ELF section."""

    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry: int


@dataclass(frozen=True, slots=True)
class Symbol:
    """An entry of an ELF symbol table."""

    name: str
    section: int
    value: int


def lay_out(image: bytes, entries: Sequence[str]) -> bytes | None:
    """The flat image of an object with these functions; None where it is not of a kind that is known here."""
    try:
        return _lay_out(image, entries)
    except (struct.error, ValueError, IndexError, KeyError, UnicodeError, OverflowError):
        return None


def _lay_out(image: bytes, entries: Sequence[str]) -> bytes:
    """See `lay_out`; the layout is that of the System V ABI's relocatable ELF-64 files."""
    if image[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<HH", image, 16) != (1, X86_64):
        raise ValueError("not a relocatable object of x86-64")
    (table,) = struct.unpack_from("<Q", image, 0x28)
    size, count = struct.unpack_from("<HH", image, 0x3A)
    sections = [Section(*struct.unpack_from("<IIQQQQIIQQ", image, table + size * k)) for k in range(count)]
    (symbol_table,) = (s for s in sections if s.kind == SYMBOLS)
    symbols = list(_symbols(image, sections, symbol_table))
    places: dict[int, int] = {}  # section number -> where it lies
    code = bytearray()
    unwinding = {k for k, s in enumerate(sections) if _text(image, sections, s.name).startswith(".eh_frame")}
    for k, section in enumerate(sections):
        if not section.flags & ALLOCATED or k in unwinding or not section.size:
            continue
        if section.flags & 1 or section.kind == NOBITS:
            raise ValueError("data that can be written to")
        code += bytes(-len(code) % max(section.align, 1))
        places[k] = len(code)
        code += image[section.offset : section.offset + section.size]
    slots: dict[str, int] = {}
    for section in sections:
        if section.kind == ADDENDS and section.info in places:
            _relocate(code, image, section, places, symbols, slots)
    offsets = {s.name: places[s.section] + s.value for s in symbols if s.name and s.section in places}
    lines = [f"entry {name} {offsets[name]}" for name in entries]
    lines += [f"slot {name} {place + 8}" for name, place in slots.items()]
    index = "\n".join(lines).encode("ascii")
    return MAGIC + struct.pack("<QQ", len(index), len(code)) + index + bytes(code)


def _text(image: bytes, sections: Sequence[Section], offset: int) -> str:
    """A section's name."""
    (number,) = struct.unpack_from("<H", image, 0x3E)
    start = sections[number].offset + offset
    return image[start : image.index(b"\0", start)].decode("ascii")


def _symbols(image: bytes, sections: Sequence[Section], table: Section) -> Iterable[Symbol]:
    strings = sections[table.link].offset
    for place in range(table.offset, table.offset + table.size, table.entry):
        name, _, _, section, value = struct.unpack_from("<IBBHQ", image, place)
        start = strings + name
        yield Symbol(image[start : image.index(b"\0", start)].decode("ascii"), section, value)


def _relocate(
    code: bytearray,
    image: bytes,
    table: Section,
    places: dict[int, int],
    symbols: Sequence[Symbol],
    slots: dict[str, int],
) -> None:
    """Settle one section's references; `slots` tells where the jump to each outside function lies."""
    for entry in range(table.offset, table.offset + table.size, 24):
        offset, info, addend = struct.unpack_from("<QQq", image, entry)
        symbol, kind = symbols[info >> 32], info & 0xFFFFFFFF
        at = places[table.info] + offset
        if symbol.section in places and kind in (PC32, PLT32):
            target = places[symbol.section] + symbol.value
        elif symbol.section == UNDEFINED and symbol.name and kind in (PLT32, GOT, GOT_RELAXED, GOT_RELAXED_REX):
            if symbol.name not in slots:
                code += bytes(-len(code) % 16)
                slots[symbol.name] = len(code)
                code += JUMP + bytes(8)
            target = slots[symbol.name] + (0 if kind == PLT32 else 8)
        else:
            raise ValueError(f"relocation {kind} is not known here")
        struct.pack_into("<i", code, at, target + addend - at)


def is_flat(image: bytes) -> bool:
    """Whether an image is one of these."""
    return image.startswith(MAGIC)


@cache
def _process() -> Any:
    """What the process has loaded, by name."""
    return ctypes.CDLL(None)


def load(image: bytes, symbols: Sequence[str]) -> dict[str, int]:
    """Put a flat image into memory; the address of each symbol. An Exception where that does not work."""
    start = len(MAGIC)
    index_size, size = struct.unpack_from("<QQ", image, start)
    start += 16
    words = [line.split(" ") for line in image[start : start + index_size].decode("ascii").split("\n")]
    code = image[start + index_size :]
    if len(code) != size:
        raise RuntimeError("a flat image is cut short")
    entries = {name: int(place) for kind, name, place in words if kind == "entry"}
    missing = set(symbols) - entries.keys()
    if missing or not all(0 <= entries[symbol] < size for symbol in symbols):
        raise RuntimeError("a flat image lacks a symbol that its header names")
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_WRITE)
    memory[:] = code
    for kind, name, place in words:
        if kind == "slot":
            address = ctypes.cast(getattr(_process(), name), ctypes.c_void_p).value
            struct.pack_into("<Q", memory, int(place), address)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if _process().mprotect(ctypes.c_void_p(base), ctypes.c_size_t(size), mmap.PROT_READ | mmap.PROT_EXEC) != 0:
        raise RuntimeError("memory cannot be made executable")
    _keep.append(memory)
    return {symbol: base + entries[symbol] for symbol in symbols}
