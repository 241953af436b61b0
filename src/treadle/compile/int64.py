"""A compiler for the little Python in which the native loops are written: all values are int64, pointers are addresses.

Numba needs seconds for a loop of the executor's size on a machine's first run; straight to LLVM it takes milliseconds,
and no Numba. What is understood: assignments, `while`, `for` over `range`, `if`, `break`, `continue`, `return`,
comparisons, `and`, `or`, conditional expressions, `x[i]` (the int64 at x + 8 i), and the functions of `native`.
Division truncates, so that it is Python's only where nothing is negative.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from llvmlite import binding, ir

from . import native
from .native import I1, I64

ARITHMETIC = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.FloorDiv: "sdiv",
    ast.Mod: "srem",
    ast.BitAnd: "and_",
    ast.BitOr: "or_",
}
COMPARISONS = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}


def compile_object(kernels: Sequence[tuple[str, str]]) -> bytes:
    """One object file that exports each `(symbol, text)` as `int64 symbol(int64* args, int64 lo, int64 hi)`."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_default_triple()
    features = binding.get_host_cpu_features().flatten()
    machine = target.create_target_machine(binding.get_host_cpu_name(), features, opt=2, jit=True)
    module = ir.Module("treadle_native")
    module.triple = machine.triple
    for symbol, text in kernels:
        write_function(module, symbol, text)
    compiled = binding.parse_assembly(str(module))
    compiled.verify()
    builder = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(speed_level=2))
    builder.getModulePassManager().run(compiled, builder)
    emitted: bytes = machine.emit_object(compiled)
    return emitted


