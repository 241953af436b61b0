"""Writes a converted tree as source to read: the user's names, and the user's line numbers as comments."""

from __future__ import annotations

import ast
import io
import tokenize

from treadle.autograph.source import FunctionNode

_COLUMN = 60
_WIDTH = 100


def source(node: FunctionNode) -> str:
    """The text of a converted function; the first line of each statement names the user's line it stands for."""
    try:
        text = ast.unparse(node)
        again = ast.parse(text)
    except (ValueError, SyntaxError):  # f-strings that hold quotes of every kind have no text before Python 3.12
        return "# this function has no readable form: an f-string in it cannot be written back\n"
    if isinstance(node, ast.Lambda):
        return "\n".join(_wrapped(f"{text}  # line {node.lineno}")) + "\n"
    written = _statements(again.body[0])
    marks = {new.lineno: old.lineno for old, new in zip(_statements(node), written, strict=False)}
    lines = []
    last = None
    for number, line in enumerate(text.splitlines(), 1):
        mark = marks.get(number)
        if mark is not None and mark != last:
            line, last = f"{line:<{_COLUMN}}  # line {mark}", mark
        if line:
            lines += _wrapped(line) if number in marks else [line]
    return "\n".join(lines) + "\n"


def _wrapped(line: str) -> list[str]:
    """A line of code in pieces of at most so many columns, broken inside brackets; the comment stays on the first."""
    if len(line) <= _WIDTH:
        return [line]
    code, mark, number = line.rpartition("  # line ")
    comment = mark + number if mark else ""
    code = (code if mark else line).rstrip()
    breaks = _breaks(code)
    indent = " " * (len(code) - len(code.lstrip()) + 8)
    pieces: list[str] = []
    start = 0
    while True:
        room = _WIDTH - (len(comment) if not pieces else len(indent))
        if len(code) - start <= room:
            break
        fitting = [b for b in breaks if start < b <= start + room]
        later = next((b for b in breaks if b > start), None)
        cut = fitting[-1] if fitting else later
        if cut is None:
            break
        pieces.append(code[start:cut].rstrip())
        start = cut + len(code[cut:]) - len(code[cut:].lstrip())
    pieces.append(code[start:])
    return [pieces[0] + comment, *(indent + piece for piece in pieces[1:])]


def _breaks(code: str) -> list[int]:
    """Columns at which a line of code may be broken: behind commas and opening brackets, inside brackets."""
    found, depth = [], 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(code.lstrip()).readline):
            if token.type != tokenize.OP:
                continue
            depth += (token.string in "([{") - (token.string in ")]}")
            if depth > 0 and token.string in (",", "(", "["):
                found.append(token.end[1] + len(code) - len(code.lstrip()))
    except (tokenize.TokenError, IndentationError):
        pass  # the header of a block has no body here; what was found stands
    return found


def _statements(node: ast.AST) -> list[ast.stmt]:
    found = [node] if isinstance(node, ast.stmt) else []
    for child in ast.iter_child_nodes(node):
        found += _statements(child)
    return found
