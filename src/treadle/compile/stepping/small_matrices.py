"""Inverses, solutions, determinants and Cholesky factors of small matrices, each element a value of its own.

The steps are LAPACK's for one small matrix: `getrf` with the largest number of a column as its pivot (the first of
equal ones), triangles solved by the pivots' reciprocals, `potrf` by rows. Single precision is computed in double
precision, as NumPy does. Rows change places by selection, so that no processor has to guess.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from treadle.compile.fusion.emit import code
from treadle.core.graph import Node

OPS = frozenset(("inv", "solve", "det", "cholesky"))
LARGEST = 6  # rows
ONE, NONE = "f8(1.0)", "f8(0.0)"

Lanes = np.ndarray[Any, Any]
Write = Callable[[str], str]  # gives an expression a name of its own
Refuse = Callable[[str], None]  # what holds of a matrix that cannot be worked on


def lines_of(node: Node) -> int | None:
    """How many lines a node is; None where its matrices are too large or not real."""
    n, m = int(node.inputs[0].shape[-1]), _columns(node)
    if n > LARGEST or n < 1 or any(s.dtype.kind != "f" for s in node.inputs):
        return None
    count = math.prod(map(int, node.outputs[0].shape[: -2 if node.op != "det" else None]))
    if node.op == "cholesky":
        return count * (n**3 // 3 + 2 * n * n + 4 * n)
    swaps = sum((n - 1 - k) * (3 + 2 * (n - k + m)) for k in range(n))
    work = sum((n - 1 - k) * (n - k + m) for k in range(n)) + m * n * (n + 1) // 2 + 3 * n
    return count * (swaps + work)


def _columns(node: Node) -> int:
    if node.op == "det":
        return 0
    return int(node.inputs[-1].shape[-1])


def write(node: Node, values: list[Lanes], name: Write, refuse: Refuse) -> Lanes:
    """The elements of a node's result."""
    (out,) = node.outputs
    core = 0 if node.op == "det" else 2
    batch = tuple(map(int, out.shape[: len(out.shape) - core]))
    spread = [np.broadcast_to(v, (*batch, *v.shape[-2:])) for v in values]
    made = np.empty(tuple(map(int, out.shape)), object)
    for index in np.ndindex(*batch):
        made[index] = matrix(node.op, [v[index] for v in spread], code(out.dtype), name, refuse)
    return made


def matrix(op: str, given: list[Lanes], kind: str, name: Write, refuse: Refuse) -> Any:
    """The elements of the result for one matrix, of this kind; a determinant is a text alone."""
    found = _matrix(op, [_each(v, lambda x: name(f"f8({x})")) for v in given], name, refuse)
    return found if kind == "f8" else _each(found, lambda x: name(f"{kind}({x})"))


def _each(matrix: Any, f: Callable[[str], str]) -> Any:
    if isinstance(matrix, str):
        return f(matrix)
    made = np.empty(matrix.shape, object)
    for index in np.ndindex(*matrix.shape):
        made[index] = f(str(matrix[index]))
    return made


def _matrix(op: str, given: list[Lanes], name: Write, refuse: Refuse) -> Any:
    if op == "cholesky":
        return _cholesky(given[0], name, refuse)
    a = given[0]
    n = len(a)
    if op == "det":
        swapped = _eliminate(a, np.empty((n, 0), object), name, None)
        return _determinant(a, swapped, name)
    b = _identity(n) if op == "inv" else given[1]
    _eliminate(a, b, name, refuse)
    for column in range(b.shape[1]):
        for i in reversed(range(n)):
            total = b[i, column]
            for k in range(i + 1, n):
                total = name(f"{total} - {a[i, k]} * {b[k, column]}")
            b[i, column] = name(f"{total} * {a[i, i]}")
    return b


def _identity(n: int) -> Lanes:
    made = np.full((n, n), NONE, object)
    np.fill_diagonal(made, ONE)
    return made


def _eliminate(a: Lanes, b: Lanes, name: Write, refuse: Refuse | None) -> list[str]:
    """The upper triangle of `a`, with reciprocal pivots on its diagonal where singular ones are refused.

    `b` goes through the same steps. The conditions by which rows were swapped are returned.
    """
    n = len(a)
    swapped: list[str] = []
    for k in range(n):
        for i in range(k + 1, n):
            larger = name(f"abs_f8({a[i, k]}) > abs_f8({a[k, k]})")
            swapped.append(larger)
            for rows in (a[:, k:], b):
                for j in range(rows.shape[1]):
                    upper, lower = rows[k, j], rows[i, j]
                    if upper != lower:
                        rows[k, j] = name(f"select({larger}, {lower}, {upper})")
                        rows[i, j] = name(f"select({larger}, {upper}, {lower})")
        pivot = a[k, k]
        if refuse is not None:
            refuse(f"{pivot} == {NONE}")
        if refuse is None and k == n - 1:
            continue
        inverse = name(f"{ONE} / {pivot}")
        for i in range(k + 1, n):
            factor = name(f"{a[i, k]} * {inverse}")
            for rows in (a[:, k + 1 :], b):
                for j in range(rows.shape[1]):
                    rows[i, j] = name(f"{rows[i, j]} - {factor} * {rows[k, j]}")
        if refuse is not None:
            a[k, k] = inverse
    return swapped


def _determinant(a: Lanes, swapped: list[str], name: Write) -> str:
    """The product of the pivots, 0 where one is; each swap changes its sign."""
    total = str(a[0, 0])
    singular = name(f"{total} == {NONE}")
    for k in range(1, len(a)):
        singular = name(f"{singular} | ({a[k, k]} == {NONE})")
        total = name(f"{total} * {a[k, k]}")
    for larger in swapped:
        total = name(f"select({larger}, -{total}, {total})")
    return name(f"select({singular}, {NONE}, {total})")


def _cholesky(a: Lanes, name: Write, refuse: Refuse) -> Lanes:
    """L with `L @ L.T = a`, of which the lower triangle is read."""
    n = len(a)
    made = np.full((n, n), NONE, object)
    for j in range(n):
        inverse = ""
        for i in range(j, n):
            total = a[i, j]
            for k in range(j):
                total = name(f"{total} - {made[i, k]} * {made[j, k]}")
            if i == j:
                refuse(f"not ({total} > {NONE})")
                made[j, j] = name(f"sqrt_f8({total})")
                inverse = name(f"{ONE} / {made[j, j]}")
            else:
                made[i, j] = name(f"{total} * {inverse}")
    return made
