"""Where the largest or smallest of numbers side by side stands, as LLVM text: `peak_<kind>(a, n)`, `dip_<kind>(a, n)`.

Each lane of a few vectors keeps the best that it has met and the place of that; then the lanes are compared. The first
of equal ones counts, and the first NaN before all numbers, which is looked for by itself where there is one.
"""

from __future__ import annotations

from treadle.compile.llvm.tiles import NAMES, Lines

ABREAST = 4  # vectors that are looked at side by side


def write(name: str, kind: str, largest: bool) -> str:
    """The function's text, for kind f4, f8, i4 or i8."""
    w = Lines(kind)
    _lanes(w, kind, largest)
    _rest(w, kind, largest)
    head = f'define internal i64 @"{name}"(i64 %a, i64 %n) nounwind noinline {{'
    return "\n".join([head, "entry:", *w.lines, "}"])


def _better(kind: str, largest: bool) -> str:
    if kind[0] == "f":
        return "fcmp ogt" if largest else "fcmp olt"
    return "icmp sgt" if largest else "icmp slt"


def _lanes(w: Lines, kind: str, largest: bool) -> None:
    """Whole rounds of `ABREAST` vectors; ends in `reduced` with %best, %place, %at and whether a NaN was met."""
    v, lanes, floats = w.vector, w.lanes, kind[0] == "f"
    wide = f"<{lanes} x i{8 * w.size}>"
    better = _better(kind, largest)
    span = ABREAST * lanes
    w.add(f"%enough = icmp sge i64 %n, {span}")
    w.add("br i1 %enough, label %start, label %short")
    w.add("start:")
    first = [w.load(w.at("%a", u * lanes * w.size)) for u in range(ABREAST)]
    odd = _odd(w, first) if floats else "zeroinitializer"
    w.add("br label %loop")
    w.add("loop:")
    w.add(f"%q = phi i64 [ {span}, %start ], [ %further, %body ]")
    for u in range(ABREAST):
        begun = "<" + ", ".join(f"i{8 * w.size} {u * lanes + c}" for c in range(lanes)) + ">"
        w.add(f"%b{u} = phi {v} [ {first[u]}, %start ], [ %c{u}, %body ]")
        w.add(f"%p{u} = phi {wide} [ {begun}, %start ], [ %r{u}, %body ]")
    w.add(f"%odd = phi {w.mask} [ {odd}, %start ], [ %odder, %body ]")
    w.add(f"%further = add i64 %q, {span}")
    w.add("%more = icmp sle i64 %further, %n")
    w.add("br i1 %more, label %body, label %done")
    w.add("body:")
    start = w.let(f"mul i64 %q, {w.size}")
    place = w.let(f"add i64 %a, {start}")
    number = "%q" if w.size == 8 else w.let("trunc i64 %q to i32")
    counted = w.spread(number, f"i{8 * w.size}", lanes)
    values = [w.load(w.at(place, u * lanes * w.size)) for u in range(ABREAST)]
    for u in range(ABREAST):
        steps = ", ".join(f"i{8 * w.size} {u * lanes + c}" for c in range(lanes))
        here = w.let(f"add {wide} {counted}, <{steps}>")
        found = w.let(f"{better} {v} {values[u]}, %b{u}")
        w.add(f"%c{u} = select {w.mask} {found}, {v} {values[u]}, {v} %b{u}")
        w.add(f"%r{u} = select {w.mask} {found}, {wide} {here}, {wide} %p{u}")
    w.add(f"%odder = or {w.mask} %odd, {_odd(w, values) if floats else 'zeroinitializer'}")
    w.add("br label %loop")
    w.add("done:")
    best, at = _joined(w, kind, largest, wide)
    w.add(f"%best = extractelement {v} {best}, i32 0")
    raw = w.let(f"extractelement {wide} {at}, i32 0")
    w.add(f"%place = {'add i64 ' + raw + ', 0' if w.size == 8 else 'zext i32 ' + raw + ' to i64'}")
    bits = w.let(f"bitcast {w.mask} %odd to i{lanes}")
    w.add(f"%met = icmp ne i{lanes} {bits}, 0")
    w.add("br label %rest")


