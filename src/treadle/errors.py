"""Error types, the user's place in the source, and the trimming of treadle's own frames from tracebacks.

Every error derives from `TreadleError`; most also derive from the built-in error that a caller would expect
(`SignatureMismatch` is a `TypeError`). A message says what was wrong, where in the user's code, and what to do.
"""

from __future__ import annotations

import contextlib
import linecache
import os
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from types import CodeType, FrameType, TracebackType
from typing import NamedTuple

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_OWN_CODE: dict[CodeType, bool] = {}  # whether a code object is treadle's: asked for at every traced node


class Location(NamedTuple):
    """A line of the user's source: file, line number (from 1) and the function it stands in."""

    file: str
    line: int
    function: str

    @property
    def source(self) -> str:
        """The text of the line, or an empty string where the source is not at hand."""
        return linecache.getline(self.file, self.line).strip()

    @property
    def short(self) -> str:
        """`file.py:12`, for lists and reports."""
        return f"{os.path.basename(self.file)}:{self.line}"

    def __str__(self) -> str:
        text = f'File "{self.file}", line {self.line}, in {self.function}'
        return f"{text}\n    {self.source}" if self.source else text


def is_own_code(code: CodeType) -> bool:
    """Whether a code object belongs to treadle's library (its tests and examples do not)."""
    own = _OWN_CODE.get(code)
    if own is None:
        if len(_OWN_CODE) > 20_000:
            _OWN_CODE.clear()
        own = _OWN_CODE[code] = code.co_filename.startswith((_PACKAGE, "<treadle"))
    return own


def user_frame(depth: int = 1) -> FrameType | None:
    """The innermost frame outside treadle, or None."""
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None:
        code = frame.f_code
        own = _OWN_CODE.get(code)
        if own is None:
            own = is_own_code(code)
        if not own:
            return frame
        frame = frame.f_back
    return None


def user_location(depth: int = 2) -> Location | None:
    """Where the user's code stands now: the innermost frame outside treadle."""
    frame = user_frame(depth)
    if frame is None:
        return None
    return Location(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)


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
    if not frames and not isinstance(error, TreadleError):
        return traceback
    result: TracebackType | None = None
    for tb in reversed(frames):
        result = TracebackType(result, tb.tb_frame, tb.tb_lasti, tb.tb_lineno)
    return result


_AT: ContextVar[Location | None] = ContextVar("treadle_at", default=None)


@contextlib.contextmanager
def at(location: Location | None) -> Iterator[None]:
    """Errors made inside carry this location: code that runs later than the user's line was traced."""
    token = _AT.set(location)
    try:
        yield
    finally:
        _AT.reset(token)


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
