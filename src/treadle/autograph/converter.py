"""The converter: finds a function's tree, runs the passes in order, compiles, and builds the new function.

Positions stay those of the user's file, and the new function shares globals, defaults and closure cells with the old
one, so that tracebacks, debuggers, `nonlocal` and `super()` work as before. Each code object is converted once.
"""

from __future__ import annotations
import __future__

import ast
import copy
import re
import warnings
import weakref
from types import CellType, CodeType, FunctionType
from typing import Any

from treadle.autograph import branches, exits, kept, learned, loops, matches, render, stores, walrus
from treadle.autograph import nodes as n
from treadle.autograph.carry import Scope
from treadle.autograph.expressions import Expressions
from treadle.autograph.flow import Flow, analyse, check_reads
from treadle.autograph.scopes import children, names, parameters, walk
from treadle.autograph.source import FunctionNode, NoSource, SourceChanged, find, may_have_changed, same_code
from treadle.errors import TracingWarning
from treadle.records import dataclass, field

_FACTORY = n.AG + "factory"
# What these see would not be the user's names, unless they are called with so many arguments.
_FRAME_READERS = {"locals": 1, "vars": 1, "dir": 1, "eval": 2, "exec": 2}
CELL = CellType()
"""The cell through which all converted code reaches the operators; the package fills it when it is imported."""


@dataclass(slots=True)
class Conversion:
    """What came of converting one code object: the new code and its tree, or the reason why there is none."""

    code: CodeType | None = None
    tree: FunctionNode | None = None
    reason: str | None = None
    text: str | None = field(default=None, repr=False)

    @property
    def source(self) -> str:
        """The rewritten source, with the user's line numbers as comments."""
        if self.text is None:
            self.text = "" if self.tree is None else render.source(self.tree)
        return self.text


# Code objects compare by content and not by file, so they are told apart by identity here.
_done: dict[int, tuple[weakref.ref[CodeType], Conversion]] = {}


def conversion(code: CodeType) -> Conversion:
    """The conversion of a code object, made at the first call."""
    key = id(code)
    held = _done.get(key)
    if held is not None and held[0]() is code:
        return held[1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python has warned of the user's text when it compiled it first
            made = _convert(code)
    except NoSource as error:
        made = Conversion(reason=str(error))
        if isinstance(error, SourceChanged):
            _warn_changed(code, error)
    pop = _done.pop  # held here: when the interpreter ends, the module's names go first
    _done[key] = (weakref.ref(code, lambda _: pop(key, None)), made)
    return made


def forget(code: CodeType) -> None:
    """Convert a function anew when it is next met: that of `code`, which may be of one inside it."""
    for key, (held, _) in list(_done.items()):
        known = held()
        if known is not None and known.co_filename == code.co_filename and learned.within(code.co_qualname, known):
            del _done[key]


def _warn_changed(code: CodeType, error: SourceChanged) -> None:
    warnings.warn_explicit(
        f"{code.co_qualname} runs as it was imported, its control flow on tensors not converted: {error}; "
        "import the module again",
        TracingWarning,
        code.co_filename,
        code.co_firstlineno,
    )


def is_converted(function: FunctionType) -> bool:
    """Whether a function is itself an output of the converter (nested functions of one are)."""
    return n.AG in function.__code__.co_freevars


def build(function: FunctionType) -> FunctionType | None:
    """The converted twin of a plain function over the same globals, defaults and cells; None without source.

    A function in which nothing is to be rewritten is its own twin.
    """
    made = conversion(function.__code__)
    if made.code is None:
        return None
    if n.AG not in made.code.co_freevars:
        return function
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    cells[n.AG] = CELL
    closure = tuple(cells[name] for name in made.code.co_freevars)
    new = FunctionType(made.code, function.__globals__, function.__name__, function.__defaults__, closure)
    new.__kwdefaults__ = function.__kwdefaults__
    new.__annotations__ = function.__annotations__
    new.__qualname__ = function.__qualname__
    new.__doc__ = function.__doc__
    new.__module__ = function.__module__
    new.__dict__.update(function.__dict__)
    return new


def _convert(code: CodeType) -> Conversion:
    node = find(code)
    kinds = _refuse(node)
    args = node.args
    defaults, kw_defaults = args.defaults, args.kw_defaults
    # Defaults, annotations and decorators were evaluated when the function was made; the new one takes them over.
    args.defaults, args.kw_defaults = [], [None for _ in kw_defaults]
    for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg):
        if arg is not None:
            arg.annotation = None
    unit = _Unit("__class__" in code.co_freevars, learned.names(code), kinds)
    try:
        if may_have_changed(code):
            _check_unchanged(node, code)
        if isinstance(node, ast.Lambda):
            unit.expression(node)
        else:
            node.decorator_list, node.returns = [], None
            if hasattr(node, "type_params"):
                node.type_params = []
            unit.function(node, frozenset())
        compiled = _compile(node, code)
        if not kinds.isdisjoint(kept.KINDS):
            kept.note(node, code.co_filename)
    except RecursionError:
        raise NoSource("its expressions nest too deeply to be rewritten") from None
    except SyntaxError as error:
        raise NoSource(f"the rewritten code does not compile ({error})") from None
    args.defaults, args.kw_defaults = defaults, kw_defaults  # for the reader
    return Conversion(compiled, node)


