"""`dataclass`, `field` and `replace` as in the standard library, made eight times faster: an import makes a hundred.

The standard decorator compiles six methods a class from text, about a millisecond; this one compiles `__init__` alone,
and the other methods are closures. To type checkers these are the standard library's; at run time too, all that takes
dataclasses (`dataclasses.fields`, `replace`, pickling, pattern matching, subclasses) takes these.
Supported: frozen, slots, eq; defaults, default_factory, repr=False, kw_only; `__post_init__`; inheritance.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass", "field", "replace"]

_MISSING: Any = object()

if TYPE_CHECKING:
    from dataclasses import dataclass, field, replace
else:

    class field:
        """What a field has beside its type."""

        __slots__ = ("default", "default_factory", "kw_only", "repr")

        def __init__(self, *, default=_MISSING, default_factory=_MISSING, repr=True, kw_only=False):
            self.default = default
            self.default_factory = default_factory
            self.repr = repr
            self.kw_only = kw_only

    def dataclass(cls=None, /, *, frozen=False, slots=False, eq=True):
        """Make a class a record of its annotated names."""
        if cls is None:
            return lambda cls: _record(cls, frozen, slots, eq)
        return _record(cls, frozen, slots, eq)

    def replace(record, /, **changes):
        """A record like this one, with some fields changed."""
        for name in record.__record_fields__:
            if name not in changes:
                changes[name] = getattr(record, name)
        return record.__class__(**changes)


def own_annotations(cls: Any) -> dict[str, Any]:
    """A class's own annotations."""
    found: dict[str, Any] = vars(cls).get("__annotations__", {})
    return found


def _record(cls: Any, frozen: bool, slots: bool, eq: bool) -> Any:
    """See `dataclass`."""
    own: dict[str, Any] = {}
    for name, kind in own_annotations(cls).items():
        if not str(kind).startswith(("ClassVar", "typing.ClassVar")):
            given = cls.__dict__.get(name, _MISSING)
            own[name] = given if given.__class__ is field else field(default=given)
    fields = {k: v for base in cls.__mro__[:0:-1] for k, v in base.__dict__.get("__record_fields__", {}).items()} | own
    space = dict(cls.__dict__)
    for name, made in own.items():
        if slots or made.default is _MISSING:
            space.pop(name, None)
        else:
            space[name] = made.default
    if slots:
        inherited = {slot for base in cls.__mro__[1:-1] for slot in base.__dict__.get("__slots__", ())}
        space["__slots__"] = tuple(name for name in own if name not in inherited)
        space.pop("__dict__", None)
        space.pop("__weakref__", None)
    space |= _methods(cls, tuple(fields), fields, frozen, slots, eq)
    if slots:
        made = type(cls)(cls.__name__, cls.__bases__, space)
        made.__qualname__ = cls.__qualname__
    else:
        made = cls
        for name, value in space.items():
            if cls.__dict__.get(name, _MISSING) is not value:
                setattr(cls, name, value)
        for name in own:
            if name in cls.__dict__ and name not in space:
                delattr(cls, name)
    if "__init__" not in cls.__dict__:
        made.__init__ = _init(made, fields, frozen)
    return made


