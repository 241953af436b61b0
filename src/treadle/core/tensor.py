"""`Tensor`: an immutable n-d array; `Symbol`: its stand-in while tracing. Operators are installed by `ops.methods`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from treadle import nest
from treadle.core.dtypes import DType, dtype_name
from treadle.core.spec import Shape, Spec
from treadle.core.text import mark
from treadle.errors import LeakedTensor, Location, TraceError, user_location

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from treadle.core.graph import Node


class Tensor:
    """An immutable n-d array; operations run at once, by NumPy.

    Make one with `td.asarray`. `isinstance(x, td.Tensor)` is true for traced tensors too.
    """

    __slots__ = ("__weakref__", "array")

    array: np.ndarray[Any, Any]
    __array_priority__ = 1000.0

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array

    @property
    def shape(self) -> tuple[Any, ...]:
        """Sizes of the axes: ints, or `td.Dim` where a spec left one open."""
        return self.array.shape  # type: ignore[no-any-return]

    @property
    def dtype(self) -> DType:
        """The element type."""
        return self.array.dtype  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def spec(self) -> Spec:
        """Shape and dtype as one record."""
        return Spec(self.array.shape, self.array.dtype)

    if TYPE_CHECKING:
        # Installed by ops.methods; listed here for type checkers.
        T: Tensor
        mT: Tensor
        at: Any
        size: int
        device: str

        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __rfloordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __rmod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def __lshift__(self, other: Any) -> Tensor: ...
        def __rshift__(self, other: Any) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __pos__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __eq__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __hash__(self) -> int: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __iter__(self) -> Iterator[Tensor]: ...
        def __len__(self) -> int: ...
        def __float__(self) -> float: ...
        def __int__(self) -> int: ...
        def numpy(self) -> np.ndarray[Any, Any]: ...
        def item(self) -> Any: ...
        def tolist(self) -> Any: ...
        def astype(self, dtype: Any) -> Tensor: ...
        def reshape(self, *shape: Any) -> Tensor: ...
        def sum(self, axis: Any = None, *, keepdims: bool = False) -> Tensor: ...
        def mean(self, axis: Any = None, *, keepdims: bool = False) -> Tensor: ...
        def max(self, axis: Any = None, *, keepdims: bool = False) -> Tensor: ...
        def min(self, axis: Any = None, *, keepdims: bool = False) -> Tensor: ...


nest.LEAVES.add(Tensor)
_new = object.__new__
_set_array = Tensor.__dict__["array"].__set__


def tensors_of(arrays: Sequence[np.ndarray[Any, Any]]) -> list[Tensor]:
    """Tensors of several arrays, made without a Python frame for each."""
    made = [_new(Tensor) for _ in arrays]
    any(map(_set_array, made, arrays))  # sets each, as setting gives None
    return made


class Scope:
    """One trace's identity: which symbols are its own, and from which outer traces it may capture."""

    __slots__ = ("name", "parent")

    def __init__(self, name: str, parent: Scope | None) -> None:
        self.name = name
        self.parent = parent

    @property
    def owner(self) -> Scope:
        """The trace's scope: another name for a value has a scope of its own in it."""
        return self

    def encloses(self, other: Scope) -> bool:
        """Whether `other` is this scope or one inside it."""
        walk: Scope | None = other
        while walk is not None:
            if walk is self:
                return True
            walk = walk.parent
        return False


class Renamed(Scope):
    """The scope of one symbol that is another name for a value of `parent`: no node makes it, and none holds it."""

    __slots__ = ("of",)
    parent: Scope

    def __init__(self, of: Symbol, parent: Scope) -> None:
        super().__init__(parent.name, parent)
        self.of = of

    @property
    def owner(self) -> Scope:
        """The scope of the trace that the value belongs to."""
        return self.parent

    def encloses(self, other: Scope) -> bool:
        """Whether `other` is the scope of the value's trace, or one inside it."""
        return self.parent.encloses(other)


class Symbol(Tensor):
    """A traced tensor: an output of a node, or an input of a graph."""

    # Shape and dtype stand beside the spec that holds them: they are asked for many times a node.
    __slots__ = ("_spec", "dtype", "index", "name", "node", "present", "scope", "shape")

    present: Tensor  # set where the value may be None when the program runs: whether it is one (control.merge)
    if TYPE_CHECKING:
        shape: Shape
        dtype: DType

    def __init__(self, spec: Spec, scope: Scope, name: str, node: Node | None = None, index: int = 0) -> None:
        self._spec = spec
        self.shape = spec.shape
        self.dtype = spec.dtype
        self.scope = scope
        self.name = name
        self.node = node
        self.index = index

    @property
    def location(self) -> Location | None:
        """The user's line that made this tensor."""
        return self.node.location if self.node is not None else None

    @property
    def array(self) -> NoReturn:  # type: ignore[override]
        """A traced tensor has no values; asking for them is an error."""
        raise no_value(self)

    def __repr__(self) -> str:
        marked = mark(self, as_repr=True)
        if marked is not None:
            return marked
        for shown in SHOWN:
            shown(self)
        return f"<traced tensor {self.name}: shape=({', '.join(map(str, self.shape))}), dtype={dtype_name(self.dtype)}>"


Symbol.spec = Symbol.__dict__["_spec"]  # type: ignore[method-assign]  # the same place, without a property's frame
nest.LEAVES.add(Symbol)

# Told of each traced tensor that is made into text.
SHOWN: list[Callable[[Symbol], None]] = []


def no_value(symbol: Symbol, wish: str = "its values were asked for") -> Exception:
    """The error for a traced tensor that should act like a value: leaked when its trace is over, else not known yet."""
    for check in _TRACING:
        if check(symbol):
            return TraceError(
                f"the traced tensor {symbol.name} has no value yet: {wish} while the function is being traced. "
                "Use td functions on it, td.py_function for Python code on values, or return it",
                user_location(3),
            )
    return leaked(symbol)


def leaked(symbol: Symbol) -> LeakedTensor:
    """The error for a traced tensor that outlived its trace."""
    made = f", made at\n  {symbol.location}\n " if symbol.location else ""
    return LeakedTensor(
        f"the traced tensor {symbol.name!r} of {symbol.scope.name!r}{made} is used outside the trace that made it. "
        "Return it from the function, or keep it in a td.Variable",
        user_location(3),
    )


# Filled by core.tracer, which this module cannot import: tells whether a symbol's trace is running now.
_TRACING: list[Callable[[Symbol], bool]] = []
