"""Families of ops: each knows its shape rule, its gradient under broadcasting and its eager fast path."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from treadle.core.dtypes import DType, bool_, default_float
from treadle.core.mode import current
from treadle.core.op import REGISTRY, Attrs, Op, register
from treadle.core.spec import Spec, broadcast_shapes, shared
from treadle.core.tensor import Symbol, Tensor
from treadle.core.variable import Variable, read_variable
from treadle.ops.convert import AS_THEY_ARE, SCALARS, operands, traced_pair
from treadle.ops.numbers import as_operand

F = TypeVar("F", bound=Callable[..., Any])
Rule = Callable[..., Any]


def sum_to(g: Tensor, shape: tuple[Any, ...]) -> Tensor:
    """Sum over the axes that broadcasting added or stretched: the gradient of broadcasting."""
    before = g.array.shape if type(g) is Tensor else g.shape
    if before == shape:
        return g
    extra = len(before) - len(shape)
    if type(g) is Tensor and extra > 0 and before[extra:] == shape and current() is None:
        return made_of(np.add.reduce(g.array, axis=0 if extra == 1 else tuple(range(extra))))
    from treadle.ops.reductions import sum as sum_  # reductions are built on this module
    from treadle.ops.shaping import reshape

    axes = list(range(extra))
    axes += [extra + k for k, size in enumerate(shape) if type(size) is int and size == 1 and g.shape[extra + k] != 1]
    if axes:
        g = sum_(g, axis=tuple(axes), keepdims=True)
    return reshape(g, shape) if extra else g


def _unbroadcast(rule: Rule | None, position: int) -> Rule | None:
    if rule is None:
        return None

    def wrapped(g: Tensor, y: Tensor, *inputs: Tensor) -> Tensor | None:
        found = rule(g, y, *inputs)
        if found is None:
            return None
        x = inputs[position]
        if type(found) is Tensor and type(x) is Tensor and found.array.shape == x.array.shape:
            return found
        return sum_to(found, x.shape)

    return wrapped


def _elementwise_infer(name: str, out: str) -> Callable[[Sequence[Spec], Attrs], tuple[Spec, ...]]:
    same = out == "same"

    def infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
        first = specs[0]
        if len(specs) == 2:
            second = specs[1]
            shape = broadcast_shapes(first.shape, second.shape, op=name)
            if same:
                if shape is second.shape and (first.weak or not second.weak):
                    return (second,)
                if first.weak and second.weak:
                    return (Spec(shape, second.dtype, True),)
                return (shared(shape, second.dtype),)
        elif len(specs) == 1:
            if same:
                return (first,)
            shape = first.shape
        else:
            shape = broadcast_shapes(*[s.shape for s in specs], op=name)
        if out == "bool":
            return (shared(shape, bool_),)
        dtype = specs[-1].dtype
        if out == "real" and dtype.kind == "c":
            dtype = np.dtype(f"f{dtype.itemsize // 2}")
        return (Spec(shape, dtype, first.weak and all(s.weak for s in specs)),)

    return infer


def elementwise(
    *,
    body: Callable[..., Any],
    vjp: Sequence[Rule | None] | Rule | None = None,
    scalar: str | None = None,
    want: str = "numeric",
    out: str = "same",
    name: str | None = None,
) -> Callable[[F], F]:
    """Declare an elementwise op of one or more tensors, all promoted to one dtype, broadcast as NumPy does.

    body:   NumPy function of the arrays.
    vjp:    one rule (g, y, *inputs) -> gradient an input, as a sequence; a bare function for one input. Broadcasting is
            undone here.
    scalar: the element's expression in kernels (see `core.op.Op`).
    want:   the dtypes taken (see `ops.convert.operands`).
    out:    the result's dtype: "same", "bool", or "real" (the float type of a complex one's parts).

    The decorated function gives name, signature and docstring; its body is not run.
    """

    def declare(f: F) -> F:
        op_name = name or f.__name__
        rules = (vjp,) if callable(vjp) else vjp
        arity = f.__code__.co_argcount
        wrapped = tuple(_unbroadcast(rule, k) for k, rule in enumerate(rules)) if rules is not None else None
        op = register(
            Op(
                op_name,
                body,
                _elementwise_infer(op_name, out),
                family="elementwise",
                vjp=wrapped,
                scalar=scalar,
            )
        )
        make = {1: _unary, 2: _binary}.get(arity, _nary)
        function = make(op, want)
        functools.update_wrapper(function, f)
        function.op = op  # type: ignore[attr-defined]
        return function  # type: ignore[return-value]

    return declare


_new = object.__new__
_ndarray = np.ndarray
_F4 = np.dtype(np.float32)  # every op takes it as it is, and comparing by identity is quicker than looking at its kind
NO_ATTRS: dict[str, Any] = {}  # nobody writes the attributes of a node


def made_of(result: Any) -> Tensor:
    """The tensor of what NumPy gave: it hands out scalars for 0-d arrays."""
    tensor = _new(Tensor)
    tensor.array = result if type(result) is _ndarray else np.asarray(result)
    return tensor


def _unary(op: Op, want: str) -> Callable[..., Any]:
    body, kinds = op.body, AS_THEY_ARE[want]
    quick = _F4 if "f" in kinds else None

    def function(x: Any, /) -> Tensor:
        if type(x) is Tensor:
            a = x.array
            if a.dtype is quick or a.dtype.kind in kinds:
                mode = current()
                if mode is None or mode.plain:
                    result = body(a)
                    tensor = _new(Tensor)
                    tensor.array = result if type(result) is _ndarray else np.asarray(result)
                    if mode is not None:
                        mode.note(op, (x,), NO_ATTRS, tensor)
                    return tensor
        elif type(x) is Symbol:
            spec = x._spec
            if not spec.weak and (spec.dtype is quick or spec.dtype.kind in kinds):
                mode = current()
                if mode is not None:
                    return mode.process(op, (x,), NO_ATTRS)[0]
        elif type(x) is Variable:
            return function(read_variable(x))
        (x,) = operands((x,), want, op.name)
        return op.bind((x,), NO_ATTRS)[0]

    return function


def _binary(op: Op, want: str) -> Callable[..., Any]:
    body, kinds = op.body, AS_THEY_ARE[want]
    scalars = {kind: kinds & taken for kind, taken in SCALARS.items()} if isinstance(body, np.ufunc) else {}
    quick = _F4 if "f" in kinds else None

    def function(x1: Any, x2: Any, /) -> Tensor:
        fits = False
        if type(x1) is Tensor:
            a = x1.array
            dtype = a.dtype
            if type(x2) is Tensor:
                b = x2.array
                fits = dtype is b.dtype and (dtype is quick or dtype.kind in kinds)
            elif type(x2) in scalars and dtype.kind in scalars[type(x2)]:  # NumPy, too, lets it take the array's dtype
                b = as_operand(x2, dtype)
                fits = True
        elif type(x2) is Tensor and type(x1) in scalars:
            b = x2.array
            if b.dtype.kind in scalars[type(x1)]:
                a = as_operand(x1, b.dtype)
                fits = True
        if fits:
            mode = current()
            if mode is None or mode.plain:
                try:
                    result = body(a, b)
                except ValueError:
                    broadcast_shapes(np.shape(a), np.shape(b), op=op.name)  # reports a misfit in our words
                    raise
                except OverflowError:
                    operands((x1, x2), want, op.name)  # reports a number that does not fit in our words
                    raise
                tensor = _new(Tensor)
                tensor.array = result if type(result) is _ndarray else np.asarray(result)
                if mode is not None:
                    first = x1 if type(x1) is Tensor else Tensor(np.asarray(a, b.dtype))
                    second = x2 if type(x2) is Tensor else Tensor(np.asarray(b, a.dtype))
                    mode.note(op, (first, second), NO_ATTRS, tensor)
                return tensor
        if type(x1) is Symbol or type(x2) is Symbol:
            pair = traced_pair(x1, x2, kinds)
            if pair is not None:
                mode = current()
                if mode is not None:
                    return mode.process(op, pair, NO_ATTRS)[0]
        if type(x1) is Variable or type(x2) is Variable:
            return function(
                read_variable(x1) if type(x1) is Variable else x1, read_variable(x2) if type(x2) is Variable else x2
            )
        first, second = operands((x1, x2), want, op.name)
        if current() is None:
            broadcast_shapes(first.array.shape, second.array.shape, op=op.name)
        return op.bind((first, second), NO_ATTRS)[0]

    return function


def _nary(op: Op, want: str) -> Callable[..., Any]:
    def function(*args: Any) -> Tensor:
        inputs = operands(args, want, op.name)
        broadcast_shapes(*[x.shape for x in inputs], op=op.name)
        return op.bind(tuple(inputs), NO_ATTRS)[0]

    return function


def declare(
    name: str,
    body: Callable[..., Any],
    infer: Callable[[Sequence[Spec], Attrs], tuple[Spec, ...]],
    *,
    family: str,
    vjp: Any = None,
    effect: bool = False,
    multiple: bool = False,
) -> Op:
    """Declare an op whose public function is written out: reductions, views, contractions, indexing, host ops."""
    return register(Op(name, body, infer, family=family, vjp=vjp, effect=effect, multiple=multiple))


def float_dtype(dtype: DType) -> DType:
    """The dtype itself when floating or complex, else the default float."""
    return dtype if dtype.kind in "fc" else default_float()


__all__ = ["REGISTRY", "SCALARS", "declare", "elementwise", "float_dtype", "made_of", "sum_to"]
