"""How nodes that are no elementwise work are laid out without Python: one function an op, imported when it is met."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from treadle.compile.fusion.items import DRAWS, in_kernel
from treadle.compile.views import View
from treadle.config import config
from treadle.core.graph import Node
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Way = Callable[["Lowerer", Node, dict[Symbol, View], dict[Symbol, View]], bool]

# op -> module (of moves, where no room is named) and function; that gives False for values that no kernel can hold.
WAYS: dict[str, tuple[str, str]] = {
    "argmax": ("positions", "lower_position"),
    "argmin": ("positions", "lower_position"),
    "gather": ("gathers", "lower_gather"),
    "scatter": ("gathers", "lower_scatter"),
    "take_along_axis": ("gathers", "lower_take_along"),
    "add_along_axis": ("gathers", "lower_add_along"),
    "dynamic_slice": ("gathers", "lower_dynamic_slice"),
    "dynamic_update_slice": ("gathers", "lower_dynamic_update"),
    "fold": ("gathers", "lower_fold"),
    "block_max": ("blocks", "lower_block_max"),
    "block_share": ("blocks", "lower_block_share"),
    "concat": ("copies", "lower_concat"),
    "pad_slice": ("copies", "lower_pad_slice"),
    "set_slice": ("copies", "lower_set_slice"),
    "cumsum": ("scans", "lower_scan"),
    "cumprod": ("scans", "lower_scan"),
    "cummax": ("scans", "lower_scan"),
    "cummin": ("scans", "lower_scan"),
    "logcumsumexp": ("scans", "lower_scan"),
    "arange": ("ranges", "lower_range"),
    "linspace": ("ranges", "lower_range"),
    "eye": ("ranges", "lower_eye"),
    **dict.fromkeys(
        ("random_uniform", "random_exponential", "random_normal", "random_integers"), ("randoms", "lower_draw")
    ),
    "random_permutation": ("randoms", "lower_permutation"),
    "sort": ("sorts", "lower_sort"),
    "argsort": ("sorts", "lower_argsort"),
    **dict.fromkeys(
        ("add", "subtract", "multiply", "divide", "square", "negative", "conj", "real", "imag", "abs", "astype"),
        ("complexes", "lower_complex"),
    ),
    "isin": ("members", "lower_isin"),
    "searchsorted": ("searches", "lower_searchsorted"),
    **dict.fromkeys(("det", "slogdet", "inv", "cholesky", "eigh"), ("matrix.factorizing", "lower_square")),
    "solve": ("matrix.factorizing", "lower_solve"),
    "svd": ("matrix.factorizing", "lower_svd"),
    "qr": ("matrix.factorizing", "lower_qr"),
    "matmul_add": ("matrix.products", "lower_accumulated"),
    "pinv": ("matrix.factorizing", "lower_pinv"),
    "matrix_rank": ("matrix.factorizing", "lower_rank"),
}


@cache
def way(op: str) -> Way | None:
    """The function that lays out an op, or None."""
    found = WAYS.get(op)
    if found is None:
        return None
    place = found[0] if "." in found[0] else f"moves.{found[0]}"
    function: Any = getattr(importlib.import_module(f"treadle.compile.{place}"), found[1])
    return function  # type: ignore[no-any-return]


# Ops whose kernels can take any values that kernels hold, and check nothing.
SURE = {"concat", "pad_slice", "set_slice", "cumsum", "cumprod", "eye", "random_uniform", "random_exponential"}
SURE |= {"random_normal", "cummax", "cummin", "logcumsumexp"}
# Ops that change a few elements of their first input, and can do so in its place.
UPDATES = {"scatter", "set_slice", "dynamic_update_slice"}


def _in_kernels(node: Node) -> bool:
    values = (*node.inputs, *node.outputs)
    return all(in_kernel(s.spec) and s.dtype.kind in "iuf" and 0 not in s.shape for s in values)


def never_fails(node: Node) -> bool:
    """Whether a node is surely laid out as kernels that report nothing."""
    if node.op in ("matmul", "matmul_add"):  # two axes of batches always fit a product
        return _in_kernels(node) and all(2 <= len(s.shape) <= 4 for s in node.inputs)
    apart = node.op in DRAWS and config.compiler == "numba"  # Python draws, see `moves.randoms`
    return node.op in SURE and not apart and _in_kernels(node)


def updates_in_place(node: Node) -> bool:
    """Whether a node's kernel may write its result over its first input, which nothing else reads."""
    return (node.op in UPDATES or node.op == "matmul_add") and _in_kernels(node)
