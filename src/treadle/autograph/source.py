"""Finds the syntax tree of a Python function from its code object: definitions by line, lambdas by column."""

from __future__ import annotations

import ast
import dis
import inspect
import linecache
import os
import time
from collections.abc import Iterator
from types import CodeType

FunctionNode = ast.FunctionDef | ast.Lambda


class NoSource(Exception):
    """The function's source cannot be had or used; the text says why."""


class SourceChanged(NoSource):
    """The file no longer holds the text that the function was made of."""


def find(code: CodeType) -> FunctionNode:
    """The tree of the function that `code` belongs to, with the line and column numbers of the user's file.

    Raises NoSource when there is no file text, when the text does not hold the function, or when the function is
    of a kind that is left alone (generators, coroutines).
    """
    if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
        raise NoSource(f"{suspension(code)}: generators and coroutines are left as they are")
    lines = linecache.getlines(code.co_filename)
    if not lines or code.co_firstlineno > len(lines):
        raise NoSource(f"its source text is not available ({code.co_filename}); put it into a file")
    found = _find_lambda(code, lines) if code.co_name == "<lambda>" else _find_definition(code, lines)
    if not _same_arguments(found, code):
        raise SourceChanged(f"the text of {code.co_filename} has changed since it was imported")
    return found


def suspension(code: CodeType) -> str:
    """What makes a function a generator or a coroutine, and where: "it holds `yield` (line 3)"."""
    awaits = bool(code.co_flags & inspect.CO_COROUTINE)
    names = ("GET_AWAITABLE", "GET_AITER") if awaits else ("YIELD_VALUE", "GET_YIELD_FROM_ITER")
    line = next(
        (i.positions.lineno for i in dis.get_instructions(code) if i.opname in names and i.positions is not None), None
    )
    word = "`await`" if awaits and line is not None else "`async def`" if awaits else "`yield`"
    return f"it holds {word} (line {line if line is not None else code.co_firstlineno})"


_STARTED = time.time()


def may_have_changed(code: CodeType) -> bool:
    """Whether the file was written after this process began, so that its text may not be that of the code.

    Tests whose asserts are rewritten (by pytest) have code that no text gives, and are left out.
    """
    if any(name.startswith("@py") for name in (*code.co_names, *code.co_varnames)):
        return False
    try:
        return os.stat(code.co_filename).st_mtime > _STARTED
    except OSError:
        return False


def same_code(a: CodeType, b: CodeType) -> bool:
    """Whether two code objects do the same, apart from where they stand."""
    if len(a.co_consts) != len(b.co_consts) or _steps(a) != _steps(b):
        return False
    for x, y in zip(a.co_consts, b.co_consts, strict=True):
        inner = isinstance(x, CodeType) and isinstance(y, CodeType)
        if not (same_code(x, y) if inner else type(x) is type(y) and repr(x) == repr(y)):
            return False
    return True


def _steps(code: CodeType) -> list[tuple[str, str]]:
    """The instructions without what depends on the text around: a method of a name that the module imports is read in
    another way than one of any other name, and so jumps differ, too."""
    steps = []
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        held = isinstance(instruction.argval, CodeType) or instruction.opcode in dis.hasjrel + dis.hasjabs
        steps.append(("LOAD_ATTR" if name == "LOAD_METHOD" else name, "" if held else repr(instruction.argval)))
    return steps


def _parse(lines: list[str], start: int, stop: int) -> ast.Module:
    """Parses lines start..stop (1-based, stop excluded), indented or not, keeping their numbers."""
    text = "".join(lines[start - 1 : stop - 1])
    if text[:1] in " \t":
        # A block inside `if 1:` may be indented, so neither columns nor multi-line strings change.
        return ast.parse("\n" * (start - 2) + "if 1:\n" + text)
    return ast.parse("\n" * (start - 1) + text)


