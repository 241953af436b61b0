"""Runs random functions (`random_functions.py`): plain Python on NumPy values against the traced function, two ways.

`python -m tests.control_flow.generate --count 1000 --seed 1 --compiled 20` runs many (every 20th compiled), shrinks
what disagrees and prints it; the test suite runs a few of them (`test_random_functions.py`).

For gradients `hold` is tanh, and no constant of a comparison meets a computed number.
"""

from __future__ import annotations

import argparse
import ast
import collections
import contextlib
import io
import linecache
import random
import sys
import time
import types
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import treadle as td
from treadle.testing.stages import Stages, Watcher

sys.path.insert(0, str(Path(__file__).parent))
from random_functions import AVOID, Writer

POINTS = [
    (np.float64(0.5), np.array([1.0, -0.5, 0.25]), np.int64(2)),
    (np.float64(-1.25), np.array([0.0, 2.0, -1.0]), np.int64(0)),
    (np.float64(2.0), np.array([-0.25, 0.5, 1.5]), np.int64(4)),
]


# -- running -----------------------------------------------------------------------------------------------------------


def hold_numpy(x: Any) -> Any:
    """A number as a small multiple of 1/8."""
    return np.floor(np.clip(x * 8.0, -32.0, 32.0)) / 8.0


def hold_tensor(x: Any) -> Any:
    """The same in treadle's ops."""
    return td.floor(td.clip(td.asarray(x).astype(td.float64) * 8.0, -32.0, 32.0)) / 8.0


def smooth_tensor(x: Any) -> Any:
    """What stands for `hold` where gradients are compared."""
    return td.tanh(td.asarray(x).astype(td.float64))


def define(text: str, traced: bool, smooth: bool, state: td.Variable) -> Any:
    """The function `f` of a program, with its text where tracebacks and the converter look for it."""
    name = f"<program {zlib.crc32(text.encode()):08x} {'traced' if traced else 'plain'}>"  # the same when it runs again
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    space: dict[str, Any] = {
        "np": np,
        "td": td,
        "LOOP": td.range if traced else range,
        "FLAG": True,
        "nullcontext": contextlib.nullcontext,
        "state": state,
        "hold": (smooth_tensor if traced else np.tanh) if smooth else (hold_tensor if traced else hold_numpy),
        "choose": lambda m: m % 3 if m > 3 else m,
        "pair": lambda s, m: (s, (m, s * 0.5)),
        "total": (lambda xs: td.sum(td.stack(xs))) if traced else (lambda xs: np.sum(np.stack(xs))),
        "__name__": "treadle_random_program",
    }
    sys.modules.setdefault(space["__name__"], types.ModuleType(space["__name__"]))  # dataclasses look there
    exec(compile(text, name, "exec"), space)
    return space["f"]


@dataclass(slots=True)
class Seen:
    """What a run did."""

    value: Any
    printed: str
    state: float


def watch(run: Any, state: td.Variable) -> Seen:
    """Run, and give what came of it; `state` is put back."""
    state.assign(0.25)
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream), np.errstate(all="ignore"):
        value = run()
    seen = Seen([np.asarray(x) for x in value], stream.getvalue(), float(state.numpy()))
    state.assign(0.25)
    return seen


def same(want: Seen, got: Seen) -> str | None:
    """How two runs differ."""
    for place, (x, y) in enumerate(zip(want.value, got.value, strict=True)):
        if x.shape != y.shape or not np.array_equal(x, y):
            return f"result {place} is {y!r}, instead of {x!r}"
    if want.printed != got.printed:
        return f"prints {got.printed!r}, instead of {want.printed!r}"
    return None if want.state == got.state else f"the variable is {got.state}, instead of {want.state}"


class Disagreement(AssertionError):
    """Two ways of running a program gave different things."""


def interpreted(traced: Any, args: tuple[Any, ...]) -> Any:
    """A traced function run node by node with NumPy."""
    from treadle.control.call import _interpreting
    from treadle.core.mode import activate

    with _interpreting(), activate(Watcher()):
        return traced(*args)


def compare(text: str, compiled: bool = False, gradients: bool = False) -> None:
    """Run one program in all ways. Raises Disagreement; treadle's refusals come through as its own errors."""
    state = td.Variable(np.float64(0.25))
    plain, twin = define(text, False, False, state), define(text, True, False, state)
    traced = td.function(twin)
    for args in POINTS:
        want = watch(lambda: plain(*args), state)
        ways = {"interpreted": lambda: interpreted(traced, args)}
        if compiled:
            ways["compiled"] = lambda: traced(*args)
        if args is POINTS[0]:
            with td.run_eagerly(True):
                _same(text, args, "eagerly", want, watch(lambda: twin(*map(td.asarray, args)), state))
        for way, run in ways.items():
            _same(text, args, way, want, watch(run, state))
    if traced.trace_count != 1:
        raise Disagreement(f"{traced.trace_count} traces\n{text}\n{traced.explain()}")
    if gradients:
        _compare_gradients(text, compiled)


