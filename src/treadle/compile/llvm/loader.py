"""Code into memory: flat images by a copy, other object files through llvmlite's ORC linker; the processor's name.

llvmlite is imported where only it can help (60 ms), Numba never.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache
from typing import Any

from treadle.compile.llvm import flat

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
def host() -> tuple[Any, str, str]:
    """llvmlite's binding, and this processor's name and features as LLVM sees them."""
    binding = _binding()
    return binding, binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()


@cache
def host_processor() -> str:
    """Name and features of this processor; a kernel compiled for one must not run on another."""
    return _linux_processor() or " ".join(host()[1:])


def _linux_processor() -> str:
    """What Linux says of the first processor, and its features; "" where it says nothing of the kind."""
    try:
        with open("/proc/cpuinfo", "rb") as file:
            first = file.read(1 << 14).partition(b"\n\n")[0].decode()
    except (OSError, UnicodeDecodeError):
        return ""
    found = dict(line.split("\t: ", 1) for line in first.replace("\t\t:", "\t:").split("\n") if "\t: " in line)
    names = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")
    return " ".join(found[name] for name in names) if all(name in found for name in names) else ""


def load(image: bytes, symbols: Sequence[str]) -> dict[str, int]:
    """Link an image into the process; the address of each symbol. An Exception where it is damaged or incomplete."""
    if flat.is_flat(image):
        return flat.load(image, symbols)
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
