"""The compiler of kernels: native loops against Python, kernels of graphs against Numba, the same text for both."""

import ctypes
import platform

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.compile.llvm import build, direct, flat, kernel_writer, loader
from treadle.compile.llvm.build import Source

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
    "floors": """
def kernel(args, lo, hi):
    a = lo - 15
    b = hi - 40
    whole = a // 8 * 3 + a % 8 + a // 7 * 5 + a % 7 * 11
    return whole + a // b * 13 + a % b * 17 + (a << 2) + (a >> 1) + (a & 6) + (a ^ b) + (~a) + -a
""",
    "lazy": """
def kernel(args, lo, hi):
    count = 0
    if lo > 0 and args[0] == 0:
        count += 1
    if args[0] == 5 or args[0] == args[1]:
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
        "x = 1\n    x = 1.5\n    return 0",
        "return i8(f4(1) * 2)",
        "return i8(u8(lo) + hi)",
        "if lo > 0:\n        x = 1\n    return args",
        "lo = 2",
    ],
)
def test_what_is_not_understood_is_refused(body):
    good = ("good", "def kernel(args, lo, hi):\n    return 3\n")
    image, refused = direct.compile_object([("kernel", f"def kernel(args, lo, hi):\n    {body}\n"), good])
    assert refused == ["kernel"]
    assert loader.load(image, ["good"])["good"]


MAP = """
def kernel(args, lo, hi):
    x = p_f4(args[0])
    y = p_f4(args[1])
    z = p_f4(args[2])
    c = p_f4(args[4])[0]
    for j in range(lo, hi):
        v = x[j] * y[j] + c
        z[j] = tanh_f4(v) * sigmoid_f4(x[j]) + exp_f4(-x[j] * x[j]) / f4(2.0)
    return 0
"""
ROWS = """
def kernel(args, lo, hi):
    x = p_f4(args[0])
    y = p_f4(args[1])
    z = p_f4(args[2])
    for j in range(1):
        r0 = f4(-0.0)
        r1 = f4(-1e400)
        q = p_f4(args[0] + j * 4)
        for k in range(hi):
            v = exp_f4(q[k] - y[k])
            r0 = add_reassoc_f4(r0, v)
            r1 = max_f4(r1, v)
        z[j] = r0
        z[j + 1] = r1
    for j in range(2, hi):
        z[j] = x[j]
    return 0
"""
WHOLE = """
def kernel(args, lo, hi):
    x = p_i4(args[3])
    y = p_f4(args[1])
    z = p_i4(args[2])
    for j in range(lo, hi):
        a = x[j]
        b = i4(y[j])
        v0 = i4(a * b)
        v1 = floordiv_i4(v0, b)
        v2 = i4(-v1)
        v3 = b1(v2 < b)
        v4 = b1(v3 | (a == b))
        v5 = select(v4, v1, mod_i4(a, i4(3)))
        v6 = b1(not v4)
        z[j] = i4(i4(v5 ^ v0) + i4(~v2)) + i4(v6) + left_shift_i4(a, i4(j))
    return 0
