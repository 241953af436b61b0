"""The names a jitted kernel may use, as Numba intrinsics: casts, pointers, primitives and the vector functions.

Each name becomes one intrinsic when first asked for. A primitive writes its instruction; a vector function is
written by `treadle.compile.llvm.scalar` straight from its source, so Numba types only the call. Nothing here leaves a
symbol to be resolved except libm's fmod.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.datamodel import register_default
from numba.core.datamodel.models import PointerModel
from numba.core.imputils import lower_builtin
from numba.core.types import CPointer, unliteral  # type: ignore[attr-defined]
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic

from treadle import vector
from treadle.compile.llvm import scalar
from treadle.compile.llvm.scalar_primitives import CASTS, PRIMITIVES, Value, cast

_NUMBA: dict[str, Any] = {
    "b1": types.boolean,
    **{f"i{size}": getattr(types, f"int{8 * size}") for size in (1, 2, 4, 8)},
    **{f"u{size}": getattr(types, f"uint{8 * size}") for size in (1, 2, 4, 8)},
    "f4": types.float32,
    "f8": types.float64,
}
_KIND = {numba_type: kind for kind, numba_type in _NUMBA.items()}


class BoolPointer(types.Type):
    """The type of `p_b1(address)`: bytes in memory, booleans in registers (Numba's CPointer would mix the two up)."""

    def __init__(self) -> None:
        self.dtype = types.boolean
        super().__init__("BoolPointer")


_BOOL_POINTER = BoolPointer()


class _BoolPointerModel(PointerModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind)
        self._pointee_model = manager.lookup(types.uint8)
        self._pointee_be_type = self._pointee_model.get_data_type()


register_default(BoolPointer)(_BoolPointerModel)


class _GetBool(AbstractTemplate):  # type: ignore[misc]
    key = operator.getitem

    def generic(self, args: Any, kws: Any) -> Any:
        if isinstance(args[0], BoolPointer) and isinstance(args[1], types.Integer):
            return signature(types.boolean, args[0], types.intp)
        return None


class _SetBool(AbstractTemplate):  # type: ignore[misc]
    key = operator.setitem

    def generic(self, args: Any, kws: Any) -> Any:
        if isinstance(args[0], BoolPointer) and isinstance(args[1], types.Integer):
            return signature(types.none, args[0], types.intp, types.boolean)
        return None


def _get_bool(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    byte = builder.load(builder.gep(args[0], [args[1]]))
    return builder.icmp_unsigned("!=", byte, ir.Constant(byte.type, 0))


def _set_bool(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
    builder.store(builder.zext(args[2], ir.IntType(8)), builder.gep(args[0], [args[1]]))
    return context.get_dummy_value()


infer_global(operator.getitem)(_GetBool)
infer_global(operator.setitem)(_SetBool)
lower_builtin(operator.getitem, BoolPointer, types.intp)(_get_bool)
lower_builtin(operator.setitem, BoolPointer, types.intp, types.boolean)(_set_bool)


def _pointer(name: str) -> Any:
    """`p_f4(address)`: an integer as a typed pointer."""
    to = _BOOL_POINTER if name == "p_b1" else CPointer(_NUMBA[name[2:]])

    def typer(typingctx: Any, address: Any) -> Any:
        def emit(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(to))

        return to(types.int64), emit

    return typer


def _cast(name: str) -> Any:
    """`f4(x)` and its kin, for a number of any kind."""

    def typer(typingctx: Any, x: Any) -> Any:
        source = unliteral(x)
        if source not in _KIND:
            return None

        def emit(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
            return cast(builder, Value(args[0], _KIND[source]), name).ir

        return _NUMBA[name](source), emit

    return typer


def _select() -> Any:
    """`select(c, a, b)`: one instruction; the branches are brought to one type as Numba would for `a if c else b`."""

    def typer(typingctx: Any, condition: Any, a: Any, b: Any) -> Any:
        result = typingctx.unify_types(unliteral(a), unliteral(b))
        if result is None:
            return None

        def emit(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
            return builder.select(*args)

        return result(types.boolean, result, result), emit

    return typer


def _ask() -> Any:
    """`ask(function, block)`: the answer of another kernel, by its address (see `native.ask`)."""

    def typer(typingctx: Any, function: Any, block: Any) -> Any:
        def emit(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
            whole = ir.IntType(64)
            kind = ir.FunctionType(whole, [whole] * 3).as_pointer()
            return builder.call(builder.inttoptr(args[0], kind), [args[1], whole(0), whole(0)])

        return types.int64(types.int64, types.int64), emit

    return typer


def _call(count: int, kinds: Callable[[Any], tuple[str, ...]], result: str, write: Callable[..., Any]) -> Any:
    """A typer for `count` arguments, since Numba matches intrinsics by their parameter list."""

    def by(*args: Any) -> Any:
        given = kinds(args[0])
        arguments = [_NUMBA[kind] for kind in given]

        def emit(context: Any, builder: ir.IRBuilder, sig: Any, values: Any) -> Any:
            return write(builder, *(Value(v, kind) for v, kind in zip(values, given, strict=True)))

        return _NUMBA[result or given[0]](*arguments), emit

    typers: dict[int, Any] = {
        1: lambda typingctx, a: by(a),
        2: lambda typingctx, a, b: by(a, b),
        3: lambda typingctx, a, b, c: by(a, b, c),
    }
    return typers[count]


def _primitive(name: str) -> Any:
    primitive = PRIMITIVES[name]

    def write(builder: ir.IRBuilder, *values: Value) -> Any:
        return primitive.emit(builder, *(v.ir for v in values))

    return _call(len(primitive.arguments), lambda _: primitive.arguments, primitive.result, write)


def _vector(name: str) -> Any:
    source = scalar.of(name)

    def write(builder: ir.IRBuilder, *values: Value) -> Any:
        return scalar.call(builder, source, values).ir

    kinds = tuple(kind for _, kind in source.arguments)
    return _call(len(kinds), lambda _: kinds, source.returns, write)


@functools.cache
def _intrinsic(name: str) -> Any:
    if name in CASTS:
        typer = _cast(name)
    elif name.startswith("p_"):
        typer = _pointer(name)
    elif name == "select":
        typer = _select()
    elif name == "ask":
        typer = _ask()
    else:
        typer = _primitive(name) if name in PRIMITIVES else _vector(name)
    typer.__name__ = typer.__qualname__ = name
    return intrinsic(typer)


def available() -> frozenset[str]:
    """Every name a kernel may use."""
    pointers = (f"p_{kind}" for kind in CASTS)
    return frozenset((*CASTS, *pointers, "select", "ask", *PRIMITIVES, *vector.FUNCTIONS))


def kernel_namespace(names: Iterable[str] | None = None) -> dict[str, Any]:
    """Globals for the text of a jitted kernel: each known name among `names` (all if not given) -> its intrinsic.

    Making all takes about 0.1 s, once; a kernel's `__code__.co_names` asks only for what it uses. Unknown names are
    left out, since co_names also holds builtins such as `range`.
    """
    known = available()
    return {name: _intrinsic(name) for name in (known if names is None else known.intersection(names))}
