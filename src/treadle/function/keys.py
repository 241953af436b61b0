"""What a value counts as in a cache key: tensors by dtype and shape, numbers by bits, objects by identity held weakly.

A key is a flat tuple of parts, one for each leaf or container of a nest, so that two keys can be compared leaf by leaf
when a retrace is explained.
"""

from __future__ import annotations

import enum
import functools
import struct
import types
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np

from treadle.core.dim import Dim
from treadle.core.dtypes import as_dtype, dtype_name
from treadle.core.spec import Spec, TensorSpec
from treadle.core.tensor import Symbol, Tensor
from treadle.core.variable import Variable
from treadle.nest import _sorted_keys

Part = tuple[Any, ...]

# Kinds of values, by type; each begins the part that stands for a value.
TENSOR, ARRAY, SPEC, VARIABLE, VALUE, FLOAT, COMPLEX = (
    "tensor",
    "array",
    "spec",
    "variable",
    "value",
    "float",
    "complex",
)
TUPLE, LIST, DICT, NAMED, DATACLASS, SET = "tuple", "list", "dict", "namedtuple", "dataclass", "set"
MAPPING, SEQUENCE, METHOD, PARTIAL, VERSIONED, OBJECT = "mapping", "sequence", "method", "partial", "module", "object"
STATIC, ENUM = "static", "enum"
TENSORS = frozenset({TENSOR, ARRAY, SPEC})
NESTS = frozenset({TUPLE, LIST, DICT, NAMED, DATACLASS})

_EXACT: dict[type, str] = {
    **dict.fromkeys((bool, int, str, bytes, type(None), type(...), range), VALUE),
    **{float: FLOAT, complex: COMPLEX, tuple: TUPLE, list: LIST, dict: DICT, set: SET, frozenset: SET},
    **{Tensor: TENSOR, Symbol: TENSOR, np.ndarray: ARRAY, TensorSpec: SPEC, Variable: VARIABLE, Dim: VALUE},
    **{types.MethodType: METHOD, functools.partial: PARTIAL, types.FunctionType: OBJECT, type: OBJECT},
}
_found: weakref.WeakKeyDictionary[type, str] = weakref.WeakKeyDictionary()
_pack = struct.Struct("<d").pack


class Ref(weakref.ref[Any]):
    """An object's identity, held weakly: a new object at a freed address is another one."""

    __slots__ = ("_hash",)

    def __init__(self, target: Any) -> None:
        super().__init__(target)  # type: ignore[call-arg]
        self._hash = id(target)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        target = self()
        return isinstance(other, Ref) and target is not None and target is other()

    def __ne__(self, other: object) -> bool:
        return not self == other


class Held:
    """The identity of an object that cannot be held weakly."""

    __slots__ = ("target",)

    def __init__(self, target: Any) -> None:
        self.target = target

    def __hash__(self) -> int:
        return id(self.target)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Held) and other.target is self.target


def identity(x: Any) -> Ref | Held:
    """An object's identity as a hashable value that keeps it alive only if there is no other way."""
    try:
        return Ref(x)
    except TypeError:
        return Held(x)


def kind_of(x: Any) -> str:
    """Which of the kinds above a value is."""
    kind = type(x)
    found = _EXACT.get(kind) or _found.get(kind)
    if found is None:
        found = _found[kind] = _classify(x)
    return found


def _classify(x: Any) -> str:
    if found := _by_base(x, ((Tensor, TENSOR), (Variable, VARIABLE), (np.ndarray, ARRAY), (np.generic, ARRAY))):
        return found
    if isinstance(x, type):
        return OBJECT
    if isinstance(x, enum.Enum):
        return ENUM
    if hasattr(type(x), "__treadle_version__"):
        return VERSIONED
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return NAMED
    if hasattr(x if isinstance(x, type) else type(x), "__dataclass_fields__"):
        return DATACLASS
    if found := _by_base(x, ((float, FLOAT), (complex, COMPLEX), (int, VALUE), (str, VALUE), (bytes, VALUE))):
        return found
    if found := _by_base(x, ((dict, MAPPING), ((list, tuple), SEQUENCE), ((set, frozenset), SET))):
        return found
    if hasattr(type(x), "__dlpack__") or hasattr(type(x), "__array__"):
        return ARRAY
    return OBJECT


def _by_base(x: Any, table: tuple[tuple[Any, str], ...]) -> str | None:
    return next((kind for base, kind in table if isinstance(x, base)), None)


def _fields(x: Any) -> Sequence[Any]:
    import dataclasses  # who has such a value has paid for the module

    return dataclasses.fields(x)


