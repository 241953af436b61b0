"""Lowers `return`, `break` and `continue` to flags and nested ifs, so that blocks have one way in and one way out.

Where one branch always leaves, the rest of the block moves into the other one, so that both sides define the result;
elsewhere the rest is guarded by a flag. `else` of loops and assignment expressions in `while` tests go here too.
"""

from __future__ import annotations

import ast
import copy
import functools

from treadle.autograph import nodes as n
from treadle.autograph.scopes import Function, has_walrus, walk
from treadle.autograph.source import NoSource
from treadle.records import dataclass

_Opaque = (*Function, ast.ClassDef)
_SMALL = 4  # statements that are copied into both branches rather than guarded by a flag


@dataclass(frozen=True, slots=True)
class _Loop:
    """The flags of the loop that a block stands in."""

    stop: str
    skip: str


def lower(body: list[ast.stmt]) -> list[ast.stmt]:
    """The body of a function without exits inside statements that become functions."""
    returns = any(_return_inside(s) for s in body)
    if not returns:
        return _drop_unread(_Lowering(False).block(body, None))
    last = body[-1]
    tail = n.place(ast.Return(ast.Constant(None)), last)
    closed = body if _always(body) else [*body, tail]
    lowered = _Lowering(True).block(closed, None)
    first = n.place(n.assign(n.DID_RETURN, ast.Constant(False)), body[0])
    final = n.place(ast.Return(n.load(n.RETURN_VALUE)), last)
    return _drop_unread([first, *lowered, final])


def _return_inside(stmt: ast.stmt, inside: bool = False) -> bool:
    if isinstance(stmt, ast.Return):
        return inside
    if isinstance(stmt, _Opaque):
        return False
    inside = inside or n.is_converted(stmt)
    return any(_return_inside(s, inside) for block in n.blocks(stmt) for s in block)


def _may(stmt: ast.stmt, returns: bool) -> set[str]:
    """The kinds of exit that `stmt` may take out of itself."""
    if isinstance(stmt, ast.Return):
        return {"return"} if returns else set()
    if isinstance(stmt, ast.Break):
        return {"break"}
    if isinstance(stmt, ast.Continue):
        return {"continue"}
    if isinstance(stmt, _Opaque):
        return set()
    found: set[str] = set()
    for block in n.blocks(stmt):
        inner = set().union(*(_may(s, returns) for s in block))
        if isinstance(stmt, (ast.For, ast.While)) and block is stmt.body:
            inner &= {"return"}
        found |= inner
    return found


def _always(stmts: list[ast.stmt]) -> bool:
    """Whether control never reaches the end of a block (apart from exceptions that a `with` swallows)."""
    return any(_leaves(s) for s in stmts)


def _leaves(stmt: ast.stmt) -> bool:
    if isinstance(stmt, (ast.Return, ast.Break, ast.Continue, ast.Raise)):
        return True
    if isinstance(stmt, ast.If):
        return bool(stmt.orelse) and _always(stmt.body) and _always(stmt.orelse)
    if isinstance(stmt, ast.While):
        return n.is_true(stmt.test) and not _breaks(stmt.body)
    if isinstance(stmt, ast.Try):
        ends = _always(stmt.body) or _always(stmt.orelse)
        return ends and all(_always(h.body) for h in stmt.handlers)
    if isinstance(stmt, ast.Match):
        last = stmt.cases[-1]
        total = isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None and last.guard is None
        return total and all(_always(c.body) for c in stmt.cases)
    return False


def _breaks(body: list[ast.stmt]) -> bool:
    return any("break" in _may(s, False) for s in body)


def _size(stmts: list[ast.stmt]) -> int:
    return sum(isinstance(node, ast.stmt) for s in stmts for node in walk(s))


