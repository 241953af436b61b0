"""Changes of containers that cannot be carried through staged blocks: an error names the store."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from treadle_tests_compare import check

import treadle as td

X = np.float64(2.0)


def a_store_in_a_branch(x):
    out = np.zeros(3)
    if x > 1.0:
        out[0] = 5.0
    return x + td.asarray(out)


def a_store_in_a_loop(x):
    out = np.zeros(3)
    for i in td.range(td.astype(x, td.int64)):
        out[0] += 1.0
    return x + td.asarray(out)


def a_set_in_a_branch(x):
    seen = set()
    if x > 3:
        seen.add(4)
    return len(seen)


def a_deque_in_a_loop(x):
    items = deque()
    while x > 0:
        items.append(1)
        x = x - 1
    return len(items)


def a_fill_in_a_branch(x):
    out = np.zeros(3)
    if x > 1.0:
        out.fill(2.0)
    return x + td.asarray(out)


def a_deletion_in_one_branch(x):
    d = {"a": x, "b": x}
    if x > 3:
        del d["a"]
    return d


class Holder:
    """Anything that has attributes."""


def a_deleted_attribute_in_a_loop(x):
    h = Holder()
    h.value = x
    for i in td.range(td.astype(x, td.int64)):
        del h.value
    return h.value


@pytest.mark.parametrize(
    ("function", "text", "line"),
    [
        (a_store_in_a_branch, r"out\[0\] changes a NumPy array in a branch or loop", "out[0] = 5.0"),
        (a_store_in_a_loop, r"out = out.at\[...\].set", "out[0] += 1.0"),
        (a_set_in_a_branch, "changes a set", "seen.add(4)"),
        (a_deque_in_a_loop, "changes a deque", "items.append(1)"),
        (a_fill_in_a_branch, r".fill\(\) changes a NumPy array", "out.fill(2.0)"),
        (a_deletion_in_one_branch, r"`del d\['a'\]` in a branch or loop", 'del d["a"]'),
        (a_deleted_attribute_in_a_loop, "`del h.value` in a branch or loop", "del h.value"),
    ],
)
def test_the_error_names_the_store(function, text, line):
    with pytest.raises(td.errors.ControlFlowError, match=text) as caught:
        td.function(function)(td.asarray(X))
    assert line in str(caught.value)


def own_containers(x):
    y = x
    for i in td.range(3):
        a = np.zeros(2)
        a[1] = 2.0
        a[0] += 1.0
        y = y + td.asarray(a[0] + a[1])
        if y > 4:
            seen, d = set(), {"a": y, "b": 1.0}
            seen.add(3)
            del d["a"]
            y = y + len(seen) + len(d)
    return y


def deleted_in_both_branches(x):
    d = {"a": x, "b": x}
    if x > 3:
        del d["a"]
        y = x
    else:
        del d["a"]
        y = x * 2
    return d, y


def an_array_changed_as_a_whole(x):
    out = np.zeros(3)
    kept = np.ones(2)
    if x > 1.0:
        out += 2
    else:
        kept = kept * 1
    return x + td.asarray(out), kept


@pytest.mark.parametrize("function", [own_containers, deleted_in_both_branches, an_array_changed_as_a_whole])
def test_python_meaning(function):
    check(function, [(np.float64(0.5),), (X,), (np.float64(5.0),)])
