"""What errors that leave a trace are told besides: why, and what to write instead."""

from __future__ import annotations

import inspect
import re
from types import TracebackType

from treadle.autograph import kept
from treadle.autograph.nodes import AG
from treadle.autograph.source import suspension
from treadle.autograph.special import frames, special_name
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
    if not autograph:
        hint: str | None = f"{name} has autograph=False; with autograph=True `if`, `while` and `for` work on tensors"
    elif unconverted is not None:
        hint = f"{name} runs as it is, without autograph, because {unconverted}"
    else:
        hint = _in_the_way(error.__traceback__)
    if hint is not None:
        error.args = (f"{error.args[0]}\n  {hint}", *error.args[1:])


def _in_the_way(walk: TracebackType | None) -> str | None:
    """What kept the user's code at the end of a traceback from being converted."""
    user = [frame for frame in frames(walk) if not is_own_code(frame.f_code)]
    for frame in reversed(user):
        code = frame.f_code
        if AG in code.co_freevars and frame is not user[-1]:
            break
        if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE) and not code.co_name.startswith("<"):
            return (
                f"{code.co_name} is not converted, because {suspension(code)}; give a list back that the function "
                "appends to, or move what decides on tensors into a function of its own that it calls"
            )
        special = special_name(frame)
        if special is not None and AG not in code.co_freevars:
            return (
                f"{special!r} is called by Python itself, not by converted code, so it runs as it is: move what "
                "decides on tensors into a method, and call that, or decide with td.where"
            )
    return kept.at(user[-1].f_code.co_filename, user[-1].f_lineno) if user else None


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
