"""Random Python functions as source text: plain Python on NumPy values against the traced function, run two ways.

`python -m tests.control_flow.generate --count 1000 --seed 1 --compiled 20` runs many (every 20th compiled), shrinks what
disagrees and prints it; the test suite runs a few of them (`test_random_functions.py`).

Numbers are multiples of 1/8 that `hold` keeps small, so that every way of computing gives the same bits and no
comparison can flip by rounding; for gradients `hold` is tanh instead, and no constant meets a computed number.
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
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

import treadle as td
from treadle.testing.stages import Stages, Watcher

FLOATS, INTS, VECTORS = ["a", "b", "c"], ["i", "j", "k"], ["u", "v"]
POINTS = [
    (np.float64(0.5), np.array([1.0, -0.5, 0.25]), np.int64(2)),
    (np.float64(-1.25), np.array([0.0, 2.0, -1.0]), np.int64(0)),
    (np.float64(2.0), np.array([-0.25, 0.5, 1.5]), np.int64(4)),
]
MAX_LINES = 34
AVOID: set[str] = set()  # kinds of statements and expressions left out, for a look at the rest


@dataclass(frozen=True, slots=True)
class Inside:
    """Where a statement stands: depth, inside how many loops, in a loop at all, in a helper."""

    depth: int = 0
    loops: int = 0
    leave: bool = False


class Writer:
    """Writes one program; `number(low, high)` makes all choices: hypothesis, which can shrink them, or plain chance."""

    def __init__(self, number: Callable[[int, int], int]) -> None:
        self.number = number
        self.lines = 0
        self.fuel = 0

    def pick(self, *kinds: str) -> str:
        return kinds[self.number(0, len(kinds) - 1)]

    def maybe(self) -> bool:
        return self.number(0, 1) == 1

    # -- expressions ---------------------------------------------------------------------------------------------------

    def floating(self, depth: int = 0) -> str:
        kinds = ["name", "name", "constant"]
        if depth < 2:
            kinds += ["sum", "product", "half", "if", "call", "item", "reduce", "builtin", "lambda", "walrus"]
        kind = self.pick(*kinds)
        part = lambda: self.floating(depth + 1)  # noqa: E731
        if kind == "name":
            return self.pick(*FLOATS)
        if kind == "constant":
            return str(self.number(-8, 8) / 4)
        if kind == "sum":
            return f"({part()} {self.pick('+', '-')} {part()})"
        if kind == "product":
            return f"hold({part()} * {part()})"
        if kind == "half":
            return f"({part()} * 0.5)"
        if kind == "if":
            return f"({part()} if {self.condition(depth + 1)} else {part()})"
        if kind == "call":
            return f"helper({part()}, {part()})"
        if kind == "item":
            return f"{self.pick(*VECTORS)}[{self.integer(depth + 1)} % 3]"
        if kind == "reduce":
            return f"hold({self.vector(depth + 1)}).{self.pick('sum', 'max')}()"
        if kind == "builtin" and kind not in AVOID:
            return self.pick(f"abs({part()})", f"max({part()}, {part()})", f"min({part()}, {part()})")
        if kind == "walrus" and self.walrus:
            return f"(c := hold({part()}))"
        return f"(lambda t: t + 0.5 if t > a + 0.3 else t)({part()})"

    walrus = False

    def integer(self, depth: int = 0) -> str:
        kinds = ["name", "name", "constant"] + (["sum", "product", "if", "pick", "builtin"] if depth < 2 else [])
        kind = self.pick(*kinds)
        if kind == "name":
            return self.pick(*INTS, "n")
        if kind == "constant":
            return str(self.number(-2, 5))
        if kind == "sum":
            return f"(({self.integer(depth + 1)} {self.pick('+', '-')} {self.integer(depth + 1)}) % 17)"
        if kind == "product":
            return f"({self.integer(depth + 1)} * {self.integer(depth + 1)} % 17)"
        if kind == "if":
            return f"({self.integer(depth + 1)} if {self.condition(depth + 1)} else {self.integer(depth + 1)})"
        if kind == "builtin" and kind not in AVOID:
            return self.pick("max", "min") + f"({self.integer(depth + 1)}, {self.integer(depth + 1)})"
        return f"choose({self.integer(depth + 1)})"

    def vector(self, depth: int = 0) -> str:
        kinds = ["name", "name"] + (["sum", "scaled", "where", "flip", "if"] if depth < 2 else [])
        kind = self.pick(*kinds)
        part = lambda: self.vector(depth + 1)  # noqa: E731
        if kind == "name":
            return self.pick(*VECTORS)
        if kind == "sum":
            return f"({part()} {self.pick('+', '-')} {part()})"
        if kind == "scaled":
            return f"hold({part()} * {self.floating(depth + 1)})"
        if kind == "where":
            return f"np.where({part()} > {self.floating(depth + 1)} + 0.3, {part()}, {part()})"
        if kind == "if":
            return f"({part()} if {self.condition(depth + 1)} else {part()})"
        return f"{part()}[::-1]"

    def condition(self, depth: int = 0) -> str:
        kinds = ["float", "float", "integer", "integer"]
        if depth < 2:
            kinds += ["and", "or", "not", "chain", "any", "static"]
        kind = self.pick(*kinds)
        if kind == "float":
            return f"{self.floating(depth + 1)} {self.pick('<', '>')} {self.floating(depth + 1)} + 0.3"
        if kind == "integer":
            sign = self.pick("<", ">", "<=", ">=", "==", "!=")
            return f"{self.integer(depth + 1)} {sign} {self.integer(depth + 1)}"
        if kind in ("and", "or"):
            return f"({self.condition(depth + 1)} {kind} {self.condition(depth + 1)})"
        if kind == "not":
            return f"not {self.condition(depth + 1)}"
        if kind == "chain":
            return f"{self.integer(depth + 1)} < {self.integer(depth + 1)} <= {self.integer(depth + 1)}"
        if kind == "any":
            return f"({self.vector(depth + 1)} > {self.floating(depth + 1)} + 0.3).any()"
        return self.pick("FLAG", "not FLAG")

    # -- statements ----------------------------------------------------------------------------------------------------

    def block(self, at: Inside, most: int = 3) -> list[str]:
        lines: list[str] = []
        for _ in range(self.number(1, most)):
            if self.lines > MAX_LINES and lines:
                break
            lines += self.statement(at)
        return ["    " + line for line in lines]

    def statement(self, at: Inside) -> list[str]:
        self.lines += 1
        kinds = ["float", "float", "integer", "vector", "augment", "augment", "pair", "append", "append"]
        kinds += ["state", "show", "assert"] if at.depth < 3 else []
        if at.depth < 3 and self.lines < MAX_LINES:
            kinds += ["if", "if", "if", "for", "for", "while", "with", "try", "nested"]
        if at.leave:
            kinds += ["leave", "leave"]
        if at.depth:
            kinds += ["return"]
        return getattr(self, "_" + self.pick(*(kind for kind in kinds if kind not in AVOID)))(at)

    def _float(self, at: Inside) -> list[str]:
        return [f"{self.pick(*FLOATS)} = {self.floating()}"]

    def _integer(self, at: Inside) -> list[str]:
        return [f"{self.pick(*INTS)} = {self.integer()}"]

    def _vector(self, at: Inside) -> list[str]:
        return [f"{self.pick(*VECTORS)} = {self.vector()}"]

    def _augment(self, at: Inside) -> list[str]:
        kind = self.pick("float", "integer", "vector")
        if kind == "float":
            return [f"{self.pick(*FLOATS)} {self.pick('+=', '-=')} {self.floating()}"]
        if kind == "integer":
            return [f"{self.pick(*INTS)} += {self.integer()}"]
        return [f"{self.pick(*VECTORS)} = {self.pick(*VECTORS)} + hold({self.vector()})"]

    def _pair(self, at: Inside) -> list[str]:
        kind = self.pick("swap", "both", "star", "nest", "chained")
        if kind == "swap":
            x, y = self.pick("ab", "bc", "ca", "ba")
            return [f"{x}, {y} = {y}, {self.floating()}"]
        if kind == "star":
            return [f"b, *rest = ({self.floating()}, a, c)", "c = rest[-1]"]
        if kind == "nest":
            return [f"(a, (i, b)) = pair({self.floating()}, {self.integer()})"]
        if kind == "chained":
            return [f"a = b = {self.floating()}"]
        return [f"a, i = {self.floating()}, {self.integer()}"]

    def _append(self, at: Inside) -> list[str]:
        return [self.pick("out.append({})", "out.append({})", "out += [{}]").format(self.floating())]

    def _state(self, at: Inside) -> list[str]:
        return [f"state.{self.pick('assign', 'assign_add')}(hold({self.floating()}))"]

    def _show(self, at: Inside) -> list[str]:
        return [f"td.print({self.number(0, 9)}, hold({self.floating()}), {self.pick(*INTS)} % 5)"]

    def _assert(self, at: Inside) -> list[str]:
        name = self.pick(*FLOATS)
        return [f"assert {name} > -100000.3, f'too small: {{{name}}}'"]

    def _if(self, at: Inside) -> list[str]:
        inner = Inside(at.depth + 1, at.loops, at.leave)
        out = [f"if {self.condition()}:", *self.block(inner)]
        if self.maybe():
            out += [f"elif {self.condition()}:", *self.block(inner)]
        return out + (["else:", *self.block(inner)] if self.maybe() else [])

    def _for(self, at: Inside) -> list[str]:
        if at.loops > 1:
            return self._float(at)
        heads = [
            f"for {self.pick(*INTS)} in LOOP({self.pick('n', '3', 'n % 3', '1, n', '4, 0, -1', '0')}):",
            f"for {self.pick(*INTS)} in LOOP({self.pick('n', 'i % 4', '2')}):",
            f"for {self.pick(*FLOATS)} in {self.vector(1)}:",
            f"for {self.pick(*INTS)} in range({self.pick('2', '3', 'n', '1, n')}):",
            f"for a, b in zip({self.vector(1)}, {self.vector(1)}):",
            f"for i, a in enumerate({self.vector(1)}):",
            f"for a in reversed({self.vector(1)}):",
            f"for a in [{self.floating(1)}, {self.floating(1)}]:",
            f"for i, a in enumerate([{self.floating(1)}, b]):",
        ]
        head = heads[self.number(0, len(heads) - 1)]
        out = [head, *self.block(Inside(at.depth + 1, at.loops + 1, True))]
        if self.maybe():
            out += ["else:", *self.block(Inside(at.depth + 1, at.loops, at.leave), 1)]
        return out

    def _while(self, at: Inside) -> list[str]:
        if at.loops > 1:
            return self._float(at)
        self.fuel += 1
        fuel = f"left{self.fuel}"
        out = [f"{fuel} = {self.number(1, 4)}", f"while {fuel} > 0 and {self.condition(1)}:", f"    {fuel} -= 1"]
        out += self.block(Inside(at.depth + 1, at.loops + 1, True))
        if self.maybe():
            out += ["else:", *self.block(Inside(at.depth + 1, at.loops, at.leave), 1)]
        return out

    def _with(self, at: Inside) -> list[str]:
        return ["with nullcontext():", *self.block(Inside(at.depth + 1, at.loops, at.leave))]

    def _try(self, at: Inside) -> list[str]:
        inner = Inside(at.depth + 1, at.loops, at.leave)
        return [
            "try:",
            *self.block(inner),
            "finally:",
            f"    {self.pick('b = b + 0.5', 'k += 1', 'state.assign_add(0.5)')}",
        ]

    def _nested(self, at: Inside) -> list[str]:
        name = f"inner{self.lines}"
        body = self.pick(
            "return t + c", f"if t > {self.floating(1)} + 0.3:\n        return t - 0.5\n    return hold(t)"
        )
        return (
            [
                f"def {name}(t):",
                *("    " + x.removeprefix("    ") for x in body.split("\n")),
                f"b = {name}({self.floating(1)})",
            ]
            if "\n" not in body
            else [
                f"def {name}(t):",
                f"    {body.splitlines()[0]}",
                f"        {body.splitlines()[1].strip()}",
                f"    {body.splitlines()[2].strip()}",
                f"b = {name}({self.floating(1)})",
            ]
        )

    def _leave(self, at: Inside) -> list[str]:
        return [self.pick("break", "continue")]

    def _return(self, at: Inside) -> list[str]:
        return [f"return {self.floating()}, {self.integer()}, {self.vector()}"]

    # -- the whole -----------------------------------------------------------------------------------------------------

    def program(self) -> str:
        helper = self._helper()
        body = self.block(Inside(), 5)
        start = [f"    b = {self.pick('1.5', 'x - 1', '0.0', '1')}", f"    c = {self.pick('0.25', 'x * 0.5', '0')}"]
        start += [
            f"    i = {self.pick('0', 'n', '3')}",
            "    j = 1",
            f"    k = {self.pick('n + 1', '2')}",
            "    out = [x]",
        ]
        end = self.pick(
            "    return a + b * 0.5 + c * 0.25, i + 31 * j + 961 * k, u + v",
            "    for o in out:\n        c = hold(c * 0.5 + o)\n    return c, i + j + k, u - v",
            "    return total(out), len(out) + i, v",
            "    return out[-1], i, u",
        )
        text = [*helper, "def f(x, w, n):", "    a, u = x, w", "    v = u * 0.5", *start, *body, *end.splitlines(), ""]
        return "\n".join(text)

    def _helper(self) -> list[str]:
        kept, self.lines = self.lines, MAX_LINES
        first = self.pick("if s > t + 0.3:", "if hold(s * t) < 0.3:", "if FLAG:")
        second = self.pick("return s - t", "t = t * 0.5", "s = s + 1.0")
        self.lines = kept
        return ["def helper(s, t=0.5):", f"    {first}", f"        {second}", "    return s + t * 0.5", ""]


@st.composite
def programs(draw: Any) -> str:
    """The text of a module that defines `f(x, w, n)`."""
    return Writer(lambda low, high: draw(st.integers(low, high))).program()


# -- running -------------------------------------------------------------------------------------------------------------


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


# -- many ----------------------------------------------------------------------------------------------------------------


def shrink(text: str, fails: Callable[[str], bool]) -> str:
    """The program without the lines and blocks that it can do without and still fail."""
    lines = text.splitlines()
    place = 0
    while place < len(lines):
        depth = len(lines[place]) - len(lines[place].lstrip())
        stop = place + 1
        while stop < len(lines) and (not lines[stop].strip() or len(lines[stop]) - len(lines[stop].lstrip()) > depth):
            stop += 1
        inner = [line[4:] for line in lines[place + 1 : stop]]
        tries = [[], inner] if inner else [[]]
        tries += [["    " * (depth // 4) + "pass"]] if lines[place].strip() != "pass" else []
        for instead in tries:
            shorter = [*lines[:place], *instead, *lines[stop:]]
            if fails("\n".join(shorter) + "\n"):
                lines, place = shorter, -1
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
