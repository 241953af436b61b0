"""Inverses, determinants and factorizations laid out as calls of LAPACK, with kernels for what is left to do."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from treadle.compile.fusion.emit import Kernel, Text, code
from treadle.compile.matrix import small_batches
from treadle.compile.matrix.lapack import DOUBLE, Work, loop_of
from treadle.compile.matrix.products import lower_matmul
from treadle.compile.views import View
from treadle.core.dim import is_static
from treadle.core.graph import Node
from treadle.core.op import REGISTRY
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]


def _fits(node: Node, *loops: tuple[str, str]) -> bool:
    """Whether values are real, of known sizes, none of them empty, and the loops are where they are expected."""
    values = (*node.inputs, *node.outputs)
    plain = all(is_static(s.shape) and 0 not in s.shape and s.dtype.kind in "fi" for s in values)
    return plain and all(s.dtype.kind == "f" for s in node.inputs) and all(loop_of(*loop) for loop in loops)


def lower_square(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """det, slogdet, inv, cholesky, eigh: one operand, square matrices."""
    name, ends, work = {
        "det": ("det", (0,), 1),
        "slogdet": ("slogdet", (0, 0), 1),
        "inv": ("inv", (2,), 3),
        "cholesky": ("cholesky_lo", (2,), 1),
        "eigh": ("eigh_lo", (1, 2), 20),
    }[node.op]
    if small_batches.worth(node):
        return small_batches.lower(lowerer, node, env, targets)
    if not _fits(node, (name, "d->" + "d" * len(ends))):
        return False
    going = Work(lowerer, node, env, targets)
    n = going.sources[0].shape[-1]
    operands = [going.input(0), *[going.output(k) for k in range(len(ends))]]
    going.call(name, operands, (2, *ends), (n,), work * n**3 + 500)
    return going.done()


def lower_solve(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """solve, of batches that agree."""
    if small_batches.worth(node):
        return small_batches.lower(lowerer, node, env, targets)
    a, b = node.inputs
    if not _fits(node, ("solve", "dd->d")) or a.shape[:-2] != b.shape[:-2]:
        return False
    going = Work(lowerer, node, env, targets)
    n, columns = going.sources[1].shape[-2:]
    operands = [going.input(0), going.input(1), going.output(0)]
    going.call("solve", operands, (2, 2, 2), (n, columns), n**3 + n * n * columns + 500)
    return going.done()


def lower_svd(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """U, S and Vh."""
    name = "svd_f" if node.attrs["full_matrices"] else "svd_s"
    if not _fits(node, (name, "d->ddd")):
        return False
    going = Work(lowerer, node, env, targets)
    m, n = going.sources[0].shape[-2:]
    sizes = (m, n) if name == "svd_f" else (m, n, min(m, n))
    operands = [going.input(0), *[going.output(k) for k in range(3)]]
    going.call(name, operands, (2, 2, 1, 2), sizes, 40 * m * n * min(m, n) + 500)
    return going.done()


def _count_text(kind: str) -> Text:
    """How many of each row's `n` numbers, the largest first, are more than `rtol` times the first."""
    text = Text()
    for indent, line in (
        (0, "def kernel(args, lo, hi):"),
        (1, f"x = p_{kind}(args[0])"),
        (1, "y = p_i8(args[1])"),
        (1, "n = args[2]"),
        (1, f"rtol = p_{kind}(args[3])[0]"),
        (1, "for j in range(lo, hi):"),
        (2, "least = x[j * n] * rtol"),
        (2, "count = i8(0)"),
        (2, "for k in range(n):"),
        (3, "count = count + select(x[j * n + k] > least, i8(1), i8(0))"),
        (2, "y[j] = count"),
        (1, "return 0"),
    ):
        text.add(indent, line)
    return text