def _odd(w: Lines, values: list[str]) -> str:
    """Lanes in which one of two vectors is NaN, over all pairs."""
    found = [w.let(f"fcmp uno {w.vector} {x}, {y}") for x, y in zip(values[::2], values[1::2], strict=True)]
    while len(found) > 1:
        found = [w.let(f"or {w.mask} {x}, {y}") for x, y in zip(found[::2], found[1::2], strict=True)]
    return found[0]


def _joined(w: Lines, kind: str, largest: bool, wide: str) -> tuple[str, str]:
    """The best of all lanes, and its place, in lane 0."""
    equal = "fcmp oeq" if kind[0] == "f" else "icmp eq"

    def pick(x: str, i: str, y: str, j: str) -> tuple[str, str]:
        above = w.let(f"{_better(kind, largest)} {w.vector} {y}, {x}")
        level, before = w.let(f"{equal} {w.vector} {y}, {x}"), w.let(f"icmp ult {wide} {j}, {i}")
        taken = w.let(f"or {w.mask} {above}, {w.let(f'and {w.mask} {level}, {before}')}")
        return (
            w.let(f"select {w.mask} {taken}, {w.vector} {y}, {w.vector} {x}"),
            w.let(f"select {w.mask} {taken}, {wide} {j}, {wide} {i}"),
        )

    best, at = "%b0", "%p0"
    for u in range(1, ABREAST):
        best, at = pick(best, at, f"%b{u}", f"%p{u}")
    step = w.lanes // 2
    while step:
        words = ", ".join(f"i32 {(c + step) % w.lanes}" for c in range(w.lanes))
        order = f"<{w.lanes} x i32> <{words}>"
        y = w.let(f"shufflevector {w.vector} {best}, {w.vector} poison, {order}")
        j = w.let(f"shufflevector {wide} {at}, {wide} poison, {order}")
        best, at = pick(best, at, y, j)
        step //= 2
    return best, at


def _rest(w: Lines, kind: str, largest: bool) -> None:
    """What fills no round, one by one; and the first NaN where one was met."""
    one, floats = NAMES[kind], kind[0] == "f"
    w.add("short:")
    w.add(f"%only = load {one}, ptr {w.at('%a')}, align {w.size}")
    w.add(f"%strange = {f'fcmp uno {one} %only, %only' if floats else 'icmp ne i64 0, 0'}")
    w.add("br label %rest")
    w.add("rest:")
    w.add("%k = phi i64 [ %q, %done ], [ 1, %short ], [ %on, %step ]")
    w.add(f"%top = phi {one} [ %best, %done ], [ %only, %short ], [ %now, %step ]")
    w.add("%where = phi i64 [ %place, %done ], [ 0, %short ], [ %there, %step ]")
    w.add("%any = phi i1 [ %met, %done ], [ %strange, %short ], [ %many, %step ]")
    w.add("%left = icmp slt i64 %k, %n")
    w.add("br i1 %left, label %step, label %end")
    w.add("step:")
    value = w.let(f"load {one}, ptr {w.at('%a', w.let(f'mul i64 %k, {w.size}'))}, align {w.size}")
    found = w.let(f"{_better(kind, largest)} {one} {value}, %top")
    w.add(f"%now = select i1 {found}, {one} {value}, {one} %top")
    w.add(f"%there = select i1 {found}, i64 %k, i64 %where")
    w.add(f"%many = or i1 %any, {w.let(f'fcmp uno {one} {value}, {value}') if floats else 'false'}")
    w.add("%on = add i64 %k, 1")
    w.add("br label %rest")
    w.add("end:")
    w.add("br i1 %any, label %search, label %out")
    w.add("search:")
    w.add("%s = phi i64 [ 0, %end ], [ %past, %search ]")
    value = w.let(f"load {one}, ptr {w.at('%a', w.let(f'mul i64 %s, {w.size}'))}, align {w.size}")
    w.add(f"%here = {f'fcmp uno {one} {value}, {value}' if floats else 'icmp eq i64 0, 0'}")
    w.add("%past = add i64 %s, 1")
    w.add("br i1 %here, label %out, label %search")
    w.add("out:")
    w.add("%result = phi i64 [ %where, %end ], [ %s, %search ]")
    w.add("ret i64 %result")
