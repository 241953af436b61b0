"""Debuggers and readers: breakpoints on the user's lines under run_eagerly, and the rewritten source, short to read."""

import ast
import bdb
import inspect

import numpy as np
import pytest

import treadle as td

# -- breakpoints -------------------------------------------------------------------------------------------------------


@td.function
def helper(x):
    scaled = x * 2.0
    return scaled


@td.function
def loops(x, n):
    y = x
    for i in td.range(n):
        if y > 4.0:
            y = y - helper(x)
        else:
            y = y + 3.0
    while y > 10.0:
        y = y / 2.0
    return y


class Breaks(bdb.Bdb):
    """Notes each stop: the line within its function, and the locals."""

    def __init__(self):
        super().__init__()
        self.stops = []

    def user_line(self, frame):
        if self.break_here(frame):
            first = frame.f_code.co_firstlineno
            self.stops.append((frame.f_code.co_name, frame.f_lineno - first, dict(frame.f_locals)))
        self.set_continue()


def line_of(f, text):
    lines, first = inspect.getsourcelines(f.python_function)
    return first + next(k for k, line in enumerate(lines) if text in line)


def stops(f, args, lines):
    debugger = Breaks()
    for line in lines:
        assert debugger.set_break(__file__, line) is None
    try:
        result = debugger.runcall(f, *args)
    finally:
        debugger.clear_all_breaks()
    return result, debugger.stops


def test_breakpoints_are_hit_under_run_eagerly():
    plus, inside = line_of(loops, "y = y + 3.0"), line_of(helper, "scaled = x * 2.0")
    args = (td.asarray(2.0), td.asarray(4))
    with td.run_eagerly(True):
        result, found = stops(loops, args, [plus, inside])
    assert [(name, int(state["i"]) if "i" in state else None) for name, _, state in found] == [
        ("loops", 0), ("helper", None), ("loops", 2), ("loops", 3),
    ]  # fmt: skip
    assert [state["y"].item() for name, _, state in found if name == "loops"] == [2.0, 1.0, 4.0]
    assert all(isinstance(state["x"], td.Tensor) and not td.is_traced(state["x"]) for _, _, state in found)
    assert result.item() == loops(*args).item() == 7.0


def test_breakpoints_are_hit_while_tracing_too():
    """Converted code keeps the user's file and lines; values are traced tensors there."""

    @td.function
    def fresh(x):
        if x > 0.0:
            y = x * 2.0
        else:
            y = x
        return y

    _, found = stops(fresh, (td.asarray(1.0),), [line_of(fresh, "y = x * 2.0")])
    assert len(found) == 1
    assert td.is_traced(found[0][2]["x"])


# -- the rewritten source ----------------------------------------------------------------------------------------------


@td.function
def newton(a, steps):
    guess = a
    for _ in td.range(steps):
        guess = (guess + a / guess) / 2.0
    return guess


@td.function
def collatz(n):
    count = 0
    while n != 1:
        if n % 2 == 0:
            n = n // 2
        else:
            n = 3 * n + 1
        count += 1
    return count


@td.function
def first_above(xs, limit):
    for x in xs:
        if x > limit:
            return x
    return limit


@td.function
def early(x, n):
    total = x * 0.0
    for i in td.range(n):
        if i == 1:
            continue
        total = total + x
        if total > 6.0 and i > 2:
            break
    return total


@td.function
def absolute(x):
    return x if x > 0.0 else -x


READABLE = [
    (newton, (td.asarray(2.0), td.asarray(4)), 1.4142),
    (collatz, (td.asarray(6),), 8),
    (first_above, (td.asarray([1.0, 5.0, 9.0]), 3.0), 5.0),
    (early, (td.asarray(2.0), td.asarray(9)), 8.0),
    (absolute, (td.asarray(-2.0),), 2.0),
]


@pytest.mark.parametrize(("f", "args", "wanted"), READABLE, ids=[f.__name__ for f, _, _ in READABLE])
def test_converted_source_is_short_and_uses_the_users_words(f, args, wanted):
    np.testing.assert_allclose(f(*args).numpy(), wanted, rtol=1e-4)
    text = f.converted_source
    tree = ast.parse(text)
    lines, first = inspect.getsourcelines(f.python_function)
    body = [line for line in lines if line.strip() and not line.strip().startswith("@")]
    assert len(text.splitlines()) <= 5 * len(body)
    assert max(map(len, text.splitlines())) < 200
    source = ast.parse(inspect.cleandoc("".join(lines)))
    own, names = words(source), words(tree)
    assert own <= names  # none is renamed
    assert all(name in own or name.startswith("ag__") for name in names)
    marks = [int(line.rsplit("# line ", 1)[1]) for line in text.splitlines() if "# line " in line]
    statements = {n.lineno + first - 1 for n in ast.walk(source) if isinstance(n, ast.stmt)}
    assert set(marks) <= statements
    assert len(set(marks)) >= len(statements) - 2  # `continue` and `break` have no statement of their own


def words(tree):
    """The names in a function, but for its decorator's."""
    found = {n.id for n in ast.walk(tree.body[0]) if isinstance(n, ast.Name)} - {"td"}
    return found | {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
