"""Is traced code never slower than NumPy? Every op and every benchmark at 10^2, 10^4 and 10^6 elements, worst first.

`python benchmarks/never_slower.py [--only PATTERN] [--sizes 100,10000] [--json FILE] [--rounds N]`. Each result is
checked before it is timed. The rule: at most 1.05 times NumPy; at 10^2 elements, where calls are what takes time, at
most NumPy plus 1 us for one op, and no more than NumPy for programs of five or more. The exit status is 1 where it
does not hold.

Both sides take turns in runs of a fraction of a millisecond, and the quickest run of each counts, since noise only
adds. A case that does not hold is given more turns, and is judged three times, at the end of the whole run too, before
it counts as broken: a machine with other work to do is slow for seconds on end.
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from harness.op_cases import cases, uncovered
from harness.op_inputs import Case

import treadle as td

SIZES = (100, 10_000, 1_000_000)
FACTOR, EXTRA_AT_100 = 1.05, 1e-6
RUN = 4e-4  # seconds that one run should take
TURNS, MORE = 12, 120  # runs of each side that every case gets, and those that a case gets which does not hold
LONGEST = 4.0  # seconds after which a case gets no more turns in one judgement, but two at least
JUDGEMENTS = 3


@dataclass(frozen=True)
class Row:
    """One measured case: seconds a call. program: whether it is five operations or more."""

    name: str
    size: int
    treadle: float
    numpy: float
    program: bool = False

    @property
    def ratio(self) -> float:
        """Treadle's time relative to NumPy's."""
        return self.treadle / self.numpy

    @property
    def holds(self) -> bool:
        """Whether the rule holds."""
        if self.size <= 100:
            return self.treadle <= self.numpy + (0.0 if self.program else EXTRA_AT_100)
        return self.treadle <= FACTOR * self.numpy

    def better(self, other: Row) -> Row:
        """The quickest of two measurements of one case."""
        quickest = min(self.treadle, other.treadle), min(self.numpy, other.numpy)
        return Row(self.name, self.size, *quickest, self.program)


class Contest:
    """The two calls of a case, checked, and the quickest runs of each so far."""

    def __init__(self, case: Case, size: int) -> None:
        self.case, self.size = case, size
        arrays = case.arrays(np.random.default_rng(0), size)
        tensors = [td.asarray(a) for a in arrays]
        mine, theirs = case.both(size)
        function = td.function(mine)
        check(case, function(*tensors), theirs(*arrays))
        self.calls: list[Callable[[], Any]] = [lambda: function(*tensors), lambda: theirs(*arrays)]
        self.counts = [max(1, int(RUN / min(run(call, 1) for _ in range(3)))) for call in self.calls]
        self.best = [float("inf")] * 2

    @property
    def row(self) -> Row:
        """What is known so far."""
        return Row(self.case.name, self.size, *self.best, self.case.program)

    def turns(self, count: int) -> Row:
        """So many runs of each side, fewer where they take long."""
        start = time.perf_counter()
        for turn in range(count):
            for k in (0, 1) if turn % 2 else (1, 0):
                self.best[k] = min(self.best[k], run(self.calls[k], self.counts[k]))
            if turn and time.perf_counter() - start > LONGEST:
                break
        return self.row

    def judge(self, count: int) -> Row:
        """The turns that every case gets, and more as long as it does not hold."""
        row = self.turns(count)
        for _ in range(max(0, MORE // count)):
            if row.holds:
                break
            row = self.turns(count)
        return row


def run(call: Callable[[], Any], count: int) -> float:
    """Seconds a call, of so many."""
    repeats = range(count)
    start = time.perf_counter()
    for _ in repeats:
        call()
    return max(time.perf_counter() - start, 1e-9) / count


def measure(case: Case, size: int, turns: int) -> Row:
    """One judgement of a case."""
    contest = Contest(case, size)
    gc.collect()
    gc.disable()
    try:
        return contest.judge(turns)
    finally:
        gc.enable()


def check(case: Case, got: Any, want: Any) -> None:
    """Raise AssertionError where the results differ; random draws only agree in shape."""
    first = got[0] if isinstance(got, (list, tuple)) else got
    wanted = want[0] if isinstance(want, (list, tuple)) else want
    if case.random:
        assert first.shape == np.shape(wanted), case.name
        return
    if case.program and first.dtype.kind in "iu":  # counts of turns, where rounding decides at the edge of a set
        assert np.mean(first.numpy() != wanted) < 0.005, case.name
        return
    tolerance = max(2e-4 if first.dtype == np.float32 else 1e-8, case.tolerance)
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


def wanted(pattern: str, sizes: list[int]) -> Iterator[tuple[Case, int]]:
    """The cases whose name matches, at each size."""
    for case in cases():
        if re.search(pattern, case.name):
            for size in sizes:
                yield case, size


def judged(chosen: list[tuple[Case, int]], turns: int) -> list[Row]:
    """All cases measured, and those that do not hold measured again when all have been."""
    rows: dict[tuple[str, int], Row] = {}
    for judgement in range(JUDGEMENTS):
        for case, size in chosen:
            known = rows.get((case.name, size))
            if known is not None and known.holds:
                continue
            try:
                row = measure(case, size, turns)
            except Exception as error:
                raise RuntimeError(f"{case.name} at {size} elements") from error
            rows[case.name, size] = row if known is None else row.better(known)
        broken = sum(not row.holds for row in rows.values())
        print(f"judgement {judgement + 1}: {broken} of {len(rows)} do not hold", file=sys.stderr)
    return list(rows.values())


def main(given: list[str] | None = None) -> int:
    """Measure, print; 1 where the rule does not hold somewhere."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="PATTERN", default="", help="regular expression that names of cases match")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="elements, comma-separated")
    parser.add_argument("--rounds", type=int, default=TURNS, help="runs of each side that every case gets")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the rows there")
    options = parser.parse_args(given)
    missing = uncovered()
    if missing:
        print("ops without a case:", ", ".join(missing))
    chosen = wanted(options.only, [int(size) for size in options.sizes.split(",")])
    rows = judged(list(chosen), options.rounds)
    show(rows)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return int(bool(missing) or not all(row.holds for row in rows))


if __name__ == "__main__":
    sys.exit(main())