def _same(text: str, args: Any, way: str, want: Seen, got: Seen) -> None:
    difference = same(want, got)
    if difference:
        raise Disagreement(f"{way}: {difference}\nwith {args}\n{text}")


def _compare_gradients(text: str, compiled: bool) -> None:
    state = td.Variable(np.float64(0.25))
    twin = define(text, True, True, state)
    stages = Stages(twin, td.function(twin))
    args = tuple(np.asarray(x) for x in POINTS[0])
    with contextlib.redirect_stdout(io.StringIO()):
        stages.watched(args)
        want = stages.gradients(args, "eager")
        for way in ("interpreted", "compiled")[: 2 if compiled else 1]:
            got = stages.gradients(args, way)
            if want.error or got.error:
                raise got.error or want.error or Disagreement("unreachable")
            for name, x in want.result.items():
                if not np.allclose(x, got.result[name], rtol=1e-7, atol=1e-9):
                    raise Disagreement(f"gradient of {name}, {way}: {got.result[name]}, instead of {x}\n{text}")


# -- many --------------------------------------------------------------------------------------------------------------


def shrink(text: str, fails: Callable[[str], bool], tries_left: int = 150) -> str:
    """The program without the lines and blocks that it can do without and still fail."""
    lines = text.splitlines()
    place = 0
    while place < len(lines) and tries_left > 0:
        depth = len(lines[place]) - len(lines[place].lstrip())
        stop = place + 1
        while stop < len(lines) and (not lines[stop].strip() or len(lines[stop]) - len(lines[stop].lstrip()) > depth):
            stop += 1
        inner = [line[4:] for line in lines[place + 1 : stop]]
        tries = [[], inner] if inner else [[]]
        tries += [["    " * (depth // 4) + "pass"]] if lines[place].strip() != "pass" else []
        for instead in tries:
            shorter = [*lines[:place], *instead, *lines[stop:]]
            tries_left -= 1
            if fails("\n".join(shorter) + "\n"):
                lines, place = shorter, place - 1
                break
        place += 1
    return "\n".join(lines) + "\n"


def outcome(text: str, compiled: bool, gradients: bool) -> Exception | None:
    """What is wrong with a program: a disagreement, a refusal, any other error; or None."""
    try:
        ast.parse(text)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            compare(text, compiled, gradients)
    except Exception as error:
        return error
    return None


def run_many(number: int, start: int, compiled: int, gradients: int, refusals: bool) -> collections.Counter[str]:
    """Run `number` programs; prints those that disagree, shrunk, and gives how many did what."""
    counts: collections.Counter[str] = collections.Counter()
    for k in range(number):
        text = Writer(random.Random(f"{start} {k}").randint).program()
        ways = bool(compiled) and k % compiled == 0, bool(gradients) and k % gradients == 0
        counts.update(run=1, compiled=ways[0], gradients=ways[1])
        error = outcome(text, *ways)
        if error is None:
            continue
        message = " ".join(f"{type(error).__name__}: {error}".splitlines()[0].split()[:22])
        if refusals and isinstance(error, td.TreadleError):
            counts.update({"refused": 1, message: 1})
            continue
        kind = type(error)
        small = shrink(text, lambda t, ways=ways, kind=kind: type(outcome(t, *ways)) is kind)
        counts["failed"] += 1
        print(f"seed {start}, program {k}: {outcome(small, *ways)!r:.1500}\n{small}")
    return counts


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--compiled", type=int, default=20, help="compile every n-th program; 0 for none")
    parser.add_argument("--gradients", type=int, default=10, help="compare gradients of every n-th program; 0 for none")
    parser.add_argument("--refusals", action="store_true", help="count treadle's own errors instead of failing")
    parser.add_argument("--avoid", default="", help="kinds of statements to leave out, with commas between")
    options = parser.parse_args()
    AVOID.update(options.avoid.split(","))
    started = time.perf_counter()
    counts = run_many(options.count, options.seed, options.compiled, options.gradients, options.refusals)
    for what, times in counts.most_common():
        print(f"{times:6d}  {what}")
    print(f"{time.perf_counter() - started:.0f} s")
    sys.exit(bool(counts["failed"]))


if __name__ == "__main__":
    main()