def _check_unchanged(node: FunctionNode, code: CodeType) -> None:
    """Raises SourceChanged where the text gives other code than the function has."""
    fresh = copy.deepcopy(node)
    if not isinstance(fresh, ast.Lambda):
        fresh.decorator_list, fresh.returns = [], None
    if not same_code(_compile(fresh, code), code):
        raise SourceChanged(f"the text of {code.co_filename} has changed since it was imported")


def _refuse(node: FunctionNode) -> frozenset[type[ast.AST]]:
    """The kinds of nodes that a function holds. NoSource where it must see its own frame, or uses our names."""
    kinds: set[type[ast.AST]] = set()
    stack: list[Any] = [node]
    while stack:
        part = stack.pop()
        kind = type(part)
        if kind is ast.Name:
            if part.id.startswith(n.AG):
                raise NoSource(f"it uses names that begin with {n.AG}, which are reserved")
            continue
        kinds.add(kind)
        if kind is ast.Call and type(part.func) is ast.Name:
            least = _FRAME_READERS.get(part.func.id)
            if least is not None and len(part.args) < least:
                raise NoSource(f"it uses {part.func.id}(), which would see the names of rewritten code")
        stack += children(part)
    return frozenset(kinds)


class _Unit:
    """The passes over one function and the functions inside it; `kinds` of nodes are in them."""

    def __init__(self, has_class: bool, learned: frozenset[str], kinds: frozenset[type[ast.AST]]) -> None:
        self.has_class = has_class
        self.learned = learned
        self.kinds = kinds

    def expression(self, node: ast.Lambda) -> None:
        own = set(parameters(node))
        rewriter = Expressions(Flow(), own, self._first(node), frozenset(), self.function, self.learned)
        node.body = rewriter.visit(node.body)

    def _first(self, node: FunctionNode) -> str | None:
        args = [*node.args.posonlyargs, *node.args.args]
        return args[0].arg if self.has_class and args else None

    def function(self, node: ast.FunctionDef, fragile: frozenset[str]) -> ast.FunctionDef:
        """Converts `node` in place; `fragile` are names of enclosing functions that may be unbound."""
        kinds = self.kinds
        if not kinds.isdisjoint((ast.Yield, ast.YieldFrom)) and _is_generator(node):
            return node
        declared, body = _hoist(node.body) if not kinds.isdisjoint((ast.Global, ast.Nonlocal)) else ([], node.body)
        if ast.Match in kinds:
            body = matches.lower(body)
        if ast.NamedExpr in kinds:
            body = walrus.lower(body)
        if ast.Match in kinds or not kinds.isdisjoint(stores.REWRITTEN):  # a `match` leaves comparisons behind
            body = stores.rewrite(body)
        globals_ = frozenset(x for d in declared if isinstance(d, ast.Global) for x in d.names)
        nonlocals = frozenset(x for d in declared if isinstance(d, ast.Nonlocal) for x in d.names)
        own = parameters(node)
        outer = set(globals_ | nonlocals)
        checked = check_reads(body, own, outer, ast.NamedExpr in kinds)
        lowered = exits.lower(body)
        flow = analyse(lowered, own, outer, checked)
        scope = Scope(flow, globals_, nonlocals)
        local = (names(lowered).stores | set(own)) - scope.outer
        structured = _structure(lowered, scope)
        rewriter = Expressions(flow, local, self._first(node), fragile, self.function, self.learned)
        rewritten: list[ast.stmt] = []
        for stmt in structured:
            new = rewriter.visit(stmt)
            rewritten += new if isinstance(new, list) else [new]
        unbound = [n.assign(x, scope.placeholder(x)) for x in sorted(flow.fragile)]
        place = node.body[0]
        text = [rewritten.pop(0)] if ast.get_docstring(node, clean=False) is not None else []
        node.body = [*text, *declared, *(n.place(u, place) for u in unbound), *rewritten]
        return node