class _Lowering:
    def __init__(self, returns: bool) -> None:
        self.returns = returns

    def block(self, stmts: list[ast.stmt], loop: _Loop | None) -> list[ast.stmt]:
        """`stmts` with exits lowered; what follows an exit is dropped, moved into a branch, or guarded."""
        out: list[ast.stmt] = []
        for i, stmt in enumerate(stmts):
            rest = stmts[i + 1 :]
            if isinstance(stmt, (ast.Return, ast.Break, ast.Continue)):
                return [*out, *self.exit(stmt, loop)]
            kinds = _may(stmt, self.returns)
            if not kinds:
                out += self.plain(stmt, loop)
            elif isinstance(stmt, ast.If):
                return [*out, *self.branch(stmt, rest, kinds, loop)]
            elif isinstance(stmt, (ast.For, ast.While)):
                out += self.loop(stmt, loop)
                if _leaves(stmt):
                    return out
                return [*out, *self.guarded(rest, kinds, stmt, loop)]
            else:
                return [*out, *self.block_statement(stmt, rest, kinds, loop)]
        return out

    def plain(self, stmt: ast.stmt, loop: _Loop | None) -> list[ast.stmt]:
        """A statement that control leaves at its end only; loops inside it may still hold exits of their own."""
        if isinstance(stmt, _Opaque):
            return [stmt]
        if isinstance(stmt, (ast.For, ast.While)):
            return self.loop(stmt, loop)
        self.inner_blocks(stmt, loop)
        return [stmt]

    def inner_blocks(self, stmt: ast.stmt, loop: _Loop | None) -> None:
        for holder in (stmt, *getattr(stmt, "handlers", ()), *getattr(stmt, "cases", ())):
            for name in ("body", "orelse", "finalbody"):
                held = getattr(holder, name, None)
                if held and isinstance(held, list):
                    setattr(holder, name, self.block(held, loop) or [n.place(ast.Pass(), stmt)])

    def exit(self, stmt: ast.Return | ast.Break | ast.Continue, loop: _Loop | None) -> list[ast.stmt]:
        if isinstance(stmt, ast.Return):
            if not self.returns:
                return [stmt]
            value = stmt.value or ast.Constant(None)
            new: list[ast.stmt] = [n.assign(n.RETURN_VALUE, value), n.assign(n.DID_RETURN, ast.Constant(True))]
        else:
            assert loop is not None  # Python's compiler has refused it otherwise
            flag = loop.stop if isinstance(stmt, ast.Break) else loop.skip
            new = [n.assign(flag, ast.Constant(True))]
        return [n.place(s, stmt) for s in new]

    def branch(self, stmt: ast.If, rest: list[ast.stmt], kinds: set[str], loop: _Loop | None) -> list[ast.stmt]:
        body, orelse = stmt.body, stmt.orelse
        after: list[ast.stmt] = []
        if _always(body) and _always(orelse):
            pass
        elif _always(body):
            orelse = orelse + rest
        elif _always(orelse):
            body = body + rest
        elif _size(rest) <= _SMALL:
            body, orelse = body + copy.deepcopy(rest), orelse + rest
        else:
            after = self.guarded(rest, kinds, stmt, loop)
        stmt.body = self.block(body, loop) or [n.place(ast.Pass(), stmt)]
        stmt.orelse = self.block(orelse, loop)
        return [stmt, *after]

    def guarded(self, rest: list[ast.stmt], kinds: set[str], stmt: ast.stmt, loop: _Loop | None) -> list[ast.stmt]:
        """`if not flag: rest`, for the flags that `stmt` may have set."""
        if not rest:
            return []
        flags = self.flags(kinds, loop)
        return [n.place(ast.If(_none_of(flags), self.block(rest, loop), []), stmt)]

    def block_statement(
        self, stmt: ast.stmt, rest: list[ast.stmt], kinds: set[str], loop: _Loop | None
    ) -> list[ast.stmt]:
        """`with`, `try` and `match`: their parts are lowered in place, the rest is guarded."""
        final = getattr(stmt, "finalbody", [])
        if any(_may(s, self.returns) for s in final):
            raise NoSource("it leaves a `finally` block by return, break or continue, which is left as it is")
        if rest and isinstance(stmt, ast.With) and _always(stmt.body):
            # Only an exception that the context manager swallows leads to the rest; no tensor decides that.
            mark = n.finished(stmt.lineno)
            stmt.body = [*self.block(stmt.body, loop), n.place(n.assign(mark, ast.Constant(True)), stmt)]
            start = n.place(n.assign(mark, ast.Constant(False)), stmt)
            guard = ast.If(ast.UnaryOp(ast.Not(), n.load(mark)), self.block(rest, loop), [])
            return [start, stmt, n.place(guard, stmt)]
        if _leaves(stmt):
            rest = []
        body_kinds: set[str] = set().union(*(_may(s, self.returns) for s in getattr(stmt, "body", [])))
        orelse = getattr(stmt, "orelse", [])
        self.inner_blocks(stmt, loop)
        if orelse and body_kinds:
            # Python skips `else` when `try` was left by an exit; the orelse is lowered already.
            flags = n.place(ast.If(_none_of(self.flags(body_kinds, loop)), stmt.orelse, []), stmt)  # type: ignore[attr-defined]
            stmt.orelse = [flags]  # type: ignore[attr-defined]
        return [stmt, *self.guarded(rest, kinds, stmt, loop)]

    def flags(self, kinds: set[str], loop: _Loop | None) -> list[str]:
        flags = [n.DID_RETURN] if "return" in kinds else []
        if loop is not None:
            flags += [loop.stop] * ("break" in kinds) + [loop.skip] * ("continue" in kinds)
        return flags

    def loop(self, stmt: ast.For | ast.While, outer: _Loop | None) -> list[ast.stmt]:
        """A loop whose exits are flags: `ag_stops` names those that end it, its test asks them."""
        kinds: set[str] = set().union(*(_may(s, self.returns) for s in stmt.body))
        own = _Loop(f"{n.AG}break_{stmt.lineno}", f"{n.AG}continue_{stmt.lineno}")
        stops = [own.stop] * ("break" in kinds) + [n.DID_RETURN] * ("return" in kinds)
        before: list[ast.stmt] = [n.assign(own.stop, ast.Constant(False))] if "break" in kinds else []
        body = self.block(stmt.body, own)
        if "continue" in kinds:
            body = [n.assign(own.skip, ast.Constant(False)), *body]
        if isinstance(stmt, ast.While) and has_walrus(stmt.test):
            test = f"{n.AG}asked_{stmt.lineno}"
            before.append(n.place(n.assign(test, stmt.test), stmt.test))
            again: ast.stmt = n.place(n.assign(test, copy.deepcopy(stmt.test)), stmt.test)
            body += [ast.If(_none_of(stops), [again], [])] if stops else [again]
            stmt.test = n.place(n.load(test), stmt.test)
        if stops and isinstance(stmt, ast.While):
            go = _none_of(stops)
            stmt.test = n.place(go if n.is_true(stmt.test) else ast.BoolOp(ast.And(), [go, stmt.test]), stmt.test)
        elif stops:
            stmt.ag_go = n.place(_none_of(stops), stmt)  # type: ignore[union-attr]
        stmt.body = [n.place(s, stmt) for s in body] or [n.place(ast.Pass(), stmt)]
        after: list[ast.stmt] = []
        if stmt.orelse:
            orelse = self.block(stmt.orelse, outer)
            after = [n.place(ast.If(_none_of(stops), orelse, []), stmt)] if stops else orelse
            stmt.orelse = []
        return [*(n.place(s, stmt) for s in before), stmt, *after]


