"""The primitives that change a tensor's shape, each with its gradient, and their closest kin; no arithmetic here.

`reshape`, `transpose` and `broadcast_to` are views: their bodies are NumPy views of the input, from which the compiler
derives strides (`slice`, in `ops.slicing`, is the fourth). `concat` moves data. All else is made of these.
Sizes may be symbolic: what cannot be decided while tracing is checked by the bodies when the graph runs.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle.core.arguments import wholes
from treadle.core.dim import Dim, Size, is_static
from treadle.core.mode import current
from treadle.core.op import Array, Attrs, Op
from treadle.core.spec import Shape, Spec, broadcast_shapes, normalize_axes, normalize_axis
from treadle.core.tensor import Tensor
from treadle.errors import ArgumentError, ShapeError, TreadleError
from treadle.ops.convert import as_tensor, operands
from treadle.ops.families import declare, sum_to
from treadle.ops.slicing import flip, slice_axis

# -- sizes -------------------------------------------------------------------------------------------------------------


def as_sizes(shape: Any) -> Shape:
    """A shape as users write it (an int, a sequence, a 1-d tensor) as a tuple of ints and Dims."""
    if isinstance(shape, (int, Dim, np.integer)):
        return (shape if isinstance(shape, Dim) else int(shape),)
    if isinstance(shape, Tensor) and shape.ndim == 1:
        shape = shape.array.tolist()
    try:
        return tuple([size if isinstance(size, Dim) else operator.index(size) for size in shape])
    except TypeError as error:
        if isinstance(error, TreadleError):
            raise
        raise ArgumentError(f"a shape must be a whole number or a sequence of them, got {shape!r}") from None


def product(sizes: Sequence[Size]) -> Size:
    """The product of sizes, symbolic ones included."""
    total: Size = 1
    for size in sizes:
        total = total * size
    return total


def divide_sizes(total: Size, by: Size) -> Size | None:
    """`total / by` where it is exact for every value of the symbolic sizes, else None."""
    if isinstance(total, int) and isinstance(by, int):
        return total // by if by and total % by == 0 else None
    terms = by.terms if isinstance(by, Dim) else {(): by}
    if len(terms) != 1:
        return 1 if total == by else None
    ((atoms, factor),) = terms.items()
    result: dict[Any, int] = {}
    for key, count in (total.terms if isinstance(total, Dim) else {(): total}).items():
        left = list(key)
        for atom in atoms:
            if atom not in left:
                return None
            left.remove(atom)
        if factor == 0 or count % factor:
            return None
        result[tuple(left)] = count // factor
    return Dim._make(result)


# -- reshape -----------------------------------------------------------------------------------------------------------


def _reshape_body(x: Array, *, shape: tuple[int, ...]) -> Array:
    try:
        return x.reshape(shape)
    except ValueError:
        raise _no_reshape(x.shape, shape) from None


def _no_reshape(old: Shape, new: Shape) -> ShapeError:
    return ShapeError(
        f"reshape: shape {tuple(old)} has {product(old)} elements, shape {tuple(new)} wants "
        f"{product([s for s in new if not (isinstance(s, int) and s == -1)])}"
        + (" or a multiple" if any(isinstance(s, int) and s == -1 for s in new) else "")
    )


reshape_op: Op = declare(
    "reshape",
    _reshape_body,
    lambda specs, attrs: (specs[0].with_shape(attrs["shape"]),),
    family="view",
    vjp=lambda g, y, x, *, shape: reshape(g, x.shape),
)


def _resolve(old: Shape, new: Shape) -> Shape:
    """The new shape with its -1 filled in; ShapeError where the sizes cannot fit."""
    unknown = [k for k, size in enumerate(new) if isinstance(size, int) and size < 0]
    if not unknown:
        total, wanted = product(old), product(new)
        if total != wanted and isinstance(total, int) and isinstance(wanted, int):
            raise _no_reshape(old, new)
        return new
    if len(unknown) > 1 or new[unknown[0]] != -1:
        raise ShapeError(f"reshape: at most one size may be -1 and none less, got {new}")
    remaining, rest = list(old), []
    for size in (size for k, size in enumerate(new) if k != unknown[0]):
        if size in remaining:  # equal factors cancel first: then sizes that may be 0 do no harm
            remaining.remove(size)
        else:
            rest.append(size)
    total, known = product(remaining), product(rest)
    exact = divide_sizes(total, known)
    if exact is None and isinstance(total, int) and isinstance(known, int):
        raise _no_reshape(old, new)
    size = total // known if exact is None else exact
    return (*new[: unknown[0]], size, *new[unknown[0] + 1 :])


def reshape(x: Any, /, shape: Any, *, copy: bool | None = None) -> Tensor:
    """The same elements, in row-major order, in another shape; one size may be -1 and is worked out.

    Raises ShapeError when the numbers of elements differ. `copy` changes nothing: tensors are immutable.

    >>> import treadle as td
    >>> td.reshape(td.asarray([1, 2, 3, 4]), (2, -1)).shape
    (2, 2)
    """
    if type(x) is Tensor and type(shape) is tuple:
        mode = current()
        if mode is None or mode.plain:
            try:
                result = Tensor(x.array.reshape(shape))
            except (ValueError, TypeError):
                pass  # say it in our words below
            else:
                if mode is not None:
                    mode.note(reshape_op, (x,), {"shape": result.array.shape}, result)
                return result
    tensor = as_tensor(x)
    if type(shape) is tuple and is_static(shape) and min(shape, default=0) >= 0 and is_static(tensor.shape):
        new: Shape = shape
        if math.prod(new) != math.prod(tensor.shape):
            raise _no_reshape(tensor.shape, new)
    else:
        new = _resolve(tensor.shape, as_sizes(shape))
    if new == tensor.shape:
        return tensor
    return reshape_op.bind((tensor,), {"shape": new})[0]


def flatten(x: Any, /) -> Tensor:
    """All elements along one axis, in row-major order."""
    return reshape(x, (-1,))


ravel = flatten


def expand_dims(x: Any, /, *, axis: int | Sequence[int] = 0) -> Tensor:
    """The tensor with axes of size 1 put in, where `axis` counts in the result. Raises ShapeError for a bad axis."""
    if type(x) is Tensor and type(axis) is int:
        array = x.array
        if -array.ndim - 1 <= axis <= array.ndim:
            before = axis if axis >= 0 else array.ndim + 1 + axis
            return reshape(x, (*array.shape[:before], 1, *array.shape[before:]))
    x = as_tensor(x)
    count = 1 if isinstance(axis, (int, np.integer)) else len(axis)
    axes = normalize_axes(axis, x.ndim + count, "expand_dims")
    old = iter(x.shape)
    return reshape(x, tuple([1 if k in axes else next(old) for k in range(x.ndim + count)]))


def squeeze(x: Any, /, axis: int | Sequence[int] | None = None) -> Tensor:
    """The tensor without these axes of size 1 (by default: without all of them).

    Raises ShapeError when an axis has another size.
    """
    x = as_tensor(x)
    if axis is None:
        axes: tuple[int, ...] = tuple(k for k, size in enumerate(x.shape) if isinstance(size, int) and size == 1)
    else:
        axes = normalize_axes(axis, x.ndim, "squeeze")
        for k in axes:
            if isinstance(x.shape[k], int) and x.shape[k] != 1:
                raise ShapeError(f"squeeze: axis {k} of shape {tuple(x.shape)} has size {x.shape[k]}, not 1")
    return reshape(x, tuple(size for k, size in enumerate(x.shape) if k not in axes))


# -- transpose ---------------------------------------------------------------------------------------------------------

transpose_op: Op = declare(
    "transpose",
    lambda x, *, axes: x.transpose(axes),
    lambda specs, attrs: (specs[0].with_shape(tuple([specs[0].shape[k] for k in attrs["axes"]])),),
    family="view",
    vjp=lambda g, y, x, *, axes: transpose(g, tuple(sorted(range(len(axes)), key=axes.__getitem__))),
)


def transpose(x: Any, /, axes: Sequence[int] | None = None) -> Tensor:
    """The axes in another order; by default reversed. Raises ShapeError unless `axes` names each axis once."""
    if axes is None and type(x) is Tensor and current() is None:
        return Tensor(x.array.T)
    tensor = as_tensor(x)
    if axes is None:
        order = tuple(range(len(tensor.shape) - 1, -1, -1))
    else:
        given = wholes("transpose: the axes", axes)
        order = tuple(normalize_axis(k, tensor.ndim, "transpose") for k in given)
        if sorted(order) != list(range(tensor.ndim)):
            raise ShapeError(f"transpose: axes {tuple(given)} must name each of the {tensor.ndim} axes once")
    if order == tuple(range(len(order))):
        return tensor
    return transpose_op.bind((tensor,), {"axes": order})[0]


def permute_dims(x: Any, /, axes: Sequence[int]) -> Tensor:
    """The axes in the given order."""
    return transpose(x, axes)


def matrix_transpose(x: Any, /) -> Tensor:
    """The last two axes swapped. Raises ShapeError for fewer than two axes."""
    x = as_tensor(x)
    if x.ndim < 2:
        raise ShapeError(f"matrix_transpose: needs two axes or more, got shape {tuple(x.shape)}")
    return swapaxes(x, -1, -2)


def swapaxes(x: Any, /, axis1: int, axis2: int) -> Tensor:
    """Two axes swapped."""
    x = as_tensor(x)
    first, second = (normalize_axis(k, x.ndim, "swapaxes") for k in (axis1, axis2))
    order = list(range(x.ndim))
    order[first], order[second] = second, first
    return transpose(x, order)


def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int], /) -> Tensor:
    """Axes moved to other positions; the others keep their order."""
    x = as_tensor(x)
    sources = [normalize_axis(k, x.ndim, "moveaxis") for k in wholes("moveaxis: source", source)]
    targets = [normalize_axis(k, x.ndim, "moveaxis") for k in wholes("moveaxis: destination", destination)]
    if len(sources) != len(targets) or len(set(sources)) != len(sources) or len(set(targets)) != len(targets):
        raise ShapeError(f"moveaxis: source {source} and destination {destination} must name as many axes, each once")
    order = [k for k in range(x.ndim) if k not in sources]
    for target, origin in sorted(zip(targets, sources, strict=True)):
        order.insert(target, origin)
    return transpose(x, order)


# -- broadcast_to ------------------------------------------------------------------------------------------------------


def repeated(x: Array, shape: tuple[int, ...]) -> Array:
    """What `np.broadcast_to` gives, in a sixth of its time for one value. ValueError where it cannot be."""
    if x.size == 1 and x.ndim <= len(shape) and min(shape, default=0) >= 0 and x.dtype.kind != "T":
        view: Array = np.ndarray(shape, x.dtype, x, 0, (0,) * len(shape))
        view.flags.writeable = False
        return view
    return np.broadcast_to(x, shape)


def _broadcast_body(x: Array, *, shape: tuple[int, ...]) -> Array:
    try:
        return repeated(x, shape)
    except ValueError:
        raise ShapeError(f"broadcast_to: shape {x.shape} does not broadcast to {shape}") from None


broadcast_to_op: Op = declare(
    "broadcast_to",
    _broadcast_body,
    lambda specs, attrs: (specs[0].with_shape(attrs["shape"]),),
    family="view",
    vjp=lambda g, y, x, *, shape: sum_to(g, x.shape),
)


def broadcast_to(x: Any, /, shape: Any) -> Tensor:
    """The tensor repeated along axes of size 1 and new leading axes until it has this shape; nothing is copied.

    Raises ShapeError when it cannot be.
    """
    if type(x) is Tensor and type(shape) is tuple:
        mode = current()
        if mode is None or mode.plain:
            if x.array.shape == shape:
                return x
            try:
                result = Tensor(repeated(x.array, shape))
            except (ValueError, TypeError):
                pass  # say it in our words below
            else:
                if mode is not None:
                    mode.note(broadcast_to_op, (x,), {"shape": shape}, result)
                return result
    tensor = as_tensor(x)
    new = as_sizes(shape)
    if new == tensor.shape:
        return tensor
    fits = tensor.ndim <= len(new) and all(
        (isinstance(old, int) and old == 1) or old == size or isinstance(old, Dim) or isinstance(size, Dim)
        for old, size in zip(tensor.shape, new[len(new) - tensor.ndim :], strict=True)
    )
    if not fits:
        raise ShapeError(f"broadcast_to: shape {tuple(tensor.shape)} does not broadcast to {new}")
    return broadcast_to_op.bind((tensor,), {"shape": new})[0]


def broadcast_arrays(*arrays: Any) -> list[Tensor]:
    """All tensors broadcast to their common shape. Raises ShapeError when there is none."""
    tensors = [as_tensor(x) for x in arrays]
    shape = broadcast_shapes(*[x.shape for x in tensors], op="broadcast_arrays")
    return [broadcast_to(x, shape) for x in tensors]


# -- concat ------------------------------------------------------------------------------------------------------------


def _concat_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    axis = attrs["axis"]
    shape = list(specs[0].shape)
    for spec in specs[1:]:
        for k, size in enumerate(spec.shape):
            shape[k] = shape[k] + size if k == axis else _same_size(shape[k], size)
    return (specs[0].with_shape(tuple(shape)),)


def _same_size(a: Size, b: Size) -> Size:
    return a if isinstance(a, int) else b


def _concat_vjp(g: Tensor, y: Tensor, *inputs: Tensor, axis: int) -> tuple[Tensor, ...]:
    parts = []
    start: Size = 0
    for x in inputs:
        parts.append(slice_axis(g, axis, start, start + x.shape[axis]))
        start = start + x.shape[axis]
    return tuple(parts)


concat_op: Op = declare(
    "concat", lambda *xs, axis: np.concatenate(xs, axis), _concat_infer, family="shaping", vjp=_concat_vjp
)


def _check_several(arrays: Any, op: str) -> None:
    if not hasattr(arrays, "__len__") or isinstance(arrays, str):
        raise ArgumentError(f"{op}: takes a list or a tuple of tensors, got {type(arrays).__name__}")
    if not len(arrays):
        raise ShapeError(f"{op}: needs one tensor or more")


def concat(arrays: Sequence[Any], /, *, axis: int | None = 0) -> Tensor:
    """Tensors joined along an existing axis (None: flattened first), promoted to one dtype.

    Raises ShapeError when another axis differs in size.
    """
    if getattr(arrays, "_state", None) is not None:
        return arrays.concat(axis)  # type: ignore[attr-defined, no-any-return]  # a list that has grown in staged code
    _check_several(arrays, "concat")
    if current() is None and all(type(x) is Tensor and x.array.dtype is arrays[0].dtype for x in arrays):
        try:
            return Tensor(np.concatenate([x.array for x in arrays], axis))
        except ValueError:  # AxisError is one
            pass  # say it in our words below
    tensors = operands(list(arrays), "any", "concat")
    if axis is None:
        return concat([flatten(x) for x in tensors])
    first = tensors[0]
    if not first.ndim:
        raise ShapeError("concat: a tensor without axes cannot be joined; use td.stack")
    axis = normalize_axis(axis, first.ndim, "concat")
    for x in tensors[1:]:
        fits = x.ndim == first.ndim and all(
            k == axis or a == b or isinstance(a, Dim) or isinstance(b, Dim)
            for k, (a, b) in enumerate(zip(first.shape, x.shape, strict=True))
        )
        if not fits:
            raise ShapeError(
                f"concat: shapes {tuple(first.shape)} and {tuple(x.shape)} must agree in all axes but axis {axis}"
            )
    return first if len(tensors) == 1 else concat_op.bind(tuple(tensors), {"axis": axis})[0]


def stack(arrays: Sequence[Any], /, *, axis: int = 0) -> Tensor:
    """Tensors of one shape, promoted to one dtype, side by side along a new axis.

    Raises ShapeError when shapes differ.
    """
    if getattr(arrays, "_state", None) is not None:
        return arrays.stack(axis)  # type: ignore[attr-defined, no-any-return]  # a list that has grown in staged code
    _check_several(arrays, "stack")
    tensors = operands(list(arrays), "any", "stack")
    first = tensors[0].shape
    for x in tensors[1:]:
        fits = len(x.shape) == len(first) and all(
            a == b or (isinstance(a, Dim) or isinstance(b, Dim)) for a, b in zip(first, x.shape, strict=True)
        )
        if not fits:
            raise ShapeError(f"stack: shapes {tuple(first)} and {tuple(x.shape)} differ")
    return concat([expand_dims(x, axis=axis) for x in tensors], axis=axis)


__all__ = [
    "broadcast_arrays",
    "broadcast_to",
    "concat",
    "expand_dims",
    "flatten",
    "flip",
    "matrix_transpose",
    "moveaxis",
    "permute_dims",
    "ravel",
    "reshape",
    "squeeze",
    "stack",
    "swapaxes",
    "transpose",
]
