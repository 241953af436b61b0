"""Worker processes and their environment: each peer in a process of its own, under its own interpreter."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peers import ALIASES, PEERS

BENCHMARKS = Path(__file__).resolve().parent.parent
PYTHONS = "TREADLE_BENCH_PYTHONS"
UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # they would choose other BLAS kernels than the machine's own


def pythons(options: list[str]) -> dict[str, str]:
    """Interpreter of each peer: the running one unless `peer=path` in the environment or the options says otherwise."""
    found = dict.fromkeys(PEERS, sys.executable)
    for option in [*filter(None, os.environ.get(PYTHONS, "").split(",")), *options]:
        name, separator, path = option.strip().partition("=")
        name = ALIASES.get(name, name)
        if not separator or name not in PEERS:
            raise SystemExit(f"--python takes peer=path with a peer of {', '.join(PEERS)}; got {option!r}")
        found[name] = path
    return found


def environment(name: str, caches: Path) -> dict[str, str]:
    """The environment of a child: every library keeps its compiled code under `caches`."""
    env = {key: value for key, value in os.environ.items() if key not in UNSET}
    env["TREADLE_CACHE_DIR"] = str(caches / "treadle")
    env["NUMBA_CACHE_DIR"] = str(caches / "numba")
    env["TORCHINDUCTOR_CACHE_DIR"] = str(caches / "torch")
    env["JAX_COMPILATION_CACHE_DIR"] = str(caches / "jax")
    env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    env["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    env["JAX_PLATFORMS"] = "cpu"
    env["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if name == "treadle":  # measured from this tree, whether or not it is installed
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(BENCHMARKS.parent / "src"), env.get("PYTHONPATH", "")]))
    return env


def installed(name: str, python: str) -> bool:
    """Whether the interpreter is there and has the peer's library."""
    program = f"import importlib.util as u, sys; sys.exit(u.find_spec({PEERS[name]!r}) is None)"
    env = environment(name, Path(os.devnull))
    try:
        return subprocess.run([python, "-c", program], env=env, capture_output=True).returncode == 0
    except OSError:
        return False


@dataclass(slots=True)
class Child:
    """A running worker. A request that takes longer than `patience` seconds ends the process."""

    name: str
    python: str
    caches: Path
    patience: float
    cores: int = 0  # on how many it may run; 0 is all
    hello: dict[str, Any] = field(init=False)
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin the process, or begin again."""
        log = self.caches / f"{self.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as errors:
            self.process = subprocess.Popen(
                [self.python, str(BENCHMARKS / "worker.py"), self.name],
                env=environment(self.name, self.caches),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                preexec_fn=self.confine if self.cores else None,
            )
        self.hello = self.read()

    def confine(self) -> None:
        """Leave the new process so many cores; every library then makes no more threads than that."""
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: self.cores])

    def ask(self, **request: Any) -> dict[str, Any]:
        """The worker's answer; {"failed": ...} when it died or took too long."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except OSError:
            return {"failed": "the process has ended"}
        return self.read()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            self.process.kill()

        timer = threading.Timer(self.patience, stop)
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if line:
            return json.loads(line)  # type: ignore[no-any-return]
        if late.is_set():
            return {"failed": f"took more than {self.patience:g} s"}
        return {"failed": f"ended with status {self.process.wait()}"}

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def close(self) -> None:
        """End the process, gently at first."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.close()
            self.process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def outcome(answer: Mapping[str, Any]) -> dict[str, str]:
    """The part of an answer that says why there is no figure."""
    return {key: str(answer[key]) for key in ("unsupported", "wrong", "failed") if key in answer}


def summary(samples: list[float]) -> dict[str, float]:
    """Median, quartiles and the least, in seconds."""
    best = min(samples)
    if len(samples) < 2:
        return {"median": best, "low": best, "high": best, "best": best, "samples": len(samples)}
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return {"median": median, "low": low, "high": high, "best": best, "samples": len(samples)}
