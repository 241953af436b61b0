"""From kernel sources to addresses: looked up in memory, then on disk, and only then compiled, all missing together.

llvmlite is not imported before it is needed. Numba is only where `td.config.compiler` says so, or for a text that our
own compiler does not understand.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import threading
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

from treadle.compile.llvm import flat, loader, symbols
from treadle.compile.llvm.cache import DEFAULT_LIMIT, DiskCache, Unit, default_folder, new_digest
from treadle.config import config
from treadle.records import dataclass, field

# The modules here that decide what machine code a text becomes; their own text is part of every key.
GENERATORS = (
    *("direct", "kernel_writer", "kernel_values", "llvm_text", "native", "rare", "scalar", "scalar_primitives"),
    *("wide_division", "no_fma", "tiles", "peaks", "pipeline", "intrinsics"),
)


@dataclass(frozen=True, slots=True)
class Source:
    """A kernel in plain Python: `text` defines `kernel(args, lo, hi)`; `name` is for people, no part of the key.

    Our own loops (`native`) are compiled quickly, and never by Numba; with more care where every step runs in them
    (`hot`).
    """

    name: str
    text: str
    native: bool = False
    hot: bool = False


class Effort:
    """How much is done to make code fast."""

    LEAST = 0  # a call around BLAS, a loop that waits
    SOME = 1  # the loop that walks programs
    FULL = 2  # kernels of graphs: vectorised


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
    fallbacks: int = 0  # kernels that our own compiler did not understand, or Numba's pipeline did not take


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
            for effort in (Effort.LEAST, Effort.SOME, Effort.FULL):
                unit = {key: source for key, source in missing.items() if _effort(source) == effort}
                if unit:
                    _compile(disk, unit, effort)
        return tuple(Entry(_memory.addresses[key], source) for key, source in zip(keys, sources, strict=True))


def compiler_of(source: Source) -> str:
    """What makes machine code of a kernel."""
    return "native" if source.native else config.compiler


def _effort(source: Source) -> int:
    if not source.native:
        return Effort.LEAST if compiler_of(source) == "quick" else Effort.FULL
    return Effort.SOME if source.hot else Effort.LEAST


def kernel_key(source: Source) -> str:
    """A kernel's name in memory and on disk: a digest of its text and of everything else that shapes its code."""
    return _key(_surroundings(), compiler_of(source), source.text)


@lru_cache(1024)
def _key(surroundings: bytes, kind: str, text: str) -> str:
    """See `kernel_key`: each program asks again for the kernels that it shares with others."""
    return new_digest(surroundings + f"{kind}\n{text}".encode()).hexdigest()


@cache
def _surroundings() -> bytes:
    """A digest of the processor, Numba's and llvmlite's versions and settings, and our own code generators."""
    digest = new_digest()
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
    """A digest of the vector math that kernels inline, read without importing it."""
    spec = importlib.util.find_spec("treadle.vector")
    folder = os.path.dirname(str(spec and spec.origin))
    digest = new_digest()
    for name in sorted(os.listdir(folder)):
        if name.endswith(".py"):
            digest.update(_contents(os.path.join(folder, name)))
    return digest.hexdigest()


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


def _compile(disk: DiskCache, missing: dict[str, Source], effort: int) -> None:
    """Compile all of `missing` into one object, load it, and write it to disk."""
    foreign = missing
    if effort < Effort.FULL or config.compiler == "direct":
        direct = importlib.import_module(f"{__package__}.direct")
        image, refused = direct.compile_object(_named(missing), effort)
        foreign = {key: source for key, source in missing.items() if _symbol(key) in refused}
        counters.fallbacks += len(foreign)
        _finish(disk, {key: source for key, source in missing.items() if key not in foreign}, image)
    if foreign:
        _compile_by_numba(disk, foreign)


def _symbol(key: str) -> str:
    """The name of a kernel in an object."""
    return f"treadle_{key[:24]}"


def _named(missing: dict[str, Source]) -> list[tuple[str, str]]:
    """Symbol and text of each kernel."""
    return [(_symbol(key), source.text) for key, source in missing.items()]


def _finish(disk: DiskCache, made: dict[str, Source], image: bytes) -> None:
    """Load an object and write it to disk."""
    if not made:
        return
    unit_symbols = {key: _symbol(key) for key in made}
    alone = symbols.stands_alone(image)
    image, addresses = _loaded(image, list(unit_symbols.values()), alone)
    for key, symbol in unit_symbols.items():
        _memory.addresses[key] = addresses[symbol]
    counters.kernels_compiled += len(made)
    if alone:
        disk.put(Unit(unit_symbols, image))
    else:
        counters.objects_refused += 1


def _loaded(image: bytes, wanted: list[str], alone: bool) -> tuple[bytes, dict[str, int]]:
    """An object in memory, and what to keep of it: laid out flat where that can be, else as it is, for the linker."""
    laid_out = flat.lay_out(image, wanted) if alone else None
    if laid_out is not None:
        try:
            return laid_out, loader.load(laid_out, wanted)
        except Exception:  # a function of libm that is nowhere by its name: the linker may know better
            pass
    return image, loader.load(image, wanted)


def _compile_by_numba(disk: DiskCache, missing: dict[str, Source]) -> None:
    """By Numba's front end, trimmed; where its private parts have changed, or a kernel is faulty, by its public one."""
    try:
        _finish(disk, missing, importlib.import_module(f"{__package__}.pipeline").compile_object(_named(missing)))
    except Exception:
        _compile_one_by_one(missing)


def _compile_one_by_one(missing: dict[str, Source]) -> None:
    """Numba's public way: slower, and nothing for the disk."""
    from treadle.compile.llvm import pipeline

    for key, source in missing.items():
        _memory.addresses[key], keep = pipeline.compile_cfunc(source.text)
        _memory.keep.append(keep)
        counters.kernels_compiled += 1
        counters.fallbacks += 1
