"""Measure treadle beside NumPy, Numba, JAX, PyTorch, TensorFlow and PyTensor: `python benchmarks/run.py [--quick]`.

Each library runs in a process of its own, and under an interpreter of its own where `--python jax=PATH` (or
TREADLE_BENCH_PYTHONS="jax=PATH,torch=PATH") names one; what is not installed is left out. Every result is checked
against NumPy in float64 before it is timed, and a wrong one makes the exit status 1.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path

from harness import report
from harness.cold import LABELS, run_cold, run_imports
from harness.footprint import run_sizes
from harness.processes import BENCHMARKS, installed, pythons
from harness.steady import Turns, run_steady
from peers import ALIASES, PEERS

START = time.perf_counter()


def arguments(given: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes and few repetitions: does it all work?")
    parser.add_argument(
        "--only", metavar="PATTERN", default="", help="regular expression that names of cases must match"
    )
    parser.add_argument("--peers", metavar="NAMES", default=",".join(PEERS), help="comma-separated; default: all")
    parser.add_argument("--python", metavar="PEER=PATH", action="append", default=[], help="interpreter of a peer")
    parser.add_argument("--json", metavar="FILE", type=Path, help="default: benchmarks/results/<time>.json")
    parser.add_argument("--rounds", type=int, help="turns of each peer for each case (7; quick: 2)")
    parser.add_argument("--seconds", type=float, help="length of a turn (0.15; quick: 0.02)")
    parser.add_argument("--fresh", type=int, help="fresh processes for first calls (3; quick: 1); imports at least 5")
    parser.add_argument("--cores", type=int, default=0, help="on how many cores each process may run (all)")
    parser.add_argument(
        "--by", choices=("median", "best"), default="median", help="what counts on a noisy machine: best"
    )
    parser.add_argument("--patience", type=float, default=300.0, help="seconds until a request is given up")
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> int:
    """Run, print, write; 1 if any result was wrong."""
    options = arguments(given)
    interpreters = pythons(options.python)
    names = [ALIASES.get(name, name) for name in options.peers.split(",")]
    if unknown := [name for name in names if name not in PEERS]:
        raise SystemExit(f"--peers knows {', '.join(PEERS)}; got {', '.join(unknown)}")
    present = {name: interpreters[name] for name in names if installed(name, interpreters[name])}
    missing = [name for name in names if name not in present]
    rounds, seconds, fresh = (2, 0.02, 1) if options.quick else (7, 0.15, 3)
    rounds, seconds, fresh = options.rounds or rounds, options.seconds or seconds, options.fresh or fresh
    pattern = re.compile(options.only, re.IGNORECASE)

    def wanted(name: str) -> bool:
        return pattern.search(name) is not None

    rows = run_imports(present, wanted, fresh if options.quick else max(fresh, 5), progress)
    rows += run_sizes(present, LABELS, wanted, progress)
    rows += run_cold(present, wanted, runs=fresh, patience=options.patience, show=progress)
    with tempfile.TemporaryDirectory(prefix="treadle-bench-", ignore_cleanup_errors=True) as folder:
        turns = Turns(options.quick, rounds, seconds, options.cores)
        rows = run_steady(present, wanted, Path(folder), turns, options.patience, progress) + rows
    report.show(rows, missing, options.by)
    path = options.json or BENCHMARKS / "results" / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    settings = {"quick": options.quick, "rounds": rounds, "seconds": seconds, "fresh": fresh}
    report.write(path, rows, missing, settings | {"cores": options.cores, "by": options.by})
    return int(report.has_wrong(rows))


def progress(text: str) -> None:
    """What is being measured, and since when, on the standard error stream."""
    print(f"{time.perf_counter() - START:6.1f} s  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