def _find_definition(code: CodeType, lines: list[str]) -> ast.FunctionDef:
    start = code.co_firstlineno
    try:
        tree = _parse(lines, start, _end_of_block(code, lines))
    except SyntaxError:
        tree = _parse_block(code, lines)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            return node
    raise SourceChanged(f"the text of {code.co_filename} has changed since it was imported")


def _parse_block(code: CodeType, lines: list[str]) -> ast.Module:
    """The slow and careful way: the tokens tell where the definition ends."""
    start = code.co_firstlineno
    try:
        return _parse(lines, start, start + len(inspect.getblock(lines[start - 1 :])))
    except (SyntaxError, ValueError) as error:
        raise NoSource(f"its source in {code.co_filename} does not parse ({error})") from None


def _end_of_block(code: CodeType, lines: list[str]) -> int:
    """The first line after the definition: from its last line of code on, the first that is indented no deeper.

    Wrong only where a string or an open bracket at the end holds such a line, which does not parse then.
    """
    indent = _indent(lines[code.co_firstlineno - 1])
    number = _last_line(code)
    while number < len(lines) and (not lines[number].strip() or _indent(lines[number]) > indent):
        number += 1
    return number + 1


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _last_line(code: CodeType) -> int:
    last = max((line for _, _, line in code.co_lines() if line is not None), default=code.co_firstlineno)
    return max([last, *(_last_line(c) for c in code.co_consts if isinstance(c, CodeType))])


def _find_lambda(code: CodeType, lines: list[str]) -> ast.Lambda:
    end = max((line for line in _lines(code)), default=code.co_firstlineno)
    try:
        tree = _parse_around(lines, code.co_firstlineno, end)
    except SyntaxError:
        tree = _parse_file(code, lines)
    here = [n for n in ast.walk(tree) if isinstance(n, ast.Lambda) and n.lineno == code.co_firstlineno]
    if len(here) > 1:
        start, stop = _extent(code)
        here = [n for n in here if _start(n.body) <= start and stop <= _stop(n.body)]
        here.sort(key=lambda n: _start(n.body))
    if not here:
        raise NoSource(f"the lambda on line {code.co_firstlineno} of {code.co_filename} cannot be found in its text")
    return here[-1]  # of nested ones the innermost that holds all the code


def _parse_file(code: CodeType, lines: list[str]) -> ast.Module:
    try:
        return ast.parse("".join(lines))
    except SyntaxError as error:
        raise NoSource(f"{code.co_filename} does not parse ({error})") from None


def _parse_around(lines: list[str], first: int, last: int) -> ast.Module:
    """Parses the single lines that hold a lambda if they stand alone, else the whole file (columns are then exact)."""
    return _parse(lines, first, last + 1)


def _lines(code: CodeType) -> Iterator[int]:
    for line, _, _, _ in code.co_positions():
        if line is not None:
            yield line


Place = tuple[int, int]


def _extent(code: CodeType) -> tuple[Place, Place]:
    """From where to where in the text the instructions of a lambda come (columns count bytes, as in trees)."""
    starts, stops = [], []
    for line, end_line, column, end_column in code.co_positions():
        if line is None or end_line is None or column is None or end_column is None:
            continue
        if (line, column) != (end_line, end_column):  # the prologue has no extent
            starts.append((line, column))
            stops.append((end_line, end_column))
    if not starts:
        raise NoSource(f"several lambdas stand on line {code.co_firstlineno} of {code.co_filename}; use one a line")
    return min(starts), max(stops)


def _start(node: ast.expr) -> Place:
    return node.lineno, node.col_offset


def _stop(node: ast.expr) -> Place:
    return node.end_lineno or node.lineno, node.end_col_offset or node.col_offset


def _same_arguments(node: FunctionNode, code: CodeType) -> bool:
    args = node.args
    names = [a.arg for a in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
    names += [a.arg for a in (args.vararg, args.kwarg) if a is not None]
    held = code.co_varnames[: len(names)]
    # Private names are mangled in the code object, so only their ends can be compared.
    return len(held) == len(names) and all(h.endswith(n) for n, h in zip(names, held, strict=True))
