"""Text with traced tensors in it: made while tracing, filled in with their values when the program runs.

While a `writing` is on, a traced tensor formats as a mark; `Text` is the text cut at its marks. So any Python that
builds a message (f-strings, `str`, `format`, `join`) gives at run time what it would give on values.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

from treadle.records import dataclass

if TYPE_CHECKING:
    from treadle.core.tensor import Tensor

_MARK = re.compile("\ue000(\\d+)\ue001")  # characters of the private use area stand in no message


@dataclass(frozen=True, slots=True)
class Format:
    """How a tensor stands in a text: by a format specification, or as its repr."""

    spec: str = ""
    as_repr: bool = False

    def write(self, tensor: Tensor) -> str:
        """The tensor's text."""
        return repr(tensor) if self.as_repr else format(tensor, self.spec)


Piece = str | Format


@dataclass(frozen=True, slots=True)
class Text:
    """A text, and the tensors that stand where its pieces are formats."""

    pieces: tuple[Piece, ...]
    tensors: tuple[Tensor, ...]


class writing:
    """Context manager: traced tensors format as marks, which `text` finds again."""

    __slots__ = ("_found", "_token")

    def __init__(self) -> None:
        self._found: list[tuple[Tensor, Format]] = []

    def __enter__(self) -> writing:
        self._token: Token[writing | None] = _active.set(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        _active.reset(self._token)

    def mark(self, tensor: Tensor, how: Format) -> str:
        """What stands for a tensor in a text."""
        self._found.append((tensor, how))
        return f"\ue000{len(self._found) - 1}\ue001"

    def text(self, written: str) -> Text:
        """A written string cut at its marks."""
        pieces: list[Piece] = []
        tensors: list[Tensor] = []
        for position, part in enumerate(_MARK.split(written)):
            if position % 2:
                tensor, how = self._found[int(part)]
                pieces.append(how)
                tensors.append(tensor)
            elif part:
                pieces.append(part)
        return Text(tuple(pieces), tuple(tensors))


_active: ContextVar[writing | None] = ContextVar("treadle_writing", default=None)


def mark(tensor: Tensor, spec: str = "", as_repr: bool = False) -> str | None:
    """The mark for a tensor where a text is being written, else None."""
    active = _active.get()
    return None if active is None else active.mark(tensor, Format(spec, as_repr))


def fill(pieces: Sequence[Piece], tensors: Sequence[Any]) -> str:
    """The text with tensors that have values."""
    rest = iter(tensors)
    return "".join([piece if isinstance(piece, str) else piece.write(next(rest)) for piece in pieces])
