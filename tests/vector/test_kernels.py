"""Kernel text, jitted and interpreted: casts and pointers, primitives, vectorised loops, symbols."""

from __future__ import annotations

import ctypes
import platform
import re
from types import SimpleNamespace

import numpy as np
import pytest

from treadle import vector
from treadle.compile.llvm.scalar_primitives import PRIMITIVES
from treadle.vector import primitives

KINDS = tuple(primitives.DTYPES)


def jitted(text: str) -> SimpleNamespace:
    """The kernel `k` of this text, compiled: run(lo, hi, *arrays), and its assembly."""
    import numba  # late: only the process that runs these tests imports it

    from treadle.compile.llvm.intrinsics import kernel_namespace

    signature = numba.int64(numba.types.CPointer(numba.int64), numba.int64, numba.int64)
    bare: dict = {}
    exec(text, bare)
    namespace = kernel_namespace(bare["k"].__code__.co_names)
    exec(text, namespace)
    entry = numba.cfunc(signature, nopython=True, error_model="numpy", fastmath={"contract"})(namespace["k"])

    def run(lo: int, hi: int, *arrays: np.ndarray) -> int:
        table = np.array([a.ctypes.data for a in arrays], np.int64)
        return entry.ctypes(table.ctypes.data_as(ctypes.POINTER(ctypes.c_int64)), lo, hi)

    return SimpleNamespace(run=run, assembly=entry._library.get_asm_str(), entry=entry)


def interpreted(text: str, lo: int, hi: int, *arrays: np.ndarray) -> None:
    namespace = vector.interpreted_namespace()
    exec(text, namespace)
    with np.errstate(all="ignore"):
        namespace["k"]([a.ctypes.data for a in arrays], lo, hi)


CHAIN = """
def k(args, lo, hi):
    x = p_f4(args[0])
    y = p_f4(args[1])
    for i in range(lo, hi):
        v = x[i]
        y[i] = tanh_f4(v * f4(0.7) + f4(0.1)) * sigmoid_f4(v) + exp_f4(-v * v) / f4(2.0)
    return 0
"""


def test_chain() -> None:
    kernel = jitted(CHAIN)
    x = np.random.default_rng(0).normal(size=1003).astype("f4") * 3
    y, twin = np.zeros_like(x), np.zeros_like(x)
    assert kernel.run(0, 500, x, y) == 0
    assert kernel.run(500, 1003, x, y) == 0
    interpreted(CHAIN, 0, 40, x, twin)
    wide = x.astype("f8")
    true = np.tanh(wide * 0.7 + 0.1) / (1 + np.exp(-wide)) + np.exp(-wide * wide) / 2
    np.testing.assert_allclose(y, true, rtol=0, atol=3e-7)
    np.testing.assert_allclose(y[:40], twin[:40], rtol=0, atol=2e-7)
    assert set(np.unique(twin[40:])) == {0}


def loop(expression: str, kind: str, arguments: int = 1) -> str:
    reads = "".join(f"    a{j} = p_{kind}(args[{j + 1}])\n" for j in range(arguments))
    head = f"def k(args, lo, hi):\n    y = p_{kind}(args[0])\n{reads}"
    return f"{head}    for i in range(lo, hi):\n        y[i] = {expression}\n    return 0\n"


def test_sine_of_huge_arguments_twice_in_one_process() -> None:
    for expression in ("sin_f8(a0[i])", "sin_f8(a0[i]) + cos_f8(a0[i])"):
        kernel = jitted(loop(expression, "f8"))
        x = np.random.default_rng(1).normal(size=999) * 100
        x[[3, 500, 998]] = 1e22, -1.7e308, 2.0**60
        y = np.empty_like(x)
        kernel.run(0, len(x), y, x)
        true = np.sin(x) + (np.cos(x) if "cos" in expression else 0)
        np.testing.assert_allclose(y, true, rtol=0, atol=4e-16)
        assert packed(kernel.assembly, "pd") > 20


def packed(assembly: str, suffix: str) -> int:
    """How many packed products and sums the text holds (vfmadd231pd on x86, fmla v0.4s on aarch64)."""
    if platform.machine() in ("x86_64", "AMD64"):
        return len(re.findall(rf"\bv?(?:mul|add|sub|fn?m(?:add|sub)\d*){suffix}\b", assembly))
    if platform.machine() in ("aarch64", "arm64"):
        return len(re.findall(rf"\bf(?:mla|mls|mul|add|sub)\s+v\d+\.{'4s' if suffix == 'ps' else '2d'}", assembly))
    pytest.skip("no pattern for this machine's assembly")


