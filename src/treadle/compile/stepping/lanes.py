"""Small tensors in a loop's kernel: each element is a value of its own, in a register. A tensor is an array of names.

What only moves elements (slices, reshapes, joins) then writes nothing: NumPy moves the names.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from treadle.compile.fusion.emit import code, expression
from treadle.compile.fusion.items import DRAWS, REDUCTIONS, in_kernel, is_elementwise
from treadle.compile.fusion.reduce import combine, identity, update_line
from treadle.compile.stepping import few_draws, small_matrices
from treadle.core.graph import Node
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol
from treadle.records import dataclass

INDICES = 4  # at most so many at once
MOST = 36  # elements of a tensor whose elements are values of their own
LINES = 600  # lines that a kernel's body may have: more would take long to compile

Lanes = np.ndarray[Any, Any]  # of strings, in the tensor's shape
Write = Callable[[str], str]  # gives an expression a name of its own

# Ops that only move elements, beside the views.
_MOVES = frozenset({"concat", "set_slice", "pad_slice"})
_MADE = frozenset({"full", "eye", "arange", "linspace"})  # known before the loop runs
_POSITIONS = frozenset({"argmax", "argmin"})
_VIEWS = frozenset({"reshape", "transpose", "broadcast_to", "slice", "stop_gradient", "identity"})


def is_small(spec: Spec) -> bool:
    """Whether a tensor's elements can be values of their own."""
    return in_kernel(spec) and spec.size <= MOST


def lines_of(node: Node) -> int | None:
    """How many lines a node of small tensors is; None where it cannot be written so."""
    if not all(is_small(s.spec) for s in (*node.inputs, *node.outputs)):
        return None
    size: int = node.outputs[0].spec.size if node.outputs else 0
    if node.op in _VIEWS or node.op in _MOVES or node.op in _MADE or node.op == "constant":
        return 0
    if is_elementwise(node):
        return size
    if node.op in REDUCTIONS:
        same = node.inputs[0].dtype == node.outputs[0].dtype
        return int(node.inputs[0].spec.size) if same else None
    if node.op in _POSITIONS:
        whole = int(node.inputs[0].spec.size)
        return 3 * whole if whole and node.inputs[0].dtype.kind in "iuf" else None
    if node.op == "matmul":
        return size * max(map(int, node.inputs[0].shape))
    if node.op in DRAWS:
        return few_draws.lines_of(node)
    if node.op in ("gather", "scatter"):
        lines = accesses(node)
        picked = int((node.inputs[1] if node.op == "scatter" else node.outputs[0]).spec.size)
        return None if lines is None else lines + 2 * picked * int(node.inputs[0].spec.size)
    return small_matrices.lines_of(node) if node.op in small_matrices.OPS else None


