"""The rewritten source is readable: the user's names, the user's line numbers, short."""

from __future__ import annotations

import ast
import inspect
import sys

from treadle.autograph import convert_function

CORPUS = sys.modules["treadle_tests_corpus"]


def newton(x, steps):
    guess = x
    for _ in range(steps):
        if guess > 0:
            guess = (guess + x / guess) / 2
    return guess


def test_source_of_a_small_function():
    line = newton.__code__.co_firstlineno
    text = convert_function(newton).source
    assert text.splitlines()[0].startswith("def newton(x, steps):")
    assert f"# line {line + 4}" in text
    assert "guess = (guess + x / guess) / 2" in text
    assert "def ag__body_" in text
    assert "def ag__then_" in text
    assert len(text.splitlines()) <= 12


def test_every_source_parses_and_has_lines():
    for function, _ in CORPUS.CASES:
        made = convert_function(function)
        if made.missing_source is None:
            ast.parse(made.source)
            assert "# line" in made.source
            lines, first = inspect.getsourcelines(function)
            marks = [int(s.rsplit("# line ", 1)[1]) for s in made.source.splitlines() if "# line " in s]
            assert all(first <= m < first + len(lines) for m in marks)


def test_defaults_are_shown():
    def f(x, y=2, *, z="three"):
        return x or y or z

    assert convert_function(f).source.startswith("def f(x, y=2, *, z='three'):")
    assert convert_function(f).function(0, 0) == "three"


def test_plain_tests_stay_plain():
    def f(x, y=None):
        if isinstance(y, int):
            return x
        return y

    text = convert_function(f).source
    assert "ag__" not in text
    assert convert_function(f).function is f
