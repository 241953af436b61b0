"""docs/control_flow.md says what is so: each row's example runs, and does what its row says."""

from __future__ import annotations

import collections
import contextlib
import io
import warnings

import construct_snippets
import numpy as np
import pytest
from constructs import FILE, TABLE, markdown

import treadle as td
from treadle.testing.compare import differs
from treadle.testing.stages import Stages

ROWS = [row for rows in TABLE.values() for row in rows]
ALIASES = {"loop": "while"}


@pytest.fixture(autouse=True)
def restore():
    yield
    construct_snippets.KEPT = None
    construct_snippets.LOG.clear()


def test_the_document_is_up_to_date():
    assert FILE.read_text() == markdown(), "run: python tests/control_flow/constructs.py"


def test_every_example_has_one_row():
    assert len({row.id for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", [r for r in ROWS if r.kind == "same"], ids=lambda r: r.id)
def test_same_as_plain_python(row):
    traced = td.function(row.snippet)
    stages = Stages(row.snippet, traced)
    runs = {}
    for way in ("watched", "eager", "interpreted", "compiled"):
        stream = io.StringIO()
        with contextlib.redirect_stdout(stream):
            found = getattr(stages, way)(row.arguments)
        if found.error is not None:
            raise found.error
        runs[way] = found, stream.getvalue()
    want, text = runs["eager"]
    for way in ("interpreted", "compiled"):
        got, printed = runs[way]
        assert differs(want, got, stages, None) is None, way
        assert printed == text
    counts = collections.Counter(node.op for node in traced.traces[0].graph.walk())
    for name, times in row.nodes:
        assert counts[ALIASES.get(name, name)] == times, (name, counts)


@pytest.mark.parametrize("row", [r for r in ROWS if r.kind not in ("same", "warns")], ids=lambda r: r.id)
def test_refused_with_the_message(row):
    kind = getattr(td.errors, row.kind, None) or getattr(__builtins__, row.kind, None) or __builtins__[row.kind]
    arguments = [list(a) if isinstance(a, list) else a for a in row.arguments]
    with pytest.raises(kind, match=f"(?s){row.message}") as caught:
        td.function(row.snippet)(*arguments)
    lines = str(caught.value) + "\n".join(getattr(caught.value, "__notes__", []))
    assert "construct_snippets.py" in lines or row.kind == "TypeError"


@pytest.mark.parametrize("row", [r for r in ROWS if r.kind == "warns"], ids=lambda r: r.id)
def test_warns_with_the_message(row):
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("always")
        traced = td.function(row.snippet)
        traced(*row.arguments)
        traced(*row.arguments)
        traced(*[np.ones((2,)) for _ in row.arguments])
    assert len(caught) == 1
    assert caught[0].category is td.errors.TracingWarning
    assert caught[0].filename == construct_snippets.__file__
    assert row.message in str(caught[0].message)
