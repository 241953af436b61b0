"""What all tests share."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator

import pytest

import treadle as td


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


# Where the subject is what becomes of a function before LLVM sees it, LLVM is not asked to make it fast. Elsewhere
# (compile, control_flow, acceptance, ...) kernels are those that users get.
QUICK = set("autodiff autograph control data debug function losses nn optim statements testing".split())


@pytest.fixture(scope="module", autouse=True)
def quick_kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    """Kernels of these folders' tests are hardly optimised, which takes a tenth of LLVM's time."""
    before = td.config.compiler
    if request.path.parent.name in QUICK:
        td.config.compiler = "quick"
    yield
    td.config.compiler = before
