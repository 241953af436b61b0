"""Products in the body of a scalar loop whose steps wait for each other: what no step changes is multiplied first.

`0.01 * (2 * v * x)` with x from outside the loop is three multiplications after v is known. `(0.02 * x) * v` is one,
and what stands in the brackets leaves the loop. The order of roundings changes by that, and nothing else: at most one
factor is not a number, and the numbers are of a size that brings its product with them near no end of the range unless
it is there itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from treadle.compile.fusion.items import is_scalar_constant
from treadle.core.graph import Graph, Node
from treadle.core.tensor import Symbol
from treadle.records import dataclass, field

SMALLEST, LARGEST = 2.0**-20, 2.0**4  # sizes that the product of all numbers may have


@dataclass(frozen=True, slots=True)
class Product:
    """number * held * changing; `held` is None where nothing but numbers is fixed."""

    number: np.ndarray[Any, Any]
    held: Symbol | None
    changing: Symbol

    def write(
        self,
        known: Callable[[Symbol], str],
        name: Callable[[str], str],
        literal: Callable[[np.ndarray[Any, Any]], str],
    ) -> str:
        """The name of the product. `known` gives a value's name, `name` gives an expression one."""
        factor = literal(self.number)
        if self.held is not None:
            factor = name(f"{factor} * {known(self.held)}")
        return name(f"{factor} * {known(self.changing)}")


@dataclass(slots=True)
class Products:
    """Nodes that are written as such products, and the multiplications inside them, which are not written at all."""

    roots: dict[Node, Product] = field(default_factory=dict)
    inside: set[Node] = field(default_factory=set)

    def find(self, body: Graph, fixed: Sequence[Symbol]) -> None:
        """Add those of a loop's body; `fixed` are its inputs that no step changes."""
        uses: Counter[Symbol] = Counter()
        uses.update((*body.outputs, *body.outputs))  # what a step hands on keeps its name
        for node in body.nodes:
            uses.update(node.inputs)
        own = set(body.nodes)
        for node in reversed(body.nodes):
            if not _multiplies(node) or node in self.inside:
                continue
            inner: list[Node] = []
            leaves = _leaves(node, own, uses, inner)
            made = _product(leaves, set(fixed), node) if inner else None
            if made is not None:
                self.roots[node] = made
                self.inside.update(inner)


def _multiplies(node: Node) -> bool:
    return node.op == "multiply" and node.outputs[0].dtype.kind == "f" and not node.outputs[0].shape


def _leaves(node: Node, own: set[Node], uses: Counter[Symbol], inner: list[Node]) -> list[Symbol]:
    """The factors of a product, those of products that are used for it alone included."""
    found: list[Symbol] = []
    for symbol in node.inputs:
        below = symbol.node
        if below is not None and below in own and _multiplies(below) and uses[symbol] == 1:
            inner.append(below)
            found += _leaves(below, own, uses, inner)
        else:
            found.append(symbol)
    return found


def _product(leaves: list[Symbol], fixed: set[Symbol], node: Node) -> Product | None:
    """The factors sorted, where one of them changes and there are numbers to go with the rest."""
    numbers = [s for s in leaves if is_scalar_constant(s)]
    held = [s for s in leaves if s in fixed]
    changing = [s for s in leaves if s not in fixed and not is_scalar_constant(s)]
    if not numbers or len(held) > 1 or len(changing) != 1 or len(numbers) + len(held) < 2:
        return None
    dtype = node.outputs[0].dtype
    number = 1.0
    for symbol in numbers:
        assert symbol.node is not None
        number *= float(symbol.node.attrs["value"].array)
    rounded = np.asarray(number, dtype)
    if not SMALLEST <= abs(float(rounded)) <= LARGEST:
        return None
    return Product(rounded, held[0] if held else None, changing[0])
