"""The outer values that traced functions read: which globals, closure cells and attributes, and how to read them again.

Attribute chains are followed as the code has them (`self.config.rate`), through properties too, but not into library
modules, whose contents do not change. A method that is called counts for every known object of its class.
"""

from __future__ import annotations

import dis
import functools
import inspect
import operator
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from treadle.autograph.callees import _INSTALLED, _NEVER, call_method, is_user
from treadle.autograph.reads import Read, _walk, reads
from treadle.core.op import Op
from treadle.function import keys
from treadle.records import dataclass

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "not set"})()
_MOST_ITEMS = 256  # of a container, that are looked into for objects

_LEAVES = frozenset(
    {keys.TENSOR, keys.ARRAY, keys.SPEC, keys.VARIABLE, keys.VALUE, keys.FLOAT, keys.COMPLEX, keys.TUPLE, keys.LIST}
    | {keys.DICT, keys.SET, keys.MAPPING, keys.SEQUENCE}
)

_CONTAINERS = frozenset({keys.TUPLE, keys.LIST, keys.DICT, keys.MAPPING, keys.SEQUENCE, keys.SET, keys.NAMED})


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """One outer value: what reports call it, how to read it (weakly where it hangs on an object), who reads it."""

    label: str
    get: Callable[[], Any]
    function: FunctionType

    def value(self) -> Any:
        """The value now, or MISSING."""
        try:
            return self.get()
        except (AttributeError, ValueError, ReferenceError):  # a deleted attribute, an empty cell, a dead object
            return MISSING


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """An object whose attributes traced methods may read."""

    label: str
    get: Callable[[], Any]
    target: Any


