"""Kernel text to LLVM: one function of plain Python, statement by statement.

Understood: assignments, `for` over `range`, `while`, `if`, `break`, `continue`, `return`, and the expressions of
`kernel_values`. A name has one kind. One that is set once, above all its uses, is the value itself; others live on
the stack until LLVM lifts them into registers.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from typing import Any

from treadle.compile.llvm.kernel_values import POINTERS, Emitter, NotUnderstood
from treadle.compile.llvm.llvm_text import Block, Builder, Module, Operand
from treadle.compile.llvm.native import I64
from treadle.compile.llvm.scalar_primitives import Value, llvm_type

PARAMETERS = (("args", "p_i8"), ("lo", "i8"), ("hi", "i8"), ("more", "i8"))  # the last for native loops alone
# At the end of a text's first line: what its arguments point to does not overlap where anything is written. LLVM then
# needs no checks of that at run time, of which it makes some for up to about 18 pointers, and beyond no vector code.
APART = "# apart"
SHORT = "# apart, short"  # and the innermost loops are of a few vectors


def write_kernel(module: Module, symbol: str, text: str) -> None:
    """Add `int64 symbol(int64* args, int64 lo, int64 hi)` to a module. NotUnderstood where the text says too much.

    A text with a fourth parameter has one more int64, and may let its first argument escape.
    """
    (definition,) = ast.parse(text).body
    if not isinstance(definition, ast.FunctionDef) or len(definition.args.args) not in (3, 4):
        raise NotUnderstood("the text must define one function of three or four parameters")
    builder = Builder(module)
    settled, stored = settled_names(definition)
    writer = KernelWriter(builder, settled, text.lstrip().partition("\n")[0])
    for argument, (name, kind) in zip(definition.args.args, PARAMETERS, strict=False):
        given = Value(Operand(I64.as_pointer() if kind in POINTERS else I64, f"%{name}"), kind)
        if argument.arg in stored:
            writer.set(argument.arg, given)
        else:
            writer.names[argument.arg] = given
    writer.block(definition.body)
    if not builder.block.is_terminated:
        raise NotUnderstood("a kernel returns a number at its end")
    three = len(definition.args.args) == 3
    declared = "ptr nocapture %args, i64 %lo, i64 %hi" if three else "ptr %args, i64 %lo, i64 %hi, i64 %more"
    head = f'define i64 @"{symbol}"({declared}) nounwind'
    module.parts.append(builder.text(head))


def settled_names(definition: ast.FunctionDef) -> tuple[frozenset[str], frozenset[str]]:
    """Names that are set once, and used only below that, in the same block or one inside it; and all that are set."""
    stores: dict[str, list[tuple[int, ...]]] = {}
    loads: dict[str, list[tuple[int, ...]]] = {}
    augmented: set[str] = set()

    def expression(node: ast.AST, path: tuple[int, ...]) -> None:
        if isinstance(node, ast.Name):
            (loads if isinstance(node.ctx, ast.Load) else stores).setdefault(node.id, []).append(path)
        elif not isinstance(node, ast.Constant):
            for child in ast.iter_child_nodes(node):
                expression(child, path)

    def block(statements: Sequence[ast.stmt], path: tuple[int, ...]) -> None:
        for number, node in enumerate(statements):
            match node:
                case ast.For(target=target, iter=bounds, body=body, orelse=orelse):
                    parts, blocks = [target, *getattr(bounds, "args", [bounds])], (body, orelse)
                case ast.While(test=test, body=body, orelse=orelse) | ast.If(test=test, body=body, orelse=orelse):
                    parts, blocks = [test], (body, orelse)
                case _:
                    parts, blocks = [node], ([], [])
                    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                        augmented.add(node.target.id)
            for part in parts:
                expression(part, path)
            for side, inner in enumerate(blocks):
                if inner:
                    block(inner, (*path, number, side))

    block(definition.body, ())
    parameters = {argument.arg for argument in definition.args.args}
    settled = set()
    for name, places in stores.items():
        if len(places) == 1 and name not in augmented | parameters:
            (place,) = places
            if all(path[: len(place)] == place for path in loads.get(name, [])):
                settled.add(name)
    return frozenset(settled), frozenset(stores)


_ROUNDS = 16
_OPERANDS = re.compile(r"%v\d+")


def vector_depth(block: Block) -> int:
    """How many calls of vector math wait for each other in a loop's body; 0 where it has none.

    With one, what is computed is more than the processor sees from one round of a loop to the next: vectors pairwise
    take 0.83 of the time of one by one for tanh(x*a+b)*sigmoid(x)+exp(-x*x)/2, 0.75 to 0.93 for others. With two, four
    at a time take 0.65 to 0.9 of the time of pairwise (0.71 for tanh(exp(x)), 0.87 for Black-Scholes).
    """
    depths: dict[str, int] = {}
    deepest = 0
    for line in block.lines:
        if '@"treadle.' in line or depths:
            made, *given = _OPERANDS.findall(line) or [""]
            depth = max((depths.get(name, 0) for name in given), default=0) + ("call" in line and '@"treadle.' in line)
            if depth:
                depths[made] = depth
                deepest = max(deepest, depth)
    return deepest


def rounds(block: Block) -> int:
    """1 where a loop's body has as many products one after another as the rounds of a generator; else 0.

    Vectors of random words pairwise take 0.76 of the time of one by one, four at a time 0.81 (Zen 3).
    """
    return int(len(block.lines) > 2 * _ROUNDS and sum(" mul " in line for line in block.lines) >= _ROUNDS)


class KernelWriter:
    """Writes one kernel's statements; `names` holds what a name means, `places` where names on the stack lie."""

    def __init__(self, builder: Builder, settled: frozenset[str], head: str) -> None:
        """settled: see `settled_names`; head: the text's first line."""
        self.builder = builder
        self.emit = Emitter(builder, head.endswith((APART, SHORT)))
        self.short = head.endswith(SHORT)
        self.settled = settled
        self.names: dict[str, Value] = {}
        self.places: dict[str, tuple[Any, str]] = {}
        self.loops: list[tuple[Block, Block]] = []  # where `continue` and `break` go

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
            case ast.AugAssign(target=ast.Name(id=name) as target, op=op, value=value):
                self.assign(target, self.emit.binary(op, self.read(name), self.value(value)))
            case ast.AugAssign(target=ast.Subscript(value=base, slice=index), op=op, value=value):
                pointer, at = self.value(base), self.value(index)
                made = self.emit.binary(op, self.emit.load(pointer, at), self.value(value))
                self.emit.store(pointer, at, made)
            case ast.Expr(value=value):
                self.value(value)
            case ast.If(test=test, body=body, orelse=orelse):
                self.branch(test, body, orelse)
            case ast.While(test=test, body=body, orelse=[]):
                self.loop(test, body)
            case ast.For(
                target=ast.Name(id=name), iter=ast.Call(func=ast.Name(id="range"), args=bounds), body=body, orelse=[]
            ):
                self.count(name, bounds, body)
            case ast.Break():
                self.builder.branch(self.loops[-1][1])
            case ast.Continue():
                self.builder.branch(self.loops[-1][0])
            case ast.Return(value=ast.expr() as value):
                self.builder.ret(self.emit.cast(self.value(value), "i8").ir)
            case ast.Pass():
                pass
            case _:
                raise NotUnderstood(ast.unparse(node))

    def assign(self, target: ast.expr, value: Any) -> None:
        """Write to a name or to memory."""
        match target:
            case ast.Name(id=name):
                self.set(name, value)
            case ast.Subscript(value=base, slice=index):
                self.emit.store(self.value(base), self.value(index), value)
            case _:
                raise NotUnderstood(ast.unparse(target))

    def set(self, name: str, value: Any) -> None:
        """Let a name mean a value."""
        made = self.emit.settled(value)
        if name in self.settled:
            self.names[name] = made
            return
        if name in self.names:
            raise NotUnderstood(f"{name} counts a loop and is assigned to")
        if name not in self.places:
            kind = made.ir.type if made.kind in POINTERS else llvm_type(made.kind)
            self.places[name] = self.builder.alloca(kind), made.kind
        place, kind = self.places[name]
        if kind != made.kind:
            raise NotUnderstood(f"{name} is of kind {kind} and of kind {made.kind}")
        self.builder.store(made.ir, place)

    def read(self, name: str) -> Value:
        """What a name means here."""
        if name in self.names:
            return self.names[name]
        if name not in self.places:
            raise NotUnderstood(f"the name {name!r}")
        place, kind = self.places[name]
        return Value(self.builder.load(place), kind)

    # Control flow

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
        if not after.used:
            self.builder.unreachable()

    def loop(self, test: ast.expr, body: Sequence[ast.stmt]) -> None:
        """`while`."""
        head, inside, end = (self.builder.append_basic_block(name) for name in ("test", "body", "end"))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        if isinstance(test, ast.Constant) and test.value is True:
            self.builder.branch(inside)
        else:
            self.builder.cbranch(self.truth(test), inside, end)
        self.builder.position_at_end(inside)
        self.inside(body, head, end)
        if not self.builder.block.is_terminated:
            self.builder.branch(head)
        self.builder.position_at_end(end)
        if not end.used:
            self.builder.unreachable()

    def inside(self, body: Sequence[ast.stmt], onward: Block, end: Block) -> None:
        """A loop's body; `continue` and `break` go to the blocks given."""
        self.loops.append((onward, end))
        self.block(body)
        self.loops.pop()

    def count(self, name: str, bounds: Sequence[ast.expr], body: Sequence[ast.stmt]) -> None:
        """`for name in range(...)`: the test stands at the end, behind a first one above the loop."""
        if len(bounds) > 2 or name in self.names or name in self.places:
            raise NotUnderstood(f"for {name} in range with a step, or with a counter that is used elsewhere")
        first, last = (self.whole(self.value(b)) for b in (bounds if len(bounds) == 2 else [ast.Constant(0), *bounds]))
        before = self.builder.block
        inside, onward, end = (self.builder.append_basic_block(part) for part in ("body", "next", "end"))
        self.builder.cbranch(self.builder.icmp_signed("<", first, last), inside, end)
        self.builder.position_at_end(inside)
        counter = self.builder.phi(I64)
        counter.add_incoming(first, before)
        self.names[name] = Value(counter, "i8")
        self.inside(body, onward, end)
        if not self.builder.block.is_terminated:
            self.builder.branch(onward)
        self.builder.position_at_end(onward)
        following = self.builder.add(counter, I64(1), ("nsw",))
        counter.add_incoming(following, onward)
        straight = self.builder.blocks[-1] is end  # no block was made in the body
        note = ""
        depth = (vector_depth(inside) or rounds(inside)) if straight else 0
        if depth:
            note = self.builder.module.abreast(2 if depth == 1 or self.short else 4)
        elif straight and self.short:
            note = self.builder.module.abreast(1)
        self.builder.cbranch(self.builder.icmp_signed("<", following, last), inside, end, note)
        self.builder.position_at_end(end)
        del self.names[name]

    def whole(self, value: Any) -> Any:
        """A loop's bound."""
        settled = self.emit.settled(value)
        if settled.kind[0] not in "iu" or settled.kind == "u8":
            raise NotUnderstood(f"a loop's bound of kind {settled.kind}")
        return self.emit.cast(settled, "i8").ir

    # Expressions

    def value(self, node: ast.expr) -> Any:
        """A Value, or a plain number (a literal still without a kind)."""
        match node:
            case ast.Constant(value=bool() | int() | float() as number):
                return number
            case ast.Name(id=name):
                return self.read(name)
            case ast.Subscript(value=base, slice=index):
                return self.emit.load(self.value(base), self.value(index))
            case ast.BinOp(left=left, op=op, right=right):
                return self.emit.binary(op, self.value(left), self.value(right))
            case ast.UnaryOp(op=op, operand=operand):
                return self.emit.unary(op, self.value(operand))
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self.emit.call(name, [self.value(a) for a in arguments])
            case ast.Compare() | ast.BoolOp():
                return Value(self.truth(node), "b1")
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self.choose(test, lambda: self.value(body), lambda: self.value(orelse))
        raise NotUnderstood(ast.unparse(node))

    def truth(self, node: ast.expr) -> Any:
        """An expression as a bit; `and` and `or` evaluate their right side only where it counts."""
        match node:
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self.emit.compare(op, self.value(left), self.value(right)).ir
            case ast.BoolOp(op=op, values=[first, *rest]):
                others = rest[0] if len(rest) == 1 else ast.BoolOp(op, rest)
                yes, no = (others, ast.Constant(False)) if isinstance(op, ast.And) else (ast.Constant(True), others)
                return self.choose(first, lambda: self.bit(yes), lambda: self.bit(no)).ir
            case ast.Compare():
                raise NotUnderstood(ast.unparse(node))
        return self.emit.truth(self.value(node))

    def bit(self, node: ast.expr) -> Value:
        """An expression as a bool."""
        return Value(self.truth(node), "b1")

    def choose(self, test: ast.expr, yes: Callable[[], Any], no: Callable[[], Any]) -> Value:
        """The value that one of two writers makes, as the test says."""
        starts = [self.builder.append_basic_block(name) for name in ("then", "else")]
        after = self.builder.append_basic_block("chosen")
        self.builder.cbranch(self.truth(test), starts[0], starts[1])
        made = []
        for start, write in zip(starts, (yes, no), strict=True):
            self.builder.position_at_end(start)
            made.append((self.emit.settled(write()), self.builder.block))
            self.builder.branch(after)
        if made[0][0].kind != made[1][0].kind:
            raise NotUnderstood(f"one of two values, of kinds {made[0][0].kind} and {made[1][0].kind}")
        self.builder.position_at_end(after)
        result = self.builder.phi(made[0][0].ir.type)
        for value, source in made:
            result.add_incoming(value.ir, source)
        return Value(result, made[0][0].kind)
