"""The compiler of kernels: their text straight to LLVM, without Numba. Imported only when something must be compiled.

A kernel of graphs is optimised for speed; the native loops (executor, worker, products) are compiled quickly, since
what they wait for is elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from llvmlite import binding

from treadle.compile.llvm.kernel_values import NotUnderstood
from treadle.compile.llvm.kernel_writer import write_kernel
from treadle.compile.llvm.llvm_text import Module
from treadle.compile.llvm.loader import host


def compile_object(kernels: Sequence[tuple[str, str]], effort: int = 2) -> tuple[bytes, list[str]]:
    """One object file that exports each `(symbol, text)` as `int64 symbol(int64* args, int64 lo, int64 hi)`.

    Beside it the symbols that it lacks, since their text uses what only Numba has.
    effort: 2 for kernels of graphs, 1 or 0 for native loops.
    """
    module = Module()
    refused = []
    for symbol, text in kernels:
        try:
            write_kernel(module, symbol, text)
        except NotUnderstood:
            refused.append(symbol)
    return optimised(str(module), effort), refused


def optimised(assembly: str, effort: int) -> bytes:
    """The object file of an LLVM module."""
    machine = target_machine(effort)
    compiled = binding.parse_assembly(f'target triple = "{machine.triple}"\n{assembly}')
    if effort >= 2:
        _vectorise(machine, compiled)
    else:
        _tidy(machine, compiled)
    emitted: bytes = machine.emit_object(compiled)
    return emitted


def _vectorise(machine: Any, module: Any) -> None:
    """LLVM's pipeline with loops vectorised."""
    options = binding.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = True
    options.slp_vectorization = False
    builder = binding.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)


def _tidy(machine: Any, module: Any) -> None:
    """Variables into registers, and little more: a tenth of the time of the whole pipeline."""
    builder = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(speed_level=1))
    passes = binding.create_new_function_pass_manager()
    passes.add_sroa_pass()
    passes.add_simplify_cfg_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    for function in module.functions:
        if not function.is_declaration:
            passes.run(function, builder)


@cache
def target_machine(effort: int) -> Any:
    """This processor, as LLVM's target."""
    llvm, name, features = host()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(name, features, opt=effort, reloc="pic", codemodel="small")


__all__ = ["NotUnderstood", "compile_object", "optimised", "target_machine"]