def accesses(node: Node) -> int | None:
    """How many lines it takes to find the elements of a gather or a scatter; None where its indices do not fit."""
    part, *indices = (node.outputs[0], *node.inputs[1:]) if node.op == "gather" else node.inputs[1:]
    axes = node.attrs["axes"]
    if len(axes) > INDICES or not is_small(part.spec):
        return None
    if any(not is_small(s.spec) or code(s.dtype) not in ("i4", "i8") for s in indices):
        return None
    shape = [int(size) for size in node.inputs[0].shape]
    common = np.broadcast_shapes(*[tuple(map(int, s.shape)) for s in indices])
    rest = [size for axis, size in enumerate(shape) if axis not in axes]
    position = node.attrs["position"]
    if tuple(map(int, part.shape)) != (*rest[:position], *common, *rest[position:]):
        return None  # one update for many elements
    return 5 * len(axes) * math.prod(common) + int(part.spec.size)


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a small tensor: on each axis a number, or the name of one."""

    at: tuple[int | str, ...]


def indices(shape: Sequence[int], given: Mapping[int, str], sizes: Sequence[str]) -> Lanes:
    """Elements of a small tensor by their indices on all axes, in the shape of the axes without a given one."""
    made = np.empty([size for axis, size in enumerate(shape) if axis not in given], object)
    for index in np.ndindex(*made.shape):
        rest = iter(index)
        at = [given[axis] if axis in given else next(rest) for axis in range(len(shape))]
        made[index] = Element(tuple(at))
    return made


def _hits(shape: Sequence[int], element: Element) -> list[tuple[tuple[int, ...], str]]:
    """The elements that an index may mean, each with the text of whether it does; none: it surely does."""
    found = []
    for place in np.ndindex(*shape):
        asked = [(i, k) for i, k in zip(element.at, place, strict=True) if i != k]
        if all(isinstance(i, str) for i, _ in asked):
            found.append((place, " & ".join([f"({i} == {k})" for i, k in asked])))
    return found


def chosen(node: Node, values: Lanes, places: Lanes, name: Write) -> Lanes:
    """The elements of a small tensor that a gather picks."""
    return picked(values, places, name).reshape(tuple(map(int, node.outputs[0].shape)))


def picked(values: Lanes, places: Lanes, name: Write) -> Lanes:
    """Elements of a small tensor: one after the other is selected."""

    def pick(place: Any) -> str:
        (first, _), *others = _hits(values.shape, place)
        text = str(values[first])
        for element, hit in others:
            text = name(f"select({hit}, {values[element]}, {text})")
        return text

    return each(places, pick)


def replaced(node: Node, values: Lanes, places: Lanes, updates: Lanes, name: Write) -> Lanes:
    """A small tensor after a scatter."""
    made, new = values.copy(), np.broadcast_to(updates, places.shape)
    out = node.outputs[0]
    line = update_line(node.attrs["mode"], code(out.dtype))
    for place in np.ndindex(*places.shape):
        for element, hit in _hits(values.shape, cast(Element, places[place])):
            text = line((made[element], str(new[place]))).partition(" = ")[2]
            changed = f"{code(out.dtype)}({text})"
            made[element] = name(f"select({hit}, {changed}, {made[element]})" if hit else changed)
    return made


def write(node: Node, values: Sequence[Lanes], name: Write, literal: Callable[[np.ndarray[Any, Any]], str]) -> Lanes:
    """The elements of a node's result. `name` names an expression; `literal` is the text of a number."""
    (out,) = node.outputs
    shape = tuple(map(int, out.shape))
    if node.op in _VIEWS or node.op in _MOVES:
        moved = np.asarray(node.definition.body(*values, **node.attrs), object).reshape(shape)
        if node.op == "pad_slice":
            zero = literal(np.zeros((), out.dtype))
            moved = each(moved, lambda x: x if isinstance(x, str) else zero)
        return moved
    if node.op in _MADE:
        return constant(np.asarray(node.definition.body(**node.attrs)), literal)
    if node.op in REDUCTIONS:
        return _reduced(node, values[0], name).reshape(shape)
    if node.op in _POSITIONS:
        return _positions(node, values[0], name).reshape(shape)
    if node.op == "matmul":
        return _product(node, values[0], values[1], name).reshape(shape)
    spread = [np.broadcast_to(v, shape) for v in values]
    made = np.empty(shape, object)
    for index in np.ndindex(*shape):
        made[index] = name(element(node, [str(v[index]) for v in spread]))
    return made


def element(node: Node, values: Sequence[str]) -> str:
    """The text of an elementwise op on scalars; which zero is the smaller is left open, which saves branches."""
    (out,) = node.outputs
    if node.op in ("minimum", "maximum") and out.dtype.kind == "f":
        return f"{'bottom' if node.op == 'minimum' else 'top'}_{code(out.dtype)}({', '.join(values)})"
    return expression(node, list(values))


def constant(array: np.ndarray[Any, Any], literal: Callable[[np.ndarray[Any, Any]], str]) -> Lanes:
    """The elements of a constant."""
    made = np.empty(array.shape, object)
    for index in np.ndindex(*array.shape):
        made[index] = literal(np.asarray(array[index]))
    return made


