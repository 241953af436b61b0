"""What tracing does how often: functions are converted once, not at each trace; Python's own `if` costs no node."""

from __future__ import annotations

import collections

import pytest

import treadle as td
from treadle.autograph import converter


@pytest.fixture
def conversions(monkeypatch):
    """How often each function is converted, by name."""
    counts = collections.Counter()
    convert = converter._convert

    def counted(code):
        counts[code.co_name] += 1
        return convert(code)

    monkeypatch.setattr(converter, "_convert", counted)
    return counts


def test_converting_is_done_once_for_each_function(conversions):
    def helper(x):
        return x * 2 if td.sum(x) > 0 else x

    @td.function
    def outer(x, k):
        for _ in td.range(3):
            x = helper(x) + k
        return x

    for size in (1, 2, 3):
        outer(td.ones((size,)), size)
    assert outer.trace_count == 3
    assert conversions == {"outer": 1, "helper": 1}
    assert outer.converted_source
    assert conversions["outer"] == 1


def test_functions_made_anew_from_one_text_are_converted_once(conversions):
    def make(factor):
        @td.function
        def scaled(x):
            return x * factor if x > 0 else x

        return scaled

    assert [make(k)(td.asarray(1.0)).item() for k in (1.0, 2.0, 3.0)] == [1.0, 2.0, 3.0]
    assert conversions["scaled"] == 1


def test_python_values_cost_nothing_in_the_graph():
    def plain(x):
        return td.tanh(x * 2) + 1

    def full_of_python(x, mode="tanh", times=2, table=(1, 2)):
        result = None
        for k in range(3):
            if k == 1 and mode == "tanh" and len(table) > 1:
                result = x * times
            elif k > 5:
                raise ValueError
        while times < 1:
            times += 1
        assert result is not None
        return (td.tanh(result) if mode != "none" else result) + 1

    names = [[node.op for node in td.function(f).trace(td.asarray(1.0)).graph.nodes] for f in (plain, full_of_python)]
    assert names[0] == names[1]
