"""Compiles vector functions straight to machine code, one loop each in one module: all of them take a second or two."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from treadle import vector
from treadle.compile.llvm import scalar
from treadle.compile.llvm.scalar_primitives import Value, llvm_type
from treadle.vector.primitives import DTYPES

I64 = ir.IntType(64)


def loop(module: ir.Module, name: str, source: scalar.Source) -> None:
    """`void name(i64 n, result*, argument*...)`."""
    kinds = [source.returns, *(kind for _, kind in source.arguments)]
    function = ir.Function(
        module, ir.FunctionType(ir.VoidType(), [I64] + [llvm_type(k).as_pointer() for k in kinds]), name
    )
    for pointer in function.args[1:]:
        pointer.add_attribute("noalias")
    enter, body, leave = (function.append_basic_block(label) for label in ("enter", "body", "leave"))
    ir.IRBuilder(enter).branch(body)
    b = ir.IRBuilder(body)
    i = b.phi(I64)
    values = [Value(b.load(b.gep(p, [i])), k) for p, k in zip(function.args[2:], kinds[1:], strict=True)]
    b.store(scalar.call(b, source, values).ir, b.gep(function.args[1], [i]))
    following = b.add(i, ir.Constant(I64, 1))
    i.add_incoming(ir.Constant(I64, 0), enter)
    i.add_incoming(following, body)
    b.cbranch(b.icmp_signed("<", following, function.args[0]), body, leave)
    ir.IRBuilder(leave).ret_void()


class Native:
    """`native("tanh_f4", x)`: the compiled function over arrays."""

    def __init__(self, names: Iterable[str]) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        module = ir.Module()
        self.sources = {}
        for name in names:
            function = vector.FUNCTIONS[name]
            source = scalar.parse(function)
            if any(not kind for _, kind in source.arguments):
                source = scalar.parse(function, name.rpartition("_")[2])
            self.sources[name] = source
            loop(module, f"loop_{name}", source)
        parsed = llvm.parse_assembly(str(module))
        machine = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2
        )
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        options.loop_vectorization = True
        options.slp_vectorization = False
        builder = llvm.create_pass_builder(machine, options)
        builder.getModulePassManager().run(parsed, builder)
        self.assembly = machine.emit_assembly(parsed)
        self.engine = llvm.create_mcjit_compiler(parsed, machine)
        self.engine.finalize_object()

    def prepared(self, name: str, *arrays: np.ndarray) -> tuple[ctypes._CFuncPtr, tuple[int, ...], np.ndarray]:
        source = self.sources[name]
        arrays = tuple(np.ascontiguousarray(a, DTYPES[k]) for a, (_, k) in zip(arrays, source.arguments, strict=True))
        result = np.empty(arrays[0].shape, DTYPES[source.returns])
        address = self.engine.get_function_address(f"loop_{name}")
        entry = ctypes.CFUNCTYPE(None, ctypes.c_int64, *[ctypes.c_void_p] * (len(arrays) + 1))(address)
        self.kept = arrays
        return entry, (arrays[0].size, result.ctypes.data, *(a.ctypes.data for a in arrays)), result

    def __call__(self, name: str, *arrays: np.ndarray) -> np.ndarray:
        entry, arguments, result = self.prepared(name, *arrays)
        if arrays[0].size:
            entry(*arguments)
        return result
