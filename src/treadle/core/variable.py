"""`Variable`: named state that changes. Its buffer is private; what is handed out is leased and never changes.

Every read hands out a read-only array that is the NumPy owner of all views made from it, so that a weak reference to
it tells whether anybody still looks at the buffer. A writer updates the buffer in place only when nobody does.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle import nest
from treadle.core.dtypes import DType, as_dtype, dtype_name
from treadle.core.mode import current
from treadle.core.spec import Shape, Spec, TensorSpec
from treadle.core.tensor import Symbol, Tensor
from treadle.errors import DTypeError, ShapeError, UndefinedVariable, VariableCreation

if TYPE_CHECKING:
    from collections.abc import Callable

_serial = itertools.count()

# Filled by ops (conversion and promotion live there): value, dtype -> tensor of it, copied from what can change.
_convert: list[Callable[[Any, DType | None], Tensor]] = []


# Programs that read variables' memory now without leases: the serials of what each reads. One is entered before it
# takes the locks under which it reads, and looked for under the lock under which a variable is overwritten.
_reading: dict[object, frozenset[int]] = {}


class _Memory(np.ndarray[Any, np.dtype[Any]]):
    """Stands between a variable's memory and its `_Buffer`, so that NumPy finds no plain array behind that."""


class _Buffer(np.ndarray[Any, np.dtype[Any]]):
    """Memory of a variable. A view keeps alive the array it was made from, and NumPy shortens a chain of views only
    where an array of the view's own type lies behind: behind an export lie a `_Buffer` and a `_Memory`, so that views
    of the export keep the export alive."""