MAIN = "exp expm1 log log1p tanh sigmoid sin cos erf erfc lgamma pow sqrt atan2 asin cbrt hypot softplus".split()


@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_loops_are_vectorised(native, kind: str) -> None:
    for name in MAIN:
        if name == "sqrt":
            continue  # an instruction, not a function
        full = f"{name}_{kind}"
        body = native.assembly[native.assembly.index(f"loop_{full}:") :]
        body = body[: body.index(".Lfunc_end")]
        suffix = "pd" if kind == "f8" or name in ("sin", "cos", "erfc", "lgamma", "pow", "cbrt", "hypot") else "ps"
        assert packed(body, suffix) >= 3, full


def test_only_libm_is_left_undefined() -> None:
    kernel = jitted(loop("sin_f8(a0[i]) + mod_f8(a0[i], erf_f8(a1[i])) + pow_f8(a0[i], a1[i])", "f8", 2))
    called = set(re.findall(r"movabsq\s+\$([A-Za-z_]\w*),", kernel.assembly))
    assert {name for name in called if not name.startswith("_Z")} == {"sin", "fmod"}  # _Z: the kernel itself
    for word in ("numba_gil_ensure", "NRT_", "PyErr_"):
        body = kernel.assembly.split("cfunc.")[0]
        assert word not in body


CASTS = """
def k(args, lo, hi):
    x = p_{source}(args[0])
    {reads}
    for i in range(lo, hi):
        {writes}
    return 0
"""


@pytest.mark.parametrize("source", ["f4", "f8", "i8", "u4", "b1"])
def test_casts_and_pointers_of_every_kind(source: str) -> None:
    if source[0] == "f":
        values = [0.0, -0.5, 1.9, -1.9, 127.0, 300.7, -300.7, 65537.0, 2.0**31, -(2.0**31), 3e9, -3e9, 1e30, -1e30]
        x = np.array([*values, 2.0**63, 1.5 * 2.0**63, np.nan, np.inf, -np.inf], source)
    elif source == "b1":
        x = np.array([True, False])
    else:
        info = np.iinfo(source)
        x = np.array([0, 1, 200, 40000, info.max, info.max - 3, info.min, info.min + 1], source)
    text = CASTS.format(
        source=source,
        reads="; ".join(f"y{j} = p_{kind}(args[{j + 1}])" for j, kind in enumerate(KINDS)),
        writes="; ".join(f"y{j}[i] = {kind}(x[i])" for j, kind in enumerate(KINDS)),
    )
    got = [np.zeros(len(x), primitives.DTYPES[kind]) for kind in KINDS]
    twin = [np.zeros_like(a) for a in got]
    jitted(text).run(0, len(x), x, *got)
    interpreted(text, 0, len(x), x, *twin)
    for kind, a, b in zip(KINDS, got, twin, strict=True):
        assert np.array_equal(a, b, equal_nan=kind[0] == "f"), (kind, a, b)
        with np.errstate(all="ignore"):
            inside = np.isfinite(x.astype("f8")) & (abs(x.astype("f8")) < 2.0**31)
            if source[0] != "f" or kind[0] in "fb":
                inside[:] = True
            expected = x.astype(primitives.DTYPES[kind])
        if kind[0] != "u" or source[0] != "f":
            assert np.array_equal(a[inside], expected[inside], equal_nan=kind[0] == "f"), kind


