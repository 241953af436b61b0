"""Turns `match` statements that compare into `if`s, so that they work on tensors too.

`case 1`, `case "a" | "b"`, `case None` and `case x if ...` are tests on the subject. Patterns that take a value apart
(sequences, mappings, classes) are matched by a `match` of their own, in which names stand for the literals; what was
found there is then compared. A statement whose patterns only take apart stays Python's own.
"""

from __future__ import annotations

import ast
import copy

from treadle.autograph import nodes as n
from treadle.autograph.scopes import has_walrus, names, walk
from treadle.autograph.trees import Transformer


def lower(body: list[ast.stmt]) -> list[ast.stmt]:
    """The body with such statements as `if`s; nested functions are left for their own turn."""
    if not any(isinstance(part, ast.Match) for stmt in body for part in walk(stmt)):
        return body
    lowered = _Matches()
    return lowered.block(body)


class _Matches(n.OwnStatements):
    def visit_Match(self, node: ast.Match) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        if any(case.guard is not None and has_walrus(case.guard) for case in node.cases):
            return node
        if not any(_decides(case) for case in node.cases):
            return node
        name = f"{n.AG}subject_{node.lineno}"
        start = n.place(n.assign(name, node.subject), node.subject)
        return [start, *_chain(node.cases, name)]


def _compares(pattern: ast.pattern) -> bool:
    """Whether a pattern is a comparison with the subject as a whole."""
    if isinstance(pattern, ast.MatchOr):
        return all(isinstance(p, (ast.MatchValue, ast.MatchSingleton)) for p in pattern.patterns)
    if isinstance(pattern, ast.MatchAs):
        return pattern.pattern is None
    return isinstance(pattern, (ast.MatchValue, ast.MatchSingleton))


def _decides(case: ast.match_case) -> bool:
    """Whether a case asks for more than how its value is built."""
    irrefutable = isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None
    return (
        case.guard is not None
        or (_compares(case.pattern) and not irrefutable)
        or any(isinstance(part, ast.MatchValue) for part in walk(case.pattern))
    )


def _chain(cases: list[ast.match_case], subject: str) -> list[ast.stmt]:
    if not cases:
        return []
    case, *rest = cases
    origin = case.pattern
    if len(alternatives := _alternatives(origin)) > 1:
        return _chain([*_apart(case, rest, alternatives, subject), *rest], subject)
    if not _compares(case.pattern):
        return _taken_apart(case, rest, subject)
    bound: list[ast.stmt] = []
    if isinstance(case.pattern, ast.MatchAs):
        if case.pattern.name is not None:
            bound = [n.place(n.assign(case.pattern.name, n.load(subject)), origin)]
        test = case.guard
    else:
        test = n.place(_test(case.pattern, subject), origin)
        if case.guard is not None:
            test = n.place(ast.BoolOp(ast.And(), [test, case.guard]), origin)
    if test is None:
        return [*bound, *case.body]
    return [*bound, n.place(ast.If(test, case.body, _chain(rest, subject)), origin)]


_MOST = 16  # alternatives that are written out one by one


def _alternatives(pattern: ast.pattern) -> list[ast.pattern]:
    """The patterns that one with alternatives of different build stands for; literals alone are compared together."""
    if isinstance(pattern, ast.MatchOr):
        if not _literal(pattern) or all(isinstance(p, (ast.MatchValue, ast.MatchSingleton)) for p in pattern.patterns):
            return [pattern]
        return [found for p in pattern.patterns for found in _alternatives(p)]
    made = [pattern]
    for field, value in ast.iter_fields(pattern):
        if isinstance(value, ast.pattern):
            made = [_with(p, field, found) for p in made for found in _alternatives(value)]
        elif isinstance(value, list):
            for k, part in enumerate(value):
                if isinstance(part, ast.pattern):
                    made = [_with(p, field, found, k) for p in made for found in _alternatives(part)]
    return made if len(made) <= _MOST else [pattern]


def _with(pattern: ast.pattern, field: str, part: ast.pattern, place: int | None = None) -> ast.pattern:
    """The pattern with another part."""
    if getattr(pattern, field) is part or (place is not None and getattr(pattern, field)[place] is part):
        return pattern
    made = copy.copy(pattern)
    if place is None:
        setattr(made, field, part)
    else:
        parts = [*getattr(pattern, field)]
        parts[place] = part
        setattr(made, field, parts)
    return made


