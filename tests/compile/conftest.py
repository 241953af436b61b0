"""Small kernels that the tests of the executor call, compiled together once per session."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from treadle.compile.llvm import build

sys.path.insert(0, str(Path(__file__).parent))  # for the modules that tests share

TEXTS = {
    # args: x, y, c; y[i] = x[i] + c
    "inc": """
def kernel(args, lo, hi):
    x = p_i8(args[0])
    y = p_i8(args[1])
    for i in range(lo, hi):
        y[i] = x[i] + args[2]
    return 0
""",
    # args: y; counts how often each element was visited
    "visit": """
def kernel(args, lo, hi):
    y = p_i8(args[0])
    for i in range(lo, hi):
        y[i] += 1
    return 0
""",
    # args: address of a status; reports it
    "check": """
def kernel(args, lo, hi):
    return p_i8(args[0])[0]
""",
    # args: y, steps done, steps to do; y[0] += 1 each step, at most 1000 a call
    "steps": """
def kernel(args, lo, hi):
    y = p_i8(args[0])
    for i in range(1000):
        if args[1] == args[2]:
            return 0
        args[1] += 1
        y[0] += 1
    return 1
""",
    # args: y; y[0] = y[0] < c, as a byte
    "less": """
def kernel(args, lo, hi):
    p_i8(args[1])[0] = 1 if p_i8(args[0])[0] < args[2] else 0
    return 0
""",
    # args: y, grain, s; y[share] = its first index; reports s in the last share
    "shares": """
def kernel(args, lo, hi):
    y = p_i8(args[0])
    y[lo // args[1]] = hi - lo
    return args[2] if lo > 0 else 0
""",
}


@pytest.fixture(scope="session")
def kernels():
    entries = build.load([build.Source(name, text) for name, text in TEXTS.items()])
    return SimpleNamespace(**dict(zip(TEXTS, entries, strict=True)))


@pytest.fixture(scope="session", autouse=True)
def nothing_falls_back():
    """Our own compiler understands every kernel that these tests' programs need."""
    yield
    assert build.counters.fallbacks == 0
