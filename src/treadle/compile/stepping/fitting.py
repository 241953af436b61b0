"""Which loops become one kernel of scalar work: by what their bodies hold, and how long the loops inside take."""

from __future__ import annotations

from collections.abc import Callable

from treadle.compile.fusion.items import REDUCTIONS, in_kernel
from treadle.compile.stepping import lanes, tables
from treadle.control.loop import joined_name
from treadle.core.graph import Graph, Node
from treadle.core.spec import Spec

TINY = 4  # elements of a tensor that take longer in a loop of their own than one by one
INNER = 1 << 16  # steps that the loops inside may take in one iteration


def _scalar(spec: Spec) -> bool:
    return spec.shape == () and in_kernel(spec)


def _work(graph: Graph, fits: Callable[[Spec], bool], opened: bool) -> int | None:
    """How many lines the work of a graph takes; None where a kernel cannot hold it. opened: see `is_scalar_node`."""
    if not all(fits(s.spec) for s in graph.inputs):
        return None
    total = 0
    for node in graph.nodes:
        lines = _lines(node, fits, opened)
        if lines is None:
            return None
        total += lines
    return total


def _lines(node: Node, fits: Callable[[Spec], bool], opened: bool) -> int | None:
    """How many lines a node takes; None where a kernel cannot hold it."""
    if not all(fits(s.spec) for s in (*node.inputs, *node.outputs)):
        return None
    if node.op in ("cond", "while"):
        if node.op == "while" and (node.attrs["layout"].xs or _stacks(node) or not (opened or steps_inside(node))):
            return None
        parts = [_work(inner, fits, opened) for _, inner in node.graphs()]
        return None if None in parts else sum(lines for lines in parts if lines) + 2 * lanes.size_of(node.outputs)
    if node.op == "assert":
        return 1 if len(node.inputs) == 1 else None
    return lanes.lines_of(node)


def is_scalar_node(node: Node, opened: bool = False) -> bool:
    """Whether a node is scalar work that a kernel can hold; opened: also loops that may stop half-way."""
    return _lines(node, _scalar, opened) is not None


def steps_inside(node: Node) -> int:
    """The steps of a loop and of those inside it; 0 where they are not known or too many to be taken at one go."""
    steps = node.attrs["steps"]
    if not isinstance(steps, int) or any(n.op == "while" and not steps_inside(n) for n in node.attrs["body"].walk()):
        return 0
    total = max(steps, 1) * (1 + inner_steps(node.attrs["body"]))
    return total if total <= INNER else 0


def inner_steps(graph: Graph) -> int:
    """How many steps the loops in a graph take."""
    inner = [steps_inside(node) or inner_steps(node.attrs["body"]) for node in graph.nodes if node.op == "while"]
    inner += [inner_steps(g) for node in graph.nodes if node.op == "cond" for _, g in node.graphs()]
    return sum(inner)


def _stacks(node: Node) -> int:
    stacks: int = len(node.attrs["body"].outputs) - node.attrs["layout"].carry
    return stacks


def is_scalar_loop(node: Node, fits: Callable[[Spec], bool] = _scalar) -> bool:
    """Whether a loop node can become one kernel: scalar carry and work; xs and stacks of scalars with known length."""
    if node.op != "while":
        return False
    _, carry, consts, _ = node.attrs["layout"].parts(node.inputs)
    if not all(fits(s.spec) for s in (*carry, *consts)) or not _rows_fit(node):
        return False
    parts = [_work(graph, fits, True) for _, graph in node.graphs()]
    return None not in parts and sum(lines for lines in parts if lines) <= lanes.LINES


def _rows_fit(node: Node) -> bool:
    """Whether a kernel can read a loop's rows and write its stacks."""
    layout = node.attrs["layout"]
    body: Graph = node.attrs["body"]
    rows = (*body.inputs[layout.carry + layout.consts :], *body.outputs[layout.carry :])
    if not all(in_kernel(s.spec) for s in rows) or any(joined_name(s) is not None for s in rows):
        return False
    ends = node.attrs["test"] is not None and (node.attrs["reverse"] or layout.xs)
    return isinstance(node.attrs["steps"], int) or not (_stacks(node) and ends)


def is_small_loop(node: Node) -> bool:
    """Whether a loop node can become one kernel with its small tensors in registers."""
    return is_scalar_loop(node, lanes.is_small)


def is_tiny_loop(node: Node) -> bool:
    """Whether a loop sums over tensors so small that a loop over their elements would cost more than its work."""
    if node.op != "while" or not any(inner.op in REDUCTIONS for inner in node.attrs["body"].nodes):
        return False  # without sums one kernel serves all sizes, and is there already
    return is_scalar_loop(node, lambda spec: lanes.is_small(spec) and spec.size <= TINY)


def is_table_loop(node: Node) -> bool:
    """Whether a loop node can become one kernel with arrays of which it reads and replaces elements."""
    return table_flags(node) is not None


def table_flags(node: Node) -> list[bool] | None:
    """Which inputs of a loop's body are arrays in memory; None where no kernel can hold the loop.

    Small tensors are where elements of them are all that is wanted; where more is, they are values in registers.
    """
    if node.op != "while" or not _rows_fit(node):
        return None
    body: Graph = node.attrs["body"]
    first = [tables.as_table(node, k) for k in range(len(body.inputs))]
    large = [flag and not lanes.is_small(s.spec) for flag, s in zip(first, body.inputs, strict=True)]
    for flags in (first, large) if first != large else (first,):
        if _walks(node, flags):
            return flags
    return None


def _walks(node: Node, flags: list[bool]) -> bool:
    """Whether a kernel can hold a loop with these arrays in memory."""
    layout = node.attrs["layout"]
    body: Graph = node.attrs["body"]
    held = layout.carry + layout.consts
    if not all(in_kernel(s.spec) for s in body.inputs[:held]):
        return False
    roots = [(k if k < layout.carry else tables.READ) if flag else None for k, flag in enumerate(flags)]
    walk = tables.Walk()
    test = node.attrs["test"]
    if test and walk.graph(test, [r if r is None else tables.READ for r in roots[:held]]) is None:
        return False
    ends = walk.graph(body, roots)
    if ends is None or ends != [*roots[: layout.carry], *[None] * _stacks(node)]:
        return False
    small = all(lanes.is_small(s.spec) for s, end in zip(body.outputs, ends, strict=True) if end is None)
    return small and walk.lines <= lanes.LINES
