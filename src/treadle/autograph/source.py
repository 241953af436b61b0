"""Finds the syntax tree of a Python function from its code object: definitions by line, lambdas by column."""

from __future__ import annotations

import ast
import inspect
import linecache
from collections.abc import Iterator
from types import CodeType

FunctionNode = ast.FunctionDef | ast.Lambda


class NoSource(Exception):
    """The function's source cannot be had or used; the text says why."""


def find(code: CodeType) -> FunctionNode:
    """The tree of the function that `code` belongs to, with the line and column numbers of the user's file.

    Raises NoSource when there is no file text, when the text does not hold the function, or when the function is
    of a kind that is left alone (generators, coroutines).
    """
    if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
        raise NoSource("generators and coroutines are left as they are")
    lines = linecache.getlines(code.co_filename)
    if not lines or code.co_firstlineno > len(lines):
        raise NoSource(f"its source text is not available ({code.co_filename}); put it into a file")
    found = _find_lambda(code, lines) if code.co_name == "<lambda>" else _find_definition(code, lines)
    if not _same_arguments(found, code):
        raise NoSource(f"the text of {code.co_filename} has changed since it was imported")
    return found


def _parse(lines: list[str], start: int, stop: int) -> ast.Module:
    """Parses lines start..stop (1-based, stop excluded), indented or not, keeping their numbers."""
    text = "".join(lines[start - 1 : stop - 1])
    if text[:1] in " \t":
        # A block inside `if 1:` may be indented, so neither columns nor multi-line strings change.
        return ast.parse("\n" * (start - 2) + "if 1:\n" + text)
    return ast.parse("\n" * (start - 1) + text)


def _find_definition(code: CodeType, lines: list[str]) -> ast.FunctionDef:
    start = code.co_firstlineno
    stop = start + len(inspect.getblock(lines[start - 1 :]))
    try:
        tree = _parse(lines, start, stop)
    except (SyntaxError, ValueError) as error:
        raise NoSource(f"its source in {code.co_filename} does not parse ({error})") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            return node
    raise NoSource(f"the text of {code.co_filename} has changed since it was imported")


def _find_lambda(code: CodeType, lines: list[str]) -> ast.Lambda:
    end = max((line for line in _lines(code)), default=code.co_firstlineno)
    try:
        tree = _parse_around(lines, code.co_firstlineno, end)
    except (SyntaxError, ValueError):
        tree = ast.parse("".join(lines))
    here = [n for n in ast.walk(tree) if isinstance(n, ast.Lambda) and n.lineno == code.co_firstlineno]
    if len(here) > 1:
        here = [n for n in here if _extent(n.body) == _returned(code)] or here
        here = here[:1] if len({ast.dump(n) for n in here}) == 1 else here
    if len(here) != 1:
        raise NoSource(f"several lambdas stand on line {code.co_firstlineno} of {code.co_filename}; use one a line")
    return here[0]


def _parse_around(lines: list[str], first: int, last: int) -> ast.Module:
    """Parses the single lines that hold a lambda if they stand alone, else the whole file (columns are then exact)."""
    return _parse(lines, first, last + 1)


def _lines(code: CodeType) -> Iterator[int]:
    for line, _, _, _ in code.co_positions():
        if line is not None:
            yield line


def _returned(code: CodeType) -> tuple[int | None, ...]:
    """The extent of the expression whose value the lambda returns: that of its last instruction."""
    line, end_line, column, end_column = list(code.co_positions())[-1]
    return line, column, end_line, end_column


def _extent(node: ast.expr) -> tuple[int | None, ...]:
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset


def _same_arguments(node: FunctionNode, code: CodeType) -> bool:
    args = node.args
    names = [a.arg for a in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
    names += [a.arg for a in (args.vararg, args.kwarg) if a is not None]
    held = code.co_varnames[: len(names)]
    # Private names are mangled in the code object, so only their ends can be compared.
    return len(held) == len(names) and all(h.endswith(n) for n, h in zip(names, held, strict=True))
