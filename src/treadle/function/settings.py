"""What holds for all functions at once: eager running, the ban on retraces, settings in keys, counters, the lock."""

from __future__ import annotations

import sys
import threading
from contextvars import ContextVar
from typing import Any

from treadle.core import changes
from treadle.core.dtypes import default_float

# One lock for all functions: with one each, f tracing g while g traces f would stop both.
TRACE_LOCK = threading.RLock()

_extra_settings: ContextVar[Any] = ContextVar("treadle_settings", default=None)
forbidden: ContextVar[bool] = ContextVar("treadle_no_retrace", default=False)


class _Switches:
    """Process-wide state."""

    eager = False
    special = 0  # how many of the above are on anywhere: while it is 0, the fast path need not look further
    traces = 0


switches = _Switches


def settings_key() -> tuple[Any, ...]:
    """The settings that a trace depends on."""
    return default_float(), _extra_settings.get()


class extra_setting:
    """Context manager: a hashable setting that changes what is traced (such as checks on numbers): part of each key."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __enter__(self) -> None:
        _Switches.special += 1
        changes.note()
        self._token = _extra_settings.set(self._value)

    def __exit__(self, *exc_info: object) -> None:
        _extra_settings.reset(self._token)
        _Switches.special -= 1


class run_eagerly:
    """Turn every `td.function` off (True) or on again, for debuggers; also a context manager.

    >>> import treadle as td
    >>> f = td.function(lambda x: x + 1)
    >>> with td.run_eagerly(True):
    ...     f(1)
    2
    >>> f.trace_count
    0
    """

    def __init__(self, on: bool = True) -> None:
        self._before = _Switches.eager
        self._set(bool(on))

    def __enter__(self) -> run_eagerly:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._set(self._before)

    @staticmethod
    def _set(on: bool) -> None:
        _Switches.special += int(on) - int(_Switches.eager)
        _Switches.eager = on
        changes.note()


class no_retrace:
    """Context manager: a call that would have to trace is a TraceError that says why it would."""

    def __enter__(self) -> no_retrace:
        self._token = forbidden.set(True)
        return self

    def __exit__(self, *exc_info: object) -> None:
        forbidden.reset(self._token)


def stats() -> dict[str, int]:
    """Counters of this process: traces, kernels_compiled, kernels_loaded (from disk), cache_hits (in memory)."""
    build = sys.modules.get("treadle.compile.llvm.build")
    counters = getattr(build, "counters", None)
    return {
        "traces": _Switches.traces,
        "kernels_compiled": getattr(counters, "kernels_compiled", 0),
        "kernels_loaded": getattr(counters, "kernels_loaded", 0),
        "cache_hits": getattr(counters, "memory_hits", 0),
    }
