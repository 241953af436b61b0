"""What errors that leave a trace are told besides: why, and what to write instead."""

from __future__ import annotations

import inspect
import re
from types import TracebackType

from treadle.control.staging import staged_if
from treadle.errors import LeakedTensor, Location, TraceError, TreadleError, is_own_code

_INNER = re.compile(r"^the traced tensor .* of '(loop_body|loop_test|if_true|if_false)'")
_HINTS = {
    "loop": "It was made in one round of a loop over tensors, which is traced once for all rounds. To collect a value "
    "of each round append it to a list (or a td.TensorList), or use td.scan, which stacks them",
    "if": "It was made in a branch of an `if` on a tensor: set a name in both branches and use that one afterwards",
}


def own_error(error: BaseException) -> BaseException:
    """The error that the user should see.

    Where NumPy wrapped ours in one of its own (`array[i] = x` on a traced tensor) it is ours; where a `finally` that an
    error passed met a tensor of the block that the error ended, it is that error.
    """
    cause = error.__cause__
    wrapped = type(error) in (ValueError, TypeError) and str(error).startswith("setting an array element")
    if wrapped and isinstance(cause, TreadleError):
        return cause.with_traceback(error.__traceback__)
    first = error
    while isinstance(first, LeakedTensor) and isinstance(first.__context__, TreadleError):
        first = first.__context__
    return first


def explain(error: BaseException, name: str, autograph: bool, unconverted: str | None) -> None:
    """Add to an error that ends the trace of `name` what only the tracer knows; `unconverted` says why it is plain."""
    if isinstance(error, TraceError):
        _explain_plain(error, name, autograph, unconverted)
    elif isinstance(error, LeakedTensor):
        _explain_leak(error)
    elif not isinstance(error, (TreadleError, Warning)):
        _explain_branch(error)


def _explain_plain(error: TraceError, name: str, autograph: bool, unconverted: str | None) -> None:
    if "has no value yet" not in str(error.args[0]):
        return
    if autograph and (getter := _property(error.__traceback__)) is not None:
        hint = (
            f"{getter!r} is a property, and what Python runs when an attribute is read is not converted: "
            f"make it a method, `.{getter}()`"
        )
    elif not autograph:
        hint = f"{name} has autograph=False; with autograph=True `if`, `while` and `for` work on tensors"
    elif unconverted is not None:
        hint = f"{name} runs as it is, without autograph, because {unconverted}"
    else:
        return
    error.args = (f"{error.args[0]}\n  {hint}", *error.args[1:])


def _property(walk: TracebackType | None) -> str | None:
    """The name of the property in whose code an error was raised."""
    frame = None
    while walk is not None:
        frame = frame if is_own_code(walk.tb_frame.f_code) else walk.tb_frame
        walk = walk.tb_next
    if frame is None or not frame.f_code.co_argcount:
        return None
    owner = type(frame.f_locals.get(frame.f_code.co_varnames[0]))
    found = inspect.getattr_static(owner, frame.f_code.co_name, None)
    getter = getattr(found, "fget", None) or getattr(found, "func", None)  # property, functools.cached_property
    return frame.f_code.co_name if getattr(getter, "__code__", None) is frame.f_code else None


def _explain_leak(error: LeakedTensor) -> None:
    """A value that leaves a loop or a branch other than by a name."""
    found = _INNER.match(str(error.args[0]))
    hint = _HINTS[found[1].partition("_")[0]] if found else ""
    if hint and hint not in error.args[0]:
        error.args = (f"{error.args[0]}\n  {hint}", *error.args[1:])


def _explain_branch(error: BaseException) -> None:
    """An error of the user's own in a branch that would perhaps not have run: both are traced."""
    place = _staged_if(error.__traceback__)
    if place is None or any("while tracing a branch" in note for note in getattr(error, "__notes__", ())):
        return
    error.add_note(
        f"This was raised while tracing a branch of the `if` on a tensor at\n  {place}\n"
        "Both branches are traced, whatever the tensor is. To raise when the function runs, and only where the "
        "condition holds, write `raise` or `assert` in the branch"
    )


def _staged_if(walk: TracebackType | None) -> Location | None:
    """The user's line of the innermost `if` on a tensor that a traceback passes through."""
    place = user = None
    while walk is not None:
        code = walk.tb_frame.f_code
        if code is staged_if.__code__:
            place = user
        elif not is_own_code(code):
            user = Location(code.co_filename, walk.tb_lineno, code.co_name)
        walk = walk.tb_next
    return place
