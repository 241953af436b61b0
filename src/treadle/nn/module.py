"""`Module`: an object whose attributes hold Variables and other Modules; it finds them, names them and has a version.

The version stands in the cache key of `td.function`: setting an attribute that is not a Variable, anywhere in the
tree, makes a new one, so that no trace ever acts on an old configuration.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from treadle.core.tracer import active_tracer
from treadle.core.variable import _CREATED, Variable

_scopes: ContextVar[str] = ContextVar("treadle_name_scope", default="")
_unnamed = "variable"  # the name of a Variable that was given none

# Stamps of changes, over all modules. `_latest[0]` is the newest: a tree searched since then is as it was.
_stamps = itertools.count(1)
_latest = [0]


class NameScope:
    """A context manager: Variables made inside carry its name, as in `dense/kernel`. Scopes nest."""

    __slots__ = ("_tokens", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._tokens: list[Any] = []

    def __enter__(self) -> NameScope:
        around = _scopes.get()
        self._tokens.append(_scopes.set(f"{around}/{self.name}" if around else self.name))
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        _scopes.reset(self._tokens.pop())

    def __repr__(self) -> str:
        return f"<name scope {self.name!r}>"


def _scope_of_new(variable: Variable) -> None:
    scope = _scopes.get()
    if scope and "/" not in variable.name:
        variable.name = f"{scope}/{variable.name}"


_CREATED.append(_scope_of_new)


class Module:
    """Base of layers and models: keeps Variables and Modules as attributes, also inside lists, tuples and dicts.

    name: what its variables' names begin with; by default the class's name in snake case.

    Attributes are searched in sorted order, dicts in the order of their sorted keys, depth first, each object once.
    Attributes may also be set from outside, and a subclass need not call `super().__init__()`.

    >>> import treadle as td
    >>> class Scale(td.Module):
    ...     def __init__(self, factor):
    ...         super().__init__()
    ...         self.factor = td.Variable(factor)
    ...     def __call__(self, x):
    ...         return x * self.factor
    >>> scale = Scale(3.0)
    >>> scale(td.asarray(2.0)).item(), [v.name for v in scale.variables]
    (6.0, ['scale/factor'])
    """

    __slots__ = ("__dict__", "__weakref__", "_changed", "_stamp", "_tree")

    _stamp: int  # when an attribute of this very object last changed so that a new trace is needed
    _changed: int  # when an attribute last changed at all
    _tree: _Tree | None

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        module = super().__new__(cls)
        _touch(module)
        return module

    def __init__(self, name: str | None = None) -> None:
        if name is not None:
            self._name = name

    # -- attributes ----------------------------------------------------------------------------------------------------

    def __setattr__(self, attr: str, value: Any) -> None:
        held = self.__dict__
        old = held.get(attr, _NOTHING)
        if isinstance(value, Variable):
            _name_after(value, self, attr)
        object.__setattr__(self, attr, value)
        if old is not value:
            _touch(self, version=not _unchanged(old, value))

    def __delattr__(self, attr: str) -> None:
        object.__delattr__(self, attr)
        _touch(self)

    @property
    def name(self) -> str:
        """The module's name."""
        return self.__dict__.get("_name") or snake_case(type(self).__name__)

    @name.setter
    def name(self, value: str) -> None:
        self._name = value

    @property
    def name_scope(self) -> NameScope:
        """`with self.name_scope:` gives the Variables made inside the module's name in front."""
        return NameScope(self.name)

    # -- what is inside ------------------------------------------------------------------------------------------------

    @property
    def variables(self) -> tuple[Variable, ...]:
        """All Variables of the tree, each once."""
        return self._looked_at().variables

    @property
    def trainable_variables(self) -> tuple[Variable, ...]:
        """The Variables that tapes watch by themselves; none of a module whose `trainable` is False."""
        return tuple(_trainable(self, {}))

    @property
    def submodules(self) -> tuple[Module, ...]:
        """All Modules inside this one, each once."""
        return self._looked_at().modules

    @property
    def __treadle_version__(self) -> int:
        """A number that is new whenever something other than a Variable's value changed in the tree."""
        return self._looked_at().version

    def _looked_at(self) -> _Tree:
        tree: _Tree | None = self._tree
        if tree is None or not tree.holds(self):
            tree = _Tree(self, tree)
            object.__setattr__(self, "_tree", tree)
        return tree

    # -- copies --------------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        _touch(self)

    def __repr__(self) -> str:
        held = self.variables
        return f"<{type(self).__name__} {self.name!r}: {len(held)} variable{'' if len(held) == 1 else 's'}>"


