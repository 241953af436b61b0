"""Binding a call's arguments, and the cache key of what was bound: the signature of a trace."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from treadle.core.dim import is_static
from treadle.core.dtypes import DType, dtype_name
from treadle.core.spec import Shape, Spec, TensorSpec
from treadle.core.tensor import Tensor
from treadle.core.variable import Variable
from treadle.errors import SignatureMismatch
from treadle.function import keys
from treadle.ops.convert import as_tensor
from treadle.records import dataclass

_KINDS = inspect._ParameterKind
_NUMBERS = {"f": (int, float), "c": (int, float, complex), "i": (int,), "u": (int,), "b": (bool,), "T": (str,)}


@dataclass(slots=True)
class Leaf:
    """One part of a signature, as reports show it."""

    path: str
    part: keys.Part
    text: str


@dataclass(frozen=True, slots=True)
class Signature:
    """What a trace was made for: shown as `(x: float32[2, 3], n: 3)`."""

    arguments: tuple[tuple[str, str], ...]
    leaves: tuple[Leaf, ...]

    def __str__(self) -> str:
        return f"({', '.join(f'{name}: {text}' for name, text in self.arguments)})"

    __repr__ = __str__


class Binder:
    """Binds the arguments of a function: `bind` gives one value for each parameter, defaults filled in."""

    def __init__(
        self, function: Callable[..., Any] | None, name: str, skip_first: bool, static: tuple[str, ...]
    ) -> None:
        self.name = name
        # Builtins take any arguments: some do not tell their signature, others mind if a default is given to them.
        signature = inspect.signature(function if function is not None else lambda *args, **kwargs: None)
        parameters = list(signature.parameters.values())
        if skip_first:
            parameters = parameters[1:] if parameters and parameters[0].kind != _KINDS.VAR_POSITIONAL else parameters
        self.signature = signature.replace(parameters=parameters)
        self.names = tuple(p.name for p in parameters)
        self.kinds = tuple(p.kind for p in parameters)
        unknown = [n for n in static if n not in self.names]
        if unknown:
            raise SignatureMismatch(f"static_argnames: {name} has no argument {unknown[0]!r}; it has {self._listed()}")
        self.static = frozenset(static)
        self.plain = all(k == _KINDS.POSITIONAL_OR_KEYWORD for k in self.kinds)
        self.defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        # Numbers and strings among defaults cannot change, so a call that leaves them out always means the same.
        fixed = (keys.VALUE, keys.FLOAT, keys.COMPLEX)
        self.fixed_defaults = all(keys.kind_of(value) in fixed for value in self.defaults.values())

    def _listed(self) -> str:
        return ", ".join(self.names) or "none"

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """One value for each parameter. Raises SignatureMismatch with Python's own reason."""
        if self.plain and not kwargs and len(args) == len(self.names):
            return args
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise SignatureMismatch(f"{self.name}(): {error}") from None
        bound.apply_defaults()
        return tuple(bound.arguments.values())

    def in_order(self, positional: int, names: Iterable[str]) -> bool:
        """Whether keywords come in the order of the parameters that positional arguments leave open."""
        if any(kind in (_KINDS.VAR_POSITIONAL, _KINDS.VAR_KEYWORD) for kind in self.kinds):
            return False
        rest = iter(self.names[positional:])
        return all(name in rest for name in names)

    def in_parameters_order(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Keywords in the order of the parameters; those of no parameter come last."""
        known = {name: kwargs[name] for name in self.names if name in kwargs}
        return known if len(known) == len(kwargs) else {**known, **kwargs}

    def call(self, function: Callable[..., Any], values: Sequence[Any]) -> Any:
        """Call a function of this signature with one value for each parameter."""
        if self.plain:
            return function(*values)
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for name, kind, value in zip(self.names, self.kinds, values, strict=True):
            if kind == _KINDS.VAR_POSITIONAL:
                args += value
            elif kind == _KINDS.VAR_KEYWORD:
                kwargs.update(value)
            elif kind == _KINDS.KEYWORD_ONLY:
                kwargs[name] = value
            else:
                args.append(value)
        return function(*args, **kwargs)

    def walk(self, values: Sequence[Any], paths: bool = False) -> keys.Walk:
        """The key's parts and the tensor leaves of bound values."""
        walk = keys.Walk(paths)
        for name, value in zip(self.names, values, strict=True):
            if name in self.static:
                walk._part((keys.STATIC, _hashable(value, name, self.name)), name)
            else:
                walk.add(value, name)
        return walk

    def signature_of(self, values: Sequence[Any]) -> Signature:
        """The signature of bound values, with paths and text."""
        leaves: list[Leaf] = []
        shown = []
        for name, kind, value in zip(self.names, self.kinds, values, strict=True):
            if name in self.static:
                text = repr(value)
                leaves.append(Leaf(name, (keys.STATIC, _hashable(value, name, self.name)), text))
            else:
                text = _described(value, name, leaves)
            if kind not in (_KINDS.VAR_POSITIONAL, _KINDS.VAR_KEYWORD) or value:
                shown.append((name, text))
        return Signature(tuple(shown), tuple(leaves))


def _described(x: Any, path: str, leaves: list[Leaf]) -> str:
    """Add the leaves of a value, in the order of `keys.Walk`; the value as `keys.repr_nest` tells it."""
    kind = keys.kind_of(x)
    if kind in keys.TENSORS:
        part = keys.tensor_part(x, path)
        shown = _tensor_text(part[1], part[2])
        leaves.append(Leaf(path, part, shown))
        return keys.describe(x) if kind == keys.SPEC else shown
    if kind not in keys.NESTS:
        text = keys.repr_nest(x)
        leaves.append(Leaf(path, keys.part_of(x, kind), keys.describe(x) if kind not in _NUMBER else keys.short(text)))
        return text
    place = len(leaves)
    leaves.append(_OPEN)
    inside = {}
    for step, child in keys.children(x, kind):
        if type(child) is Tensor:  # most leaves are, and this is their way below
            array = child.array
            shown = _static_text(array.dtype, array.shape)
            leaves.append(Leaf(path + step, (keys.TENSOR, array.dtype, array.shape, False), shown))
        else:
            shown = _described(child, path + step, leaves)
        inside[step] = shown
    text = keys.nest_text(x, kind, inside)
    leaves[place] = Leaf(path, keys.container(x, kind), keys.short(text))
    return text


def _tensor_text(dtype: DType, shape: Shape) -> str:
    """`float32[2, 3]`."""
    if not is_static(shape):
        return keys.describe_spec(Spec(shape, dtype))
    return _static_text(dtype, shape)


@functools.lru_cache(1024)
def _static_text(dtype: DType, shape: Shape) -> str:
    return keys.describe_spec(Spec(shape, dtype))


_NUMBER = frozenset((keys.VALUE, keys.FLOAT, keys.COMPLEX))
_OPEN = Leaf("", (), "")  # stands for a container while what is inside it is described


def _hashable(value: Any, name: str, function: str) -> Any:
    try:
        hash(value)
    except TypeError:
        raise SignatureMismatch(
            f"{function}: the static argument {name!r} must be hashable, got {type(value).__name__}; "
            "give a tuple or a frozen dataclass, or take it out of static_argnames"
        ) from None
    return value


class InputSignature:
    """The specs that the arguments must have: a sequence in the order of the parameters, or a dict by name."""

    def __init__(self, specs: Any, binder: Binder) -> None:
        self.binder = binder
        if isinstance(specs, TensorSpec):
            specs = [specs]
        if isinstance(specs, dict):
            unknown = [n for n in specs if n not in binder.names]
            self.specs = dict(specs)
        else:
            unknown = [f"number {len(binder.names) + 1}"] if len(specs) > len(binder.names) else []
            self.specs = dict(zip(binder.names, specs, strict=False))
        if unknown:
            raise SignatureMismatch(
                f"input_signature of {binder.name}: there is no argument {unknown[0]}; it has {', '.join(binder.names)}"
            )

    def fit(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """Bound values made to fit: numbers and lists become tensors. Raises SignatureMismatch naming the argument."""
        return tuple(
            self._fit(value, self.specs[name], name) if name in self.specs else value
            for name, value in zip(self.binder.names, values, strict=True)
        )

    def specs_for(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """Bound values with the specs in the places that they cover: what is traced."""
        return tuple(self.specs.get(name, value) for name, value in zip(self.binder.names, values, strict=True))

    def complete(self) -> tuple[Any, ...] | None:
        """Values to trace without a call: specs, and defaults for the rest; None when some argument has neither."""
        values = []
        for name in self.binder.names:
            if name in self.specs:
                values.append(self.specs[name])
            elif name in self.binder.defaults:
                values.append(self.binder.defaults[name])
            else:
                return None
        return tuple(values)

    def _fit(self, value: Any, spec: Any, path: str) -> Any:
        if isinstance(spec, TensorSpec):
            return self._leaf(value, spec, path)
        kind = keys.kind_of(spec)
        if kind not in keys.NESTS:
            return value
        if kind != keys.kind_of(value) or keys.container(value, kind) != keys.container(spec, kind):
            raise self._mismatch(path, keys.repr_nest(value), keys.repr_nest(spec))
        pairs = zip(keys.children(value, kind), keys.children(spec, kind), strict=True)
        new = iter([self._fit(v, s, path + step) for (step, v), (_, s) in pairs])
        return _rebuild(value, kind, new)

    def _leaf(self, value: Any, spec: TensorSpec, path: str) -> Any:
        if isinstance(value, Variable):
            value = value.value
        if isinstance(value, (*_NUMBERS[spec.dtype.kind], list)) and not isinstance(value, np.generic):
            if spec.dtype.kind in "fciu" and type(value) is bool:
                raise self._mismatch(path, repr(value), _wanted(spec))
            try:
                value = as_tensor(np.asarray(value, spec.dtype))
            except (ValueError, TypeError, OverflowError):
                raise self._mismatch(path, repr(value), _wanted(spec)) from None
        if keys.kind_of(value) not in keys.TENSORS or isinstance(value, TensorSpec):
            got = keys.describe(value)
            raise self._mismatch(path, got, _wanted(spec))
        got_spec = keys.spec_of(value, path)
        if not spec.accepts(got_spec.shape, got_spec.dtype):
            raise self._mismatch(path, keys.describe_spec(got_spec), _wanted(spec))
        return value

    def _mismatch(self, path: str, got: str, wanted: str) -> SignatureMismatch:
        return SignatureMismatch(
            f"{self.binder.name}: the argument {path} is {got}, its input_signature wants {wanted}; "
            "convert it (td.astype, td.reshape), or widen the signature"
        )


def _wanted(spec: TensorSpec) -> str:
    return f"{dtype_name(spec.dtype)}[{', '.join('None' if s is None else str(s) for s in spec.shape)}]"


def _rebuild(like: Any, kind: str, new: Any) -> Any:
    if kind == keys.DICT:
        return dict(zip(keys._sorted_keys(like), new, strict=True))
    if kind == keys.DATACLASS:
        names = [step[1:] for step, _ in keys.children(like, kind)]
        return type(like)(**dict(zip(names, new, strict=True)))
    return type(like)(*new) if kind == keys.NAMED else type(like)(new)


def array_of(x: Any) -> tuple[np.ndarray[Any, Any], bool]:
    """The array of a tensor leaf, of a treadle dtype, and whether somebody else may write its memory."""
    if isinstance(x, Tensor):
        return x.array, False
    if type(x) is np.ndarray:
        dtype = keys.as_dtype(x.dtype)
        return (x, True) if x.dtype == dtype else (x.astype(dtype), False)
    if isinstance(x, np.generic):
        return np.asarray(x, keys.as_dtype(x.dtype)), False
    array = np.asarray(x)
    return np.array(array, keys.as_dtype(array.dtype), subok=False), False
