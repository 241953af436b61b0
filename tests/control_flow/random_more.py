"""More kinds of statements for random functions: objects with state, records, generators, match, nonlocal, walruses."""

from __future__ import annotations

from typing import Any

HEADER = """\
from dataclasses import dataclass


@dataclass
class Pair:
    p: object
    q: object


class Tally:
    def __init__(self, first):
        self.total, self.count = first, 0

    def add(self, t):
        if t > 0.3:
            self.total = hold(self.total + t)
            self.count += 1
        return self.total

    @property
    def half(self):
        return self.total * 0.5 if self.count > 1 else self.total - 0.25

"""
START = ["    tally, rec = Tally(c), Pair(b, k)"]


class More:
    """Beside the statements of `random_functions.Writer`, which it is a base of."""

    pick: Any
    floating: Any
    integer: Any
    vector: Any
    block: Any
    condition: Any
    lines: int

    def _method(self, at: Any) -> list[str]:
        return [f"b = tally.add({self.floating()})"]

    def _attribute(self, at: Any) -> list[str]:
        return [self.pick(f"tally.total = hold({self.floating()})", "tally.count += 1", "a = tally.half")]

    def _record(self, at: Any) -> list[str]:
        kind = self.pick("new", "read", "store")
        if kind == "new":
            return [f"rec = Pair(hold({self.floating()}), {self.integer()})"]
        return ["b, k = rec.p, rec.q"] if kind == "read" else [f"rec.p = hold({self.floating()} + rec.p)"]

    def _generator(self, at: Any) -> list[str]:
        items = f"{self.vector(1)}"
        chosen = self.pick(
            f"sum(t * 0.5 for t in {items} if t > {self.floating(1)} + 0.3)",
            f"sum(hold(t * s) for t in {items} for s in {self.vector(1)})",
            f"max(hold(t - {self.floating(1)}) for t in {items})",
            f"sum(hold(t * 0.5) for t in LOOP({self.pick('n', 'i % 4')}))",
        )
        return [f"c = hold({chosen})"]

    def _read(self, at: Any) -> list[str]:
        return [self.pick("a = out[-1]", "b = out[0] * 0.5", f"out.append(hold(out[-1] + {self.floating()}))")]

    def _element(self, at: Any) -> list[str]:
        place = f"out[{self.integer(1)} % len(out)]"
        return [self.pick(f"a = {place}", f"b = hold({place} * 0.5)", f"{place} = hold({self.floating()})")]

    def _items(self, at: Any) -> list[str]:
        several = [f"if len(out) > {self.pick(2, 3, 5)}:"]
        kind = self.pick("pop", "delete", "insert", "search", "sort", "turn", "cut")
        if kind == "pop":
            return [*several, f"    c = out.pop({self.pick('0', '-1', '1', '-2', 'k % 2')})"]
        if kind == "delete":
            return [*several, f"    del out[{self.pick('0', 'k % 2', '-1')}]"]
        if kind == "insert":
            return [f"out.insert({self.pick('0', '1', 'k % 3', '-1')}, hold({self.floating()}))"]
        if kind == "search":
            found = self.pick("out.count(out[0])", "out.index(out[-1])", "out.index(out[len(out) // 2])")
            return [f"k = (k + {found}) % 17"]
        if kind == "sort":
            return [self.pick("out.sort()", "out.sort(key=lambda t: -t)", "a = sorted(out)[0]", "c = max(out)")]
        return [self.pick("out.reverse()", "b = sum(out[1:]) * 0.125", "out = out[1:] + out[:1]")]

    def _among(self, at: Any) -> list[str]:
        inner = type(at)(at.depth + 1, at.loops, at.leave)
        test = self.pick(f"{self.floating(1)} in out", "a not in out", "out and a > b + 0.3", "not out[2:]")
        return [f"if {test}:", *self.block(inner)]

    def _bump(self, at: Any) -> list[str]:
        name = f"bump{self.lines}"
        return [
            f"def {name}(t):",
            "    nonlocal b, k",
            f"    if t > {self.floating(1)} + 0.3:",
            "        b, k = hold(b + t), (k + 1) % 17",
            f"{name}({self.floating(1)})",
        ]

    def _match(self, at: Any) -> list[str]:
        inner = type(at)(at.depth + 1, at.loops, at.leave)
        if self.pick("literals", "parts") == "literals":
            first = [f"match {self.integer(1)}:", "    case 0:", *self._in(inner), "    case 1 | 2:", *self._in(inner)]
        else:
            subject = f"({self.floating(1)}, {self.integer(1)})"
            first = [f"match {subject}:", "    case (t, 3) | (t, 1) if t > 0.3:", *self._in(inner)]
            first += ["    case (t, m):", "        c = hold(t + m)"]
            return first
        return [*first, "    case _:", *self._in(inner)] if self.pick("yes", "no") == "yes" else first

    def _in(self, at: Any) -> list[str]:
        return ["    " + line for line in self.block(at, 2)]

    def _walrus(self, at: Any) -> list[str]:
        inner = type(at)(at.depth + 1, at.loops, at.leave)
        return [f"if (c := hold({self.floating()})) > a + 0.3:", *self.block(inner)]


SIMPLE = ("method", "attribute", "record", "generator", "read", "element", "items", "bump")
NESTED = ("match", "among", "walrus")
