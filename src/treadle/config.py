"""`td.config`: the settings of the whole process as one typed object; each also an environment variable `TREADLE_*`."""

from __future__ import annotations

import os
from typing import Any

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"", "0", "false", "no", "off"}


class Config:
    """Settings of the process; assigning an unknown name or a value of another type is an error.

    full_tracebacks (TREADLE_FULL_TRACEBACKS): show treadle's own frames in errors.
    retrace_warning (TREADLE_RETRACE_WARNING): at which trace of one function a RetraceWarning comes; 0 is never.
    unroll_warning (TREADLE_UNROLL_WARNING): from how many nodes on an unrolled Python loop is warned about; 0 is never.
    compiler (TREADLE_COMPILER): what makes kernels from their text: "direct" (to LLVM), "quick" (the same, but hardly
        optimised: compiled several times faster, run slower; for test suites) or "numba" (slow, an oracle).
    """

    full_tracebacks: bool = False
    retrace_warning: int = 6
    unroll_warning: int = 300
    compiler: str = "direct"

    def __init__(self) -> None:
        for name, kind in _TYPES.items():
            text = os.environ.get(f"TREADLE_{name.upper()}")
            if text is not None:
                setattr(self, name, _parse(name, kind, text))

    def __setattr__(self, name: str, value: Any) -> None:
        kind = _TYPES.get(name)
        if kind is None:
            raise AttributeError(f"td.config has no setting {name!r}; it has {', '.join(_TYPES)}")
        if type(value) is not kind:
            raise TypeError(f"td.config.{name} is of type {kind.__name__}, got {value!r}")
        if name in _CHOICES and value not in _CHOICES[name]:
            raise ValueError(f"td.config.{name} is one of {', '.join(_CHOICES[name])}, got {value!r}")
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{name}={getattr(self, name)!r}' for name in _TYPES)})"


_TYPES: dict[str, type] = {"full_tracebacks": bool, "retrace_warning": int, "unroll_warning": int, "compiler": str}
_CHOICES = {"compiler": ("direct", "quick", "numba")}


def _parse(name: str, kind: type, text: str) -> Any:
    lowered = text.strip().lower()
    if kind is bool and lowered in _TRUE | _FALSE:
        return lowered in _TRUE
    if kind is int and lowered.isdecimal():
        return int(lowered)
    if kind is str:
        return lowered
    raise ValueError(f"the environment variable TREADLE_{name.upper()} must be of type {kind.__name__}, got {text!r}")


config = Config()