_NOTHING = object()
_PLAIN = (bool, int, float, str, type(None))


def snake_case(name: str) -> str:
    """`DemoModule` as `demo_module`.

    >>> snake_case("GRUCell")
    'gru_cell'
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _touch(module: Module, version: bool = True) -> None:
    _latest[0] = stamp = next(_stamps)
    object.__setattr__(module, "_changed", stamp)
    object.__setattr__(module, "_tree", None)
    if version:
        object.__setattr__(module, "_stamp", stamp)


def _unchanged(old: Any, new: Any) -> bool:
    """Whether putting `new` in the place of `old` leaves every trace valid."""
    if old is new:
        return True
    if isinstance(new, Variable):
        # A layer that is built at its first call, inside a trace: that trace already uses the new Variable.
        return (old is None or old is _NOTHING) and active_tracer() is not None
    return type(old) is type(new) and type(new) in _PLAIN and bool(old == new)


def _name_after(variable: Variable, module: Module, attr: str) -> None:
    scope, _, last = variable.name.rpartition("/")
    if not scope or last == _unnamed:
        variable.name = f"{scope or module.name}/{attr if last == _unnamed else last}"


def children(value: Any) -> Iterator[Any]:
    """What a module or a container holds, in the order of the search."""
    if isinstance(value, Module):
        held = value.__dict__
        for attr in sorted(held):
            yield held[attr]
    elif isinstance(value, dict):
        try:
            keys = sorted(value)
        except TypeError:
            keys = sorted(value, key=lambda key: (type(key).__name__, repr(key)))
        for key in keys:
            yield value[key]
    elif isinstance(value, (list, tuple)):
        yield from value


class _Tree:
    """What one search found: the Variables and Modules, and how to tell cheaply that it would find the same again."""

    __slots__ = ("containers", "modules", "seen", "variables", "version")

    def __init__(self, root: Module, before: _Tree | None) -> None:
        if before is not None and not before.containers_hold():
            _touch(root)  # a list or a dict was changed in place
        self.seen = _latest[0]
        variables: dict[int, Variable] = {}
        modules: dict[int, Module] = {}
        containers: dict[int, tuple[Any, tuple[Any, ...]]] = {}
        stack: list[Any] = [root]
        while stack:
            value = stack.pop()
            if isinstance(value, Variable):
                variables.setdefault(id(value), value)
            elif isinstance(value, Module) and id(value) not in modules:
                modules[id(value)] = value
                stack.extend(reversed(list(children(value))))
            elif isinstance(value, (list, tuple, dict)) and id(value) not in containers:
                containers[id(value)] = (value, _items(value))
                stack.extend(reversed(list(children(value))))
        self.variables = tuple(variables.values())
        self.modules = tuple(modules.values())[1:]  # without the root: a tree keeps no module alive that holds it
        self.containers = tuple(pair for pair in containers.values() if not isinstance(pair[0], tuple))
        self.version = max(module._stamp for module in modules.values())

    def containers_hold(self) -> bool:
        """Whether the lists and dicts hold the same objects still."""
        return all(_identical(_items(container), items) for container, items in self.containers)

    def holds(self, root: Module) -> bool:
        """Whether nothing in the tree has changed since the search."""
        if self.seen != _latest[0]:
            if root._changed > self.seen or any(module._changed > self.seen for module in self.modules):
                return False
            self.seen = _latest[0]
        return self.containers_hold()


def _items(container: Any) -> tuple[Any, ...]:
    return (*container, *container.values()) if isinstance(container, dict) else tuple(container)


def _identical(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


def _trainable(value: Any, seen: dict[int, Any]) -> Iterator[Variable]:
    if id(value) in seen:
        return
    if isinstance(value, Variable):
        seen[id(value)] = value
        if value.trainable:
            yield value
    elif isinstance(value, (Module, list, tuple, dict)):
        seen[id(value)] = value
        if isinstance(value, Module) and not value.__dict__.get("trainable", True):
            return
        for child in children(value):
            yield from _trainable(child, seen)
