"""Error types, the user's place in the source, and the trimming of treadle's own frames from tracebacks.

Every error derives from `TreadleError`; most also derive from the built-in error that a caller would expect
(`SignatureMismatch` is a `TypeError`). A message says what was wrong, where in the user's code, and what to do.
"""

from __future__ import annotations

import contextlib
import linecache
import os
import re
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from itertools import islice
from types import CodeType, FrameType, TracebackType
from typing import NamedTuple

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class Location(NamedTuple):
    """A place in the user's source: file, line number (from 1), function; where known also columns (bytes, from 0)."""

    file: str
    line: int
    function: str
    column: int | None = None
    end: int | None = None  # None where the text goes on in the next line

    @property
    def source(self) -> str:
        """The text of the line, or an empty string where the source is not at hand."""
        return linecache.getline(self.file, self.line).strip()

    @property
    def short(self) -> str:
        """`file.py:12`, for lists and reports."""
        return f"{os.path.basename(self.file)}:{self.line}"

    @property
    def marks(self) -> str:
        """`^^^` under the part of `source` that is meant; empty where that is all of it, or not known."""
        line = linecache.getline(self.file, self.line).rstrip()
        if self.column is None or not line:
            return ""
        text = line.encode()
        start = len(text[: self.column].decode(errors="replace")) - (len(line) - len(line.lstrip()))
        stop = len(text[: self.end].decode(errors="replace")) - (len(line) - len(line.lstrip()))
        whole = start <= 0 and stop >= len(line.strip())
        return "" if whole or start < 0 or stop <= start else " " * start + "^" * (stop - start)

    def __str__(self) -> str:
        text = f'File "{self.file}", line {self.line}, in {self.function}'
        source, marks = self.source, self.marks
        return text + (f"\n    {source}" if source else "") + (f"\n    {marks}" if source and marks else "")


# What is known of code objects, asked at every traced node, and by id: a code object's hash takes in all its constants.
# None for treadle's own code; for other code the places of its instructions, as far as they were asked for.
_PLACES: dict[int, dict[int, Location] | None] = {}
_HELD: list[CodeType] = []  # so that no id is used again
_UNKNOWN: dict[int, Location] = {}


def _known(code: CodeType) -> dict[int, Location] | None:
    """The places of a code object's instructions; None where it is treadle's own."""
    found = _PLACES.get(id(code), _UNKNOWN)
    if found is _UNKNOWN:
        if len(_HELD) > 20_000:
            _PLACES.clear()
            _HELD.clear()
        _HELD.append(code)
        found = _PLACES[id(code)] = None if code.co_filename.startswith((_PACKAGE, "<treadle")) else {}
    return found


def is_own_code(code: CodeType) -> bool:
    """Whether a code object belongs to treadle's library (its tests and examples do not)."""
    return _known(code) is None


def user_frame(depth: int = 1) -> FrameType | None:
    """The innermost frame outside treadle, or None."""
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None:
        if _known(frame.f_code) is not None:
            return frame
        frame = frame.f_back
    return None


def user_location(depth: int = 2) -> Location | None:
    """Where the user's code stands now: the innermost frame outside treadle."""
    frame: FrameType | None = sys._getframe(depth - 1)
    get = _PLACES.get
    while frame is not None:  # as in `user_frame`: each traced node asks
        code = frame.f_code
        places = get(id(code), _UNKNOWN)
        if places is not None:
            found = places.get(frame.f_lasti)
            if found is not None:
                return found
            if _known(code) is not None:
                return location_in(code, frame.f_lasti, frame.f_lineno)
        frame = frame.f_back
    return None


def location_in(code: CodeType, instruction: int, line: int) -> Location:
    """The place of an instruction of user code."""
    known = _known(code)
    places = {} if known is None else known
    found = places.get(instruction)
    if found is None:
        first, last, column, end = next(islice(code.co_positions(), instruction >> 1, None))
        found = Location(code.co_filename, line, code.co_name)
        if first == line and column is not None:
            found = found._replace(column=column, end=end if last == first else None)
        places[instruction] = found
    return found