def children(x: Any, kind: str) -> Iterator[tuple[str, Any]]:
    """The steps of the path and the values inside a nest node or another container."""
    if kind in (DICT, MAPPING):
        for key in _sorted_keys(x):
            yield _step(key), x[key]
    elif kind is LIST or kind is TUPLE:
        yield from zip(_steps(len(x)), x, strict=False)
    elif kind == DATACLASS:
        for field in _fields(x):
            if field.init:
                yield f".{field.name}", getattr(x, field.name)
    elif kind == PARTIAL:
        yield from ((".func", x.func), (".args", x.args), (".keywords", x.keywords))
    else:
        for position, item in enumerate(x):
            yield f"[{position}]", item


def _steps(count: int) -> list[str]:
    """`[0]`, `[1]`, ...: at least so many."""
    for position in range(len(_STEPS), count):
        _STEPS.append(f"[{position}]")
    return _STEPS


_STEPS: list[str] = []


def container(x: Any, kind: str) -> Part:
    """The part of a container."""
    if kind in (DICT, MAPPING):
        return kind, type(x), tuple(_sorted_keys(x))
    if kind in (DATACLASS, PARTIAL):
        return kind, type(x)
    return kind, type(x), len(x)


class Walk:
    """Collects the parts of a key and the tensor leaves of the values it is given.

    paths:        collect the path of each part too (for reports; costs time).
    by_identity:  tensors and arrays count by identity: for values that a trace captures rather than takes.
    """

    __slots__ = ("by_identity", "parts", "paths", "tensors")

    def __init__(self, paths: bool = False, by_identity: bool = False) -> None:
        self.parts: list[Part] = []
        self.tensors: list[Any] = []
        self.paths: list[str] | None = [] if paths else None
        self.by_identity = by_identity

    def add(self, x: Any, path: str = "") -> None:
        """Take in one value and what is inside it."""
        kind = kind_of(x)
        if kind in TENSORS and not self.by_identity:
            self.tensors.append(x)
            self._part(tensor_part(x, path), path)
        elif self.paths is None and (kind is LIST or kind is TUPLE):
            self.parts.append((kind, type(x), len(x)))
            for child in x:
                self.add(child, path)
        elif kind in NESTS:
            self._part(container(x, kind), path)
            for step, child in children(x, kind):
                self.add(child, path + step if self.paths is not None else path)
        else:
            self._part(part_of(x, kind), path)

    def _part(self, part: Part, path: str) -> None:
        self.parts.append(part)
        if self.paths is not None:
            self.paths.append(path)


def tensor_part(x: Any, path: str) -> Part:
    """The part of a tensor, an array or a spec; `path` names sizes that a spec leaves open."""
    if type(x) is Tensor:
        array = x.array
        return TENSOR, array.dtype, array.shape, False
    spec = spec_of(x, path)
    return TENSOR, spec.dtype, spec.shape, spec.weak


def spec_of(x: Any, path: str = "") -> Spec:
    """The spec of a tensor leaf."""
    if isinstance(x, Tensor):
        return x.spec
    if isinstance(x, TensorSpec):
        return x.to_spec(identifier(path))
    if isinstance(x, (np.ndarray, np.generic)):
        return Spec(x.shape, as_dtype(x.dtype))
    array = np.asarray(x)
    return Spec(array.shape, as_dtype(array.dtype))


def part_of(x: Any, kind: str) -> Part:
    """The part of what is no tensor argument and no nest."""
    if kind in (MAPPING, SEQUENCE, PARTIAL):
        return (*container(x, kind), contents(x, kind))
    return leaf_part(x, kind)


def leaf_part(x: Any, kind: str) -> Part:
    """The part of a leaf that is no tensor argument."""
    if kind == VALUE:
        return type(x), x
    if kind == FLOAT:
        return type(x), _pack(x)
    if kind == COMPLEX:
        return type(x), _pack(x.real), _pack(x.imag)
    if kind == VERSIONED:
        return VERSIONED, identity(x), x.__treadle_version__
    if kind == METHOD:
        return METHOD, identity(x.__func__), identity(x.__self__)
    if kind == SET:
        return SET, type(x), frozenset(_one(item) for item in x)
    if kind == ARRAY and isinstance(x, np.generic):
        return ARRAY, x.dtype, x.tobytes()
    if isinstance(x, slice):
        return slice, _one(x.start), _one(x.stop), _one(x.step)
    if kind == ENUM:
        return ENUM, identity(x)
    found = identity(x)
    if isinstance(found, Held) and isinstance(x, Hashable) and type(x).__hash__ is not object.__hash__:
        return type(x), x  # a value like Decimal or datetime: it cannot be held weakly, and says itself what it equals
    return OBJECT, found


