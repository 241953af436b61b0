"""Modes: the interpreters of ops. No mode means eager; a tape or a tracer is entered and left by context."""

from __future__ import annotations

from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treadle.core.op import Op
    from treadle.core.tensor import Tensor
    from treadle.core.variable import Variable


class Mode:
    """One interpreter of ops; `outer` is the mode that was current when this one was entered."""

    outer: Mode | None = None
    # Whether ops may compute at once, as if there were no mode, and then tell this one by `note`: a tape that lies
    # right above eager execution.
    plain = False

    def note(self, op: Op, inputs: tuple[Tensor, ...], attrs: dict[str, Any], output: Tensor) -> None:
        """Hear of an op that has computed at once."""
        raise NotImplementedError

    def process(self, op: Op, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> tuple[Tensor, ...]:
        """Give meaning to one op. Inputs are tensors of the dtypes that the op wants (promotion is done)."""
        raise NotImplementedError

    def read(self, variable: Variable) -> Tensor:
        """The variable's value at this point of the program."""
        raise NotImplementedError

    def write(self, variable: Variable, value: Tensor) -> None:
        """Make `value` (of the variable's dtype) the variable's value from here on."""
        raise NotImplementedError


_current: ContextVar[Mode | None] = ContextVar("treadle_mode", default=None)

current = _current.get


class activate:
    """Context manager: make a mode (or None, for eager) the current one."""

    __slots__ = ("_mode", "_token")

    def __init__(self, mode: Mode | None) -> None:
        self._mode = mode

    def __enter__(self) -> None:
        self._token: Token[Mode | None] = _current.set(self._mode)

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        _current.reset(self._token)


def modes() -> list[Mode]:
    """The active modes, innermost first."""
    found = []
    mode = current()
    while mode is not None:
        found.append(mode)
        mode = mode.outer
    return found


def call_user(f: Any, *args: Any) -> Any:
    """Call a function that the user handed to treadle; while tracing, autograph converts it first."""
    if CALLER and current() is not None:
        return CALLER[0](f, *args)
    return f(*args)


# Filled by autograph: (f, *args) -> result.
CALLER: list[Any] = []
