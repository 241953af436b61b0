"""Groups of one made-up node: copies of values, and what combines the partial results of a reduction."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from treadle.compile.cost import BAND_ROWS, MANY_PARTS
from treadle.compile.fusion.items import Group
from treadle.compile.fusion.kernels import GroupKernel
from treadle.compile.llvm.build import Source
from treadle.compile.views import Buffer, View, contiguous_strides
from treadle.core.graph import Node
from treadle.core.op import Op
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol
from treadle.ops.convert import astype_op


def name_of(group: Group) -> str:
    """A kernel's name for people: what it does, shortened."""
    ops = [node.op for node in group.nodes]
    return "_".join(ops[:4]) + ("_etc" if len(ops) > 4 else "")


def copy_node(view: View, dtype: np.dtype[Any] | None = None) -> Node:
    """A node that copies a value, or converts it, for a kernel of its own."""
    to = view.dtype if dtype is None else dtype
    source = Symbol(Spec(view.shape, view.dtype), None, "source")  # type: ignore[arg-type]
    node = Node(astype_op, (source,), {"dtype": to}, "copy", None)
    made = Symbol(Spec(view.shape, to), None, "copy", node)  # type: ignore[arg-type]
    node.outputs = (made,)
    return node


def copy_group(view: View) -> tuple[Group, Symbol, Symbol]:
    """A group that copies a value: itself, what it reads and what it makes."""
    node = copy_node(view)
    group = Group(view.shape, [node], made={node.outputs[0]})
    return group, node.inputs[0], node.outputs[0]


def cast_group(view: View, dtype: np.dtype[Any]) -> tuple[Group, Symbol, Symbol]:
    """A group that converts a value: itself, what it reads and what it makes."""
    node = copy_node(view, dtype)
    group = Group(view.shape, [node], made={node.outputs[0]})
    return group, node.inputs[0], node.outputs[0]


def combine_group(op: Any, partial: View) -> tuple[Group, Symbol]:
    """A group that reduces partial results over their first axis, and what it makes."""
    source = Symbol(Spec(partial.shape, partial.dtype), None, "partials")  # type: ignore[arg-type]
    node = Node(op, (source,), {"axes": (0,), "keepdims": False}, "combine", None)
    made = Symbol(Spec(partial.shape[1:], partial.dtype), None, "combined", node)  # type: ignore[arg-type]
    node.outputs = (made,)
    group = Group(partial.shape, [node], across=frozenset({(0,)}), made={made}, ends={made})
    group.banded = len(partial.shape) > 1 and partial.shape[0] > MANY_PARTS
    group.band = BAND_ROWS
    return group, made


def combining(ends: Mapping[Symbol, View], ranks: Mapping[Symbol, int]) -> list[Source]:
    """The kernels that larger sizes will need to combine partial results of one or two axes."""
    found = []
    for symbol, target in ends.items():
        assert symbol.node is not None
        found.append(combining_of(symbol.node.definition, target.dtype, 1 if ranks[symbol] == 1 else 2))
    return found


@functools.cache
def combining_of(op: Op, dtype: np.dtype[Any], rank: int) -> Source:
    """The kernel that reduces partial results of so many axes over their first."""
    shape = (2,) * rank
    partial = View(Buffer("arena", None, 0), shape, dtype, contiguous_strides(shape))
    group, made = combine_group(op, partial)
    end = View(Buffer("arena", None, 0), shape[1:], dtype, contiguous_strides(shape[1:]))
    kernel = GroupKernel(group, lambda s: partial, {}, {made: end})
    return Source(name_of(group), kernel.write().text.key)
