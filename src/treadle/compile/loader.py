"""Object files into memory through llvmlite's ORC linker, and what the host's processor is called.

llvmlite is imported at the first use (28 ms), Numba never.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache
from typing import Any

_names = itertools.count()
# The trackers own the code's memory; kernels live as long as the process, since any address may be in a program.
_keep: list[Any] = []


@cache
def _binding() -> Any:
    """llvmlite's binding, with the native target set up."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding


@cache
def _linker() -> Any:
    """The one ORC instance of the process."""
    binding = _binding()
    machine = binding.Target.from_default_triple().create_target_machine(jit=True)
    linker = binding.create_lljit_compiler(machine, suppress_errors=True)
    _keep.append(machine)
    return linker


@cache
def host_processor() -> str:
    """Name and features of this processor as LLVM sees them; a kernel compiled for one must not run on another."""
    binding = _binding()
    return f"{binding.get_host_cpu_name()} {binding.get_host_cpu_features().flatten()}"


def load(image: bytes, symbols: Sequence[str]) -> dict[str, int]:
    """Link an object into the process; the address of each symbol. RuntimeError where it is damaged or incomplete."""
    from llvmlite.binding.orcjit import JITLibraryBuilder

    builder = JITLibraryBuilder().add_object_img(image).add_current_process()
    for symbol in symbols:
        builder.export_symbol(symbol)
    tracker = builder.link(_linker(), f"treadle_{next(_names)}")
    _keep.append(tracker)
    addresses = {symbol: int(tracker[symbol]) for symbol in symbols}
    if not all(addresses.values()):
        raise RuntimeError("an object lacks a symbol that its header names")
    return addresses
