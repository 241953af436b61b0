"""The options of `td.function`, as one record."""

from __future__ import annotations

from typing import Any

from treadle.records import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `td.function`."""

    input_signature: Any = None
    autograph: bool = True
    reduce_retracing: bool = False
    static_argnames: tuple[str, ...] = ()
    donate_argnames: tuple[str, ...] = ()
    name: str | None = None
    background: bool = False
