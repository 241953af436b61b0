"""What all tests share; above all how much LLVM does for their kernels.

LLVM's whole pipeline takes ten times as long as the quick way, and would be most of the suite's time. Where what
becomes of a function before LLVM is the subject, kernels are compiled quickly; where kernels themselves are, every
fourth is as users get it, chosen by its text; in the other folders all are. `TREADLE_TESTS=optimised` makes all of all
tests as users get them (`make test-optimised`): for whoever changes what LLVM is handed.
"""

from __future__ import annotations

import gc
import os
import signal
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import treadle as td
from treadle.compile.llvm import build

QUICK = set("autodiff autograph control data debug function losses nn optim statements testing".split())
SHARED = set("acceptance control_flow fusion moves ops optimize stepping test_random_programs.py".split())
SHARE = 4
ALL_OPTIMISED = os.environ.get("TREADLE_TESTS") == "optimised"

# What takes long goes first, so that no process is left alone with it at the end.
LONG = (
    *("compile/test_random_programs.py", "examples/test_examples.py", "control_flow/test_corpus.py"),
    *("vector/test_accuracy.py", "benchmarks/test_harness.py", "compile/fusion/test_rows.py"),
    *("control_flow/test_random_functions.py", "autograph/test_random_programs.py", "autodiff/test_random_programs.py"),
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "optimised: kernels are those that users get, wherever the test stands")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests run in one process, and those of vector math all in one, which compiles its functions once."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = nodeid.partition("::")[0]
            return "tests/vector" if file.startswith("tests/vector/") else file

    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files come first."""
    tests = Path(__file__).parent
    place = {tests / name: k for k, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path, len(LONG)))


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


def every_fourth(source: build.Source) -> str:
    """The compiler of a kernel where few are as users get them."""
    found = as_configured(source)
    return "quick" if found == "direct" and zlib.crc32(source.text.encode()) % SHARE else found


as_configured = build.compiler_of


@pytest.fixture(autouse=True)
def kernels_of_this_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Kernels are compiled quickly, or every fourth as users get them, or all."""
    names = {request.path.parent.name, request.path.name}
    before = td.config.compiler
    if not ALL_OPTIMISED and request.node.get_closest_marker("optimised") is None:
        if names & QUICK:
            td.config.compiler = "quick"
        elif names & SHARED:
            build.compiler_of = every_fourth
    yield
    td.config.compiler = before
    build.compiler_of = as_configured
