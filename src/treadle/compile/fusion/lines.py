"""Numbers evenly spaced: what an arange, a linspace or a constant of them counts, as a start and a step."""

from __future__ import annotations

import numpy as np

from treadle.core.graph import Node
from treadle.core.spec import Spec
from treadle.records import dataclass

MOST = 1 << 30  # positions and what they count stay below this, so that 32 bits hold sums and differences of two
EXACT = 1 << 24  # whole numbers up to this are exact in float32


@dataclass(frozen=True, slots=True)
class Line:
    """Numbers `start + step * position`; whole: counted in integers.  last: what an end stands for exactly."""

    whole: bool
    start: float
    step: float
    last: float | None = None


def line_of(node: Node) -> Line | None:
    """How an arange, a linspace or a constant of evenly spaced integers is counted; None where it is not."""
    out = node.outputs[0]
    if node.op == "constant":
        return _constant_line(node)
    if node.op == "arange":
        return _arange_line(out.spec, node.attrs["start"], node.attrs["step"])
    count, attrs = node.attrs["shape"][0], node.attrs
    parts = count - 1 if attrs["endpoint"] else count
    start, stop = np.float64(attrs["start"]), np.float64(attrs["stop"])
    step = (stop - start) / parts if parts > 0 else np.float64(0)
    if out.dtype.kind != "f" or step == 0 or not np.isfinite(step):
        return None
    return Line(False, float(start), float(step), float(stop) if attrs["endpoint"] else None)


def _arange_line(spec: Spec, start: float, step: float) -> Line | None:
    integers = isinstance(start, int) and isinstance(step, int)
    (count,) = spec.shape
    assert isinstance(count, int)
    if integers and abs(start) + abs(step) * count < (EXACT if spec.dtype.kind == "f" else MOST):
        return Line(True, start, step)
    return Line(False, float(start), float(step)) if spec.dtype.kind == "f" else None


def _constant_line(node: Node) -> Line | None:
    array = node.attrs["value"].array
    if array.ndim != 1 or array.dtype.kind not in "iu" or array.dtype.itemsize < 4 or array.size < 2:
        return None
    first, second = int(array[0]), int(array[1])
    if abs(first) + abs(second - first) * array.size >= MOST:
        return None
    same = np.array_equal(array, np.arange(array.size, dtype=np.int64) * (second - first) + first)
    return Line(True, first, second - first) if same else None