def _structure(body: list[ast.stmt], scope: Scope) -> list[ast.stmt]:
    """Innermost first, turns branches and loops into local functions."""
    out: list[ast.stmt] = []
    for stmt in body:
        if isinstance(stmt, ast.If) and n.is_converted(stmt):
            out += branches.convert(stmt, _structure(stmt.body, scope), _structure(stmt.orelse, scope), scope)
        elif isinstance(stmt, ast.While):
            out += loops.convert_while(stmt, _structure(stmt.body, scope), scope)
        elif isinstance(stmt, ast.For):
            out += loops.convert_for(stmt, _structure(stmt.body, scope), scope)
        else:
            if not isinstance(stmt, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                _inside(stmt, scope)
            out.append(stmt)
    return out


def _inside(stmt: ast.stmt, scope: Scope) -> None:
    facts = scope.flow.facts[stmt]
    for handler in getattr(stmt, "handlers", ()):
        live = handler.name in facts.live_out
        handler.body = _structure(handler.body, scope)
        if live:
            _keep_bound(handler)
    for case in getattr(stmt, "cases", ()):
        case.body = _structure(case.body, scope)
    for name in ("body", "orelse", "finalbody"):
        if getattr(stmt, name, None):
            setattr(stmt, name, _structure(getattr(stmt, name), scope))


def _keep_bound(handler: ast.ExceptHandler) -> None:
    """Python deletes the name at the handler's end; a name that may be carried gets a placeholder instead."""
    assert handler.name is not None
    inner = n.AG + handler.name
    first = n.place(n.assign(handler.name, n.load(inner)), handler)
    last = n.place(n.assign(handler.name, n.operator("undefined", ast.Constant(handler.name))), handler)
    handler.name, handler.body = inner, [first, *handler.body, last]


def _is_generator(node: ast.FunctionDef) -> bool:
    stack: list[ast.AST] = list(node.body)
    while stack:
        found = stack.pop()
        if isinstance(found, (ast.Yield, ast.YieldFrom)):
            return True
        if not isinstance(found, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            stack.extend(children(found))
    return False


def _hoist(body: list[ast.stmt]) -> tuple[list[ast.Global | ast.Nonlocal], list[ast.stmt]]:
    """Takes `global` and `nonlocal` out of the body (and the docstring, which the function keeps by itself)."""
    found: list[ast.Global | ast.Nonlocal] = []
    if not any(isinstance(part, (ast.Global, ast.Nonlocal)) for stmt in body for part in walk(stmt)):
        return found, body

    class Take(n.OwnStatements):
        def visit_Global(self, node: ast.Global) -> ast.AST:
            found.append(node)
            return n.place(ast.Pass(), node)

        def visit_Nonlocal(self, node: ast.Nonlocal) -> ast.AST:
            found.append(node)
            return n.place(ast.Pass(), node)

    return found, Take().block(body)


def _compile(node: FunctionNode, code: CodeType) -> CodeType:
    """Compiles the tree inside a function that binds the free names, and inside the class whose name mangles."""
    inner: ast.stmt = n.assign(n.AG + "lambda", node) if isinstance(node, ast.Lambda) else node
    name = node.name if isinstance(node, ast.FunctionDef) else None
    owner = _mangling_class(code.co_qualname)
    if owner is not None:
        inner = ast.ClassDef(owner, [], [], [inner], [])
        name = owner
    free = [name for name in code.co_freevars if owner is None or name != "__class__"]
    bound: list[ast.stmt] = [n.assign(name, ast.Constant(None)) for name in (n.AG, *free)]
    if name is not None and name not in free:
        bound.append(ast.Global([name]))  # else the function's reads of its own name would become free variables
    factory = n.function(_FACTORY, [], [*bound, inner])
    module = ast.Module([n.place(factory, node)], [])
    flags = code.co_flags & _FUTURE
    compiled = compile(module, code.co_filename, "exec", flags=flags, dont_inherit=True)
    found = _code_inside(_code_inside(compiled, _FACTORY), owner) if owner else _code_inside(compiled, _FACTORY)
    found = _code_inside(found, code.co_name)
    return _rename(found, found.co_qualname, code.co_qualname, code.co_name)


# What a module's `from __future__` leaves behind in its code objects.
_FUTURE = __future__.annotations.compiler_flag | __future__.generator_stop.compiler_flag


def _code_inside(code: CodeType, name: str | None) -> CodeType:
    found = next((c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == name), None)
    if found is None:
        raise NoSource(f"the code of {name} is not where it is expected")
    return found


def _mangling_class(qualname: str) -> str | None:
    parts = qualname.split(".")
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] != "<locals>" and parts[i + 1] != "<locals>":
            return parts[i]
    return None


_GENERATED = re.compile(re.escape(n.AG) + r"\w+\.<locals>\.")


def _rename(code: CodeType, prefix: str, qualname: str, user: str) -> CodeType:
    """Gives code the qualified names of the user's program; local functions get the name of their function."""
    generated = code.co_name.startswith(n.AG)
    name = user if generated else code.co_name
    changed: dict[str, Any] = {"co_name": name}
    full = _GENERATED.sub("", qualname + code.co_qualname[len(prefix) :])
    if generated:
        full = full.rpartition(".<locals>.")[0]
    consts = tuple(_rename(c, prefix, qualname, name) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_qualname=full, co_consts=consts, **changed)
