"""Shapes that varied become open sizes, so that one trace serves them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle.core.dim import Dim
from treadle.function import keys

Parts = tuple[keys.Part, ...]


def relaxed(parts: Parts, paths: Sequence[str], earlier: Sequence[Parts]) -> Parts | None:
    """The key with every size open that differs from some earlier key of the same form; None when nothing varied.

    Sizes that have always varied together get one name, so that what they have in common stays known.
    """
    alike = [other for other in earlier if _same_but_sizes(parts, other)]
    if not alike:
        return None
    names: dict[tuple[Any, ...], Dim] = {}
    found: list[keys.Part] = []
    for k, part in enumerate(parts):
        if part[0] != keys.TENSOR:
            found.append(part)
            continue
        shape = []
        for axis, size in enumerate(part[2]):
            history = (size, *(other[k][2][axis] for other in alike))
            if all(h == size for h in history) and not isinstance(size, Dim):
                shape.append(size)
            else:
                label = f"{keys.identifier(paths[k])}{axis}"
                shape.append(names.setdefault(history, Dim.named(label)))
        found.append((keys.TENSOR, part[1], tuple(shape), part[3]))
    return tuple(found) if names else None


def _same_but_sizes(a: Parts, b: Parts) -> bool:
    if len(a) != len(b):
        return False
    for x, y in zip(a, b, strict=True):
        if x[0] == y[0] == keys.TENSOR:
            if x[1] != y[1] or x[3] != y[3] or len(x[2]) != len(y[2]):
                return False
        elif x != y:
            return False
    return True
