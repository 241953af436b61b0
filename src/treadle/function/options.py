"""The options of `td.function`, as one record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
