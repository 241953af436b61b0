"""Strings: made, joined, added, compared, eagerly and in graphs."""

from __future__ import annotations

import pytest
from common import agrees

import treadle as td
from treadle.errors import DTypeError, ShapeError


def test_strings_are_tensors():
    hello = td.asarray("hello")
    assert (hello.shape, hello.dtype, hello.item()) == ((), td.string, "hello")
    assert "'hello world'" in repr(hello + " world")
    assert (hello == "hello").item() is True


def test_join():
    parts = [td.asarray(["a", "b"]), "-", td.asarray("z")]
    assert td.strings.join(parts).tolist() == ["a - z", "b - z"]
    assert td.strings.join(["hello", "world"]).item() == "hello world"
    assert td.strings.join(["x"], separator=",").item() == "x"
    assert agrees(
        lambda a, b: td.strings.join([a, b, "!"], separator=""), td.asarray("hi"), td.asarray(["a", "b"])
    ) >= {"join"}
    with pytest.raises(DTypeError, match="takes strings, got int64"):
        td.strings.join(["a", 1])
    with pytest.raises(ShapeError, match="one part or more"):
        td.strings.join([])
    with pytest.raises(ShapeError, match="join"):
        td.strings.join([td.asarray(["a", "b"]), td.asarray(["a", "b", "c"])])


def test_each_string():
    words = td.asarray(["Über", " x "])
    assert td.strings.upper(words).tolist() == ["ÜBER", " X "]
    assert td.strings.lower(words).tolist() == ["über", " x "]
    assert td.strings.strip(words).tolist() == ["Über", "x"]
    assert td.strings.length(words).tolist() == [4, 3]
    agrees(lambda w: (td.strings.upper(w), td.strings.lower(w), td.strings.strip(w), td.strings.length(w)), words)


def test_shaping_of_strings():
    words = td.asarray([["a", "bb"], ["c", "d"]])
    assert words.T[0].tolist() == ["a", "c"]
    assert td.concat([words, words[:1]]).shape == (3, 2)
    assert td.sort(td.asarray(["b", "a", "c"]), descending=True).tolist() == ["c", "b", "a"]
    assert words.at[0, 0].set("z").tolist() == [["z", "bb"], ["c", "d"]]
    agrees(lambda w: td.concat([w.T, w]), words)
