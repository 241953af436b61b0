"""Errors: their kinds, the user's line in each, tracebacks without treadle's own frames."""

from __future__ import annotations

import inspect
import traceback

import pytest

import treadle as td
from treadle import errors
from treadle.errors import Location, at, trim, user_location

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.TreadleError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_is_documented_and_shows_the_line(kind):
    assert kind.__doc__
    error = kind("what was wrong")
    assert isinstance(error, td.TreadleError)
    assert error.location.file == __file__
    assert 'error = kind("what was wrong")' in str(error)


def test_kinds_are_also_pythons():
    for kind, python in [
        (errors.SignatureMismatch, TypeError),
        (errors.ShapeError, ValueError),
        (errors.DTypeError, TypeError),
        (errors.IndexOutOfRange, IndexError),
        (errors.AssertionFailed, AssertionError),
        (errors.UndefinedVariable, UnboundLocalError),
        (errors.NumericsError, FloatingPointError),
    ]:
        assert issubclass(kind, python)


def test_locations():
    here = user_location()
    assert here.function == "test_locations"
    assert here.source == "here = user_location()"
    assert here.short == f"test_errors.py:{here.line}"
    assert Location("no/such/file.py", 3, "f").source == ""
    assert str(Location("no/such/file.py", 3, "f")) == 'File "no/such/file.py", line 3, in f'


def test_a_place_can_be_given_for_code_that_runs_later():
    there = Location(__file__, 1, "there")
    with at(there):
        assert errors.ShapeError("bad").location == there
        assert errors.ShapeError("bad", Location(__file__, 2, "own")).location.line == 2
    assert errors.ShapeError("bad").location.function == "test_a_place_can_be_given_for_code_that_runs_later"


def test_traces_are_trimmed_to_the_users_frames():
    @td.function
    def outer(x):
        return middle(x)

    def middle(x):
        return x @ td.ones(7)

    with pytest.raises(errors.ShapeError) as caught:
        outer(td.ones(3))
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    files = {frame.filename for frame in traceback.extract_tb(caught.value.__traceback__)}
    assert names[-2:] == ["outer", "middle"]
    assert files == {__file__}


def test_what_is_all_treadles_is_left_only_in_foreign_errors():
    def own(kind):
        """An error whose traceback holds no frame but treadle's."""
        try:
            td.ones(3) @ td.ones(7)
        except errors.ShapeError as error:
            made = kind("made")
            return made.with_traceback(error.__traceback__.tb_next)

    assert own(errors.ShapeError).__traceback__ is not None
    assert trim(own(errors.ShapeError)) is None  # it names the user's line itself
    foreign = own(ValueError)
    assert trim(foreign) is foreign.__traceback__
    assert trim(ValueError("never raised")) is None