class Variable:
    """Named, mutable state: `v.assign(x)`, `v.assign_add(x)`, `v += x`; usable wherever a tensor is.

    value:     anything `td.asarray` takes, or a `td.TensorSpec` for a variable that gets its value later.
    dtype:     converts the value; by default that of the value.
    name:      shown in graphs and messages.
    trainable: whether tapes watch it by themselves.

    A tensor read from a variable never changes afterwards. Threads may assign at once: nothing is lost.
    """

    __slots__ = (
        *("__weakref__", "_buffer", "_lease", "_lock", "_memory", "_spec"),
        *("name", "serial", "trainable"),
    )
    __array_priority__ = 1000.0

    def __init__(self, value: Any, dtype: Any = None, name: str | None = None, trainable: bool = True) -> None:
        self.serial = next(_serial)  # the global order in which transactions take locks
        self.name = name or "variable"
        self.trainable = bool(trainable)
        self._lock = threading.RLock()
        self._lease: weakref.ref[np.ndarray[Any, Any]] | None = None
        self._memory: np.ndarray[Any, Any] | None = None
        self._buffer: np.ndarray[Any, Any] | None = None  # the same memory as exports are made from it, once one is
        wanted = as_dtype(dtype) if dtype is not None else None
        if isinstance(value, TensorSpec):
            spec = value.to_spec("_")
            self._spec = Spec(spec.shape, wanted or spec.dtype)
            return
        tensor = _convert[0](value, wanted)
        if isinstance(tensor, Symbol):
            tensor = _evaluate_at_once(tensor, self.name)
        self._spec = Spec(tensor.shape, tensor.dtype)
        self._adopt(np.array(tensor.array, order="C"))
        for created in _CREATED:
            created(self)

    # -- storage: used by the executor's transactions ------------------------------------------------------------

    def _adopt(self, array: np.ndarray[Any, Any]) -> None:
        """Make an array that nobody else writes the variable's memory."""
        self._memory = array
        self._buffer = self._lease = None

    def _export(self) -> np.ndarray[Any, Any]:
        """A read-only array of the value; the same one while anybody holds it."""
        with self._lock:
            export = self._lease() if self._lease is not None else None
            if export is None:
                memory = self._memory
                if memory is None:
                    raise UndefinedVariable(
                        f"the variable {self.name!r} is read before it has a value; assign one first"
                    )
                if self._buffer is None:
                    self._buffer = memory if memory.dtype.kind == "T" else memory.view(_Memory).view(_Buffer)
                export = self._buffer.view(np.ndarray)
                export.flags.writeable = False
                self._lease = weakref.ref(export)
            return export

    def _writable(self) -> np.ndarray[Any, Any]:
        """The memory for an update in place: private again, copied first if anybody looks at it. Needs the lock."""
        memory = self._memory
        if memory is None:
            raise UndefinedVariable(f"the variable {self.name!r} is read before it has a value; assign one first")
        lease = self._lease
        looked_at = lease is not None and lease() is not None
        if looked_at or any(self.serial in serials for serials in list(_reading.values())):
            memory = memory.copy()
            self._adopt(memory)
        self._lease = None
        return memory

    def _store(self, tensor: Tensor) -> None:
        """Make a tensor's values the value; the eager assignment."""
        with self._lock:
            self._adopt(np.array(tensor.array, order="C"))

    # -- what users see ------------------------------------------------------------------------------------------

    @property
    def spec(self) -> Spec:
        """Shape and dtype as one record."""
        return self._spec

    @property
    def shape(self) -> Shape:
        """Sizes of the axes; an assignment cannot change them."""
        return self._spec.shape

    @property
    def dtype(self) -> DType:
        """The element type; an assignment cannot change it."""
        return self._spec.dtype

    @property
    def value(self) -> Tensor:
        """The value now, as a tensor that never changes."""
        return read_variable(self)

    def numpy(self) -> np.ndarray[Any, Any]:
        """The value now, as a read-only NumPy array."""
        return read_variable(self).numpy()

    def assign(self, value: Any) -> Variable:
        """Set the value. Raises ShapeError or DTypeError when it does not fit; then nothing has changed."""
        write_variable(self, self._fit(value, "assign"))
        return self

    def assign_add(self, value: Any) -> Variable:
        """Add to the value."""
        with self._lock:
            write_variable(self, self._fit(read_variable(self) + value, "assign_add"))
        return self

    def assign_sub(self, value: Any) -> Variable:
        """Subtract from the value."""
        with self._lock:
            write_variable(self, self._fit(read_variable(self) - value, "assign_sub"))
        return self

    def __iadd__(self, value: Any) -> Variable:
        return self.assign_add(value)

    def __isub__(self, value: Any) -> Variable:
        return self.assign_sub(value)

    def _fit(self, value: Any, what: str) -> Tensor:
        spec = self._spec
        if type(value) is Tensor and value.array.dtype == spec.dtype and value.array.shape == spec.shape:
            return value
        python_number = isinstance(value, (bool, int, float, complex)) and not isinstance(value, np.generic)
        tensor = _convert[0](value, self.dtype if python_number else None)
        if tensor.spec.weak:
            tensor = _convert[0](tensor, self.dtype)
        if tensor.dtype != self.dtype:
            raise DTypeError(
                f"{what}: the variable {self.name!r} is {dtype_name(self.dtype)}, the value is "
                f"{dtype_name(tensor.dtype)}; convert it with td.astype"
            )
        fits = len(tensor.shape) == len(self.shape) and all(
            not isinstance(want, int) or not isinstance(got, int) or want == got
            for want, got in zip(self.shape, tensor.shape, strict=True)
        )
        if not fits:
            raise ShapeError(
                f"{what}: the variable {self.name!r} has shape {self.shape}, the value has shape {tensor.shape}"
            )
        return tensor

    def __repr__(self) -> str:
        if self._memory is None:
            return f"<Variable {self.name!r}: shape={self.shape}, dtype={dtype_name(self.dtype)}, no value yet>"
        text = np.array2string(self._export(), separator=", ")
        return f"<Variable {self.name!r}: {text}, shape={self.shape}, dtype={dtype_name(self.dtype)}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> Variable:
        twin = Variable.__new__(Variable)
        twin.__setstate__(self.__getstate__())
        memo[id(self)] = twin
        return twin

    def __getstate__(self) -> dict[str, Any]:
        array = None if self._memory is None else np.array(self._export())
        return {"array": array, "spec": self._spec, "name": self.name, "trainable": self.trainable}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.serial = next(_serial)
        self.name, self.trainable, self._spec = state["name"], state["trainable"], state["spec"]
        self._lock = threading.RLock()
        self._lease = self._buffer = self._memory = None
        if state["array"] is not None:
            self._adopt(state["array"])

    if TYPE_CHECKING:
        # Installed by ops.methods: a variable takes part in arithmetic as its value does.
        ndim: int
        size: int
        T: Tensor

        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __getitem__(self, index: Any) -> Tensor: ...


nest.LEAVES.add(Variable)

# Told of each new variable: a tracer notes those made inside it.
_CREATED: list[Callable[[Variable], None]] = []
# Filled by core.interpret: the value of a symbol that depends on no input of its trace, or None.
_EVALUATE: list[Callable[[Symbol], Tensor | None]] = []


def _evaluate_at_once(symbol: Symbol, name: str) -> Tensor:
    value = _EVALUATE[0](symbol)
    if value is None:
        raise VariableCreation(
            f"the Variable {name!r} is made while tracing from a tensor that depends on the function's arguments; "
            "make it from values that do not, once, outside the function or behind `if self.v is None:`"
        )
    return value


def read_variable(variable: Variable) -> Tensor:
    """The variable's value in the current mode."""
    mode = current()
    if mode is None:
        return Tensor(variable._export())
    return mode.read(variable)


def write_variable(variable: Variable, value: Tensor) -> None:
    """Set the variable's value (of its dtype and shape) in the current mode."""
    mode = current()
    if mode is None:
        variable._store(value)
    else:
        mode.write(variable, value)
