"""What a `raise` in a staged branch becomes: an effect that raises the user's exception when it is reached."""

from __future__ import annotations

from typing import Any

import numpy as np

from treadle.core.op import Array, Op
from treadle.core.tensor import Symbol, Tensor
from treadle.core.text import Text, fill, writing
from treadle.core.variable import Variable
from treadle.errors import Location
from treadle.ops.convert import as_tensor
from treadle.ops.families import declare
from treadle.records import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class _Slot:
    """The place of the next tensor in an exception's arguments."""


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """How to make an exception when the program runs: its type, arguments and attributes, with tensors left open."""

    kind: type[BaseException]
    args: Any
    state: Any
    cause: Recipe | None
    location: Location | None

    def make(self, arrays: list[Array]) -> BaseException:
        """The exception with these values, in the order in which they were taken out."""
        args = _filled(self.args, arrays)
        error = self.kind.__new__(self.kind, *args)  # an __init__ of the user has run already, while tracing
        error.args = args
        error.__dict__.update(_filled(self.state, arrays))
        if self.cause is not None:
            error.__cause__ = self.cause.make(arrays)
        if self.location is not None:
            error.add_note(f"raised at\n  {self.location}")
        return error

    def __repr__(self) -> str:
        return self.kind.__name__


def recipe(error: BaseException, written: writing, location: Location | None) -> tuple[Recipe, list[Tensor]]:
    """What `raise_op` needs for an exception that was made while its texts were `written`."""
    tensors: list[Tensor] = []
    args = _opened(tuple(error.args), written, tensors)
    state = _opened(dict(error.__dict__), written, tensors)
    cause = None
    if error.__cause__ is not None:
        cause, more = recipe(error.__cause__, written, None)
        tensors += more
    return Recipe(type(error), args, state, cause, location), tensors


def _opened(value: Any, written: writing, tensors: list[Tensor]) -> Any:
    """The value with its traced tensors taken out, into the list."""
    if isinstance(value, str):
        text = written.text(value)
        tensors += text.tensors
        return Text(text.pieces, ()) if text.tensors else value
    if isinstance(value, (Symbol, Variable)):
        tensors.append(as_tensor(value))
        return _Slot()
    if type(value) in (tuple, list):
        return type(value)([_opened(item, written, tensors) for item in value])
    if type(value) is dict:
        return {key: _opened(item, written, tensors) for key, item in value.items()}
    return value


def _filled(value: Any, arrays: list[Array]) -> Any:
    if type(value) is Text:
        count = sum(not isinstance(piece, str) for piece in value.pieces)
        return fill(value.pieces, [_next(arrays) for _ in range(count)])
    if type(value) is _Slot:
        return _next(arrays)
    if type(value) in (tuple, list):
        return type(value)([_filled(item, arrays) for item in value])
    if type(value) is dict:
        return {key: _filled(item, arrays) for key, item in value.items()}
    return value


def _next(arrays: list[Array]) -> Tensor:
    return Tensor(np.array(arrays.pop(0)))


def _raise_body(*arrays: Array, recipe: Recipe) -> tuple[()]:
    raise recipe.make(list(arrays))


raise_op: Op = declare("raise", _raise_body, lambda specs, attrs: (), family="effect", effect=True, multiple=True)