def _methods(
    cls: Any, names: tuple[str, ...], fields: dict[str, Any], frozen: bool, slots: bool, eq: bool
) -> dict[str, Any]:
    """The methods but `__init__`, those that the class does not define itself."""
    shown = [name for name in names if fields[name].repr]
    busy: set[int] = set()
    values: Callable[[Any], Any] = operator.attrgetter(*names) if names else lambda self: ()

    def __repr__(self: Any) -> str:
        if id(self) in busy:
            return "..."
        busy.add(id(self))
        try:
            return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"
        finally:
            busy.discard(id(self))

    def __eq__(self: Any, other: Any) -> Any:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    def __hash__(self: Any) -> int:
        return hash(values(self))

    def __setattr__(self: Any, name: str, value: Any) -> None:
        raise _frozen(f"cannot assign to field {name!r}")

    def __delattr__(self: Any, name: str) -> None:
        raise _frozen(f"cannot delete field {name!r}")

    def __getstate__(self: Any) -> list[Any]:
        return [getattr(self, name) for name in names]

    def __setstate__(self: Any, state: list[Any]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    methods: dict[str, Any] = {
        "__record_fields__": fields,
        "__dataclass_fields__": _StandardFields(),
        "__dataclass_params__": SimpleNamespace(frozen=frozen),
        "__match_args__": tuple(name for name in names if not fields[name].kw_only),
        "__repr__": __repr__,
    }
    if eq:
        methods["__eq__"] = __eq__
        methods["__hash__"] = __hash__ if frozen else None
    if frozen:
        methods |= {"__setattr__": __setattr__, "__delattr__": __delattr__}
        if slots:
            methods |= {"__getstate__": __getstate__, "__setstate__": __setstate__}
    for method in methods.values():
        if hasattr(method, "__qualname__"):
            method.__qualname__ = f"{cls.__qualname__}.{method.__name__}"
    mine = set(cls.__dict__)
    if "__eq__" in mine and cls.__dict__["__hash__"] is None:
        mine.discard("__hash__")  # Python's own None beside `__eq__`, nobody's decision
    return {name: method for name, method in methods.items() if name not in mine}


def _init(cls: Any, fields: dict[str, Any], frozen: bool) -> Any:
    """`__init__`, compiled: the one method whose speed matters everywhere."""
    scope: dict[str, Any] = {"_missing": _MISSING, "_set": object.__setattr__}
    ordered = sorted(fields, key=lambda name: fields[name].kw_only)
    heads: list[str] = ["self"]
    lines: list[tuple[str, str]] = []
    for name in ordered:
        made = fields[name]
        if made.kw_only and "*" not in heads:
            heads.append("*")
        value = name
        if made.default_factory is not _MISSING:
            scope[f"_new_{name}"] = made.default_factory
            heads.append(f"{name}=_missing")
            value = f"_new_{name}() if {name} is _missing else {name}"
        elif made.default is not _MISSING:
            scope[f"_default_{name}"] = made.default
            heads.append(f"{name}=_default_{name}")
        else:
            heads.append(name)
        lines.append((name, value))
    body = [f"self.{name} = {value}" for name, value in lines] or ["pass"]
    if frozen:
        body = [f"_set(self, {name!r}, {value})" for name, value in lines] or ["pass"]
        twin = _open_twin(cls, [name for name, _ in lines])
        if twin is not None:  # half the time of setting each field past the class's own refusal
            scope |= {"_cls": cls, "_twin": twin, "_become": object.__dict__["__class__"].__set__}
            stores = ["_become(self, _twin)", *[f"self.{name} = {value}" for name, value in lines]]
            quick = [f" {line}" for line in (*stores, "self.__class__ = _cls")]
            body = ["if self.__class__ is _cls:", *quick, "else:", *[f" {line}" for line in body]]
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    exec(f"def __init__({', '.join(heads)}):\n " + "\n ".join(body), scope)
    init = scope["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__module__ = cls.__module__
    return init


def _open_twin(cls: Any, names: list[str]) -> Any:
    """A class of the same layout whose fields can be set: what a frozen record is while it is filled; None: no such."""
    if cls.__mro__[1:] != (object,) or not names or set(cls.__dict__.get("__slots__", ())) != set(names):
        return None
    return type(cls.__name__, (), {"__slots__": cls.__slots__})


def _frozen(message: str) -> Exception:
    """The standard error of a frozen dataclass."""
    from dataclasses import FrozenInstanceError

    return FrozenInstanceError(message)


class _StandardFields:
    """`__dataclass_fields__`, made when the standard library asks for it."""

    __slots__ = ()

    def __get__(self, record: Any, cls: Any) -> dict[str, Any]:
        import dataclasses

        made = {}
        for name, has in cls.__record_fields__.items():
            given = {"default": has.default, "default_factory": has.default_factory}
            options = {key: value for key, value in given.items() if value is not _MISSING}
            standard = dataclasses.field(repr=has.repr, kw_only=has.kw_only, **options)
            standard.name = name
            standard.type = next(own_annotations(base)[name] for base in cls.__mro__ if name in own_annotations(base))
            standard._field_type = dataclasses._FIELD  # type: ignore[attr-defined]
            made[name] = standard
        return made
