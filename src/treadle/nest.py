"""Flatten, unflatten and map over nests: tuples, lists, dicts (in sorted key order), namedtuples and dataclasses.

A nest's shape is a `Structure`; leaves are everything else. Each leaf has a key path (`["image"]`, `[0].weight`)
for messages. None is a leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

__all__ = ["Structure", "flatten", "flatten_with_paths", "map", "structure", "unflatten"]

_map = map
# Kinds of lists that count as lists while they hold no staged state; control.lists adds its own.
LISTS: set[type] = set()


class Structure:
    """The shape of a nest without its leaves; hashable, and equal when kinds, keys and arities are."""

    __slots__ = ("_hash", "children", "count", "keys", "kind")

    def __init__(self, kind: type | None, keys: tuple[Any, ...], children: tuple[Structure, ...]) -> None:
        self.kind = kind
        self.keys = keys
        self.children = children
        self.count: int = 1 if kind is None else sum([child.count for child in children])
        self._hash = hash((kind, keys, children))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return (
            isinstance(other, Structure)
            and self._hash == other._hash
            and self.kind is other.kind
            and self.keys == other.keys
            and self.children == other.children
        )

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return repr(unflatten(self, [_Star()] * self.count))


class _Star:
    def __repr__(self) -> str:
        return "*"


LEAF = Structure(None, (), ())
LEAVES: set[type] = set()  # types known to be leaves, which need no closer look; core adds tensors and variables
_flat: dict[tuple[type, int], Structure] = {}  # structures of short lists and tuples of leaves


def _sorted_keys(value: dict[Any, Any]) -> list[Any]:
    try:
        return sorted(value)
    except TypeError:
        return sorted(value, key=lambda key: (type(key).__name__, repr(key)))


def _children(value: Any) -> tuple[tuple[Any, ...], list[Any]] | None:
    """Keys and children of a nest node, or None for a leaf."""
    kind = type(value)
    if kind is tuple or kind is list:
        return (), list(value)
    if kind is dict:
        keys = _sorted_keys(value)
        return tuple(keys), [value[key] for key in keys]
    if kind in LISTS:
        return None if value._state is not None else ((), list(value))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return (), list(value)
    if hasattr(type(value), "__dataclass_fields__"):
        import dataclasses  # who has such a value has paid for the module

        names = tuple(field.name for field in dataclasses.fields(value) if field.init)
        return names, [getattr(value, name) for name in names]
    return None


def _flatten(value: Any, leaves: list[Any]) -> Structure:
    """The structure of a nest, whose leaves are added to `leaves`."""
    kind = type(value)
    if kind in LEAVES:
        leaves.append(value)
        return LEAF
    if kind is not tuple and kind is not list:
        return _walk(value, leaves, None, "")
    if LEAVES.issuperset(_map(type, value)):
        leaves += value
        return _flat_structure(kind, len(value))
    return Structure(kind, (), tuple([_flatten(child, leaves) for child in value]))


def _flat_structure(kind: type, count: int) -> Structure:
    """The structure of a list or tuple of leaves."""
    key = kind, count
    shape = _flat.get(key)
    if shape is None:
        shape = Structure(kind, (), (LEAF,) * count)
        if count <= 64:
            _flat[key] = shape
    return shape


def _walk(value: Any, leaves: list[Any], paths: list[str] | None, path: str) -> Structure:
    found = _children(value)
    if found is None:
        leaves.append(value)
        if paths is not None:
            paths.append(path)
        return LEAF
    keys, children = found
    shapes = []
    for position, child in enumerate(children):
        step = ""
        if paths is not None:
            if not keys:
                step = f"[{position}]"
            elif isinstance(value, dict):
                step = f'["{keys[position]}"]' if isinstance(keys[position], str) else f"[{keys[position]!r}]"
            else:
                step = f".{keys[position]}"
        shapes.append(_flatten(child, leaves) if paths is None else _walk(child, leaves, paths, path + step))
    kind = type(value)
    return Structure(list if kind in LISTS else kind, keys, tuple(shapes))


def flatten_with_structure(value: Any) -> tuple[list[Any], Structure]:
    """The leaves of a nest, left to right, and its structure."""
    leaves: list[Any] = []
    return leaves, _flatten(value, leaves)


def flatten(value: Any) -> list[Any]:
    """The leaves of a nest, left to right.

    >>> flatten({"b": [1, 2], "a": (3,)})
    [3, 1, 2]
    """
    return flatten_with_structure(value)[0]


def flatten_with_paths(value: Any, root: str = "") -> tuple[list[Any], list[str], Structure]:
    """Leaves, the key path of each (beginning with `root`), and the structure."""
    leaves: list[Any] = []
    paths: list[str] = []
    shape = _walk(value, leaves, paths, root)
    return leaves, paths, shape


def structure(value: Any) -> Structure:
    """The structure of a nest."""
    return flatten_with_structure(value)[1]


def _build(shape: Structure, leaves: Iterable[Any]) -> Any:
    kind = shape.kind
    if kind is None:
        return next(leaves)  # type: ignore[call-overload]
    children = [next(leaves) if child is LEAF else _build(child, leaves) for child in shape.children]  # type: ignore[call-overload]
    if kind is list:
        return children
    if kind is tuple:
        return tuple(children)
    if kind is dict:
        return dict(zip(shape.keys, children, strict=True))
    if hasattr(kind, "_fields"):
        return kind(*children)
    return kind(**dict(zip(shape.keys, children, strict=True)))


def unflatten(like: Any, leaves: Sequence[Any]) -> Any:
    """A nest with the structure of `like` (a nest or a `Structure`) and the given leaves.

    Raises ValueError when the number of leaves differs.

    >>> unflatten({"a": 0, "b": (0, 0)}, [1, 2, 3])
    {'a': 1, 'b': (2, 3)}
    """
    shape = like if isinstance(like, Structure) else structure(like)
    if len(leaves) != shape.count:
        raise ValueError(f"unflatten: the nest {shape!r} has {shape.count} leaves, {len(leaves)} were given")
    if _flat.get((shape.kind, shape.count)) is shape:  # type: ignore[arg-type]
        return shape.kind(leaves)  # type: ignore[misc]
    return _build(shape, iter(leaves))


def map(f: Callable[..., Any], *nests: Any) -> Any:
    """Apply `f` to the leaves of nests that have one structure.

    Raises ValueError when the structures differ.

    >>> map(lambda x, y: x + y, {"a": 1}, {"a": 10})
    {'a': 11}
    """
    flat = [flatten_with_structure(nest) for nest in nests]
    for _, shape in flat[1:]:
        if shape != flat[0][1]:
            raise ValueError(f"nest.map: the nests differ: {flat[0][1]!r} and {shape!r}")
    return unflatten(flat[0][1], [f(*leaves) for leaves in zip(*[leaves for leaves, _ in flat], strict=True)])