def _apart(
    case: ast.match_case, rest: list[ast.match_case], patterns: list[ast.pattern], subject: str
) -> list[ast.match_case]:
    """A case for each alternative. Where one is taken and the guard fails, the others are not tried."""
    found = []
    for pattern in patterns:
        pattern, body = copy.deepcopy(pattern), copy.deepcopy(case.body)
        if case.guard is not None:
            body = [
                n.place(ast.If(copy.deepcopy(case.guard), body, _chain(copy.deepcopy(rest), subject)), case.pattern)
            ]
        found.append(ast.match_case(pattern, None, body))
    return found


def _taken_apart(case: ast.match_case, rest: list[ast.match_case], subject: str) -> list[ast.stmt]:
    """A case that takes the subject apart: Python tells whether it can be, then what was found in it is compared."""
    origin = case.pattern
    place = f"{origin.lineno}_{origin.col_offset}"
    built = f"{n.AG}built_{place}"
    parts = _Parts(place)
    pattern = parts.visit(case.pattern)
    found = ast.match_case(pattern, None, [n.assign(built, ast.Constant(True))])
    look = ast.Match(n.load(subject), [found])
    tests: list[ast.expr] = [n.load(built), *parts.tests]
    if case.guard is not None:
        tests.append(_Renamed(parts.held).visit(copy.deepcopy(case.guard)))
    test = tests[0] if len(tests) == 1 else ast.BoolOp(ast.And(), tests)
    bound = [n.assign(name, n.load(held)) for name, held in parts.held.items()]
    made: list[ast.stmt] = [
        n.assign(built, ast.Constant(False)),
        look,
        ast.If(test, [*bound, *case.body], _chain(rest, subject)),
    ]
    return [n.place(stmt, origin) for stmt in made]


class _Parts(Transformer):
    """Puts names of ours in place of the literals and captures of a pattern."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.tests: list[ast.expr] = []
        self.held: dict[str, str] = {}  # the user's name and ours
        self.count = 0

    def visit_MatchValue(self, node: ast.MatchValue) -> ast.AST:
        return self._compared(node)

    def visit_MatchOr(self, node: ast.MatchOr) -> ast.AST:
        if all(isinstance(p, (ast.MatchValue, ast.MatchSingleton)) for p in node.patterns):
            return self._compared(node)
        return self.generic_visit(node)

    def _compared(self, node: ast.MatchValue | ast.MatchOr) -> ast.AST:
        name = self.name()
        self.tests.append(n.place(_test(node, name), node))
        return n.place(ast.MatchAs(None, name), node)

    def visit_MatchAs(self, node: ast.MatchAs) -> ast.AST:
        if node.name is None:
            return node
        self.held[node.name] = held = self.name()
        if node.pattern is None:
            node.name = held
            return node
        if isinstance(node.pattern, ast.MatchValue):
            self.tests.append(n.place(_test(node.pattern, held), node))
            return n.place(ast.MatchAs(None, held), node)
        node.name, node.pattern = held, self.visit(node.pattern)
        return node

    def visit_MatchStar(self, node: ast.MatchStar) -> ast.AST:
        if node.name is not None:
            self.held[node.name] = node.name = self.name()
        return node

    def visit_MatchMapping(self, node: ast.MatchMapping) -> ast.AST:
        node.patterns = [self.visit(p) for p in node.patterns]  # keys stay: Python looks them up
        if node.rest is not None:
            self.held[node.rest] = node.rest = self.name()
        return node

    def visit_MatchClass(self, node: ast.MatchClass) -> ast.AST:
        node.patterns = [self.visit(p) for p in node.patterns]
        node.kwd_patterns = [self.visit(p) for p in node.kwd_patterns]
        return node

    def name(self) -> str:
        self.count += 1
        return f"{n.AG}found_{self.place}_{self.count}"


def _literal(node: ast.MatchOr) -> bool:
    """Whether alternatives hold literals or names, which cannot be told apart once they are all replaced."""
    return any(isinstance(part, ast.MatchValue) or names(part).stores for part in walk(node))


class _Renamed(Transformer):
    def __init__(self, held: dict[str, str]) -> None:
        self.held = held

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self.held.get(node.id, node.id)
        return node


def _test(pattern: ast.pattern, subject: str) -> ast.expr:
    if isinstance(pattern, ast.MatchOr):
        return ast.BoolOp(ast.Or(), [_test(p, subject) for p in pattern.patterns])
    if isinstance(pattern, ast.MatchSingleton):
        return ast.Compare(n.load(subject), [ast.Is()], [ast.Constant(pattern.value)])
    assert isinstance(pattern, ast.MatchValue)
    return ast.Compare(n.load(subject), [ast.Eq()], [pattern.value])