class Places:
    """Collects the places of some functions, and of those that they call.

    follow: take in user functions that are merely named; otherwise only those that are given.
    """

    def __init__(self, follow: bool) -> None:
        self.follow = follow
        self.found: dict[Any, Place] = {}
        self.functions: list[FunctionType] = []
        self.known: list[Known] = []
        self._paired: set[tuple[int, int]] = set()
        self._read_of: set[tuple[int, str]] = set()  # attributes of objects that a chain in the code leads to

    def add_function(self, function: FunctionType) -> None:
        """Take in what a function reads from globals and closures."""
        if any(f is function for f in self.functions):
            return
        self.functions.append(function)
        for read in reads(function) if not _is_fixed(function) else ():
            self._read(function, read)
        for known in list(self.known):
            self._pair(function, known)

    def add_object(self, label: str, target: Any, get: Callable[[], Any] | None = None) -> None:
        """Take in an object: the attributes that its methods read count."""
        if any(known.target is target for known in self.known):
            return
        known = Known(label, get or weakly(target), target)
        self.known.append(known)
        for function in list(self.functions):
            self._pair(function, known)

    def add_argument(self, function: FunctionType, name: str, target: Any) -> None:
        """Take in the attributes of an argument that the function reads."""
        known = Known(name, weakly(target), target)
        code = function.__code__
        for read in dict.fromkeys(_walk(code, set(), name)):
            if read.root == "argument" and read.attrs:
                self._chain(function, known.get, (id(target),), name, target, read.attrs)

    def _pair(self, function: FunctionType, known: Known) -> None:
        pair = (id(function), id(known.target))
        if pair in self._paired:
            return
        self._paired.add(pair)
        if keys.kind_of(known.target) != keys.VERSIONED:  # whose version tells of any attribute
            self._loose(function, known)
        if not _is_method_of(function, type(known.target)):
            return
        for read in reads(function):
            if read.root == "argument" and read.attrs:
                self._chain(function, known.get, (id(known.target),), known.label, known.target, read.attrs)

    def _loose(self, function: FunctionType, known: Known) -> None:
        """Attributes that the function reads of something that the code does not name: `for layer in self.layers`."""
        target = known.target
        for attr in loose_reads(function.__code__):
            static = inspect.getattr_static(target, attr, MISSING)
            if static is MISSING or (id(target), attr) in self._read_of or _computed(target, attr, static):
                continue
            self._note(function, _getter(known.get, [attr]), (id(target), attr), f"{known.label}.{attr}", static)

    def _read(self, function: FunctionType, read: Read) -> None:
        if read.root == "global":
            if _in_library(_module(function)):
                return
            space = function.__globals__
            value = space.get(read.name, MISSING)
            if value is MISSING:
                return  # a builtin, or a name that will fail
            get: Callable[[], Any] = functools.partial(space.get, read.name, MISSING)
            self._chain(function, get, (id(space), read.name), f"global {read.name}", value, read.attrs)
        elif read.root == "closure":
            cell = (function.__closure__ or ())[function.__code__.co_freevars.index(read.name)]
            get = functools.partial(getattr, cell, "cell_contents")
            try:
                value = cell.cell_contents
            except ValueError:
                return
            if read.name != "__class__":
                self._chain(function, get, (id(cell),), f"closure {read.name}", value, read.attrs)

    def _chain(
        self,
        function: FunctionType,
        root: Callable[[], Any],
        origin: tuple[Any, ...],
        label: str,
        value: Any,
        attrs: Sequence[str],
    ) -> None:
        """Follow attributes from a root as far as they are plain data, and note the place where that ends."""
        used: list[str] = []
        for attr in attrs:
            if isinstance(value, ModuleType) and is_library(value):
                return
            if keys.kind_of(value) in _LEAVES:
                break  # a method of a number, a tensor, a list
            where = ".".join((label, *used))
            static = inspect.getattr_static(value, attr, MISSING)
            if isinstance(static, property) and isinstance(static.fget, FunctionType):
                self._object(where, value, _getter(root, used))
                self._property(function, static.fget, _getter(root, used), value, where)
                return
            if static is not MISSING and not isinstance(value, (ModuleType, type)) and _computed(value, attr, static):
                self._object(where, value, _getter(root, used))
                self._method(static, function)
                return
            self._read_of.add((id(value), attr))
            self._object(where, value, _getter(root, used))
            value = getattr(value, attr, MISSING) if static is not MISSING else MISSING
            used.append(attr)
            if value is MISSING:
                break
        self._note(function, _getter(root, used), (*origin, *used), ".".join((label, *used)), value)

    def _property(
        self, function: FunctionType, getter: FunctionType, get: Callable[[], Any], value: Any, label: str
    ) -> None:
        for read in reads(getter):
            if read.root == "argument" and read.attrs:
                self._chain(function, get, (id(value),), label, value, read.attrs)

    def _method(self, static: Any, caller: FunctionType) -> None:
        plain = getattr(static, "__func__", static)
        if self.follow and isinstance(plain, FunctionType) and is_user(plain):
            self.add_function(plain)

    def _object(self, label: str, value: Any, get: Callable[[], Any]) -> None:
        if keys.kind_of(value) in (keys.OBJECT, keys.VERSIONED) and not isinstance(
            value, (ModuleType, type, FunctionType)
        ):
            self.add_object(label, value, get)

    def _items(self, label: str, value: Any, depth: int = 3) -> None:
        """Objects inside a container: what is read of them counts."""
        kind = keys.kind_of(value)
        if not depth or kind not in _CONTAINERS or len(value) > _MOST_ITEMS:
            return
        for step, item in keys.children(value, kind):
            self._object(label + step, item, weakly(item))
            self._items(label + step, item, depth - 1)

    def _note(
        self, function: FunctionType, get: Callable[[], Any], origin: tuple[Any, ...], label: str, value: Any
    ) -> None:
        if isinstance(value, (ModuleType, BuiltinFunctionType)):
            return
        if isinstance(value, (FunctionType, type)) and not _is_users(value):
            return
        self._object(label, value, get)
        self.found.setdefault(origin, Place(label, get, function))
        self._items(label, value)
        if self.follow:
            plain = value if isinstance(value, FunctionType) else call_method(type(value))
            if isinstance(value, MethodType):
                plain = value.__func__ if isinstance(value.__func__, FunctionType) else None
            if plain is not None and is_user(plain):
                self.add_function(plain)


def weakly(target: Any) -> Callable[[], Any]:
    """A function that gives the object, without keeping it alive where that can be."""
    ref = keys.identity(target)
    return ref if isinstance(ref, weakref.ref) else lambda: target


class Chain:
    """Reads attributes of attributes, beginning with what a root gives."""

    __slots__ = ("_chain", "attrs", "root")

    def __init__(self, root: Callable[[], Any], attrs: Sequence[str]) -> None:
        self.root, self.attrs = root, tuple(attrs)
        self._chain = operator.attrgetter(".".join(attrs))

    def __call__(self) -> Any:
        return self._chain(self.root())


