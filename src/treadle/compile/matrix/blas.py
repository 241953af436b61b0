"""BLAS: where its routines are, and how its own threads are kept still.

The library is the OpenBLAS that SciPy's (else NumPy's) wheel brings, opened by ctypes without importing SciPy; where
there is none, SciPy's `cython_blas` table of addresses. Where both fail `available()` is False and products are host
steps.
"""

from __future__ import annotations

import ctypes
import importlib.util
import itertools
import os
import struct
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Literal

import numpy as np

from treadle.compile.run.machine import Blas
from treadle.records import dataclass

Dtype = Literal["f4", "f8"]
PREFIXES: dict[Dtype, str] = {"f4": "s", "f8": "d"}


@dataclass(frozen=True, slots=True)
class Library:
    """Addresses of the routines, and of the functions that read and set BLAS's number of threads (0 if unknown)."""

    name: str
    gemm: dict[Dtype, int]
    gemv: dict[Dtype, int]
    get_threads: int
    set_threads: int


@cache
def library() -> Library | None:
    """The BLAS in use, found once per process."""
    for path in _bundled():
        found = _open(path)
        if found is not None:
            return found
    return _from_scipy()


def available() -> bool:
    """Whether products can be called by address on this machine."""
    return sys.byteorder == "little" and library() is not None


def threads_of_numpy() -> tuple[int, int] | None:
    """Of NumPy's own OpenBLAS the functions that run others on its threads and tell how many they are."""
    for path in _bundled(("numpy",)):
        opened = ctypes.CDLL(path)
        run = getattr(opened, "gotoblas_pthread", None)  # none where its threads are OpenMP's or Windows's
        for name in ("scipy_openblas_get_num_threads64_", "openblas_get_num_threads64_", "openblas_get_num_threads"):
            tell = getattr(opened, name, None)
            if run is not None and tell is not None:
                first, second = (ctypes.cast(function, ctypes.c_void_p).value for function in (run, tell))
                return (first, second) if first and second else None
    return None


def _bundled(packages: Sequence[str] = ("scipy", "numpy")) -> Iterator[str]:
    """OpenBLAS inside SciPy's and NumPy's wheels: beside the package on Linux and Windows, inside it on macOS."""
    for package in packages:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        home = os.path.dirname(spec.origin)
        for folder in (os.path.join(os.path.dirname(home), f"{package}.libs"), os.path.join(home, ".dylibs")):
            if os.path.isdir(folder):
                yield from (os.path.join(folder, name) for name in sorted(os.listdir(folder)) if "openblas" in name)


def _open(path: str) -> Library | None:
    """The routines of one OpenBLAS, under whichever prefix and suffix it was built with."""
    try:
        opened = ctypes.CDLL(path)
    except OSError:
        return None
    for prefix, suffix in itertools.product(("scipy_", ""), ("64_", "")):

        def address(name: str, prefix: str = prefix, suffix: str = suffix) -> int:
            function = getattr(opened, f"{prefix}{name}{suffix}", None)
            return ctypes.cast(function, ctypes.c_void_p).value or 0 if function is not None else 0

        gemm: dict[Dtype, int] = {kind: address(f"{letter}gemm_") for kind, letter in PREFIXES.items()}
        gemv: dict[Dtype, int] = {kind: address(f"{letter}gemv_") for kind, letter in PREFIXES.items()}
        if all(gemm.values()) and all(gemv.values()):
            get, put = address("openblas_get_num_threads"), address("openblas_set_num_threads")
            return Library(os.path.basename(path), gemm, gemv, get if put else 0, put if get else 0)
    return None


def _from_scipy() -> Library | None:
    """The routines that `scipy.linalg.cython_blas` lists; whatever threads that BLAS has stay as they are."""
    try:
        from scipy.linalg import cython_blas
    except ImportError:
        return None
    name_of = ctypes.pythonapi.PyCapsule_GetName
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    capsules = cython_blas.__pyx_capi__

    def address(name: str) -> int:
        return pointer_of(capsules[name], name_of(capsules[name])) or 0

    gemm: dict[Dtype, int] = {kind: address(f"{letter}gemm") for kind, letter in PREFIXES.items()}
    gemv: dict[Dtype, int] = {kind: address(f"{letter}gemv") for kind, letter in PREFIXES.items()}
    return Library("scipy.linalg.cython_blas", gemm, gemv, 0, 0)


@cache
def threads_block() -> np.ndarray | None:
    """The words by which running programs agree that BLAS stays on one thread; None where it cannot be told."""
    found = library()
    if found is None or not found.set_threads:
        return None
    block = np.zeros(Blas.SIZE, np.int64)
    block[Blas.GET], block[Blas.SET] = found.get_threads, found.set_threads
    block[Blas.GIVE_WAY] = give_way_address() or found.get_threads
    return block


@cache
def give_way_address() -> int:
    """Address of `sched_yield`, or 0."""
    if sys.platform == "win32":
        return 0
    return ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value or 0


holding: list[int] = []  # the address of `machine.HOLD`, once it is compiled


def _block() -> np.ndarray | None:
    return threads_block() if threads_block.cache_info().currsize else None


def _hold() -> None:
    """Before a fork: no thread is in the middle of telling BLAS how many threads to use."""
    block = _block()
    if block is not None and holding:
        ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(holding[0])(block.ctypes.data, 0, 0)


def _go_on() -> None:
    block = _block()
    if block is not None:
        block[Blas.LOCK] = 0


def _free_in_child() -> None:
    """In a forked child no other thread runs: what they held is free, and what they set is put back."""
    block = _block()
    if block is None:
        return
    block[Blas.LOCK] = 0
    if block[Blas.USERS] > 0:
        # A run of this thread that goes on in the child counts as none: it leaves BLAS as it is, and ends well.
        block[Blas.USERS] = 0
        ctypes.CFUNCTYPE(None, ctypes.c_int)(int(block[Blas.SET]))(int(block[Blas.SAVED]))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_go_on, after_in_child=_free_in_child)


def scalar_words(dtype: Dtype, value: float) -> tuple[int, int]:
    """A scalar of `dtype` as the two words of a block from whose address BLAS reads it."""
    data = struct.pack("<f" if dtype == "f4" else "<d", value).ljust(16, b"\0")
    return struct.unpack("<qq", data)
