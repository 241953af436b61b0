"""What must run, once and in program order: `print`, `py_function`, and what `assert` on a tensor becomes."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from treadle import nest
from treadle.core.dim import Dim, Size
from treadle.core.dtypes import DType, dtype_name
from treadle.core.mode import Mode, activate, modes
from treadle.core.op import Array, Attrs, Op
from treadle.core.spec import Shape, Spec, TensorSpec
from treadle.core.tensor import Symbol, Tensor
from treadle.core.text import Format, Text, writing
from treadle.core.tracer import Tracer
from treadle.core.variable import Variable, read_variable
from treadle.errors import AssertionFailed, DTypeError, Location, ShapeError, TraceError, user_location
from treadle.ops.convert import as_tensor, is_weak
from treadle.ops.families import declare
from treadle.records import dataclass

# -- text with tensors in it -------------------------------------------------------------------------------------------

Pieces = tuple[str | Format | None, ...]  # None and formats stand for the next tensor


def _text(array: Array) -> str:
    """A tensor's values as NumPy shows them; strings without quotes."""
    if array.dtype.kind == "T" and array.ndim:
        return np.array2string(array, formatter={"all": str})
    return str(array)


def _collect(value: Any, pieces: list[str | Format | None], tensors: list[Tensor], inside: bool = False) -> None:
    """Take a value apart into text and tensors; lists, tuples and dicts are shown as Python shows them."""
    if isinstance(value, (Tensor, Variable, Dim)):
        pieces.append(None)
        tensors.append(as_tensor(value))
    elif type(value) is Text:
        pieces.extend(value.pieces)
        tensors.extend(value.tensors)
    elif type(value) in (list, tuple):
        opening, closing = ("[", "]") if type(value) is list else ("(", ",)" if len(value) == 1 else ")")
        pieces.append(opening)
        for position, item in enumerate(value):
            pieces.append(", " if position else "")
            _collect(item, pieces, tensors, True)
        pieces.append(closing)
    elif type(value) is dict:
        for position, (key, item) in enumerate(value.items()):
            pieces.append(f"{', ' if position else '{'}{key!r}: ")
            _collect(item, pieces, tensors, True)
        pieces.append("}" if value else "{}")
    else:
        pieces.append(repr(value) if inside else str(value))


def _joined(pieces: Sequence[str | Format | None]) -> Pieces:
    """Neighbouring texts as one."""
    found: list[str | Format | None] = []
    for piece in pieces:
        if isinstance(piece, str) and found and isinstance(last := found[-1], str):
            found[-1] = last + piece
        elif piece != "":
            found.append(piece)
    return tuple(found)


def _render(pieces: Pieces, arrays: Sequence[Array]) -> str:
    rest = iter(arrays)
    return "".join([piece if isinstance(piece, str) else _written(piece, next(rest)) for piece in pieces])


def _written(how: Format | None, array: Array) -> str:
    return _text(array) if how is None else how.write(Tensor(array))


# -- print -------------------------------------------------------------------------------------------------------------


def _print_body(*arrays: Array, pieces: Pieces) -> tuple[()]:
    sys.stdout.write(_render(pieces, arrays))
    return ()


print_op: Op = declare("print", _print_body, lambda specs, attrs: (), family="effect", effect=True, multiple=True)


def print(*values: Any, sep: str = " ", end: str = "\n") -> None:
    """Print to `sys.stdout` when the program runs: at once, or at each run of the traced function, in program order.

    Tensors show as `str` shows them, strings without quotes; other values as they are while tracing.

    >>> import treadle as td
    >>> td.print("x is", td.asarray([1, 2]))
    x is [1 2]
    """
    pieces: list[str | Format | None] = []
    tensors: list[Tensor] = []
    for position, value in enumerate(values):
        pieces.append(sep if position else "")
        _collect(value, pieces, tensors)
    pieces.append(end)
    print_op.bind(tuple(tensors), {"pieces": _joined(pieces)})


