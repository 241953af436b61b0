"""On traced values (here: stand-ins that know their value and refuse `bool`) the results are those of plain Python."""

from __future__ import annotations

import sys

import pytest

from treadle.autograph import convert_function
from treadle.core.mode import activate
from treadle.core.tracer import Tracer

CORPUS = sys.modules["treadle_tests_corpus"]
FAKE = sys.modules["treadle_tests_fake_staging"]
Staged = FAKE.Staged


def plain(result):
    return tuple(map(plain, result)) if isinstance(result, tuple) else FAKE.plain(result)


@pytest.mark.parametrize(("function", "arguments"), CORPUS.STAGEABLE, ids=[f.__name__ for f, _ in CORPUS.STAGEABLE])
def test_staged_equals_plain(fake, function, arguments):
    twin = convert_function(function).function
    for values in arguments:
        with activate(Tracer("test")):
            got = twin(*map(Staged, values))
        assert plain(got) == function(*values)
