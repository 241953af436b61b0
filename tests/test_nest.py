"""Nests: flatten and unflatten undo each other, map keeps structure, paths lead to leaves."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle import nest

Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Pair:
    left: Any
    right: Any


leaves = st.none() | st.integers() | st.text(max_size=3) | st.floats(allow_nan=False)
nests = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=2) | st.integers(0, 3), inner, max_size=3),
        st.builds(Point, inner, inner),
        st.builds(Pair, inner, inner),
    ),
    max_leaves=8,
)
quick = settings(derandomize=True, deadline=None, max_examples=60)


@quick
@given(nests)
def test_unflatten_undoes_flatten(value):
    flat, shape = nest.flatten_with_structure(value)
    assert nest.unflatten(shape, flat) == value
    assert nest.unflatten(value, flat) == value
    assert shape.count == len(flat)
    assert shape == nest.structure(value)
    assert hash(shape) == hash(nest.structure(value))


@quick
@given(nests)
def test_map_keeps_structure_and_order(value):
    marked = nest.map(lambda x: ("leaf", x), value) if not nest.flatten(value) else nest.map(lambda x: [x][0], value)
    assert nest.structure(marked) == nest.structure(value)
    assert nest.flatten(nest.map(lambda x, y: x is y, value, value)) == [True] * len(nest.flatten(value))


@quick
@given(nests)
def test_paths_lead_to_leaves(value):
    flat, paths, shape = nest.flatten_with_paths(value, "root")
    assert len(set(paths)) == len(paths) == shape.count
    for leaf, path in zip(flat, paths, strict=True):
        if '"' not in path.replace('["', "").replace('"]', "") and "\\" not in path and path.isprintable():
            assert eval(path, {"root": value}) is leaf or eval(path, {"root": value}) == leaf


def test_dict_order_does_not_matter():
    a, b = {"x": 1, "y": 2}, {"y": 2, "x": 1}
    assert nest.structure(a) == nest.structure(b)
    assert nest.flatten(a) == nest.flatten(b) == [1, 2]


def test_keys_of_mixed_types_have_an_order():
    one, other = {1: "one", "a": "letter", (2,): "tuple"}, {(2,): "tuple", "a": "letter", 1: "one"}
    assert nest.flatten(one) == nest.flatten(other)


def test_kinds_count():
    assert nest.structure([1, 2]) != nest.structure((1, 2))
    assert nest.structure(Point(1, 2)) != nest.structure((1, 2))
    assert nest.structure({"a": 1}) != nest.structure({"b": 1})
    assert nest.structure([]) != nest.structure(None)


def test_the_wrong_number_of_leaves_is_told():
    with pytest.raises(ValueError, match="has 2 leaves, 3 were given"):
        nest.unflatten([0, 0], [1, 2, 3])


def test_map_over_nests_that_differ_is_told():
    with pytest.raises(ValueError, match="the nests differ"):
        nest.map(lambda x, y: x, {"a": 1}, {"b": 1})


def test_structures_show_themselves():
    assert repr(nest.structure({"a": [1, 2], "b": 3})) == "{'a': [*, *], 'b': *}"


def test_subclasses_of_dict_and_list_are_leaves():
    """Their construction is not known, so they are not taken apart."""
    value = collections.OrderedDict(a=1)
    assert nest.flatten(value) == [value]


def test_dataclass_fields_that_init_does_not_take_are_left_alone():
    @dataclasses.dataclass
    class Counted:
        x: int
        doubled: int = dataclasses.field(init=False)

        def __post_init__(self):
            self.doubled = 2 * self.x

    made = nest.map(lambda v: v + 1, Counted(1))
    assert (made.x, made.doubled) == (2, 4)