def _getter(root: Callable[[], Any], attrs: Sequence[str]) -> Callable[[], Any]:
    return Chain(root, attrs) if attrs else root


def _computed(value: Any, attr: str, static: Any) -> bool:
    """Whether an attribute of an instance is made by code when it is read (a method, a descriptor)."""
    if attr in getattr(value, "__dict__", {}):
        return False
    kind = type(static)
    return hasattr(kind, "__get__") and not inspect.ismemberdescriptor(static)


def _is_method_of(function: FunctionType, kind: type) -> bool:
    for base in kind.__mro__:
        found = base.__dict__.get(function.__name__)
        if isinstance(found, property):
            found = found.fget
        if found is function or getattr(found, "__wrapped__", None) is function:
            return True
    return False


def _is_users(value: Any) -> bool:
    return is_user(value) if isinstance(value, FunctionType) else not _in_library(getattr(value, "__module__", ""))


def _module(function: FunctionType) -> str:
    return str(function.__globals__.get("__name__") or "")


def _is_fixed(function: FunctionType) -> bool:
    """Whether a function is an op of treadle's: nothing that it reads ever changes."""
    return _in_library(_module(function)) and any(
        isinstance(_cell_value(function, name), Op) for name in function.__code__.co_freevars
    )


def _in_library(name: str) -> bool:
    return name.partition(".")[0] in _NEVER


def is_library(module: ModuleType) -> bool:
    """Whether a module is treadle, the standard library or installed, so that its contents count as fixed."""
    file = getattr(module, "__file__", None)
    return _in_library(module.__name__) or (isinstance(file, str) and file.startswith(_INSTALLED))


def stored(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """The globals, and the attributes of outer classes, modules and objects, that a function assigns: their values."""
    for root, name, attrs in _stores(function.__code__):
        if root == "global":
            label, value = f"global {name}", function.__globals__.get(name, MISSING)
        else:
            label, value = f"closure {name}", _cell_value(function, name)
        for attr in attrs:
            if value is MISSING:
                break
            value = inspect.getattr_static(value, attr, MISSING)
            label += f".{attr}"
        if value is not MISSING:
            yield label, value


def _cell_value(function: FunctionType, name: str) -> Any:
    if name not in function.__code__.co_freevars:
        return MISSING
    cell = (function.__closure__ or ())[function.__code__.co_freevars.index(name)]
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


Store = tuple[str, str, tuple[str, ...]]


@functools.lru_cache(maxsize=2048)
def _stores(code: CodeType) -> tuple[Store, ...]:
    """What code assigns outside: `NAME = ...` and `NAME.a.b = ...` of globals and closures, in nested code too."""
    found: dict[Store, None] = {}
    chain: Store | None = None
    for instruction in dis.get_instructions(code):
        op, argument = instruction.opname, instruction.argval
        if op == "STORE_GLOBAL":
            found[("global", argument, ())] = None
        elif op == "STORE_ATTR" and chain is not None:
            found[(chain[0], chain[1], (*chain[2], argument))] = None
        if op in ("LOAD_ATTR", "LOAD_METHOD") and chain is not None:
            chain = (chain[0], chain[1], (*chain[2], argument))
        elif op in ("LOAD_GLOBAL", "LOAD_NAME"):
            chain = ("global", argument, ())
        elif op == "LOAD_DEREF":
            chain = ("closure", argument, ())
        elif op not in ("COPY", "SWAP", "PRECALL", "CACHE"):
            chain = None
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found.update(dict.fromkeys(_stores(constant)))
    return tuple(found)


@functools.lru_cache(maxsize=2048)
def loose_reads(code: CodeType) -> frozenset[str]:
    """Attributes that code reads of what is no global, closure or first argument: of locals, items and results."""
    first = code.co_varnames[0] if code.co_argcount else None
    found: set[str] = set()
    loose = False
    for instruction in dis.get_instructions(code):
        op = instruction.opname
        if op in ("LOAD_ATTR", "LOAD_METHOD"):
            if loose:
                found.add(instruction.argval)
            continue
        named = op in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF")
        loose = not (named or (op.startswith("LOAD_FAST") and instruction.argval == first))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= loose_reads(constant)
    return frozenset(found)