"""
BRANCHES = """
def kernel(args, lo, hi):
    x = p_f4(args[0])
    z = p_f4(args[2])
    best = x[0]
    place = i8(0)
    n = i8(0)
    while n < hi:
        v = x[n]
        if v > best or (v != v and best == best):
            best = v
            place = i8(n)
        if n % 3 == 1:
            w = f4(n // 3)
        else:
            w = f4(-n // 3)
        z[n] = w if v > f4(0.0) else best
        n += i8(1)
    return place
"""
KERNELS = {"map": MAP, "rows": ROWS, "whole": WHOLE, "branches": BRANCHES}


@pytest.fixture(scope="module")
def both():
    """Each kernel by both compilers, and the length of what each makes of all of them."""
    kernels = {kind: [(f"{kind}_{name}", text) for name, text in KERNELS.items()] for kind in ("direct", "numba")}
    from treadle.compile.llvm import pipeline  # which imports Numba

    images = {"direct": direct.compile_object(kernels["direct"])[0], "numba": pipeline.compile_object(kernels["numba"])}
    kind = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    found = {}
    for name, image in images.items():
        found |= {s: kind(a) for s, a in loader.load(image, [symbol for symbol, _ in kernels[name]]).items()}
    return found, {name: len(image) for name, image in images.items()}


@pytest.mark.parametrize("name", KERNELS)
def test_both_compilers_make_the_same_of_a_kernel(both, name):
    functions, _ = both
    rng = np.random.default_rng(3)
    n = 1003
    x = rng.normal(size=n).astype("f4") * 3
    x[[5, 17, 700]] = np.nan, np.inf, -np.inf
    if name in ("rows", "whole"):
        x[[5, 17, 700]] = 0.0, 1.0, -1.0
    y = rng.normal(size=n).astype("f4")
    if name == "whole":
        y = rng.integers(-5, 5, n).astype("f4")
    whole, c = rng.integers(-(2**31), 2**31, n).astype("i4"), np.array([0.25], "f4")
    results = []
    for kind in ("direct", "numba"):
        z = np.zeros(n, "i4" if name == "whole" else "f4")
        args = np.array([a.ctypes.data for a in (x, y, z, whole, c)], np.int64)
        results.append((functions[f"{kind}_{name}"](args.ctypes.data, 0, n), z))
    (status, mine), (other, theirs) = results
    assert status == other
    if mine.dtype.kind == "i":
        assert np.array_equal(mine, theirs)
    else:
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-7)


def test_our_code_is_no_longer_than_numbas(both, monkeypatch):
    _, sizes = both
    assert sizes["direct"] <= 1.6 * sizes["numba"]  # where vector math is called, vectors go two at a time
    monkeypatch.setattr(kernel_writer, "vector_depth", lambda block: 0)
    image, refused = direct.compile_object([(f"direct_{name}", text) for name, text in KERNELS.items()])
    assert not refused
    assert len(image) <= 1.1 * sizes["numba"]


@pytest.mark.parametrize(
    ("value", "abreast"),
    [("x + x", None), ("exp_f4(x) + tanh_f4(-x)", 2), ("sqrt_f4(tanh_f4(exp_f4(x)))", 4), ("erf_f4(x / exp_f4(x))", 4)],
)
def test_more_vectors_go_abreast_where_calls_wait_for_each_other(monkeypatch, value: str, abreast: int | None):
    lines = ["def kernel(args, lo, hi):", "    q = p_f4(args[0])", "    for j in range(lo, hi):", "        x = q[j]"]
    text = "\n".join([*lines, f"        q[j] = {value}", "    return 0", ""])
    seen: list[str] = []
    monkeypatch.setattr(direct, "optimised", lambda assembly, effort: seen.append(assembly) or b"")
    direct.compile_object([("k", text)])
    assert ("interleave.count" in seen[0]) == (abreast is not None)
    assert abreast is None or f'interleave.count", i32 {abreast}' in seen[0]


MANY = "".join(
    [
        "def kernel(args, lo, hi):{mark}\n",
        *(f"    a{k} = args[{k}]\n    q{k} = p_f4(a{k} + lo * 4)\n" for k in range(30)),
        "    for j in range(hi - lo):\n",
        *(f"        q{k}[j] = q{k + 10}[j] * q{k + 20}[j] + q{k}[j]\n" for k in range(10)),
        "    return 0\n",
    ]
)


def test_memory_that_is_said_to_lie_apart_needs_no_checks(monkeypatch):
    texts = [MANY.format(mark=mark) for mark in ("", "  # apart")]
    seen = []
    monkeypatch.setattr(direct, "optimised", lambda assembly, effort: seen.append(assembly) or b"")
    direct.compile_object([("plain", texts[0])])
    direct.compile_object([("apart", texts[1])])
    assert "noalias" not in seen[0] and seen[1].count("!alias.scope") == 40
    monkeypatch.undo()
    image, _ = direct.compile_object([("apart", texts[1])])
    n = 1003
    arrays = [np.random.default_rng(k).normal(size=n).astype("f4") for k in range(30)]
    wanted = [arrays[k + 10].astype("f8") * arrays[k + 20] + arrays[k] for k in range(10)]
    args = np.array([a.ctypes.data for a in arrays], np.int64)
    kind = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    function = kind(loader.load(image, ["apart"])["apart"])
    for lo, hi in ((0, 500), (500, n)):
        function(args.ctypes.data, lo, hi)
    np.testing.assert_allclose(arrays[:10], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="flat images are made for x86-64")
def test_flat_images_call_libm_and_refuse_what_they_do_not_know():
    text = """
def kernel(args, lo, hi):
    x = p_f8(args[0])
    for j in range(lo, hi):
        x[j] = sin_f8(x[j]) + fmod_f8(x[j], 0.75)
    return 0
"""
    image, _ = direct.compile_object([("outside", text)])
    laid_out = flat.lay_out(image, ["outside"])
    assert laid_out is not None and b"slot sin" in laid_out and b"slot fmod" in laid_out
    x = np.array([0.5, 1e22, -3.0, 2.0**60] * 5)
    wanted = np.sin(x) + np.fmod(x, 0.75)
    args = np.array([x.ctypes.data], np.int64)
    kind = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    kind(flat.load(laid_out, ["outside"])["outside"])(args.ctypes.data, 0, len(x))
    np.testing.assert_allclose(x, wanted, rtol=1e-15, atol=1e-16)
    for broken in (b"", image[:100], image[:-200], b"MZ" + image[2:], image[:18] + b"\xb7\0" + image[20:]):
        assert flat.lay_out(broken, ["outside"]) is None
    with pytest.raises(RuntimeError, match="lacks"):
        flat.load(laid_out, ["elsewhere"])
    with pytest.raises(RuntimeError, match="short"):
        flat.load(laid_out[:-1], ["outside"])


def test_division_by_zero_gives_zero():
    text = "def kernel(args, lo, hi):\n    return 100 + lo // hi + lo % hi\n"
    image, _ = direct.compile_object([("divide", text)])
    kind = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    function = kind(loader.load(image, ["divide"])["divide"])
    assert [function(0, lo, hi) for lo, hi in ((7, 0), (7, 2), (-7, 2), (-(2**63), -1))] == [100, 104, 97, 100 - 2**63]
