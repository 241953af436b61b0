"""Turns the plain source of a vector function into LLVM instructions; the annotations are the types.

The functions of `treadle.vector` are straight lines: assignments, arithmetic, one comparison at a time, calls, a
return. Walking their syntax tree costs about a millisecond, where compiling them as Numba functions costs tens. A
literal takes the kind of the value beside it, as in NumPy; two values must be of one kind. Each function becomes
one `alwaysinline` internal function of the module, once per module.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from treadle import vector
from treadle.compile.llvm.llvm_text import Builder, Operand, type_name, typed
from treadle.compile.llvm.scalar_primitives import CASTS, PRIMITIVES, Value, cast, constant, llvm_type, result_kind
from treadle.records import dataclass

_FLOAT_OPS = {ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv"}
_INT_OPS = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.BitAnd: "and_", ast.BitOr: "or_", ast.BitXor: "xor"}
_COMPARISONS = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_KINDS = {"B1": "b1", "I4": "i4", "I8": "i8", "U4": "u4", "U8": "u8", "F4": "f4", "F8": "f8"}


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed vector function: its name, (name, kind) of each argument, its statements and the names it can see."""

    name: str
    arguments: tuple[tuple[str, str], ...]
    returns: str
    body: tuple[ast.stmt, ...]
    names: dict[str, Any]


@functools.cache
def parse(function: Callable[..., Any], kind: str = "") -> Source:
    """The parsed source of `function`; `kind` stands for the annotation T of functions that serve many kinds."""
    tree = _definition(function)
    kinds = _KINDS | {"T": kind}

    def kind_of(node: ast.expr | None) -> str:
        return kinds.get(node.id, "") if isinstance(node, ast.Name) else ""

    arguments = tuple((a.arg, kind_of(a.annotation)) for a in tree.args.args)
    body = tuple(s for s in tree.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)))
    name = function.__name__ + (f"_{kind}" if kind else "")
    return Source(name, arguments, kind_of(tree.returns), body, function.__globals__)


def _definition(function: Callable[..., Any]) -> ast.FunctionDef:
    """The syntax tree of a function at a module's top level: its lines go to the next that is not indented."""
    code = function.__code__
    lines = _lines(code.co_filename)[code.co_firstlineno - 1 :]
    end = next((k for k, line in enumerate(lines) if k and line[:1] not in (" ", "\n", ")")), len(lines))
    tree = ast.parse("".join(lines[:end])).body[0]
    assert isinstance(tree, ast.FunctionDef)
    return tree


@functools.cache
def _lines(path: str) -> list[str]:
    with open(path, encoding="utf-8") as file:
        return file.readlines()


@functools.cache
def of(name: str) -> Source:
    """The vector function that kernels call `name`."""
    function = vector.FUNCTIONS[name]
    source = parse(function)
    return source if all(kind for _, kind in source.arguments) else parse(function, name.rpartition("_")[2])


def call(builder: Any, source: Source, values: Sequence[Value]) -> Any:
    """Emit a call of a vector function; functions that return a tuple are written out in place."""
    for (name, kind), value in zip(source.arguments, values, strict=True):
        if value.kind != kind:
            raise TypeError(f"{source.name}: {name} wants {kind}, got {value.kind}")
    if not source.returns:
        return _Body(builder, source, values).run()
    function = builder.module.globals.get(f"treadle.{source.name}")
    if function is None:
        function = _define(builder.module, source)
    return Value(builder.call(function, [v.ir for v in values]), source.returns)


def _define(module: Any, source: Source) -> Any:
    """Add a vector function to a module, of llvmlite's or of text."""
    name, result = f"treadle.{source.name}", llvm_type(source.returns)
    kind = ir.FunctionType(result, [llvm_type(k) for _, k in source.arguments])
    if isinstance(module, ir.Module):
        function = ir.Function(module, kind, name)
        function.linkage = "internal"
        function.attributes.add("alwaysinline")
        inner: Any = ir.IRBuilder(function.append_basic_block())
        arguments = function.args
    else:
        function = module.globals[name] = Operand(kind.as_pointer(), f'@"{name}"')
        inner = Builder(module)
        arguments = [Operand(type_, f"%a{k}") for k, type_ in enumerate(kind.args)]
    given = [Value(a, k) for a, (_, k) in zip(arguments, source.arguments, strict=True)]
    inner.ret(_Body(inner, source, given).run().ir)
    if isinstance(inner, Builder):
        head = (
            f'define internal {type_name(result)} @"{name}"({", ".join(map(typed, arguments))}) alwaysinline nounwind'
        )
        module.parts.append(inner.text(head))
    return function


