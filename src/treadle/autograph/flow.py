"""Liveness and definedness of names.

Definedness runs forwards over the user's body and tells which reads may meet a name that is not bound yet. Liveness
runs backwards over the body whose exits have been lowered, and tells which names a block must take and give.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from treadle.autograph import nodes as n
from treadle.autograph.scopes import Comprehension, Function, children, has_walrus, loads, names, stores, walk
from treadle.records import dataclass, field


@dataclass(slots=True)
class Facts:
    """What is known at one statement: names live after it, live before it, and at the head of a loop."""

    live_out: frozenset[str] = frozenset()
    live_in: frozenset[str] = frozenset()
    head: frozenset[str] = frozenset()


@dataclass(slots=True)
class Flow:
    """The facts of one function body."""

    facts: dict[ast.AST, Facts] = field(default_factory=dict)
    fragile: set[str] = field(default_factory=set)  # locals that may be unbound where a local function takes them
    shared: set[str] = field(default_factory=set)  # locals that inner functions must write in place
    checked: set[str] = field(default_factory=set)  # locals that the user's program may read while unbound
    remote: set[str] = field(default_factory=set)  # locals that nested functions write, so that any call may

    def written(self, nodes: Iterable[ast.AST]) -> set[str]:
        """The names that statements may bind, by the nested functions that they may call too."""
        nodes = list(nodes)
        found = stores(nodes)
        if self.remote and any(isinstance(part, ast.Call) for node in nodes for part in walk(node)):
            found = found | self.remote
        return found


def check_reads(body: list[ast.stmt], parameters: list[str], outer: set[str], any_walrus: bool) -> set[str]:
    """Marks the reads of the user's body that may meet an unbound local; returns the names.

    any_walrus: whether there may be assignment expressions in it.
    """
    found = Definedness((names(body).stores - outer) | set(parameters), any_walrus and any(map(has_walrus, body)))
    found.block(body, set(parameters))
    return found.checked


def analyse(body: list[ast.stmt], parameters: list[str], outer: set[str], checked: set[str]) -> Flow:
    """The facts of a lowered body; `outer` holds the names declared global or nonlocal."""
    found = names(body)
    flow = Flow(checked=checked | found.captured)  # nobody knows when a nested function reads
    flow.remote = _written_by_nested(body) & (found.stores - outer | set(parameters))
    written = _written_in_converted(body)
    written |= flow.remote if flow.remote and _calls_in_converted(body) else set()
    captured = (found.captured & written) | (outer & written)
    live = _Liveness(flow, captured)
    at_start = live.block(body, set())
    local = (found.stores - outer) | set(parameters)
    flow.fragile = (at_start & local) - set(parameters)
    flow.shared = (captured | _written_under_handlers(body)) - outer
    return flow


def _written_by_nested(body: Iterable[ast.AST]) -> set[str]:
    """Names that functions defined in the body declare nonlocal."""
    return {
        name
        for stmt in body
        for part in walk(stmt)
        if isinstance(part, ast.FunctionDef)
        for inner in walk(part)
        if isinstance(inner, ast.Nonlocal)
        for name in inner.names
    }


def _calls_in_converted(body: Iterable[ast.stmt]) -> bool:
    return any(
        n.is_converted(part) and any(isinstance(inner, ast.Call) for inner in walk(part))
        for stmt in body
        if not isinstance(stmt, (*Function, ast.ClassDef))
        for part in walk(stmt)
    )


def _written_in_converted(body: Iterable[ast.stmt]) -> set[str]:
    found: set[str] = set()
    for stmt in body:
        if n.is_converted(stmt):
            found |= stores(stmt)
        elif not isinstance(stmt, (*Function, ast.ClassDef)):
            for block in n.blocks(stmt):
                found |= _written_in_converted(block)
    return found


def _written_under_handlers(body: Iterable[ast.stmt]) -> set[str]:
    """Names whose writes an exception must not undo: written by functions to be, inside `try` or `with`."""
    found: set[str] = set()
    for stmt in body:
        if isinstance(stmt, (*Function, ast.ClassDef)):
            continue
        for block in n.blocks(stmt):
            guarded = isinstance(stmt, (ast.Try, ast.TryStar, ast.With))
            found |= _written_in_converted(block) if guarded else _written_under_handlers(block)
    return found


def _certain(stmt: ast.stmt) -> set[str]:
    """The names that a simple statement binds whenever it completes (`a and (b := 1)` may not bind b)."""
    if isinstance(stmt, ast.Assign):
        return set().union(*(stores(t) for t in stmt.targets))
    if isinstance(stmt, (ast.AugAssign, ast.For)):
        return stores(stmt.target)
    if isinstance(stmt, ast.AnnAssign):
        return stores(stmt.target) if stmt.value is not None else set()
    if isinstance(stmt, (*Function, ast.ClassDef)):
        return {stmt.name} if not isinstance(stmt, ast.Lambda) else set()
    if isinstance(stmt, (ast.Import, ast.ImportFrom, ast.Delete)):
        return stores(stmt)
    return set()


class _Liveness:
    def __init__(self, flow: Flow, always: set[str]) -> None:
        self.flow, self.always = flow, always
        self.raised: set[str] = set()  # live where an exception may lead
        self.known: dict[ast.AST, set[str]] = {}  # reads of simple statements, which loops ask for again and again

    def block(self, stmts: list[ast.stmt], out: set[str]) -> set[str]:
        live = out | self.always
        for stmt in reversed(stmts):
            after = frozenset(live)
            facts = self.flow.facts.setdefault(stmt, Facts())
            facts.live_out = after
            live = self.statement(stmt, live, facts) | self.raised | self.always
            facts.live_in = frozenset(live)
        return live

    def statement(self, stmt: ast.stmt, out: set[str], facts: Facts) -> set[str]:
        if isinstance(stmt, ast.If):
            return loads(stmt.test) | self.block(stmt.body, out) | self.block(stmt.orelse, out)
        if isinstance(stmt, (ast.While, ast.For)):
            return self.loop(stmt, out, facts)
        if isinstance(stmt, (ast.Try, ast.TryStar)):
            return self.trying(stmt, out)
        if isinstance(stmt, ast.With):
            outer, self.raised = self.raised, self.raised | (out & _after_swallow(stmt))
            live = self.block(stmt.body, out)
            self.raised = outer
            for item in reversed(stmt.items):
                if item.optional_vars is not None:
                    live = (live - stores(item.optional_vars)) | loads(item.optional_vars)
                live = live | loads(item.context_expr)
            return live
        if isinstance(stmt, ast.Match):
            return self.matching(stmt, out)
        if isinstance(stmt, (ast.Return, ast.Raise)):
            out = set()
        elif isinstance(stmt, ast.Delete):
            return out | loads(stmt) | stores(stmt)  # deleting asks for a bound name
        read = self.known.get(stmt)
        if read is None:
            read = self.known[stmt] = loads(stmt)
        return (out - _certain(stmt)) | read

    def loop(self, stmt: ast.While | ast.For, out: set[str], facts: Facts) -> set[str]:
        asked = loads(stmt.test) if isinstance(stmt, ast.While) else loads(getattr(stmt, "ag_go", None))
        head = out | asked
        while True:
            inside = self.block(stmt.body, head)
            if isinstance(stmt, ast.For):
                inside = (inside - stores(stmt.target)) | loads(stmt.target)
            if inside <= head:
                break
            head = head | inside
        facts.head = frozenset(head)
        return head | (loads(stmt.iter) if isinstance(stmt, ast.For) else set())

    def trying(self, stmt: ast.Try | ast.TryStar, out: set[str]) -> set[str]:
        final = self.block(stmt.finalbody, out) if stmt.finalbody else out
        outer = self.raised
        self.raised = outer | (final if stmt.finalbody else set())
        caught: set[str] = set()
        for handler in stmt.handlers:
            own = {handler.name} if handler.name else set()
            caught |= (self.block(handler.body, final - own) - own) | loads(handler.type)
        orelse = self.block(stmt.orelse, final)
        self.raised = outer | caught | final
        live = self.block(stmt.body, orelse)
        self.raised = outer
        return live

    def matching(self, stmt: ast.Match, out: set[str]) -> set[str]:
        live = set(out)
        for case in stmt.cases:
            live |= (self.block(case.body, out) | loads(case.guard)) - stores(case.pattern)
            live |= loads(case.pattern)
        return live | loads(stmt.subject)


class Definedness:
    """Marks (by the attribute `ag_unbound`) the reads of a body, as the user wrote it, that may meet an unbound local.

    Code that cannot be reached counts as having every name defined.
    """

    def __init__(self, local: set[str], any_walrus: bool = True) -> None:
        self.local = local
        self.any_walrus = any_walrus
        self.checked: set[str] = set()  # the names of the marked reads
        self.breaks: list[set[str]] = []  # what is defined at the `break`s of the loops around

    def block(self, stmts: list[ast.stmt], defined: set[str]) -> set[str]:
        for stmt in stmts:
            defined = self.statement(stmt, defined)
        return defined

    def walrus(self, node: ast.AST) -> set[str]:
        return walrus(node) if self.any_walrus else set()

    def mark(self, node: ast.AST, name: str) -> None:
        node.ag_unbound = True  # type: ignore[attr-defined]
        self.checked.add(name)

    def reads(self, node: ast.AST | None, defined: set[str], hidden: frozenset[str] = frozenset()) -> None:
        """Marks the reads in an expression; scopes that run later are not looked into."""
        if node is None or isinstance(node, (*Function, ast.ClassDef)):
            return
        if isinstance(node, Comprehension):
            hidden = hidden | stores([g.target for g in node.generators])
        if isinstance(node, ast.Name):
            missing = node.id in self.local and node.id not in defined and node.id not in hidden
            if missing and isinstance(node.ctx, ast.Load):
                self.mark(node, node.id)
            return
        if isinstance(node, ast.BoolOp):
            for value in node.values:
                self.reads(value, defined, hidden)
                defined = defined | self.walrus(value)  # what stands to the right runs only after it
            return
        for child in children(node):
            self.reads(child, defined, hidden)
            if self.any_walrus:
                defined = defined | self.walrus(child)

    def statement(self, stmt: ast.stmt, defined: set[str]) -> set[str]:
        if isinstance(stmt, ast.If):
            self.reads(stmt.test, defined)
            defined = defined | self.walrus(stmt.test)
            return self.block(stmt.body, defined) & self.block(stmt.orelse, defined)
        if isinstance(stmt, (ast.While, ast.For)):
            return self.loop(stmt, defined)
        if isinstance(stmt, (ast.Try, ast.TryStar)):
            return self.trying(stmt, defined)
        if isinstance(stmt, ast.With):
            for item in stmt.items:
                self.reads(item.context_expr, defined)
                defined = defined | (stores(item.optional_vars) if item.optional_vars else set())
            return self.block(stmt.body, defined) - (_after_swallow(stmt) - defined)
        if isinstance(stmt, ast.Match):
            self.reads(stmt.subject, defined)
            ends = []
            for case in stmt.cases:
                self.reads(case.guard, defined | stores(case.pattern))
                ends.append(self.block(case.body, defined | stores(case.pattern)))
            total = isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None and case.guard is None
            return set.intersection(*ends, *([] if total else [defined - _deleted(stmt)]))
        return self.simple(stmt, defined)

    def loop(self, stmt: ast.While | ast.For, defined: set[str]) -> set[str]:
        kept = defined - _deleted(stmt)
        self.breaks.append(set(self.local))
        if isinstance(stmt, ast.While):
            self.reads(stmt.test, kept)
            kept = kept | self.walrus(stmt.test)
            self.block(stmt.body, kept)
            ended = set(self.local) if n.is_true(stmt.test) else kept
        else:
            self.reads(stmt.iter, defined)
            self.block(stmt.body, kept | stores(stmt.target))
            ended = kept
        broken = self.breaks.pop()
        return self.block(stmt.orelse, ended) & broken

    def simple(self, stmt: ast.stmt, defined: set[str]) -> set[str]:
        if isinstance(stmt, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for part in (*stmt.decorator_list, *stmt.args.defaults, *stmt.args.kw_defaults):
                self.reads(part, defined)
        else:
            self.reads(stmt, defined)
        if isinstance(stmt, ast.Break):
            self.breaks[-1] &= defined
        if isinstance(stmt, (ast.Break, ast.Continue, ast.Return, ast.Raise)):
            return set(self.local)
        changed = stores(stmt) if isinstance(stmt, ast.Delete) else _certain(stmt)
        if isinstance(stmt, (ast.Delete, ast.AugAssign)):
            for name in (changed & self.local) - defined:
                self.mark(stmt, name)
        return defined - changed if isinstance(stmt, ast.Delete) else defined | changed | self.walrus(stmt)

    def trying(self, stmt: ast.Try | ast.TryStar, defined: set[str]) -> set[str]:
        at_raise = defined - _deleted(stmt)
        ends = [self.block(stmt.orelse, self.block(stmt.body, defined))]
        for handler in stmt.handlers:
            own = {handler.name} if handler.name else set()
            self.reads(handler.type, at_raise)
            ends.append(self.block(handler.body, at_raise | own) - own)
        after = set.intersection(*ends)
        if not stmt.finalbody:
            return after
        return (after | self.block(stmt.finalbody, at_raise)) - _deleted(ast.Module(stmt.finalbody, []))


def walrus(node: ast.AST) -> set[str]:
    """Names that an assignment expression outside short circuits has surely bound."""
    if isinstance(node, ast.NamedExpr):
        return {node.target.id} | walrus(node.value)
    if isinstance(node, ast.BoolOp):
        return walrus(node.values[0])
    if isinstance(node, ast.IfExp):
        return walrus(node.test)
    if isinstance(node, (*Comprehension, *Function, ast.ClassDef)):
        return set()
    return set().union(*(walrus(c) for c in children(node)))


def _after_swallow(stmt: ast.With) -> set[str]:
    """Names whose old value can be met after `with`, because it may swallow an exception.

    Names that plain statements write stay out, unless the context manager says that it swallows: a tape would
    otherwise make every name that is set under it a loop variable.
    """
    swallows = any({"suppress", "raises"} & _words(item.context_expr) for item in stmt.items)
    return stores(stmt.body) if swallows else _written_in_converted(stmt.body)


def _words(node: ast.expr) -> set[str]:
    return {str(getattr(m, "id", "") or getattr(m, "attr", "")) for m in walk(node)}


def _deleted(stmt: ast.AST) -> set[str]:
    """Names that `stmt` may delete, at any depth."""
    found: set[str] = set()
    for node in walk(stmt):
        if isinstance(node, ast.Delete):
            found |= stores(node)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
    return found
