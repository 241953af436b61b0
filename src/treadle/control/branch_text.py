"""The two sides of a branch as an error shows them: the user's file, the lines and what stands there."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

from treadle.errors import is_own_code, user_location


def only_one_side(side: str, branches: tuple[Callable[..., Any], Callable[..., Any]]) -> str:
    """Why a name has no value: of an `if`'s two branches only the `side` one ("true" or "false") sets it."""
    place = user_location(2)
    start = 0 if place is None else place.line
    texts = [_text(branch, start) for branch in branches]
    sides = {"true": f"when true{texts[0]}", "false": f"when false{texts[1]}"}
    other = "false" if side == "true" else "true"
    where = "" if place is None else f" at {place.file}:{place.line}"
    return f"the `if` on a tensor{where} sets it only {sides[side]}, not {sides[other]}"


def _text(branch: Callable[..., Any], start: int) -> str:
    """` (line 7: y = x)`: the first line of a branch, or nothing where there is none."""
    for code in _user_code(branch, 3):
        lines = sorted({line for _, _, line in code.co_lines() if line is not None and line > start})
        if lines:
            text = linecache.getline(code.co_filename, lines[0]).strip()
            return f" (line {lines[0]}: {text})" if text else f" (line {lines[0]})"
    return " (there is no such branch)" if "same" in getattr(branch, "__name__", "") else ""


def _user_code(branch: Any, depth: int) -> Iterator[CodeType]:
    """The code of the user's lines behind a function: its own, or that of functions that it holds."""
    if not isinstance(branch, FunctionType):
        return
    if not is_own_code(branch.__code__):
        yield branch.__code__
        return
    if depth:
        for cell in branch.__closure__ or ():
            yield from _user_code(cell.cell_contents, depth - 1)