class _Body:
    """One walk over a function's statements; `names` holds the value of each local so far."""

    def __init__(self, builder: Any, source: Source, values: Sequence[Value]) -> None:
        self.builder = builder
        self.source = source
        self.names: dict[str, Any] = {name: v for (name, _), v in zip(source.arguments, values, strict=True)}

    def run(self) -> Any:
        for statement in self.source.body:
            if isinstance(statement, ast.Return):
                assert statement.value is not None
                return self.visit(statement.value)
            assert isinstance(statement, ast.Assign), f"{self.source.name}: only assignments and a return"
            value = self.visit(statement.value)
            target = statement.targets[0]
            if isinstance(target, ast.Tuple):
                self.names.update((t.id, v) for t, v in zip(target.elts, value, strict=True) if isinstance(t, ast.Name))
            elif isinstance(target, ast.Name):
                self.names[target.id] = value
        raise ValueError(f"{self.source.name} does not return")

    def visit(self, node: ast.expr) -> Any:
        """A Value, a plain number (a literal still without a kind), or a tuple of those."""
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return self.names[name] if name in self.names else self.source.names[name]
            case ast.Tuple(elts=elements):
                return tuple(self.visit(e) for e in elements)
            case ast.BinOp(left=left, op=op, right=right):
                return self.binary(op, *self.settle(self.visit(left), self.visit(right)))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self.compare(op, *self.settle(self.visit(left), self.visit(right)))
            case ast.UnaryOp(op=op, operand=operand):
                return self.unary(op, self.visit(operand))
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return self.call(name, [self.visit(a) for a in arguments])
        raise SyntaxError(f"{self.source.name}: {ast.unparse(node)} is not part of the vector language")

    def settle(self, *values: Any) -> list[Any]:
        """The values with every literal turned into a constant of the kind of its neighbour."""
        kinds = {v.kind for v in values if isinstance(v, Value)}
        if len(kinds) > 1:
            raise TypeError(f"{self.source.name}: kinds {sorted(kinds)} meet; cast one of them")
        if not kinds:
            return list(values)
        kind = kinds.pop()
        return [v if isinstance(v, Value) else constant(kind, v) for v in values]

    def binary(self, op: ast.operator, a: Any, b: Any) -> Any:
        if not isinstance(a, Value):
            raise SyntaxError(f"{self.source.name}: write the product of two literals out")
        if a.kind[0] == "f":
            return Value(getattr(self.builder, _FLOAT_OPS[type(op)])(a.ir, b.ir, flags=("contract",)), a.kind)
        if isinstance(op, ast.LShift):
            return Value(self.builder.shl(a.ir, b.ir), a.kind)
        if isinstance(op, ast.RShift):
            shift = self.builder.lshr if a.kind[0] == "u" else self.builder.ashr
            return Value(shift(a.ir, b.ir), a.kind)
        return Value(getattr(self.builder, _INT_OPS[type(op)])(a.ir, b.ir), a.kind)

    def compare(self, op: ast.cmpop, a: Value, b: Value) -> Value:
        sign = _COMPARISONS[type(op)]
        if a.kind[0] == "f":
            ask = self.builder.fcmp_unordered if sign == "!=" else self.builder.fcmp_ordered
        else:
            ask = self.builder.icmp_signed if a.kind[0] == "i" else self.builder.icmp_unsigned
        return Value(ask(sign, a.ir, b.ir), "b1")

    def unary(self, op: ast.unaryop, a: Any) -> Any:
        if not isinstance(a, Value):
            return -a if isinstance(op, ast.USub) else ~a
        if isinstance(op, ast.Invert):
            return Value(self.builder.not_(a.ir), a.kind)
        return Value(self.builder.fneg(a.ir) if a.kind[0] == "f" else self.builder.neg(a.ir), a.kind)

    def call(self, name: str, values: list[Any]) -> Any:
        if name in CASTS:
            (value,) = values
            return cast(self.builder, value, name) if isinstance(value, Value) else constant(name, value)
        if name == "select":
            a, b = self.settle(*values[1:])
            return Value(self.builder.select(values[0].ir, a.ir, b.ir), a.kind)
        if name not in PRIMITIVES and values and isinstance(values[0], Value):  # one name for every integer kind
            name = f"{name}_{values[0].kind}" if f"{name}_{values[0].kind}" in PRIMITIVES else name
        if name in PRIMITIVES:
            primitive = PRIMITIVES[name]
            kinds = primitive.arguments or [v.kind for v in values if isinstance(v, Value)][:1] * len(values)
            given = [v if isinstance(v, Value) else constant(k, v) for v, k in zip(values, kinds, strict=True)]
            if [v.kind for v in given] != list(kinds):
                raise TypeError(f"{self.source.name}: {name} wants {kinds}, got {[v.kind for v in given]}")
            return Value(primitive.emit(self.builder, *(v.ir for v in given)), result_kind(primitive, given))
        function = self.source.names[name]
        source = parse(function)
        if any(not kind for _, kind in source.arguments):
            source = parse(function, next(v.kind for v in values if isinstance(v, Value)))
        given = [
            v if isinstance(v, Value) else constant(k, v) for v, (_, k) in zip(values, source.arguments, strict=True)
        ]
        return call(self.builder, source, given)