def named(spec: Spec, name: str) -> Lanes:
    """Names for a value's elements: the name itself for a scalar, numbered ones otherwise."""
    if not spec.shape:
        return _filled((), name)
    count = itertools.count()
    return each(np.empty(spec.shape, object), lambda _: f"{name}_{next(count)}")


def flat(values: Sequence[Any]) -> list[str]:
    """All elements of some values, in order; tables have none."""
    return [x for v in values if isinstance(v, np.ndarray) for x in v.reshape(-1)]


def size_of(symbols: Sequence[Symbol]) -> int:
    """How many elements some values have."""
    return sum(int(s.spec.size) for s in symbols)


def kinds(values: Sequence[Any], symbols: Sequence[Symbol]) -> list[str]:
    """The kinds of all elements of some values, which are those of these symbols."""
    pairs = zip(values, symbols, strict=True)
    return [code(s.dtype) for v, s in pairs if isinstance(v, np.ndarray) for _ in range(v.size)]


def each(array: Lanes, f: Callable[[Any], Any]) -> Lanes:
    """What a function makes of each element."""
    made = np.empty(array.shape, object)
    for index in np.ndindex(*array.shape):
        made[index] = f(array[index])
    return made


def _filled(shape: tuple[int, ...], text: str) -> Lanes:
    made = np.empty(shape, object)
    made[...] = text
    return made


def _rows(values: Lanes, axes: Sequence[int]) -> Lanes:
    """A tensor with those axes as one, the last."""
    kept = [k for k in range(values.ndim) if k not in axes]
    outer = tuple(values.shape[k] for k in kept)
    return values.transpose([*kept, *axes]).reshape(*outer, math.prod(values.shape[k] for k in axes))


def _positions(node: Node, values: Lanes, name: Write) -> Lanes:
    """Where the first largest, or smallest, element of each row is; a NaN beats everything."""
    rows = _rows(values, node.attrs["axes"])
    made = np.empty(rows.shape[:-1], object)
    sign, floats = ">" if node.op == "argmax" else "<", node.inputs[0].dtype.kind == "f"
    for index in np.ndindex(*made.shape):
        best, *others = rows[index]
        at = "i8(0)"
        for k, value in enumerate(others, 1):
            beats = f"{value} {sign} {best}"
            better = name(f"({beats}) | (({value} != {value}) & ({best} == {best}))" if floats else beats)
            best = name(f"select({better}, {value}, {best})")
            at = name(f"select({better}, i8({k}), {at})")
        made[index] = at
    return made


def _reduced(node: Node, values: Lanes, name: Write) -> Lanes:
    """Elements combined along axes, from the first on."""
    rows = _rows(values, node.attrs["axes"])
    made = np.empty(rows.shape[:-1], object)
    dtype = node.outputs[0].dtype
    for index in np.ndindex(*made.shape):
        row = list(rows[index]) or [identity(node.op, dtype)]
        total = row[0]
        for value in row[1:]:
            total = name(combine(node.op, dtype, total, value))
        made[index] = total
    return made


def _product(node: Node, a: Lanes, b: Lanes, name: Write) -> Lanes:
    """A matrix product; a vector counts as a row on the left, as a column on the right."""
    left = a.swapaxes(-1, -2) if node.attrs["transpose_a"] else a.reshape(1, -1) if a.ndim == 1 else a
    right = b.swapaxes(-1, -2) if node.attrs["transpose_b"] else b.reshape(-1, 1) if b.ndim == 1 else b
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    left = np.broadcast_to(left, (*batch, *left.shape[-2:]))
    right = np.broadcast_to(right, (*batch, *right.shape[-2:]))
    dtype = node.outputs[0].dtype
    kind = code(dtype)
    made = np.empty((*batch, left.shape[-2], right.shape[-1]), object)
    for index in np.ndindex(*made.shape):
        *outer, i, j = index
        total = ""
        for k in range(left.shape[-1]):
            term = f"{kind}({left[(*outer, i, k)]} * {right[(*outer, k, j)]})"
            total = name(term if not total else combine("sum", dtype, total, term))
        made[index] = total or identity("sum", dtype)
    return made
