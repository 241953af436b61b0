"""Guards: what a trace read from outside and must find unchanged; checked at each call, so no trace is ever stale."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from treadle.function import keys
from treadle.function.places import MISSING, Place
from treadle.records import dataclass

# Values that cannot change while they are the same object: identity settles the check.
_FIXED = frozenset({keys.VALUE, keys.FLOAT, keys.COMPLEX, keys.TENSOR, keys.ARRAY})
# Values that count by identity, and are not kept alive for it.
_WEAK = frozenset({keys.VARIABLE, keys.OBJECT, keys.ENUM})
NEVER = object()  # expected where the object alone does not settle the check


@dataclass(frozen=True, slots=True, eq=False)
class Guard:
    """One outer value as a trace saw it."""

    place: Place
    expected: Any  # the value itself where identity is enough
    weak: keys.Ref | None  # the same, held weakly
    version: int | None  # of a Module: identity and version settle the check
    key: Any
    text: str
    items: tuple[type, tuple[keys.Ref, ...]] | None = None  # of a list of variables: its type and they settle the check

    @property
    def label(self) -> str:
        """What reports call the value."""
        return self.place.label


def guard(place: Place) -> Guard:
    """A guard that expects the value that is there now."""
    value = place.value()
    fixed = value is MISSING or keys.kind_of(value) in _FIXED
    kind = None if value is MISSING else keys.kind_of(value)
    ref = version = None
    if not fixed and (kind in _WEAK or kind == keys.VERSIONED or (kind == keys.METHOD and _lasting(place, value))):
        found = keys.identity(value)
        ref = found if isinstance(found, keys.Ref) else None
        version = value.__treadle_version__ if kind == keys.VERSIONED else None
    return Guard(place, value if fixed else NEVER, ref, version, key_of(value), text_of(value), _items(value))


def _lasting(place: Place, method: Any) -> bool:
    """Whether a bound method is kept where it is found, not made anew by each look, and of an object as it is.

    What it is bound to never changes, so that identity settles the check.
    """
    return place.value() is method and keys.kind_of(method.__self__) in _WEAK


def _items(value: Any) -> tuple[type, tuple[keys.Ref, ...]] | None:
    """The type and the items of a list or tuple of variables."""
    if type(value) not in (list, tuple) or not value or any(keys.kind_of(x) != keys.VARIABLE for x in value):
        return None
    return type(value), tuple([keys.Ref(x) for x in value])


def _are(value: Any, items: tuple[type, tuple[keys.Ref, ...]]) -> bool:
    """Whether a value is a list of just these."""
    kind, refs = items
    found: Any = value if type(value) is kind else ()
    if len(found) != len(refs):
        return False
    for x, ref in zip(found, refs, strict=True):  # noqa: SIM110  (a generator would cost as much again)
        if x is None or ref() is not x:
            return False
    return True


def key_of(value: Any) -> Any:
    """The key of an outer value; MISSING for one that is not there."""
    return MISSING if value is MISSING else keys.value_key(value)


def text_of(value: Any) -> str:
    """An outer value as reports show it."""
    return "not set" if value is MISSING else keys.describe(value)


class Guards:
    """All guards of a trace, flat for speed."""

    __slots__ = ("_checks", "all")

    def __init__(self, guards: Iterable[Guard]) -> None:
        self.all = tuple(guards)
        checks: list[tuple[Callable[[], Any], Any, keys.Ref | None, int | None, Any, Any]] = []
        seen: set[tuple[Any, int | None]] = set()  # a Module that is found in two places has one version
        for g in self.all:
            version = None if (g.weak, g.version) in seen else g.version
            if g.weak is not None:
                seen.add((g.weak, g.version))
            checks.append((g.place.get, g.expected, g.weak, version, g.key, g.items))
        self._checks = tuple(checks)

    def hold(self) -> bool:
        """Whether everything is as the trace saw it."""
        for get, expected, weak, version, key, items in self._checks:
            try:
                value = get()
            except (AttributeError, ValueError, ReferenceError):
                value = MISSING
            if value is expected:
                continue
            # A weak reference to an object that is gone gives None, which is not what the trace saw.
            same = weak is not None and value is not None and value is weak()
            if same and (version is None or value.__treadle_version__ == version):
                continue
            if items is not None and _are(value, items):
                continue
            if key_of(value) != key:
                return False
        return True

    def version(self, module: Any) -> bool:
        """Whether they look at the version of a Module."""
        return any(g.version is not None and g.weak is not None and g.weak() is module for g in self.all)

    def changed(self) -> list[tuple[str, str, str]]:
        """What differs now: label, old, new."""
        found = []
        for g in self.all:
            value = g.place.value()
            if value is not g.expected and key_of(value) != g.key:
                found.append((g.label, g.text, text_of(value)))
        return found

    def without(self, labels: set[str]) -> Guards:
        """The guards that are not about these places."""
        return Guards(g for g in self.all if g.label not in labels)
