"""Which values are known to be zeros: they are written, or counted as read, without copies."""

from __future__ import annotations

import numpy as np

from treadle.core.tensor import Symbol


def all_zero(symbol: Symbol) -> bool:
    """Whether a value is known to be zeros, every bit of it."""
    node = symbol.node
    while node is not None and node.definition.family == "view" and node.op != "read":
        symbol = node.inputs[0]
        node = symbol.node
    if node is None or not symbol.spec.static or symbol.dtype.kind == "T":
        return False
    if node.op == "full":
        array = np.asarray(node.definition.body(**{**node.attrs, "shape": (1,)}))
    elif node.op == "constant" and node.attrs["value"].array.size == 1:
        array = node.attrs["value"].array
    else:
        return False
    return not array.tobytes().strip(b"\0")
