"""Writes a converted tree as source to read: the user's names, and the user's line numbers as comments."""

from __future__ import annotations

import ast

from treadle.autograph.source import FunctionNode

_COLUMN = 60


def source(node: FunctionNode) -> str:
    """The text of a converted function; the first line of each statement names the user's line it stands for."""
    try:
        text = ast.unparse(node)
        again = ast.parse(text)
    except (ValueError, SyntaxError):  # f-strings that hold quotes of every kind have no text before Python 3.12
        return "# this function has no readable form: an f-string in it cannot be written back\n"
    if isinstance(node, ast.Lambda):
        return f"{text}  # line {node.lineno}\n"
    written = _statements(again.body[0])
    marks = {new.lineno: old.lineno for old, new in zip(_statements(node), written, strict=False)}
    lines = []
    last = None
    for number, line in enumerate(text.splitlines(), 1):
        mark = marks.get(number)
        if mark is not None and mark != last:
            line, last = f"{line:<{_COLUMN}}  # line {mark}", mark
        if line:
            lines.append(line)
    return "\n".join(lines) + "\n"


def _statements(node: ast.AST) -> list[ast.stmt]:
    found = [node] if isinstance(node, ast.stmt) else []
    for child in ast.iter_child_nodes(node):
        found += _statements(child)
    return found
