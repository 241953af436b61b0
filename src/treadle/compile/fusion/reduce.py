"""Reductions and updates as kernel text: what each begins with, and how it takes one more value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from treadle.compile.fusion.emit import code


def identity(op: str, dtype: np.dtype[Any]) -> str:
    """What a reduction begins with, as kernel text."""
    kind = code(dtype)
    if op in ("any", "all"):
        return str(op == "all")
    if op in ("sum", "prod"):
        start = "-0.0" if op == "sum" and dtype.kind == "f" else str(int(op == "prod"))  # -0 + x is x, for -0 too
        return f"{kind}({start})"
    if dtype.kind == "f":
        return f"{kind}({'-' if op == 'max' else ''}1e400)"
    if dtype.kind == "b":
        return str(op == "min")
    limits = np.iinfo(dtype)
    return f"{kind}({limits.min if op == 'max' else limits.max})"


def combine(op: str, dtype: np.dtype[Any], a: str, b: str) -> str:
    """The reduction of two values, as kernel text. Float sums may be reassociated, so that they vectorise."""
    kind = code(dtype)
    if op in ("any", "all"):
        return f"b1({a} {'|' if op == 'any' else '&'} {b})"
    if op in ("max", "min"):
        if dtype.kind == "b":
            return f"b1({a} {'|' if op == 'max' else '&'} {b})"
        return f"{'top' if op == 'max' else 'bottom'}_{kind}({b}, {a})"
    if dtype.kind == "f":
        return f"{'add' if op == 'sum' else 'mul'}_reassoc_{kind}({a}, {b})"
    return f"{kind}({a} {'+' if op == 'sum' else '*'} {b})"


def is_rounded(op: str, dtype: np.dtype[Any]) -> bool:
    """Whether a reduction rounds, so that the order in which it is done matters."""
    return op in ("sum", "prod") and dtype.kind == "f"


def update_line(mode: str, kind: str) -> Callable[[Sequence[str]], str]:
    """What a scatter does with an element (the first name) and an update (the second), as a line of kernel text."""
    if mode == "set":
        return lambda q: f"{q[0]} = {q[1]}"
    if kind == "b1":
        sign = "|" if mode in ("add", "max") else "&"
        return lambda q: f"{q[0]} = b1({q[0]} {sign} {q[1]})"
    if mode in ("min", "max"):
        return lambda q: f"{q[0]} = {mode}_{kind}({q[0]}, {q[1]})"
    sign = "+" if mode == "add" else "*"
    return lambda q: f"{q[0]} = {kind}({q[0]} {sign} {q[1]})"
