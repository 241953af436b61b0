"""A worker process: imports one peer, then answers requests, one line of JSON each, until its input ends.

Requests: {"do": "prepare", "case": i, "variant": v, "quick": q} checks the results and finds the number of repeats;
{"do": "time", "variant": v, "seconds": s} gives samples; {"do": "drop"} forgets the case;
{"do": "once", "case": i, "variant": v} times a first call and one with a new shape.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

try:
    import resource
except ImportError:  # Windows has no such counts
    resource = None  # type: ignore[assignment]

from harness.cases import Case, cold_cases, steady_cases
from harness.timing import WrongResult, check, measure, repeats
from peers.base import NotSupported, Peer


class Worker:
    """The thunks of the current case, one for each variant that runs it."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.thunks: dict[str, tuple[Callable[[], Any], int]] = {}

    def prepare(self, case: int, variant: str, quick: bool) -> dict[str, Any]:
        chosen = steady_cases(quick)[case]
        data = chosen.data()
        thunk = self.peer.thunk(self.peer.build(variant, chosen.program, data.state), self.peer.place(data.args))
        for expected in chosen.reference(data):
            self.check(chosen, thunk(), expected)
        self.thunks[variant] = thunk, repeats(thunk)
        return {"repeats": self.thunks[variant][1]}

    def time(self, variant: str, seconds: float) -> dict[str, Any]:
        return {"samples": measure(*self.thunks[variant], seconds)}

    def drop(self) -> dict[str, Any]:
        self.thunks.clear()
        return {}

    def once(self, case: int, variant: str) -> dict[str, Any]:
        """A first call from inputs in NumPy arrays to checked results, and one more with another size."""
        chosen = cold_cases()[case]
        data, other = chosen.case.data(), chosen.case.make(chosen.other_size)
        start = time.perf_counter()
        call = self.peer.build(variant, chosen.case.program, data.state)
        result = self.peer.thunk(call, self.peer.place(data.args))()
        first = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3 if resource else 0.0
        before, numba = self.peer.counters(), "numba" in sys.modules
        self.check(chosen.case, result, chosen.case.reference(data)[0])
        start = time.perf_counter()
        result = self.peer.thunk(call, self.peer.place(other.args))()
        retrace = time.perf_counter() - start
        if not data.state:  # the step's second loss depends on its first batch, and is checked among the steady cases
            self.check(chosen.case, result, chosen.case.reference(other)[0])
        counters = {"first": before, "retrace": self.peer.counters()}
        return {"first": first, "retrace": retrace, "peak": peak, "counters": counters, "numba": numba}

    def check(self, case: Case, result: Any, expected: Any) -> None:
        check(self.peer.to_numpy(result), expected, case.rtol, case.atol, case.few)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        do = request.pop("do")
        try:
            return getattr(self, do)(**request)  # type: ignore[no-any-return]
        except NotSupported as reason:
            return {"unsupported": str(reason)}
        except WrongResult as reason:
            return {"wrong": str(reason)}
        except Exception as error:  # whatever a library raises is the outcome of its measurement
            return {"failed": f"{type(error).__name__}: {error}"}


def main(name: str) -> None:
    # Libraries print what they like; the answers go to a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    peer: Peer = importlib.import_module(f"peers.{name}_").PEER
    hello = {"variants": peer.variants, "import": time.perf_counter() - start}
    worker = Worker(peer)
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(hello), file=answers, flush=True)
        for line in sys.stdin:
            print(json.dumps(worker.answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