def write_function(module: ir.Module, symbol: str, text: str) -> None:
    """Add to `module`, under `symbol`, the function that `text` defines. SyntaxError where it uses anything else."""
    (definition,) = ast.parse(text).body
    if not isinstance(definition, ast.FunctionDef):
        raise SyntaxError("the text must define one function")
    parameters = [argument.arg for argument in definition.args.args]
    function = ir.Function(module, ir.FunctionType(I64, [I64] * len(parameters)), symbol)
    writer = FunctionWriter(ir.IRBuilder(function.append_basic_block("entry")))
    stored = {
        node.id for node in ast.walk(definition) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    for name in [*parameters, *sorted(stored.difference(parameters))]:
        writer.variables[name] = writer.builder.alloca(I64, name=name)
    for name, value in zip(parameters, function.args, strict=True):
        writer.builder.store(value, writer.variables[name])
    start = function.append_basic_block("start")
    writer.builder.branch(start)
    writer.builder.position_at_end(start)
    writer.block(definition.body)
    if not writer.builder.block.is_terminated:
        writer.builder.ret(I64(0))


class FunctionWriter:
    """Writes one function's statements and expressions; variables live on the stack until LLVM lifts them."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder
        self.variables: dict[str, Any] = {}
        self.loops: list[tuple[Any, Any]] = []  # where `continue` and `break` go

    # Statements

    def block(self, statements: Sequence[ast.stmt]) -> None:
        """Statements up to the first that leaves."""
        for statement in statements:
            if self.builder.block.is_terminated:
                return
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        """One statement."""
        match node:
            case ast.Assign(targets=[target], value=value):
                self.assign(target, self.value(value))
            case ast.AugAssign(target=ast.Name() | ast.Subscript() as target, op=op, value=value):
                before = self.load(target)
                self.assign(target, self.arithmetic(op, before, self.value(value)))
            case ast.Expr(value=value):
                self.value(value)
            case ast.If(test=test, body=body, orelse=orelse):
                self.branch(test, body, orelse)
            case ast.While(test=test, body=body, orelse=[]):
                self.loop(test, body, [])
            case ast.For(target=ast.Name(id=name), iter=ast.Call(func=ast.Name(id="range"), args=bounds), body=body):
                self.count(name, bounds, body)
            case ast.Break():
                self.builder.branch(self.loops[-1][1])
            case ast.Continue():
                self.builder.branch(self.loops[-1][0])
            case ast.Return(value=ast.expr() as value):
                self.builder.ret(self.value(value))
            case _:
                raise SyntaxError(f"not understood here: {ast.unparse(node)}")

    def assign(self, target: ast.expr, value: Any) -> None:
        """Write to a variable or to memory."""
        match target:
            case ast.Name(id=name):
                self.builder.store(value, self.variables[name])
            case ast.Subscript():
                native.store(self.builder, self.place(target), value)
            case _:
                raise SyntaxError(f"not understood as a target: {ast.unparse(target)}")

    def branch(self, test: ast.expr, body: Sequence[ast.stmt], orelse: Sequence[ast.stmt]) -> None:
        """`if`."""
        yes, no, after = (self.builder.append_basic_block(name) for name in ("yes", "no", "after"))
        self.builder.cbranch(self.truth(test), yes, no)
        for start, statements in ((yes, body), (no, orelse)):
            self.builder.position_at_end(start)
            self.block(statements)
            if not self.builder.block.is_terminated:
                self.builder.branch(after)
        self.builder.position_at_end(after)
        if not any(after in block.terminator.operands for block in after.function.blocks if block.terminator):
            self.builder.unreachable()

    def loop(self, test: ast.expr, body: Sequence[ast.stmt], step: Sequence[ast.stmt]) -> None:
        """`while`, with statements that also `continue` passes through."""
        names = ("test", "body", "step", "end")
        head, inside, onward, end = (self.builder.append_basic_block(name) for name in names)
        self.builder.branch(head)
        self.builder.position_at_end(head)
        self.builder.cbranch(self.truth(test), inside, end)
        self.builder.position_at_end(inside)
        self.loops.append((onward, end))
        self.block(body)
        self.loops.pop()
        if not self.builder.block.is_terminated:
            self.builder.branch(onward)
        self.builder.position_at_end(onward)
        self.block(step)
        self.builder.branch(head)
        self.builder.position_at_end(end)

    def count(self, name: str, bounds: Sequence[ast.expr], body: Sequence[ast.stmt]) -> None:
        """`for name in range(...)`, whose body must not write to the variable nor change the bound."""
        first = self.value(bounds[0]) if len(bounds) == 2 else I64(0)
        self.builder.store(first, self.variables[name])
        test = ast.Compare(ast.Name(name, ast.Load()), [ast.Lt()], [bounds[-1]])
        step = ast.AugAssign(ast.Name(name, ast.Store()), ast.Add(), ast.Constant(1))
        self.loop(test, body, [step])

    # Expressions

    def value(self, node: ast.expr) -> Any:
        """An expression as an int64."""
        match node:
            case ast.Constant(value=int() as number):
                return I64(int(number))
            case ast.Name() | ast.Subscript():
                return self.load(node)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self.builder.neg(self.value(operand))
            case ast.BinOp(left=left, op=op, right=right):
                return self.arithmetic(op, self.value(left), self.value(right))
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self.choose(test, lambda: self.value(body), lambda: self.value(orelse), I64)
            case ast.Compare() | ast.BoolOp():
                return self.builder.zext(self.truth(node), I64)
            case ast.Call(func=ast.Name(id=name), args=args) if name in native.FUNCTIONS:
                return native.FUNCTIONS[name](self.builder, *[self.value(arg) for arg in args])
            case _:
                raise SyntaxError(f"not understood here: {ast.unparse(node)}")

    def truth(self, node: ast.expr) -> Any:
        """An expression as a bit; `and` and `or` evaluate their right side only where it counts."""
        match node:
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in COMPARISONS:
                return self.builder.icmp_signed(COMPARISONS[type(op)], self.value(left), self.value(right))
            case ast.BoolOp(op=op, values=[first, *rest]) if rest:
                others = rest[0] if len(rest) == 1 else ast.BoolOp(op, rest)
                if isinstance(op, ast.And):
                    return self.choose(first, lambda: self.truth(others), lambda: I1(0), I1)
                return self.choose(first, lambda: I1(1), lambda: self.truth(others), I1)
            case ast.Compare():
                raise SyntaxError(f"not understood here: {ast.unparse(node)}")
            case _:
                return self.builder.icmp_signed("!=", self.value(node), I64(0))

    def choose(self, test: ast.expr, yes: Any, no: Any, kind: Any) -> Any:
        """The value that one of two writers makes, as the test says."""
        starts = [self.builder.append_basic_block(name) for name in ("then", "else")]
        after = self.builder.append_basic_block("chosen")
        self.builder.cbranch(self.truth(test), *starts)
        made = []
        for start, write in zip(starts, (yes, no), strict=True):
            self.builder.position_at_end(start)
            made.append((write(), self.builder.block))
            self.builder.branch(after)
        self.builder.position_at_end(after)
        result = self.builder.phi(kind)
        for value, source in made:
            result.add_incoming(value, source)
        return result

    def load(self, node: ast.expr) -> Any:
        """What a variable or a place in memory holds."""
        if isinstance(node, ast.Name):
            return self.builder.load(self.variables[node.id])
        assert isinstance(node, ast.Subscript)
        return native.load(self.builder, self.place(node))

    def place(self, node: ast.Subscript) -> Any:
        """The address of `x[i]`."""
        return self.builder.add(self.value(node.value), self.builder.shl(self.value(node.slice), I64(3)))

    def arithmetic(self, op: ast.operator, a: Any, b: Any) -> Any:
        """An operator on two int64."""
        if type(op) not in ARITHMETIC:
            raise SyntaxError(f"an operator that is not understood here: {op}")
        return getattr(self.builder, ARITHMETIC[type(op)])(a, b)
