"""The compiler of the native loops, against Python: the same text, run by both."""

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.compile import build, int64
from treadle.compile.build import Source

TEXTS = {
    "collatz": """
def kernel(args, lo, hi):
    n = lo * lo + 1
    steps = 0
    while n != 1 and steps < 500:
        if n % 2 == 0:
            n = n // 2
        else:
            n = 3 * n + 1
        steps += 1
    return steps
""",
    "loops": """
def kernel(args, lo, hi):
    total = 0
    for i in range(lo, hi):
        if i % 3 == 0:
            continue
        for j in range(5):
            if j > i:
                break
            total += i * j - 1
        else_way = total if total > 100 or i == lo else -total
        total = max(min(else_way, 1000), -1000)
    return total
""",
    "memory": """
def kernel(args, lo, hi):
    here = words(args)
    here[2] = here[0] + 10
    here[here[1] & 3] += 5
    if lo < hi and hi > 3 or lo == hi:
        return here[2] | 1
    elif lo == 3:
        return 7
    return here[0] + here[1] + here[2] + here[3]
""",
    "lazy": """
def kernel(args, lo, hi):
    count = 0
    if lo > 0 and args[0] == 0:
        count += 1
    if args == 0 or args[0] == args[1]:
        count += 2
    return count + (args[1] if lo > 2 else hi)
""",
}


@pytest.fixture(scope="module")
def functions():
    entries = build.load([Source(name, text, native=True) for name, text in TEXTS.items()])
    kind = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    return {name: kind(entry.address) for name, entry in zip(TEXTS, entries, strict=True)}


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    name=st.sampled_from(sorted(TEXTS)),
    lo=st.integers(0, 30),
    hi=st.integers(0, 30),
    data=st.lists(st.integers(0, 9), min_size=4, max_size=4),
)
def test_native_code_does_what_python_does(functions, name, lo, hi, data):
    scope = {"words": lambda address: address}
    exec(TEXTS[name], scope)
    native, python = np.array(data, np.int64), list(data)
    assert functions[name](native.ctypes.data, lo, hi) == scope["kernel"](python, lo, hi)
    assert native.tolist() == python


@pytest.mark.parametrize(
    "body",
    [
        "x = y = 1",
        "return None",
        "import os",
        "return lo / hi",
        "return lo < hi < 3",
        "return lo in hi",
        "lo.x = 1",
        "return other(lo)",
        "return 1.5",
    ],
)
def test_what_is_not_understood_is_refused(body):
    with pytest.raises(SyntaxError):
        int64.compile_object([("kernel", f"def kernel(args, lo, hi):\n    {body}\n")])
