"""Writes random Python functions as source text: nested branches, loops, exits, lists, helpers, effects.

Numbers are multiples of 1/8 that `hold` keeps small, so that every way of computing gives the same bits and no
comparison can flip by rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from random_more import HEADER, NESTED, SIMPLE, START, More

FLOATS, INTS, VECTORS = ["a", "b", "c"], ["i", "j", "k"], ["u", "v"]
MAX_LINES = 16
AVOID: set[str] = set()  # kinds of statements and expressions left out, for a look at the rest


@dataclass(frozen=True, slots=True)
class Inside:
    """Where a statement stands: depth, inside how many loops, in a loop at all, in a helper."""

    depth: int = 0
    loops: int = 0
    leave: bool = False


class Writer(More):
    """Writes one program; `number(low, high)` makes all choices: hypothesis, which can shrink them, or plain chance."""

    def __init__(self, number: Callable[[int, int], int]) -> None:
        self.number = number
        self.lines = 0
        self.fuel = 0
        self.most = MAX_LINES

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
            if self.lines > self.most and lines:
                break
            lines += self.statement(at)
        return ["    " + line for line in lines]

    def statement(self, at: Inside) -> list[str]:
        self.lines += 1
        kinds = ["float", "float", "integer", "vector", "augment", "augment", "pair", "append", "append", "extend"]
        kinds += ["state", "show", "assert"] if at.depth < 3 else []
        kinds += SIMPLE
        if at.depth < 3 and self.lines < self.most:
            kinds += ["if", "if", "if", "for", "for", "while", "with", "try", "nested", *NESTED]
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
        return [f"out.append({self.floating()})"]

    def _extend(self, at: Inside) -> list[str]:
        return [f"out += [{self.floating()}]"]

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
        self.most = (4, 8, 16)[self.number(0, 2)]
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
            "    return tally.half + rec.p, tally.count + rec.q, u",
        )
        start += START
        text = [
            HEADER,
            *helper,
            "def f(x, w, n):",
            "    a, u = x, w",
            "    v = u * 0.5",
            *start,
            *body,
            *end.splitlines(),
            "",
        ]
        return "\n".join(text)

    def _helper(self) -> list[str]:
        kept, self.lines = self.lines, self.most
        first = self.pick("if s > t + 0.3:", "if hold(s * t) < 0.3:", "if FLAG:")
        second = self.pick("return s - t", "t = t * 0.5", "s = s + 1.0")
        self.lines = kept
        return ["def helper(s, t=0.5):", f"    {first}", f"        {second}", "    return s + t * 0.5", ""]


@st.composite
def programs(draw: Any) -> str:
    """The text of a module that defines `f(x, w, n)`."""
    return Writer(lambda low, high: draw(st.integers(low, high))).program()
