"""`raise` in code that running decides to reach: the rest of its branch is not traced, the exception becomes a node.

While tracing, `Unreached` travels from the `raise` to the border of the branch (or loop body, or function) that holds
it, through the user's own frames, so that `with` and `finally` blocks in between are traced as Python would run them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from treadle.control.undefined import Undefined
from treadle.core.tensor import Tensor
from treadle.core.text import writing
from treadle.core.tracer import Tracer, active_tracer
from treadle.errors import ControlFlowError, Location, user_frame, user_location
from treadle.ops.raising import Recipe, raise_op, recipe
from treadle.records import dataclass


class Unreached(BaseException):
    """What follows is reached by no run: an exception is raised before it (recorded already when `recipe` is None)."""

    def __init__(self, made: Recipe | None = None, tensors: tuple[Tensor, ...] = ()) -> None:
        super().__init__()
        self.recipe = made
        self.tensors = tensors


class Refused(Unreached):
    """Carries an error of the program past the handlers in it, which are not meant for it, out of the trace."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


@dataclass(frozen=True, slots=True)
class _Border:
    """What is traced now as one piece; `staged` where running decides whether it is reached."""

    tracer: Tracer
    staged: bool


@dataclass(frozen=True, slots=True)
class _Handler:
    """A `try` of traced code that catches exceptions of these types."""

    tracer: Tracer
    types: tuple[type[BaseException], ...]
    location: Location | None


_border: ContextVar[_Border | None] = ContextVar("treadle_border", default=None)
_handlers: ContextVar[tuple[_Handler, ...]] = ContextVar("treadle_handlers", default=())


def to_raise(make: Callable[[], Any]) -> Any:
    """What `raise make()` is to raise: the exception, or `Unreached` where only running tells whether it is reached."""
    tracer, border = active_tracer(), _border.get()
    if tracer is None or border is None or border.tracer is not tracer:
        return make()
    with writing() as written:
        error = make()
        if isinstance(error, type) and issubclass(error, BaseException):
            error = error()
    if not isinstance(error, BaseException) or any(
        h.tracer is tracer and isinstance(error, h.types) for h in _handlers.get()
    ):
        return make()  # Python's own way: it is no exception, or a `try` around catches it in any run
    made, tensors = recipe(error, written, user_location(3))
    if not border.staged and not tensors:
        return make()  # raised in any run, so it may as well be raised now
    return Unreached(made, tuple(tensors))


def _record(stop: Unreached) -> None:
    """The exception as a node, at the border of what it ends."""
    if stop.recipe is None:
        return
    made = stop.recipe
    if stop.__cause__ is not None:
        cause, tensors = recipe(stop.__cause__, writing(), None)
        made = Recipe(made.kind, made.args, made.state, cause, made.location)
        stop.tensors = (*stop.tensors, *tensors)
    check_caught(made.kind, made.location)
    raise_op.bind(stop.tensors, {"recipe": made})


def check_caught(kind: type[BaseException], location: Location | None) -> None:
    """Ends the trace by a ControlFlowError when a `try` in it would catch an exception that only running raises."""
    for handler in _handlers.get():
        if issubclass(kind, handler.types):
            names = ", ".join(t.__name__ for t in handler.types)
            error = ControlFlowError(
                f"`except {names}` at {handler.location.short if handler.location else 'an unknown place'} would catch "
                f"the {kind.__name__} of this line, but only running tells whether it is raised, and tracing has "
                "passed the `try` by then; decide with `if` instead, or catch it outside the traced function",
                location,
            )
            raise Refused(error)


@contextmanager
def catching(types: Callable[[], Any]) -> Iterator[None]:
    """Around the body of a `try` with handlers, or of `with suppress(...)`: what it would catch."""
    tracer = active_tracer()
    if tracer is None:
        yield
        return
    found = types()
    flat = found if isinstance(found, tuple) else (found,)
    handler = _Handler(tracer, tuple(t for t in flat if isinstance(t, type)), user_location(4))
    token = _handlers.set((*_handlers.get(), handler))
    try:
        yield
    finally:
        _handlers.reset(token)


def bordered(run: Callable[[], Any], otherwise: Callable[[], Any], staged: bool = True) -> tuple[Any, bool]:
    """The result of code that is traced by itself, and True; `otherwise()` and False where no end of it is reached."""
    tracer = active_tracer()
    if tracer is None:
        return run(), True
    token = _border.set(_Border(tracer, staged))
    try:
        return run(), True
    except Refused as stop:
        if staged:
            raise
        raise stop.error from None
    except Unreached as stop:
        _record(stop)
        return otherwise(), False
    except RecursionError:
        if not staged:
            raise
        raise _too_deep() from None
    finally:
        _border.reset(token)


def in_staged_code() -> bool:
    """Whether only running tells that the code traced now is reached."""
    border = _border.get()
    return border is not None and border.staged and border.tracer is active_tracer()


class Ends:
    """The branches of one decision, and whether the end of any of them is reached."""

    def __init__(self) -> None:
        self.reached = False

    def branch(self, run: Callable[..., Any], otherwise: Callable[[], Any]) -> Callable[..., Any]:
        """A branch; where its end is not reached it gives `otherwise()`, which merges with any other value."""

        def bordered_run(*values: Any) -> Any:
            result, ends = bordered(lambda: run(*values), otherwise)
            self.reached |= ends
            return result

        return bordered_run

    def check(self) -> None:
        """Called after the decision: what follows is reached only when an end is."""
        if not self.reached:
            raise Unreached


def nothing(*names: str) -> tuple[Undefined, ...]:
    """Values for names that nobody will read, because an exception was raised before."""
    return tuple([Undefined(name, guarded=True) for name in names])


def _too_deep() -> ControlFlowError:
    frame = user_frame(2)
    name = frame.f_code.co_name if frame is not None else "a function"
    return ControlFlowError(
        f"{name} is traced inside itself without end: it calls itself, and only a tensor tells when to stop. Recursion "
        "works on Python values; on tensors write it as a `while` loop (with a tensor as the stack where one is needed)"
    )


__all__ = ["Ends", "Unreached", "bordered", "catching", "check_caught", "in_staged_code", "nothing", "to_raise"]