def lower_rank(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """matrix_rank: singular values alone, in the precision of the operand as NumPy has them, and a count."""
    x = node.inputs[0]
    if not _fits(node, ("svd", "d->d")):
        return False
    rtol = node.attrs["rtol"]
    if rtol is not None and np.ndim(rtol):
        return False
    going = Work(lowerer, node, env, targets)
    *batch, m, n = going.sources[0].shape
    values = going.temporary((*batch, min(m, n)))
    going.call("svd", [going.input(0), values], (2, 1), (m, n), 20 * m * n * min(m, n) + 500)
    if x.dtype != DOUBLE:
        rounded = going.temporary(values.shape, x.dtype)
        going.cast(values, rounded)
        values = rounded
    share = np.array(max(m, n) * np.finfo(x.dtype).eps if rtol is None else rtol, x.dtype)
    end = env[node.outputs[0]] = lowerer.fresh(node.outputs[0], targets)
    lowerer.call(Kernel(_count_text(code(x.dtype)), (values, end, min(m, n), share), end.size, 0), node.op)
    return going.done()


def _divide_text(kind: str) -> Text:
    """Columns of U over singular values of more than `rtol` times the largest; over others they are 0.

    They are compared as `kind`, since NumPy rounds them first.
    """
    text = Text()
    for indent, line in (
        (0, "def kernel(args, lo, hi):"),
        (1, "u = p_f8(args[0])"),
        (1, "s = p_f8(args[1])"),
        (1, "m = args[2]"),
        (1, "n = args[3]"),
        (1, f"rtol = p_{kind}(args[4])[0]"),
        (1, "for j in range(lo, hi):"),
        (2, f"least = {kind}(s[j // m * n]) * rtol"),
        (2, "for k in range(n):"),
        (3, "value = s[j // m * n + k]"),
        (3, f"u[j * n + k] = select({kind}(value) > least, u[j * n + k] / value, f8(0))"),
        (1, "return 0"),
    ):
        text.add(indent, line)
    return text


def lower_pinv(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """V times U over the singular values that count."""
    x, rtol = node.inputs[0], node.attrs["rtol"]
    if not _fits(node, ("svd_s", "d->ddd")) or (rtol is not None and np.ndim(rtol)):
        return False
    going = Work(lowerer, node, env, targets)
    *batch, m, n = going.sources[0].shape
    least = min(m, n)
    u, s, v = [going.temporary((*batch, *sizes)) for sizes in ((m, least), (least,), (least, n))]
    going.call("svd_s", [going.input(0), u, s, v], (2, 2, 1, 2), (m, n, least), 40 * m * n * least + 500)
    share = np.array(max(m, n) * np.finfo(x.dtype).eps if rtol is None else rtol, x.dtype)
    rows = u.size // least
    lowerer.call(Kernel(_divide_text(code(x.dtype)), (u, s, m, least, share), rows, 0), node.op)
    _product(lowerer, _turned(v), _turned(u), going.output(0))
    return going.done()


def _turned(view: View) -> View:
    """The transposes of matrices."""
    (*batch, m, n), (*steps, down, along) = view.shape, view.strides
    return View(view.buffer, (*batch, n, m), view.dtype, (*steps, along, down), view.offset)


def _product(lowerer: Lowerer, a: View, b: View, end: View) -> None:
    """The product of matrices, as if a node asked for it."""
    left, right, made = [Symbol(Spec(v.shape, v.dtype), None, "factor") for v in (a, b, end)]  # type: ignore[arg-type]
    node = Node(REGISTRY["matmul"], (left, right), {}, "product", None)
    made.node, node.outputs = node, (made,)
    laid = lower_matmul(lowerer, node, {left: a, right: b}, {made: end})
    assert laid


def _triangle_text(kind: str) -> Text:
    """The upper triangles of the first `rows` rows of `n` numbers of matrices with `m` rows."""
    text = Text()
    for indent, line in (
        (0, "def kernel(args, lo, hi):"),
        (1, "a = args[0]"),
        (1, "b = args[1]"),
        (1, "m = args[2]"),
        (1, "rows = args[3]"),
        (1, "n = args[4]"),
        (1, "for j in range(lo, hi):"),
        (2, "i = j % rows"),
        (2, "x = p_f8(a + (j // rows * m + i) * n * 8)"),
        (2, f"y = p_{kind}(b + j * n * {kind[1]})"),
        (2, "for k in range(min_i8(i, n)):"),
        (3, f"y[k] = {kind}(0)"),
        (2, "for k in range(min_i8(i, n), n):"),
        (3, f"y[k] = {kind}(x[k])"),
        (1, "return 0"),
    ):
        text.add(indent, line)
    return text


def lower_qr(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """Householder vectors over a copy of the matrices, Q from them, and R from the upper triangles."""
    rows, columns = node.inputs[0].shape[-2:]
    full = node.attrs["mode"] == "complete" and bool(rows > columns)
    name = "qr_complete" if full else "qr_reduced"
    if not _fits(node, ("qr_r_raw", "d->d"), (name, "dd->d")):
        return False
    going = Work(lowerer, node, env, targets)
    *batch, m, n = going.sources[0].shape
    least, work = min(m, n), 4 * m * n * min(m, n) + 500
    raw, tau = going.input(0, own=True), going.temporary((*batch, least))
    going.call("qr_r_raw", [raw, tau], (2, 1), (m, n, least), work)
    going.call(name, [raw, tau, going.output(0)], (2, 1, 2), (m, n, least), work)
    r = env[node.outputs[1]] = lowerer.fresh(node.outputs[1], targets)
    text = _triangle_text(code(r.dtype))
    lowerer.call(Kernel(text, (raw, r, m, r.shape[-2], n), math.prod(r.shape[:-1]), 0), "qr_triangle")
    return going.done()
