"""From kernel sources to addresses: looked up in memory, then on disk, and only then compiled, all missing together.

Neither Numba nor llvmlite is imported before it is needed: llvmlite to load an object, Numba to make one.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from . import loader, symbols
from .cache import DEFAULT_LIMIT, DiskCache, Unit, default_folder

# The modules here that decide what machine code a text becomes; their own text is part of every key.
GENERATORS = ("pipeline", "int64", "native", "intrinsics", "scalar", "scalar_primitives")


@dataclass(frozen=True, slots=True)
class Source:
    """A kernel in plain Python: `text` defines `kernel(args, lo, hi)`; `name` is for people, no part of the key.

    Kernels of graphs are compiled by Numba, our own loops (where `native` is set) by `int64`.
    """

    name: str
    text: str
    native: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A kernel in memory: `int64 kernel(int64* args, int64 lo, int64 hi)` at `address`."""

    address: int
    source: Source


@dataclass(slots=True)
class Counters:
    """How often kernels were compiled, loaded from disk or found in memory, and what could not be cached or shared."""

    kernels_compiled: int = 0
    kernels_loaded: int = 0
    memory_hits: int = 0
    objects_refused: int = 0  # objects with a symbol outside the allow-list: used, but not written to disk
    fallbacks: int = 0  # kernels compiled one by one because Numba's private parts did not work


@dataclass(slots=True)
class _Memory:
    """What the process has loaded, by kernel key."""

    addresses: dict[str, int] = field(default_factory=dict)
    keep: list[Any] = field(default_factory=list)


counters = Counters()
_memory = _Memory()
_lock = threading.RLock()


def _renew_lock() -> None:
    """In a forked child, a lock that another thread of the parent held would never come free."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def load(sources: Sequence[Source]) -> tuple[Entry, ...]:
    """The kernels of `sources`, in order; those that are nowhere yet are compiled together into one object."""
    keys = [kernel_key(source) for source in sources]
    with _lock:
        missing = {key: source for key, source in zip(keys, sources, strict=True) if key not in _memory.addresses}
        counters.memory_hits += len(set(keys)) - len(missing)
        if missing:
            disk = DiskCache(default_folder(), _limit())
            _load_from_disk(disk, missing)
            for native in (True, False):
                unit = {key: source for key, source in missing.items() if source.native == native}
                if unit:
                    _compile(disk, unit, native)
        return tuple(Entry(_memory.addresses[key], source) for key, source in zip(keys, sources, strict=True))


def kernel_key(source: Source) -> str:
    """A kernel's name in memory and on disk: a digest of its text and of everything else that shapes its code."""
    return hashlib.sha256(_surroundings() + (b"1" if source.native else b"0") + source.text.encode()).hexdigest()


@cache
def _surroundings() -> bytes:
    """A digest of the processor, Numba's and llvmlite's versions and settings, and our own code generators."""
    digest = hashlib.sha256()
    parts = [loader.host_processor().encode(), sys.version.encode(), _vector_version().encode()]
    parts += [f"{name}={value}".encode() for name, value in sorted(os.environ.items()) if name.startswith("NUMBA_")]
    parts += [_version_file(package) for package in ("numba", "llvmlite")]
    here = os.path.dirname(__file__)
    parts += [_contents(os.path.join(here, f"{name}.py")) for name in GENERATORS]
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.digest()


def _version_file(package: str) -> bytes:
    """The file in which a package states its version, read without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return b"absent"
    path = os.path.join(os.path.dirname(spec.origin), "_version.py")
    return _contents(path) if os.path.exists(path) else spec.origin.encode()


def _contents(path: str) -> bytes:
    """A file's bytes."""
    with open(path, "rb") as file:
        return file.read()


def _vector_version() -> str:
    """The version of the vector math that kernels inline."""
    from treadle import vector

    return str(vector.source_version)


def _limit() -> int:
    """The disk cache's bound in bytes: `TREADLE_CACHE_LIMIT`, else 256 MB."""
    try:
        return int(os.environ.get("TREADLE_CACHE_LIMIT", DEFAULT_LIMIT))
    except ValueError:
        return DEFAULT_LIMIT


def _load_from_disk(disk: DiskCache, missing: dict[str, Source]) -> None:
    """Load what the disk has of `missing` and take it from there."""
    for unit in disk.find(missing):
        wanted = {key: symbol for key, symbol in unit.symbols.items() if key in missing}
        try:
            addresses = loader.load(unit.image, list(wanted.values()))
        except Exception:  # whatever the linker says of a stored object, it can be compiled again
            disk.forget(wanted)
            continue
        for key, symbol in wanted.items():
            _memory.addresses[key] = addresses[symbol]
            del missing[key]
            counters.kernels_loaded += 1


def _compile(disk: DiskCache, missing: dict[str, Source], native: bool) -> None:
    """Compile all of `missing` into one object, load it, and write it to disk."""
    compiler = importlib.import_module(f"{__package__}.{'int64' if native else 'pipeline'}")
    unit_symbols = {key: f"treadle_{key[:24]}" for key in missing}
    try:
        image = compiler.compile_object([(unit_symbols[key], source.text) for key, source in missing.items()])
        addresses = loader.load(image, list(unit_symbols.values()))
    except Exception:
        if native:
            raise
        # Numba's private parts have changed, or a kernel is faulty: the public way tells which
        _compile_one_by_one(missing)
        return
    for key, symbol in unit_symbols.items():
        _memory.addresses[key] = addresses[symbol]
    counters.kernels_compiled += len(missing)
    if symbols.stands_alone(image):
        disk.put(Unit(unit_symbols, image))
    else:
        counters.objects_refused += 1


def _compile_one_by_one(missing: dict[str, Source]) -> None:
    """Numba's public way: slower, and nothing for the disk."""
    from . import pipeline

    for key, source in missing.items():
        _memory.addresses[key], keep = pipeline.compile_cfunc(source.text)
        _memory.keep.append(keep)
        counters.kernels_compiled += 1
        counters.fallbacks += 1
