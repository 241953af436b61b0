"""Random programs: converted ones do what Python does, on plain values and on stand-ins for traced ones."""

from __future__ import annotations

import ast
import linecache
import sys
from itertools import count

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from treadle.autograph import convert_function, operators
from treadle.compile.program import program_for
from treadle.control.call import interpret_arrays
from treadle.control.staging import Range
from treadle.core.dtypes import int64
from treadle.core.mode import activate
from treadle.core.spec import Spec
from treadle.core.tracer import Tracer, trace
from treadle.ops.convert import as_tensor

FAKE = sys.modules["treadle_tests_fake_staging"]
NAMES = ["a", "b", "c", "d"]
_numbers = count()


@st.composite
def expressions(draw, depth=0):
    kind = draw(st.sampled_from(["name", "number", "binary", "if", "and", "chain", "call"][: 2 if depth > 1 else 7]))
    part = expressions(depth + 1)
    if kind == "name":
        return draw(st.sampled_from(NAMES[:3]))
    if kind == "number":
        return str(draw(st.integers(-2, 4)))
    if kind == "binary":
        return f"({draw(part)} {draw(st.sampled_from(['+', '-', '*']))} {draw(part)}) % 17"
    if kind == "if":
        return f"({draw(part)} if {draw(part)} > 0 else {draw(part)})"
    if kind == "and":
        return f"(({draw(part)} > 1) {draw(st.sampled_from(['and', 'or']))} not ({draw(part)} < 2)) * 1"
    if kind == "chain":
        return f"({draw(part)} < {draw(part)} <= {draw(part)}) * 1"
    return f"(lambda v: v + 1 if v > a else v)({draw(part)})"


@st.composite
def blocks(draw, depth, loop, staged):
    lines = []
    for _ in range(draw(st.integers(1, 3))):
        lines += draw(statements(depth, loop, staged))
    return ["    " + line for line in lines]


@st.composite
def statements(draw, depth, loop, staged):
    kinds = ["assign", "assign", "augment"]
    if depth < 3:
        kinds += ["if", "if", "for", "while"] + ([] if staged else ["try", "with", "forin", "del"])
    if loop:
        kinds += ["leave", "leave"]
    kinds += ["return"] * (depth > 0)
    kind = draw(st.sampled_from(kinds))
    name = draw(st.sampled_from(NAMES if not staged else NAMES[:3]))
    inner = blocks(depth + 1, loop, staged)
    looped = blocks(depth + 1, True, staged)
    value = expressions()
    if kind == "assign":
        return [f"{name} = {draw(value)}"]
    if kind == "augment":
        return [f"{draw(st.sampled_from(NAMES[:3]))} += {draw(value)}"]
    if kind == "if":
        out = [f"if {draw(value)} > {draw(st.integers(0, 3))}:", *draw(inner)]
        if draw(st.booleans()):
            out += [f"elif {draw(value)} < 1:", *draw(inner)]
        return out + (["else:", *draw(inner)] if draw(st.booleans()) else [])
    if kind == "for":
        out = [f"for {name} in {'LOOP' if staged else 'range'}({draw(st.integers(0, 3))}):", *draw(looped)]
        return out + (["else:", *draw(inner)] if draw(st.booleans()) else [])
    if kind == "forin":
        return [f"for {name} in [{draw(value)}, {draw(value)}]:", *draw(looped)]
    if kind == "while":
        fuel = f"f{next(_numbers)}"
        out = [f"{fuel} = 0", f"while {fuel} < 4 and {draw(value)} < 9:", f"    {fuel} += 1", *draw(looped)]
        return out + (["else:", *draw(inner)] if draw(st.booleans()) else [])
    if kind == "try":
        out = ["try:", *draw(inner), "    c = 8 // a", "except ZeroDivisionError:", *draw(inner)]
        return out + (["finally:", "    b = b + 1"] if draw(st.booleans()) else [])
    if kind == "with":
        return ["with suppress(ZeroDivisionError):", *draw(inner), "    b = 9 // c"]
    if kind == "del":
        return [f"{name} = 1", f"del {name}"]
    if kind == "leave":
        return [draw(st.sampled_from(["break", "continue"]))]
    return [f"return {draw(value)}"]


def define(lines, loop=range):
    """The function `f(a, b, c)` of this body, with its text where tracebacks and the converter look for it."""
    text = "\n".join(["def f(a, b, c):", *lines, "    return a + 31 * b + 961 * c", ""])
    ast.parse(text)
    name = f"<program {next(_numbers)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    space = {"LOOP": loop, "suppress": __import__("contextlib").suppress}
    exec(compile(text, name, "exec"), space)
    return space["f"]


def outcome(function, values):
    try:
        return function(*values)
    except (NameError, ZeroDivisionError) as error:
        return UnboundLocalError if isinstance(error, NameError) else type(error)


SETTINGS = settings(
    derandomize=True,
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
POINTS = [(0, 1, 2), (3, 0, -1), (5, 5, 5)]


@SETTINGS
@given(blocks(0, False, False))
def test_plain_values(lines):
    function = define(lines)
    twin = convert_function(function).function
    for values in POINTS:
        assert outcome(twin, values) == outcome(function, values)


@settings(SETTINGS, max_examples=8)  # what they find, the traced values below find too, but these say which name
@given(blocks(0, False, True))
def test_stand_ins_for_traced_values(lines):
    twin = convert_function(define(lines, FAKE.StagedRange)).function
    for values in POINTS:
        with pytest.MonkeyPatch.context() as patch, activate(Tracer("test")):
            patch.setattr(operators, "staging", FAKE)
            got = twin(*map(FAKE.Staged, values))
        assert FAKE.plain(got) == define(lines)(*values)


@SETTINGS
@given(blocks(0, False, True), st.integers(0, 2))
def test_traced_values(lines, number):
    twin = convert_function(define(lines, Range)).function
    traced = trace(lambda *symbols: [as_tensor(twin(*symbols))], [Spec((), int64)] * 3, "f")
    for values in POINTS:
        inputs = [np.asarray(v, np.int64) for v in values] + [t.array for t in traced.captures]
        (interpreted,) = interpret_arrays(traced.graph, inputs)
        assert interpreted.item() == define(lines)(*values)
        if number == 0:  # a third of the programs is compiled
            (compiled,) = program_for(traced.graph, [x.shape for x in inputs]).run(inputs)
            assert compiled.item() == interpreted.item()