def trim(error: BaseException) -> TracebackType | None:
    """An error's traceback without treadle's own frames.

    Where nothing would be left it is empty for our own errors, which name the user's line, and unchanged for others.
    """
    traceback = error.__traceback__
    frames = []
    walk = traceback
    while walk is not None:
        if not is_own_code(walk.tb_frame.f_code):
            frames.append(walk)
        walk = walk.tb_next
    if not frames and not isinstance(error, TreadleError) and not _tells_place(error):
        return traceback
    result: TracebackType | None = None
    for tb in reversed(frames):
        result = TracebackType(result, tb.tb_frame, tb.tb_lasti, tb.tb_lineno)
    return result


def _tells_place(error: BaseException) -> bool:
    """Whether a note says where in the user's code the error comes from, as for `raise` in staged code."""
    return any(note.startswith("raised ") for note in getattr(error, "__notes__", ()))


_AT: ContextVar[Location | None] = ContextVar("treadle_at", default=None)


def place() -> Location | None:
    """The location that errors made now carry; None outside of `at`."""
    return _AT.get()


@contextlib.contextmanager
def at(location: Location | None) -> Iterator[None]:
    """Errors made inside carry this location: code that runs later than the user's line was traced."""
    token = _AT.set(location)
    try:
        yield
    finally:
        _AT.reset(token)


def note_iteration(error: BaseException, done: int, loop: Location | None) -> None:
    """Tell with an error in which iteration of a loop it was raised; of loops in loops the innermost comes first."""
    where = f"the loop at {loop.short}" if loop is not None else "its loop"
    error.add_note(f"in iteration {done} of {where} (counted from 0)")


def add_iterations(error: BaseException, before: int) -> None:
    """The loop that was noted last had done so many iterations before it began to count."""
    notes: list[str] = getattr(error, "__notes__", [])
    if notes and (found := re.match(r"in iteration (\d+)", notes[-1])):
        notes[-1] = f"in iteration {int(found[1]) + before}{notes[-1][found.end() :]}"


class TreadleError(Exception):
    """Base of all errors; `location` is the user's line: by default the one that runs now."""

    location: Location | None

    def __init__(self, message: str, location: Location | None = None) -> None:
        if location is None:
            location = _AT.get() or user_location(3)
        self.location = location
        super().__init__(f"{message}\n  {location}" if location is not None else message)


class SignatureMismatch(TreadleError, TypeError):
    """Arguments do not fit the signature of a function or graph."""


class TraceError(TreadleError, TypeError):
    """Something was asked of a traced tensor that only a value can answer, or a trace was not allowed."""


class LeakedTensor(TreadleError):
    """A traced tensor was used outside the trace that made it."""


class VariableCreation(TreadleError, ValueError):
    """A Variable was made where it cannot live on."""


class ControlFlowError(TreadleError, TypeError):
    """Branches or loop variables disagree in structure, shape or dtype."""


class UndefinedVariable(TreadleError, UnboundLocalError):
    """A name was used that no executed branch has set, or a Variable was read before it had a value."""


class AssertionFailed(TreadleError, AssertionError):
    """An `assert` on a tensor failed at run time."""


class NumericsError(TreadleError, FloatingPointError):
    """A NaN or an infinity appeared under `check_numerics`."""


class DonatedTensor(TreadleError):
    """A donated argument was used after the call that took it."""


class ShapeError(TreadleError, ValueError):
    """Shapes that do not fit together, or an axis that does not exist."""


class DTypeError(TreadleError, TypeError):
    """Dtypes that cannot be combined, or that an operation does not take."""


class ArgumentError(TreadleError, ValueError, TypeError):
    """An argument of a kind that is not taken, or whose value has no meaning: a batch of -1, a rate that is NaN."""


class IndexOutOfRange(TreadleError, IndexError):
    """An index that points outside an axis."""


class GradientError(TreadleError, RuntimeError):
    """A tape or a gradient was used in a way that has no meaning."""


class DeviceError(TreadleError, ValueError):
    """A device other than the CPU was asked for."""


class GraphError(TreadleError, ValueError):
    """A graph that breaks its own rules, or a feed or fetch that it does not know."""


class RetraceWarning(UserWarning):
    """A function traces again and again; the text is its retrace report."""


class TracingWarning(UserWarning):
    """Tracing freezes or loses something (a random number, a write to an outer list) that eager code would not."""


class GradientWarning(UserWarning):
    """A gradient is missing where one was probably meant."""
