"""Is traced code never slower than NumPy? Every op of the registry at 10^2, 10^4 and 10^6 elements, worst first.

`python benchmarks/never_slower.py [--only PATTERN] [--sizes 100,10000] [--json FILE]`. Each result is checked before it
is timed. The rule: at 10^2 elements at most NumPy plus 1 us, beyond at most 1.05 times NumPy; the exit status is 1
where it does not hold. Both sides take turns in short runs, and the quickest run of each counts: noise only adds.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from harness.op_cases import cases, uncovered
from harness.op_inputs import Case

import treadle as td

SIZES = (100, 10_000, 1_000_000)
FACTOR, EXTRA_AT_100 = 1.05, 1e-6
RUN = 2e-3  # seconds that one run should take


@dataclass(frozen=True)
class Row:
    """One measured case: seconds a call."""

    name: str
    size: int
    treadle: float
    numpy: float

    @property
    def ratio(self) -> float:
        """Treadle's time relative to NumPy's."""
        return self.treadle / self.numpy

    @property
    def holds(self) -> bool:
        """Whether the rule holds."""
        allowed = self.numpy + EXTRA_AT_100 if self.size <= 100 else FACTOR * self.numpy
        return self.treadle <= allowed


def quickest(calls: list[Callable[[], Any]], rounds: int) -> list[float]:
    """Seconds a call of each, in turns: the quickest of `rounds` runs."""
    counts = []
    for call in calls:
        start = time.perf_counter()
        call()
        once = time.perf_counter() - start
        start = time.perf_counter()
        call()
        once = min(once, time.perf_counter() - start)
        counts.append(max(1, int(RUN / max(once, 1e-7))))
    best = [float("inf")] * len(calls)
    for _ in range(rounds):
        for k, call in enumerate(calls):
            repeats = range(counts[k])
            start = time.perf_counter()
            for _ in repeats:
                call()
            best[k] = min(best[k], (time.perf_counter() - start) / counts[k])
    return best


def measure(case: Case, size: int, rounds: int) -> Row:
    """Check a case, then time it; more rounds where the first do not decide for treadle."""
    arrays = case.arrays(np.random.default_rng(0), size)
    tensors = [td.asarray(a) for a in arrays]
    function = td.function(case.treadle)
    check(case, function(*tensors), case.numpy(*arrays))
    calls = [lambda: function(*tensors), lambda: case.numpy(*arrays)]
    row = Row(case.name, size, *quickest(calls, rounds))
    for _ in range(3):
        if row.holds:
            break
        again = quickest(calls, rounds)
        row = Row(case.name, size, min(row.treadle, again[0]), min(row.numpy, again[1]))
    return row


def check(case: Case, got: Any, want: Any) -> None:
    """Raise AssertionError where the results differ; random draws only agree in shape."""
    first = got[0] if isinstance(got, (list, tuple)) else got
    wanted = want[0] if isinstance(want, (list, tuple)) else want
    if case.random:
        assert first.shape == np.shape(wanted), case.name
        return
    tolerance = 2e-4 if first.dtype == np.float32 else 1e-8
    np.testing.assert_allclose(first.numpy(), wanted, rtol=tolerance, atol=tolerance, err_msg=case.name)


def show(rows: list[Row]) -> None:
    """The table, worst first: by what exceeds the rule."""
    print(f"{'op':<32}{'elements':>10}{'treadle us':>13}{'NumPy us':>13}{'ratio':>8}  rule")
    for row in sorted(rows, key=lambda r: (r.holds, -r.ratio)):
        times = f"{row.treadle * 1e6:>13.2f}{row.numpy * 1e6:>13.2f}{row.ratio:>8.2f}"
        print(f"{row.name:<32}{row.size:>10}{times}  {'holds' if row.holds else 'BROKEN'}")
    for size in sorted({row.size for row in rows}):
        here = [row for row in rows if row.size == size]
        held = sum(row.holds for row in here)
        mean = float(np.exp(np.mean([np.log(row.ratio) for row in here])))
        print(f"{size:>9} elements: the rule holds for {held} of {len(here)}; geometric mean of the ratios {mean:.2f}")


def main(given: list[str] | None = None) -> int:
    """Measure, print; 1 where the rule does not hold somewhere."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="PATTERN", default="", help="regular expression that names of cases match")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="elements, comma-separated")
    parser.add_argument("--rounds", type=int, default=7, help="runs of each side")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the rows there")
    options = parser.parse_args(given)
    missing = uncovered()
    if missing:
        print("ops without a case:", ", ".join(missing))
    rows = []
    for case in cases():
        if re.search(options.only, case.name):
            for size in map(int, options.sizes.split(",")):
                try:
                    rows.append(measure(case, size, options.rounds))
                except Exception as error:
                    raise RuntimeError(f"{case.name} at {size} elements") from error
    show(rows)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return int(bool(missing) or not all(row.holds for row in rows))


if __name__ == "__main__":
    sys.exit(main())
