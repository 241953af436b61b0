"""Vector math for generated kernels: branch-free functions in plain Python, and their error bounds.

Kernels name a function by operation and dtype, `tanh_f4` or `mod_i8`. Compiled, the names come from
`treadle.compile.llvm.intrinsics`, made from the sources here; interpreted, from `interpreted_namespace`.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from treadle.vector import (
    error_function,
    exponential,
    gamma,
    integer,
    inverse_error_function,
    inverse_trigonometric,
    logarithm,
    polygamma,
    power,
    trigonometric,
)
from treadle.vector.bounds import BOUNDS
from treadle.vector.primitives import INTEGERS, PRIMITIVES

__all__ = ["BOUNDS", "FUNCTIONS", "interpreted_namespace", "source_version"]


def _collect() -> dict[str, Callable[..., Any]]:
    """Name in kernels -> function: those with a bound, the exact float rules, the integer rules by kind."""
    families = (exponential, logarithm, trigonometric, inverse_trigonometric, error_function, inverse_error_function)
    defined = {name: value for module in (*families, power, gamma, polygamma) for name, value in vars(module).items()}
    found: dict[str, Callable[..., Any]] = {name: defined[name] for name in BOUNDS}
    for name in ("floordiv", "mod", "sign", "nextafter", "isinf"):
        for kind in ("f4", "f8"):
            found[f"{name}_{kind}"] = getattr(integer, f"{name}_{kind}")
    for kind in INTEGERS:
        rules = integer.SIGNED if kind[0] == "i" else integer.UNSIGNED
        found.update((f"{name}_{kind}", function) for name, function in rules.items())
    return found | integer.WIDE


FUNCTIONS: dict[str, Callable[..., Any]] = _collect()


@functools.cache
def _source_hash() -> str:
    here = Path(__file__).parent
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(here.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def __getattr__(name: str) -> Any:
    """`source_version`: a hash of the sources in this folder, made when first asked for; part of cache keys."""
    if name == "source_version":
        return _source_hash()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def interpreted_namespace() -> dict[str, Any]:
    """Globals to run a kernel's text as plain Python: every name of a jitted kernel, on NumPy scalars, silently."""
    quiet = np.errstate(all="ignore")
    return {name: quiet(function) for name, function in (PRIMITIVES | FUNCTIONS).items()}
