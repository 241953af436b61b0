"""Kernels for other processors than this one: loops are vectorised there too, and call nothing that is not ours."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
from llvmlite import binding

import treadle as td
from treadle.compile.llvm import direct, symbols
from treadle.compile.llvm.kernel_writer import write_kernel
from treadle.compile.llvm.llvm_text import Module
from treadle.compile.run.machine import EXECUTOR, WORKER

# Triple, processor, and what arithmetic on whole vectors looks like in their assembly.
TARGETS = {
    "aarch64": ("aarch64-linux-gnu", "generic", r"\bf(?:mla|mls|mul|add|sub|div)\s+v\d+\.(?:4s|2d)"),
    "AVX2": ("x86_64-linux-gnu", "x86-64-v3", r"\bv(?:mul|add|sub|div|fn?m(?:add|sub)\d+)p[sd]\s.*%ymm"),
    "SSE4.2": ("x86_64-linux-gnu", "x86-64-v2", r"\b(?:mul|add|sub|div)p[sd]\s.*%xmm"),
}


@cache
def texts() -> tuple[str, ...]:
    """A chain in float32, columns in float64."""
    chain = td.function(lambda x: td.tanh(x) * 2 + td.exp(x)).trace(td.TensorSpec((1000,), td.float32))
    columns = td.function(lambda x: td.sum(x * x, axis=0)).trace(td.TensorSpec((64, 100), td.float64))
    return tuple(kernel.key for trace in (chain, columns) for kernel in trace.kernels)


def compiled(target: str, kernels: tuple[str, ...], effort: int) -> tuple[Any, Any]:
    """A machine of another kind, and kernels optimised for it."""
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    triple, processor, _ = TARGETS[target]
    machine = binding.Target.from_triple(triple).create_target_machine(
        processor, "", opt=effort, reloc="pic", codemodel="small"
    )
    module = Module()
    for k, text in enumerate(kernels):
        write_kernel(module, f"kernel_{k}", text)
    parsed = binding.parse_assembly(f'target triple = "{triple}"\n{module}')
    (direct._vectorise if effort == 2 else direct._tidy)(machine, parsed)
    return machine, parsed


@pytest.mark.parametrize("target", TARGETS)
def test_loops_of_kernels_are_vectorised_and_call_nothing(target: str) -> None:
    machine, parsed = compiled(target, texts(), 2)
    assembly = machine.emit_assembly(parsed)
    assert not re.findall(r"^\s+(?:bl|callq?)\s.*", assembly, flags=re.MULTILINE)
    parts = re.split(r"^kernel_\d+:", assembly, flags=re.MULTILINE)[1:]
    assert len(parts) == len(texts())
    for part, text in zip(parts, texts(), strict=True):
        assert len(re.findall(TARGETS[target][2], part)) >= 4, text


def test_native_loops_stand_alone_on_another_kind_of_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    machine, parsed = compiled("aarch64", (EXECUTOR.text, WORKER.text), 0)
    assert symbols.undefined(machine.emit_object(parsed)) <= symbols.MEMORY
