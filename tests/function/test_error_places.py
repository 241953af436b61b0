"""Errors name the user's file, line, columns and source, at run time the iteration; treadle's frames are cut off."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

import treadle as td
from treadle.errors import Location, user_location

N = td.asarray(5)


def line_of(text):
    """The number of the line of this file that ends with a marker."""
    (found,) = [k for k, line in enumerate(Path(__file__).read_text().splitlines(), 1) if line.endswith(f"# {text}")]
    return found


@td.function
def asserts(x, n):
    for _ in td.range(n):
        x = x - 1
        assert x > 0, f"x is {x}"  # asserted
    return x


@td.function
def indexes(v, n):
    s = 0.0
    for i in td.range(n):
        s = s + v[i]  # indexed
    return s


@td.function
def logs(x, n):
    for i in td.range(n):
        x = td.log(x - i)  # logged
    return x


@td.function
def raises(x, n):
    for _ in td.range(n):
        if x < 0:
            raise ValueError(f"bad {x}")  # raised
        x = x - 1
    return x


@td.function
def nested(x, n):
    for _ in td.range(n):
        for _ in td.range(3):
            x = x - 1
            assert x > 0  # nested
    return x


def checked():
    with td.debug.check_numerics():
        return logs(td.asarray(2.0), N)


def slope():
    with td.GradientTape() as tape:
        v = td.ones(3)
        tape.watch(v)
        return tape.gradient(indexes(v, N), v)


@pytest.mark.parametrize(
    ("run", "kind", "message", "marker", "marked", "iteration"),
    [
        (lambda: asserts(td.asarray(2.0), N), td.errors.AssertionFailed, "x is 0.0", "asserted", "x > 0", 1),
        (lambda: indexes(td.ones(3), N), td.errors.IndexOutOfRange, "index 3 is out of range", "indexed", "v[i]", 3),
        (slope, td.errors.IndexOutOfRange, "index 3 is out of range", "indexed", "v[i]", 3),
        (checked, td.errors.NumericsError, "log gave", "logged", "td.log(x - i)", 1),
        (lambda: raises(td.asarray(1.0), N), ValueError, "bad -1.0", "raised", 'ValueError(f"bad {x}")', 2),
        (lambda: nested(td.asarray(5.0), N), td.errors.AssertionFailed, "does not hold", "nested", "x > 0", 1),
    ],
    ids=["assert", "index", "gradient", "numerics", "raise", "nested"],
)
def test_at_run_time(run, kind, message, marker, marked, iteration):
    with pytest.raises(kind) as caught:
        run()
    text = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert message in text
    assert f'File "{__file__}", line {line_of(marker)}' in text
    lines = text.splitlines()
    (marks,) = [k for k, line in enumerate(lines) if line.strip() and not line.strip().strip("^")]
    start = lines[marks].index("^")
    assert lines[marks - 1][start : start + lines[marks].count("^")] == marked
    if iteration is not None:
        assert f"in iteration {iteration} of the loop at test_error_places.py:" in text
    assert {frame.filename for frame in traceback.extract_tb(caught.value.__traceback__)} == {__file__}


def test_the_full_traceback_is_an_option(monkeypatch):
    def files():
        with pytest.raises(td.errors.AssertionFailed) as caught:
            asserts(td.asarray(2.0), N)
        return {frame.filename for frame in traceback.extract_tb(caught.value.__traceback__)}

    assert files() == {__file__}
    monkeypatch.setattr(td.config, "full_tracebacks", True)
    assert any(file.endswith("executor.py") for file in files())


def test_columns_of_places(tmp_path, monkeypatch):
    here = user_location()
    assert here.source[here.column - 4 : here.end - 4] == "user_location()"
    assert str(here).splitlines()[-1] == " " * 4 + " " * len("here = ") + "^" * len("user_location()")
    file = tmp_path / "user.py"
    file.write_text("    é = f(x)\n    g(\n        x)\nwhole()\n")
    assert Location(str(file), 1, "f", 9, 13).marks == " " * 4 + "^" * 4  # columns count bytes, marks letters
    assert Location(str(file), 2, "f", 4, None).marks == ""
    assert Location(str(file), 4, "f", 0, 7).marks == ""  # all of the line
    assert Location(str(file), 1, "f").marks == ""
    assert Location(str(file), 9, "f", 3, 4).marks == ""


def test_places_while_tracing():
    @td.function
    def f(x):
        y = x + 1
        return y @ td.ones((7, 2)) + 1  # product

    with pytest.raises(td.errors.ShapeError) as caught:
        f(td.ones((3,)))
    assert f"line {line_of('product')}" in str(caught.value)
    assert str(caught.value).splitlines()[-1].count("^") == len("y @ td.ones((7, 2))")
    assert [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)][-1] == "f"
