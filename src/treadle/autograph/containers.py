"""What converted code calls for stores, new lists and `is None`: Python's own meaning on values that are not staged."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

from treadle import nest
from treadle.autograph.callees import call
from treadle.autograph.special import method
from treadle.control import journal, staging
from treadle.control.merge import presence
from treadle.core.tensor import Tensor
from treadle.core.tracer import active_tracer
from treadle.errors import ControlFlowError
from treadle.ops.comparison import logical_not

slice = builtins.slice


def set_attribute(value: Any, obj: Any, name: str, label: str) -> None:
    """`obj.name = value`."""
    journal.set_attribute(obj, name, value, label, call)


def set_item(value: Any, obj: Any, key: Any, label: str) -> None:
    """`obj[key] = value`."""
    own = None if isinstance(obj, journal.NOTED) or active_tracer() is None else method(type(obj), "__setitem__")
    if own is not None:
        call(own)(obj, key, value)
    else:
        journal.set_item(obj, key, value, label)


def delete_attribute(obj: Any, name: str, label: str) -> None:
    """`del obj.name`."""
    journal.delete_attribute(obj, name, label)


def delete_item(obj: Any, key: Any, label: str) -> None:
    """`del obj[key]`."""
    own = None if isinstance(obj, journal.NOTED) or active_tracer() is None else method(type(obj), "__delitem__")
    if own is not None:
        call(own)(obj, key)
        return
    journal.delete_item(obj, key, label)


def new_list(items: list[Any], name: str = "the list") -> list[Any]:
    """A list that staged code may grow; a plain one outside of traces."""
    if active_tracer() is None:
        return items
    from treadle.control.lists import new_list as make  # lists need the ops of the catalogue

    return make(items, name)


def is_none(value: Any) -> Any:
    """`value is None`: a traced bool where only running tells."""
    if value is None:
        return True
    found = presence(value)
    if found is True and isinstance(value, (tuple, list, dict)) and active_tracer() is not None:
        found = next((p for leaf in nest.flatten(value) if not isinstance(p := presence(leaf), bool)), True)
    return False if found is True else logical_not(found)


def is_some(value: Any) -> Any:
    """`value is not None`."""
    found = is_none(value)
    return logical_not(found) if not isinstance(found, bool) else not found


def joined(join: Callable[..., Any], left: Any, right: Callable[[], Any], word: str) -> Any:
    """`left and right` or `left or right`; of a list that has grown only whether it is empty counts."""
    from treadle.control.lists import TensorList  # lists need the ops of the catalogue

    if not isinstance(left, TensorList):
        return join(left, right)
    found = join(staging.truth(left, f"`{word}`"), right)
    if isinstance(found, Tensor) and found.dtype.kind == "b":
        return found
    raise ControlFlowError(
        f"`{left.name} {word} ...`: only running tells whether {left.name} is empty, and the other side is no truth "
        f"value; write `if {left.name}:`"
    )
