"""What LLVM makes of the vector functions for processors other than this one: vectors, and no call of libm's fma."""

from __future__ import annotations

import re

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir
from native_loops import Native, loop

from treadle import vector
from treadle.compile.llvm import no_fma, scalar

NAMES = ("sin_f4", "sin_f8", "tanh_f4", "exp_f8", "pow_f8", "lgamma_f8", "erfc_f8", "wide_floordiv_i8")
TARGETS = {
    "x86-64-v2": ("x86_64-unknown-linux-gnu", r"\b(mul|div)pd\b"),
    "x86-64-v3": ("x86_64-unknown-linux-gnu", r"\bv(fmadd|div)\w*pd\b.*ymm"),
    "neoverse-n1": ("aarch64-unknown-linux-gnu", r"\b(fmla|fmul|fdiv)\s.*\.2d"),
}


@pytest.mark.parametrize("cpu", TARGETS)
def test_loops_are_vectors_without_calls(cpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    triple, instruction = TARGETS[cpu]
    monkeypatch.setattr(no_fma, "has_fma", lambda: cpu != "x86-64-v2")
    try:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        target = llvm.Target.from_triple(triple)
    except RuntimeError:
        pytest.skip(f"this LLVM knows no {triple}")
    module = ir.Module()
    module.triple = triple
    for name in NAMES:
        function = vector.FUNCTIONS[name]
        source = scalar.parse(function)
        if any(not kind for _, kind in source.arguments):
            source = scalar.parse(function, name.rpartition("_")[2])
        loop(module, f"loop_{name}", source)
    machine = target.create_target_machine(cpu=cpu, opt=2, reloc="pic")
    parsed = llvm.parse_assembly(str(module))
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = True
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(parsed, builder)
    for name in NAMES:
        text = str(parsed.get_function(f"loop_{name}"))
        assert re.search(r"<\d+ x (float|double|i64)>", text), name
    assembly = machine.emit_assembly(parsed)
    called = set(re.findall(r"\b(fmaf?|expf?|logf?|powf?|floorf?|rintf?|truncf?)\b(?=@|,|$)", assembly, re.M))
    assert not called
    assert re.search(instruction, assembly)


def test_without_the_instruction_results_are_the_same(native, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [n for n in ("sin_f8", "tan_f4", "pow_f8", "lgamma_f8", "erfc_f8", "hypot_f8", "digamma_f8")]
    monkeypatch.setattr(no_fma, "has_fma", lambda: False)
    other = Native(names)
    rng = np.random.default_rng(0)
    edges = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e308, -1e308, 5e-324, 1.0, -1.0, 0.5, 2.0**1000]
    x = np.concatenate([edges, rng.normal(size=400) * 5, np.exp2(rng.uniform(-1000, 1000, 400))])
    for name in names:
        arguments = [x, rng.permutation(x)][: len(other.sources[name].arguments)]
        with np.errstate(all="ignore"):
            a, b = native(name, *arguments), other(name, *arguments)
            unit = np.spacing(np.maximum(abs(a), 1.0 if "gamma" in name else 0))
            near = (a == b) | (np.isnan(a) & np.isnan(b)) | (abs(a - b) <= 2 * unit)
        assert near.all(), (name, [(tuple(v[i] for v in arguments), a[i], b[i]) for i in np.flatnonzero(~near)[:3]])
