"""Tiles of matrix products as LLVM text: a few rows of a result, two vectors wide, kept in registers over all of k.

A tile of R rows reads R numbers of A and two vectors of B for each of k, and adds 2 R products of vectors: 6 rows by
2 vectors fill the 16 registers of AVX2. The words that kernel text may use (kind is f4 or f8, an address an int64):

    lanes_<kind>()          numbers in a vector of this processor
    tile_<kind>_<R>(k, a, row, step, b, next, c, down, n, add)
                            C[R, n] = A B, or C + s A B where `add` is the address of s, not 0; n <= 2 vectors; `row`
                            and `step` are bytes along A's rows and k, `next` those from a row of B to the next, `down`
                            C's; A B is summed by itself, so that a large C costs it no digits
    panel_<kind>(k, b, next, p, n)
                            rows of n numbers side by side, with zeros behind them
    turned_<kind>(b, down, p, next)
                            a square of lanes x lanes transposed: from rows `down` bytes apart to rows `next` apart
    pairs_<kind>(a, b, c)   products of complex numbers, whose parts lie side by side: a vector at each address
    peak_<kind>(a, n)       the place of the largest of n numbers, dip_<kind>(a, n) of the smallest: see `peaks`
    room_<kind>(count)      memory on the stack for a panel of `count` rows, aligned
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from llvmlite import ir

from treadle.compile.llvm.llvm_text import Module, Operand
from treadle.compile.llvm.loader import host

ROWS = 6  # of the largest tile
I64 = ir.IntType(64)
NAMES = {"f4": "float", "f8": "double", "i4": "i32", "i8": "i64"}
_WORD = re.compile(r"(?:(lanes|tile|panel|turned|pairs|room)_(f4|f8)(?:_(\d))?|(peak|dip)_([fi][48]))$")
ARGUMENTS = {"lanes": 0, "tile": 10, "panel": 5, "turned": 4, "pairs": 3, "room": 1}


@cache
def vector_bytes() -> int:
    """Bytes in a vector register of this processor."""
    features = host()[2]
    return 64 if "+avx512f" in features else 32 if "+avx," in features or features.endswith("+avx") else 16


def understood(word: str) -> int | None:
    """How many numbers a word takes; None where it is none of those here."""
    found = _WORD.match(word)
    if found is not None and found[4]:
        return 2
    return None if found is None or (found[3] is None) == (found[1] == "tile") else ARGUMENTS[found[1]]


def call(builder: Any, word: str, values: Sequence[Any]) -> Any:
    """The LLVM value of a word."""
    found = _WORD.match(word)
    assert found is not None
    if found[4]:
        return _place(builder, word, found[5], found[4] == "peak", values)
    kind = found[2]
    if found[1] == "lanes":
        return ir.Constant(I64, vector_bytes() // int(kind[1]))
    if found[1] == "room":
        return _room(builder, int(str(values[0].get_reference())))
    name = f"treadle.{word}"
    module: Module = builder.module
    if name not in module.globals:
        function = ir.FunctionType(I64, [I64] * len(values))
        module.globals[name] = Operand(function.as_pointer(), f'@"{name}"')
        writers = {"tile": lambda: _tile(name, kind, int(found[3])), "panel": lambda: _panel(name, kind)}
        writers |= {"turned": lambda: _turned(name, kind), "pairs": lambda: _pairs(name, kind)}
        module.parts.append(writers[found[1]]())
        _declare(module, kind)
    return builder.call(module.globals[name], values)


def _place(builder: Any, word: str, kind: str, largest: bool, values: Sequence[Any]) -> Any:
    """A call of one of the functions in `peaks`."""
    from treadle.compile.llvm import peaks

    name, module = f"treadle.{word}", builder.module
    if name not in module.globals:
        module.globals[name] = Operand(ir.FunctionType(I64, [I64] * 2).as_pointer(), f'@"{name}"')
        module.parts.append(peaks.write(name, kind, largest))
    return builder.call(module.globals[name], values)


def _room(builder: Any, rows: int) -> Any:
    place = builder.alloca(ir.ArrayType(I64, rows * 2 * vector_bytes() // 8 + 8))
    start = builder.add(builder.ptrtoint(place, I64), I64(63))
    return builder.and_(start, I64(-64))


def _vector(kind: str) -> tuple[str, int]:
    lanes = vector_bytes() // int(kind[1])
    return f"<{lanes} x {NAMES[kind]}>", lanes


def _declare(module: Module, kind: str) -> None:
    vector, lanes = _vector(kind)
    for name, text in (
        ("masked.load", f"declare {vector} @{{}}(ptr, i32, <{lanes} x i1>, {vector})"),
        ("masked.store", f"declare void @{{}}({vector}, ptr, i32, <{lanes} x i1>)"),
    ):
        full = f"llvm.{name}.v{lanes}{'f32' if kind == 'f4' else 'f64'}.p0"
        if full not in module.globals:
            module.globals[full] = Operand(I64, f'@"{full}"')
            module.parts.append(text.format(full))


class Lines:
    """Lines of one function, with names for what they make."""

    def __init__(self, kind: str) -> None:
        """kind: of the numbers that it works on."""
        self.kind = kind
        self.size = int(kind[1])
        self.vector, self.lanes = _vector(kind)
        self.mask = f"<{self.lanes} x i1>"
        self.suffix = f"v{self.lanes}{'f32' if kind == 'f4' else 'f64'}.p0"
        self.lines: list[str] = []
        self._count = 0

    def add(self, line: str) -> None:
        """A line that makes no value."""
        self.lines.append(line)

    def let(self, line: str) -> str:
        """The name of what a line makes."""
        self._count += 1
        self.lines.append(f"%t{self._count} = {line}")
        return f"%t{self._count}"

    def at(self, address: str, offset: str | int = 0) -> str:
        """A pointer to an address and some bytes."""
        if offset not in (0, "0"):
            address = self.let(f"add i64 {address}, {offset}")
        return self.let(f"inttoptr i64 {address} to ptr")

    def load(self, place: str) -> str:
        """A vector from memory."""
        return self.let(f"load {self.vector}, ptr {place}, align {self.size}")

    def store(self, value: str, place: str) -> None:
        """A vector to memory."""
        self.add(f"store {self.vector} {value}, ptr {place}, align {self.size}")

    def masked_load(self, place: str, mask: str) -> str:
        """The numbers under a mask, zeros beside them."""
        given = f"ptr {place}, i32 {self.size}, {self.mask} {mask}, {self.vector} zeroinitializer"
        return self.let(f'call {self.vector} @"llvm.masked.load.{self.suffix}"({given})')

    def masked_store(self, value: str, place: str, mask: str) -> None:
        """The numbers under a mask to memory; what lies beside them stays."""
        given = f"{self.vector} {value}, ptr {place}, i32 {self.size}, {self.mask} {mask}"
        self.add(f'call void @"llvm.masked.store.{self.suffix}"({given})')

    def spread(self, number: str, kind: str, count: int) -> str:
        """A number in all lanes."""
        one = self.let(f"insertelement <{count} x {kind}> poison, {kind} {number}, i32 0")
        vector = f"<{count} x {kind}>"
        return self.let(f"shufflevector {vector} {one}, {vector} poison, <{count} x i32> zeroinitializer")

    def first(self, count: str, vectors: int) -> list[str]:
        """Masks of the first `count` numbers of so many vectors."""
        n = self.spread(count, "i64", self.lanes)
        masks = []
        for v in range(vectors):
            places = ", ".join(f"i64 {v * self.lanes + k}" for k in range(self.lanes))
            masks.append(self.let(f"icmp slt <{self.lanes} x i64> <{places}>, {n}"))
        return masks


def _tile(name: str, kind: str, rows: int) -> str:
    """See the module: a loop over k two vectors wide; of six rows also one for columns that fill no more than one."""
    w = Lines(kind)
    if rows < ROWS:  # at most once a panel, so that the second vector may be for nothing
        w.add("br label %wide2")
        _tile_loop(w, rows, 2)
    else:
        w.add(f"%wide = icmp sgt i64 %n, {w.lanes}")
        w.add("br i1 %wide, label %wide2, label %wide1")
        for vectors in (2, 1):
            _tile_loop(w, rows, vectors)
    parameters = "i64 %k, i64 %a, i64 %row, i64 %step, i64 %b, i64 %next, i64 %c, i64 %down, i64 %n, i64 %plus"
    return "\n".join([f'define internal i64 @"{name}"({parameters}) nounwind noinline {{', "entry:", *w.lines, "}"])


def _tile_loop(w: Lines, rows: int, vectors: int) -> None:
    """The sums from 0; then, where asked for, C plus a multiple of them; whole vectors are stored at once."""
    v, tag = w.vector, f"{vectors}"
    cells = [(i, j) for i in range(rows) for j in range(vectors)]
    w.add(f"wide{tag}:")
    places: dict[tuple[int, int], str] = {}
    place = "%c"
    for i, j in cells:
        if j == 0 and i:
            place = w.let(f"add i64 {place}, %down")
        places[i, j] = w.at(place, j * w.lanes * w.size)
    masks = w.first("%n", vectors)
    w.add(f"br label %loop{tag}")
    w.add(f"loop{tag}:")
    w.add(f"%q{tag} = phi i64 [ %k, %wide{tag} ], [ %left{tag}, %loop{tag} ]")
    w.add(f"%a{tag} = phi i64 [ %a, %wide{tag} ], [ %on{tag}, %loop{tag} ]")
    w.add(f"%b{tag} = phi i64 [ %b, %wide{tag} ], [ %under{tag}, %loop{tag} ]")
    for i, j in cells:
        w.add(f"%s{tag}.{i}.{j} = phi {v} [ zeroinitializer, %wide{tag} ], [ %r{tag}.{i}.{j}, %loop{tag} ]")
    right = [w.load(w.at(f"%b{tag}", j * w.lanes * w.size)) for j in range(vectors)]
    place = f"%a{tag}"
    for i in range(rows):
        if i:
            place = w.let(f"add i64 {place}, %row")
        number = w.let(f"load {NAMES[w.kind]}, ptr {w.at(place)}, align {w.size}")
        left = w.spread(number, NAMES[w.kind], w.lanes)
        for j in range(vectors):
            product = w.let(f"fmul contract {v} {left}, {right[j]}")
            w.add(f"%r{tag}.{i}.{j} = fadd contract {v} %s{tag}.{i}.{j}, {product}")
    w.add(f"%left{tag} = add i64 %q{tag}, -1")
    w.add(f"%on{tag} = add i64 %a{tag}, %step")
    w.add(f"%under{tag} = add i64 %b{tag}, %next")
    w.add(f"%go{tag} = icmp sgt i64 %left{tag}, 0")
    w.add(f"br i1 %go{tag}, label %loop{tag}, label %end{tag}")
    w.add(f"end{tag}:")
    w.add(f"%alone{tag} = icmp eq i64 %plus, 0")
    w.add(f"br i1 %alone{tag}, label %out{tag}, label %onto{tag}")
    w.add(f"onto{tag}:")
    number = w.let(f"load {NAMES[w.kind]}, ptr {w.at('%plus')}, align {w.size}")
    scale = w.spread(number, NAMES[w.kind], w.lanes)
    for i, j in cells:
        old = w.masked_load(places[i, j], masks[j])
        product = w.let(f"fmul contract {v} {scale}, %r{tag}.{i}.{j}")
        w.add(f"%c{tag}.{i}.{j} = fadd contract {v} {old}, {product}")
    w.add(f"br label %out{tag}")
    w.add(f"out{tag}:")
    for i, j in cells:
        w.add(f"%o{tag}.{i}.{j} = phi {v} [ %r{tag}.{i}.{j}, %end{tag} ], [ %c{tag}.{i}.{j}, %onto{tag} ]")
    w.add(f"%full{tag} = icmp eq i64 %n, {vectors * w.lanes}")
    w.add(f"br i1 %full{tag}, label %whole{tag}, label %part{tag}")
    w.add(f"whole{tag}:")
    for i, j in cells:
        w.store(f"%o{tag}.{i}.{j}", places[i, j])
    w.add("ret i64 0")
    w.add(f"part{tag}:")
    for i, j in cells:
        w.masked_store(f"%o{tag}.{i}.{j}", places[i, j], masks[j])
    w.add("ret i64 0")


def _panel(name: str, kind: str) -> str:
    """See the module; all rows are two vectors long, and where n is less the rest is 0."""
    w = Lines(kind)
    masks = w.first("%n", 2)
    w.add("br label %loop")
    w.add("loop:")
    w.add("%q = phi i64 [ %k, %entry ], [ %left, %loop ]")
    w.add("%from = phi i64 [ %b, %entry ], [ %under, %loop ]")
    w.add("%to = phi i64 [ %p, %entry ], [ %on, %loop ]")
    for j in range(2):
        w.store(w.masked_load(w.at("%from", j * w.lanes * w.size), masks[j]), w.at("%to", j * w.lanes * w.size))
    w.add("%left = add i64 %q, -1")
    w.add("%under = add i64 %from, %next")
    w.add(f"%on = add i64 %to, {2 * w.lanes * w.size}")
    w.add("%go = icmp sgt i64 %left, 0")
    w.add("br i1 %go, label %loop, label %end")
    w.add("end:")
    w.add("ret i64 0")
    parameters = "i64 %k, i64 %b, i64 %next, i64 %p, i64 %n"
    return "\n".join([f'define internal i64 @"{name}"({parameters}) nounwind noinline {{', "entry:", *w.lines, "}"])


def _turned(name: str, kind: str) -> str:
    """See the module: blocks that lie across the diagonal change places, of half the size in each round."""
    w = Lines(kind)
    lanes = w.lanes
    rows = []
    place = "%b"
    for i in range(lanes):
        if i:
            place = w.let(f"add i64 {place}, %down")
        rows.append(w.load(w.at(place)))
    step = lanes // 2
    while step:
        for i in range(lanes):
            if i & step:
                continue
            upper, lower = rows[i], rows[i + step]
            picks = [[c if not c & step else lanes + c - step for c in range(lanes)]]
            picks.append([c + step if not c & step else lanes + c for c in range(lanes)])
            made = []
            for pick in picks:
                words = ", ".join(f"i32 {c}" for c in pick)
                made.append(w.let(f"shufflevector {w.vector} {upper}, {w.vector} {lower}, <{lanes} x i32> <{words}>"))
            rows[i], rows[i + step] = made
        step //= 2
    place = "%p"
    for i in range(lanes):
        if i:
            place = w.let(f"add i64 {place}, %next")
        w.store(rows[i], w.at(place))
    w.add("ret i64 0")
    parameters = "i64 %b, i64 %down, i64 %p, i64 %next"
    return "\n".join([f'define internal i64 @"{name}"({parameters}) nounwind noinline {{', "entry:", *w.lines, "}"])


def _pairs(name: str, kind: str) -> str:
    """See the module: the real parts of a times b, less or plus the imaginary ones of a times b with its parts swapped.

    One product of the two is not rounded, where the processor can: as in NumPy.
    """
    w = Lines(kind)
    lanes, v = w.lanes, w.vector

    def picked(x: str, y: str, places: list[int]) -> str:
        words = ", ".join(f"i32 {c}" for c in places)
        return w.let(f"shufflevector {v} {x}, {v} {y}, <{lanes} x i32> <{words}>")

    a, b = w.load(w.at("%a")), w.load(w.at("%b"))
    real = picked(a, "poison", [c & ~1 for c in range(lanes)])
    imaginary = picked(a, "poison", [c | 1 for c in range(lanes)])
    crossed = w.let(f"fmul {v} {imaginary}, {picked(b, 'poison', [c ^ 1 for c in range(lanes)])}")
    straight = w.let(f"fmul contract {v} {real}, {b}")
    less, more = (w.let(f"{op} contract {v} {straight}, {crossed}") for op in ("fsub", "fadd"))
    w.store(picked(less, more, [c if c % 2 == 0 else lanes + c for c in range(lanes)]), w.at("%c"))
    w.add("ret i64 0")
    head = f'define internal i64 @"{name}"(i64 %a, i64 %b, i64 %c) nounwind alwaysinline {{'
    return "\n".join([head, "entry:", *w.lines, "}"])
