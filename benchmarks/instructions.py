"""Count the instructions of a handful of calls: on a noisy machine a regression shows in them, not in times.

`python benchmarks/instructions.py [--only PATTERN] [--json FILE] [--against FILE] [--room 0.1]`. Each case runs in a
process of its own on one core, compiled beforehand and its result checked; counted is what one call takes in user
space, Python included, by the processor's counter (`perf_event_open`) or, where there is none, by valgrind. With
`--against` a case that takes more than `room` more than in that file makes the exit status 1; counts of another kind
of processor are not compared.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.cases import Case, steady_cases
from harness.processes import environment
from harness.timing import check

CASES = (
    r"call: x \+ 1",
    "call: 32 arrays",
    r"chain, 10\^5",
    "gradient of the chain",
    "sum .* rows",
    "sum .* columns",
    "cross-entropy",
    "layer norm",
    "^MLP step",
    "GRU",
    "CNN",
    "attention",
    "SGD steps",
    "Collatz",
    "Jacobi",
)
NEW_SHAPE = "new shape: MLP step"
SYSCALL = {"x86_64": 298, "aarch64": 241}
CALLS, TURNS = 20, 7
KEYS = {"enable": 0x2400, "disable": 0x2401, "reset": 0x2403}  # ioctls of the counter


class Counter:
    """This thread's instructions in user space. Raises OSError where the system does not count them."""

    def __init__(self) -> None:
        number = SYSCALL.get(platform.machine())
        if number is None:
            raise OSError("no counter on this kind of machine")
        attributes = bytearray(128)
        # Hardware counter 1 is instructions; the flags: disabled at first, neither kernel nor hypervisor.
        struct.pack_into("IIQ", attributes, 0, 0, 128, 1)
        struct.pack_into("Q", attributes, 40, 1 | 1 << 5 | 1 << 6)
        libc = ctypes.CDLL(None, use_errno=True)
        held = (ctypes.c_char * 128).from_buffer(attributes)
        self.file: int = libc.syscall(number, held, 0, -1, -1, 0)
        if self.file < 0:
            raise OSError(ctypes.get_errno(), "perf_event_open")

    def count(self, work: Callable[[], Any]) -> int:
        """How many instructions `work()` takes."""
        import fcntl

        fcntl.ioctl(self.file, KEYS["reset"])
        fcntl.ioctl(self.file, KEYS["enable"])
        work()
        fcntl.ioctl(self.file, KEYS["disable"])
        return int(struct.unpack("q", os.read(self.file, 8))[0])


def chosen() -> dict[str, tuple[Case, bool]]:
    """Name -> the case, and whether each call has a new shape."""
    every = steady_cases(quick=False)
    found = {case.name: (case, False) for pattern in CASES for case in every if re.search(pattern, case.name)}
    step = next(case for case in every if case.name.startswith("MLP step"))
    return found | {NEW_SHAPE: (step, True)}


def work(name: str) -> tuple[Callable[[], Any], int]:
    """What to count, and how many calls it makes."""
    if hasattr(os, "sched_setaffinity"):  # threads that wait would be counted by valgrind
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from peers.treadle_ import PEER

    case, fresh = chosen()[name]
    data = case.data()
    call = PEER.build("treadle", case.program, data.state)
    args = PEER.place(data.args)
    for expected in case.reference(data):
        check(PEER.to_numpy(call(*args)), expected, case.rtol, case.atol, case.few)
    if fresh:
        batches = iter(range(11, 100))

        def retrace() -> None:
            size = next(batches)
            call(*[x[:size] for x in args])

        retrace()
        return retrace, 1

    def several() -> None:
        for _ in range(CALLS):
            call(*args)

    several()
    return several, CALLS


def child(name: str, calls: int) -> None:
    """In the process that is counted: print the count, or just make some calls (under valgrind)."""
    thunk, each = work(name)
    if calls < 0:
        counter = Counter()
        print(statistics.median(counter.count(thunk) for _ in range(TURNS)) / each)
        return
    for _ in range(calls):
        thunk()


def measure(name: str, folder: Path) -> float:
    """Instructions of one call, by a process of its own."""
    env = environment("treadle", folder) | {"TREADLE_CACHE_DIR": str(folder), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--child", name, "--calls"]
    try:
        Counter()
    except OSError:
        return _by_valgrind([*command], env)
    done = subprocess.run([*command, "-1"], env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout.split()[-1])


def _by_valgrind(command: list[str], env: dict[str, str]) -> float:
    """Two runs under valgrind; the difference is of the calls alone."""
    if shutil.which("valgrind") is None:
        raise SystemExit("neither the processor's counter nor valgrind is to be had")
    totals = []
    for calls in ("1", "3"):
        run = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command, calls]
        done = subprocess.run(run, env=env, capture_output=True, text=True, check=True)
        totals.append(int(re.findall(r"Collected\s*:\s*(\d+)", done.stderr)[-1]))
    return (totals[1] - totals[0]) / 2 / CALLS


def processor() -> str:
    """The kind of processor, as far as counts depend on it."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    flags = set(re.findall(r"flags\s*:(.*)", text)[0].split()) if "flags" in text else set()
    return " ".join([platform.machine(), *(f for f in ("avx2", "fma", "avx512f") if f in flags)])


def compare(found: dict[str, float], path: Path, room: float) -> list[str]:
    """What has become dearer than in an earlier file."""
    before = json.loads(path.read_text())
    if before["processor"] != processor():
        print(f"{path}: counted on {before['processor']}, this is {processor()}: not compared")
        return []
    both = [(name, before["counts"][name], count) for name, count in found.items() if name in before["counts"]]
    return [f"{name}: {old:,.0f} -> {new:,.0f}" for name, old, new in both if new > old * (1 + room)]


def main() -> int:
    """Count, print, write, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="PATTERN", default="")
    parser.add_argument("--json", metavar="FILE", type=Path)
    parser.add_argument("--against", metavar="FILE", type=Path)
    parser.add_argument("--room", type=float, default=0.1)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--calls", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.calls)
        return 0
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="treadle-count-") as folder:
        for name in chosen():
            if re.search(options.only, name, re.IGNORECASE):
                found[name] = measure(name, Path(folder))
                print(f"{found[name]:>14,.0f}  {name}", flush=True)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"processor": processor(), "counts": found}, indent=1) + "\n")
    dearer = compare(found, options.against, options.room) if options.against else []
    for line in dearer:
        print(f"dearer: {line}")
    return int(bool(dearer))


if __name__ == "__main__":
    sys.exit(main())
