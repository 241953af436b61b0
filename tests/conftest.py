"""What all tests share."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def interrupts() -> Iterator[None]:
    """Ctrl-C interrupts, also where the tests were started in the background by a shell that ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module", autouse=True)
def only_new_objects_are_searched_for_garbage() -> None:
    """What is there when a module begins stays: else each `gc.collect()` would walk all that the session holds."""
    gc.collect()
    gc.freeze()