def _one(x: Any) -> Part:
    walk = Walk(by_identity=True)
    walk.add(x)
    return tuple(walk.parts)


def contents(x: Any, kind: str) -> Part:
    """The contents of a container that is no nest, tensors by identity."""
    walk = Walk(by_identity=True)
    for _, child in children(x, kind):
        walk.add(child)
    return tuple(walk.parts)


def value_key(x: Any) -> Part:
    """The key of a value that a trace reads from outside: contents of containers, tensors by identity."""
    return _one(x)


def replace_tensors(x: Any, replacement: Callable[[Any], Any]) -> Any:
    """The same nest with each tensor leaf replaced, in the order of `Walk`; dicts come in sorted key order."""
    kind = kind_of(x)
    if kind in TENSORS:
        return replacement(x)
    if kind not in NESTS:
        return x
    if kind == DICT:
        return {key: replace_tensors(x[key], replacement) for key in _sorted_keys(x)}
    if kind is LIST or kind is TUPLE:
        return type(x)([replace_tensors(child, replacement) for child in x])
    new = [replace_tensors(child, replacement) for _, child in children(x, kind)]
    if kind == DATACLASS:
        names = [field.name for field in _fields(x) if field.init]
        return type(x)(**dict(zip(names, new, strict=True)))
    return type(x)(*new) if kind == NAMED else type(x)(new)


def refreshed(parts: Part) -> Part:
    """A key with the versions that modules have now: tracing may have built them."""
    if VERSIONED not in [part[0] for part in parts]:
        return parts
    found = []
    for part in parts:
        target = part[1]() if part[0] == VERSIONED and isinstance(part[1], Ref) else None
        found.append(part if target is None else (VERSIONED, part[1], target.__treadle_version__))
    return tuple(found)


def is_mortal(parts: Part) -> bool:
    """Whether a key names objects that may end."""
    rest = [part for part in parts if type(part) is tuple and part[0] != TENSOR]
    return any(isinstance(p, Ref) for part in rest for p in part)


def is_alive(parts: Part) -> bool:
    """Whether every object that a key names still lives."""
    return all(not (isinstance(p, Ref) and p() is None) for part in parts if type(part) is tuple for p in part)


@functools.lru_cache(1024)
def identifier(path: str) -> str:
    """A path as a name for graphs: `batch["image"]` is `batch_image`."""
    return "".join(c if c.isalnum() else "_" for c in path).strip("_").replace("__", "_") or "x"


def describe(x: Any) -> str:
    """A value as reports show it."""
    kind = kind_of(x)
    if kind in TENSORS:
        return describe_spec(spec_of(x))
    if kind == VARIABLE:
        return f"the Variable {x.name!r}"
    if kind in (VERSIONED, OBJECT):
        name = getattr(x, "__qualname__", None)
        return f"{type(x).__name__} {name}" if isinstance(name, str) else f"a {type(x).__name__} object"
    if kind == METHOD:
        return f"the method {x.__func__.__qualname__}"
    if kind in NESTS | {MAPPING, SEQUENCE, SET}:
        return short(repr_nest(x))
    return short(repr(x))


def repr_nest(x: Any) -> str:
    """A container as text, its tensors as specs."""
    kind = kind_of(x)
    if kind in TENSORS | {VARIABLE, OBJECT, VERSIONED}:
        return describe(x)
    if kind in NESTS or kind in (MAPPING, SEQUENCE):
        return nest_text(x, kind, {step: repr_nest(child) for step, child in children(x, kind)})
    return repr(x)


def nest_text(x: Any, kind: str, inside: dict[str, str]) -> str:
    """A container as text, given the texts of what is inside it by the steps that lead there."""
    if kind in (DICT, MAPPING):
        return "{" + ", ".join([f"{key!r}: {inside[_step(key)]}" for key in x]) + "}"
    if kind in (TUPLE, LIST, SEQUENCE):
        between = ", ".join(inside.values())
        return f"[{between}]" if isinstance(x, list) else f"({between})"
    return f"{type(x).__name__}(...)"


def _step(key: Any) -> str:
    """The step of a path into a dict."""
    return f'["{key}"]' if isinstance(key, str) else f"[{key!r}]"


def describe_spec(spec: Spec) -> str:
    """`float32[2, 3]`."""
    return f"{dtype_name(spec.dtype)}[{', '.join(map(str, spec.shape))}]"


def short(text: str, width: int = 60) -> str:
    """A text of at most so many characters."""
    return text if len(text) <= width else text[: width - 3] + "..."
