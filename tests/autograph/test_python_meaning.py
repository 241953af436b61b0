"""On plain Python values a converted function does what the original does: results, exceptions, places."""

from __future__ import annotations

import copy
import sys
import traceback

import pytest

from treadle.autograph import convert_function
from treadle.core.mode import activate
from treadle.core.tracer import Tracer

CORPUS = sys.modules["treadle_tests_corpus"]


def outcome(function, arguments):
    try:
        return "value", function(*copy.deepcopy(arguments))
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == CORPUS.__file__]
        return type(error), str(error), type(error.__cause__), [(f.name, f.lineno) for f in frames]


@pytest.mark.parametrize("tracing", [False, True], ids=["eager", "tracing"])
@pytest.mark.parametrize(("function", "arguments"), CORPUS.CASES, ids=[f.__name__ for f, _ in CORPUS.CASES])
def test_same_as_python(function, arguments, tracing):
    made = convert_function(function)
    if function.__name__ != "return_in_finally":
        assert made.missing_source is None
        assert ("ag__" in made.source) == (made.function is not function)
    for values in arguments:
        wanted = outcome(function, values)
        if tracing:
            with activate(Tracer("test")):
                got = outcome(made.function, values)
        else:
            got = outcome(made.function, values)
        if wanted[0] == "value":
            assert got == wanted
            continue
        if issubclass(wanted[0], UnboundLocalError):
            assert issubclass(got[0], UnboundLocalError)
        elif tracing and wanted[0] is NameError:
            assert issubclass(got[0], NameError)
        else:
            assert got[:3] == wanted[:3]
        assert got[3][-1] == wanted[3][-1]
        assert set(wanted[3]) <= set(got[3])
        assert {name for name, _ in got[3]} == {name for name, _ in wanted[3]}