# -- assert ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Where:
    """The user's line that a check reports."""

    location: Location | None

    def __repr__(self) -> str:
        return self.location.short if self.location else "unknown place"


def _assert_body(condition: Array, *arrays: Array, pieces: Pieces, where: Where) -> tuple[()]:
    if not condition.all():
        raise AssertionFailed(_render(pieces, arrays) or "the assertion does not hold", where.location)
    return ()


assert_op: Op = declare("assert", _assert_body, lambda specs, attrs: (), family="effect", effect=True, multiple=True)


def assert_(condition: Any, message: Any = None) -> None:
    """Check, when the program runs, that a condition holds; what `assert` on a tensor becomes.

    condition: a tensor of one element; true when it is not 0.
    message:   shown when it fails; may hold tensors, or be a function without arguments that gives the message.
    Raises AssertionFailed with the message and the user's line.
    """
    place = Where(user_location(2))
    checked = as_tensor(condition)
    if any(isinstance(size, int) and size != 1 for size in checked.shape):
        raise ShapeError(
            f"assert: the condition has shape {tuple(checked.shape)}; reduce it with td.all or td.any", place.location
        )
    pieces: list[str | Format | None] = []
    tensors: list[Tensor] = []
    with writing() as written:
        text = message() if callable(message) and not isinstance(message, Tensor) else message
        if isinstance(text, str):
            text = written.text(text)
        if text is not None:
            _collect(text, pieces, tensors)
    assert_op.bind((checked, *tensors), {"pieces": _joined(pieces), "where": place})


# -- py_function -------------------------------------------------------------------------------------------------------


