"""What a generated local function takes, gives and declares: the part that branches and loops share."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from treadle.autograph import nodes as n
from treadle.autograph.flow import Flow
from treadle.records import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """The flow facts of the function being converted, and its names declared global and nonlocal."""

    flow: Flow
    globals: frozenset[str]
    nonlocals: frozenset[str]

    @property
    def outer(self) -> frozenset[str]:
        """Names that live outside the function."""
        return self.globals | self.nonlocals

    def placeholder(self, name: str) -> ast.expr:
        """What stands for a local that is not bound yet: one that checks, if the user's program may read it so."""
        kind = "undefined" if name in self.flow.checked else "unset"
        return n.operator(kind, ast.Constant(name))


@dataclass(frozen=True, slots=True)
class Carry:
    """The names that one statement carries, in order."""

    scope: Scope
    names: tuple[str, ...]

    def own(self, name: str) -> bool:
        """Whether `name` is an ordinary local, which a parameter can simply be."""
        return name not in self.scope.flow.shared and name not in self.scope.outer

    def parameter(self, name: str) -> str:
        """The parameter through which `name` comes in."""
        return name if self.own(name) else n.AG + name

    def function(
        self, name: str, body: list[ast.stmt], first: tuple[str, ...] = (), keep: Iterable[str] = ()
    ) -> ast.FunctionDef:
        """`def name(*first, *carried): body; return carried`; `keep` are locals that come in as defaults."""
        params = [*first, *(self.parameter(c) for c in self.names)]
        return n.function(name, params, [*self.prologue(), *body, self.epilogue()], sorted(keep))

    def test(self, name: str, test: ast.expr) -> ast.FunctionDef:
        """`def name(*carried): return test`."""
        params = [self.parameter(c) for c in self.names]
        return n.function(name, params, [*self.prologue(), n.place(ast.Return(test), test)])

    def prologue(self) -> list[ast.stmt]:
        """Declares and sets the names that must be written in place."""
        shared = [c for c in self.names if not self.own(c)]
        globals_ = [c for c in shared if c in self.scope.globals]
        nonlocals = [c for c in shared if c not in self.scope.globals]
        out: list[ast.stmt] = []
        if globals_:
            out.append(ast.Global(globals_))
        if nonlocals:
            out.append(ast.Nonlocal(nonlocals))
        return [*out, *(self.restore(c) for c in shared)]

    def restore(self, name: str) -> ast.stmt:
        """Sets a name written in place to a value that came in; an outer name that is unbound stays so."""
        write: ast.stmt = n.assign(name, n.load(n.AG + name))
        if name not in self.scope.outer:
            return write
        bound = n.operator("is_bound", n.load(n.AG + name))
        return ast.If(bound, [write], [])

    def value(self, name: str) -> ast.expr:
        """The present value of a name; a placeholder where an outer name is unbound."""
        if name in self.scope.outer:
            return n.operator("peek", n.thunk(n.load(name)), ast.Constant(name))
        return n.load(name)

    def epilogue(self) -> ast.stmt:
        """`return (a, b)`."""
        return ast.Return(ast.Tuple([self.value(c) for c in self.names], ast.Load()))

    def entry(self, known: frozenset[str]) -> ast.Tuple:
        """The values that go in: names outside `known` are not bound on any path, so a placeholder goes in."""
        values = [
            self.value(c) if c in known or c in self.scope.outer else self.scope.placeholder(c) for c in self.names
        ]
        return ast.Tuple(values, ast.Load())

    def receive(self, call: ast.expr) -> list[ast.stmt]:
        """`a, b = call`."""
        if not self.names:
            return [ast.Expr(call)]
        outer = [c for c in self.names if c in self.scope.outer]
        targets: list[ast.expr] = [n.store(n.AG + c if c in outer else c) for c in self.names]
        out: list[ast.stmt] = [ast.Assign([ast.Tuple(targets, ast.Store())], call)]
        return [*out, *(self.restore(c) for c in outer)]
