"""The speed of vector functions: nanoseconds an element, compiled, in NumPy (or SciPy) and by libm's scalars.

`python benchmarks/vector_math.py [--only PATTERN] [--json FILE]`. One thread, 10^4 elements in cache, drawn from
the usual range of each function; the least of many short runs counts. libm is called through `math`, an element at a
time, without Python's own cost of a loop (which is measured on `math.fabs` and taken off).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "vector"))

Array = np.ndarray[Any, Any]
COUNT, SECONDS = 10_000, 0.05
ARC = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2", "asinh": "arcsinh"}
ARC |= {"acosh": "arccosh", "atanh": "arctanh"}
SCIPY = {name: name for name in ("erf", "erfc", "erfinv", "digamma")} | {"sigmoid": "expit", "lgamma": "gammaln"}
RANGES = {
    **dict.fromkeys(("log", "log2", "log10", "rsqrt", "sqrt"), (0.01, 100.0)),
    **dict.fromkeys(("asin", "acos", "atanh", "erfinv"), (-0.99, 0.99)),
    **dict.fromkeys(("log1p",), (-0.9, 10.0)),
    **dict.fromkeys(("acosh",), (1.0, 100.0)),
    **dict.fromkeys(("pow", "lgamma", "digamma"), (0.1, 20.0)),
}


def peer(name: str) -> Callable[..., Any] | None:
    """The same function in NumPy, else in SciPy."""
    if name in SCIPY:
        import scipy.special

        found: Callable[..., Any] | None = getattr(scipy.special, SCIPY[name])
        return found
    return getattr(np, ARC.get(name, name), None)


def least(thunk: Callable[[], Any]) -> float:
    """Seconds of the quickest of many calls."""
    best, end = math.inf, time.perf_counter() + SECONDS
    thunk()
    while time.perf_counter() < end:
        start = time.perf_counter()
        thunk()
        best = min(best, time.perf_counter() - start)
    return best


def libm(name: str, arrays: list[Array]) -> float | None:
    """Seconds for all elements through `math`, less those of a function that does nothing much."""
    function = getattr(math, name, None)
    if function is None:
        return None
    values = [a.tolist() for a in arrays]

    def run(f: Callable[..., Any]) -> Callable[[], Any]:
        return lambda: [*map(f, *values)]

    empty = run(math.fabs) if len(values) == 1 else run(math.copysign)
    return max(0.0, least(run(function)) - least(empty))


def rows(pattern: str) -> list[dict[str, Any]]:
    """A row for each function and dtype."""
    from conftest import Native
    from treadle import vector

    names = [n for n in sorted(vector.BOUNDS) if re.search(pattern, n)]
    native = Native(names)
    table = []
    for full in names:
        name, kind = full.rsplit("_", 1)
        low, high = RANGES.get(name, (-4.0, 4.0))
        rng = np.random.default_rng(0)
        arrays = [rng.uniform(low, high, COUNT).astype(kind) for _ in native.sources[full].arguments]
        entry, arguments, _ = native.prepared(full, *arrays)
        other = peer(name)
        with np.errstate(all="ignore"):
            seconds = {
                "treadle": least(lambda entry=entry, given=arguments: entry(*given)),
                "NumPy": least(lambda f=other, given=arrays: f(*given)) if other else None,
                "libm": libm(name, arrays) if kind == "f8" else None,
            }
        figures = {k: None if s is None else s / COUNT * 1e9 for k, s in seconds.items()}
        table.append({"name": full, "ulp": vector.BOUNDS[full], **figures})
    return table


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="PATTERN", default="")
    parser.add_argument("--json", metavar="FILE", type=Path)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    table = rows(options.only)
    print(f"{'ns an element':16} {'ULP':>4} {'treadle':>8} {'NumPy':>8} {'libm':>8} {'NumPy / treadle':>16}")
    for row in table:
        cells = [f"{row[k]:8.2f}" if row[k] is not None else f"{'-':>8}" for k in ("treadle", "NumPy", "libm")]
        ratio = f"{row['NumPy'] / row['treadle']:16.1f}" if row["NumPy"] else ""
        print(f"{row['name']:16} {row['ulp']:4.1f} {' '.join(cells)} {ratio}")
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
