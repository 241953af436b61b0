"""Sums of matrix products: one is added to the other's result, or to the variable that it updates, as it is made.

`a @ b + c @ d` and `w - rate * (x.T @ g)` then write and read one matrix less. A product is summed by itself before it
is added, so that the sum is as exact as before: only the rounding of the product, and of its multiple, is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from treadle.core.graph import Graph, Node
from treadle.core.op import REGISTRY, Op
from treadle.core.tensor import Symbol
from treadle.optimize.sweep import Kinds, Step, Sweep

_PRODUCTS = ("matmul", "matmul_add")
# Numbers of a result from which a product is worth it: kernels for less do not add, and what is saved would be nothing.
SMALLEST = 1 << 10


def _onto(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
    """The product of one operand added to the other, where that is a product too or dies here."""
    x, y = node.inputs
    if x.shape != y.shape or x.dtype != y.dtype or not _fits(x):
        return None
    for old, term, sign in _orders(node):
        made = sweep.made.get(old)
        if made is None:
            if not _becomes(sweep.graph, old, node):
                continue
        elif made.op not in _PRODUCTS or sweep.uses(old) != 1:
            continue
        found = _multiple(sweep, term)
        if found is not None:
            product, factor = found
            sweep.counts["product added to a product" if made is not None else "product added to a variable"] += 1
            attrs = {**product.attrs, "alpha": sign * factor}
            return (sweep.emit(REGISTRY["matmul_add"], (old, *product.inputs), attrs, node),)
    return None


def _fits(x: Symbol) -> bool:
    return (
        x.dtype.kind == "f"
        and x.dtype.itemsize in (4, 8)
        and x.spec.static
        and 2 <= len(x.shape) <= 4
        and x.spec.size >= SMALLEST
        and 1 not in x.shape[-2:]
    )


def _orders(node: Node) -> Iterator[tuple[Symbol, Symbol, float]]:
    """To what something may be added, what, and with which sign."""
    x, y = node.inputs
    if node.op == "subtract":
        yield x, y, -1.0
    else:
        yield x, y, 1.0
        yield y, x, 1.0


def _multiple(sweep: Sweep, term: Symbol) -> tuple[Node, float] | None:
    """The product, and the number, that a value is a multiple by, where nothing else reads either."""
    made = sweep.made.get(term)
    if made is None or sweep.uses(term) != 1:
        return None
    if made.op == "matmul":
        return (made, 1.0) if all(s.spec.size for s in made.inputs) else None
    if made.op == "multiply":
        for x, y in (made.inputs, made.inputs[::-1]):
            number = sweep.uniform(y)
            if number is not None and np.isfinite(number) and number != 0 and x.shape == term.shape:
                found = _multiple(sweep, x)
                return None if found is None or found[1] != 1 else (found[0], float(number))
    return None


def _becomes(graph: Graph, old: Symbol, node: Node) -> bool:
    """Whether the sum is what a variable, or a carried value, is after it has been `old`."""
    pairs = [(slot.input, slot.output) for slot in graph.state if slot.output is not None]
    if not graph.state:
        pairs = [(k, k) for k in range(min(len(graph.inputs), len(graph.outputs)))]
    for source, output in pairs:
        if graph.inputs[source] is old:
            made = graph.outputs[output].node
            return made is not None and made.name == node.name and made.op == node.op
    return False


def _may(op: Op, before: Kinds, same: bool) -> bool:
    """Whether operands can be what is added, and what it is added to."""
    return not same and any(kind in ("matmul", "multiply") for kind in before)


accumulate = Step(_onto, frozenset(("add", "subtract")), may=_may)


def worth(graph: Graph) -> bool:
    """Whether a sum of the graph has an operand that may be a product."""
    for node in graph.nodes:
        if node.op in ("add", "subtract"):
            for symbol in node.inputs:
                made = symbol.node
                if made is not None and (made.op == "matmul" or (made.op == "multiply" and _of_product(made))):
                    return True
        elif node.op in ("while", "cond") and any(worth(inner) for _, inner in node.graphs()):
            return True
    return False


def _of_product(node: Node) -> bool:
    return any(s.node is not None and s.node.op == "matmul" for s in node.inputs)
