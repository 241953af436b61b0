"""Groups of one made-up node: copies of values, and what combines the partial results of a reduction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from treadle.compile.build import Source
from treadle.compile.fuse import Group
from treadle.compile.kernels import GroupKernel
from treadle.compile.views import Buffer, View
from treadle.core.graph import Node
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol
from treadle.ops.convert import astype_op


def name_of(group: Group) -> str:
    """A kernel's name for people: what it does, shortened."""
    ops = [node.op for node in group.nodes]
    return "_".join(ops[:4]) + ("_etc" if len(ops) > 4 else "")


def copy_node(view: View) -> Node:
    """A node that copies a value, for a kernel of its own."""
    spec = Spec(view.shape, view.dtype)
    source = Symbol(spec, None, "source")  # type: ignore[arg-type]
    node = Node(astype_op, (source,), {"dtype": view.dtype}, "copy", None)
    made = Symbol(spec, None, "copy", node)  # type: ignore[arg-type]
    node.outputs = (made,)
    return node


def combine_node(op: Any, partial: View) -> Node:
    """A node that reduces partial results."""
    source = Symbol(Spec(partial.shape, partial.dtype), None, "partials")  # type: ignore[arg-type]
    node = Node(op, (source,), {"axes": (0,), "keepdims": False}, "combine", None)
    made = Symbol(Spec((), partial.dtype), None, "combined", node)  # type: ignore[arg-type]
    node.outputs = (made,)
    return node


def combining(results: Mapping[Symbol, View]) -> list[Source]:
    """The kernels that larger sizes will need to combine partial results."""
    found = []
    for symbol, target in results.items():
        assert symbol.node is not None
        partial = View(target.buffer, (2,), target.dtype, (1,))
        node = combine_node(symbol.node.definition, partial)
        end = View(Buffer("arena", None, 0), (), target.dtype, ())
        group = Group((2,), [node], axes=(0,))
        kernel = GroupKernel(group, lambda s, p=partial: p, {}, {node.outputs[0]: end})  # type: ignore[misc]
        found.append(Source(name_of(group), kernel.write().text.key))
    return found