def _none_of(flags: list[str]) -> ast.expr:
    loads: list[ast.expr] = [n.load(f) for f in flags]
    return ast.UnaryOp(ast.Not(), loads[0] if len(loads) == 1 else ast.BoolOp(ast.Or(), loads))


def _drop_unread(body: list[ast.stmt]) -> list[ast.stmt]:
    """Removes assignments to flags that nothing asks."""
    return _Dropper(ast.Module(body, [])).clean(body)


class _Dropper:
    def __init__(self, whole: ast.AST) -> None:
        self.whole = whole

    @functools.cached_property
    def read(self) -> set[str]:
        """The names that are asked for anywhere."""
        return {m.id for m in walk(self.whole) if type(m) is ast.Name and type(m.ctx) is ast.Load}

    def clean(self, body: list[ast.stmt]) -> list[ast.stmt]:
        kept = [s for s in body if not self.unread(s)]
        for stmt in kept:
            if isinstance(stmt, _Opaque):
                continue
            for holder in (stmt, *getattr(stmt, "handlers", ()), *getattr(stmt, "cases", ())):
                for name in ("body", "orelse", "finalbody"):
                    held = getattr(holder, name, None)
                    if held and isinstance(held, list):
                        cleaned = self.clean(held)
                        setattr(holder, name, cleaned or ([n.place(ast.Pass(), held[0])] if name != "orelse" else []))
        return kept

    def unread(self, stmt: ast.stmt) -> bool:
        if not (isinstance(stmt, ast.Assign) and isinstance(target := stmt.targets[0], ast.Name)):
            return False
        return target.id.startswith(n.AG) and target.id != n.RETURN_VALUE and target.id not in self.read