PARTS = """
def k(args, lo, hi):
    a = p_f8(args[0]); b = p_f8(args[1]); y = p_f8(args[2]); n = p_i8(args[3])
    for i in range(lo, hi):
        u = a[i]; v = b[i]
        y[16 * i] = max_f8(u, v)
        y[16 * i + 1] = min_f8(u, v)
        y[16 * i + 2] = sqrt_f8(u)
        y[16 * i + 3] = abs_f8(u)
        y[16 * i + 4] = floor_f8(u)
        y[16 * i + 5] = ceil_f8(u)
        y[16 * i + 6] = trunc_f8(u)
        y[16 * i + 7] = rint_f8(u)
        y[16 * i + 8] = copysign_f8(u, v)
        y[16 * i + 9] = select(u < v, u, v)
        y[16 * i + 10] = fma_f8(u, v, u)
        y[16 * i + 11] = float_i8(bits_f8(u))
        y[16 * i + 12] = f8(float_i4(bits_f4(f4(u))))
        y[16 * i + 13] = fmod_f8(u, v)
        y[16 * i + 14] = add_reassoc_f8(u, v)
        y[16 * i + 15] = mul_reassoc_f8(u, v)
        n[4 * i] = max_i8(bits_f8(u), bits_f8(v))
        n[4 * i + 1] = left_shift_i8(bits_f8(u), i8(i * 7 - 3))
        n[4 * i + 2] = right_shift_i8(bits_f8(u), i8(i * 7 - 3))
        n[4 * i + 3] = abs_i8(min_i8(bits_f8(u), bits_f8(v)))
    return 0
"""


def test_primitives_jitted_and_interpreted() -> None:
    values = [0.0, -0.0, 1.5, -2.5, 0.5, 3.7, -1e300, np.inf, -np.inf, np.nan, 5e-324, 2.0**52 + 0.5]
    a, b = (v.ravel() for v in np.meshgrid(values, values))
    got, twin = np.zeros((2, 16 * len(a)))
    whole, whole_twin = np.zeros((2, 4 * len(a)), "i8")
    jitted(PARTS).run(0, len(a), a, b, got, whole)
    interpreted(PARTS, 0, len(a), a, b, twin, whole_twin)
    assert np.array_equal(got, twin, equal_nan=True)
    plain = ~np.isnan(got)
    assert np.array_equal(np.signbit(got[plain]), np.signbit(twin[plain]))
    assert np.array_equal(whole, whole_twin)
    with np.errstate(all="ignore"):
        table = got.reshape(-1, 16)
        for column, true in enumerate((np.maximum(a, b), np.minimum(a, b), np.sqrt(a), np.abs(a), np.floor(a))):
            assert np.array_equal(table[:, column], true, equal_nan=True)
        assert np.array_equal(table[:, 7], np.rint(a), equal_nan=True)
        shifted = np.left_shift(a.view("i8"), np.arange(len(a)) * 7 - 3)
        assert np.array_equal(whole.reshape(-1, 4)[:, 1], shifted)


def test_every_name_has_both_forms() -> None:
    from treadle.compile.llvm.intrinsics import available, kernel_namespace

    assert available() - {"ask"} == frozenset(vector.interpreted_namespace())  # `ask` calls native code
    assert not set(PRIMITIVES) & set(vector.FUNCTIONS)
    assert kernel_namespace(["exp_f4", "range", "nothing"]).keys() == {"exp_f4"}
    assert set(vector.BOUNDS) <= set(vector.FUNCTIONS)
    assert re.fullmatch("[0-9a-f]{16}", vector.source_version)


def sample(full: str, sources: dict) -> list[np.ndarray]:
    kind = full.rpartition("_")[2]
    if kind[0] == "f":
        x = np.array([0.3, 0.77, 0.01, 0.999, 1e-30, 1.25, 2.5, 17.0, -0.4, -3.3, 0.0, np.inf, np.nan], kind)
    else:
        x = np.array([0, 1, 2, 3, 7, 100, 127], kind)
    return [x, x[::-1].copy()][: len(sources[full].arguments)]


def test_twins_agree(native) -> None:
    """Bit for bit but for fused products, which may move a result within its bound on either side."""
    namespace = vector.interpreted_namespace()
    for full in vector.FUNCTIONS:
        arguments = sample(full, native.sources)
        got = native(full, *arguments)
        twin = np.array([namespace[full](*row) for row in zip(*arguments, strict=True)])
        assert twin.dtype == got.dtype, full
        if got.dtype.kind != "f":
            assert np.array_equal(got, twin), full
            continue
        with np.errstate(all="ignore"):
            scale = np.maximum.reduce([abs(got), *(map(abs, arguments) if "logaddexp" in full else ())])
            apart = abs(got - twin) / np.spacing(scale)
            same = (np.isnan(got) & np.isnan(twin)) | (got == twin)
        assert np.all(same | (apart <= 2)), (full, arguments, got, twin)
