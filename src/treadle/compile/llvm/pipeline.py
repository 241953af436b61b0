"""Numba, trimmed: kernel sources in, one relocatable object out. The second way, chosen by `td.config.compiler`.

The stages kept are those that a nopython function needs; wrappers, object mode, inlining of overloads and parallel
passes are left out, and all kernels of a unit share one LLVM run. This uses parts of Numba that it does not promise to
keep, so that `build` falls back to plain `numba.cfunc` when any of it fails.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import binding, ir
from numba.core import compiler, types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import PassManager
from numba.core.cpu_options import FastMathOptions
from numba.core.registry import cpu_target
from numba.core.typed_passes import (
    IRLegalization,
    NativeLowering,
    NoPythonBackend,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.untyped_passes import FixupArgs, IRProcessing, ReconstructSSA, TranslateByteCode

ARGUMENTS = (types.CPointer(types.int64), types.int64, types.int64)  # type: ignore[attr-defined]
PASSES = (TranslateByteCode, FixupArgs, IRProcessing, ReconstructSSA, NopythonTypeInference, PreLowerStripPhis)
BACKEND = (IRLegalization, NativeLowering, NoPythonBackend)


class KernelCompiler(compiler.CompilerBase):  # type: ignore[misc]
    """The passes that a kernel goes through, and no others."""

    def define_pipelines(self) -> list[Any]:
        manager = PassManager("treadle")
        for stage in (*PASSES, *BACKEND):
            manager.add_pass(stage, stage.__name__)
        manager.finalize()
        return [manager]


def as_function(symbol: str, text: str) -> Callable[..., int]:
    """The function `kernel` that `text` defines; its lines are known to tracebacks under the file `<symbol>`."""
    from treadle.compile.llvm import intrinsics

    file = f"<{symbol}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    scope: dict[str, Any] = {"__name__": "treadle.kernels"}
    exec(compile(text, file, "exec"), scope)
    function: Callable[..., int] = scope["kernel"]
    scope.update(intrinsics.kernel_namespace(function.__code__.co_names))
    function.__qualname__ = function.__name__ = symbol
    return function


def kernel_flags() -> Any:
    """NumPy's division, contraction alone of the fast-math liberties, and no wrappers."""
    flags = compiler.Flags()
    flags.no_compile = True
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    flags.error_model = "numpy"
    flags.fastmath = FastMathOptions({"contract"})
    return flags


@global_compiler_lock  # type: ignore[untyped-decorator]
def compile_object(kernels: Sequence[tuple[str, str]]) -> bytes:
    """One object file that exports each `(symbol, text)` as `int64 symbol(int64* args, int64 lo, int64 hi)`."""
    typing, target = cpu_target.typing_context, cpu_target.target_context
    typing.refresh()
    target.refresh()
    codegen = target.codegen()
    library = codegen.create_library("treadle_unit")
    # The passes over each function by itself would be done again, with the same result, by those over the whole unit.
    library._optimize_functions = lambda module: setattr(module, "data_layout", codegen._data_layout)
    flags = kernel_flags()
    wrappers = ir.Module("treadle_entries")
    wrappers.triple = binding.get_process_triple()
    for symbol, text in kernels:
        function = as_function(symbol, text)
        result = compiler.compile_extra(
            typing, target, function, ARGUMENTS, types.int64, flags, {}, library=library, pipeline_class=KernelCompiler
        )
        add_entry(wrappers, symbol, result.fndesc.llvm_func_name)
    exported = {symbol for symbol, _ in kernels}
    library.add_ir_module(wrappers)
    for needed in library._linking_libraries:
        library._final_module.link_in(needed._get_module_for_linking(), preserve=True)
    hide_all_but(library._final_module, exported)
    library._optimize_final_module()
    library._final_module.verify()
    emitted: bytes = codegen._tm.emit_object(library._final_module)
    return emitted


def add_entry(module: ir.Module, symbol: str, inner_name: str) -> None:
    """Define `symbol` with C's convention around Numba's `status inner(int64* result, excinfo**, args, lo, hi)`."""
    i64 = ir.IntType(64)
    pointer = i64.as_pointer()
    excinfo = ir.IntType(8).as_pointer().as_pointer()
    inner = ir.Function(module, ir.FunctionType(ir.IntType(32), [pointer, excinfo, pointer, i64, i64]), inner_name)
    entry = ir.Function(module, ir.FunctionType(i64, [pointer, i64, i64]), symbol)
    builder = ir.IRBuilder(entry.append_basic_block())
    result = builder.alloca(i64)
    error = builder.alloca(excinfo.pointee)
    builder.store(ir.Constant(i64, 0), result)
    builder.call(inner, [result, error, *entry.args])
    builder.ret(builder.load(result))


def hide_all_but(module: Any, exported: set[str]) -> None:
    """Make every other definition private to the module, so that it is inlined and then dropped."""
    for function in module.functions:
        kept = function.name in exported or "treadle.rare_" in function.name  # the vectoriser asks for those by name
        if not function.is_declaration and not kept:
            function.linkage = "internal"
    for variable in module.global_variables:
        if not variable.is_declaration and not variable.name.startswith("llvm."):
            variable.linkage = "internal"


def compile_cfunc(text: str) -> tuple[int, Any]:
    """The fallback: address of the kernel compiled by `numba.cfunc`, and the object that keeps it alive."""
    import numba

    function = as_function("kernel", text)
    compiled = numba.cfunc(types.int64(*ARGUMENTS), error_model="numpy", fastmath={"contract"})(function)
    return int(compiled.address), compiled
