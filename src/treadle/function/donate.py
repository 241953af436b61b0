"""Donated arguments: after the call that took them, a tensor's values may not be asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from treadle import nest
from treadle.core.tensor import Tensor
from treadle.errors import DonatedTensor, user_location


class _Donated(Tensor):
    """What a tensor becomes when its caller has given it up."""

    __slots__ = ()

    @property
    def array(self) -> NoReturn:  # type: ignore[override]
        raise DonatedTensor(
            "this tensor was donated to an earlier call, so it has no values any more; use what the call returned, "
            "or take the argument out of donate_argnames",
            user_location(2),
        )

    def __repr__(self) -> str:
        return "<donated tensor>"


def donate(name: str, values: Sequence[Any]) -> None:
    """Take the tensors in these nests away from the caller."""
    for x in nest.flatten(list(values)):
        if type(x) is Tensor:
            x.__class__ = _Donated