class _Callback(Mode):
    """The mode inside a callback: ops run at once, variables have their values at this point, and cannot be set."""

    def __init__(self, name: str, values: dict[int, Tensor]) -> None:
        self.name = name
        self.values = values

    def process(self, op: Op, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> tuple[Tensor, ...]:
        for x in inputs:
            if isinstance(x, Symbol):
                raise TraceError(
                    f"py_function: {self.name} uses the traced tensor {x.name} of the function around it; "
                    "pass it as an argument"
                )
        with activate(None):
            return op.run(inputs, attrs)

    def read(self, variable: Variable) -> Tensor:
        value = self.values.get(id(variable))
        return Tensor(variable._export()) if value is None else value

    def write(self, variable: Variable, value: Tensor) -> None:
        raise TraceError(
            f"py_function: {self.name} assigns the variable {variable.name!r}; "
            "return the value and assign it outside the callback"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Callback:
    """A Python function and how to call it: its arguments' nest, with tensors left open.

    variables: those that were written before the call; their values come as the last inputs.
    """

    function: Callable[..., Any]
    arguments: nest.Structure
    leaves: tuple[Any, ...]
    result: nest.Structure
    variables: tuple[weakref.ref[Variable], ...]
    location: Location | None

    @property
    def name(self) -> str:
        """What the user calls the function."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    def __repr__(self) -> str:
        return self.name


_OPEN = object()  # the place of a tensor among a callback's arguments


def _callback_body(
    *arrays: Array, callback: Callback, shapes: tuple[tuple[int, ...], ...], dtypes: tuple[DType, ...]
) -> list[Array]:
    inputs = iter([Tensor(_kept(array)) for array in arrays])
    leaves = [next(inputs) if leaf is _OPEN else leaf for leaf in callback.leaves]
    found = [ref() for ref in callback.variables]
    values = {id(variable): x for variable, x in zip(found, inputs, strict=True)}
    try:
        with activate(_Callback(callback.name, values)):
            arguments = nest.unflatten(callback.arguments, leaves)
            result = callback.function(*arguments)
            return _results(callback, result, shapes, dtypes)
    except Exception as error:
        if callback.location is not None:
            error.add_note(f"raised in the td.py_function {callback.name} called from\n  {callback.location}")
        raise


def _kept(array: Array) -> Array:
    """The array as the callback may keep it: memory of a running program is used again."""
    if not array.flags.writeable and array.base is None:
        return array
    copy = np.array(array)
    copy.flags.writeable = False
    return copy


def _results(
    callback: Callback, result: Any, shapes: tuple[tuple[int, ...], ...], dtypes: tuple[DType, ...]
) -> list[Array]:
    if not shapes:
        return []
    leaves, structure = nest.flatten_with_structure(result)
    if structure != callback.result:
        raise ShapeError(f"py_function: {callback.name} returned the nest {structure}, out says {callback.result}")
    found = []
    for leaf, shape, dtype in zip(leaves, shapes, dtypes, strict=True):
        tensor = as_tensor(leaf, dtype if is_weak(leaf) or isinstance(leaf, (list, tuple)) else None)
        if tensor.dtype != dtype:
            raise DTypeError(
                f"py_function: {callback.name} returned {dtype_name(tensor.dtype)}, out says {dtype_name(dtype)}"
            )
        if tensor.shape != shape:
            raise ShapeError(f"py_function: {callback.name} returned shape {tensor.shape}, out says {shape}")
        found.append(tensor.array)
    return found


def _callback_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    return tuple([Spec(shape, dtype) for shape, dtype in zip(attrs["shapes"], attrs["dtypes"], strict=True)])


py_function_op: Op = declare(
    "py_function", _callback_body, _callback_infer, family="effect", effect=True, multiple=True
)


def py_function(f: Callable[..., Any], /, *args: Any, out: Any = None) -> Any:
    """Call a Python function with values when the program runs, in program order; what it does is not traced.

    f:    gets the arguments, tensors among them as tensors with values; variables have their value at that point,
          and assigning one raises TraceError.
    args: nests of tensors and other values.
    out:  what f returns: a nest of `td.TensorSpec` (or of tensors like it) with known sizes; None when nothing.

    The results have no gradient. An exception of `f` arrives as itself, with a note of the line that called.

    >>> import treadle as td
    >>> td.py_function(lambda x: x.numpy() * 2, td.asarray([1, 2]), out=td.TensorSpec((2,), td.int64)).tolist()
    [2, 4]
    """
    location = user_location(2)
    leaves, structure = nest.flatten_with_structure(args)
    tensors = [as_tensor(leaf) for leaf in leaves if isinstance(leaf, (Tensor, Variable))]
    opened = tuple([_OPEN if isinstance(leaf, (Tensor, Variable)) else leaf for leaf in leaves])
    specs, result = nest.flatten_with_structure(out) if out is not None else ([], nest.LEAF)
    expected = [_out_spec(spec) for spec in specs]
    written = _written_variables()
    tensors += [read_variable(variable) for variable in written]
    callback = Callback(f, structure, opened, result, tuple([weakref.ref(v) for v in written]), location)
    attrs = {
        "callback": callback,
        "shapes": tuple([shape for shape, _ in expected]),
        "dtypes": tuple([dtype for _, dtype in expected]),
    }
    outputs = py_function_op.bind(tuple(tensors), attrs)
    return None if out is None else nest.unflatten(result, outputs)


def _out_spec(spec: Any) -> tuple[Shape, DType]:
    if not isinstance(spec, (TensorSpec, Tensor)):
        raise DTypeError(f"py_function: out takes td.TensorSpec, got {type(spec).__name__}")
    sizes: list[Size] = []
    for size in spec.shape:
        if size is None:
            raise ShapeError(f"py_function: out must name its sizes, got {spec}; None is not known while tracing")
        sizes.append(Dim.named(size) if isinstance(size, str) else size)
    return tuple(sizes), spec.dtype


def _written_variables() -> list[Variable]:
    """Variables that the traces running now have written: their values exist only inside the graph."""
    found: dict[int, Variable] = {}
    for mode in modes():
        if isinstance(mode, Tracer):
            found.update((key, entry.variable) for key, entry in mode.state.items() if entry.value is not None)
    return list(found.values())


__all__ = ["assert_", "print", "py_function"]
