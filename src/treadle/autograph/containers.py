"""What converted code calls for stores, new lists and `is None`: on values that are not staged, exactly what Python does."""

from __future__ import annotations

import builtins
from typing import Any

from treadle.autograph.callees import call
from treadle.control import journal
from treadle.core.tracer import active_tracer

slice = builtins.slice


def set_attribute(value: Any, obj: Any, name: str, label: str) -> None:
    """`obj.name = value`."""
    journal.set_attribute(obj, name, value, label, call)


def set_item(value: Any, obj: Any, key: Any, label: str) -> None:
    """`obj[key] = value`."""
    journal.set_item(obj, key, value, label)


def new_list(items: list[Any], name: str = "the list") -> list[Any]:
    """A list that staged code may grow; a plain one outside of traces."""
    if active_tracer() is None:
        return items
    from treadle.control.lists import new_list as make  # lists need the ops of the catalogue

    return make(items, name)
